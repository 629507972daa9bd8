"""Enclose artifact - model for the edges of one table, over an interval of each input.

For every input the interval is cut into pieces on which the artifact's edge is a constant or a straight line (positions
of a basis table, samples of a segment table, tails). At the nodes both sides are known exactly; between nodes the model
stays near its chord (`EdgeFunctions.deviation`). Float32 is accounted for where it acts: a position may fall on the
other side of a node (the piece is widened), and every rounding of a product or sum adds half a unit of the last place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact.program import (
    BaseTable,
    BasisTable,
    CodeTable,
    KnotTable,
    ProductTable,
    RadialTable,
    SegmentTable,
    SplineTable,
    Table,
)
from lutkan.errors import VerificationError
from lutkan.ir import Branch, BSpline, EdgeBank
from lutkan.numerics.bspline import uniform_weights
from lutkan.numerics.derivatives import range_bounds
from lutkan.numerics.fixed_point import WEIGHT_SUM
from lutkan.verify.edge_functions import EdgeFunctions, function_branch, spline_derivatives

__all__ = ["FLOAT32_MAX", "FUNCTION_ERROR", "FUNCTION_FLOOR", "UNIT", "TableError", "table_error"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: Half a unit in the last place of float32, relative; a little above 2^-24 so that (1 + UNIT) covers second orders.
UNIT = 5.97e-8
#: Largest relative error of the float32 functions (docs/spec/float32.md: 3.3 ulp for silu, 5e-7 for gelu), and what
#: flushing to zero costs.
FUNCTION_ERROR = 6e-7
FUNCTION_FLOOR = 1e-34
#: Sizes from here on may overflow in float32.
FLOAT32_MAX = 3.4e38
# Pieces of a tail, and the fewest nodes an interval of a basis table has.
_TAIL_PIECES = 512
_NODES_AN_INTERVAL = 64
_NODES_A_KNOT_INTERVAL = 48
_NODES_A_SEGMENT = 96
# Corners this far from a node, in parts of a piece, still count as lying on it.
_ALIGNED = 1e-3


@dataclass(frozen=True, eq=False)
class TableError:
    """What a table may add to artifact - model.

    Attributes
    ----------
    low, high : float64 [in, out]
        Enclosure of the error of every edge, in real arithmetic on float32 inputs.
    size : float64 [in, out]
        Bound on |artifact| of every edge; a float32 sum of edges is bounded by it.
    rounding : float64 [out]
        Bound on the rounding of the float32 operations, the table's own sums included.
    sums : int
        Additions to the layer's float32 sums: each rounds what other tables added before, too.
    """

    low: F64
    high: F64
    size: F64
    rounding: F64
    sums: int


@dataclass
class _Extremes:
    """Running enclosure of the errors of all edges, and of what the artifact's edges reach."""

    low: F64
    high: F64
    size: F64

    @staticmethod
    def empty(shape: tuple[int, int]) -> _Extremes:
        return _Extremes(np.full(shape, np.inf), np.full(shape, -np.inf), np.zeros(shape))

    def add(self, i: int, left: F64, right: F64, at_nodes: F64, slack: F64) -> None:
        """Take in adjoining pieces of input `i`: artifact at their ends [out, P], model at their nodes [out, P + 1]."""
        self.add_pieces(i, (left, right), (at_nodes[:, :-1], at_nodes[:, 1:]), slack)

    def add_pieces(self, i: int, artifact: tuple[F64, F64], model: tuple[F64, F64], slack: F64) -> None:
        """Take in pieces of input `i`: values at their left and right ends, [out, P] each; slack [out] or [out, P]."""
        apart = slack if slack.ndim == 2 else 0.0
        common = slack if slack.ndim == 1 else 0.0
        for held, exact in zip(artifact, model, strict=True):
            error = held - exact
            self.low[i] = np.minimum(self.low[i], (error - apart).min(axis=1) - common)
            self.high[i] = np.maximum(self.high[i], (error + apart).max(axis=1) + common)
        for held in artifact if artifact[0] is not artifact[1] else artifact[:1]:
            self.size[i] = np.maximum(self.size[i], np.maximum(held.max(axis=1), -held.min(axis=1)))


def table_error(table: Table, branches: tuple[Branch, ...], low: F64, high: F64) -> TableError:
    """Enclose artifact - model for all edges of a table.

    Parameters
    ----------
    table : Table
    branches : tuple of Branch
        The model's edges that the table stands for, elementwise, cut down to live features. A base branch that is
        folded into a basis table comes last.
    low, high : float64 [in]
        Ends of the inputs, both reachable.

    Raises
    ------
    VerificationError
        The table does not stand for these edges.
    """
    found = _enclose(table, branches, low, high)
    # What subnormal numbers lose in products and sums.
    return replace(found, rounding=found.rounding + FUNCTION_FLOOR * len(low))


