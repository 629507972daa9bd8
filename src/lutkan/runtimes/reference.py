"""The reference runtime: numpy, one obvious line an operation. It is the normative meaning of an artifact.

docs/spec/semantics.md says the same in words and formulas. Every float operation is a float32 operation, rounded to
nearest even, in the order written here; other runtimes and exports have to give the same bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact.program import (
    ActivationOp,
    AffineOp,
    BaseTable,
    KANOp,
    LayerNormOp,
    LinearOp,
    Op,
    ProductOp,
    Program,
    SegmentTable,
    SelectOp,
)
from lutkan.numerics import float32

__all__ = ["locate", "run", "run_kan", "run_step", "segment_edges"]

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
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
        return float32.layer_norm(x, step.weight, step.bias, np.float32(step.eps))
    if isinstance(step, ActivationOp):
        return _activate(step, x)
    if isinstance(step, LinearOp):
        return float32.linear(x, step.weight, step.bias)
    return _product(step, x)


def _activate(step: ActivationOp, x: F32) -> F32:
    if step.slope is not None:
        return float32.prelu(x, step.slope)
    return float32.ACTIVATIONS[step.function](x)


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
    for branch in op.branches:
        seen = x
        for step in branch.pre:
            seen = run_step(step, seen)
        if op.inputs is not None:
            seen = seen[:, op.inputs]
        if isinstance(branch.table, BaseTable):
            _add_base(branch.table, seen, sums)
        else:
            _add_segments(branch.table, seen, sums)
        sums[np.isnan(seen).any(axis=1)] = np.nan
    if op.outputs is None:
        return sums if op.bias is None else sums + op.bias
    y = np.tile(op.bias, (len(x), 1))
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
        Weight of the right sample.
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
    k = np.full(x.shape, -1, dtype=np.int64)
    for knot in knots.T:
        k += point >= knot
    k = np.clip(k, 0, table.segments - 1)
    rows = np.arange(n_in)
    left, width = knots[rows, k], knots[rows, k + 1] - knots[rows, k]
    u = np.where(width > _ZERO, (point - left) / width, _ZERO)
    if table.outside != "linear":
        u = np.maximum(np.minimum(u, _ONE), _ZERO)
    position = u * last
    sample = np.maximum(np.minimum(np.floor(position), last - _ONE), _ZERO)
    w = position - sample
    r = np.where(np.isnan(sample), _ZERO, sample).astype(np.int64)
    return k, r, w, inside


def segment_edges(table: SegmentTable, x: F32, i: int, k: I64, r: I64, w: F32, inside: NDArray[np.bool_]) -> F32:
    """Evaluate the edges of input `i`: column `i` of what `locate` found -> float32 [N, out]."""
    row = k * table.samples + r
    q0 = table.q[i, row].astype(np.float32)
    q1 = table.q[i, row + 1].astype(np.float32)
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
