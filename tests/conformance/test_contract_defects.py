"""The reference project's known defects, one test each: what it gets wrong is right here, or refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lutkan
from conformance import networks
from conformance.cases import same_bits
from lutkan.artifact.program import ACTIVATIONS, KANOp, SegmentTable
from lutkan.errors import ArtifactError, InputError, SpecError
from lutkan.ir import EdgeBank, NamedFunction
from lutkan.runtimes import available_runtimes, reference
from lutkan.tables import SegmentSpec


@pytest.fixture(params=available_runtimes())
def runtime(request) -> str:
    if available_runtimes()[request.param]:
        pytest.skip(f"needs {available_runtimes()[request.param]}")
    return request.param


def table_of(artifact: lutkan.Artifact) -> SegmentTable:
    step = artifact.program.steps[0]
    assert isinstance(step, KANOp)
    return step.branches[0].table


@pytest.mark.parametrize("intervals", [3, 5, 6, 7, 8, 10, 12, 16, 20, 32])
def test_b1_a_segment_begins_at_its_knot_and_ends_one_ulp_before_the_next(intervals):
    # Upstream divides by the knot distance on uniform grids, which places knots and their neighbours by luck.
    net = networks.bare_splines(1, 1, knots=networks.uniform_knots(intervals))
    table = table_of(lutkan.compile(net, SegmentSpec(samples=16)))
    knots = table.knots[0]
    inner, index = knots[1:-1], np.arange(1, len(knots) - 1)
    for x, expected in (
        (inner, index),
        (np.nextafter(inner, np.float32(np.inf)), index),
        (np.nextafter(inner, np.float32(-np.inf)), index - 1),
    ):
        k, r, w, inside = (found[:, 0] for found in reference.locate(table, x[:, None]))
        np.testing.assert_array_equal(k, expected)
        assert inside.all() and (r >= 0).all() and (r <= 14).all() and (w >= 0).all() and (w <= 1).all()
    k, r, w, _ = (found[:, 0] for found in reference.locate(table, inner[:, None]))
    np.testing.assert_array_equal(r, 0)
    np.testing.assert_array_equal(w, 0.0)


def test_b1_all_runtimes_agree_on_knots_and_beside_them(runtime):
    for net in (networks.bare_splines(), networks.adapted()):
        artifact = lutkan.compile(net, SegmentSpec(samples=16))
        knots = table_of(artifact).knots.ravel()
        beside = [np.nextafter(knots, np.float32(side)) for side in (np.inf, -np.inf)]
        x = np.repeat(np.concatenate([knots, *beside])[:, None], 3, axis=1)
        found, expected = (lutkan.load(artifact, runtime=name).predict(x) for name in (runtime, "reference"))
        assert same_bits(found, expected).all()


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("policy", ["clip_x", "zero_spline", "model"])
@pytest.mark.parametrize("value", ["phi", "spline_component"])
def test_b2_nan_is_an_error_or_a_nan_row(runtime, interpolation, policy, value):
    spec = SegmentSpec(samples=16, interpolation=interpolation, oob_policy=policy, value=value)
    artifact = lutkan.compile(networks.splines(), spec)
    x = np.zeros((3, 3), np.float32)
    x[1, 2] = np.nan
    with pytest.raises(InputError, match=r"X\[1, 2\] is NaN"):
        lutkan.load(artifact, runtime=runtime).predict(x)
    y = lutkan.load(artifact, runtime=runtime, nan="propagate").predict(x)
    assert np.isnan(y[1]).all() and np.isfinite(y[[0, 2]]).all()


def test_b2_infinity_follows_the_policy(runtime):
    net = networks.splines(1, 1, name="silu", seed=3)
    weight = np.float32(net.layers[0].branches[1].bank.weights[0, 0, 0])
    x = np.array([[np.inf], [-np.inf], [-200.0]], np.float32)

    def answers(policy: str, value: str) -> list[float]:
        spec = SegmentSpec(samples=16, oob_policy=policy, value=value, boundary_mode="closed")
        return lutkan.load(lutkan.compile(net, spec), runtime=runtime).predict(x)[:, 0].tolist()

    # silu(inf) is inf, silu(-inf) and silu(-200) are -0: the spline adds nothing.
    beyond = [float(weight * np.inf), 0.0, 0.0]
    assert answers("model", "phi") == beyond
    assert answers("model", "spline_component") == beyond
    assert answers("zero_spline", "spline_component") == beyond
    assert answers("zero_spline", "phi") == [0.0, 0.0, 0.0]
    clipped = answers("clip_x", "phi")
    ends = net.evaluate(np.array([[np.nextafter(2.2, 0)], [-2.2], [-2.2]]))[:, 0]
    np.testing.assert_allclose(clipped, ends, atol=0.02)


def test_b3_a_wrong_number_of_columns_is_refused(runtime):
    model = lutkan.load(lutkan.compile(networks.splines(), "segment-int8-L16"), runtime=runtime)
    for width in (2, 4):
        with pytest.raises(InputError, match=rf"X has shape \(5, {width}\); allowed: \[N, 3\]"):
            model.predict(np.zeros((5, width)))


def test_b4_the_boundary_mode_is_part_of_the_file(runtime):
    x = np.full((1, 3), 2.2, np.float32)  # the last knot
    answers = {}
    for mode in ("closed", "half_open"):
        spec = SegmentSpec(samples=16, value="phi", oob_policy="zero_spline", boundary_mode=mode)
        data = lutkan.compile(networks.splines(), spec).to_bytes()
        assert lutkan.Artifact.open(data).manifest["program"]["steps"][0]["branches"][0]["table"]["boundary"] == mode
        answers[mode] = lutkan.load(data, runtime=runtime).predict(x)
    assert not answers["half_open"].any()
    assert (np.abs(answers["closed"]) > 0.1).any()


@pytest.mark.parametrize("name", ["mish", "softplus", "sin", "gelu_tanh", "elu", "exp"])
def test_b5_a_base_function_without_exact_float32_form_is_refused(name):
    for spec in (SegmentSpec(), SegmentSpec(value="phi")):
        with pytest.raises(SpecError, match=f"base function '{name}' has no exact float32 form"):
            lutkan.compile(networks.splines(name=name), spec)
    folded = SegmentSpec(value="phi", oob_policy="clip_x", dtype="uint8")
    net, x = networks.splines(name=name), np.random.default_rng(0).uniform(-2, 2, (200, 3))
    assert lutkan.verify(lutkan.compile(net, folded), net, x).max_abs < 0.02


@pytest.mark.parametrize("name", ["zero", "identity", "silu", "gelu", "relu", "tanh", "sigmoid"])
def test_b5_every_known_base_function_is_computed_and_not_taken_for_the_identity(name, runtime):
    net, x = networks.splines(name=name), np.random.default_rng(0).normal(0, 2, (300, 3))
    artifact = lutkan.compile(net, SegmentSpec(samples=64, dtype="uint8"))
    assert lutkan.verify(artifact, net, x, runtime=runtime).max_abs < 8e-3
    tables = [branch.table for branch in artifact.program.steps[0].branches]
    assert [table.op for table in tables] == (["segment"] if name == "zero" else ["segment", "base"])


def test_b6_int8_goes_with_symmetric_and_uint8_with_asymmetric():
    for dtype, scheme in (("int8", "asymmetric"), ("uint8", "symmetric")):
        with pytest.raises(SpecError, match="int8 with symmetric, uint8 with asymmetric"):
            SegmentSpec(dtype=dtype, scheme=scheme)
    table = table_of(lutkan.compile(networks.bare_splines(), SegmentSpec(samples=4)))
    with pytest.raises(ArtifactError, match="offset"):
        replace(table, offset=np.zeros_like(table.scale))
    with pytest.raises(ArtifactError, match="offset"):
        replace(table, q=table.q.astype(np.uint8))


@pytest.mark.parametrize("amplitude", [1e-30, 1e-7, 1e-5, 1e-4, 1.0, 1e7, 1e30])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_b7_the_relative_error_does_not_depend_on_the_amplitude(amplitude, dtype, runtime):
    net = networks.bare_splines(amplitude=amplitude)
    x = np.random.default_rng(0).uniform(-1, 1, (400, 3))
    report = lutkan.verify(lutkan.compile(net, SegmentSpec(dtype=dtype)), net, x, runtime=runtime)
    assert report.max_abs / amplitude < 0.012


def test_b7_a_large_offset_costs_uint8_nothing(runtime):
    rng = np.random.default_rng(4)
    net = networks.bare_splines(1, 1)
    bank = net.layers[0].branches[0].bank
    raised = EdgeBank(bank.basis, 10.0 + 0.1 * rng.uniform(-0.5, 0.5, bank.coefficients.shape))
    net = networks.one_layer(networks.Branch(raised))
    x = rng.uniform(-1, 1, (500, 1))
    report = lutkan.verify(lutkan.compile(net, SegmentSpec(dtype="uint8")), net, x, runtime=runtime)
    assert report.mae < 5.5e-5


def test_b8_policies_and_boundaries_change_answers_on_phi_tables(runtime):
    net = networks.splines()
    x = np.random.default_rng(0).normal(0, 2, (400, 3)).astype(np.float32)
    x[0] = 2.2

    def answers(policy: str, mode: str, value: str) -> np.ndarray:
        spec = SegmentSpec(samples=64, oob_policy=policy, boundary_mode=mode, value=value)
        return lutkan.load(lutkan.compile(net, spec), runtime=runtime).predict(x)

    def apart(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.abs(a - b).max())

    tables = {(p, m): answers(p, m, "phi") for p in ("model", "clip_x", "zero_spline") for m in ("half_open", "closed")}
    for mode in ("half_open", "closed"):
        assert apart(tables["clip_x", mode], tables["zero_spline", mode]) > 0.5
        assert apart(tables["clip_x", mode], tables["model", mode]) > 0.1
        assert apart(tables["zero_spline", mode], tables["model", mode]) > 0.5
    assert apart(tables["zero_spline", "half_open"], tables["zero_spline", "closed"]) > 0.5
    # A spline is zero at both ends of its knots: with the base branch apart the policies must agree. This is why the
    # tables above have to hold the whole edge function to tell them apart.
    parts = [
        answers(p, m, "spline_component") for p in ("model", "clip_x", "zero_spline") for m in ("half_open", "closed")
    ]
    assert max(apart(part, parts[0]) for part in parts) < 1e-6


def test_b9_knots_may_differ_from_input_to_input(runtime):
    net = networks.adapted()
    knots = net.layers[0].branches[0].bank.basis.extended_knots
    assert np.ptp(knots, axis=0).min() > 0.01
    artifact = lutkan.compile(net, SegmentSpec(dtype="uint8"))
    assert table_of(artifact).knots.shape == knots.shape
    x = np.random.default_rng(0).normal(0, 2, (300, 3))
    assert lutkan.verify(artifact, net, x, runtime=runtime).max_abs < 8e-3


def test_b12_all_arrays_are_counted():
    artifact = lutkan.compile(networks.splines(), SegmentSpec(samples=16))
    in_manifest = sum(
        np.dtype(entry["dtype"]).itemsize * int(np.prod(entry["shape"]))
        for entry in artifact.manifest["arrays"].values()
    )
    in_manifest -= artifact.golden_x.nbytes + artifact.golden_y.nbytes
    assert artifact.table_nbytes == in_manifest < artifact.nbytes
    for name, missing in available_runtimes().items():
        if not missing:
            assert lutkan.load(artifact, runtime=name).info()["memory_bytes"] >= in_manifest


def test_base_functions_that_a_runtime_may_name_are_those_of_the_oracle():
    x = np.linspace(-9, 9, 1001)
    for name in ACTIVATIONS:
        ours = reference.float32.ACTIVATIONS[name](x.astype(np.float32))
        np.testing.assert_allclose(ours, NamedFunction(name).evaluate(x)[..., 0], rtol=1e-5, atol=1e-6)