def _enclose(table: Table, branches: tuple[Branch, ...], low: F64, high: F64) -> TableError:
    if isinstance(table, BasisTable):
        return _basis_error(table, branches, low, high)
    if isinstance(table, RadialTable):
        return _radial_error(table, EdgeFunctions(branches), low, high)
    if isinstance(table, KnotTable):
        return _knot_error(table, branches, low, high)
    if isinstance(table, SegmentTable):
        return _segment_error(table, branches, low, high)
    if isinstance(table, SplineTable):
        return _spline_error(table, branches, low, high)
    if isinstance(table, CodeTable):
        raise VerificationError("a bound on a table addressed by codes", "tables of numbers")
    return _analytic_error(table, branches[0], low, high)


# ---- positions: basis and radial tables ------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Positions:
    """Where the positions of a table lie: position p covers `start + [p, p + 1) / inverse`, and a little more."""

    start: F64
    inverse: F64
    count: int
    parts: int

    @property
    def end(self) -> F64:
        return self.start + self.count / self.inverse

    @property
    def blur(self) -> F64:
        """How far float32 may move a border: two roundings of a value of at most `count` positions."""
        return 2.2 * UNIT * self.count / self.inverse

    @property
    def step(self) -> F64:
        return 1.0 / (self.inverse * self.parts)

    def cells(self, low: F64, high: F64) -> tuple[I64, I64]:
        """Return the first and the last position that an input in [low, high] may have."""
        first = np.floor((low - self.blur - self.start) * self.inverse)
        last = np.floor((high + self.blur - self.start) * self.inverse)
        return tuple(np.clip(p, 0, self.count - 1).astype(np.int64) for p in (first, last))  # type: ignore[return-value]

    def nodes(self, i: int, first: int, last: int) -> F64:
        count = (last + 1 - first) * self.parts
        return self.start[i] + (first + np.arange(count + 1) / self.parts) / self.inverse[i]


def _position_grid(
    low: NDArray[np.float32], inverse: NDArray[np.float32], n_in: int, count: int, parts: int
) -> _Positions:
    start, scale = (np.broadcast_to(v.astype(np.float64), n_in) for v in (low, inverse))
    return _Positions(start, scale, count, parts)


def _add_positions(
    extremes: _Extremes,
    grid: _Positions,
    edges: EdgeFunctions,
    artifact: Callable[[int, int, int], F64],
    low: F64,
    high: F64,
    chosen: NDArray[np.bool_],
) -> None:
    """Take in the positions that inputs in [low, high] have; `artifact(i, first, last)` is its value at each."""
    if not chosen.any():
        return
    first, last = grid.cells(low, high)
    span = _body(grid, low, high)
    corners = edges.corners(*span)
    apart = np.zeros(len(low))
    for i, points in enumerate(corners):
        at = (points - grid.start[i]) / grid.step[i]
        apart[i] = np.abs(at - np.rint(at)).max(initial=0.0)
    aligned = bool((apart <= _ALIGNED).all())
    slope, _ = edges.bounds(*span, corners_at_nodes=aligned)
    moved = grid.blur + (2 * apart * grid.step if aligned else 0.0)
    slack = edges.deviation(*span, grid.step, corners_at_nodes=aligned) + moved[:, None] * slope
    shared = None
    least, most = int(first[chosen].min()), int(last[chosen].max())
    if edges.shared and np.ptp(grid.start) == 0 and np.ptp(grid.inverse) == 0:
        shared = edges.features(grid.nodes(0, least, most))[0]
    for i in np.flatnonzero(chosen).tolist():
        a, b = int(first[i]), int(last[i])
        if shared is None:
            at_nodes = edges.values(i, grid.nodes(i, a, b))
        else:
            window = slice((a - least) * grid.parts, (b + 1 - least) * grid.parts + 1)
            at_nodes = edges.combine(i, (shared[:, window], None))
        held = artifact(i, a, b)
        if grid.parts > 1:
            held = np.repeat(held, grid.parts, axis=1)
        extremes.add(i, held, held, at_nodes, slack[i])


def _body(grid: _Positions, low: F64, high: F64) -> tuple[F64, F64]:
    """Return the intervals that the pieces of `_add_positions` cover: whole positions, widened by the blur."""
    first, last = grid.cells(low, high)
    left, right = grid.start + first / grid.inverse, grid.start + (last + 1) / grid.inverse
    return left - 2 * grid.blur, right + 2 * grid.blur


