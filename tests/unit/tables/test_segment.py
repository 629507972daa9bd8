"""Sampling and quantization of segments, the choice of knots and domain, and what may stand beyond the table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lutkan
from conformance import networks
from lutkan.artifact.program import SegmentTable
from lutkan.errors import SpecError
from lutkan.ir import (
    Activation,
    Affine,
    Branch,
    BSpline,
    EdgeBank,
    Fourier,
    GaussianRBF,
    LayerNorm,
    NamedFunction,
    Network,
    Polynomial,
    ReluProduct,
)
from lutkan.tables import SegmentSpec, Spec, compile_network


def compiled(net: Network, spec: SegmentSpec | None = None, rows: np.ndarray | None = None, **fields) -> SegmentTable:
    """Compile a network of one layer and return its first table."""
    spec = SegmentSpec(**fields) if spec is None else spec
    rows = np.random.default_rng(0).uniform(-1, 1, (50, net.in_features)) if rows is None else rows
    table = compile_network(net, Spec(spec), rows, True).program.steps[0].branches[0].table
    assert isinstance(table, SegmentTable)
    return table


# ---------------------------------------------------------------------------------- the contract, edge by edge


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("percentile", [None, (10.0, 90.0)])
@pytest.mark.parametrize("net", [networks.bare_splines(2, 3), networks.adapted(2, 3), networks.clamped(2, 3)])
def test_samples_scales_and_codes_by_hand(net, dtype, percentile):
    table = compiled(net, samples=7, dtype=dtype, percentile=percentile)
    bank = net.layers[0].branches[0].bank
    knots = np.float32(bank.basis.extended_knots)
    for i in range(2):
        t = [float(v) for v in knots[i if len(knots) > 1 else 0]]
        np.testing.assert_array_equal(table.knots[i if len(table.knots) > 1 else 0], np.float32(t))
        for o in range(3):
            edge = BSpline(bank.basis.extended_knots[[i if bank.basis.rows > 1 else 0]], bank.basis.degree)
            for k in range(len(t) - 1):
                x = np.array([t[k] + (t[k + 1] - t[k]) * (s / 6) for s in range(7)])
                y = edge.evaluate(x[:, None])[:, 0] @ bank.coefficients[i, :, o]  # the edge scale is kept apart
                low, high = (y.min(), y.max()) if percentile is None else np.percentile(y, percentile)
                q = table.q[i, k * 7 : (k + 1) * 7, o]
                if dtype == "int8":
                    scale = max(abs(low), abs(high)) / 127 or 1.0
                    expected = np.clip(np.rint(y / scale), -127, 127)
                    assert table.offset is None
                else:
                    scale = (high - low) / 255 or 1.0
                    expected = np.clip(np.rint((y - low) / scale), 0, 255)
                    np.testing.assert_allclose(table.offset[i, k, o], low, rtol=1e-6, atol=1e-7)
                np.testing.assert_allclose(table.scale[i, k, o], scale, rtol=1e-6, atol=1e-12)
                # The formulas agree to the last code but for ties, which the order of float64 operations may turn.
                off = np.abs(q.astype(int) - expected)
                assert off.max() <= 1 and (off > 0).sum() <= 1


def test_the_scale_is_the_range_rounded_once():
    net = networks.bare_splines(2, 3)
    table = compiled(net, samples=5)
    bank = net.layers[0].branches[0].bank
    points = np.float64(table.knots[0, :-1, None]) + np.linspace(0, 1, 5) * np.diff(np.float64(table.knots[0]))[:, None]
    y = bank.edge_values(np.repeat(points.reshape(1, -1), 2, axis=0)).reshape(2, -1, 5, 3)
    np.testing.assert_array_equal(table.scale, np.float32(np.abs(y).max(axis=2) / 127.0))


def test_both_ends_of_a_segment_are_samples_so_neighbours_share_the_knot():
    table = compiled(networks.bare_splines(), samples=16, dtype="uint8")
    q = table.q.reshape(3, table.segments, 16, 4).astype(np.float64)
    values = table.offset[:, :, None] + table.scale[:, :, None] * q
    step = np.maximum(table.scale[:, 1:], table.scale[:, :-1])
    assert (np.abs(values[:, :-1, -1] - values[:, 1:, 0]) <= step + 1e-6).all()
    assert np.abs(values).max() > 0.5


def test_a_constant_segment():
    flat = networks.bare_splines(1, 1)
    bank = flat.layers[0].branches[0].bank
    ones = networks.one_layer(Branch(EdgeBank(bank.basis, np.full(bank.coefficients.shape, -2.5))))
    middle = 5  # of 11 segments, where all four splines are there and sum to 1
    table = compiled(ones, samples=4, dtype="uint8")
    np.testing.assert_allclose(table.offset[0, middle, 0] + table.scale[0, middle, 0] * 0.0, -2.5, rtol=1e-6)
    assert (table.scale > 0).all() and np.isfinite(table.scale).all()
    table = compiled(ones, samples=4)
    assert (table.q[0, middle * 4 : middle * 4 + 4, 0] == -127).all()
    np.testing.assert_allclose(table.scale[0, middle, 0] * -127, -2.5, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_a_zero_edge_has_scale_one_and_code_zero(dtype):
    coefficients = np.zeros((1, 8, 2))
    coefficients[:, :, 0] = 1.0
    net = networks.one_layer(Branch(EdgeBank(BSpline(networks.uniform_knots(), 3), coefficients)))
    table = compiled(net, samples=4, dtype=dtype, keep_masked=True)
    assert (table.q[..., 1] == 0).all() and (table.scale[..., 1] == 1.0).all()
    assert (table.q[..., 0] != 0).any()


def test_a_layer_without_any_live_edge_gives_its_bias():
    dead = Branch(EdgeBank(BSpline(networks.uniform_knots(), 3), np.zeros((2, 8, 3))))
    net = networks.one_layer(dead, bias=np.array([1.0, -2.0, 0.5]))
    for keep in (False, True):
        artifact = lutkan.compile(net, SegmentSpec(4, keep_masked=keep))
        y = lutkan.load(artifact).predict(np.array([[0.3, 0.1], [9.0, -9.0]]))
        np.testing.assert_array_equal(y, [[1.0, -2.0, 0.5]] * 2)


def test_percentile_saturates_what_lies_beyond():
    everything = compiled(networks.bare_splines(), samples=64)
    cut = compiled(networks.bare_splines(), samples=64, percentile=(10, 90))
    assert (cut.scale <= everything.scale).all() and (cut.scale < everything.scale).any()
    assert (np.abs(cut.q) == 127).sum() > 2 * (np.abs(everything.q) == 127).sum()


def test_the_edge_scale_is_kept_apart_as_in_the_contract():
    net = networks.bare_splines(scaled=True)
    table = compiled(net, samples=8)
    bank = net.layers[0].branches[0].bank
    np.testing.assert_array_equal(table.edge_scale, bank.scale.astype(np.float32))
    plain = compiled(networks.one_layer(Branch(EdgeBank(bank.basis, bank.coefficients))), samples=8)
    np.testing.assert_array_equal(table.q, plain.q)
    np.testing.assert_array_equal(table.scale, plain.scale)


def test_phi_folds_the_base_branch_in():
    net = networks.splines()
    table = compiled(net, samples=64, value="phi", dtype="uint8")
    assert table.edge_scale is None
    steps = compile_network(net, Spec(SegmentSpec(value="phi")), np.zeros((1, 3)), True).program.steps
    assert len(steps[0].branches) == 1
    x = np.linspace(-2.1, 2.1, 300)[:, None] * np.ones(3)
    report = lutkan.verify(lutkan.compile(net, SegmentSpec(value="phi", dtype="uint8")), net, x)
    assert report.max_abs < 0.02


@pytest.mark.parametrize("value", ["auto", "spline_component"])
def test_the_base_branch_stays_apart(value):
    steps = compile_network(networks.splines(), Spec(SegmentSpec(value=value)), np.zeros((1, 3)), True).program.steps
    assert [branch.table.op for branch in steps[0].branches] == ["segment", "base"]


def test_chunks_do_not_change_the_table(monkeypatch):
    net = networks.splines(9, 21)
    whole = compiled(net, samples=16)
    monkeypatch.setattr("lutkan.tables.segment._CHUNK", 1)
    parts = compiled(net, samples=16)
    np.testing.assert_array_equal(whole.q, parts.q)
    np.testing.assert_array_equal(whole.scale, parts.scale)


# --------------------------------------------------------------------------------------------- knots and domains


def test_shared_knots_are_stored_once_and_per_input_knots_a_row_an_input():
    assert compiled(networks.bare_splines()).knots.shape == (1, 12)
    assert compiled(networks.adapted(5, 2)).knots.shape[0] == 5
    same = networks.bare_splines(3, 2, knots=np.repeat(networks.uniform_knots(), 3, axis=0))
    assert compiled(same).knots.shape == (1, 12)


def test_the_whole_extended_knot_vector_is_the_domain():
    table = compiled(networks.bare_splines())
    assert table.segments == 5 + 2 * 3
    np.testing.assert_allclose(table.knots[0, [0, -1]], [-2.2, 2.2], rtol=1e-6)


@pytest.mark.parametrize("fields", [{"segments": 8}, {"domain": (-1.0, 1.0)}, {"segments": 8, "domain": (-3.0, 3.0)}])
@pytest.mark.parametrize("net", [networks.bare_splines(), networks.straight()])
def test_segments_and_domain_are_for_families_without_knots(net, fields):
    with pytest.raises(SpecError, match="for edges that have knots of their own"):
        compiled(net, **fields)


def test_branches_with_different_knots_cannot_share_a_table():
    rng = np.random.default_rng(0)
    two = networks.one_layer(networks.spline(rng, 2, 2), networks.spline(rng, 2, 2, knots=networks.uniform_knots(4, 3)))
    with pytest.raises(SpecError, match="branches with different knots"):
        compiled(two)


def test_segments_and_domain_of_a_family_without_knots():
    table = compiled(networks.fourier(), samples=4, segments=7, domain=(-3.0, 4.0), oob_policy="clip_x")
    np.testing.assert_allclose(table.knots, np.linspace(-3, 4, 8, dtype=np.float32)[None], rtol=1e-6)
    assert table.knots[0, -1] == np.float32(4.0)


def test_32_segments_are_the_default():
    assert compiled(networks.chebyshev()).segments == 32


def test_the_last_knot_is_the_domain_exactly():
    rng = np.random.default_rng(1)
    for _ in range(200):
        low, width = rng.normal(), abs(rng.normal()) + 0.1
        domain = (float(low), float(low + width))
        table = compiled(networks.fourier(1, 1), samples=2, segments=13, domain=domain, oob_policy="clip_x")
        np.testing.assert_array_equal(table.knots[0, [0, -1]], np.float32(domain))


@pytest.mark.parametrize(
    ("basis", "low", "high"),
    [
        (GaussianRBF(np.array([-1.0, 1.0]), 0.5), -1 - 0.5 * np.sqrt(150 * np.log(2)), None),
        (ReluProduct(np.array([[-1.5, -1.0]]), np.array([[0.5, 1.25]]), 2.0), -1.5, 1.25),
    ],
)
def test_the_domain_of_functions_that_vanish_is_where_they_do_not(basis, low, high):
    net = networks.one_layer(Branch(EdgeBank(basis, np.ones((1, 2, 1)))))
    table = compiled(net, samples=4)
    high = -low if high is None else high
    np.testing.assert_allclose(table.knots[0, [0, -1]], [low, high], rtol=1e-6)
    assert table.outside == "zero"


@pytest.mark.parametrize(("squash", "reach"), [("tanh", 9.02), ("sigmoid", 17.4)])
def test_the_domain_of_squashed_inputs_ends_where_the_squashing_is_flat(squash, reach):
    rng = np.random.default_rng(0)
    net = networks.one_layer(networks.polynomial(rng, 2, 2, pre=(Activation(squash),)))
    table = compiled(net)
    np.testing.assert_allclose(table.knots[0, [0, -1]], [-reach, reach], rtol=1e-6)
    assert table.outside == "clip"
    far = np.array([[1e3, -1e3], [np.inf, -np.inf], [reach, -reach]])
    y = lutkan.load(lutkan.compile(net, SegmentSpec())).predict(far)
    np.testing.assert_allclose(y, np.repeat(net.evaluate(far[2:] * 1000), 3, axis=0), atol=0.05)
    np.testing.assert_array_equal(y[0], y[1])


def test_without_knots_or_bounds_the_calibrated_range_is_the_domain_of_each_input():
    rows = np.array([[-1.0, 5.0], [2.0, 5.0], [0.5, 5.0]])
    table = compiled(networks.fourier(2, 1), rows=rows, segments=4, oob_policy="clip_x")
    assert table.knots.shape == (2, 5)
    np.testing.assert_allclose(table.knots[0, [0, -1]], [-1, 2])
    assert table.knots[1, 0] < 5.0 < table.knots[1, -1]  # an input that never moves still gets a width


def test_too_many_segments_for_float32_are_refused():
    with pytest.raises(SpecError, match="narrower than float32 can tell apart"):
        compiled(networks.fourier(), segments=65536, domain=(1.0, 1.0001), oob_policy="clip_x")


# ------------------------------------------------------------------------------------------- what stands beyond


def outside(net: Network, **fields) -> str:
    return compiled(net, **fields).outside


RNG = np.random.default_rng(0)
OUTSIDE = {
    "spline, base apart": (networks.splines(), {}, "zero"),
    "spline alone": (networks.bare_splines(), {}, "zero"),
    "spline, base folded in": (networks.splines(), {"value": "phi"}, "base"),
    "spline alone, phi": (networks.bare_splines(), {"value": "phi"}, "zero"),
    "Gaussians": (networks.fast_kan(), {}, "zero"),
    "switches": (networks.switches(), {}, "zero"),
    "straight pieces": (networks.straight(), {}, "linear"),
    "polynomials of tanh": (networks.chebyshev(), {}, "clip"),
    "any, clip_x": (networks.splines(), {"oob_policy": "clip_x"}, "clip"),
    "any, zero_spline": (networks.straight(), {"oob_policy": "zero_spline"}, "zero"),
    "squashed, wider domain": (networks.chebyshev(), {"domain": (-10.0, 12.0)}, "clip"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_policy_and_family_give_what_stands_beyond(name):
    net, fields, expected = OUTSIDE[name]
    assert outside(net, **fields) == expected


def branches_with_two_bases() -> Network:
    rng = np.random.default_rng(0)
    return networks.one_layer(
        networks.spline(rng, 2, 2), networks.base(rng, 2, 2), networks.base(rng, 2, 2, "identity")
    )


def base_behind_a_step() -> Network:
    rng = np.random.default_rng(0)
    step = Affine(np.full(2, 3.0), np.zeros(2))
    return networks.one_layer(networks.spline(rng, 2, 2), networks.base(rng, 2, 2, pre=(step,)))


REFUSED = {
    "Fourier": (networks.fourier(), {}),
    "Fourier with a domain": (networks.fourier(), {"domain": (-3.0, 3.0)}),
    "symbolic": (networks.symbolic(), {}),
    "polynomials of x": (networks.one_layer(networks.polynomial(RNG, 2, 2, pre=())), {"domain": (-1.0, 1.0)}),
    "polynomials of tanh on a narrow domain": (networks.chebyshev(), {"domain": (-2.0, 2.0)}),
    "tanh behind a step": (
        networks.one_layer(
            networks.polynomial(RNG, 2, 2, pre=(Activation("prelu", np.array([0.1])), Activation("tanh")))
        ),
        {},
    ),
    "splines behind a step": (
        networks.one_layer(networks.spline(RNG, 2, 2, pre=(Activation("tanh"),))),
        {"domain": (-1.0, 1.0)},
    ),
    "two base branches folded in": (branches_with_two_bases(), {"value": "phi"}),
    "base behind a step, folded in": (base_behind_a_step(), {"value": "phi"}),
    "base alone, folded in": (networks.one_layer(networks.base(RNG, 2, 2)), {"value": "phi"}),
    "straight pieces, nearest": (networks.straight(), {"interpolation": "nearest"}),
    "Gaussians on a narrow domain": (networks.fast_kan(), {"domain": (-2.0, 2.0)}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_table_cannot_keep_is_refused_under_model(name):
    net, fields = REFUSED[name]
    with pytest.raises(SpecError, match=r"oob_policy = 'model' cannot be kept .* fix: pass SegmentSpec\(oob_policy="):
        compiled(net, **fields)


@pytest.mark.parametrize("name", REFUSED)
def test_and_compiles_under_a_policy_that_the_user_asks_for(name):
    net, fields = REFUSED[name]
    for policy, expected in (("clip_x", "clip"), ("zero_spline", "zero")):
        assert outside(net, **fields, oob_policy=policy) == expected


def test_a_base_branch_behind_a_step_stays_right_when_it_is_kept_apart():
    net = base_behind_a_step()
    x = np.random.default_rng(0).normal(0, 4, (300, 2))
    assert lutkan.verify(lutkan.compile(net, SegmentSpec(dtype="uint8")), net, x).max_abs < 0.01


@pytest.mark.parametrize("samples", [2, 16, 64])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_straight_tails_keep_their_slope_however_fine_the_samples(samples, dtype):
    # The last two of 64 codes would give a slope that is wrong by a factor; the chord of the segment does not.
    rng = np.random.default_rng(0)
    net = networks.straight()
    points = net.layers[0].branches[0].bank.basis
    net = networks.one_layer(Branch(EdgeBank(points, 1.0 + 0.3 * rng.normal(size=(2, 6, 3)))))
    artifact = lutkan.compile(net, SegmentSpec(samples, dtype))
    x = np.array([[30.0, 0.0], [-30.0, 0.0], [0.0, 30.0], [0.0, -30.0], [1.25, -1.5]])
    error = np.abs(lutkan.load(artifact).predict(x) - net.evaluate(x))
    # Half a code at either end of a segment of length 0.25 (right) or 0.75 (left).
    reach = np.array([28.75 / 0.25, 28.5 / 0.75, 28.75 / 0.25, 28.5 / 0.75, 0.0])
    code = artifact.program.steps[0].branches[0].table.scale.max()
    assert (error.max(axis=1) <= (reach + 2) * code).all()


# -------------------------------------------------------------------------------------------------------- refusals


def test_a_pole_on_the_domain_is_refused_with_edge_and_place():
    net = networks.symbolic()
    bank = net.layers[0].branches[0].bank
    pole = replace(bank, names=("log", "x^2"), affine=np.tile([1.0, 0.0, 1.0, 0.0], (4, 1)))
    with (
        np.errstate(all="ignore"),
        pytest.raises(SpecError, match=r"edge \(0, 0\) is (nan|-inf) at x = .*choose a domain without the singularity"),
    ):
        compiled(networks.one_layer(Branch(pole)), domain=(-1.0, 1.0), oob_policy="clip_x")


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (networks.bare_splines(amplitude=1e39), "is .*e"),
        (networks.bare_splines(knots=networks.uniform_knots() * 1e39), "knots: .* is no float32 number"),
        (
            networks.one_layer(
                Branch(EdgeBank(BSpline(networks.uniform_knots(), 3), np.ones((1, 8, 1)), np.full((1, 1), 1e39)))
            ),
            "edge scale: 1e\\+39 is no float32 number",
        ),
        (
            networks.one_layer(
                networks.spline(RNG, 1, 1),
                Branch(EdgeBank(NamedFunction("silu"), np.full((1, 1, 1), 1e39), role="base")),
            ),
            "base weights: 1e\\+39 is no float32 number",
        ),
    ],
)
def test_what_float32_cannot_hold_is_refused(net, words):
    with pytest.raises(SpecError, match=words):
        compiled(net)


def test_hidden_values_that_are_not_finite_are_refused():
    net = networks.network(
        networks.symbolic(2, 2).steps[0], networks.one_layer(Branch(EdgeBank(Fourier(1), np.ones((2, 2, 1))))).steps[0]
    )
    rows = np.full((3, 2), 1e200)  # squared, this is infinite
    with pytest.raises(SpecError, match="an input of this layer is not finite on the calibration rows"):
        spec = Spec(SegmentSpec(oob_policy="clip_x"), (("0", SegmentSpec(domain=(-1.0, 1.0), oob_policy="clip_x")),))
        compile_network(net, spec, rows, True)


def test_layer_norm_stays_outside_the_table_and_elementwise_steps_go_in():
    rng = np.random.default_rng(0)
    norm, scaling = LayerNorm(3), Affine(np.array([1.0, 2.0, 0.5]), np.zeros(3))
    bank = EdgeBank(Polynomial("legendre", 2), rng.normal(size=(3, 3, 2)))
    net = networks.one_layer(Branch(bank, (norm, scaling, Activation("tanh"))))
    spec = SegmentSpec(domain=(-3.0, 3.0), oob_policy="clip_x", dtype="uint8")
    step = compile_network(net, Spec(spec), rng.normal(size=(40, 3)), True).program.steps[0]
    assert [op.op for op in step.branches[0].pre] == ["layer_norm"]
    x = rng.normal(size=(200, 3))
    assert lutkan.verify(lutkan.compile(net, spec, calibration=x), net, x).max_abs < 0.01
