"""Input ranges: formulas, and that searches find what a brute-force search finds."""

import numpy as np
import pytest

from lutkan.train.ptq.ranges import (
    batch_max_percentile,
    free_grid,
    mse_grid,
    percentile_grid,
    search_free_grid,
    search_symmetric_grid,
    symmetric_grid,
)


def test_symmetric_grid_has_zero_as_a_code():
    for bits in range(2, 9):
        grid = symmetric_grid(1.3, bits)
        assert grid.decode(2 ** (bits - 1)) == 0.0
        assert grid.decode(2**bits - 1) == pytest.approx(1.3)


def test_batch_max_percentile_is_that_of_the_first_batches():
    x = np.random.default_rng(0).normal(size=(1000, 7))
    expected = max(np.quantile(np.abs(x[at : at + 64]), 0.999) for at in range(0, 512, 64))
    assert batch_max_percentile(x) == expected
    x[600] = 99.0  # beyond the eighth batch
    assert batch_max_percentile(x) == expected
    assert batch_max_percentile(x, batches=None) > 50
    assert batch_max_percentile(x[:10]) == np.quantile(np.abs(x[:10]), 0.999)


@pytest.mark.parametrize("bits", [2, 4])
def test_mse_grid_is_near_the_best_there_is(bits):
    x = np.random.default_rng(1).gamma(2.0, size=4000) - 1.0

    def cost(low, high):
        grid = free_grid(low, high, bits)
        return np.mean((grid.decode(grid.encode(x)) - x) ** 2)

    best = min(cost(a, b) for a in np.linspace(x.min(), 1, 30) for b in np.linspace(1.2, x.max(), 60))
    found = mse_grid(x, bits)
    assert np.mean((found.decode(found.encode(x)) - x) ** 2) < 1.05 * best
    signed = mse_grid(x, bits, symmetric=True)
    assert signed.low == pytest.approx(-signed.step * 2 ** (bits - 1))
    assert np.mean((signed.decode(signed.encode(x)) - x) ** 2) > 1.2 * best  # the offset is worth something


def test_searches_follow_their_cost():
    x = np.linspace(-1.0, 3.0, 101)
    wanted = free_grid(-0.5, 2.0, 3)
    found = search_free_grid(x, 3, lambda g: abs(g.low - wanted.low) + abs(g.step - wanted.step))
    assert found.low == pytest.approx(-0.5, abs=0.1)
    assert found.step == pytest.approx(wanted.step, abs=0.05)
    assert search_symmetric_grid(x, 3, lambda g: abs(g.step - 0.5)).step == pytest.approx(0.5, abs=0.05)


def test_inputs_that_are_all_the_same():
    for grid in (search_free_grid(np.full(9, 2.0), 4, lambda g: 0.0), percentile_grid(np.full(9, 2.0), 4)):
        assert grid.decode(grid.encode(np.array([2.0])))[0] == pytest.approx(2.0, abs=1e-5)
