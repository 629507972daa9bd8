"""AWQ, SmoothQuant, refit and bias correction against their definitions."""

import numpy as np
import pytest

from lutkan.errors import SpecError
from lutkan.ir import Affine, Branch, BSpline, EdgeBank, NamedFunction
from lutkan.train.ptq.balance import ScaledBasis, awq, require_preserving, smooth
from lutkan.train.ptq.correct import bias_correction, refit
from lutkan.train.ptq.rounding import peak_grid, second_moments


def uneven(seed=0):
    rng = np.random.default_rng(seed)
    size = np.exp(rng.normal(size=30))
    return rng.normal(size=(6, 30)), rng.normal(size=(300, 30)) * size


def test_awq_is_no_worse_than_rounding_to_nearest_and_protects_strong_features():
    W, F = uneven()
    H = second_moments(F)
    t, grid = awq(W, H, 3)
    plain = peak_grid(W, 3)

    def cost(error):
        return float(np.einsum("or,or->", error @ H, error))

    assert cost(grid.values(grid.nearest(W * t)) / t - W) < 0.9 * cost(plain.values(plain.nearest(W)) - W)
    assert np.corrcoef(np.log(t), np.log(np.diag(H)))[0, 1] > 0.9


def test_smooth_is_the_published_formula_up_to_one_factor():
    W, F = uneven()
    largest = np.abs(F).max(axis=0)
    t = smooth(W, largest, alpha=0.3)
    expected = largest**0.3 / np.abs(W).max(axis=0) ** 0.7
    assert np.allclose(t / t[0], expected / expected[0])


def test_scaled_basis_moves_factors_without_a_change():
    knots = np.linspace(-2.2, 2.2, 12)[None]
    rng = np.random.default_rng(0)
    basis, weights = BSpline(knots, 3), rng.normal(size=(3, 8, 2))
    t = np.exp(rng.normal(size=(3, 8)))
    x = rng.uniform(-2, 2, size=(20, 3))
    scaled = EdgeBank(ScaledBasis(basis, 1 / t), weights * t[:, :, None])
    assert np.allclose(scaled.evaluate(x), EdgeBank(basis, weights).evaluate(x), atol=1e-12)
    inputs = np.array([2, 0])
    assert np.allclose(scaled.basis.take(inputs).evaluate(x[:, inputs]), scaled.basis.evaluate(x)[:, inputs])


def test_smoothquant_on_inputs_is_refused_where_it_changes_the_function():
    ones = np.ones((3, 1, 2))
    require_preserving(Branch(EdgeBank(NamedFunction("identity"), ones)), "layers.0")
    for branch in (
        Branch(EdgeBank(NamedFunction("silu"), ones)),
        Branch(EdgeBank(BSpline(np.linspace(-2, 2, 12)[None], 3), np.ones((3, 8, 2)))),
        Branch(EdgeBank(NamedFunction("identity"), ones), (Affine(np.ones(3), np.ones(3)),)),
    ):
        with pytest.raises(SpecError, match=r"only there is f\(x / t\) \* t = f\(x\)"):
            require_preserving(branch, "layers.0")


def test_refit_is_the_minimum():
    rng = np.random.default_rng(0)
    W, F = rng.normal(size=(4, 9)), rng.normal(size=(50, 9))
    Y = rng.normal(size=(50, 4))
    H, cross = F.T @ F / 50, Y.T @ F / 50
    found = refit(W, H, cross, strength=0.3)
    ridge = 0.3 * np.mean(np.diag(H))
    gradient = found @ H - cross + ridge * (found - W)
    assert np.abs(gradient).max() < 1e-10
    assert np.allclose(refit(W, H, W @ H, strength=0.3), W)
    least = np.linalg.lstsq(F, Y, rcond=None)[0].T
    assert np.allclose(refit(W, H, cross, strength=0.0), least, atol=1e-6)


def test_bias_correction_keeps_the_mean():
    rng = np.random.default_rng(0)
    target, answer = rng.normal(size=(30, 3)), rng.normal(size=(30, 3))
    assert np.allclose((answer + bias_correction(target, answer)).mean(axis=0), target.mean(axis=0))
