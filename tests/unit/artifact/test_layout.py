"""Where arrays lie in the members of a file: one layout for a content, every byte named once."""

from __future__ import annotations

import copy
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import lutkan
from conformance import networks
from lutkan.artifact.codec import encode_program
from lutkan.artifact.container import pack
from lutkan.artifact.layout import OWN_MEMBER_BYTES, lay_out, take_up
from lutkan.artifact.program import MAX_RADIAL_WEIGHTS, AffineOp, Program, RadialTable, SelectOp
from lutkan.errors import ArtifactError
from lutkan.ir import EdgeBank, GaussianRBF
from lutkan.tables import SegmentSpec


def f(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


WIDE = OWN_MEMBER_BYTES // 4
PROGRAM = Program(3, (AffineOp(f(3), f(3) + 9), SelectOp(3, np.array([2, 0], np.int32))))
LARGE = Program(WIDE, (AffineOp(f(WIDE), f(WIDE)), SelectOp(WIDE, np.array([5, 1], np.int32)), AffineOp(f(2), f(2))))


def placed(program: Program) -> tuple[Any, dict[str, np.ndarray]]:
    body, arrays = encode_program(program)
    parts, members = lay_out({"program": body}, arrays)
    return copy.deepcopy(parts["program"]), members


def reopen(body: Any, members: dict[str, np.ndarray]) -> Program:
    return lutkan.Artifact.open(pack({"program": body}, members)).program


def test_small_arrays_lie_one_after_another_in_the_order_of_their_paths():
    body, members = placed(PROGRAM)
    assert body["steps"][0] == {"op": "affine", "bias": ["float32", 0, 3], "scale": ["float32", 3, 3]}
    assert body["steps"][1]["indices"] == ["int32", 0, 2]
    assert {name: member.tolist() for name, member in members.items()} == {
        "float32": [9.0, 10.0, 11.0, 0.0, 1.0, 2.0],
        "int32": [2, 0],
    }


def test_large_arrays_are_members_of_their_own():
    body, members = placed(LARGE)
    assert body["steps"][0]["scale"] == ["s0.scale", 0, WIDE]
    assert body["steps"][2]["scale"] == ["float32", 2, 2]
    assert sorted(members) == ["float32", "int32", "s0.bias", "s0.scale"]
    assert reopen(body, members).steps[0].scale.size == WIDE


def test_layers_share_what_follows_from_the_spec_alone():
    net = networks.network(networks.splines(3, 4).steps[0], networks.splines(4, 2, 1).steps[0])
    artifact = lutkan.compile(net, "int8", calibration=np.random.default_rng(0).uniform(-1, 1, (50, 3)))
    tables = [step["branches"][0]["table"] for step in artifact.manifest["program"]["steps"]]
    assert tables[0]["weights"] == tables[1]["weights"]
    assert tables[0]["scale"] != tables[1]["scale"]
    again = lutkan.Artifact.open(artifact.to_bytes())
    weights = [step.branches[0].table.weights for step in again.program.steps]
    np.testing.assert_array_equal(*weights)


def test_there_and_back():
    for program in (PROGRAM, LARGE, lutkan.compile(networks.masked(), SegmentSpec(4)).program):
        body, arrays = encode_program(program)
        parts, members = lay_out({"program": body}, arrays)
        again, golden, found = take_up(parts["program"], None, members)
        assert again == body and golden is None and set(found) == set(arrays)
        assert all(np.array_equal(found[path], array) for path, array in arrays.items())


def test_arrays_that_were_read_are_views_of_the_file():
    artifact = lutkan.Artifact.open(lutkan.compile(networks.masked(), SegmentSpec(4)).to_bytes())
    for array in encode_program(artifact.program)[1].values():
        assert array.base is not None and not array.flags.writeable


def edit(place: object, *path: object) -> Any:
    """Change one place of PROGRAM (or, with "large" first, of LARGE)."""
    large = path[0] == "large"
    body, members = placed(LARGE if large else PROGRAM)
    step, field = path[1:] if large else path
    body["steps"][step][field] = place
    return body, members


WRONG = {
    "no list": ({"array": "s0.scale"}, 0, "scale"),
    "empty": ([], 0, "scale"),
    "name only": (["float32"], 0, "scale"),
    "no name": ([3, 3, 3], 0, "scale"),
    "unknown member": (["float64", 3, 3], 0, "scale"),
    "a path that is no member": (["s0.scale", 0, 3], 0, "scale"),
    "beyond the end": (["float32", 4, 3], 0, "scale"),
    "far beyond the end": (["float32", 2**62, 3], 0, "scale"),
    "below 0": (["float32", -3, 3], 0, "scale"),
    "start a float": (["float32", 3.0, 3], 0, "scale"),
    "start true": (["float32", True, 3], 0, "scale"),
    "negative dimension": (["float32", 3, -1], 0, "scale"),
    "huge dimension": (["float32", 3, 2**62], 0, "scale"),
    "huge dimensions beside a 0": (["float32", 3, 0, 2**62, 2**62], 0, "scale"),
    "too many dimensions": (["float32", 3, 1, 1, 1, 1, 3], 0, "scale"),
    "another shape": (["float32", 3, 3, 1], 0, "scale"),
    "no shape": (["float32", 3], 0, "scale"),
    "the bytes of another array": (["float32", 0, 3], 0, "scale"),
    "one element early": (["float32", 2, 3], 0, "scale"),
    "one element fewer": (["float32", 3, 2], 0, "scale"),
    "another dtype": (["int32", 0, 2], 0, "scale"),
    "a large array in part": (["s0.scale", 0, WIDE - 1], "large", 0, "scale"),
    "a large array from its second element": (["s0.scale", 1, WIDE - 1], "large", 0, "scale"),
    "the large array of another field": (["s0.bias", 0, WIDE], "large", 0, "scale"),
}


@pytest.mark.parametrize("name", WRONG)
def test_other_places_are_refused(name):
    place, *path = WRONG[name]
    with pytest.raises(ArtifactError) as caught:
        reopen(*edit(place, *path))
    assert caught.value.allowed


def test_swapped_places_are_refused():
    body, members = placed(PROGRAM)
    affine = body["steps"][0]
    affine["scale"], affine["bias"] = affine["bias"], affine["scale"]
    with pytest.raises(ArtifactError, match="where saving puts it"):
        reopen(body, members)


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members.update(extra=np.zeros(3, np.float32)),
        lambda members: members.update(int8=np.zeros(0, np.int8)),
        lambda members: members.update(float32=np.append(members["float32"], np.float32(0))),
        lambda members: members.update(float32=members["float32"].reshape(2, 3)),
        lambda members: members.update(float32=members["float32"].astype(np.float64)),
        lambda members: members.pop("int32"),
    ],
)
def test_members_with_more_or_less_are_refused(change):
    body, members = placed(PROGRAM)
    change(members)
    with pytest.raises(ArtifactError):
        reopen(body, members)