def _tails(low: F64, high: F64, start: F64, end: F64) -> Iterator[tuple[str, int, F64]]:
    """Cut what lies beyond [start, end] into pieces: (side, input, nodes)."""
    for i in np.flatnonzero(low < start):
        yield "left", int(i), np.linspace(low[i], min(high[i], start[i]), _TAIL_PIECES + 1)
    for i in np.flatnonzero(high > end):
        yield "right", int(i), np.linspace(max(low[i], end[i]), high[i], _TAIL_PIECES + 1)


def _tail_slack(edges: EdgeFunctions, low: F64, high: F64, start: F64, end: F64) -> dict[str, F64]:
    """Bound the deviation from chords in the tails, on both sides."""
    left = np.minimum(low, start), np.minimum(high, start)
    right = np.maximum(low, end), np.maximum(high, end)
    return {side: edges.deviation(a, b, (b - a) / _TAIL_PIECES) for side, (a, b) in (("left", left), ("right", right))}


def _add_held_tails(
    extremes: _Extremes,
    edges: EdgeFunctions,
    low: F64,
    high: F64,
    borders: tuple[F64, F64],
    held: Callable[[str, int], F64],
) -> None:
    """Take in tails on which the artifact's edge keeps the value `held(side, i)`, [out]."""
    if not ((low < borders[0]) | (high > borders[1])).any():
        return
    slack = _tail_slack(edges, low, high, *borders)
    for side, i, nodes in _tails(low, high, *borders):
        value = np.broadcast_to(held(side, i)[:, None], (edges.shape[1], _TAIL_PIECES))
        extremes.add(i, value, value, edges.values(i, nodes), slack[side][i])


def _row_sums(table: BasisTable, rows: F64, first: int, last: int, weights: F64) -> F64:
    """Weigh rows [n, rows] of an input at the positions first .. last of a uniform table: float64 [n, positions]."""
    bits = table.position_bits
    a, b = first >> bits, last >> bits
    taps = weights.shape[1]
    padded = np.pad(rows, ((0, 0), (table.shift, taps)))
    windows = np.stack([padded[:, s : s + taps] for s in range(a, b + 1)], axis=1)
    every = np.matmul(windows, weights.T).reshape(len(rows), -1)
    return every[:, first - (a << bits) : last + 1 - (a << bits)]


def _basis_error(table: BasisTable, branches: tuple[Branch, ...], low: F64, high: F64) -> TableError:
    n_in, n_out = table.shape
    bits, count = table.position_bits, table.segments << table.position_bits
    grid = _position_grid(table.low, table.inverse, n_in, count, max(1, _NODES_AN_INTERVAL >> bits))
    weights = table.weights.astype(np.float64)
    scale = table.scale.astype(np.float64)
    q = table.coefficients

    def rows_at(i: int, first: int, last: int) -> F64:
        return _row_sums(table, q[i].T * scale[:, None], first, last, weights)

    extremes = _Extremes.empty(table.shape)
    rounding = np.zeros((n_in, n_out))
    tails = (low < grid.start + grid.blur) | (high > grid.end - grid.blur)
    edges = EdgeFunctions(branches)
    borders = grid.start + grid.blur, grid.end - grid.blur
    if table.base is None:
        _add_positions(extremes, grid, edges, rows_at, low, high, np.full(n_in, True))
        if table.outside == "linear":
            rounding += _add_linear_tails(extremes, table, grid, edges, rows_at, low, high)
        else:
            _add_held_tails(extremes, edges, low, high, borders, lambda side, i: _border(rows_at, side, i, count))
            tails = np.full(n_in, False)
    else:
        tails, rounding = _add_folded(extremes, table, grid, branches, rows_at, low, high)
    total = extremes.size.sum(axis=0)
    # The integer sum becomes a float, is scaled and added; every tail adds to the sum once more.
    own = (4 + tails.sum()) * UNIT * (total + rounding.sum(axis=0)) + rounding.sum(axis=0)
    return TableError(extremes.low, extremes.high, extremes.size, own, 1 + int(tails.sum()))


def _border(rows_at: Callable[[int, int, int], F64], side: str, i: int, count: int) -> F64:
    p = 0 if side == "left" else count - 1
    return rows_at(i, p, p)[:, 0]


def _add_linear_tails(
    extremes: _Extremes,
    table: BasisTable,
    grid: _Positions,
    edges: EdgeFunctions,
    rows_at: Callable[[int, int, int], F64],
    low: F64,
    high: F64,
) -> F64:
    """Take in tails that go on with the border's slope; return the rounding of each edge's tail."""
    borders = grid.start + grid.blur, grid.end - grid.blur
    rounding = np.zeros(extremes.low.shape)
    if not ((low < borders[0]) | (high > borders[1])).any():
        return rounding
    apart, factor = table.slope
    q, scale = table.coefficients.astype(np.float64), table.scale.astype(np.float64)
    slack = _tail_slack(edges, low, high, *borders)
    for side, i, nodes in _tails(low, high, *borders):
        v = (nodes - grid.start[i]) * grid.inverse[i]
        if side == "left":
            excess, rise = np.minimum(v, 0.0), q[i, apart] - q[i, 0]
        else:
            excess, rise = np.maximum(v - grid.count, 0.0), q[i, -1] - q[i, -1 - apart]
        slope = rise * factor * scale
        line = _border(rows_at, side, i, grid.count)[:, None] + slope[:, None] * excess
        # The excess carries the rounding of v itself, the product that of three multiplications.
        rounding[i] = np.maximum(rounding[i], _straight_rounding(slope, v, excess))
        extremes.add(i, line[:, :-1], line[:, 1:], edges.values(i, nodes), slack[side][i])
    return rounding


