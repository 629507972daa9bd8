"""Programs that lie: well-formed files whose operations do not fit are refused before a kernel sees them.

Every case here is packed with valid hashes, so that nothing but the checks of the operations stands between the file
and the runtimes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lutkan
from conformance import networks
from conformance.cases import CASES
from lutkan.artifact import Program
from lutkan.artifact.codec import encode_program
from lutkan.artifact.container import pack
from lutkan.artifact.layout import lay_out
from lutkan.artifact.program import (
    ActivationOp,
    AffineOp,
    BranchOp,
    KANOp,
    LinearOp,
    ProductOp,
    SegmentTable,
    SelectOp,
)
from lutkan.errors import ArtifactError
from lutkan.tables import SegmentSpec, Spec

Body = dict[str, Any]
Arrays = dict[str, np.ndarray]


def glued() -> Program:
    spec = Spec(SegmentSpec(4, "uint8"), (("a", SegmentSpec(4, oob_policy="clip_x")),))
    return lutkan.compile(networks.glued(), spec).program


BASE = {
    "glued": glued(),
    "masked": lutkan.compile(networks.masked(), SegmentSpec(4)).program,
    "folded": lutkan.compile(networks.splines(name="gelu"), SegmentSpec(4, value="phi")).program,
    "straight": lutkan.compile(networks.straight(), SegmentSpec(4, "uint8")).program,
    "scaled": lutkan.compile(networks.bare_splines(scaled=True), SegmentSpec(4)).program,
    "adapted": lutkan.compile(networks.adapted(), SegmentSpec(4)).program,
    "fast": lutkan.compile(networks.fast_kan(), SegmentSpec(4)).program,
}


def parts(name: str) -> tuple[Body, Arrays]:
    body, arrays = encode_program(BASE[name])
    return copy.deepcopy(body), {key: array.copy() for key, array in arrays.items()}


def reopen(body: object, arrays: Arrays, **manifest: object) -> lutkan.Artifact:
    placed, members = lay_out({"program": body, **manifest}, arrays)
    return lutkan.Artifact.open(pack(placed, members))


@pytest.mark.parametrize("name", BASE)
def test_the_programs_themselves_come_back(name):
    body, arrays = parts(name)
    again, same = encode_program(reopen(body, arrays).program)
    assert again == body and set(same) == set(arrays)
    for key, array in arrays.items():
        assert same[key].dtype == array.dtype
        np.testing.assert_array_equal(same[key], array)


# ---------------------------------------------------------------------------------------------- one lie a file

Edit = Callable[[Body, Arrays], None]


def step(body: Body, kind: str, nth: int = 0) -> Body:
    return [s for s in body["steps"] if s["op"] == kind][nth]


def table(body: Body, nth: int = 0) -> Body:
    return [b["table"] for s in body["steps"] if s["op"] == "kan" for b in s["branches"]][nth]


def set_field(where: Callable[[Body], Body], field: str, value: object) -> Edit:
    def edit(body: Body, arrays: Arrays) -> None:
        del arrays
        where(body)[field] = value

    return edit


def set_array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Edit:
    def edit(body: Body, arrays: Arrays) -> None:
        del body
        assert name in arrays, f"{name} is not among {sorted(arrays)}"
        arrays[name] = change(arrays[name])

    return edit


def put(value: object, *index: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[index or (0,) * array.ndim] = value
        return array

    return change


def both(*edits: Edit) -> Edit:
    def edit(body: Body, arrays: Arrays) -> None:
        for each in edits:
            each(body, arrays)

    return edit


def drop(name: str) -> Edit:
    def edit(body: Body, arrays: Arrays) -> None:
        del body, arrays[name]

    return edit


def without(where: Callable[[Body], Body], field: str) -> Edit:
    def edit(body: Body, arrays: Arrays) -> None:
        del arrays
        del where(body)[field]

    return edit


def absent(where: Callable[[Body], Body], field: str, array: str) -> Edit:
    """Say null in the manifest and leave the array out: consistent, but the operation needs it."""
    return both(set_field(where, field, None), drop(array))


def top(body: Body) -> Body:
    return body


def kan(body: Body) -> Body:
    return step(body, "kan")


def select(body: Body) -> Body:
    return step(body, "select")


def product(body: Body) -> Body:
    return step(body, "product")


def norm(body: Body) -> Body:
    return step(body, "layer_norm", 1)


def prelu(body: Body) -> Body:
    return step(body, "activation")


def swap_steps(body: Body, arrays: Arrays) -> None:
    del arrays
    body["steps"][0], body["steps"][1] = body["steps"][1], body["steps"][0]


def unsorted_indices(array: np.ndarray) -> np.ndarray:
    return array[::-1].copy()


NAN, INF = np.float32(np.nan), np.float32(np.inf)
T = "s0.b0.table"  # the table of a network of one layer

LIES: dict[str, tuple[str, Edit]] = {
    # the program as a whole
    "in_features of 0": ("masked", set_field(top, "in_features", 0)),
    "in_features below 0": ("masked", set_field(top, "in_features", -4)),
    "huge in_features": ("masked", set_field(top, "in_features", 2**62)),
    "in_features a float": ("masked", set_field(top, "in_features", 4.0)),
    "in_features true": ("masked", set_field(top, "in_features", True)),
    "in_features text": ("masked", set_field(top, "in_features", "4")),
    "in_features one too many": ("masked", set_field(top, "in_features", 5)),
    "out_features wrong": ("masked", set_field(top, "out_features", 4)),
    "out_features a float": ("masked", set_field(top, "out_features", 3.0)),
    "no steps": ("masked", both(set_field(top, "steps", []), lambda body, arrays: arrays.clear())),
    "steps an object": ("masked", set_field(top, "steps", {})),
    "steps null": ("masked", set_field(top, "steps", None)),
    "a step that is a number": ("masked", lambda body, arrays: body["steps"].append(7)),
    "a step without op": ("masked", lambda body, arrays: body["steps"].append({})),
    "an unknown op": ("masked", set_field(kan, "op", "wavelet")),
    "op a list": ("masked", set_field(kan, "op", ["kan"])),
    "a table as a step": ("masked", set_field(kan, "op", "segment")),
    "a missing program field": ("masked", without(top, "out_features")),
    "an extra program field": ("masked", set_field(top, "hint", 1)),
    "steps in the wrong order": ("glued", swap_steps),
    "too many steps": ("masked", lambda body, arrays: body["steps"].extend([{"op": "x"}] * 1100)),
    # arrays and references
    "an array nobody names": ("masked", lambda body, arrays: arrays.update(extra=np.zeros(3, np.float32))),
    "an array that is not there": ("masked", drop("s0.bias")),
    "a reference to another array": ("masked", set_field(kan, "bias", {"array": "s1.bias"})),
    "a reference that is a number": ("masked", set_field(kan, "bias", {"array": 5})),
    "a reference with more": ("masked", set_field(kan, "bias", {"array": "s0.bias", "offset": 8})),
    "numbers where an array belongs": ("masked", set_field(kan, "bias", [0.0] * 5)),
    "an operation where an array belongs": ("masked", set_field(kan, "bias", {"op": "select"})),
    "a missing field": ("masked", without(kan, "name")),
    "an extra field": ("masked", set_field(kan, "stride", 2)),
    # select
    "select out of range": ("glued", set_array("s0.indices", put(6))),
    "select below 0": ("glued", set_array("s0.indices", put(-1))),
    "select nothing": ("glued", set_array("s0.indices", lambda a: a[:0])),
    "select of another dtype": ("glued", set_array("s0.indices", lambda a: a.astype(np.int64))),
    "select in two dimensions": ("glued", set_array("s0.indices", lambda a: a[None])),
    "select from too many": ("glued", set_field(select, "in_features", 2**21)),
    # glue
    "affine of two lengths": ("glued", set_array("s7.bias", lambda a: a[:2])),
    "affine with NaN": ("glued", set_array("s7.scale", put(NAN))),
    "affine with infinity": ("glued", set_array("s7.bias", put(-INF))),
    "affine in float64": ("glued", set_array("s7.scale", lambda a: a.astype(np.float64))),
    "layer norm of another width": ("glued", set_field(norm, "features", 5)),
    "layer norm of width 0": ("glued", set_field(norm, "features", 0)),
    "eps below 0": ("glued", set_field(norm, "eps", -1e-5)),
    "eps an integer": ("glued", set_field(norm, "eps", 1)),
    "eps text": ("glued", set_field(norm, "eps", "1e-5")),
    "eps huge": ("glued", set_field(norm, "eps", 1e300)),
    "eps an array": ("glued", set_field(norm, "eps", {"array": "s3.weight"})),
    "layer norm weight too short": ("glued", set_array("s3.weight", lambda a: a[:3])),
    "unknown activation": ("glued", set_field(prelu, "function", "swish")),
    "activation an array": ("glued", set_field(prelu, "function", {"array": "s4.slope"})),
    "prelu without a slope": ("glued", absent(prelu, "slope", "s4.slope")),
    "relu with a slope": ("glued", set_field(prelu, "function", "relu")),
    "slope of another width": ("glued", set_array("s4.slope", lambda a: a[:1])),
    "product out of range": ("glued", set_array("s6.indices", put(6))),
    "product offsets that end early": ("glued", set_array("s6.offsets", put(5, 3))),
    "product offsets that start late": ("glued", set_array("s6.offsets", put(1))),
    "an empty product": ("glued", set_array("s6.offsets", put(3, 1))),
    "product offsets that wrap around": (
        "glued",
        set_array("s6.offsets", lambda a: np.array([0, 2**31 - 1, -(2**31), -1, 6], np.int32)),
    ),
    "product of too many features": ("glued", set_field(product, "in_features", 7)),
    "linear weight of one dimension": ("glued", set_array("s8.weight", lambda a: a.ravel())),
    "linear without outputs": (
        "glued",
        both(set_array("s8.weight", lambda a: a[:, :0]), set_array("s8.bias", lambda a: a[:0])),
    ),
    "linear of another width": ("glued", set_array("s8.weight", lambda a: a[:2])),
    "linear bias too long": ("glued", set_array("s8.bias", lambda a: np.append(a, a))),
    "linear with NaN": ("glued", set_array("s8.weight", put(NAN))),
    # KAN layers
    "layer input out of range": ("masked", set_array("s0.inputs", put(4, 2))),
    "layer inputs not ascending": ("masked", set_array("s0.inputs", unsorted_indices)),
    "layer inputs twice": ("masked", set_array("s0.inputs", put(0, 1))),
    "too few layer inputs": ("masked", set_array("s0.inputs", lambda a: a[:2])),
    "layer output out of range": ("masked", set_array("s0.outputs", put(9, 3))),
    "layer output below 0": ("masked", set_array("s0.outputs", put(-1))),
    "no layer inputs": ("masked", set_array("s0.inputs", lambda a: a[:0])),
    "outputs without a bias": ("masked", absent(kan, "bias", "s0.bias")),
    "bias too short": ("masked", set_array("s0.bias", lambda a: a[:4])),
    "bias with infinity": ("masked", set_array("s0.bias", put(INF))),
    "huge out_features": ("masked", set_field(kan, "out_features", 2**30)),
    "out_features of 0": ("masked", set_field(kan, "out_features", 0)),
    "name not text": ("masked", set_field(kan, "name", 5)),
    "name too long": ("masked", set_field(kan, "name", "x" * 257)),
    "no branches": ("straight", both(set_field(kan, "branches", []), lambda body, arrays: arrays.clear())),
    "branches an object": ("straight", lambda body, arrays: kan(body).update(branches=kan(body)["branches"][0])),
    "a branch that is a table": ("straight", lambda body, arrays: kan(body).update(branches=[table(body)])),
    "a step as a branch": ("glued", lambda body, arrays: kan(body).update(branches=[step(body, "affine")])),
    "a step as a table": ("glued", lambda body, arrays: kan(body)["branches"][0].update(table=select(body))),
    "a table of null": ("straight", lambda body, arrays: kan(body)["branches"][0].update(table=None)),
    "pre of null": ("fast", lambda body, arrays: kan(body)["branches"][0].update(pre=None)),
    "pre that changes the width": ("fast", lambda body, arrays: kan(body)["branches"][0].update(pre=[{"op": "kan"}])),
    "pre of another width": ("fast", lambda body, arrays: kan(body)["branches"][0]["pre"][0].update(features=3)),
    # base tables
    "unknown base function": ("masked", lambda body, arrays: table(body, 1).update(function="mish")),
    "base weight with NaN": ("masked", set_array("s0.b1.table.weight", put(NAN))),
    "base weight transposed": ("masked", set_array("s0.b1.table.weight", lambda a: a.T.copy())),
    # segment tables
    "one sample": ("folded", set_field(table, "samples", 1)),
    "samples do not divide the rows": ("folded", set_field(table, "samples", 5)),
    "samples a float": ("folded", set_field(table, "samples", 4.0)),
    "huge samples": ("folded", set_field(table, "samples", 2**40)),
    "unknown interpolation": ("folded", set_field(table, "interpolation", "cubic")),
    "interpolation an array": ("folded", set_field(table, "interpolation", {"array": f"{T}.knots"})),
    "interpolation null": ("folded", set_field(table, "interpolation", None)),
    "unknown boundary": ("folded", set_field(table, "boundary", "open")),
    "boundary a number": ("folded", set_field(table, "boundary", 0)),
    "unknown outside": ("folded", set_field(table, "outside", "wrap")),
    "q of -128": ("folded", set_array(f"{T}.q", put(-128))),
    "q of int16": ("folded", set_array(f"{T}.q", lambda a: a.astype(np.int16))),
    "q of uint8 without an offset": ("folded", set_array(f"{T}.q", lambda a: np.abs(a).astype(np.uint8))),
    "int8 with an offset": ("straight", set_array(f"{T}.q", lambda a: (a // 2).astype(np.int8))),
    "q of two dimensions": ("folded", set_array(f"{T}.q", lambda a: a[0])),
    "q of one input fewer": ("folded", set_array(f"{T}.q", lambda a: a[:2])),
    "q without inputs": ("folded", set_array(f"{T}.q", lambda a: a[:0])),
    "q of one row fewer": ("folded", set_array(f"{T}.q", lambda a: a[:, :-1].copy())),
    "q of one output fewer": ("folded", set_array(f"{T}.q", lambda a: a[:, :, :-1].copy())),
    "scale with NaN": ("folded", set_array(f"{T}.scale", put(NAN))),
    "scale with infinity": ("folded", set_array(f"{T}.scale", put(INF))),
    "scale in float64": ("folded", set_array(f"{T}.scale", lambda a: a.astype(np.float64))),
    "scale transposed": ("folded", set_array(f"{T}.scale", lambda a: a.transpose(2, 1, 0).copy())),
    "offset with NaN": ("straight", set_array(f"{T}.offset", put(NAN))),
    "offset too small": ("straight", set_array(f"{T}.offset", lambda a: a[:1])),
    "knots not ascending": ("folded", set_array(f"{T}.knots", lambda a: a[:, ::-1].copy())),
    "two knots swapped": ("folded", set_array(f"{T}.knots", put(9.0, 0, 4))),
    "knots of an input not ascending": ("adapted", set_array(f"{T}.knots", put(-99.0, 2, 5))),
    "knots with NaN": ("folded", set_array(f"{T}.knots", put(NAN))),
    "knots with infinity": ("folded", set_array(f"{T}.knots", put(INF, 0, -1))),
    "knots too wide": ("folded", set_array(f"{T}.knots", lambda a: np.sign(a) * np.float32(3e38))),
    "knots of two inputs": ("adapted", set_array(f"{T}.knots", lambda a: a[:2])),
    "one knot": ("folded", set_array(f"{T}.knots", lambda a: a[:, :1].copy())),
    "no knots": ("folded", set_array(f"{T}.knots", lambda a: a[:, :0].copy())),
    "a knot fewer": ("folded", set_array(f"{T}.knots", lambda a: a[:, 1:].copy())),
    "edge scale with NaN": ("scaled", set_array(f"{T}.edge_scale", put(NAN))),
    "edge scale transposed": ("scaled", set_array(f"{T}.edge_scale", lambda a: a.T.copy())),
    "outside base without a base": ("scaled", set_field(table, "outside", "base")),
    "a base without outside base": ("folded", set_field(table, "outside", "clip")),
    "base of null with a weight": ("folded", set_field(table, "base", None)),
    "base an array": ("folded", set_field(table, "base", {"array": f"{T}.base_weight"})),
    "an unknown base": ("folded", set_field(table, "base", "mish")),
    "base weight absent": ("folded", absent(table, "base_weight", f"{T}.base_weight")),
    "base weight too small": ("folded", set_array(f"{T}.base_weight", lambda a: a[:1])),
    "straight tails of nearest samples": ("straight", set_field(table, "interpolation", "nearest")),
}


def test_there_are_enough_lies():
    assert len(LIES) >= 60


@pytest.mark.parametrize("lie", LIES)
def test_a_program_that_lies_is_refused(lie):
    base, edit = LIES[lie]
    body, arrays = parts(base)
    edit(body, arrays)
    with pytest.raises(ArtifactError) as caught:
        reopen(body, arrays)
    assert caught.value.allowed, f"the message does not say what is allowed: {caught.value}"


@pytest.mark.parametrize("program", [None, [], "kan", 5, {}, {"op": "kan"}])
def test_a_program_that_is_none(program):
    with pytest.raises(ArtifactError, match=r"manifest\.program is malformed"):
        reopen(program, {})
    with pytest.raises(ArtifactError, match=r"manifest\.program is malformed"):
        lutkan.Artifact.open(pack({}, {}))


# ------------------------------------------------------------------------------------------------- golden vectors

X, Y = np.zeros((2, 4), np.float32), np.zeros((2, 3), np.float32)
GOLDEN = {"rows": 2, "x": "golden.x", "y": "golden.y"}


def test_golden_vectors_come_back():
    body, arrays = parts("masked")
    artifact = reopen(body, {**arrays, "golden.x": X, "golden.y": Y}, golden=GOLDEN)
    np.testing.assert_array_equal(artifact.golden_x, X)
    assert reopen(body, arrays).golden_x is None


@pytest.mark.parametrize(
    ("golden", "x", "y"),
    [
        (None, X, Y),
        (GOLDEN, None, None),
        (GOLDEN, X, None),
        (GOLDEN, None, Y),
        (GOLDEN, X[:1], Y),
        (GOLDEN, X, Y[:1]),
        (GOLDEN, X[:, :3], Y),
        (GOLDEN, X, Y[:, :2]),
        (GOLDEN, X.ravel(), Y),
        (GOLDEN, X.astype(np.float64), Y),
        (GOLDEN, X, Y.astype(np.int32)),
        (GOLDEN, X, np.full_like(Y, np.nan)),
        (GOLDEN, np.full_like(X, np.inf), Y),
        ({**GOLDEN, "rows": 3}, X, Y),
        ({**GOLDEN, "rows": 2.0}, X, Y),
        ({**GOLDEN, "rows": "2"}, X, Y),
        ({**GOLDEN, "rows": True}, X[:1], Y[:1]),
        ({**GOLDEN, "x": "golden.y"}, X, Y),
        ({**GOLDEN, "z": 1}, X, Y),
        ({"rows": 2}, X, Y),
        ([2, "golden.x", "golden.y"], X, Y),
        ("golden", X, Y),
        (True, X, Y),
    ],
)
def test_golden_vectors_that_do_not_fit(golden, x, y):
    body, arrays = parts("masked")
    arrays |= {name: array for name, array in (("golden.x", x), ("golden.y", y)) if array is not None}
    manifest = {} if golden is None else {"golden": golden}
    with pytest.raises(ArtifactError, match=r"golden|what the operations name"):
        reopen(body, arrays, **manifest)


# ---------------------------------------------------------------------------------------- objects made by hand


def f(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def i(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SelectOp(3, [0, 1]),
        lambda: SelectOp(3, i(0, 3)),
        lambda: AffineOp(f(1), f(1, 2)),
        lambda: AffineOp([1.0], [1.0]),
        lambda: ActivationOp(3, "identity", f(1, 1, 1)),
        lambda: ActivationOp(0, "relu"),
        lambda: LinearOp(np.asfortranarray(np.ones((2, 3), np.float32)), None),
        lambda: ProductOp(2, i(0, 1), i(0, 1)),
        lambda: ProductOp(4, i(0, 1, 2), i(0, 2**31 - 1, -(2**31), -1, 3)),
        lambda: BranchOp([], None),
        lambda: BranchOp((SelectOp(1, i(0)),), None),
        lambda: KANOp("x", 1, 1, None, None, None, ()),
        lambda: Program(2, (AffineOp(f(1), f(1)),)),
        lambda: Program(1, [AffineOp(f(1), f(1))]),
        lambda: Program(1, ()),
        lambda: Program(1, (None,)),
    ],
)
def test_constructors_check(make):
    with pytest.raises(ArtifactError):
        make()


def test_shapes_and_edges():
    program = BASE["glued"]
    assert (program.in_features, program.out_features) == (6, 2)
    assert program.edges == 5 * 4 + 4 * 6 + 3 * 2
    kinds = [op.op for op in program.steps]
    assert kinds.count("kan") == 3 and isinstance(program.steps[1].branches[0].table, SegmentTable)


def test_the_names_of_arrays_are_their_paths():
    _, arrays = parts("fast")
    assert {"s0.bias", "s0.b0.p0.weight", "s0.b0.table.knots", "s0.b0.table.q", "s0.b1.table.weight"} <= set(arrays)


def test_every_case_of_the_conformance_list_comes_back_as_it_was():
    for case in CASES:
        body, arrays = encode_program(case.artifact.program)
        again, same = encode_program(lutkan.Artifact.open(case.artifact.to_bytes()).program)
        assert again == body, case.name
        assert all(np.array_equal(same[key], array) for key, array in arrays.items())
