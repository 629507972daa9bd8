"""A second reading of docs/spec/semantics.md: one row, one edge, one float32 scalar at a time.

Written from the text, not from `lutkan.runtimes`, so that the reference runtime is checked by something else. Only the
elementary functions are shared; those are compared with compiled C elsewhere.
"""

from __future__ import annotations

import math

import numpy as np

from lutkan.artifact.basis import IntegerRows
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
    ProductTable,
    Program,
    QuantizeOp,
    RadialTable,
    SegmentTable,
    SelectOp,
    SplineTable,
)
from lutkan.numerics import float32

__all__ = ["predict"]

F = np.float32
Row = list[np.float32]


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
    if isinstance(op, QuantizeOp):
        return [v if math.isnan(v) else F(op.step) * F(_code(op, v)) + F(op.low) for v in x]
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
    totals = []
    for branch in op.branches:
        seen = x
        for step in branch.pre:
            seen = _step(step, seen)
        if op.inputs is not None:
            seen = [seen[index] for index in op.inputs]
        if any(map(math.isnan, seen)):
            sums = [F(math.nan)] * len(sums)
            totals.append([0] * len(sums))
        elif isinstance(branch.table, CodeTable):
            totals.append(_code_sums(branch.table, seen))
            sums = [s + F(t) * scale for s, t, scale in zip(sums, totals[-1], branch.table.scale, strict=True)]
        elif isinstance(branch.table, (SegmentTable, BaseTable)):
            for i, v in enumerate(seen):
                for o in range(len(sums)):
                    sums[o] = sums[o] + _edge(branch.table, v, i, o)
        elif isinstance(branch.table, SplineTable):
            _add_spline(branch.table, seen, sums)
        elif isinstance(branch.table, ProductTable):
            _add_product(branch.table, seen, sums)
        else:
            _add_rows(branch.table, seen, sums)
    if op.requantize is not None:
        return _requantized(op, list(outputs), totals, math.isnan(sums[0]))
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


# ------------------------------------------------------------------------------------------------ integer tables


def _floor_clamped(v: np.float32, top: np.float32) -> int:
    return math.floor(max(min(v, top), F(0.0)))


def _encode(table: IntegerRows, x: np.float32, i: int) -> tuple[int, list[int]]:
    """Segment and weights of one input."""
    if isinstance(table, KnotTable):
        return _encode_knots(table, x, [F(t) for t in table.knots[i if len(table.knots) > 1 else 0]])
    at = i if len(table.low) > 1 else 0
    v = (x - table.low[at]) * table.inverse[at]
    if isinstance(table, RadialTable):
        p = _floor_clamped(v, F(table.positions - 1))
        places = [p - table.stride * t for t in range(table.rows)]
        return 0, [int(table.profile[place]) if 0 <= place < table.profile.size else 0 for place in places]
    n = table.position_bits
    p = _floor_clamped(v, F(table.segments * 2**n - 1))
    return p // 2**n, [int(w) for w in table.weights[p % 2**n]]


def _encode_knots(table: KnotTable | CodeTable, x: np.float32, t: Row) -> tuple[int, list[int]]:
    degree, total = table.degree, 4096 if table.coefficient_bits == 16 else 255
    if not t[0] <= x < t[-1]:
        return 0, [0] * (degree + 1)
    s = max(k for k in range(len(t) - 1) if t[k] <= x)
    span = t[-1] - t[0]
    span = span if span > 0 else F(1.0)
    before = [t[0] - span * F(m) for m in range(degree, 0, -1)]
    padded = before + t + [t[-1] + span * F(m) for m in range(1, degree + 1)]
    b = [F(1.0)]
    for p in range(1, degree + 1):
        saved = F(0.0)
        for r in range(p):
            right, left = padded[degree + s + r + 1] - x, x - padded[degree + s + r + 1 - p]
            part = b[r] / (right + left)
            b[r] = saved + right * part
            saved = left * part
        b.append(saved)
    run, reached, weights = F(0.0), 0, []
    for r in range(degree):
        run = run + b[r]
        upto = max(_floor_clamped(run * F(total) + F(0.5), F(total)), reached)
        weights.append(upto - reached)
        reached = upto
    return s, [*weights, total - reached]


