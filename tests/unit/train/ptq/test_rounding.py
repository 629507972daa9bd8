"""Rounding on plain matrices: against slow definitions, and against what each method is for."""

import numpy as np
import pytest

from lutkan.errors import SpecError
from lutkan.train.ptq.brecq import brecq
from lutkan.train.ptq.rounding import WeightGrid, adaround, gptq, peak_grid, searched_grid, second_moments


def problem(outputs=5, rows=160, samples=400, seed=0, mixing=0.6):
    """Weights, and features that are correlated as those of neighbouring basis functions are."""
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(samples, rows))
    F = F + mixing * np.roll(F, 1, axis=1) + mixing * rng.normal(size=(samples, 1))
    return rng.normal(size=(outputs, rows)), F.astype(np.float32)


def error(W, H, grid, codes):
    d = grid.values(codes) - W
    return float(np.einsum("or,or->", d @ H, d))


def slow_gptq(W, H, grid, damp, order):
    """Optimal brain quantization in a fixed order: the inverse is computed anew for what is left."""
    H = H + damp * np.mean(np.diag(H)) * np.eye(len(H))
    W, left = W.copy(), list(order)
    codes = np.zeros(W.shape, dtype=np.int16)
    scale = np.broadcast_to(grid.scale, W.shape)
    while left:
        inverse = np.linalg.inv(H[np.ix_(left, left)])
        column = left[0]
        codes[:, column] = np.clip(np.rint(W[:, column] / scale[:, column]), grid.low[column], grid.high[column])
        wrong = W[:, column] - codes[:, column] * scale[:, column]
        W[:, left] -= np.outer(wrong / inverse[0, 0], inverse[0])
        left = left[1:]
    return codes


@pytest.mark.parametrize("act_order", [True, False])
@pytest.mark.parametrize("bits", [2, 4])
def test_gptq_is_optimal_brain_quantization_in_a_fixed_order(bits, act_order):
    W, F = problem()
    H, grid = second_moments(F), peak_grid(W, bits)
    order = np.argsort(-np.diag(H), kind="stable") if act_order else np.arange(W.shape[1])
    assert np.array_equal(gptq(W, H, grid, act_order=act_order), slow_gptq(W, H, grid, 0.01, order))


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_gptq_beats_rounding_to_nearest(bits):
    W, F = problem()
    H, grid = second_moments(F), searched_grid(W, bits)
    assert error(W, H, grid, gptq(W, H, grid)) < 0.7 * error(W, H, grid, grid.nearest(W))


def test_one_hessian_over_two_branches_beats_one_each():
    W, F = problem()
    H = second_moments(F)
    cut = 100
    parts = [peak_grid(W[:, :cut], 3), peak_grid(W[:, cut:], 3)]
    both = WeightGrid.beside(parts, len(W))
    apart = np.concatenate(
        [gptq(W[:, :cut], H[:cut, :cut], parts[0]), gptq(W[:, cut:], H[cut:, cut:], parts[1])], axis=1
    )
    assert error(W, H, both, gptq(W, H, both)) < 0.97 * error(W, H, both, apart)


def test_dead_columns():
    W, F = problem(rows=20)
    F[:, [3, 7]] = 0
    H, grid = second_moments(F), peak_grid(W, 4)
    zero, nearest = gptq(W, H, grid), gptq(W, H, grid, dead="nearest")
    assert not zero[:, [3, 7]].any()
    assert np.array_equal(nearest[:, [3, 7]], grid.nearest(W)[:, [3, 7]])
    others = [c for c in range(20) if c not in (3, 7)]
    assert np.array_equal(zero[:, others], nearest[:, others])
    assert np.array_equal(gptq(W, np.zeros((20, 20)), grid, dead="nearest"), grid.nearest(W))


def test_branches_of_different_bits_keep_to_their_codes():
    W, F = problem(rows=40)
    grid = WeightGrid.beside([peak_grid(W[:, :10], 8), peak_grid(W[:, 10:], 2)], len(W))
    codes = gptq(4 * W, second_moments(F), grid)
    assert codes[:, :10].min() >= -127
    assert codes[:, :10].max() > 1
    assert set(np.unique(codes[:, 10:])) <= {-2, -1, 0, 1}


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_peak_grid(bits):
    W, _ = problem(rows=6)
    grid = peak_grid(W, bits)
    top = 2 ** (bits - 1) - 1
    assert np.allclose(grid.scale[:, 0], np.abs(W).max(axis=1) / top)
    assert np.abs(grid.nearest(W)).max() == top


def test_weights_of_a_group_share_a_scale():
    W = np.array([[1.0, 2.0, 8.0, 4.0]])
    groups = np.array([[0, 0, 1, 1]])
    assert np.allclose(peak_grid(W, 4, groups).scale, np.array([[2, 2, 8, 8]]) / 7)
    searched = searched_grid(W, 4, None, groups).scale
    assert searched[0, 0] == searched[0, 1] != searched[0, 2]


def test_searched_scales_have_less_error_than_the_peak():
    W, F = problem()
    peak, searched = peak_grid(W, 2), searched_grid(W, 2)
    for row in range(len(W)):
        assert np.sum((searched.values(searched.nearest(W)) - W)[row] ** 2) < np.sum(
            (peak.values(peak.nearest(W)) - W)[row] ** 2
        )
    importance = np.zeros(W.shape[1])
    importance[:4] = 1.0  # only these count, so they are met closely
    weighed = searched_grid(W, 3, importance)
    plain = searched_grid(W, 3)
    gap = [np.sum(((g.values(g.nearest(W)) - W) ** 2)[:, :4]) for g in (weighed, plain)]
    assert gap[0] < 0.8 * gap[1]
    assert F.shape[1] == W.shape[1]


@pytest.mark.parametrize("bits", [2, 3])
def test_adaround_rounds_up_or_down_and_better(bits):
    W, F = problem(rows=60)
    H, grid = second_moments(F), searched_grid(W, bits)
    codes = adaround(W, H, grid)
    floor = np.floor(W / grid.scale)
    inside = (floor >= grid.low) & (floor + 1 <= grid.high)
    assert np.isin((codes - floor)[inside], (0, 1)).all()
    assert error(W, H, grid, codes) < 0.7 * error(W, H, grid, grid.nearest(W))


def test_adaround_meets_targets_that_are_not_the_weights():
    W, F = problem(rows=30)
    H, grid = second_moments(F), searched_grid(W, 3)
    targets = W + 0.3 * grid.scale
    codes = adaround(W, H, grid, targets=targets)
    assert error(targets, H, grid, codes) < error(targets, H, grid, adaround(W, H, grid))


def test_brecq_looks_where_the_loss_does():
    W, F = problem(rows=60, samples=600)
    target = F.astype(np.float64) @ W.T
    grid = searched_grid(W, 2)
    half = np.zeros(target.shape)
    half[:300] = 1.0
    codes = brecq(W, F, target, grid, half)
    even = brecq(W, F, target, grid, np.ones(target.shape))

    def squares(codes, rows):
        return float(np.mean((F[rows] @ grid.values(codes).T - target[rows]) ** 2))

    assert squares(even, slice(None)) < 0.8 * squares(grid.nearest(W), slice(None))
    assert squares(codes, slice(300)) < squares(even, slice(300))
    assert np.array_equal(codes, brecq(W, F, target, grid, half))
    assert not np.array_equal(codes, brecq(W, F, target, grid, half, seed=1))


def test_bits_out_of_range():
    with pytest.raises(SpecError, match="weights of 9 bits"):
        WeightGrid.of_bits(np.ones((1, 1)), 9, 1)
