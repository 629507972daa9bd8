"""Compiling networks: calibration rows, glue, what the manifest says, determinism, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lutkan
from conformance import networks
from lutkan.errors import InputError, SpecError
from lutkan.ir import Activation, Affine, Branch, EdgeBank, KANLayer, LayerNorm, Linear, Polynomial
from lutkan.tables import SegmentSpec, Spec, calibration_rows, compile_network

# ---------------------------------------------------------------------------------------------- calibration rows


def test_without_calibration_4096_seeded_rows_of_the_core_grid():
    rows, calibrated = calibration_rows(networks.splines(), None, None)
    assert rows.shape == (4096, 3) and not calibrated
    assert rows.min() >= -1.0 and rows.max() <= 1.0 and np.ptp(rows, axis=0).min() > 1.9
    np.testing.assert_array_equal(rows, calibration_rows(networks.splines(), None, None)[0])


def test_the_core_grid_of_each_input():
    net = networks.adapted()
    low, high = net.layers[0].branches[0].bank.basis.core()
    rows, _ = calibration_rows(net, None, None)
    assert (rows.min(axis=0) >= low).all() and (rows.max(axis=0) <= high).all()
    assert (np.ptp(rows, axis=0) > 0.9 * (high - low)).all()


def test_a_first_layer_behind_other_steps_lends_its_grid_to_all_inputs():
    rows, _ = calibration_rows(networks.glued(), None, None)
    assert rows.shape == (4096, 6) and np.abs(rows).max() <= 1.0


def test_a_family_without_a_grid_takes_minus_one_to_one():
    rows, _ = calibration_rows(networks.symbolic(), None, None)
    assert np.abs(rows).max() <= 1.0


@pytest.mark.parametrize("domain", [(-3, 5), (np.array([-3.0, -3, -3]), 5.0), [[-3] * 3, [5] * 3]])
def test_a_domain_is_numbers_or_a_row_each(domain):
    rows, calibrated = calibration_rows(networks.splines(), None, domain)
    assert rows.min() >= -3 and rows.max() <= 5 and rows.min() < -2.9 and rows.max() > 4.9 and not calibrated


@pytest.mark.parametrize(
    "domain",
    [
        (1, 1),
        (2, 1),
        (0, float("inf")),
        (float("nan"), 1),
        (0,),
        (0, 1, 2),
        "ab",
        5,
        (np.zeros(2), np.ones(2)),
        (-1e308, 1e308),
        (None, 1),
    ],
    ids=str,
)
def test_a_malformed_domain_is_refused(domain):
    with pytest.raises(SpecError, match="domain"):
        lutkan.compile(networks.splines(), SegmentSpec(), domain=domain)


def test_calibration_rows_are_taken_as_they_are():
    X = np.arange(6, dtype=np.int16).reshape(2, 3)
    rows, calibrated = calibration_rows(networks.splines(), X, (-5, 5))
    np.testing.assert_array_equal(rows, X)
    assert rows.dtype == np.float64 and calibrated


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.zeros((3, 2)), r"calibration has shape \(3, 2\); allowed: \[N, 3\]"),
        (np.zeros(3), r"calibration has shape \(3,\)"),
        (np.zeros((0, 3)), "calibration has no rows"),
        (np.array([["a", "b", "c"]]), "calibration has dtype <U1"),
        (np.zeros((2, 3), object), "calibration has dtype object"),
        ([[1, 2, 3], [4]], "calibration is a list that is no array"),
        (np.array([[0, 0, np.nan]]), r"calibration\[0, 2\] is nan"),
        (np.array([[0, 0, 0], [np.inf, 0, 0]]), r"calibration\[1, 0\] is inf"),
        (np.array([[0, 0, 1e39]]), r"calibration\[0, 2\] is 1e\+39"),
    ],
)
def test_bad_calibration_is_refused(X, words):
    with pytest.raises(InputError, match=words):
        lutkan.compile(networks.splines(), SegmentSpec(), calibration=X)


# -------------------------------------------------------------------------------------------------- what is written


def test_glue_becomes_operations_in_the_order_of_the_network():
    net = networks.glued()
    program = lutkan.compile(net, Spec(SegmentSpec(4), (("a", SegmentSpec(4, oob_policy="clip_x")),))).program
    assert [op.op for op in program.steps] == [step.kind for step in net.steps]
    by_name = {op.op: op for op in program.steps}
    assert by_name["select"].indices.tolist() == [5, 0, 2, 2, 4]
    assert by_name["product"].indices.tolist() == [0, 1, 2, 3, 4, 5]
    assert by_name["product"].offsets.tolist() == [0, 2, 3, 6]
    assert [op.eps for op in program.steps if op.op == "layer_norm"] == [1e-5, 1e-6]
    prelu = next(op for op in program.steps if op.op == "activation" and op.function == "prelu")
    np.testing.assert_array_equal(prelu.slope, np.float32([0.25] * 4))
    for op, step in zip(program.steps, net.steps, strict=True):
        if op.op == "linear":
            np.testing.assert_array_equal(op.weight, np.float32(step.weight))
            assert (op.bias is None) == (step.bias is None)
        if op.op == "affine":
            np.testing.assert_array_equal(op.scale, np.float32(step.scale))
            np.testing.assert_array_equal(op.bias, np.float32(step.bias))


def test_the_network_with_all_glue_answers_like_the_model():
    net = networks.glued()
    spec = Spec(SegmentSpec(64, "uint8"), (("a", SegmentSpec(64, "uint8", oob_policy="clip_x")),))
    x = np.random.default_rng(0).uniform(-1, 1, (300, 6))
    # Layer "a" is a spline behind an affine step, whose calibrated domain has to be given by rows.
    report = lutkan.verify(lutkan.compile(net, spec, calibration=x), net, x)
    assert report.max_abs < 0.06 * report.spread


def test_a_layer_bias_is_kept():
    net = networks.fast_kan()
    op = lutkan.compile(net, SegmentSpec()).program.steps[0]
    np.testing.assert_array_equal(op.bias, np.float32(net.layers[0].bias))
    assert lutkan.compile(networks.splines(), SegmentSpec()).program.steps[0].bias is None


def test_the_spec_of_each_layer_is_used():
    spec = Spec(SegmentSpec(4), (("1", SegmentSpec(8, "uint8", interpolation="nearest")),))
    first, last = lutkan.compile(networks.masked(), spec).program.steps
    tables = [op.branches[0].table for op in (first, last)]
    assert [(t.samples, t.q.dtype.name, t.interpolation) for t in tables] == [
        (4, "int8", "linear"),
        (8, "uint8", "nearest"),
    ]


def test_an_override_for_a_layer_that_does_not_exist_is_refused():
    with pytest.raises(SpecError, match=r"'layers\.5' matches no layer"):
        lutkan.compile(networks.splines(), Spec(SegmentSpec(), (("layers.5", SegmentSpec(4)),)))


def test_the_manifest_says_where_the_numbers_come_from():
    calibrated = lutkan.compile(networks.splines(), SegmentSpec(16), calibration=np.full((10, 3), 3.0))
    assert calibrated.info["calibration"] == {"rows": 10, "seeded_rows": 0, "outside_share": [1.0]}
    assert "uncalibrated" not in calibrated.summary()
    seeded = lutkan.compile(networks.splines(), SegmentSpec(16))
    assert seeded.info["calibration"]["rows"] == 0 and seeded.info["calibration"]["seeded_rows"] == 4096
    assert "uncalibrated" in seeded.summary()
    assert Spec.from_json(seeded.manifest["spec"]) == Spec(SegmentSpec(16))
    source = seeded.info["source"]
    assert source["family"] == "handmade" and source["edges"] == 12
    assert json.dumps(seeded.manifest)


def test_compiling_twice_gives_the_same_bytes():
    for net in (networks.splines(), networks.fast_kan(), networks.masked(), networks.chebyshev()):
        assert lutkan.compile(net, SegmentSpec(8)).to_bytes() == lutkan.compile(net, SegmentSpec(8)).to_bytes()


def test_the_arrays_of_an_artifact_cannot_be_written():
    table = lutkan.compile(networks.splines(), SegmentSpec(4)).program.steps[0].branches[0].table
    for array in (table.q, table.scale, table.knots):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


# -------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", ["softplus", "sin", "elu", "mish", "gelu_tanh"])
def test_an_activation_between_layers_without_float32_form_is_refused(name):
    net = networks.network(networks.splines().steps[0], Activation(name))
    with pytest.raises(SpecError, match=f"step 1: activation '{name}' between layers has no exact float32 form"):
        lutkan.compile(net, SegmentSpec())


@pytest.mark.parametrize(
    "step",
    [
        Affine(np.full(4, 1e39), np.zeros(4)),
        Affine(np.ones(4), np.full(4, 1e39)),
        Linear(np.full((4, 2), 1e39)),
        LayerNorm(4, 1e-5, np.full(4, 1e39)),
        Activation("prelu", np.array([1e39])),
    ],
    ids=lambda step: step.kind,
)
def test_glue_that_float32_cannot_hold_is_refused(step):
    net = networks.network(networks.splines().steps[0], step)
    with pytest.raises(SpecError, match=r"step 1.* 1e\+39 is no float32 number"):
        compile_network(net, Spec(SegmentSpec()), np.zeros((1, 3)), True)


def test_an_activation_before_the_edges_goes_into_the_table_whatever_its_name():
    rng = np.random.default_rng(0)
    bank = EdgeBank(Polynomial("chebyshev", 2), rng.normal(size=(2, 3, 2)))
    net = networks.one_layer(Branch(bank, (Activation("softplus"),)))
    artifact = lutkan.compile(net, SegmentSpec(domain=(-2.0, 2.0), oob_policy="clip_x", dtype="uint8"))
    assert artifact.program.steps[0].branches[0].pre == ()
    x = rng.uniform(-2, 2, (200, 2))
    assert lutkan.verify(artifact, net, x).max_abs < 0.02


def test_long_layer_names_are_cut():
    net = networks.network(KANLayer("x" * 300 + "end", networks.splines().layers[0].branches))
    assert lutkan.compile(net, SegmentSpec(4)).program.steps[0].name.endswith("end")
