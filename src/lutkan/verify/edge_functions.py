"""The model's edge functions with what certified bounds need: values at nodes, slopes and second derivatives.

Between two nodes a distance h apart a function stays within `min(h^2 / 8 max|f''|, h / 2 max|f'|)` of its chord. So
values at nodes and bounds on two derivatives enclose it everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from lutkan.ir import (
    RSWAF,
    Activation,
    Affine,
    Branch,
    BSpline,
    EdgeBank,
    Fourier,
    FunctionBank,
    GaussianRBF,
    NamedFunction,
    PiecewiseLinear,
    Polynomial,
    ReluProduct,
)
from lutkan.ir.bases import Basis
from lutkan.numerics.derivatives import derivative_bounds, range_bounds

__all__ = ["EdgeFunctions", "function_branch", "spline_derivatives"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
# Bounds are evaluated in float64 themselves; this covers the rounding of a few hundred operations.
_ROUNDING = 1e-12
_PRODUCT = 1 << 18


def function_branch(name: str, weight: F64) -> Branch:
    """Return the branch `weight[i, o] * name(x)`."""
    return Branch(EdgeBank(NamedFunction(name), weight[:, None, :], role="base"))


@dataclass(frozen=True, eq=False)
class EdgeFunctions:
    """A sum of branches whose `pre` steps are elementwise, cut down to live features: functions of one input each.

    Attributes
    ----------
    branches : tuple of Branch
    """

    branches: tuple[Branch, ...]

    @property
    def shape(self) -> tuple[int, int]:
        bank = self.branches[0].bank
        return bank.in_features, bank.out_features

    @cached_property
    def _weights(self) -> F64:
        """Weights of the basis functions of all branches but named functions of single edges: [in, out, C]."""
        found = [b.bank.weights for b in self.branches if isinstance(b.bank, EdgeBank)]
        joined = np.concatenate(found, axis=1) if found else np.zeros((self.shape[0], 0, self.shape[1]))
        return np.ascontiguousarray(joined.transpose(0, 2, 1))

    @cached_property
    def _shared(self) -> list[Basis | None]:
        """Bases that are the same for every input, with nothing before them that is not."""
        found: list[Basis | None] = []
        for branch in self.branches:
            basis = branch.bank.basis if isinstance(branch.bank, EdgeBank) else None
            common = basis is not None and all(isinstance(s, Activation) and s.slope is None for s in branch.pre)
            if isinstance(basis, BSpline) and (basis.extended_knots == basis.extended_knots[:1]).all():
                basis = BSpline(basis.extended_knots[:1], basis.degree)
            found.append(basis if basis is not None and common and basis.rows == 1 else None)
        return found

    @property
    def shared(self) -> bool:
        """Whether all inputs have the same basis functions, so that `features` may serve them all."""
        return all(basis is not None for basis in self._shared)

    def features(self, x: F64, source: int = 0) -> tuple[F64, F64 | None]:
        """Evaluate what the edges of an input are made of at points [S].

        Returns
        -------
        float64 [C, S]
            Basis functions of all branches.
        float64 [out, S] or None
            Edges that carry a function of their own.
        """
        at = np.array([source])
        found, own = [np.empty((0, len(x)))], None
        for branch, shared in zip(self.branches, self._shared, strict=True):
            points = x[:, None]
            for step in branch.pre:
                points = _take(step, at).evaluate(points)
            if isinstance(branch.bank, FunctionBank):
                every = np.arange(branch.bank.out_features)
                values = branch.bank.take(at, every).edge_values(points.T)[0].T
                own = values if own is None else own + values
            else:
                basis = shared if shared is not None else branch.bank.basis.take(at)
                found.append(basis.evaluate(np.ascontiguousarray(points))[:, 0, :].T)
        return np.concatenate(found), own

    def combine(self, source: int, features: tuple[F64, F64 | None]) -> F64:
        """Return the edges of an input from its features: float64 [out, S]."""
        weights, (basis, own) = self._weights[source], features
        values = np.empty((len(weights), basis.shape[1]))
        # Products small enough to stay on one thread and in the cache.
        step = max(64, _PRODUCT // max(weights.size, 1))
        for start in range(0, basis.shape[1], step):
            np.matmul(weights, basis[:, start : start + step], out=values[:, start : start + step])
        return values if own is None else values + own

    def values(self, source: int, x: F64) -> F64:
        """Evaluate the edges of an input at points [S]: float64 [out, S]."""
        return self.combine(source, self.features(x, source))

    def corners(self, low: F64, high: F64) -> list[F64]:
        """Return where slopes may jump, inside [low[i], high[i]], an array an input; known for plain branches only."""
        found: list[list[F64]] = [[] for _ in range(self.shape[0])]
        for branch in self.branches:
            basis = branch.bank.basis if isinstance(branch.bank, EdgeBank) and not branch.pre else None
            if isinstance(basis, BSpline) and basis.degree == 1:
                rows = np.broadcast_to(basis.extended_knots, (self.shape[0], basis.extended_knots.shape[1]))
            elif isinstance(basis, PiecewiseLinear):
                rows = np.broadcast_to(basis.points, (self.shape[0], basis.size))
            else:
                continue
            for i, row in enumerate(rows):
                found[i].append(row[(row > low[i]) & (row < high[i])])
        return [np.concatenate(parts) if parts else np.empty(0) for parts in found]

    def bounds(self, low: F64, high: F64, *, corners_at_nodes: bool = False) -> tuple[F64, F64]:
        """Bound slope and second derivative of every edge on [low[i], high[i]].

        Parameters
        ----------
        low, high : float64 [in]
        corners_at_nodes : bool
            Whether the jumps of the slope that `corners` tells fall on nodes: then they do not count as curvature.

        Returns
        -------
        slope, curvature : float64 [in, out]
            Infinite where there is no bound.
        """
        slope, curvature = np.zeros(self.shape), np.zeros(self.shape)
        for branch in self.branches:
            first, second = _branch_bounds(branch, low, high, corners_at_nodes)
            slope += first
            curvature += second
        return slope * (1 + _ROUNDING), curvature * (1 + _ROUNDING)

    def deviation(self, low: F64, high: F64, step: F64, *, corners_at_nodes: bool = False) -> F64:
        """Bound how far an edge is from the chord between nodes `step[i]` apart: float64 [in, out]."""
        total = np.zeros(self.shape)
        h = step[:, None]
        for branch in self.branches:
            slope, curvature = _branch_bounds(branch, low, high, corners_at_nodes)
            part = np.minimum(_times(h * h / 8, curvature), _times(h / 2, slope))
            if isinstance(branch.bank, EdgeBank) and isinstance(branch.bank.basis, BSpline):
                part = np.minimum(part, 2 * np.abs(branch.bank.weights).max(axis=1))  # hull of the coefficients, and 0
            total += part
        return total * (1 + _ROUNDING)


def _take(step: Any, at: I64) -> Affine | Activation:
    return step.take(at)


def _branch_bounds(branch: Branch, low: F64, high: F64, corners_at_nodes: bool) -> tuple[F64, F64]:
    """Bound slope and second derivative of one branch: the chain rule through its elementwise steps."""
    first, second = np.ones(low.shape), np.zeros(low.shape)
    for step in branch.pre:
        low, high, slope, curvature = _step_bounds(step, low, high)
        second = _times(curvature, first * first) + _times(slope, second)
        first = _times(slope, first)
    outer, bend = _bank_bounds(branch.bank, low, high, corners_at_nodes and not branch.pre)
    first, second = first[:, None], second[:, None]
    return _times(outer, first), _times(bend, first * first) + _times(outer, second)


def _times(a: F64, b: F64) -> F64:
    """Multiply bounds, with 0 * inf = 0: a constant stays one whatever comes before it."""
    with np.errstate(invalid="ignore"):
        return np.where((a == 0) | (b == 0), 0.0, a * b)


def _step_bounds(step: Any, low: F64, high: F64) -> tuple[F64, F64, F64, F64]:
    """Return the image of an interval under an elementwise step, and bounds on the step's two derivatives."""
    if isinstance(step, Affine):
        ends = step.scale * low + step.bias, step.scale * high + step.bias
        return np.minimum(*ends), np.maximum(*ends), np.abs(step.scale), np.zeros(low.shape)
    if step.name == "prelu":
        slope = np.broadcast_to(step.slope, low.shape)
        ends = step.evaluate(low), step.evaluate(high)
        least, greatest = np.minimum(*ends), np.maximum(*ends)
        across = (low < 0) & (high > 0)
        least = np.where(across, np.minimum(least, 0.0), least)
        steepest = np.where(high <= 0, np.abs(slope), np.where(low >= 0, 1.0, np.maximum(1.0, np.abs(slope))))
        return least, greatest, steepest, np.where(across & (slope != 1.0), np.inf, 0.0)
    least, greatest = range_bounds(step.name, low, high)
    return least, greatest, *derivative_bounds(step.name, low, high)