def test_naming_the_same_bytes_many_times_takes_no_memory():
    """A file of 70 KB that says it holds 1000 arrays of 32 KB is refused before anything is joined."""
    body, members = placed(Program(WIDE // 2, (AffineOp(f(WIDE // 2), f(WIDE // 2)),)))
    body["steps"] = body["steps"] * 500
    data = pack({"program": body}, members)
    assert len(data) < 400_000
    tracemalloc.start()
    with pytest.raises(ArtifactError, match="what the operations name"):
        lutkan.Artifact.open(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * 2**20


def test_radial_tables_that_unfold_to_very_many_weights_are_refused():
    rng = np.random.default_rng(0)
    radial = networks.Branch(EdgeBank(GaussianRBF(np.linspace(-2, 2, 6), 0.8), rng.normal(size=(4, 6, 4))))
    step = lutkan.compile(networks.one_layer(radial), "int8").program.steps[0]
    branch = step.branches[0]
    assert isinstance(branch.table, RadialTable)
    long = replace(branch, table=replace(branch.table, positions=1 << 16))
    each = long.table.positions * long.table.taps
    steps = MAX_RADIAL_WEIGHTS // each
    Program(4, (replace(step, branches=(long,)),) * steps)
    with pytest.raises(ArtifactError, match="radial tables: unfold to"):
        Program(4, (replace(step, branches=(long,)),) * (steps + 1))
