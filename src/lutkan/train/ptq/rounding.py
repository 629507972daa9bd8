"""From real weights to integer codes: to the nearest, by GPTQ, or by AdaRound.

A KAN layer is linear in its features, `y = W f(x)`, so all of these are about a matrix of weights W [O, R] and the
second moments H = F'F / N [R, R] of features F [N, R]. The base and the spline branch may stand side by side in one W,
with a scale and a number of bits each: errors in one branch are then made good in the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import SpecError

__all__ = ["WeightGrid", "adaround", "gptq", "peak_grid", "searched_grid", "second_moments"]

F64 = NDArray[np.float64]
I16 = NDArray[np.int16]
I64 = NDArray[np.int64]

_BLOCK = 128
_SHRINKS = np.linspace(0.15, 1.05, 37)


@dataclass(frozen=True, eq=False)
class WeightGrid:
    """The values that quantized weights can take: `scale * code`, `low <= code <= high`.

    Attributes
    ----------
    scale : float64 [O, R], or what broadcasts to it
    low, high : int64 [R]
        Smallest and largest code of a column; branches of different bits stand side by side.
    """

    scale: F64
    low: I64
    high: I64

    @staticmethod
    def of_bits(scale: F64, bits: int, columns: int) -> WeightGrid:
        """Return the grid of signed codes of 2 to 8 bits; 8 bits leave out -128, which no kernel takes."""
        if not 2 <= bits <= 8:
            raise SpecError(f"weights of {bits} bits", "2 to 8")
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        return WeightGrid(scale, np.full(columns, max(low, -127)), np.full(columns, high))

    @staticmethod
    def beside(grids: list[WeightGrid], outputs: int) -> WeightGrid:
        """Return the grid of branches side by side."""
        scales = [np.broadcast_to(grid.scale, (outputs, grid.low.size)) for grid in grids]
        return WeightGrid(
            np.concatenate(scales, axis=1),
            np.concatenate([grid.low for grid in grids]),
            np.concatenate([grid.high for grid in grids]),
        )

    def nearest(self, W: F64) -> I16:
        """Round every weight to the nearest code, ties to even."""
        return np.clip(np.rint(W / self.scale), self.low, self.high).astype(np.int16)

    def values(self, codes: I16) -> F64:
        """Return what codes stand for."""
        return codes * self.scale

    def take(self, columns: NDArray[np.intp]) -> WeightGrid:
        """Return the grid of a selection of columns."""
        scale = self.scale if self.scale.shape[1] == 1 else self.scale[:, columns]
        return WeightGrid(scale, self.low[columns], self.high[columns])


def peak_grid(W: F64, bits: int, groups: I64 | None = None) -> WeightGrid:
    """Take the largest weight for the largest code: `scale = max|w| / (2^(bits-1) - 1)`.

    Parameters
    ----------
    W : float64 [O, R]
    bits : int
    groups : int64 [O, R], optional
        Weights of one number share a scale; by default a scale an output.

    Examples
    --------
    >>> peak_grid(np.array([[0.7, -1.4]]), 4).scale
    array([[0.2]])
    """
    peak = np.abs(W).max(axis=1, keepdims=True) if groups is None else _group_max(np.abs(W), groups)[groups]
    scale = np.where(peak > 0, peak, 1.0) / ((1 << (bits - 1)) - 1)
    return WeightGrid.of_bits(scale, bits, W.shape[1])


def searched_grid(W: F64, bits: int, importance: F64 | None = None, groups: I64 | None = None) -> WeightGrid:
    """Search the scale, an output or a group, that makes the (weighted) squared rounding error smallest.

    Parameters
    ----------
    W : float64 [O, R]
    bits : int
    importance : float64 [R], optional
        Weight of a column, such as the mean square of its feature (the diagonal of H).
    groups : int64 [O, R], optional
        As in `peak_grid`.
    """
    peak = peak_grid(W, bits, groups)
    best = np.broadcast_to(peak.scale, W.shape) if groups is not None else peak.scale
    weight = np.ones(W.shape[1]) if importance is None else np.maximum(importance, 1e-3 * max(importance.mean(), 1e-30))
    least = np.full(best.shape, np.inf)
    start = best.copy()
    for shrink in _SHRINKS:
        grid = WeightGrid(start * shrink, peak.low, peak.high)
        error = weight * (grid.values(grid.nearest(W)) - W) ** 2
        if groups is None:
            error = error.sum(axis=1, keepdims=True)
        else:
            error = np.bincount(groups.ravel(), error.ravel())[groups]
        better = error < least
        least, best = np.where(better, error, least), np.where(better, grid.scale, best)
    return WeightGrid(best, peak.low, peak.high)


def _group_max(values: F64, groups: I64) -> F64:
    peak = np.zeros(int(groups.max()) + 1)
    np.maximum.at(peak, groups.ravel(), values.ravel())
    return peak


def second_moments(F: NDArray[np.floating]) -> F64:
    """Return F'F / N in float64: [N, R] -> [R, R]. Products are made in the precision of F."""
    return (F.T @ F).astype(np.float64) / len(F)


