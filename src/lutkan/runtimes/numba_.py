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


def _prepare_table(table: Table, packed: list[NDArray[Any]]) -> Adder:
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

    def add(x: F32, sums: F32) -> None:
        _add_segments(x, knots, inverse, q, scale, offset, samples, closed, nearest, outside, kind, weight, sums)

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
    for n in range(x.shape[0]):
        if _row_has_nan(x[n]):
            sums[n, :] = np.float32(np.nan)
            continue
        row = sums[n]
        for i in range(x.shape[1]):
            value = numba_functions.activate(kind, x[n, i])
            for o in range(row.size):
                row[o] += weight[i, o] * value


@njit(nogil=True, cache=True, error_model="numpy")
def _add_segments(x, knots, inverse, q, scale, offset, samples, closed, nearest, outside, kind, weight, sums):
    zero, half, one = np.float32(0.0), np.float32(0.5), np.float32(1.0)
    last = np.float32(samples - 1)
    segments = knots.shape[1] - 1
    end = np.float32(segments - 1)
    for n in range(x.shape[0]):
        if _row_has_nan(x[n]):
            sums[n, :] = np.float32(np.nan)
            continue
        row = sums[n]
        for i in range(x.shape[1]):
            point = x[n, i]
            low, high = knots[i, 0], knots[i, segments]
            inside = point >= low and (point <= high if closed else point < high)
            if not inside:
                if outside == 1:
                    continue
                if outside == 2:
                    value = numba_functions.activate(kind, point)
                    for o in range(row.size):
                        row[o] += weight[i, o] * value
                    continue
                if outside == 0:
                    if point >= high:
                        point = high if closed else _below(high)
                    if point < low:
                        point = low
            # A guess that takes the knots for even, then steps by comparison: the same segment as counting the knots.
            guess = (point - low) * inverse[i]
            k = np.int64(max(min(guess, end), zero)) if guess == guess else 0
            while k > 0 and point < knots[i, k]:
                k -= 1
            while k + 1 < segments and point >= knots[i, k + 1]:
                k += 1
            left = knots[i, k]
            width = knots[i, k + 1] - left
            u = (point - left) / width if width > zero else zero
            if outside != 3:
                u = max(min(u, one), zero)
            position = u * last
            sample = max(min(np.floor(position), last - one), zero)
            w = position - sample
            start = k * samples + np.int64(sample)
            stop = start + 1
            if outside == 3 and not inside:
                w, start, stop = u, k * samples, (k + 1) * samples - 1
            q0, q1, s = q[i, start], q[i, stop], scale[i, k]
            if nearest:
                code = q0 if w < half else q1
                if offset.size == 0:
                    for o in range(row.size):
                        row[o] += s[o] * np.float32(code[o])
                else:
                    m = offset[i, k]
                    for o in range(row.size):
                        row[o] += m[o] + s[o] * np.float32(code[o])
            elif offset.size == 0:
                for o in range(row.size):
                    a = np.float32(q0[o])
                    row[o] += s[o] * (a + w * (np.float32(q1[o]) - a))
            else:
                m = offset[i, k]
                for o in range(row.size):
                    a = np.float32(q0[o])
                    row[o] += m[o] + s[o] * (a + w * (np.float32(q1[o]) - a))


@njit(cache=True, error_model="numpy")
def _below(x):
    """Return the next float32 towards minus infinity."""
    return np.nextafter(x, np.float32(-np.inf))