def _straight_rounding(slope: F64, position: F64, excess: F64) -> F64:
    """Bound the rounding of `slope * excess`: the excess carries that of the position, the product that of its own."""
    far = np.abs(position).max()
    if far >= FLOAT32_MAX:
        return np.where(slope == 0, 0.0, np.inf)
    return np.abs(slope) * UNIT * (2.2 * (far + 1) + 4 * np.abs(excess).max())


def _add_folded(
    extremes: _Extremes,
    table: BasisTable,
    grid: _Positions,
    branches: tuple[Branch, ...],
    rows_at: Callable[[int, int, int], F64],
    low: F64,
    high: F64,
) -> tuple[NDArray[np.bool_], F64]:
    """Take in the positions and tails of a table with a folded base branch.

    Where the fit holds the artifact's edge is a constant a position. Beyond, `weight * (function - fit)` is added: the
    function's part is moved to the model's side, where it leaves the difference of the weights.
    """
    *_, base = branches
    if table.base is None or table.base_rows is None or table.base_q is None or table.base_scale is None:
        raise VerificationError("a basis table without its folded base", "base, base_rows, base_q and base_scale")
    n_in, _ = table.shape
    weight = table.base_q.astype(np.float64) * table.base_scale.astype(np.float64)
    fit_rows = np.broadcast_to(table.base_rows.astype(np.float64), (n_in, table.rows))
    weights = table.weights.astype(np.float64)
    fold_low, fold_high = (
        np.broadcast_to(bound.astype(np.float64), n_in)  # type: ignore[union-attr]
        for bound in (table.fold_low, table.fold_high)
    )
    largest_fit = np.abs(fit_rows).max(axis=1) * WEIGHT_SUM[table.kernel_bits]

    def beyond_at(i: int, first: int, last: int) -> F64:
        fit = _row_sums(table, fit_rows[i : i + 1], first, last, weights)
        return rows_at(i, first, last) - fit * weight[i][:, None]

    if not isinstance(base.bank, EdgeBank):
        raise VerificationError(f"a folded base branch of {base.bank.describe()}", "one function of each input")
    left_over = function_branch(table.base, base.bank.weights[:, 0, :] - weight)
    inside, outside = EdgeFunctions(branches), EdgeFunctions((*branches[:-1], left_over))
    within = (high >= fold_low) & (low <= fold_high)
    _add_positions(extremes, grid, inside, rows_at, np.maximum(low, fold_low), np.minimum(high, fold_high), within)
    to_left, to_right = low < fold_low, high > fold_high
    _add_positions(extremes, grid, outside, beyond_at, low, np.minimum(high, fold_low), to_left)
    _add_positions(extremes, grid, outside, beyond_at, np.maximum(low, fold_high), high, to_right)
    borders = grid.start + grid.blur, grid.end - grid.blur
    _add_held_tails(extremes, outside, low, high, borders, lambda side, i: _border(beyond_at, side, i, grid.count))
    beyond = to_left | to_right
    largest = np.maximum(*(np.abs(v) for v in range_bounds(table.base, low, high)))
    gap = (largest + largest_fit)[:, None] * np.abs(weight)
    # fit: a product and a sum a tap; gap: a difference; then two products. `size` has to cover the parts of the sum.
    function = np.abs(weight) * (FUNCTION_ERROR * largest + FUNCTION_FLOOR)[:, None]
    rounding = np.where(beyond[:, None], 9 * UNIT * gap + function, 0.0)
    extremes.size += np.where(beyond[:, None], 2 * gap, 0.0)
    return beyond, rounding