def gptq(
    W: F64,
    H: F64,
    grid: WeightGrid,
    *,
    damp: float = 0.01,
    act_order: bool = True,
    dead: Literal["zero", "nearest"] = "zero",
) -> I16:
    """Round column after column, each making the columns not yet rounded carry its error (GPTQ, arXiv 2210.17323).

    Parameters
    ----------
    W : float64 [O, R]
    H : float64 [R, R]
        Second moments of the features.
    grid : WeightGrid
    damp : float
        Part of the mean diagonal of H that is added to the diagonal.
    act_order : bool
        Whether columns go in descending order of their diagonal.
    dead : {"zero", "nearest"}
        What becomes of columns whose feature no row has: the code 0, as published, or the nearest code, which is
        safer on inputs that the calibration rows lack.

    Returns
    -------
    int16 [O, R]

    Examples
    --------
    >>> W, grid = np.array([[0.6, 0.6]]), WeightGrid.of_bits(np.array([[1.0]]), 4, 2)
    >>> gptq(W, np.ones((2, 2)), grid)  # both weights see the same feature: 1.2 becomes 1, not 2
    array([[1, 0]], dtype=int16)
    """
    diagonal = np.diag(H)
    codes = grid.nearest(W) if dead == "nearest" else np.zeros(W.shape, dtype=np.int16)
    alive = np.flatnonzero(diagonal > 0)
    if not alive.size:
        return codes
    if act_order:
        alive = alive[np.argsort(-diagonal[alive], kind="stable")]
    upper = _inverse_factor(H, alive, damp)
    scale = np.ascontiguousarray(np.broadcast_to(grid.scale, W.shape)[:, alive])
    low, high = grid.low[alive], grid.high[alive]
    rest = W[:, alive].astype(upper.dtype)
    chosen = np.empty(rest.shape, dtype=np.int16)
    for start in range(0, alive.size, _BLOCK):
        stop = min(start + _BLOCK, alive.size)
        block, inner = rest[:, start:stop], upper[start:stop, start:stop]
        errors = np.empty_like(block)
        for column in range(stop - start):
            at = start + column
            code = np.clip(np.rint(block[:, column] / scale[:, at]), low[at], high[at])
            chosen[:, at] = code
            error = (block[:, column] - code * scale[:, at]) / inner[column, column]
            block[:, column + 1 :] -= np.outer(error, inner[column, column + 1 :])
            errors[:, column] = error
        rest[:, stop:] -= errors @ upper[start:stop, stop:]
    codes[:, alive] = chosen
    return codes


def _inverse_factor(H: F64, columns: NDArray[np.intp], damp: float) -> F64:
    """Return the upper Cholesky factor of the inverse of the damped H, restricted to some columns."""
    damped = H[np.ix_(columns, columns)]
    damped[np.diag_indices(columns.size)] += damp * float(np.mean(np.diag(damped)))
    # With P the reversal and P H P = L L', U = P inverse(L) P is upper and U' U = inverse(H).
    lower: F64 = np.linalg.cholesky(damped[::-1, ::-1]).astype(np.float64)
    inverse = _triangular_inverse(lower)
    return np.ascontiguousarray(inverse[::-1, ::-1])


def _triangular_inverse(lower: F64) -> F64:
    """Invert a lower triangle, halves at a time: matrix products do the work."""
    n = len(lower)
    if n <= 64:
        return np.tril(np.linalg.inv(lower)).astype(np.float64)
    half = n // 2
    first, last = _triangular_inverse(lower[:half, :half]), _triangular_inverse(lower[half:, half:])
    inverse = np.zeros_like(lower)
    inverse[:half, :half], inverse[half:, half:] = first, last
    inverse[half:, :half] = -(last @ lower[half:, :half]) @ first
    return inverse


