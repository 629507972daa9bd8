"""Numba kernels of the integer tables; the meaning is that of `runtimes.reference`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lutkan.artifact.program import BasisTable, IntegerRows, KnotTable, ProductTable, RadialTable
from lutkan.numerics.fixed_point import WEIGHT_SUM
from lutkan.runtimes import numba_functions
from lutkan.runtimes.numba_functions import KIND_IDS

__all__ = ["prepare_basis", "prepare_product"]

F32 = NDArray[np.float32]
Adder = Callable[[F32, F32], None]
# Rows that are encoded at a time.
_ROWS = 256
# Inputs whose int16 products an int32 holds; see docs/spec/semantics.md section 5.
_INT16_BLOCK = 16


def prepare_basis(table: IntegerRows, packed: list[NDArray[Any]]) -> Adder:
    """Pack a basis, knot or radial table; the adder adds its sums for rows `x` to `sums`."""
    n_in, n_out = table.shape
    encode, segments, shift, taps = _prepare_encode(table, packed)
    rows = segments - 1 + taps
    q = np.zeros((n_in, rows, n_out), dtype=table.coefficients.dtype)
    kept = min(table.rows, rows - shift)
    q[:, shift : shift + kept] = table.coefficients[:, :kept]
    scale = np.array(table.scale)
    block = _INT16_BLOCK if table.kernel_bits == 16 else n_in
    packed += [q, scale]
    tails = _prepare_tails(table, rows, packed) if isinstance(table, BasisTable) else None

    def add(x: F32, sums: F32) -> None:
        for start in range(0, len(x), _ROWS):
            part, out = x[start : start + _ROWS], sums[start : start + _ROWS]
            segment = np.empty(part.shape, dtype=np.int32)
            weights = np.empty((*part.shape, taps), dtype=np.int32)
            encode(part, segment, weights)
            _add_rows(part, segment, weights, q, block, scale, out)
            if tails is not None:
                tails(part, segment, weights, out)

    return add


def _prepare_encode(table: IntegerRows, packed: list[NDArray[Any]]) -> tuple[Callable[..., None], int, int, int]:
    """Return the encoding, the number of segments, the rows before the first, and the taps."""
    n_in = table.shape[0]
    if isinstance(table, KnotTable):
        knots = np.array(np.broadcast_to(table.padded_knots, (n_in, table.segments + 1 + 2 * table.degree)), order="C")
        packed.append(knots)
        total = np.float32(WEIGHT_SUM[table.kernel_bits])
        return lambda x, s, w: _encode_knots(x, knots, table.degree, total, s, w), table.segments, table.degree, 4
    if not isinstance(table, (BasisTable, RadialTable)):
        raise TypeError(type(table).__name__)
    low, inverse = (np.array(np.broadcast_to(a, n_in), order="C") for a in (table.low, table.inverse))
    weights = table.weights.astype(np.int32)
    packed += [low, inverse, weights]
    if isinstance(table, RadialTable):
        bits, segments = 30, 1
        count = table.positions
    else:
        bits, segments = table.position_bits, table.segments
        count = segments << bits
    shift, taps = table.shift, table.taps
    return lambda x, s, w: _encode_positions(x, low, inverse, count, bits, weights, s, w), segments, shift, taps


def _prepare_tails(table: BasisTable, rows: int, packed: list[NDArray[Any]]) -> Callable[..., None] | None:
    """Return what adds the float32 terms beyond a table, or None."""
    n_in = table.shape[0]
    low, inverse = (np.array(np.broadcast_to(a, n_in), order="C") for a in (table.low, table.inverse))
    scale = np.array(table.scale)
    if table.outside == "linear":
        c = table.coefficients.astype(np.float32)
        apart, factor = table.slope
        ends = np.stack([c[:, apart] - c[:, 0], c[:, -1] - c[:, -1 - apart]])
        end = np.float32(table.segments << table.position_bits)
        packed.append(ends)
        return lambda x, s, w, out: _add_linear_tails(x, low, inverse, end, np.float32(factor), ends, scale, out)
    if table.base is None:
        return None
    fit = np.zeros((n_in, rows), dtype=np.float32)
    fit[:, table.shift : table.shift + table.rows] = table.base_rows
    base_q, base_scale = table.base_q.astype(np.float32), np.array(table.base_scale)  # type: ignore[union-attr]
    fold_low, fold_high = (
        np.array(np.broadcast_to(cast("F32", bound), n_in), order="C") for bound in (table.fold_low, table.fold_high)
    )
    kind = KIND_IDS[table.base]
    packed += [fit, base_q]
    return lambda x, s, w, out: _add_base_tails(x, s, w, fit, kind, fold_low, fold_high, base_q, base_scale, out)


def prepare_product(table: ProductTable, packed: list[NDArray[Any]]) -> Adder:
    """Pack an integer base product; the adder adds its sums for rows `x` to `sums`."""
    q = np.array(table.coefficients)
    qf = q.astype(np.float32)
    scale = np.array(table.scale)
    step = np.float32(table.step)
    packed += [q, qf, scale]
    block = _INT16_BLOCK if table.kernel_bits == 16 else table.shape[0]
    kind, levels, zero = KIND_IDS[table.function], table.levels, table.zero

    def add(x: F32, sums: F32) -> None:
        _add_product(x, kind, step, zero, levels, q, qf, block, scale, sums)

    return add


@njit(nogil=True, cache=True, error_model="numpy")
def _has_nan(row):
    for i in range(row.size):
        if row[i] != row[i]:
            return True
    return False


@njit(nogil=True, cache=True, error_model="numpy")
def _floor_clamped(v, count):
    return np.int64(max(min(v, np.float32(count - 1)), np.float32(0.0)))


@njit(nogil=True, cache=True, error_model="numpy")
def _encode_positions(x, low, inverse, count, bits, table, segment, weights):
    mask = (1 << bits) - 1
    for n in range(x.shape[0]):
        for i in range(x.shape[1]):
            v = (x[n, i] - low[i]) * inverse[i]
            p = 0 if v != v else _floor_clamped(v, count)
            segment[n, i] = p >> bits
            weights[n, i] = table[p & mask]


@njit(nogil=True, cache=True, error_model="numpy")
def _encode_knots(x, padded, degree, total, segment, weights):
    half, zero = np.float32(0.5), np.float32(0.0)
    basis = np.empty(4, dtype=np.float32)
    last = padded.shape[1] - 1 - degree
    for n in range(x.shape[0]):
        for i in range(x.shape[1]):
            point, knots = x[n, i], padded[i]
            weights[n, i] = 0
            segment[n, i] = 0
            if not (point >= knots[degree] and point < knots[last]):
                continue
            k, above = degree, last
            while above - k > 1:
                middle = (k + above) // 2
                if point >= knots[middle]:
                    k = middle
                else:
                    above = middle
            segment[n, i] = k - degree
            basis[0] = np.float32(1.0)
            for p in range(1, degree + 1):
                saved = zero
                for r in range(p):
                    to_right = knots[k + r + 1] - point
                    to_left = point - knots[k + r + 1 - p]
                    part = basis[r] / (to_right + to_left)
                    basis[r] = saved + to_right * part
                    saved = to_left * part
                basis[p] = saved
            running, before = zero, 0
            for t in range(degree):
                running = running + basis[t]
                upto = max(_floor_clamped(running * total + half, np.int64(total) + 1), before)
                weights[n, i, t] = upto - before
                before = upto
            weights[n, i, degree] = np.int64(total) - before


@njit(nogil=True, cache=True, error_model="numpy")
def _add_rows(x, segment, weights, q, block, scale, sums):
    n_in, n_out, taps = x.shape[1], sums.shape[1], weights.shape[2]
    part = np.empty(n_out, dtype=np.int32)
    total = np.empty(n_out, dtype=np.int64)
    for n in range(x.shape[0]):
        if _has_nan(x[n]):
            sums[n, :] = np.float32(np.nan)
            continue
        total[:] = 0
        for start in range(0, n_in, block):
            part[:] = 0
            for i in range(start, min(start + block, n_in)):
                s, w = segment[n, i], weights[n, i]
                for t in range(0, taps, 4):
                    w0, w1, w2, w3 = w[t], w[t + 1], w[t + 2], w[t + 3]
                    q0, q1, q2, q3 = q[i, s + t], q[i, s + t + 1], q[i, s + t + 2], q[i, s + t + 3]
                    for o in range(n_out):
                        part[o] += np.int32(
                            w0 * np.int32(q0[o]) + w1 * np.int32(q1[o]) + w2 * np.int32(q2[o]) + w3 * np.int32(q3[o])
                        )
            for o in range(n_out):
                total[o] += part[o]
        for o in range(n_out):
            sums[n, o] += np.float32(total[o]) * scale[o]


@njit(nogil=True, cache=True, error_model="numpy")
def _add_linear_tails(x, low, inverse, end, factor, ends, scale, sums):
    for n in range(x.shape[0]):
        for i in range(x.shape[1]):
            v = (x[n, i] - low[i]) * inverse[i]
            if v < np.float32(0.0):
                slope, excess = ends[0, i], v * factor
            elif v > end:
                slope, excess = ends[1, i], (v - end) * factor
            else:
                continue
            for o in range(sums.shape[1]):
                sums[n, o] += (slope[o] * excess) * scale[o]


@njit(nogil=True, cache=True, error_model="numpy")
def _add_base_tails(x, segment, weights, fit, kind, fold_low, fold_high, base_q, base_scale, sums):
    for n in range(x.shape[0]):
        for i in range(x.shape[1]):
            if not (x[n, i] < fold_low[i] or x[n, i] > fold_high[i]):
                continue
            total = np.float32(0.0)
            for t in range(weights.shape[2]):
                total += np.float32(weights[n, i, t]) * fit[i, segment[n, i] + t]
            gap = numba_functions.activate(kind, x[n, i]) - total
            for o in range(sums.shape[1]):
                sums[n, o] += (base_q[i, o] * gap) * base_scale[o]


@njit(nogil=True, cache=True, error_model="numpy")
def _add_product(x, kind, step, zero, levels, q, qf, block, scale, sums):
    n_in, n_out = x.shape[1], sums.shape[1]
    inverse, half, top = np.float32(1.0) / step, np.float32(zero + 0.5), np.float32(levels)
    part = np.empty(n_out, dtype=np.int32)
    total = np.empty(n_out, dtype=np.int64)
    values = np.empty(n_in, dtype=np.float32)
    coded = np.empty(n_in, dtype=np.bool_)
    for n in range(x.shape[0]):
        if _has_nan(x[n]):
            sums[n, :] = np.float32(np.nan)
            continue
        total[:] = 0
        for start in range(0, n_in, block):
            part[:] = 0
            for i in range(start, min(start + block, n_in)):
                values[i] = numba_functions.activate(kind, x[n, i])
                v = values[i] * inverse + half
                coded[i] = v >= np.float32(0.0) and v < top
                if coded[i]:
                    code = np.int32(v) - np.int32(zero)
                    for o in range(n_out):
                        part[o] += np.int32(code * np.int32(q[i, o]))
            for o in range(n_out):
                total[o] += part[o]
        for o in range(n_out):
            sums[n, o] += np.float32(total[o]) * (scale[o] * step)
        for i in range(n_in):
            if not coded[i]:
                for o in range(n_out):
                    sums[n, o] += (qf[i, o] * values[i]) * scale[o]
