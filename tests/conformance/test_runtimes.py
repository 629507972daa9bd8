"""Every runtime gives the bits of the reference runtime on the conformance list, and treats bad input alike.

The reference runtime itself is compared with `oracle`, a second reading of the specification.
"""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import lutkan
from conformance import oracle
from conformance.cases import CASES, Case, same_bits
from lutkan.artifact.program import OPS, AffineOp, KANOp, Program
from lutkan.errors import InputError
from lutkan.runtimes import available_runtimes

FAST = [name for name in available_runtimes() if name != "reference"]


def require(runtime: str) -> str:
    missing = available_runtimes()[runtime]
    if missing:
        pytest.skip(f"needs {missing}")
    return runtime


@pytest.fixture(params=FAST)
def runtime(request) -> str:
    return require(request.param)


@pytest.fixture(params=available_runtimes())
def any_runtime(request) -> str:
    return require(request.param)


def by_name(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def predict(case: Case, runtime: str, X: object = None, **options) -> np.ndarray:
    return lutkan.load(case.artifact, runtime=runtime, **options).predict(case.rows if X is None else X)


def assert_same_bits(found: np.ndarray, expected: np.ndarray, rows: np.ndarray) -> None:
    assert found.dtype == np.float32 and found.shape == expected.shape
    wrong = np.argwhere(~same_bits(np.ascontiguousarray(found), np.ascontiguousarray(expected)))
    if len(wrong):
        row, column = wrong[0]
        pytest.fail(
            f"{len(wrong)} values differ; row {row} {rows[row].tolist()}, output {column}: "
            f"{found[row, column]!r}, expected {expected[row, column]!r}"
        )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bit_identical(case, runtime):
    assert_same_bits(predict(case, runtime), predict(case, "reference"), case.rows)


@pytest.mark.parametrize("case", [c for c in CASES if c.name != "wide"], ids=lambda case: case.name)
def test_reference_agrees_with_a_second_reading_of_the_specification(case):
    program = case.artifact.program
    assert_same_bits(predict(case, "reference"), oracle.predict(program, case.rows), case.rows)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_row_does_not_depend_on_its_neighbours(case, any_runtime):
    model = lutkan.load(case.artifact, runtime=any_runtime)
    rows = case.rows[::7]
    single = np.stack([model.predict(row) for row in rows])
    assert_same_bits(single, model.predict(case.rows)[::7], rows)


def test_the_list_covers_every_operation_and_flag():
    seen: dict[str, set[object]] = {}
    for case in CASES:
        for step in case.artifact.program.steps:
            seen.setdefault("op", set()).add(step.op)
            if not isinstance(step, KANOp):
                if step.op == "activation":
                    seen.setdefault("activation", set()).add(step.function)
                continue
            seen.setdefault("selects", set()).update({step.inputs is not None, step.outputs is not None})
            seen.setdefault("bias", set()).add(step.bias is not None)
            if step.requantize is not None:
                seen["op"].add("requantize")
            for branch in step.branches:
                seen["op"] |= {"branch", branch.table.op, *(pre.op for pre in branch.pre)}
                table = branch.table
                if table.op == "base":
                    seen.setdefault("base", set()).add(table.function)
                if table.op != "segment":
                    continue
                for field in ("interpolation", "boundary", "outside", "base"):
                    seen.setdefault(f"segment.{field}", set()).add(getattr(table, field))
                seen.setdefault("segment.q", set()).add(table.q.dtype.name)
                seen.setdefault("segment.edge_scale", set()).add(table.edge_scale is not None)
                seen.setdefault("segment.knots", set()).add(len(table.knots) > 1)
                seen.setdefault("combinations", set()).add((table.interpolation, table.boundary, table.outside))
    functions = {"identity", "silu", "gelu", "relu", "tanh", "sigmoid"}
    assert seen["op"] == set(OPS)
    assert seen["activation"] >= {"prelu", "relu", "sigmoid"}
    assert seen["base"] == functions
    assert seen["segment.base"] == {None, "silu", "gelu", "tanh", "identity"}
    assert seen["segment.interpolation"] == {"linear", "nearest"}
    assert seen["segment.boundary"] == {"half_open", "closed"}
    assert seen["segment.outside"] == {"clip", "zero", "base", "linear"}
    assert seen["segment.q"] == {"int8", "uint8"}
    for flag in ("selects", "bias", "segment.edge_scale", "segment.knots"):
        assert seen[flag] == {False, True}, flag
    assert len(seen["combinations"]) >= 12


# ------------------------------------------------------------------------------------------------------------- input


def message(case: Case, runtime: str, X: object) -> str:
    with pytest.raises(InputError) as caught:
        predict(case, runtime, X)
    return str(caught.value)


BAD = {
    "NaN": (np.array([[0.0, 1.0, 2.0], [0.0, np.nan, 1.0]]), r"X[1, 1] is NaN"),
    "narrow": (np.zeros((4, 2)), "X has shape (4, 2); allowed: [N, 3] or [3]"),
    "wide": (np.zeros((4, 4)), "X has shape (4, 4)"),
    "three dimensions": (np.zeros((1, 4, 3)), "X has shape (1, 4, 3)"),
    "scalar": (1.0, "X has shape ()"),
    "text": ([["a", "b", "c"]], "X has dtype <U1"),
    "objects": (np.array([[1, 2.0, None]], dtype=object), "X has dtype object"),
    "complex": (np.zeros((2, 3), complex), "X has dtype complex128"),
    "dates": (np.zeros((2, 3), "datetime64[s]"), "X has dtype datetime64[s]"),
    "ragged": ([[1, 2, 3], [4, 5]], "X is a list that is no array"),
    "masked": (np.ma.masked_array(np.zeros((1, 3)), [[False, True, False]]), "masked entries"),
    "empty, wrong width": (np.zeros((0, 2)), "X has shape (0, 2)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_the_same_words(name, any_runtime):
    X, words = BAD[name]
    case = by_name("splines-int8-L16-linear-half_open-model-auto")
    assert words in message(case, any_runtime, X)
    assert message(case, any_runtime, X) == message(case, "reference", X)


def rows(n: int = 70, width: int = 3, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 1.5, (n, width)).astype(np.float32)


LIKE = {
    "float64": lambda x: x.astype(np.float64),
    "list": lambda x: x.tolist(),
    "fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "columns of a wider array": lambda x: np.concatenate([x, x], axis=1)[:, :3],
    "reversed": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "read-only": lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    "other byte order": lambda x: x.astype(">f4"),
    "unaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape),
    "matrix of zero stride": lambda x: np.broadcast_to(x[:1], x.shape),
}


@pytest.mark.parametrize("like", LIKE)
def test_layout_and_type_of_the_input_do_not_matter(like, any_runtime):
    case = by_name("fast-kan")
    x = rows(width=4)
    given = LIKE[like](x)
    if isinstance(given, np.ndarray) and given.shape[1] == 3:
        case, x = by_name("chebyshev"), x[:, :3]
    before = np.array(given, copy=True)
    expected = np.ascontiguousarray(np.asarray(given, dtype=np.float32))
    assert_same_bits(predict(case, any_runtime, given), predict(case, "reference", expected), expected)
    np.testing.assert_array_equal(np.asarray(given), before)


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint64", "int32", "bool", "float64", "longdouble"])
def test_numbers_are_rounded_to_float32(dtype, any_runtime):
    case = by_name("splines-int8-L16-linear-half_open-model-auto")
    x = (rows() * 2).astype(dtype) if dtype != "bool" else rows() > 0
    expected = predict(case, "reference", x.astype(np.float32))
    assert_same_bits(predict(case, any_runtime, x), expected, x)


def test_float64_beyond_float32_becomes_infinite(any_runtime):
    case = by_name("chebyshev")
    found = predict(case, any_runtime, np.array([[1e300, -1e300, 0.0]]))
    expected = predict(case, "reference", np.array([[np.inf, -np.inf, 0.0]], np.float32))
    assert_same_bits(found, expected, np.zeros((1, 3)))


def test_empty_batch_gives_an_empty_answer(any_runtime):
    y = predict(by_name("glued"), any_runtime, np.zeros((0, 6)))
    assert y.shape == (0, 2) and y.dtype == np.float32


def test_one_row_gives_one_row(any_runtime):
    case = by_name("chebyshev")
    x = rows(5)
    model = lutkan.load(case.artifact, runtime=any_runtime)
    y = model.predict(x[3])
    assert y.shape == (4,)
    assert same_bits(y, model.predict(x)[3]).all()


def test_out_is_written_and_returned(any_runtime):
    case = by_name("chebyshev")
    model, x = lutkan.load(case.artifact, runtime=any_runtime), rows()
    out = np.full((len(x), 4), 7.0, np.float32)
    assert model.predict(x, out=out) is out
    assert same_bits(out, model.predict(x)).all()
    single = np.empty(4, np.float32)
    assert model.predict(x[0], out=single) is single
    assert same_bits(single, out[0]).all()
    strided = np.zeros((len(x), 8), np.float32)
    model.predict(x, out=strided[:, ::2])
    assert same_bits(np.ascontiguousarray(strided[:, ::2]), out).all() and not strided[:, 1::2].any()


@pytest.mark.parametrize(
    "out",
    [
        np.empty((70, 3), np.float32),
        np.empty((69, 4), np.float32),
        np.empty((70, 4), np.float64),
        np.empty(280, np.float32),
        [[0.0] * 4] * 70,
        np.broadcast_to(np.float32(0), (70, 4)),
    ],
    ids=["width", "rows", "dtype", "flat", "list", "read-only"],
)
def test_an_out_that_does_not_fit_is_refused(out, any_runtime):
    model = lutkan.load(by_name("chebyshev").artifact, runtime=any_runtime)
    with pytest.raises(InputError, match=r"out is .*; allowed: a writeable float32 array of shape"):
        model.predict(rows(), out=out)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 63, 128, 200])
def test_threads_do_not_change_the_answer(threads, n, any_runtime):
    case = by_name("glued")
    x = rows(n, 6)
    assert_same_bits(predict(case, any_runtime, x, threads=threads), predict(case, "reference", x), x)


def test_pickled_model_answers_alike(any_runtime):
    case = by_name("glued")
    model = lutkan.load(case.artifact, runtime=any_runtime, threads=2, nan="propagate")
    copy = pickle.loads(pickle.dumps(model))
    assert copy.info() == model.info()
    assert_same_bits(copy.predict(case.rows), model.predict(case.rows), case.rows)


def test_concurrent_calls_do_not_disturb_each_other(any_runtime):
    case = by_name("glued")
    model = lutkan.load(case.artifact, runtime=any_runtime)
    batches = [rows(40 + n, 6, seed=n) for n in range(24)]
    expected = [model.predict(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(model.predict, batches))
    for y, want, batch in zip(found, expected, batches, strict=True):
        assert_same_bits(y, want, batch)


# --------------------------------------------------------------------------------------------------------------- NaN


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nan_in_a_row_gives_a_nan_row_and_no_other(case, any_runtime):
    n = case.artifact.program.in_features
    x = rows(2 * n + 1, n)
    clean = predict(case, any_runtime, x)
    x[np.arange(n), np.arange(n)] = np.nan  # one column after the other: live, dead and unselected ones
    x[2 * n, 0] = -np.float32(np.nan)
    y = predict(case, any_runtime, x, nan="propagate")
    hit = np.isnan(x).any(axis=1)
    assert np.isnan(y[hit]).all()
    assert_same_bits(y[~hit], clean[~hit], x[~hit])


def test_nan_that_arises_inside_gives_a_nan_row(any_runtime):
    # 0 * inf in the affine step; the KAN layer behind it does not even read that feature.
    case = by_name("masked")
    steps = case.artifact.program.steps
    scale = np.ones(4, np.float32)
    scale[1] = 0.0
    program = Program(4, (AffineOp(scale, np.zeros(4, np.float32)), *steps))
    artifact = replace(case.artifact, program=program)
    x = np.array([[0, np.inf, 0, 0], [0, 1, 0, 0]], np.float32)
    y = lutkan.load(artifact, runtime=any_runtime).predict(x)
    assert np.isnan(y[0]).all() and np.isfinite(y[1]).all()
