"""B-spline bases on arbitrary extended knots, in float64, with the half-open rule of the KAN libraries.

Degree-0 bases are indicators of `[t_j, t_{j+1})`; higher degrees follow Cox-de Boor. Two libraries, two habits at
repeated knots: pykan replaces the 0/0 of a zero-width interval by 0, efficient-kan returns NaN. This module follows
pykan; the efficient-kan importer refuses repeated knots, because that model has no finite answer there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["basis", "find_span", "has_repeated_knots", "uniform_weights"]

F64 = NDArray[np.float64]


def has_repeated_knots(knots: F64) -> NDArray[np.bool_]:
    """Tell which knot rows hold two equal neighbours.

    Parameters
    ----------
    knots : float64 [rows, T]

    Returns
    -------
    bool [rows]
    """
    return np.any(np.diff(knots, axis=1) <= 0, axis=1)


def find_span(x: F64, knots: F64) -> NDArray[np.int64]:
    """Find `s` with `knots[i, s] <= x[:, i] < knots[i, s + 1]`, by comparison with the knots.

    Parameters
    ----------
    x : float64 [N, in]
    knots : float64 [in or 1, T], ascending

    Returns
    -------
    int64 [N, in]
        -1 left of the first knot (and for NaN), `T - 1` at or right of the last one.

    Examples
    --------
    >>> find_span(np.array([[-1.0], [0.0], [0.5], [1.0]]), np.array([[0.0, 0.5, 1.0]])).ravel()
    array([-1,  0,  1,  2])
    """
    if knots.shape[0] == 1:
        span = np.searchsorted(knots[0], x, side="right") - 1
        span[np.isnan(x)] = -1
        return span
    span = np.full(x.shape, -1, dtype=np.int64)
    for t in knots.T:
        span += x >= t
    return span


def basis(x: F64, knots: F64, degree: int) -> F64:
    """Evaluate all B-spline basis functions at `x`.

    Parameters
    ----------
    x : float64 [N, in]
    knots : float64 [in or 1, T]
        The whole extended knot vector, ascending, a row an input or one row for all.
    degree : int
        `C = T - 1 - degree` basis functions result.

    Returns
    -------
    float64 [N, in, C]
        Zero left of the first knot and from the last knot on (+-inf included); NaN where `x` is NaN.

    Examples
    --------
    >>> basis(np.array([[0.25]]), np.array([[-1.0, 0.0, 1.0, 2.0]]), degree=1)
    array([[[0.75, 0.25]]])
    """
    n, n_in = x.shape
    n_knots = knots.shape[1]
    size = n_knots - 1 - degree
    repeated = has_repeated_knots(knots)
    if repeated.all():
        return _basis_recursive(x, knots, degree)
    if repeated.any():
        values = np.empty((n, n_in, size))
        values[:, ~repeated] = basis(np.ascontiguousarray(x[:, ~repeated]), knots[~repeated], degree)
        values[:, repeated] = _basis_recursive(np.ascontiguousarray(x[:, repeated]), knots[repeated], degree)
        return values

    span = find_span(x, knots)
    inside = (span >= 0) & (span < n_knots - 1)
    span = np.where(inside, span, degree)
    local = _local_basis(np.where(inside, x, knots[:, degree]), knots, span, degree)
    local *= inside[..., None]
    # Scatter into a row padded by `degree` on both sides, so that bases which do not exist fall into the padding.
    padded = np.zeros((n, n_in, size + 2 * degree))
    np.put_along_axis(padded, span[..., None] + np.arange(degree + 1), local, axis=2)
    values = padded[:, :, degree : degree + size]
    if np.isnan(x).any():
        values[np.isnan(x)] = np.nan
    return values


def _local_basis(x: F64, knots: F64, span: NDArray[np.int64], degree: int) -> F64:
    """Evaluate the `degree + 1` bases that are non-zero in interval `span`, by the triangular scheme of de Boor."""
    # Knots that lie outside the vector only feed bases that do not exist; any distinct values serve.
    left = knots[:, :1] - np.arange(degree, 0, -1)
    right = knots[:, -1:] + np.arange(1, degree + 1)
    padded = np.concatenate([left, knots, right], axis=1)
    rows = np.zeros(1, dtype=np.int64) if knots.shape[0] == 1 else np.arange(knots.shape[0])

    def knot(offset: int) -> F64:
        return padded[rows, span + (degree + offset)]

    values = np.zeros((*x.shape, degree + 1))
    values[..., 0] = 1.0
    to_left = [x - knot(1 - r) for r in range(1, degree + 1)]
    to_right = [knot(r) - x for r in range(1, degree + 1)]
    for p in range(1, degree + 1):
        saved = np.zeros(x.shape)
        for r in range(p):
            part = values[..., r] / (to_right[r] + to_left[p - r - 1])
            values[..., r] = saved + to_right[r] * part
            saved = to_left[p - r - 1] * part
        values[..., p] = saved
    return values


def _basis_recursive(x: F64, knots: F64, degree: int) -> F64:
    """Evaluate Cox-de Boor level by level with every NaN replaced by 0, as pykan does for zero-width intervals."""
    points = x[:, :, None]
    t = knots[None]
    values = ((points >= t[:, :, :-1]) & (points < t[:, :, 1:])).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        for p in range(1, degree + 1):
            rising = (points - t[:, :, : -(p + 1)]) / (t[:, :, p:-1] - t[:, :, : -(p + 1)])
            falling = (t[:, :, p + 1 :] - points) / (t[:, :, p + 1 :] - t[:, :, 1:-p])
            values = np.nan_to_num(rising * values[:, :, :-1] + falling * values[:, :, 1:])
    values[np.isnan(x)] = np.nan
    return values


def uniform_weights(u: F64, degree: int) -> F64:
    """Evaluate the `degree + 1` bases that are non-zero in an interval of uniform knots.

    Parameters
    ----------
    u : float64 array
        Offset within the interval, 0 to 1.
    degree : int

    Returns
    -------
    float64 array, shape `u.shape + (degree + 1,)`
        Lowest basis first; rows sum to 1.

    Examples
    --------
    >>> uniform_weights(np.array([0.0]), 3) * 6
    array([[1., 4., 1., 0.]])
    """
    weights = np.ones((*np.shape(u), 1))
    for p in range(1, degree + 1):
        grown = np.zeros((*np.shape(u), p + 1))
        for r in range(p):
            offset = (u + (p - 1 - r)) / p
            grown[..., r + 1] += offset * weights[..., r]
            grown[..., r] += (1.0 - offset) * weights[..., r]
        weights = grown
    return weights
