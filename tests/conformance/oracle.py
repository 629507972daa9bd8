"""A second reading of docs/spec/semantics.md: one row, one edge, one float32 scalar at a time.

Written from the text, not from `lutkan.runtimes`, so that the reference runtime is checked by something else. Only the
elementary functions are shared; those are compared with compiled C elsewhere.
"""

from __future__ import annotations

import math

import numpy as np

from lutkan.artifact.program import (
    ActivationOp,
    AffineOp,
    BaseTable,
    KANOp,
    LayerNormOp,
    LinearOp,
    Op,
    Program,
    SegmentTable,
    SelectOp,
)
from lutkan.numerics import float32

__all__ = ["covers", "predict"]

F = np.float32
Row = list[np.float32]


def covers(program: Program) -> bool:
    """Tell whether all tables of a program are known here."""
    return all(
        isinstance(branch.table, (SegmentTable, BaseTable))
        for step in program.steps
        if isinstance(step, KANOp)
        for branch in step.branches
    )


def predict(program: Program, x: np.ndarray) -> np.ndarray:
    """Run a program row by row: float32 [N, in] -> float32 [N, out]."""
    with np.errstate(all="ignore"):
        rows = [_predict_row(program, [F(v) for v in row]) for row in x]
    return np.array(rows, dtype=np.float32).reshape(len(x), program.out_features)


def _predict_row(program: Program, row: Row) -> Row:
    lost = any(map(math.isnan, row))
    for op in program.steps:
        row = _step(op, row)
        lost = lost or any(map(math.isnan, row))
    return [F(math.nan)] * len(row) if lost else row


def _step(op: Op, x: Row) -> Row:
    if isinstance(op, SelectOp):
        return [x[index] for index in op.indices]
    if isinstance(op, AffineOp):
        return [s * v + b for s, v, b in zip(op.scale, x, op.bias, strict=True)]
    if isinstance(op, LayerNormOp):
        return _layer_norm(op, x)
    if isinstance(op, ActivationOp):
        if op.slope is not None:
            return [s * v if v < 0 else v for s, v in zip(op.slope, x, strict=True)]
        return [_function(op.function, v) for v in x]
    if isinstance(op, LinearOp):
        totals = [F(0.0)] * op.weight.shape[1]
        for v, weights in zip(x, op.weight, strict=True):
            totals = [total + v * weight for total, weight in zip(totals, weights, strict=True)]
        return totals if op.bias is None else [t + b for t, b in zip(totals, op.bias, strict=True)]
    if isinstance(op, KANOp):
        return _kan(op, x)
    groups = [op.indices[a:b] for a, b in zip(op.offsets[:-1], op.offsets[1:], strict=True)]
    products = []
    for group in groups:
        value = x[group[0]]
        for index in group[1:]:
            value = value * x[index]
        products.append(value)
    return products


def _function(name: str, v: np.float32) -> np.float32:
    return float32.ACTIVATIONS[name](np.array([v]))[0]


def _lane_sum(values: Row) -> np.float32:
    lanes = [F(0.0)] * 16
    for index, value in enumerate(values):
        lanes[index % 16] = lanes[index % 16] + value
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [lanes[i] + lanes[i + half] for i in range(half)]
    return lanes[0]


def _layer_norm(op: LayerNormOp, x: Row) -> Row:
    count = F(len(x))
    mean = _lane_sum(x) / count
    centred = [v - mean for v in x]
    variance = _lane_sum([d * d for d in centred]) / count
    inverse = F(1.0) / np.sqrt(variance + F(op.eps))
    y = [d * inverse for d in centred]
    if op.weight is not None:
        y = [v * w for v, w in zip(y, op.weight, strict=True)]
    return y if op.bias is None else [v + b for v, b in zip(y, op.bias, strict=True)]


def _kan(op: KANOp, x: Row) -> Row:
    outputs = range(op.out_features) if op.outputs is None else op.outputs.tolist()
    sums = [F(0.0)] * len(outputs)
    for branch in op.branches:
        seen = x
        for step in branch.pre:
            seen = _step(step, seen)
        if op.inputs is not None:
            seen = [seen[index] for index in op.inputs]
        if any(map(math.isnan, seen)):
            sums = [F(math.nan)] * len(sums)
            continue
        for i, v in enumerate(seen):
            for o in range(len(sums)):
                sums[o] = sums[o] + _edge(branch.table, v, i, o)
    if op.bias is None:
        return sums
    y = list(op.bias)
    for o, total in zip(outputs, sums, strict=True):
        y[o] = total + op.bias[o]
    return y


def _edge(table: SegmentTable | BaseTable, x: np.float32, i: int, o: int) -> np.float32:
    if isinstance(table, BaseTable):
        return table.weight[i, o] * _function(table.function, x)
    knots = [F(t) for t in table.knots[i if len(table.knots) > 1 else 0]]
    low, high = knots[0], knots[-1]
    closed = table.boundary == "closed"
    inside = low <= x and (x <= high if closed else x < high)
    if not inside and table.outside == "zero":
        return F(0.0)
    if not inside and table.outside == "base":
        return table.base_weight[i, o] * _function(table.base, x)
    if table.outside != "linear":
        top = high if closed else np.nextafter(high, F(-np.inf))
        if x > top:
            x = top
        if x < low:
            x = low
    segment = 0
    for k in range(len(knots) - 1):
        if knots[k] <= x:
            segment = k
    left, width = knots[segment], knots[segment + 1] - knots[segment]
    u = (x - left) / width if width > 0 else F(0.0)
    if table.outside != "linear":
        u = min(max(u, F(0.0)), F(1.0))
    last = table.samples - 1
    if inside or table.outside != "linear":
        position = u * F(last)
        r = min(max(math.floor(position), 0), last - 1)
        w, other = position - F(r), r + 1
    else:
        r, w, other = 0, u, last
    q0, q1 = F(table.q[i, segment * table.samples + r, o]), F(table.q[i, segment * table.samples + other, o])
    if table.interpolation == "nearest":
        code = q0 if w < F(0.5) else q1
    else:
        code = q0 + w * (q1 - q0)
    factor = F(1.0) if table.edge_scale is None else table.edge_scale[i, o]
    value = (table.scale[i, segment, o] * factor) * code
    return value if table.offset is None else table.offset[i, segment, o] * factor + value