def _bank_bounds(bank: EdgeBank | FunctionBank, low: F64, high: F64, corners_at_nodes: bool) -> tuple[F64, F64]:
    """Bound slope and second derivative of the edges of a bank on [low[i], high[i]]: float64 [in, out] each."""
    if isinstance(bank, FunctionBank):
        return _function_bounds(bank, low, high)
    basis, weights = bank.basis, bank.weights
    if isinstance(basis, BSpline):
        return _spline_bounds(basis, weights, low, high, corners_at_nodes)
    if isinstance(basis, PiecewiseLinear):
        slopes = np.abs(np.diff(weights, axis=1)) / np.diff(basis.points)[:, None]
        ends = np.concatenate([[-np.inf], basis.points[1:-1], [np.inf]])  # the end segments go on as straight lines
        touched = _touched(ends[None, :-1], ends[None, 1:], low, high)
        slope = np.where(touched[:, :, None], slopes, 0.0).max(axis=1)
        return slope, _corner_curvature(slope, ends[None], low, high, corners_at_nodes)
    first, second = _basis_bounds(basis, low, high)
    size = np.abs(weights)
    return _sum_bounds(first, size), _sum_bounds(second, size)


def _sum_bounds(each: F64, size: F64) -> F64:
    """Add `each[i, c] * size[i, c, o]` over c, with 0 * inf = 0."""
    each = np.broadcast_to(each, size.shape[:2])
    if np.isfinite(each).all():
        return np.einsum("ic,ico->io", each, size)
    return _times(each[:, :, None], size).sum(axis=1)


