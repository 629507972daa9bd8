"""Numba kernel of unquantized spline rows; the meaning is that of `runtimes.reference`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lutkan.artifact.spline import SplineTable

__all__ = ["prepare_spline"]

F32 = NDArray[np.float32]


def prepare_spline(table: SplineTable, packed: list[NDArray[Any]]) -> Callable[[F32, F32], None]:
    """Pack a spline table; the adder adds its sums for rows `x` to `sums`."""
    n_in = table.shape[0]
    rows = np.pad(table.rows, ((0, 0), (table.shift, table.shift), (0, 0)))
    low, inverse = (np.array(np.broadcast_to(a, n_in), order="C") for a in (table.low, table.inverse))
    packed += [rows, low, inverse]
    segments, degree, linear = table.segments, table.degree, table.outside == "linear"
    apart, factor = table.slope
    return lambda x, sums: _add(x, low, inverse, segments, degree, rows, linear, apart, np.float32(factor), sums)


@njit(nogil=True, cache=True, error_model="numpy")
def _add(x, low, inverse, segments, degree, rows, linear, apart, factor, sums):
    zero, one = np.float32(0.0), np.float32(1.0)
    end = np.float32(segments)
    weights = np.empty(4, dtype=np.float32)
    for n in range(x.shape[0]):
        finite = True
        for i in range(x.shape[1]):
            finite = finite and x[n, i] == x[n, i]
        if not finite:
            sums[n, :] = np.float32(np.nan)
            continue
        for i in range(x.shape[1]):
            v = max(min((x[n, i] - low[i]) * inverse[i], end), zero)
            s = min(np.int64(v), segments - 1)
            u = v - np.float32(s)
            weights[0] = one
            for p in range(1, degree + 1):
                carried = zero
                for r in range(p):
                    offset = (u + np.float32(p - 1 - r)) / np.float32(p)
                    before = weights[r]
                    weights[r] = carried + (one - offset) * before
                    carried = offset * before
                weights[p] = carried
            for t in range(degree + 1):
                w, row = weights[t], rows[i, s + t]
                for o in range(sums.shape[1]):
                    sums[n, o] += row[o] * w
        if not linear:
            continue
        for i in range(x.shape[1]):
            v = (x[n, i] - low[i]) * inverse[i]
            last = rows.shape[1] - 1
            if v < zero:
                for o in range(sums.shape[1]):
                    sums[n, o] += ((rows[i, apart, o] - rows[i, 0, o]) * factor) * v
            elif v > end:
                for o in range(sums.shape[1]):
                    sums[n, o] += ((rows[i, last, o] - rows[i, last - apart, o]) * factor) * (v - end)
