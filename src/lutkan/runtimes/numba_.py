"""The Numba runtime: the same operations as the reference, compiled, with the outputs in the inner loop.

The tables lie as [in][row][out], so one look-up of an input serves all its edges with contiguous reads. Steps between
KAN layers reuse the reference's numpy code, except where a compiled row loop is much faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lutkan.artifact.program import (
    BaseTable,
    CodeTable,
    IntegerRows,
    KANOp,
    LayerNormOp,
    LinearOp,
    Op,
    ProductTable,
    Program,
    SplineTable,
    Table,
)
from lutkan.runtimes import numba_functions, reference
from lutkan.runtimes.numba_basis import prepare_basis, prepare_product
from lutkan.runtimes.numba_code import prepare_code_sums, prepare_codes, prepare_requantize
from lutkan.runtimes.numba_functions import KIND_IDS
from lutkan.runtimes.numba_spline import prepare_spline

__all__ = ["prepare"]

F32 = NDArray[np.float32]
Step = Callable[[F32], F32]
# Adds the table's sums for rows `x` [N, live inputs] to `sums` [N, live outputs].
Adder = Callable[[F32, F32], None]

_OUTSIDE = {"clip": 0, "zero": 1, "base": 2, "linear": 3}
_EMPTY2 = np.zeros((0, 0), dtype=np.float32)
_EMPTY3 = np.zeros((0, 0, 0), dtype=np.float32)


def prepare(program: Program) -> tuple[Callable[[F32], F32], int]:
    """Pack a program for this runtime.

    Returns
    -------
    run : callable
        float32 [N, in] C-contiguous -> float32 [N, out]; thread safe, releases the GIL in the table loops.
    nbytes : int
        Resident bytes of the packed tables.
    """
    packed: list[NDArray[Any]] = []
    steps = [_prepare_step(step, packed) for step in program.steps]

    def run(x: F32) -> F32:
        bad = np.zeros(len(x), dtype=np.bool_)
        _mark_nan(x, bad)
        for step in steps:
            x = step(x)
            _mark_nan(x, bad)
        y = x.copy()
        _fill_bad(y, bad)
        return y

    return run, sum(array.nbytes for array in packed)


def _prepare_step(step: Op, packed: list[NDArray[Any]]) -> Step:
    if isinstance(step, KANOp):
        return _prepare_kan(step, packed)
    if isinstance(step, LayerNormOp):
        norm = _keep(step.weight, packed), _keep(step.bias, packed), np.float32(step.eps)
        return lambda x: _layer_norm(np.ascontiguousarray(x), *norm)
    if isinstance(step, LinearOp):
        dense = _keep(step.weight, packed), _keep(step.bias, packed)
        return lambda x: _linear(np.ascontiguousarray(x), *dense)
    return lambda x: _quiet(step, x)


def _keep(array: NDArray[Any] | None, packed: list[NDArray[Any]]) -> NDArray[Any] | None:
    """Return an aligned, writeable copy, so that a kernel is compiled for one kind of array only."""
    if array is None:
        return None
    packed.append(np.array(array, order="C"))
    return packed[-1]


def _quiet(step: Op, x: F32) -> F32:
    with np.errstate(all="ignore"):
        return reference.run_step(step, x)


def _prepare_kan(op: KANOp, packed: list[NDArray[Any]]) -> Step:
    if op.requantize is not None:
        return _prepare_requantized(op, packed)
    adders = [
        (tuple(_prepare_step(step, packed) for step in branch.pre), _prepare_table(branch.table, packed))
        for branch in op.branches
    ]
    n_out = op.branches[0].table.shape[1]

    def run(x: F32) -> F32:
        sums = np.zeros((len(x), n_out), dtype=np.float32)
        for pre, add in adders:
            seen = x
            for step in pre:
                seen = step(seen)
            add(np.ascontiguousarray(seen if op.inputs is None else seen[:, op.inputs]), sums)
        return reference.add_bias(op, sums)

    return run


def _prepare_requantized(op: KANOp, packed: list[NDArray[Any]]) -> Step:
    branches = [
        (tuple(_prepare_step(step, packed) for step in branch.pre), prepare_code_sums(table, packed))
        for branch, table in zip(op.branches, op.code_tables, strict=True)
    ]
    requantize = prepare_requantize(op, packed)

    def run(x: F32) -> F32:
        sums, bad = [], np.zeros(len(x), dtype=np.bool_)
        for pre, sum_codes in branches:
            seen = x
            for step in pre:
                seen = step(seen)
            seen = np.ascontiguousarray(seen if op.inputs is None else seen[:, op.inputs])
            _mark_nan(seen, bad)
            sums.append(sum_codes(seen))
        return requantize(sums, bad)

    return run


def _prepare_table(table: Table, packed: list[NDArray[Any]]) -> Adder:
    if isinstance(table, CodeTable):
        return prepare_codes(table, packed)
    if isinstance(table, IntegerRows):
        return prepare_basis(table, packed)
    if isinstance(table, SplineTable):
        return prepare_spline(table, packed)
    if isinstance(table, ProductTable):
        return prepare_product(table, packed)
    if isinstance(table, BaseTable):
        function, dense = KIND_IDS[table.function], _keep(table.weight, packed)
        return lambda x, sums: _add_base(x, function, dense, sums)
    knots = _keep(np.broadcast_to(table.knots, (table.shape[0], table.segments + 1)), packed)
    width = knots[:, -1] - knots[:, 0]  # type: ignore[index]
    with np.errstate(over="ignore"):
        inverse = _keep(np.divide(table.segments, width, out=np.zeros_like(width), where=width > 0), packed)
    q = _keep(table.q, packed)
    factor = np.float32(1.0) if table.edge_scale is None else table.edge_scale[:, None, :]
    with np.errstate(over="ignore"):
        scale = _keep(table.scale * factor, packed)
        offset = _EMPTY3 if table.offset is None else _keep(table.offset * factor, packed)
    weight = _EMPTY2 if table.base_weight is None else _keep(table.base_weight, packed)
    kind = 0 if table.base is None else KIND_IDS[table.base]
    closed, nearest = table.boundary == "closed", table.interpolation == "nearest"
    outside, samples = _OUTSIDE[table.outside], table.samples
    kernel = _add_symmetric if table.offset is None else _add_asymmetric

    def add(x: F32, sums: F32) -> None:
        kernel(x, knots, inverse, q, scale, offset, samples, closed, nearest, outside, kind, weight, sums)

    return add


@njit(nogil=True, cache=True, error_model="numpy")
def _mark_nan(x, bad):
    for n in range(x.shape[0]):
        for i in range(x.shape[1]):
            if x[n, i] != x[n, i]:
                bad[n] = True


@njit(nogil=True, cache=True, error_model="numpy")
def _fill_bad(y, bad):
    for n in range(y.shape[0]):
        if bad[n]:
            y[n, :] = np.float32(np.nan)


@njit(nogil=True, cache=True, error_model="numpy")
def _layer_norm(x, weight, bias, eps):
    y = np.empty_like(x)
    for n in range(x.shape[0]):
        numba_functions.layer_norm_row(x[n], weight, bias, eps, y[n])
    return y


@njit(nogil=True, cache=True, error_model="numpy")
def _linear(x, weight, bias):
    y = np.empty((x.shape[0], weight.shape[1]), dtype=np.float32)
    for n in range(x.shape[0]):
        numba_functions.linear_row(x[n], weight, bias, y[n])
    return y


@njit(nogil=True, cache=True, error_model="numpy")
def _row_has_nan(row):
    for i in range(row.size):
        if row[i] != row[i]:
            return True
    return False


@njit(nogil=True, cache=True, error_model="numpy")
def _add_base(x, kind, weight, sums):
    values = np.empty(x.shape[1], dtype=np.float32)
    for n in range(x.shape[0]):
        if _row_has_nan(x[n]):
            sums[n, :] = np.float32(np.nan)
            continue
        row = sums[n]
        for i in range(x.shape[1]):  # a loop of its own, so that it is vectorised
            values[i] = numba_functions.activate(kind, x[n, i])
        for i in range(x.shape[1]):
            value = values[i]
            for o in range(row.size):
                row[o] += weight[i, o] * value


@njit(nogil=True, cache=True, error_model="numpy")
def _locate(x, knots, inverse, samples, closed, nearest, outside, first, second, segment, weight):
    """Find the two samples, the segment and the weight of every input; `segment` is -1 where the table is not asked."""
    zero, one = np.float32(0.0), np.float32(1.0)
    last = np.float32(samples - 1)
    segments = knots.shape[1] - 1
    end = np.float32(segments - 1)
    for i in range(x.size):
        point = x[i]
        low, high = knots[i, 0], knots[i, segments]
        inside = point >= low and (point <= high if closed else point < high)
        if not inside:
            if outside == 1 or outside == 2:
                segment[i] = -1
                continue
            if outside == 0:
                if point >= high:
                    point = high if closed else _below(high)
                if point < low:
                    point = low
        # A guess that takes the knots for even, then steps by comparison: the same segment as counting the knots.
        guess = (point - low) * inverse[i]
        k = 0
        if guess > zero:
            k = np.int64(guess if guess < end else end)
        while k > 0 and point < knots[i, k]:
            k -= 1
        while k + 1 < segments and point >= knots[i, k + 1]:
            k += 1
        left = knots[i, k]
        width = knots[i, k + 1] - left
        u = (point - left) / width if width > zero else zero
        segment[i] = k
        if outside == 3 and not inside:
            first[i], second[i], weight[i] = k * samples, (k + 1) * samples - 1, u
            continue
        u = zero if u < zero else (one if u > one else u)
        position = u * last
        sample = np.int64(position)
        sample = samples - 2 if sample > samples - 2 else sample
        first[i] = k * samples + sample
        second[i] = first[i] + 1
        weight[i] = position - np.float32(sample)
        if nearest:  # one sample, which is its own neighbour
            first[i] += 0 if weight[i] < np.float32(0.5) else 1
            second[i], weight[i] = first[i], zero


@njit(nogil=True, cache=True, error_model="numpy")
def _add_symmetric(x, knots, inverse, q, scale, offset, samples, closed, nearest, outside, kind, base, sums):
    n_in, n_out = x.shape[1], sums.shape[1]
    first, second = np.empty(n_in, dtype=np.int64), np.empty(n_in, dtype=np.int64)
    segment, weight = np.empty(n_in, dtype=np.int64), np.empty(n_in, dtype=np.float32)
    for n in range(x.shape[0]):
        if _row_has_nan(x[n]):
            sums[n, :] = np.float32(np.nan)
            continue
        _locate(x[n], knots, inverse, samples, closed, nearest, outside, first, second, segment, weight)
        row = sums[n]
        for i in range(n_in):
            k, w = segment[i], weight[i]
            if k < 0:
                if outside == 2:
                    _add_beyond(x[n, i], kind, base[i], row)
                continue
            q0, q1, s = q[i, first[i]], q[i, second[i]], scale[i, k]
            for o in range(n_out):
                a = np.float32(q0[o])
                row[o] += s[o] * (a + w * (np.float32(q1[o]) - a))


# The same with an offset. One function for both, or with flags inside, runs at a third of the speed.
@njit(nogil=True, cache=True, error_model="numpy")
def _add_asymmetric(x, knots, inverse, q, scale, offset, samples, closed, nearest, outside, kind, base, sums):
    n_in, n_out = x.shape[1], sums.shape[1]
    first, second = np.empty(n_in, dtype=np.int64), np.empty(n_in, dtype=np.int64)
    segment, weight = np.empty(n_in, dtype=np.int64), np.empty(n_in, dtype=np.float32)
    for n in range(x.shape[0]):
        if _row_has_nan(x[n]):
            sums[n, :] = np.float32(np.nan)
            continue
        _locate(x[n], knots, inverse, samples, closed, nearest, outside, first, second, segment, weight)
        row = sums[n]
        for i in range(n_in):
            k, w = segment[i], weight[i]
            if k < 0:
                if outside == 2:
                    _add_beyond(x[n, i], kind, base[i], row)
                continue
            q0, q1, s, m = q[i, first[i]], q[i, second[i]], scale[i, k], offset[i, k]
            for o in range(n_out):
                a = np.float32(q0[o])
                row[o] += m[o] + s[o] * (a + w * (np.float32(q1[o]) - a))


@njit(nogil=True, cache=True, error_model="numpy")
def _add_beyond(x, kind, base, row):
    value = numba_functions.activate(kind, x)
    for o in range(row.size):
        row[o] += base[o] * value


@njit(cache=True, error_model="numpy")
def _below(x):
    """Return the next float32 towards minus infinity."""
    return np.nextafter(x, np.float32(-np.inf))
