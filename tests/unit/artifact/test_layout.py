"""Where arrays lie in the members of a file: one way, told by the arrays alone, and nothing else is read."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lutkan
from conformance import networks
from lutkan.artifact.container import pack, unpack
from lutkan.artifact.layout import OWN_MEMBER_BYTES, lay_out, take_up
from lutkan.artifact.program import RadialTable
from lutkan.errors import ArtifactError
from lutkan.tables import BasisSpec

ARRAYS = {
    "s0.scale": np.arange(3, dtype=np.float32),
    "s0.bias": np.arange(10, 13, dtype=np.float32),
    "s1.b0.table.q": np.arange(-6, 6, dtype=np.int8).reshape(2, 3, 2),
    "s1.b0.table.weights": np.ones((4, 4), np.uint8),
    "s1.b1.table.weights": np.ones((4, 4), np.uint8),
    "golden.x": np.zeros((2, 3), np.float32),
    "golden.y": np.ones((2, 2), np.float32),
}
PROGRAM = {
    "in_features": 3,
    "steps": [
        {"op": "affine", "scale": {"array": "s0.scale"}, "bias": {"array": "s0.bias"}},
        {
            "op": "kan",
            "inputs": None,
            "branches": [
                {"pre": [], "table": {"q": {"array": "s1.b0.table.q"}, "weights": {"array": "s1.b0.table.weights"}}},
                {"pre": [], "table": {"weights": {"array": "s1.b1.table.weights"}}},
            ],
        },
    ],
}
GOLDEN = {"rows": 2, "x": "golden.x", "y": "golden.y"}


def laid_out():
    placed, members = lay_out({"program": PROGRAM, "golden": GOLDEN}, ARRAYS)
    return json.loads(json.dumps(placed)), members


def test_small_arrays_lie_by_path_in_one_member_a_dtype():
    placed, members = laid_out()
    assert {name: (str(m.dtype), m.shape) for name, m in members.items()} == {
        "float32": ("float32", (16,)),
        "int8": ("int8", (12,)),
        "uint8": ("uint8", (16,)),
    }
    assert placed["golden"] == {"rows": 2, "x": ["float32", 0, 2, 3], "y": ["float32", 6, 2, 2]}
    affine, kan = placed["program"]["steps"]
    assert (affine["bias"], affine["scale"]) == (["float32", 10, 3], ["float32", 13, 3])
    assert kan["branches"][0]["table"] == {"q": ["int8", 0, 2, 3, 2], "weights": ["uint8", 0, 4, 4]}


def test_layers_share_equal_weights_and_nothing_else():
    placed, _ = laid_out()
    first, second = (branch["table"]["weights"] for branch in placed["program"]["steps"][1]["branches"])
    assert first == second
    twins = {"s0.scale": np.ones(3, np.float32), "s1.scale": np.ones(3, np.float32)}
    assert lay_out({}, twins)[1]["float32"].size == 6
    other = {**ARRAYS, "s1.b1.table.weights": np.zeros((4, 4), np.uint8)}
    assert lay_out({}, other)[1]["uint8"].size == 32


def test_there_and_back():
    placed, members = laid_out()
    program, golden, arrays = take_up(placed["program"], placed["golden"], members)
    assert program == PROGRAM and golden == GOLDEN
    assert set(arrays) == set(ARRAYS)
    for path, array in ARRAYS.items():
        assert arrays[path].dtype == array.dtype
        np.testing.assert_array_equal(arrays[path], array)


def test_large_arrays_are_members_of_their_own():
    q = np.zeros(OWN_MEMBER_BYTES, np.int8)
    placed, members = lay_out({"program": {"q": {"array": "q"}, "r": {"array": "r"}}}, {"q": q, "r": q[1:]})
    assert placed["program"] == {"q": ["q", 0, OWN_MEMBER_BYTES], "r": ["int8", 0, OWN_MEMBER_BYTES - 1]}
    assert take_up(placed["program"], None, members)[2]["q"] is members["q"]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ([], "array place"),
        (["float32"], "array place"),
        ([3, 0, 3], "array place"),
        ([["float32"], 0, 3], "array place"),
        (["float32", 13, 3, 1, 1, 1, 1], "array place"),
        (["float32", -1, 3], "array place"),
        (["float32", 13.0, 3], "array place"),
        (["float32", True, 3], "array place"),
        (["float32", 13, -3], "array place"),
        (["float32", 13, "3"], "array place"),
        (["float64", 0, 3], "one of the members"),
        (["s0.scale", 0, 3], "one of the members"),
        (["float32", 14, 3], "within the member"),
        (["float32", 13, 2**62, 2**62], "within the member"),
        (["float32", 12, 3], "what the operations name|where saving puts it"),
        (["float32", 10, 3], "what the operations name|where saving puts it"),
        (["float32", 13, 2], "what the operations name|where saving puts it"),
        (["int8", 0, 3], "what the operations name|where saving puts it"),
        ({"array": "s0.scale"}, "array reference"),
        ({"array": 1, "x": 2}, "array reference"),
        (None, "what the operations name"),
    ],
)
def test_other_places_are_refused(place, words):
    placed, members = laid_out()
    placed["program"]["steps"][0]["scale"] = place
    with pytest.raises(ArtifactError, match=words):
        take_up(placed["program"], placed["golden"], members)


def test_two_places_cannot_be_exchanged():
    placed, members = laid_out()
    affine = placed["program"]["steps"][0]
    affine["scale"], affine["bias"] = affine["bias"], affine["scale"]
    with pytest.raises(ArtifactError, match="where saving puts it"):
        take_up(placed["program"], placed["golden"], members)


def test_weights_that_could_be_shared_have_to_be():
    placed, members = laid_out()
    placed["program"]["steps"][1]["branches"][1]["table"]["weights"] = ["uint8", 16, 4, 4]
    members = {**members, "uint8": np.ones(32, np.uint8)}
    with pytest.raises(ArtifactError, match="'uint8' is uint8"):
        take_up(placed["program"], placed["golden"], members)


@pytest.mark.parametrize("extra", ["int16", "s9.q"])
def test_members_that_nobody_names_are_refused(extra):
    placed, members = laid_out()
    with pytest.raises(ArtifactError, match=f"'{extra}' is int16"):
        take_up(placed["program"], placed["golden"], {**members, extra: np.zeros(4, np.int16)})


def test_a_large_array_may_not_hide_among_small_ones():
    q = np.zeros(OWN_MEMBER_BYTES, np.int8)
    with pytest.raises(ArtifactError, match="what the operations name"):
        take_up({"q": ["int8", 0, OWN_MEMBER_BYTES]}, None, {"int8": q})
    with pytest.raises(ArtifactError, match="within the member"):
        take_up({"q": ["q", 4, 4]}, None, {"q": q})


def test_a_file_laid_out_by_hand_is_refused():
    artifact = lutkan.compile(networks.splines(), BasisSpec())
    manifest, members = unpack(artifact.to_bytes())
    assert pack(manifest, members) == artifact.to_bytes()
    padded = {**members, "float32": np.append(members["float32"], np.float32(0))}
    with pytest.raises(ArtifactError, match="'float32' is float32"):
        lutkan.Artifact.open(pack(manifest, padded))


def test_a_small_network_pays_for_its_weights_once():
    rng = np.random.default_rng(0)
    net = networks.network(
        networks.KANLayer("a", (networks.spline(rng, 6, 5),)), networks.KANLayer("b", (networks.spline(rng, 5, 2),))
    )
    for bits, position_bits in ((8, 8), (16, 10)):
        artifact = lutkan.compile(net, BasisSpec(bits))
        tables = [step.branches[0].table for step in artifact.program.steps]
        codes = sum(table.q.nbytes for table in tables)
        assert artifact.nbytes < codes + (4 << position_bits) * (bits // 8) + 5500
        again = lutkan.Artifact.open(artifact.to_bytes())
        for table, same in zip(tables, again.program.steps, strict=True):
            np.testing.assert_array_equal(same.branches[0].table.weights, table.weights)


# ------------------------------------------------------------------------------------------------ bumps of one shape


def radial(steps: list[int], dtype: type = np.uint8, **changes) -> RadialTable:
    fields = {
        "in_features": 1,
        "out_features": 1,
        "rows": 3,
        "coefficient_bits": 8,
        "q": np.ones((1, 3, 1), np.int8),
        "scale": np.ones(1, np.float32),
        "low": np.zeros(1, np.float32),
        "inverse": np.ones(1, np.float32),
        "positions": 2 * len(steps) + 4,
        "stride": 2,
        "profile_steps": np.array(steps, dtype),
    }
    return RadialTable(**{**fields, **changes})


def test_a_bump_is_stored_as_the_steps_of_its_left_half():
    table = radial([1, 20, 30])
    assert table.profile.tolist() == [1, 21, 51, 51, 21, 1] and table.profile.dtype == np.uint8
    assert table.taps == 4 and table.weights.shape == (10, 4)
    assert table.weights[:, 1].tolist() == [0, 0, 1, 21, 51, 51, 21, 1, 0, 0]
    assert not table.weights[:, 3].any()
    wide = radial([1, 700, 0], np.uint16, coefficient_bits=16, q=np.ones((1, 3, 1), np.int16))
    assert wide.profile.tolist() == [1, 701, 701, 701, 701, 1] and wide.profile.dtype == np.int16


@pytest.mark.parametrize(
    ("steps", "dtype", "words"),
    [
        ([], np.uint8, "profile is empty"),
        ([200, 56], np.uint8, "sum to too much"),
        ([60000] * 3, np.uint16, "sum to too much"),
        ([1, 2], np.int16, "is of type int16"),
        ([100, 90], np.uint8, "of a pair"),
    ],
)
def test_bumps_that_could_overflow_are_refused(steps, dtype, words):
    with pytest.raises(ArtifactError, match=words):
        radial(steps, dtype)


def test_a_compiled_bump_is_the_gaussian_to_half_a_unit():
    net = networks.fast_kan()
    for bits, dtype in ((8, np.uint8), (16, np.int16)):
        spec = BasisSpec(bits)
        table = lutkan.compile(net, spec).program.steps[0].branches[0].table
        basis = net.layers[0].branches[0].bank.basis
        assert table.profile.dtype == dtype and table.profile_steps.nbytes < table.profile.nbytes
        x = table.low.astype(np.float64) + (np.arange(table.positions) + 0.5) / table.inverse
        exact = basis.evaluate(x[:, None])[:, 0]
        found = table.weights[:, : table.rows].astype(np.float64)
        unit = exact.max() / found.max()
        assert np.abs(found * unit - exact).max() < 1.01 * unit
        assert table.weights.max() > (120 if bits == 8 else 1000)
