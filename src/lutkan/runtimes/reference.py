"""The reference runtime: numpy, one obvious line an operation. It is the normative meaning of an artifact.

docs/spec/semantics.md says the same in words and formulas. Every float operation is a float32 operation, rounded to
nearest even, in the order written here; other runtimes and exports have to give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact.program import (
    ActivationOp,
    AffineOp,
    BaseTable,
    BasisTable,
    CodeTable,
    KANOp,
    KnotTable,
    LayerNormOp,
    LinearOp,
    Op,
    ProductOp,
    ProductTable,
    Program,
    QuantizeOp,
    RadialTable,
    SegmentTable,
    SelectOp,
    SplineTable,
)
from lutkan.numerics import float32
from lutkan.numerics.fixed_point import WEIGHT_SUM, knot_weights

__all__ = [
    "add_bias",
    "code_sums",
    "codes_of",
    "locate",
    "quantize",
    "requantize",
    "run",
    "run_kan",
    "run_step",
    "segment_edges",
]

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]
RowTable = BasisTable | KnotTable | RadialTable
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)


def run(program: Program, x: F32) -> F32:
    """Run a program on rows.

    Parameters
    ----------
    program : Program
    x : float32 [N, in]

    Returns
    -------
    float32 [N, out]
        A row in which NaN arose at any step, or that held one, is NaN throughout.
    """
    bad = np.isnan(x).any(axis=1)
    with np.errstate(all="ignore"):
        for step in program.steps:
            x = run_step(step, x)
            bad |= np.isnan(x).any(axis=1)
    y = x.copy()
    y[bad] = np.nan
    return y


def run_step(step: Op, x: F32) -> F32:
    """Run one step: float32 [N, n] -> float32 [N, m]."""
    if isinstance(step, KANOp):
        return run_kan(step, x)
    if isinstance(step, SelectOp):
        return x[:, step.indices]
    if isinstance(step, AffineOp):
        return step.scale * x + step.bias
    if isinstance(step, LayerNormOp):
        return float32.layer_norm(x, step.weight, step.bias, step.eps)
    if isinstance(step, ActivationOp):
        return _activate(step, x)
    if isinstance(step, QuantizeOp):
        return quantize(step, x)
    if isinstance(step, LinearOp):
        return float32.linear(x, step.weight, step.bias)
    return _product(step, x)


def _activate(step: ActivationOp, x: F32) -> F32:
    if step.slope is not None:
        return float32.prelu(x, step.slope)
    return float32.ACTIVATIONS[step.function](x)


def quantize(step: QuantizeOp, x: F32) -> F32:
    """Replace every feature by the nearest number that has a code; NaN stays."""
    low, inverse = step.position
    v = np.minimum((x - low) * inverse, np.float32((1 << step.bits) - 1))
    code = np.floor(np.where(v > _ZERO, v, _ZERO))
    return np.where(np.isnan(x), x, np.float32(step.step) * code + np.float32(step.low))


def _product(step: ProductOp, x: F32) -> F32:
    y = np.empty((len(x), step.shape[1]), dtype=np.float32)
    for j, (start, stop) in enumerate(zip(step.offsets[:-1], step.offsets[1:], strict=True)):
        y[:, j] = x[:, step.indices[start]]
        for index in step.indices[start + 1 : stop]:
            y[:, j] *= x[:, index]
    return y


def run_kan(op: KANOp, x: F32) -> F32:
    """Run a KAN layer: branch after branch, input after input, into one float32 sum an output."""
    n_out = op.out_features if op.outputs is None else op.outputs.size
    sums = np.zeros((len(x), n_out), dtype=np.float32)
    integers: list[I64] = []
    for branch in op.branches:
        seen = x
        for step in branch.pre:
            seen = run_step(step, seen)
        if op.inputs is not None:
            seen = seen[:, op.inputs]
        if op.requantize is not None and isinstance(branch.table, CodeTable):
            integers.append(code_sums(branch.table, seen))
        else:
            _ADD[type(branch.table)](branch.table, seen, sums)
        sums[np.isnan(seen).any(axis=1)] = np.nan
    if op.requantize is not None:
        return requantize(op, integers, np.isnan(sums[:, 0]))
    return add_bias(op, sums)


def requantize(op: KANOp, sums: Sequence[I64], nan: Mask) -> F32:
    """Turn the integer sums of all branches into codes, as float32.

    Parameters
    ----------
    op : KANOp
        A requantized layer.
    sums : sequence of int64 [N, live outputs]
        A branch each.
    nan : bool [N]
        Rows that become NaN.

    Returns
    -------
    float32 [N, out]
        Outputs that no table gives have the code of their offset.
    """
    to, integers = op.requantize, op.requantizing
    if to is None or integers is None:
        raise TypeError("a layer that is not requantized")
    live = slice(None) if op.outputs is None else op.outputs
    multipliers, offset = integers
    total = np.tile(offset, (len(nan), 1))
    for multiplier, found in zip(multipliers, sums, strict=True):
        total[:, live] += found * multiplier
    y = np.clip(total >> to.shift, 0, (1 << to.bits) - 1).astype(np.float32)
    y[np.ix_(nan, np.arange(op.out_features)[live])] = np.nan
    return y


def add_bias(op: KANOp, sums: F32) -> F32:
    """Add the bias to the sums of the live outputs and put them in their places: [N, live outputs] -> [N, out]."""
    if op.bias is None:
        return sums
    with np.errstate(over="ignore"):
        if op.outputs is None:
            return sums + op.bias
        y = np.tile(op.bias, (len(sums), 1))
        y[:, op.outputs] = sums + op.bias[op.outputs]
        return y


def _add_base(table: BaseTable, x: F32, sums: F32) -> None:
    values = float32.ACTIVATIONS[table.function](x)
    for i in range(x.shape[1]):
        sums += table.weight[i] * values[:, i, None]


def locate(table: SegmentTable, x: F32) -> tuple[I64, I64, F32, NDArray[np.bool_]]:
    """Find segment, sample and weight of every input.

    Returns
    -------
    k : int64 [N, in]
        Segment, by comparison with the knots.
    r : int64 [N, in]
        Left sample within the segment, 0 to L - 2.
    w : float32 [N, in]
        Weight of the right sample. Where the end segment goes on as a straight line, `r` is 0 and the right sample is
        the last one of the segment.
    inside : bool [N, in]
        Whether `x` lies in the domain.
    """
    n_in, last = table.shape[0], np.float32(table.samples - 1)
    knots = np.broadcast_to(table.knots, (n_in, table.segments + 1))
    low, high = knots[:, 0], knots[:, -1]
    closed = table.boundary == "closed"
    inside = (x >= low) & ((x <= high) if closed else (x < high))
    top = high if closed else np.nextafter(high, np.float32(-np.inf))
    point = x if table.outside == "linear" else np.maximum(np.minimum(x, top), low)
    k = np.clip(_last_knot(knots, point), 0, table.segments - 1)
    rows = np.arange(n_in)
    left, width = knots[rows, k], knots[rows, k + 1] - knots[rows, k]
    u = np.where(width > _ZERO, (point - left) / width, _ZERO)
    if table.outside != "linear":
        u = np.maximum(np.minimum(u, _ONE), _ZERO)
    position = u * last
    sample = np.maximum(np.minimum(np.floor(position), last - _ONE), _ZERO)
    w = position - sample
    if table.outside == "linear":
        w, sample = np.where(inside, w, u), np.where(inside, sample, _ZERO)
    r = np.where(np.isnan(sample), _ZERO, sample).astype(np.int64)
    return k, r, w, inside


def _last_knot(knots: F32, x: F32) -> I64:
    """Return the index of the last knot <= x, -1 where there is none; knots [in, K + 1], x [N, in]."""
    return np.stack([np.searchsorted(knots[i], x[:, i], side="right") - 1 for i in range(len(knots))], axis=1)


def segment_edges(table: SegmentTable, x: F32, i: int, k: I64, r: I64, w: F32, inside: NDArray[np.bool_]) -> F32:
    """Evaluate the edges of input `i`: column `i` of what `locate` found -> float32 [N, out]."""
    row = k * table.samples + r
    right = np.where(inside, 1, table.samples - 1) if table.outside == "linear" else 1
    q0 = table.q[i, row].astype(np.float32)
    q1 = table.q[i, row + right].astype(np.float32)
    code = np.where(w[:, None] < _HALF, q0, q1) if table.interpolation == "nearest" else q0 + w[:, None] * (q1 - q0)
    factor = _ONE if table.edge_scale is None else table.edge_scale[i]
    value = (table.scale[i, k] * factor) * code
    if table.offset is not None:
        value = (table.offset[i, k] * factor) + value
    if table.outside == "zero":
        value = np.where(inside[:, None], value, _ZERO)
    elif table.outside == "base":
        beyond = table.base_weight[i] * float32.ACTIVATIONS[table.base](x)[:, None]  # type: ignore[index]
        value = np.where(inside[:, None], value, beyond)
    return value


def _add_segments(table: SegmentTable, x: F32, sums: F32) -> None:
    k, r, w, inside = locate(table, x)
    for i in range(x.shape[1]):
        sums += segment_edges(table, x[:, i], i, k[:, i], r[:, i], w[:, i], inside[:, i])


def encode(table: RowTable, x: F32) -> tuple[I64, I64]:
    """Find segment and integer weights of every input of a basis table.

    Returns
    -------
    segment : int64 [N, in]
    weights : int64 [N, in, taps]
        Of the rows `segment - table.shift + t`.
    """
    if isinstance(table, KnotTable):
        return _encode_knots(table, x)
    v = (x - table.low) * table.inverse
    if isinstance(table, RadialTable):
        p = _floor_clamped(v, table.positions)
        return np.zeros_like(p), table.weights[p].astype(np.int64)
    p = _floor_clamped(v, table.segments << table.position_bits)
    return p >> table.position_bits, table.weights[p & ((1 << table.position_bits) - 1)].astype(np.int64)


def _floor_clamped(v: F32, count: int) -> I64:
    clamped = np.maximum(np.minimum(v, np.float32(count - 1)), _ZERO)
    return np.where(np.isnan(clamped), _ZERO, clamped).astype(np.int64)


def _encode_knots(table: KnotTable, x: F32) -> tuple[I64, I64]:
    knots = np.broadcast_to(table.knots, (table.in_features, table.knots.shape[1]))
    return knot_weights(knots, table.degree, x, WEIGHT_SUM[table.kernel_bits])


def _add_basis(table: RowTable, x: F32, sums: F32) -> None:
    segment, weights = encode(table, x)
    q = table.coefficients
    total = np.zeros(sums.shape, dtype=np.int64)
    for i in range(x.shape[1]):
        for t in range(weights.shape[2]):
            row = segment[:, i] - table.shift + t
            stored = (row >= 0) & (row < table.rows)
            weight = np.where(stored, weights[:, i, t], 0)
            total += weight[:, None] * q[i, np.clip(row, 0, table.rows - 1)]
    sums += total.astype(np.float32) * table.scale
    if isinstance(table, BasisTable) and table.outside == "linear":
        _add_linear_tails(table, (x - table.low) * table.inverse, sums)
    if isinstance(table, BasisTable) and table.base is not None:
        _add_base_tails(table, x, segment, weights, sums)


def _add_linear_tails(table: BasisTable, v: F32, sums: F32) -> None:
    """Go on with the border's slope: `(c[2] - c[0]) / 2` an interval for a cubic spline, `c[1] - c[0]` below."""
    end = np.float32(table.segments << table.position_bits)
    apart, factor = table.slope
    q = table.coefficients.astype(np.float32)
    for i in range(v.shape[1]):
        left, right = v[:, i] < _ZERO, v[:, i] > end
        for rows, slope, excess in (
            (left, q[i, apart] - q[i, 0], v[:, i]),
            (right, q[i, -1] - q[i, -1 - apart], v[:, i] - end),
        ):
            sums[rows] += (slope * (excess[rows, None] * np.float32(factor))) * table.scale