def _stored(table: IntegerRows, i: int, row: int, o: int) -> int:
    if not 0 <= row < table.rows:
        return 0
    bits, at = table.coefficient_bits, (i * table.rows + row) * table.out_features + o
    return int(table.q[i, row, o]) if bits >= 8 else _packed(table.q, bits, at)


def _packed(q: np.ndarray, bits: int, at: int) -> int:
    code = 0
    for bit in range(at * bits, (at + 1) * bits):
        code = 2 * code + (int(q[bit // 8]) >> (7 - bit % 8)) % 2
    return code - 2 ** (bits - 1)


def _add_rows(table: IntegerRows, x: Row, sums: Row) -> None:
    encoded = [_encode(table, v, i) for i, v in enumerate(x)]
    for o in range(len(sums)):
        total = 0
        for i, (s, weights) in enumerate(encoded):
            for t, w in enumerate(weights):
                total += w * _stored(table, i, s - table.shift + t, o)
        sums[o] = sums[o] + F(total) * table.scale[o]
    if not isinstance(table, BasisTable):
        return
    n, total = table.position_bits, 4096 if table.coefficient_bits == 16 else 255
    for i, v in enumerate(x):
        if table.outside == "linear":
            at = i if len(table.low) > 1 else 0
            place, end = (v - table.low[at]) * table.inverse[at], F(table.segments * 2**n)
            d, f = (2, F(total / 2 ** (n + 1))) if table.degree == 3 else (1, F(total / 2**n))
            last = table.rows - 1
            for o in range(len(sums)):
                if place < 0:
                    rise = F(_stored(table, i, d, o)) - F(_stored(table, i, 0, o))
                    sums[o] = sums[o] + (rise * (place * f)) * table.scale[o]
                if place > end:
                    rise = F(_stored(table, i, last, o)) - F(_stored(table, i, last - d, o))
                    sums[o] = sums[o] + (rise * ((place - end) * f)) * table.scale[o]
        if table.base is not None:
            _add_beyond_fold(table, v, i, encoded[i], sums)


def _add_beyond_fold(table: BasisTable, v: np.float32, i: int, encoded: tuple[int, list[int]], sums: Row) -> None:
    low, high = (bound[i if len(bound) > 1 else 0] for bound in (table.fold_low, table.fold_high))
    if low <= v <= high:
        return
    s, weights = encoded
    fit = F(0.0)
    for t, w in enumerate(weights):
        row = s - table.shift + t
        if 0 <= row < table.rows:
            fit = fit + F(w) * table.base_rows[i if len(table.base_rows) > 1 else 0, row]
    gap = _function(table.base, v) - fit
    for o in range(len(sums)):
        sums[o] = sums[o] + (F(table.base_q[i, o]) * gap) * table.base_scale[o]


def _add_product(table: ProductTable, x: Row, sums: Row) -> None:
    def weight(i: int, o: int) -> int:
        at = i * table.out_features + o
        return int(table.q[i, o]) if table.coefficient_bits >= 8 else _packed(table.q, table.coefficient_bits, at)

    h = F(table.step)
    values = [_function(table.function, v) for v in x]
    places = [value * (F(1.0) / h) + F(table.zero + 0.5) for value in values]
    within = [0 <= place < table.levels for place in places]
    codes = [math.floor(place) - table.zero if inside else 0 for place, inside in zip(places, within, strict=True)]
    for o in range(len(sums)):
        total = sum(code * weight(i, o) for i, code in enumerate(codes))
        sums[o] = sums[o] + F(total) * (table.scale[o] * h)
    for i, (value, inside) in enumerate(zip(values, within, strict=True)):
        for o in range(len(sums)):
            if not inside:
                sums[o] = sums[o] + (F(weight(i, o)) * value) * table.scale[o]


def _code(table: CodeTable | QuantizeOp, x: np.float32) -> int:
    a, b = (0.0, 1.0) if table.coded else (table.low - table.step / 2, 1 / table.step)
    return _floor_clamped((x - F(a)) * F(b), F(2**table.bits - 1))


def _features(table: CodeTable, i: int, code: int) -> list[int]:
    if table.features is not None:
        return [int(w) for w in table.features[i if len(table.features) > 1 else 0, code]]
    point = F(table.step) * F(code) + F(table.low)
    if table.function is not None:
        digit = {2: 63, 3: 31, 4: 15, 5: 7, 6: 3}.get(table.coefficient_bits, 1)
        top = 4096 if table.coefficient_bits == 16 else 256 * digit - 1
        place = _function(table.function, point) * (F(1.0) / F(table.unit)) + F(table.zero + 0.5)
        return [_floor_clamped(place, F(top))]
    knots = [F(t) for t in table.knots[i if len(table.knots) > 1 else 0]]
    s, weights = _encode_knots(table, point, knots)
    rows = [0] * table.rows
    for t, w in enumerate(weights):
        if 0 <= s - table.degree + t < table.rows:
            rows[s - table.degree + t] = w
    return rows


def _code_sums(table: CodeTable, x: Row) -> list[int]:
    features = [_features(table, i, _code(table, v)) for i, v in enumerate(x)]
    return [
        sum(
            (w - table.zero) * _stored(table, i, row, o)
            for i, weights in enumerate(features)
            for row, w in enumerate(weights)
        )
        for o in range(table.out_features)
    ]


def _requantized(op: KANOp, outputs: list[int], totals: list[list[int]], lost: bool) -> Row:
    to = op.requantize
    y = []
    for o in range(op.out_features):
        bias = 0.0 if op.bias is None else float(op.bias[o])
        total = round(((bias - to.low) / to.step + 0.5) * 2.0**to.shift)  # ties to even, as rint
        if o in outputs:
            at = outputs.index(o)
            for branch, sums in zip(op.branches, totals, strict=True):
                total += sums[at] * round(float(branch.table.scale[at]) / to.step * 2.0**to.shift)
        code = F(min(max(total // 2**to.shift, 0), 2**to.bits - 1))
        y.append(F(math.nan) if lost and o in outputs else code)
    return y


def _add_spline(table: SplineTable, x: Row, sums: Row) -> None:
    end, count = F(table.segments), table.rows.shape[1]
    places = []
    for i, v in enumerate(x):
        at = i if len(table.low) > 1 else 0
        place = (v - table.low[at]) * table.inverse[at]
        places.append(place)
        held = max(min(place, end), F(0.0))
        s = min(math.floor(held), table.segments - 1)
        u, weights = held - F(s), [F(1.0)]
        for p in range(1, table.degree + 1):
            grown, carried = [], F(0.0)
            for r in range(p):
                m = (u + F(p - 1 - r)) / F(p)
                grown.append(carried + (F(1.0) - m) * weights[r])
                carried = m * weights[r]
            weights = [*grown, carried]
        for t, weight in enumerate(weights):
            row = s - table.shift + t
            for o in range(len(sums)):
                if 0 <= row < count:
                    sums[o] = sums[o] + table.rows[i, row, o] * weight
    if table.outside == "linear":
        d, f = (2, F(0.5)) if table.degree == 3 else (1, F(1.0))
        for i, place in enumerate(places):
            for o in range(len(sums)):
                rows = table.rows[i, :, o]
                if place < 0:
                    sums[o] = sums[o] + ((rows[d] - rows[0]) * f) * place
                if place > end:
                    sums[o] = sums[o] + ((rows[count - 1] - rows[count - 1 - d]) * f) * (place - end)