def adaround(
    W: F64,
    H: F64,
    grid: WeightGrid,
    *,
    iterations: int = 300,
    lr: float = 0.1,
    regularization: float = 1.0,
    warm: float = 0.2,
    targets: F64 | None = None,
) -> I16:
    """Learn whether each weight is rounded up or down (AdaRound, arXiv 2004.10568).

    Each output minimises `d H d'` for its error d, plus a term that drives the choices to 0 or 1: Adam on V with
    `h = clip(1.2 sigmoid(V) - 0.1, 0, 1)`, the exponent of the term falling from 20 to 2. The squared error of an
    output is counted relative to that of rounding to nearest, so that one strength and one rate fit all layers; they
    are larger, and the iterations fewer, than published.

    Parameters
    ----------
    W : float64 [O, R]
    H : float64 [R, R]
    grid : WeightGrid
    iterations : int
    lr : float
    regularization : float
    warm : float
        Part of the iterations before the term sets in.
    targets : float64 [O, R], optional
        Weights whose outputs are to be met, where they are not W itself.

    Returns
    -------
    int16 [O, R]
        Each code is floor(W / scale) or one more.
    """
    H32 = H.astype(np.float32)
    goal = (W if targets is None else targets).astype(np.float32)
    scale = np.broadcast_to(grid.scale, W.shape).astype(np.float32)
    choice = RoundingChoice(W, grid)
    nearest = grid.values(grid.nearest(W)).astype(np.float32) - goal
    start = np.maximum(np.einsum("or,or->o", nearest @ H32, nearest), 1e-20)
    weight = (2.0 * W.shape[1] / start)[:, None].astype(np.float32)
    for step in range(iterations):
        error = choice.soft() * scale - goal
        choice.descend(weight * (error @ H32) * scale, step, iterations, lr, regularization, warm)
    return choice.hard()


class RoundingChoice:
    """The choice between rounding down and up, a number a weight, learned with Adam."""

    def __init__(self, W: F64, grid: WeightGrid) -> None:
        ratio = W / grid.scale
        self.floor = np.floor(ratio).astype(np.float32)
        self.low, self.high = grid.low.astype(np.float32), grid.high.astype(np.float32)
        part = np.clip((ratio - self.floor + 0.1) / 1.2, 1e-4, 1 - 1e-4)
        self.v = np.log(part / (1 - part)).astype(np.float32)
        self.mean, self.square = np.zeros_like(self.v), np.zeros_like(self.v)

    def soft(self) -> NDArray[np.float32]:
        """Return the codes as they are now, not yet integers."""
        self.sigmoid = 1 / (1 + np.exp(-self.v))
        self.h = np.clip(1.2 * self.sigmoid - 0.1, 0, 1)
        return np.clip(self.floor + self.h, self.low, self.high).astype(np.float32)

    def descend(
        self,
        gradient: NDArray[np.float32],
        step: int,
        iterations: int,
        lr: float,
        regularization: float,
        warm: float,
    ) -> None:
        """Take a step of Adam; `gradient` is that of the loss by the codes."""
        inside = (self.floor + self.h >= self.low) & (self.floor + self.h <= self.high)
        gradient = np.where(inside, gradient, 0)
        begin = warm * iterations
        if step >= begin:
            beta = 2 + 9 * (1 + np.cos(np.pi * (step - begin) / max(iterations - begin, 1)))
            away = 2 * self.h - 1
            gradient = gradient - regularization * 2 * beta * np.sign(away) * np.abs(away) ** (beta - 1)
        live = (self.h > 0) & (self.h < 1)
        slope = np.where(live, 1.2 * self.sigmoid * (1 - self.sigmoid) * gradient, 0).astype(np.float32)
        self.mean += 0.1 * (slope - self.mean)
        self.square += 0.001 * (slope * slope - self.square)
        rate = lr * np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
        self.v -= np.float32(rate) * self.mean / (np.sqrt(self.square) + 1e-8)

    def hard(self) -> I16:
        """Return the codes that the choices end at."""
        return np.clip(self.floor + (self.v >= 0), self.low, self.high).astype(np.int16)