def _radial_error(table: RadialTable, edges: EdgeFunctions, low: F64, high: F64) -> TableError:
    n_in, _ = table.shape
    grid = _position_grid(table.low, table.inverse, n_in, table.positions, max(1, _NODES_AN_INTERVAL // table.stride))
    weights = table.weights[:, : table.rows].astype(np.float64)
    scale = table.scale.astype(np.float64)
    q = table.coefficients

    def rows_at(i: int, first: int, last: int) -> F64:
        return (q[i].T * scale[:, None]) @ weights[first : last + 1].T

    extremes = _Extremes.empty(table.shape)
    _add_positions(extremes, grid, edges, rows_at, low, high, np.full(n_in, True))
    _add_held_tails(
        extremes,
        edges,
        low,
        high,
        (grid.start + grid.blur, grid.end - grid.blur),
        lambda side, i: _border(rows_at, side, i, grid.count),
    )
    return TableError(extremes.low, extremes.high, extremes.size, 4 * UNIT * extremes.size.sum(axis=0), 1)


# ---- knots of any spacing --------------------------------------------------------------------------------------


def _knot_error(table: KnotTable, branches: tuple[Branch, ...], low: F64, high: F64) -> TableError:
    """Enclose the error of splines on knots of any spacing.

    The artifact's spline is `sum_t W_t q`, where every partial sum of the integer weights is rounded to the nearest:
    by partial summation that costs at most `(1/2 + float32) / total * sum_t |c_{t+1} - c_t|`. What remains is a spline
    with the coefficients' rounding errors as coefficients, on the same knots.
    """
    bank = branches[0].bank
    basis = bank.basis if isinstance(bank, EdgeBank) else None
    if not isinstance(basis, BSpline) or not isinstance(bank, EdgeBank) or basis.degree != table.degree:
        raise VerificationError(f"a knot table for {bank.describe()}", "B-splines of its degree")
    n_in, n_out = table.shape
    degree, total = table.degree, WEIGHT_SUM[table.kernel_bits]
    own = np.broadcast_to(table.knots.astype(np.float64), (n_in, table.knots.shape[1]))
    model = np.broadcast_to(basis.extended_knots, own.shape)
    held = table.coefficients.astype(np.float64) * (table.scale.astype(np.float64) * total)
    difference = held - bank.weights
    edges = EdgeFunctions((Branch(EdgeBank(BSpline(own, degree), difference)),))
    _, curvature = spline_derivatives(own, difference, degree)
    steps = np.diff(own, axis=1) / _NODES_A_KNOT_INTERVAL
    # Rounding of the weights: partial sums to the nearest integer, and a few float32 operations a weight.
    jump = np.abs(np.diff(np.pad(held, ((0, 0), (degree, degree), (0, 0))), axis=1))
    partial = sum(jump[:, t : t + table.segments] for t in range(degree))
    weight_error = (0.5 + (6 * degree + 6) * UNIT * total) / total * partial
    slack = steps[:, :, None] ** 2 / 8 * curvature + weight_error + _moved_knots(own, model, bank.weights, degree)
    extremes = _Extremes.empty(table.shape)
    for i in range(n_in):
        touched = np.flatnonzero((steps[i] > 0) & (own[i, 1:] >= low[i]) & (own[i, :-1] <= high[i]))
        if not touched.size:
            continue
        left, right = np.maximum(own[i, touched], low[i]), np.minimum(own[i, touched + 1], high[i])
        alpha = np.linspace(0.0, 1.0, _NODES_A_KNOT_INTERVAL + 1)
        nodes = left[:, None] + alpha * (right - left)[:, None]
        # At the last knot the half-open rule makes every spline zero; the limit from the left is what counts.
        nodes = np.where(nodes >= own[i, -1], np.nextafter(own[i, -1], -np.inf), nodes)
        values = edges.values(i, nodes.reshape(-1)).reshape(n_out, len(touched), -1)
        extremes.low[i] = (values.min(axis=2) - slack[i, touched].T).min(axis=1)
        extremes.high[i] = (values.max(axis=2) + slack[i, touched].T).max(axis=1)
    peak = np.abs(held).max(axis=1)
    outside = (low < own[:, 0]) | (high >= own[:, -1]) | (own[:, -1] <= own[:, 0])
    size = np.where(extremes.high < extremes.low, 0.0, peak)
    extremes.low = np.where(outside[:, None], np.minimum(extremes.low, 0.0), extremes.low)
    extremes.high = np.where(outside[:, None], np.maximum(extremes.high, 0.0), extremes.high)
    return TableError(extremes.low, extremes.high, size, 4 * UNIT * size.sum(axis=0), 1)


def _moved_knots(own: F64, model: F64, coefficients: F64, degree: int) -> F64:
    """Bound what rounding the knots to float32 does to a spline: float64 [in, 1 or intervals, 1 or out].

    Every factor (x - t) / (t' - t) of the recursion moves by at most `3 * move / gap`; the spline is a mean of its
    coefficients at each of the `degree` levels, so it moves by no more than that times their spread.
    """
    move = np.abs(own - model).max(axis=1)
    if not move.any():
        return np.zeros((len(own), 1, 1))
    gaps = np.minimum(np.diff(own, axis=1).min(axis=1), np.diff(model, axis=1).min(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(move > 0, 4 * degree * move / gaps, 0.0)
    share = np.where((own[:, -1] <= own[:, 0]) & (model[:, -1] <= model[:, 0]), 0.0, share)
    spread = 2 * np.abs(coefficients).max(axis=1, keepdims=True)
    return share[:, None, None] * spread


# ---- float32 rows ----------------------------------------------------------------------------------------------


def _spline_error(table: SplineTable, branches: tuple[Branch, ...], low: F64, high: F64) -> TableError:
    """Enclose the error of float32 rows: both sides are smooth, so artifact - model is taken as one function."""
    n_in, n_out = table.shape
    degree, rows = table.degree, table.rows.astype(np.float64)
    grid = _position_grid(table.low, table.inverse, n_in, table.segments, _NODES_AN_INTERVAL)
    reach = degree - table.shift  # knots beyond the segments that rows at the border need
    index = np.arange(-reach, table.segments + reach + 1)
    own = grid.start[:, None] + index / grid.inverse[:, None]
    bank = branches[0].bank
    basis = bank.basis if isinstance(bank, EdgeBank) and len(branches) == 1 and not branches[0].pre else None
    moved = np.zeros((n_in, n_out))
    if (
        isinstance(basis, BSpline)
        and isinstance(bank, EdgeBank)
        and bank.weights.shape[1] == rows.shape[1]
        and reach == 0
    ):
        model = np.broadcast_to(basis.extended_knots, own.shape)
        moved = np.broadcast_to(_moved_knots(own, model, bank.weights, degree)[:, 0], (n_in, n_out))
        parts = (Branch(EdgeBank(BSpline(own, degree), bank.weights - rows)),)
    else:
        parts = (*branches, Branch(EdgeBank(BSpline(own, degree), -rows)))
    edges = EdgeFunctions(parts)  # model - artifact
    extremes = _Extremes.empty(table.shape)
    nothing = np.zeros((n_out, 1))
    _add_positions(
        extremes,
        grid,
        edges,
        lambda i, a, b: np.broadcast_to(nothing, (n_out, b - a + 1)),
        low,
        high,
        np.full(n_in, True),
    )
    # Position and weights in float32: the offset moves by the position's rounding, a weight by a few more.
    slope, _ = EdgeFunctions((Branch(EdgeBank(BSpline(own, degree), rows)),)).bounds(*_body(grid, low, high))
    size = np.abs(rows).max(axis=1)
    rounding = grid.blur[:, None] * slope + (8 * degree + 4) * UNIT * size
    rounding += _add_spline_tails(extremes, table, branches, rows, grid, low, high)
    size = np.maximum(size, extremes.size)
    sums = (degree + 2) * UNIT * (size * np.arange(n_in, 0, -1)[:, None]).sum(axis=0)
    own_rounding = rounding.sum(axis=0) + sums
    return TableError(extremes.low - moved, extremes.high + moved, size, own_rounding, (degree + 2) * n_in)


def _add_spline_tails(
    extremes: _Extremes,
    table: SplineTable,
    branches: tuple[Branch, ...],
    rows: F64,
    grid: _Positions,
    low: F64,
    high: F64,
) -> F64:
    """Take in what lies beyond the segments; return the rounding of each edge there."""
    rounding = np.zeros(extremes.low.shape)
    if not ((low < grid.start) | (high > grid.end)).any():
        return rounding
    edges = EdgeFunctions(branches)
    weights = uniform_weights(np.array([0.0, 1.0]), table.degree)
    padded = np.pad(rows, ((0, 0), (table.shift, table.shift), (0, 0)))
    taps = table.degree + 1
    borders = {
        "left": np.einsum("t,ito->io", weights[0], padded[:, :taps]),
        "right": np.einsum("t,ito->io", weights[1], padded[:, -taps:]),
    }
    apart, factor = table.slope
    slack = _tail_slack(edges, low, high, grid.start, grid.end)
    for side, i, nodes in _tails(low, high, grid.start, grid.end):
        v = (nodes - grid.start[i]) * grid.inverse[i]
        left = side == "left"
        excess = np.minimum(v, 0.0) if left else np.maximum(v - table.segments, 0.0)
        rise = rows[i, apart] - rows[i, 0] if left else rows[i, -1] - rows[i, -1 - apart]
        slope = rise * factor if table.outside == "linear" else np.zeros(rise.shape)
        line = borders[side][i][:, None] + slope[:, None] * excess
        rounding[i] = np.maximum(rounding[i], _straight_rounding(slope, v, excess))
        extremes.add(i, line[:, :-1], line[:, 1:], edges.values(i, nodes), slack[side][i])
    return rounding


# ---- segments --------------------------------------------------------------------------------------------------


def _segment_error(table: SegmentTable, branches: tuple[Branch, ...], low: F64, high: F64) -> TableError:
    n_in, n_out = table.shape
    samples, segments = table.samples, table.segments
    knots = np.broadcast_to(table.knots.astype(np.float64), (n_in, segments + 1))
    edges = EdgeFunctions(branches)
    nearest = table.interpolation == "nearest"
    parts = int(np.clip(-(-_NODES_A_SEGMENT // (samples - 1)), 1, 16))
    parts += parts % 2 if nearest else 0  # codes change half-way between samples
    pieces = (samples - 1) * parts
    alpha = np.arange(pieces + 1) / pieces
    widths = np.diff(knots, axis=1)
    step = widths.max(axis=1) / pieces
    corners = edges.corners(knots[:, 0], knots[:, -1])
    aligned = all(np.isin(points, row).all() for points, row in zip(corners, knots, strict=True))
    position_blur = 4.4 * UNIT * (samples - 1)
    slack = np.zeros((n_in, n_out, segments))  # by segment: where knots are close, edges bend more
    for k in np.flatnonzero(((knots[:, 1:] >= low[:, None]) & (knots[:, :-1] <= high[:, None])).any(axis=0)):
        ends = knots[:, k], knots[:, k + 1]
        slack[:, :, k] = edges.deviation(*ends, widths[:, k] / pieces, corners_at_nodes=aligned)
        if nearest:
            slope, _ = edges.bounds(*ends, corners_at_nodes=aligned)
            slack[:, :, k] += slope * (position_blur * widths[:, k] / (samples - 1))[:, None]
    extremes = _Extremes.empty(table.shape)
    rounding = np.zeros((n_in, n_out))
    first_value, last_value = np.zeros((2, n_in, n_out))
    first_slope, last_slope = np.zeros((2, n_in, n_out))
    # Piece j lies right of sample j // parts, or next to the sample that is nearest to its middle.
    near = np.rint((np.arange(pieces) + 0.5) / parts).astype(np.int64)
    sample = np.arange(pieces) // parts
    share = np.arange(pieces) % parts / parts
    grid = knots[:, :-1, None] + alpha * widths[:, :, None]
    grid = np.where(grid >= knots[:, -1:, None], np.nextafter(knots[:, -1:, None], -np.inf), grid)
    shared = edges.features(grid[0].reshape(-1)) if edges.shared and len(table.knots) == 1 else None
    for i in range(n_in):
        values, largest = _dequantized(table, i)
        rise = np.diff(values, axis=2)
        rounding[i] = 8 * UNIT * largest + (0.0 if nearest else position_blur * np.abs(rise).max(axis=(1, 2)))
        wide = np.flatnonzero(widths[i] > 0)
        a, b = (wide[0], wide[-1]) if wide.size else (0, segments - 1)
        first_value[i], last_value[i] = values[:, a, 0], values[:, b, -1]
        first_slope[i] = (values[:, a, -1] - values[:, a, 0]) / max(widths[i, a], 1e-300)
        last_slope[i] = (values[:, b, -1] - values[:, b, 0]) / max(widths[i, b], 1e-300)
        touched = (grid[i, :, 1:] >= low[i] - step[i]) & (grid[i, :, :-1] <= high[i] + step[i])
        if not touched.any():
            continue
        features = shared if shared is not None else edges.features(grid[i].reshape(-1), i)
        exact = edges.combine(i, features).reshape(n_out, segments, pieces + 1)
        left = right = values[:, :, near]
        if not nearest:
            left = values[:, :, sample] + share * rise[:, :, sample]
            right = left + rise[:, :, sample] / parts
        extremes.add_pieces(
            i,
            (left[:, touched], right[:, touched]),
            (exact[:, :, :-1][:, touched], exact[:, :, 1:][:, touched]),
            np.repeat(slack[i], touched.sum(axis=1), axis=1),
        )
    tails = _Tails(first_value, last_value, first_slope, last_slope)
    rounding += _add_segment_tails(extremes, table, edges, tails, low, high, knots)
    sums = extremes.size * np.arange(n_in, 0, -1)[:, None]  # input i takes part in every later float32 sum
    own = UNIT * sums.sum(axis=0) + rounding.sum(axis=0) * (1 + n_in * UNIT)
    return TableError(extremes.low, extremes.high, extremes.size, own, n_in)


@dataclass(frozen=True, eq=False)
class _Tails:
    """Values at both borders of segment tables and slopes of the end segments' chords: float64 [in, out] each."""

    first_value: F64
    last_value: F64
    first_slope: F64
    last_slope: F64


def _dequantized(table: SegmentTable, i: int) -> tuple[F64, F64]:
    """Return the samples of input `i`, float64 [out, segments, samples], and the largest term of their sums, [out]."""
    q = table.q[i].astype(np.float64).T.reshape(-1, table.segments, table.samples)
    factor = 1.0 if table.edge_scale is None else table.edge_scale[i].astype(np.float64)
    scale = (table.scale[i].astype(np.float64) * factor).T
    values = q * scale[:, :, None]
    largest = np.abs(scale).max(axis=1) * (127.0 if table.offset is None else 255.0)
    if table.offset is not None:
        offset = (table.offset[i].astype(np.float64) * factor).T
        values += offset[:, :, None]
        largest = largest + np.abs(offset).max(axis=1)
    return values, largest


def _add_segment_tails(
    extremes: _Extremes, table: SegmentTable, edges: EdgeFunctions, tails: _Tails, low: F64, high: F64, knots: F64
) -> F64:
    """Take in what lies beyond the knots; return the rounding of each edge there."""
    start, end = knots[:, 0], knots[:, -1]
    rounding = np.zeros(extremes.low.shape)
    beyond = (low < start) | (high >= end)
    if not beyond.any():
        return rounding
    if table.outside == "base" and table.base is not None and table.base_weight is not None:
        weight = table.base_weight.astype(np.float64)
        edges = EdgeFunctions((*edges.branches, function_branch(table.base, -weight)))
        largest = np.maximum(*(np.abs(v) for v in range_bounds(table.base, low, high)))
        reach = np.abs(weight) * largest[:, None]
        rounding = np.where(beyond[:, None], (FUNCTION_ERROR + UNIT) * reach + FUNCTION_FLOOR, 0.0)
        extremes.size = np.maximum(extremes.size, np.where(beyond[:, None], reach, 0.0))
    # The point at the last knot belongs to the tail when the domain is half open; a single point is a tail too.
    nearby = np.where(high >= end, np.nextafter(end, -np.inf), end)
    slack = _tail_slack(edges, low, high, start, nearby)
    linear = table.outside == "linear"
    for side, i, nodes in _tails(low, high, start, nearby):
        if linear or table.outside == "clip":
            value = tails.first_value[i] if side == "left" else tails.last_value[i]
            slope = (tails.first_slope[i] if side == "left" else tails.last_slope[i]) if linear else 0.0 * value
            line = value[:, None] + np.multiply.outer(slope, nodes - (start[i] if side == "left" else end[i]))
            if linear:
                far = np.abs(nodes).max() / max(float(np.diff(knots[i]).min()), 1e-300)
                line_rounding = 8 * UNIT * (np.abs(line).max(axis=1) + np.abs(value))
                rounding[i] = np.maximum(rounding[i], line_rounding if far < FLOAT32_MAX else np.inf)
        else:
            line = np.zeros((edges.shape[1], len(nodes)))
        extremes.add(i, line[:, :-1], line[:, 1:], edges.values(i, nodes), slack[side][i])
    return rounding


# ---- analytic branches -----------------------------------------------------------------------------------------


def _analytic_error(table: BaseTable | ProductTable, branch: Branch, low: F64, high: F64) -> TableError:
    """Enclose the error of `weight * function(x)`: that of the weight, and of the function's code or rounding."""
    if not isinstance(branch.bank, EdgeBank):
        raise VerificationError(f"an analytic branch of {branch.bank.describe()}", "one function of each input")
    weight = branch.bank.weights[:, 0, :]
    n_in = weight.shape[0]
    least, greatest = range_bounds(table.function, low, high)
    largest = np.maximum(np.abs(least), np.abs(greatest))
    blurred = FUNCTION_ERROR * largest + FUNCTION_FLOOR
    if isinstance(table, BaseTable):
        held = table.weight.astype(np.float64)
        step = np.zeros(n_in)
        sums = n_in
    else:
        held = table.coefficients.astype(np.float64) * table.scale.astype(np.float64)
        # floor(v) with v = f / step + zero + 1/2 rounds to the nearest code; v itself has three roundings.
        step = np.full(n_in, table.step * (0.5 + 4 * UNIT * (table.levels + 1)))
        top = (table.levels - 0.5 - table.zero) * table.step
        bottom = -(table.zero + 0.5) * table.step
        coded = (greatest >= bottom * (1 + 1e-5)) & (least <= top * (1 + 1e-5))
        step = np.where(coded, step, 0.0)
        uncoded = (greatest > top * (1 - 1e-5)) | (least < bottom * (1 - 1e-5))
        sums = int(uncoded.sum())
    difference = held - weight
    ends = difference * least[:, None], difference * greatest[:, None]
    around = np.abs(held) * (step + blurred)[:, None]
    size = np.abs(held) * (largest + step)[:, None]
    rounding = (6 + sums) * UNIT * size.sum(axis=0)
    return TableError(np.minimum(*ends) - around, np.maximum(*ends) + around, size, rounding, sums + 1)