def spline_derivatives(knots: F64, coefficients: F64, degree: int) -> tuple[F64, F64]:
    """Bound slope and second derivative of B-splines on every interval between knots.

    The derivative of a spline is a spline of one degree less whose coefficients are divided differences of its own,
    and a spline lies within the hull of its coefficients (de Boor, A Practical Guide to Splines, chapter X).

    Parameters
    ----------
    knots : float64 [in or 1, T]
    coefficients : float64 [in, T - 1 - degree, out]
    degree : int

    Returns
    -------
    slope, curvature : float64 [in, T - 1, out]
        The curvature leaves jumps of the slope out of account; infinite where the spline itself jumps.

    Examples
    --------
    >>> hat = spline_derivatives(np.array([[0.0, 1.0, 2.0]]), np.array([[[3.0]]]), 1)
    >>> hat[0].ravel(), hat[1].ravel()
    (array([3., 3.]), array([0., 0.]))
    """
    n_in, _, n_out = coefficients.shape
    intervals = knots.shape[1] - 1
    alive = (knots[:, -1:] > knots[:, :1])[..., None]  # all knots equal: the libraries' convention is a zero spline
    bounds = []
    for order in (1, 2):
        part = degree - order + 1
        if part < 1:
            bounds.append(np.zeros((n_in, intervals, n_out)))
            continue
        grown = np.pad(coefficients, ((0, 0), (1, 1), (0, 0)))
        count = grown.shape[1] - 1
        gap = knots[:, part : part + count] - knots[:, :count]
        rise = part * np.diff(grown, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            coefficients = np.where(rise == 0, 0.0, rise / gap[:, :, None])
        # Interval s of a spline of degree `part - 1` uses the coefficients s - part + 1 .. s.
        size = np.pad(np.abs(coefficients), ((0, 0), (part - 1, part - 1), (0, 0)))
        widest = size[:, :intervals]
        for shift in range(1, part):
            widest = np.maximum(widest, size[:, shift : shift + intervals])
        bounds.append(np.where(alive, widest, 0.0))
    return bounds[0], bounds[1]


def _spline_bounds(basis: BSpline, weights: F64, low: F64, high: F64, corners_at_nodes: bool) -> tuple[F64, F64]:
    knots, degree = basis.extended_knots, basis.degree
    touched = _touched(knots[:, :-1], knots[:, 1:], low, high)
    if degree == 0:
        jumps = np.abs(np.diff(np.pad(weights, ((0, 0), (1, 1), (0, 0))), axis=1)) > 0
        hit = (jumps & ((knots >= low[:, None]) & (knots <= high[:, None]))[:, :, None]).any(axis=1)
        return np.where(hit, np.inf, 0.0), np.where(hit, np.inf, 0.0)
    slope, curvature = spline_derivatives(knots, weights, degree)
    slope = np.where(touched[:, :, None], slope, 0.0).max(axis=1)
    if degree == 1:
        return slope, _corner_curvature(slope, knots, low, high, corners_at_nodes)
    return slope, np.where(touched[:, :, None], curvature, 0.0).max(axis=1)


def _touched(start: F64, end: F64, low: F64, high: F64) -> NDArray[np.bool_]:
    """Tell which intervals share more than a border with [low, high], or hold it where that is a point."""
    low, high = low[:, None], high[:, None]
    return ((end > low) & (start < high)) | ((low == high) & (end >= low) & (start <= high))


def _corner_curvature(slope: F64, corners: F64, low: F64, high: F64, corners_at_nodes: bool) -> F64:
    """Return the second derivative of functions made of straight lines: 0, or infinite where a corner is no node."""
    if corners_at_nodes:
        return np.zeros(slope.shape)
    across = np.any((corners > low[:, None]) & (corners < high[:, None]), axis=1)
    return np.where(across[:, None] & (slope != 0), np.inf, 0.0)


def _function_bounds(bank: FunctionBank, low: F64, high: F64) -> tuple[F64, F64]:
    slope, curvature = np.zeros((2, bank.in_features, bank.out_features))
    a, b, c, _ = bank.affine.T
    ends = a * low[bank.source] + b, a * high[bank.source] + b
    least, greatest = np.minimum(*ends), np.maximum(*ends)
    for index, name in enumerate(bank.names):
        mine = bank.function == index
        first, second = derivative_bounds(name, least[mine], greatest[mine])
        at = bank.source[mine], bank.target[mine]
        np.add.at(slope, at, _times(first, np.abs(c * a)[mine]))
        np.add.at(curvature, at, _times(second, np.abs(c * a * a)[mine]))
    return slope, curvature


def _basis_bounds(basis: Basis, low: F64, high: F64) -> tuple[F64, F64]:
    """Bound the two derivatives of every basis function: float64 [in or 1, C] each."""
    if isinstance(basis, NamedFunction):
        slope, curvature = derivative_bounds(basis.name, low, high)
        return slope[:, None], curvature[:, None]
    if isinstance(basis, GaussianRBF):
        first, second = _gaussian_bounds(*_distances(low, high, basis.centres, 1.0 / basis.width))
        return first / basis.width, second / basis.width**2
    if isinstance(basis, RSWAF):
        first, second = _switch_bounds(*_distances(low, high, basis.centres, abs(basis.inverse_width)))
        return first * abs(basis.inverse_width), second * basis.inverse_width**2
    if isinstance(basis, Fourier):
        k = np.tile(np.arange(1.0, basis.frequencies + 1), 2)[None]
        return k, k * k
    if isinstance(basis, ReluProduct):
        # f = (gain u)^2, u = (x - low)(high - x): 0 <= u <= w^2 / 4 and |u'| <= w inside, f' = 0 at both ends.
        w = np.maximum(basis.high - basis.low, 0.0)
        return 0.5 * basis.gain**2 * w**3, 3.0 * basis.gain**2 * w**2
    if isinstance(basis, Polynomial):
        return _polynomial_bounds(basis, float(low.min()), float(high.max()))
    nothing = np.full((1, basis.size), np.inf)
    return nothing, nothing


def _distances(low: F64, high: F64, centres: F64, factor: float) -> tuple[F64, F64]:
    """Return the smallest and the largest scaled distance of an interval from every centre."""
    left, right = factor * (low[:, None] - centres), factor * (high[:, None] - centres)
    nearest = np.where((left <= 0) & (right >= 0), 0.0, np.minimum(np.abs(left), np.abs(right)))
    return nearest, np.maximum(np.abs(left), np.abs(right))


def _gaussian_bounds(near: F64, far: F64) -> tuple[F64, F64]:
    """Bound the derivatives of exp(-t^2) for near <= |t| <= far: each rises and falls between its turning points."""
    with np.errstate(under="ignore", over="ignore"):
        ends = [(np.exp(-t * t), t) for t in (near, np.minimum(far, 1e3))]
    first = np.maximum(*(2 * t * e for e, t in ends))
    first = np.where((near <= np.sqrt(0.5)) & (far >= np.sqrt(0.5)), 0.857764, first)
    second = np.maximum(*(np.abs(4 * t * t - 2) * e for e, t in ends))
    second = np.where((near <= np.sqrt(1.5)) & (far >= np.sqrt(1.5)), np.maximum(second, 0.892521), second)
    return first, second


def _switch_bounds(near: F64, far: F64) -> tuple[F64, F64]:
    """Bound the derivatives of 1 - tanh(t)^2 for near <= |t| <= far; with s = 1 - tanh^2, f'' = 4 s - 6 s^2."""
    first = derivative_bounds("tanh", near, far)[1]  # |f'| = 2 |tanh| (1 - tanh^2) = |tanh''|
    e = np.exp(-2.0 * near), np.exp(-2.0 * far)
    s = [4.0 * v / (1.0 + v) ** 2 for v in e]
    second = np.maximum(*(np.abs(4 * v - 6 * v * v) for v in s))
    second = np.where((s[1] <= 1 / 3) & (s[0] >= 1 / 3), np.maximum(second, 2 / 3), second)
    return first, second


def _polynomial_bounds(basis: Polynomial, low: float, high: float) -> tuple[F64, F64]:
    """Bound the derivatives by the sums of their Chebyshev coefficients on the interval, since |T_n| <= 1 there."""
    if not high > low:
        low, high = low - 0.5, high + 0.5
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    nodes = chebyshev.chebpts1(basis.degree + 1)
    plain = Polynomial(basis.family, basis.degree, basis.parameters)
    values = plain.evaluate((middle + half * nodes)[:, None])[:, 0, :]
    series = np.linalg.solve(chebyshev.chebvander(nodes, basis.degree), values)
    first, second = (
        np.abs(chebyshev.chebder(series, order)).sum(axis=0) / half**order * (1 + 1e-9) for order in (1, 2)
    )
    if basis.activation != "identity":
        size = np.abs(series).sum(axis=0)
        slope, curvature = derivative_bounds(basis.activation, -size, size)
        first, second = _times(slope, first), _times(curvature, first * first) + _times(slope, second)
    return first[None], second[None]