def _add_base_tails(table: BasisTable, x: F32, segment: I64, weights: I64, sums: F32) -> None:
    """Add function - fit where the fit does not hold."""
    low, high = (np.broadcast_to(cast("F32", bound), x.shape[1]) for bound in (table.fold_low, table.fold_high))
    fit_rows = np.broadcast_to(cast("F32", table.base_rows), (x.shape[1], table.rows))
    for i in range(x.shape[1]):
        rows = np.flatnonzero((x[:, i] < low[i]) | (x[:, i] > high[i]))
        if not rows.size:
            continue
        fit = np.zeros(rows.size, dtype=np.float32)
        for t in range(table.taps):
            row = segment[rows, i] - table.shift + t
            stored = (row >= 0) & (row < table.rows)
            part = weights[rows, i, t].astype(np.float32) * fit_rows[i, np.clip(row, 0, table.rows - 1)]
            fit += np.where(stored, part, _ZERO)
        gap = float32.ACTIVATIONS[table.base](x[rows, i]) - fit  # type: ignore[index]
        sums[rows] += (table.base_q[i].astype(np.float32) * gap[:, None]) * table.base_scale  # type: ignore[index]


def codes_of(table: CodeTable, x: F32) -> I64:
    """Return the codes of inputs, 0 for NaN."""
    low, inverse = table.position
    return _floor_clamped((x - low) * inverse, 1 << table.bits)


