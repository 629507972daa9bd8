"""Numba kernels of the code tables; the meaning is that of `runtimes.reference`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lutkan.artifact.program import CodeTable, KANOp

__all__ = ["prepare_code_sums", "prepare_codes", "prepare_requantize"]

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]
Adder = Callable[[F32, F32], None]
# Inputs whose int16 products an int32 holds; see docs/spec/semantics.md section 5.
_INT16_BLOCK = 16


def prepare_codes(table: CodeTable, packed: list[NDArray[Any]]) -> Adder:
    """Pack a code table; the adder adds its sums for rows `x` to `sums`."""
    sum_codes, scale = prepare_code_sums(table, packed), np.array(table.scale)
    packed.append(scale)

    def add(x: F32, sums: F32) -> None:
        _add_scaled(x, sum_codes(x), scale, sums)

    return add


def prepare_code_sums(table: CodeTable, packed: list[NDArray[Any]]) -> Callable[[F32], I64]:
    """Pack a code table; what is returned gives the integer sums of rows, int64 [N, out]."""
    features = np.array(table.weights.astype(np.int16) - np.int16(table.zero), order="C")
    q = np.array(table.coefficients, order="C")
    packed += [features, q]
    low, inverse = table.position
    last = np.float32((1 << table.bits) - 1)
    block = _INT16_BLOCK if table.kernel_bits == 16 else table.in_features
    n_out = table.out_features

    def sum_codes(x: F32) -> I64:
        total = np.zeros((len(x), n_out), dtype=np.int64)
        _sum_codes(x, low, inverse, last, features, q, block, total)
        return total

    return sum_codes


def prepare_requantize(op: KANOp, packed: list[NDArray[Any]]) -> Callable[[list[I64], Mask], F32]:
    """Pack what turns sums into codes; it takes the sums of all branches, and which rows become NaN."""
    to, integers = op.requantize, op.requantizing
    if to is None or integers is None:
        raise TypeError("a layer that is not requantized")
    multipliers, offset = integers
    live = np.arange(op.out_features) if op.outputs is None else op.outputs.astype(np.int64)
    packed += [multipliers, offset, live]

    def requantize(sums: list[I64], bad: Mask) -> F32:
        y = np.empty((len(bad), op.out_features), dtype=np.float32)
        total = np.empty((len(bad), op.out_features), dtype=np.int64)
        total[:] = offset
        for multiplier, found in zip(multipliers, sums, strict=True):
            _add_products(found, multiplier, live, total)
        _give_codes(total, to.shift, (1 << to.bits) - 1, live, bad, y)
        return y

    return requantize


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_codes(x, low, inverse, last, features, q, block, total):
    n_in, n_out, rows = x.shape[1], total.shape[1], q.shape[1]
    shared = features.shape[0] == 1
    part = np.empty(n_out, dtype=np.int32)
    for n in range(x.shape[0]):
        for start in range(0, n_in, block):
            part[:] = 0
            for i in range(start, min(start + block, n_in)):
                v = (x[n, i] - low) * inverse
                v = v if v < last else last
                code = np.int64(v) if v > np.float32(0.0) else np.int64(0)
                if x[n, i] != x[n, i]:  # that row becomes NaN
                    code = np.int64(0)
                weights = features[0 if shared else i, code]
                for t in range(rows):
                    w = np.int32(weights[t])
                    if w != 0:
                        from_q = q[i, t]
                        for o in range(n_out):
                            part[o] += np.int32(w * np.int32(from_q[o]))
            for o in range(n_out):
                total[n, o] += part[o]


@njit(nogil=True, cache=True, error_model="numpy")
def _add_scaled(x, total, scale, sums):
    for n in range(x.shape[0]):
        for i in range(x.shape[1]):
            if x[n, i] != x[n, i]:
                sums[n, :] = np.float32(np.nan)
                break
        for o in range(sums.shape[1]):
            sums[n, o] += np.float32(total[n, o]) * scale[o]


@njit(nogil=True, cache=True, error_model="numpy")
def _add_products(found, multiplier, live, total):
    for n in range(found.shape[0]):
        for o in range(live.size):
            total[n, live[o]] += found[n, o] * multiplier[o]


@njit(nogil=True, cache=True, error_model="numpy")
def _give_codes(total, shift, top, live, bad, y):
    for n in range(total.shape[0]):
        for o in range(total.shape[1]):
            code = total[n, o] >> shift
            y[n, o] = np.float32(min(max(code, 0), top))
        if bad[n]:
            for o in range(live.size):
                y[n, live[o]] = np.float32(np.nan)
