"""Coefficients to codes: to the nearest one, or fitted so that errors cancel on the calibration rows."""

from __future__ import annotations

import numpy as np
import pytest

import lutkan
from conformance import networks
from lutkan.tables import BasisSpec
from lutkan.tables.rounding import fit_codes, round_nearest

RNG = np.random.default_rng(5)
COEFFICIENTS = RNG.normal(size=(12, 4, 6))
# Every row looks much the same, as pixels do: errors of rounding to nearest add up to a constant.
WEIGHTS = np.abs(RNG.normal(1.0, 0.3, size=(12, 300, 4)))


def value(rounded) -> np.ndarray:
    return rounded.codes * rounded.scale


def error(values: np.ndarray) -> np.ndarray:
    return np.einsum("inr,iro->no", WEIGHTS, values - COEFFICIENTS)


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_nearest_is_within_half_a_step_and_symmetric(bits):
    rounded = round_nearest(COEFFICIENTS, bits)
    top = 2 ** (bits - 1) - 1
    assert rounded.codes.dtype == (np.int16 if bits == 16 else np.int8)
    assert np.abs(rounded.codes).max() <= top and rounded.codes.flags.c_contiguous
    clipped = np.abs(COEFFICIENTS) > rounded.scale * (top + 0.5)
    assert (np.abs(value(rounded) - COEFFICIENTS) <= rounded.scale * 0.5 * (1 + 1e-9))[~clipped].all()
    assert not clipped.any() or bits < 8
    mirrored = round_nearest(-COEFFICIENTS, bits)
    np.testing.assert_array_equal(mirrored.codes, -rounded.codes)


def test_columns_of_zeros_have_codes_of_zero():
    assert not round_nearest(np.zeros((3, 2)), 4).codes.any()
    fitted = fit_codes(np.zeros((3, 2, 1)), lambda i: WEIGHTS[i, :, :2], 4)
    assert not fitted.codes.any() and not fitted.residual.any()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_fit_tells_its_error_and_beats_the_nearest_codes(bits):
    fitted = fit_codes(COEFFICIENTS, lambda i: WEIGHTS[i], bits)
    np.testing.assert_allclose(fitted.residual, error(value(fitted)), atol=1e-9)
    nearest = error(value(round_nearest(COEFFICIENTS, bits)))
    assert np.square(fitted.residual).sum() < 0.5 * np.square(nearest).sum()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_fitted_code_is_at_most_one_step_off(bits):
    fitted = fit_codes(COEFFICIENTS, lambda i: WEIGHTS[i], bits)
    top = 2 ** (bits - 1) - 1
    steps = np.clip(COEFFICIENTS / fitted.scale, -top, top)
    assert np.abs(fitted.codes - steps).max() <= 1.0 + 1e-9
    assert np.abs(fitted.codes).max() <= top and fitted.codes.flags.c_contiguous


def test_an_input_that_no_row_reaches_keeps_its_nearest_codes():
    weights = WEIGHTS.copy()
    weights[3] = 0.0
    fitted = fit_codes(COEFFICIENTS, lambda i: weights[i], 8)
    np.testing.assert_array_equal(fitted.codes[3], np.rint(COEFFICIENTS[3] / fitted.scale))


def test_weights_that_are_no_use_are_left_out():
    weights = WEIGHTS.copy()
    weights[:, 0], weights[:, 1], weights[:, 2] = np.inf, np.nan, 1e200
    fitted = fit_codes(COEFFICIENTS, lambda i: weights[i], 4)
    zeros = np.where(np.arange(300)[None, :, None] < 3, 0.0, weights)
    np.testing.assert_array_equal(fitted.codes, fit_codes(COEFFICIENTS, lambda i: zeros[i], 4).codes)
    assert np.isfinite(fitted.residual).all()


def test_an_error_that_is_there_already_is_made_good():
    before = np.full((300, 6), 0.5)
    alone = fit_codes(COEFFICIENTS, lambda i: WEIGHTS[i], 8)
    after = fit_codes(COEFFICIENTS, lambda i: WEIGHTS[i], 8, before)
    np.testing.assert_allclose(after.residual, before + error(value(after)), atol=1e-9)
    assert np.abs(after.residual).mean() < 0.1 * np.abs(before + alone.residual).mean()


def mean_error(spec: BasisSpec, net: lutkan.Network, X: np.ndarray) -> float:
    artifact = lutkan.compile(net, spec, calibration=X)
    return lutkan.verify(artifact, net, X, runtime="reference").mae


def wide(seed: int) -> tuple[lutkan.Network, np.ndarray]:
    rng = np.random.default_rng(seed)
    net = networks.one_layer(networks.spline(rng, 40, 5), networks.base(rng, 40, 5, "silu"))
    return net, np.clip(rng.normal(-0.6, 0.2, size=(400, 40)), -1, 1)


def test_eight_bits_are_fitted_unasked_and_sixteen_are_not():
    net, X = wide(0)
    for bits, chosen in ((4, "fit"), (8, "fit"), (16, "nearest")):
        default = lutkan.compile(net, BasisSpec(bits), calibration=X)
        same = lutkan.compile(net, BasisSpec(bits, rounding=chosen), calibration=X)
        other = lutkan.compile(net, BasisSpec(bits, rounding="nearest" if chosen == "fit" else "fit"), calibration=X)
        tables = [a.program.steps[0].branches[0].table.coefficients for a in (default, same, other)]
        np.testing.assert_array_equal(tables[0], tables[1])
        assert (tables[0] != tables[2]).any()


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("base", ["fold", "apart"])
def test_fitting_lowers_the_error_of_a_network(bits, base):
    net, X = wide(1)
    nearest = mean_error(BasisSpec(bits, rounding="nearest", base=base), net, X)
    assert mean_error(BasisSpec(bits, rounding="fit", base=base), net, X) < 0.7 * nearest


def test_the_base_branch_takes_four_bits_where_that_costs_little():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(300, 20))
    spline = networks.spline(rng, 20, 4)
    found = {}
    for size in (1e-3, 30.0):
        base = networks.Branch(
            networks.EdgeBank(networks.NamedFunction("silu"), size * rng.normal(size=(20, 1, 4)), role="base")
        )
        art = lutkan.compile(networks.one_layer(spline, base), BasisSpec(4, base="apart"), calibration=X)
        found[size] = art.program.steps[0].branches[1].table.coefficient_bits
    assert found == {1e-3: 4, 30.0: 8}
