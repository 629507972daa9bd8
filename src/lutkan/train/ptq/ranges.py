"""Which interval the codes of an input cover: from the inputs alone, or from what the choice does to the outputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lutkan.tables import CodeGrid

__all__ = [
    "batch_max_percentile",
    "free_grid",
    "mse_grid",
    "percentile_grid",
    "search_free_grid",
    "search_symmetric_grid",
    "symmetric_grid",
]

Floats = NDArray[np.floating]
#: What a grid costs: smaller is better.
Cost = Callable[[CodeGrid], float]

# The narrowest range worth having, for inputs that are all the same.
_NARROW = 1e-6


def symmetric_grid(amax: float, bits: int) -> CodeGrid:
    """Return the signed grid of a largest magnitude: `step = amax / (2^(bits-1) - 1)`, zero a code.

    Examples
    --------
    >>> symmetric_grid(7.0, 4)
    CodeGrid(low=-8.0, step=1.0, bits=4)
    """
    step = max(amax, _NARROW) / ((1 << (bits - 1)) - 1)
    return CodeGrid(-step * (1 << (bits - 1)), step, bits)


def free_grid(low: float, high: float, bits: int) -> CodeGrid:
    """Return the grid whose first code is `low` and whose last is `high`.

    Examples
    --------
    >>> free_grid(-1.0, 2.0, 2)
    CodeGrid(low=-1.0, step=1.0, bits=2)
    """
    return CodeGrid(low, max(high - low, _NARROW) / ((1 << bits) - 1), bits)


def batch_max_percentile(x: Floats, *, percentile: float = 0.999, batch: int = 64, batches: int | None = 8) -> float:
    """Return the largest of the batches' percentiles of |x|, the range that QuantKAN's code is seen to take.

    Parameters
    ----------
    x : float [N, in]
        In the order in which the batches come.
    percentile : float
        Between order statistics, linear.
    batch : int
        Rows a batch.
    batches : int or None
        Batches that count; None takes all.

    Examples
    --------
    >>> batch_max_percentile(np.array([[1.0], [-3.0], [9.0]]), percentile=1.0, batch=2, batches=1)
    3.0
    """
    rows = x if batches is None else x[: batch * batches]
    return max(float(np.quantile(np.abs(rows[at : at + batch]), percentile)) for at in range(0, len(rows), batch))


def percentile_grid(x: Floats, bits: int, low: float = 0.1, high: float = 99.9) -> CodeGrid:
    """Return the free grid between two percentiles of the inputs (0 and 100 are minimum and maximum)."""
    a, b = np.percentile(x, (low, high))
    return free_grid(float(a), float(b), bits)


def mse_grid(x: Floats, bits: int, *, symmetric: bool = False) -> CodeGrid:
    """Return the grid with the smallest mean squared error of the inputs themselves."""
    sample = np.asarray(x, dtype=np.float64).ravel()
    sample = sample[:: max(1, sample.size // 50_000)]

    def cost(grid: CodeGrid) -> float:
        return float(np.mean((grid.decode(grid.encode(sample)) - sample) ** 2))

    search = search_symmetric_grid if symmetric else search_free_grid
    return search(sample, bits, cost)


def search_symmetric_grid(x: Floats, bits: int, cost: Cost) -> CodeGrid:
    """Return the cheapest of 24 signed grids, the largest of which covers all inputs."""
    top = float(np.abs(x).max())
    return min((symmetric_grid(top * share, bits) for share in np.linspace(0.08, 1.0, 24)), key=cost)


def search_free_grid(x: Floats, bits: int, cost: Cost) -> CodeGrid:
    """Return the cheapest free grid found: both ends from a coarse table, then moved while that pays.

    Parameters
    ----------
    x : float array
        Inputs; ends are sought between their minimum and their maximum.
    bits : int
    cost : callable
        Grid -> number, such as the squared error of the layer's outputs.
    """
    least, most = float(x.min()), float(x.max())
    if most - least < _NARROW:
        return free_grid(least - _NARROW, least + _NARROW, bits)
    middle = float(np.clip(np.median(x), least + 0.25 * (most - least), most - 0.25 * (most - least)))
    shares = np.array([1.0, 0.75, 0.52, 0.33]) if bits <= 5 else np.array([1.0, 0.9, 0.75])
    best, least_cost = free_grid(least, most, bits), np.inf
    ends = (least, most)
    for a in middle + (least - middle) * shares:
        for b in middle + (most - middle) * shares:
            grid = free_grid(float(a), float(b), bits)
            price = cost(grid)
            if price < least_cost:
                best, least_cost, ends = grid, price, (float(a), float(b))
    move = 0.08 * (most - least)
    for _ in range(4 if bits <= 5 else 2):
        improved = False
        for da, db in ((-1, 0), (1, 0), (0, -1), (0, 1), (1, 1), (-1, -1)):
            a, b = max(ends[0] + da * move, least), min(ends[1] + db * move, most)
            if b - a < _NARROW or (a, b) == ends:
                continue
            grid = free_grid(a, b, bits)
            price = cost(grid)
            if price < least_cost:
                best, least_cost, ends, improved = grid, price, (a, b), True
        if not improved:
            move /= 2
    return best