def code_sums(table: CodeTable, x: F32) -> I64:
    """Return the integer sums of a code table: float32 [N, in] -> int64 [N, out]."""
    codes, features = codes_of(table, x), table.weights
    q = table.coefficients
    total = np.zeros((len(x), table.out_features), dtype=np.int64)
    for i in range(x.shape[1]):
        weights = features[i if len(features) > 1 else 0].astype(np.int64) - table.zero
        total += weights[codes[:, i]] @ q[i].astype(np.int64)
    return total


def _add_codes(table: CodeTable, x: F32, sums: F32) -> None:
    sums += code_sums(table, x).astype(np.float32) * table.scale


def _add_product(table: ProductTable, x: F32, sums: F32) -> None:
    step = np.float32(table.step)
    value = float32.ACTIVATIONS[table.function](x)
    v = value * (_ONE / step) + np.float32(table.zero + 0.5)
    coded = (v >= _ZERO) & (v < np.float32(table.levels))
    code = np.where(coded, np.floor(np.where(coded, v, _ZERO)).astype(np.int64), table.zero)
    total = (code - table.zero) @ table.coefficients.astype(np.int64)
    sums += total.astype(np.float32) * (table.scale * step)
    q = table.coefficients.astype(np.float32)
    for i in range(x.shape[1]):
        rows = np.flatnonzero(~coded[:, i])
        sums[rows] += (q[i] * value[rows, i, None]) * table.scale


