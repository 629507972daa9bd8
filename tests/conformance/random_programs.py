"""Programs made directly from operations with seeded numbers, and rows that hit every border in them.

`draw(seed)` gives a program of one to three KAN layers with glue between them. Unlike compiled models, these use every
field to its limits: weight tables that are no splines, domains far away or a few ulp wide, repeated knots, dead
features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lutkan.artifact.checks import ACTIVATIONS
from lutkan.artifact.program import (
    ActivationOp,
    AffineOp,
    BaseTable,
    BasisTable,
    BranchOp,
    CodeTable,
    GlueOp,
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
    Requantization,
    SegmentTable,
    SelectOp,
    SplineTable,
    Table,
)
from lutkan.errors import ArtifactError
from lutkan.numerics.fixed_point import fine_digit, pack_codes, round_to_sum

__all__ = ["TABLES", "draw", "draw_table", "rows_for"]

Rng = np.random.Generator
F32 = np.float32
WIDTHS = (1, 2, 3, 4, 5, 7, 8, 11, 13, 16, 17, 19, 23, 29, 31, 32, 33, 37, 48, 53, 64, 67, 97, 127, 131)
SPECIAL = np.array(
    [
        0.0,
        -0.0,
        1e-45,
        -1e-45,
        1.1754942e-38,
        -3e-39,
        1.0,
        -1.0,
        1e30,
        -1e30,
        3.4028235e38,
        -3.4028235e38,
        np.inf,
        -np.inf,
    ],
    dtype=F32,
)


def floats(values: object) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=F32)


def _codes(rng: Rng, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """Stored coefficients: symmetric codes, packed below 8 bits; an eighth of them at the ends."""
    top = (1 << (bits - 1)) - 1
    codes = rng.integers(-top, top + 1, shape)
    codes = np.where(rng.random(shape) < 1 / 8, rng.choice([-top, top, 0], shape), codes)
    if bits == 16:
        return codes.astype(np.int16)
    return codes.astype(np.int8) if bits == 8 else pack_codes(codes.astype(np.int8), bits)


def _scale(rng: Rng, n_in: int, n_out: int, bits: int) -> np.ndarray:
    """Scales that make sums of the order of 1; now and then one of 0, or of any size."""
    unit = 4096 * 32767 if bits == 16 else 255 * ((1 << (bits - 1)) - 1)
    scale = rng.lognormal(0, 1, n_out) * 3 / (unit * np.sqrt(n_in))
    scale[rng.random(n_out) < 0.05] = 0.0
    scale[rng.random(n_out) < 0.02] = 1e-40
    return floats(scale)


def _domain(rng: Rng, count: int, positions: int) -> tuple[np.ndarray, np.ndarray]:
    """Left ends and positions a unit of x; rarely far away, tiny or huge."""
    kind = rng.random()
    low, width = rng.normal(-1.5, 0.5, count), rng.uniform(1, 5, count)
    if kind < 0.04:
        low = low + rng.choice([1e6, -1e6])
    elif kind < 0.08:
        low, width = low * 1e-38, width * 1e-38
    elif kind < 0.12:
        low, width = np.full(count, -3e38), width * 1.3e38  # ends beyond float32
    inverse = np.clip(positions / width, 1e-40, 3e38)
    return floats(low), floats(inverse)


def _basis_weights(rng: Rng, positions: int, degree: int, wide: bool) -> np.ndarray:
    """A weight table: B-spline values, or anything within the bounds."""
    if rng.random() < 0.5:
        u = (np.arange(positions) + 0.5) / positions
        values = np.zeros((positions, 4))
        if degree == 1:
            values[:, :2] = np.stack([1 - u, u], axis=1)
        elif degree == 2:
            values[:, :3] = np.stack([(1 - u) ** 2 / 2, (1 + 2 * u - 2 * u * u) / 2, u * u / 2], axis=1)
        else:
            values[:] = np.stack(
                [(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], axis=1
            )
            values /= 6
        return round_to_sum(values, 4096 if wide else 255).astype(np.int16 if wide else np.uint8)
    if wide:
        return np.floor(rng.dirichlet(np.full(4, 0.5), positions) * 4096).astype(np.int16)
    first = rng.integers(0, 256, (positions, 2))
    second = np.where(rng.random((positions, 2)) < 0.3, 258 - first, rng.integers(0, 256, (positions, 2)))
    return np.stack([first, np.clip(second, 0, np.minimum(255, 258 - first))], axis=-1).reshape(-1, 4).astype(np.uint8)


def _bits(rng: Rng) -> int:
    return int(rng.choice([16, 16, 8, 8, 8, 4, 3, 2]))


def _basis(rng: Rng, n_in: int, n_out: int) -> BasisTable:
    bits, degree, wide_domain = _bits(rng), int(rng.integers(1, 4)), rng.random() < 0.5
    shift = degree if rng.random() < 0.5 else 0
    segments = int(rng.choice([1, 2, 3, 5, 8, 11, 17, 30])) + shift
    position_bits = int(rng.choice([0, 1, 3, 6, 8, 10, 12]))
    rows = segments + degree - 2 * shift
    shared = 1 if rng.random() < 0.3 else n_in
    low, inverse = _domain(rng, shared, segments << position_bits)
    outside = "linear" if shift == 0 and rng.random() < 0.5 else "hold"
    base, parts = None, dict.fromkeys(("base_q", "base_scale", "base_rows", "fold_low", "fold_high"))
    if outside == "hold" and wide_domain:
        base = str(rng.choice(ACTIVATIONS))
        width = (segments << position_bits) / inverse.astype(np.float64)
        begin, end = np.sort(rng.uniform(-0.1, 1.1, (2, shared)), axis=0)
        finite = np.finfo(F32).max
        parts = {
            "base_q": _codes(rng, 16 if bits == 16 else 8, (n_in, n_out)),
            "base_scale": floats(rng.lognormal(0, 1, n_out) / (127 if bits < 16 else 32767)),
            "base_rows": floats(rng.normal(0, 0.01, (1 if rng.random() < 0.3 else n_in, rows))),
            "fold_low": floats(np.clip(low + begin * width, -finite, finite)),
            "fold_high": floats(np.clip(low + end * width, -finite, finite)),
        }
        if len(parts["fold_low"]) != n_in and rng.random() < 0.5:
            parts["fold_low"] = floats(np.repeat(parts["fold_low"], n_in))
    return BasisTable(
        n_in, n_out, rows, bits, _codes(rng, bits, (n_in, rows, n_out)), _scale(rng, n_in, n_out, bits),
        segments, position_bits, degree, shift, outside, low, inverse,
        _basis_weights(rng, 1 << position_bits, degree, bits == 16), base, **parts,
    )  # fmt: skip


def _knots(rng: Rng, n_in: int, n_out: int) -> KnotTable:
    bits, degree, rows = _bits(rng), int(rng.integers(1, 4)), int(rng.choice([1, 2, 5, 8, 13, 28]))
    count = rows + degree + 1
    shared = 1 if rng.random() < 0.3 else n_in
    steps = rng.lognormal(-1, 1, (shared, count - 1)) + 1e-3
    knots = rng.normal(-2, 1, (shared, 1)) + np.concatenate([np.zeros((shared, 1)), np.cumsum(steps, axis=1)], axis=1)
    knots = floats(knots)
    for i in range(shared):
        kind = rng.random()
        if kind < 0.08:
            knots[i] = knots[i, 0]  # an input whose splines are zero
        elif kind < 0.12:
            knots[i] = np.arange(count) * F32(1e-45)  # neighbours among the smallest numbers there are
        elif kind < 0.16:
            knots[i] = (np.arange(count) - count / 2) * F32(9e37 / count)
        elif kind < 0.2:
            for m in range(1, count):
                knots[i, m] = np.nextafter(knots[i, m - 1], F32(np.inf))
    return KnotTable(
        n_in, n_out, rows, bits, _codes(rng, bits, (n_in, rows, n_out)), _scale(rng, n_in, n_out, bits), degree, knots
    )


def _radial(rng: Rng, n_in: int, n_out: int) -> RadialTable:
    bits, rows = _bits(rng), int(rng.integers(1, 13))
    wide = bits == 16
    while True:  # bumps until their sums stay within the bounds
        half, stride = int(rng.integers(1, 200)), int(rng.integers(1, 80))
        positions = int(rng.integers(1, stride * rows + 2 * half))
        top = int(rng.integers(1, 4097 if wide else 166))
        steps = rng.multinomial(top, np.full(half, 1 / half))
        if not wide and steps.max() > 255:
            continue
        low, inverse = _domain(rng, 1, positions)
        try:
            return RadialTable(
                n_in, n_out, rows, bits, _codes(rng, bits, (n_in, rows, n_out)), _scale(rng, n_in, n_out, bits),
                low, inverse, positions, stride, steps.astype(np.uint16 if wide else np.uint8),
            )  # fmt: skip
        except ArtifactError as error:
            if "weights" not in str(error):
                raise


def _product(rng: Rng, n_in: int, n_out: int) -> ProductTable:
    bits = _bits(rng)
    levels = int(rng.choice([2, 100, 128] if bits < 16 else [2, 1000, 4096]))
    step = float(rng.lognormal(0, 0.5) * 6 / levels) if rng.random() < 0.9 else float(rng.choice([1e-29, 1e29]))
    return ProductTable(
        n_in, n_out, str(rng.choice(ACTIVATIONS)), levels, int(rng.integers(0, levels)), step, bits,
        _codes(rng, bits, (n_in, n_out)), floats(rng.lognormal(0, 1, n_out) / ((1 << (bits - 1)) * np.sqrt(n_in))),
    )  # fmt: skip


def _segment_knots(rng: Rng, count: int, segments: int) -> np.ndarray:
    """Even knots, nearly even ones, uneven ones, repeated ones, all equal, a few ulp apart."""
    knots = np.empty((count, segments + 1))
    kind = rng.choice(
        ["even", "nearly", "uneven", "repeated", "equal", "ulp", "wide"], p=[0.3, 0.2, 0.2, 0.15, 0.05, 0.05, 0.05]
    )
    for i in range(count):
        low, width = rng.normal(-1.5, 0.5), rng.uniform(1, 5) / segments
        even = low + width * np.arange(segments + 1)
        if kind == "nearly":
            even += np.sort(rng.uniform(-0.35, 0.35, segments + 1)) * width
        elif kind == "uneven":
            even = low + np.concatenate([[0], np.cumsum(rng.lognormal(-1, 1.5, segments))])
        elif kind == "repeated":
            even = np.sort(rng.choice(even, segments + 1))
        elif kind == "equal":
            even[:] = low
        elif kind == "ulp":
            even = np.cumsum(np.concatenate([[F32(low)], np.full(segments, np.spacing(F32(abs(low))))]))
        elif kind == "wide":
            even = np.linspace(-1.6e38, 1.6e38, segments + 1)
        knots[i] = even
    return np.maximum.accumulate(floats(knots), axis=1)


def _segment(rng: Rng, n_in: int, n_out: int) -> SegmentTable:
    samples, segments = int(rng.choice([2, 3, 4, 8, 16, 33])), int(rng.choice([1, 2, 3, 5, 11, 20]))
    outside = str(rng.choice(["clip", "zero", "base", "linear"]))
    interpolation = "linear" if outside == "linear" or rng.random() < 0.6 else "nearest"
    unsigned = rng.random() < 0.5
    shape = (n_in, segments * samples, n_out)
    q = rng.integers(0, 256, shape).astype(np.uint8) if unsigned else rng.integers(-127, 128, shape).astype(np.int8)
    if rng.random() < 0.2:
        q[:, ::2] = q[:, :1]  # flat pieces: what is 0 * inf
    magnitude = 3 / (127 * np.sqrt(n_in))
    scale = rng.lognormal(0, 1, (n_in, segments, n_out)) * magnitude
    return SegmentTable(
        samples,
        interpolation,
        "closed" if rng.random() < 0.5 else "half_open",
        outside,
        _segment_knots(rng, 1 if rng.random() < 0.3 else n_in, segments),
        q,
        floats(scale),
        floats(rng.normal(0, magnitude, (n_in, segments, n_out))) if unsigned else None,
        floats(rng.normal(0, 1, (n_in, n_out))) if rng.random() < 0.4 else None,
        str(rng.choice(ACTIVATIONS)) if outside == "base" else None,
        floats(rng.normal(0, 1, (n_in, n_out))) if outside == "base" else None,
    )


def _base(rng: Rng, n_in: int, n_out: int) -> BaseTable:
    weight = rng.normal(0, 1 / np.sqrt(n_in), (n_in, n_out))
    weight[rng.random(weight.shape) < 0.05] = 0.0
    return BaseTable(str(rng.choice(ACTIVATIONS)), floats(weight))


def _spline(rng: Rng, n_in: int, n_out: int) -> SplineTable:
    degree = int(rng.integers(1, 4))
    shift = degree if rng.random() < 0.5 else 0
    segments = int(rng.choice([1, 2, 3, 5, 8, 17])) + shift
    low, inverse = _domain(rng, 1 if rng.random() < 0.3 else n_in, segments)
    rows = rng.normal(0, 2 / np.sqrt(n_in), (n_in, segments + degree - 2 * shift, n_out))
    outside = "linear" if shift == 0 and rng.random() < 0.5 else "hold"
    return SplineTable(segments, degree, shift, outside, low, inverse, floats(rows))


def _grid(rng: Rng) -> tuple[int, float, float]:
    """Bits, low and step of a grid of codes: where rows lie, and now and then at the limits."""
    bits = int(rng.integers(2, 9))
    if rng.random() < 0.1:
        return bits, float(rng.choice([0.0, -0.0, -1e30, 1e30, 1e-40])), float(rng.choice([2e-30, 9e29, 1e-8]))
    step = float(rng.uniform(1, 6)) / (1 << bits)
    return bits, float(rng.normal(-1.5, 0.7)), step


def _features(rng: Rng, count: int, levels: int, rows: int, top: int) -> np.ndarray:
    """Integers by code: dense, in windows, or mostly zero; some at the top."""
    features = rng.integers(0, top + 1, (count, levels, rows))
    features[rng.random(features.shape) < 1 / 8] = top
    kind = rng.choice(["dense", "window", "sparse", "small"])
    if kind == "window":
        span = int(rng.integers(1, 7))
        first = rng.integers(-2, rows, (count, levels, 1))
        inside = (np.arange(rows) >= first) & (np.arange(rows) < first + span)
        features = np.where(inside, features, 0)
        if rng.random() < 0.5:
            features //= 2
    elif kind == "sparse":
        features = np.where(rng.random(features.shape) < 0.2, features, 0)
    elif kind == "small":
        features = np.minimum(features, top // 2)
    return features


def _code(rng: Rng, n_in: int, n_out: int) -> CodeTable:
    coefficient_bits = int(rng.choice([16, 8, 7, 6, 5, 4, 3, 2]))
    wide = coefficient_bits == 16
    bits, low, step = _grid(rng)
    coded = bool(rng.random() < 0.3)
    rows, count = int(rng.choice([1, 1, 2, 3, 4, 5, 8, 9, 13, 25])), 1 if rng.random() < 0.6 else n_in
    features = degree = knots = function = unit = None
    zero = 0
    digit = fine_digit(coefficient_bits)
    if rows == 1 and rng.random() < 0.4:
        function, unit = str(rng.choice(ACTIVATIONS)), float(np.float32(rng.lognormal(-4, 2)))
        zero = int(rng.integers(0, 4097 if wide else 256 * digit))
    elif rng.random() < 0.4:
        degree = int(rng.integers(1, 4))
        spacing = rng.lognormal(-1, 0.5, (count, rows + degree))
        knots = floats(rng.normal(-1.5, 0.5, (count, 1)) + np.pad(np.cumsum(spacing, axis=1), ((0, 0), (1, 0))))
        knots[rng.random(count) < 0.1] = knots[0, 0]
    else:
        fine = rows == 1 and rng.random() < 0.5 and digit > 1
        top = 4096 // rows if wide else 256 * digit - 1 if fine else 255
        zero = int(rng.integers(0, top + 1)) if rng.random() < 0.5 else 0
        features = _features(rng, count, 1 << bits, rows, top).astype(np.int16 if wide or fine else np.uint8)
    return CodeTable(
        n_in, n_out, rows, coefficient_bits, _codes(rng, coefficient_bits, (n_in, rows, n_out)),
        _scale(rng, n_in, n_out, coefficient_bits), bits, low, step, coded, zero, features, degree, knots,
        function, unit,
    )  # fmt: skip


#: Makers of tables, by the name of their operation.
TABLES: dict[str, Callable[[Rng, int, int], Table]] = {
    "basis": _basis,
    "knots": _knots,
    "radial": _radial,
    "base_product": _product,
    "segment": _segment,
    "base": _base,
    "spline": _spline,
    "code": _code,
}
_SHARE = {
    "basis": 0.2,
    "knots": 0.12,
    "radial": 0.12,
    "base_product": 0.16,
    "segment": 0.16,
    "base": 0.06,
    "spline": 0.08,
    "code": 0.1,
}


def draw_table(rng: Rng, n_in: int, n_out: int, kind: str | None = None) -> Table:
    """Draw a table, of any kind unless one is given."""
    return TABLES[kind or str(rng.choice(list(_SHARE), p=list(_SHARE.values())))](rng, n_in, n_out)


def _glue(rng: Rng, features: int) -> GlueOp:
    kind = rng.integers(0, 5)
    if kind == 4:
        return QuantizeOp(features, *_grid(rng), bool(rng.random() < 0.3))
    if kind == 0:
        return AffineOp(floats(rng.normal(1, 0.3, features)), floats(rng.normal(0, 0.3, features)))
    if kind == 1:
        weight, bias = (floats(rng.normal(m, 0.3, features)) if rng.random() < 0.5 else None for m in (1, 0))
        return LayerNormOp(features, float(rng.choice([1e-5, 0.0, 1e-3])), weight, bias)
    if kind == 2:
        return ActivationOp(features, "prelu", floats(rng.normal(0.25, 0.2, features)))
    return ActivationOp(features, str(rng.choice(ACTIVATIONS)))


def _between(rng: Rng, features: int) -> Op:
    """A step between layers."""
    kind = rng.integers(0, 6)
    if kind == 0:
        return SelectOp(features, rng.integers(0, features, int(rng.choice(WIDTHS[:16]))).astype(np.int32))
    if kind == 1:
        n_out = int(rng.choice(WIDTHS[:16]))
        bias = floats(rng.normal(0, 1, n_out)) if rng.random() < 0.5 else None
        return LinearOp(floats(rng.normal(0, 1 / np.sqrt(features), (features, n_out))), bias)
    if kind == 2:
        sizes = rng.integers(1, 4, int(rng.choice(WIDTHS[:16])))
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        return ProductOp(features, rng.integers(0, features, offsets[-1]).astype(np.int32), offsets)
    return _glue(rng, features)


def _subset(rng: Rng, count: int) -> np.ndarray:
    size = int(rng.integers(1, count + 1))
    return np.sort(rng.choice(count, size, replace=False)).astype(np.int32)


def _kan(rng: Rng, n_in: int, kind: str | None) -> KANOp:
    most = max(w for w in WIDTHS if w * n_in <= 3000 or w == 1)
    n_out = int(rng.choice([w for w in WIDTHS if w <= most]))
    inputs = _subset(rng, n_in) if rng.random() < 0.3 else None
    outputs = _subset(rng, n_out) if rng.random() < 0.3 else None
    bias = floats(rng.normal(0, 1, n_out)) if outputs is not None or rng.random() < 0.5 else None
    live = (n_in if inputs is None else inputs.size, n_out if outputs is None else outputs.size)
    branches = []
    requantized = kind == "code" and rng.random() < 0.7
    for b in range(int(rng.choice([1, 1, 2, 3]))):
        pre = tuple(_glue(rng, n_in) for _ in range(int(rng.choice([0, 0, 0, 1, 2, 3]))))
        branches.append(BranchOp(pre, draw_table(rng, *live, kind if b == 0 or requantized else None)))
    op = KANOp("layer", n_in, n_out, inputs, outputs, bias, tuple(branches))
    return _requantized(rng, op) if requantized else op


def _requantized(rng: Rng, op: KANOp) -> KANOp:
    """Let a layer of code tables answer with codes, at the largest shift that its integers allow or below it."""
    bits, low, step = int(rng.integers(2, 9)), float(rng.normal(-2, 0.5)), float(rng.uniform(2, 6))
    step /= 1 << bits
    if rng.random() < 0.5:
        step /= 4
    for shift in range(int(rng.choice([62, 62, 62, 30, 12, 3])), -1, -1):
        try:
            return replace(op, requantize=Requantization(bits, low, step, shift))
        except ArtifactError:  # too large for 64 bits, or for a multiplier
            continue
    return op


def draw(seed: int) -> Program:
    """Draw a program; its first table is of each kind in turn."""
    rng = np.random.default_rng(seed)
    n_in = int(rng.choice(WIDTHS))
    steps: list[Op] = []
    width = n_in
    if rng.random() < 0.2:
        steps.append(_between(rng, width))
        width = steps[-1].shape[1]
    for layer in range(int(rng.choice([1, 1, 2, 3]))):
        steps.append(_kan(rng, width, list(TABLES)[seed % len(TABLES)] if layer == 0 else None))
        width = steps[-1].shape[1]
        if rng.random() < 0.4:
            steps.append(_between(rng, width))
            width = steps[-1].shape[1]
    return Program(n_in, tuple(steps))


def _borders(table: Table, rng: Rng, size: int) -> np.ndarray:
    """float64 [size, inputs]: borders of cells, knots, bounds of folds."""
    n_in = table.shape[0]
    if isinstance(table, (SegmentTable, KnotTable)):
        knots = np.broadcast_to(table.knots, (n_in, table.knots.shape[1]))
        return knots[np.arange(n_in), rng.integers(0, knots.shape[1], (size, n_in))].astype(np.float64)
    if isinstance(table, (BasisTable, RadialTable, SplineTable)):
        if isinstance(table, BasisTable):
            count = table.segments << table.position_bits
        else:
            count = table.positions if isinstance(table, RadialTable) else table.segments
        cell = rng.choice([*rng.integers(0, count + 1, 20), 0, count, count - 1, -1, count + 1], (size, n_in))
        borders = table.low.astype(np.float64) + cell / table.inverse.astype(np.float64)
        if isinstance(table, BasisTable) and table.fold_low is not None and table.fold_high is not None:
            bound = np.where(rng.random((size, n_in)) < 0.5, table.fold_low, table.fold_high)
            borders = np.where(rng.random((size, n_in)) < 0.3, bound, borders)
        return borders
    if isinstance(table, CodeTable):
        code = rng.integers(-1, (1 << table.bits) + 1, (size, n_in))
        return code if table.coded else table.low + table.step * (code - 0.5)
    if isinstance(table, ProductTable):  # where the code of the identity (and of relu) changes
        return (rng.integers(-1, table.levels + 2, (size, n_in)) - table.zero - 0.5) * table.step
    return rng.normal(0, 2, (size, n_in))


def rows_for(program: Program, seed: int, count: int = 200) -> np.ndarray:
    """Draw rows, float32 [count, in]: ordinary ones, ones on borders of the first layer's tables and one ulp beside
    them, special values, and a few with NaN."""
    rng = np.random.default_rng(seed + 1_000_000)
    x = rng.normal(0, 1.5, (count, program.in_features))
    layer = next(step for step in program.steps if isinstance(step, KANOp))
    if layer.in_features == program.in_features:
        live = np.arange(layer.in_features) if layer.inputs is None else layer.inputs
        for branch in layer.branches:
            chosen = rng.random((count, live.size)) < rng.choice([0.0, 0.3, 0.7], (count, 1))
            x[:, live] = np.where(chosen, _borders(branch.table, rng, count), x[:, live])
    with np.errstate(over="ignore"):
        x = x.astype(F32)
        away = rng.choice(F32([np.inf, -np.inf]), x.shape)
        x = np.where(rng.random(x.shape) < 0.3, np.nextafter(x, away), x)
    x = np.where(rng.random(x.shape) < rng.choice([0.0, 0.02, 0.5], (count, 1)), rng.choice(SPECIAL, x.shape), x)
    tiny = rng.random(x.shape) < 0.01
    x[tiny] = rng.integers(0, 1 << 23, int(tiny.sum())).astype(np.uint32).view(F32)
    for row in rng.integers(0, count, 3):
        x[row, rng.integers(0, program.in_features)] = rng.choice(F32([np.nan, -np.nan]))
    return x