def spline_weights(u: F32, degree: int) -> list[F32]:
    """Evaluate the `degree + 1` bases of an interval at offset `u`, float32 arrays of its shape."""
    weights = [np.ones(u.shape, dtype=np.float32)]
    for p in range(1, degree + 1):
        grown, carried = [], np.zeros(u.shape, dtype=np.float32)
        for r in range(p):
            offset = (u + np.float32(p - 1 - r)) / np.float32(p)
            grown.append(carried + (_ONE - offset) * weights[r])
            carried = offset * weights[r]
        weights = [*grown, carried]
    return weights


def _add_spline(table: SplineTable, x: F32, sums: F32) -> None:
    end = np.float32(table.segments)
    v = (x - table.low) * table.inverse
    clamped = np.maximum(np.minimum(v, end), _ZERO)
    clamped = np.where(np.isnan(clamped), _ZERO, clamped)
    segment = np.minimum(clamped.astype(np.int64), table.segments - 1)
    weights = spline_weights(clamped - segment.astype(np.float32), table.degree)
    for i in range(x.shape[1]):
        for t, weight in enumerate(weights):
            row = segment[:, i] - table.shift + t
            stored = np.flatnonzero((row >= 0) & (row < table.rows.shape[1]))
            sums[stored] += table.rows[i, row[stored]] * weight[stored, i, None]
    if table.outside != "linear":
        return
    apart, factor = table.slope
    for i in range(x.shape[1]):
        for rows, slope, excess in (
            (v[:, i] < _ZERO, table.rows[i, apart] - table.rows[i, 0], v[:, i]),
            (v[:, i] > end, table.rows[i, -1] - table.rows[i, -1 - apart], v[:, i] - end),
        ):
            sums[rows] += (slope * np.float32(factor)) * excess[rows, None]


_ADD = {
    SegmentTable: _add_segments,
    BaseTable: _add_base,
    BasisTable: _add_basis,
    KnotTable: _add_basis,
    RadialTable: _add_basis,
    ProductTable: _add_product,
    SplineTable: _add_spline,
    CodeTable: _add_codes,
}
