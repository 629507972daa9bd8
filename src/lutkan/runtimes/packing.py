"""Lay a program out for the native runtime (native/include/lutkan/network.h).

Outputs are padded to 16; coefficient rows are interleaved, so that the taps of an output lie side by side and one load
serves 16 outputs: `[input][segment][group of 4 taps][output][tap]`. A row is stored once for every tap it can be.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact.checks import ACTIVATIONS
from lutkan.artifact.program import (
    ActivationOp,
    AffineOp,
    BaseTable,
    BasisTable,
    CodeTable,
    GlueOp,
    IntegerRows,
    KANOp,
    KnotTable,
    LayerNormOp,
    LinearOp,
    Op,
    ProductOp,
    Program,
    QuantizeOp,
    RadialTable,
    SegmentTable,
    SelectOp,
    SplineTable,
    Table,
)
from lutkan.errors import RuntimeUnavailableError
from lutkan.numerics.fixed_point import pair_sum
from lutkan.runtimes import memory

__all__ = ["needed_bytes", "pack_program", "packed_bytes"]

Array = NDArray[Any]
Packed = dict[str, Any]

_PAD = 16
_OPS = {
    "select": 0,
    "affine": 1,
    "layer_norm": 2,
    "activation": 3,
    "prelu": 4,
    "linear": 5,
    "product": 6,
    "kan": 7,
    "quantize": 8,
}
_TABLES = {"segment": 0, "base": 1, "basis": 2, "knots": 3, "radial": 4, "base_product": 5, "spline": 6, "code": 7}
# A code table of one row: two inputs share a word.
_CODE_PAIRS = 8
_OUTSIDE = {"clip": 0, "zero": 1, "base": 2, "linear": 3}
# int16 sums of so many inputs fit int32: 16 * 4096 * 32767 < 2^31.
_INT16_INPUTS = 16
# Position bits of a table that is one segment: a shift by so much leaves nothing.
_ONE_SEGMENT = 30
# Rows an input up to which a dense product on matrix hardware beats the sparse one.
_DENSE_DEPTH = 24
# Blocks are found by 32-bit offsets in units of 64 bytes.
_MAX_UNITS = 1 << 32
# Segments up to which a float32 guess is off by one at most.
_EVEN_SEGMENTS = 1 << 20

_NO_OP: Packed = {
    "a": None,
    "b": None,
    "indices": None,
    "offsets": None,
    "eps": 0.0,
    "function": -1,
    "live_in": 0,
    "live_out": 0,
    "branches": [],
    "multipliers": None,
    "totals": None,
    "code_shift": 0,
    "top_code": 0,
}
_NO_TABLE: Packed = {
    "segments": 0,
    "samples": 2,
    "closed": 0,
    "nearest": 0,
    "outside": 0,
    "is_unsigned": 0,
    "uniform": 0,
    "shared": 0,
    "scale": None,
    "knots": None,
    "inverse": None,
    "q": None,
    "offset": None,
    "function": -1,
    "base_weight": None,
    "base_scale": None,
    "wide": 0,
    "units": 0,
    "groups": 0,
    "flush": 1,
    "block": 0,
    "packed": None,
    "no_base": None,
    "bytes": None,
    "dense_weights": None,
    "dense": None,
    "dense_tiles": 0,
    "dense_stride": 0,
    "depth": 4,
    "shift": 0,
    "position_bits": 0,
    "positions": 1,
    "low": None,
    "base": None,
    "weights": None,
    "first": None,
    "stride": 0,
    "degree": 0,
    "linear": 0,
    "factor": 0.0,
    "ends": None,
    "fit_rows": 0,
    "fit": None,
    "fold_low": None,
    "fold_high": None,
    "step_inverse": 0.0,
    "half": 0.0,
    "zero": 0,
    "levels": 0,
    "start": None,
}


def pack_program(program: Program) -> list[Packed]:
    """Return the operations as plain mappings of numbers and arrays, which the extension module reads.

    Parameters
    ----------
    program : Program

    Returns
    -------
    list of dict

    Raises
    ------
    RuntimeUnavailableError
        The tables, laid out, take more memory than is free, or one of them more than offsets reach.
    """
    memory.require("this artifact, laid out for the native runtime,", needed_bytes(program))
    with np.errstate(all="ignore"):
        return [_pack_op(step) for step in program.steps]


def needed_bytes(program: Program) -> int:
    """Estimate the bytes that packing a program takes at its peak, from shapes alone: rather too many than too few.

    A table of few outputs grows the most: outputs are padded to 16, and a row is stored once for every tap it can be.
    """
    total = 0
    for step in program.steps:
        if isinstance(step, KANOp):
            total += sum(_table_bytes(branch.table) for branch in step.branches)
        elif isinstance(step, LinearOp):
            total += step.weight.nbytes
    return total


def _table_bytes(table: Table) -> int:
    n_in, n_out = table.shape
    edges = n_in * (n_out + -n_out % _PAD)
    if isinstance(table, SegmentTable):
        metadata = 16 * edges * table.segments + 32 * n_in * (table.segments + 1)
        return edges * table.segments * table.samples + metadata
    if isinstance(table, BaseTable):
        return 8 * edges
    if isinstance(table, SplineTable):
        return 12 * edges * (table.segments + table.degree)
    item = 2 if table.kernel_bits == 16 else 1
    if isinstance(table, CodeTable):
        stored = 2 * (table.rows + -table.rows % 4)  # as many where zeros keep neighbours apart
        window = (
            _code_windows(np.asarray(table.weights), item == 2, pair_sum(table.coefficient_bits))
            if table.zero == 0
            else None
        )
        taken = stored if window is None else (table.rows - window[1] + 1) * window[1]
        once = (3 * stored + 2 * taken + 8) * item + (3 * stored if stored <= 2 * _DENSE_DEPTH else 0)
        return edges * once + 32 * math.prod(table.unfolded_shape) * item + 64 * n_in
    if not isinstance(table, (BasisTable, KnotTable, RadialTable)):
        return edges * (12 * item + 8)
    stored = table.rows + (-table.rows % 4 if table.rows <= _DENSE_DEPTH else 0)
    once = (2 * stored + 3 * table.segments + table.taps) * item + (3 * stored if stored <= _DENSE_DEPTH else 0)
    knots = 8 * n_in * (table.rows + 9) if isinstance(table, KnotTable) else 0
    if isinstance(table, BasisTable):
        dense = 64 * table.segments if item == 1 and table.rows <= 8 else 0
        weights = (16 + dense) << table.position_bits
    else:
        weights = 8 * table.positions * table.taps if isinstance(table, RadialTable) else 0
    return edges * (once + table.segments * table.taps * item + 16) + knots + weights


def packed_bytes(ops: list[Packed]) -> int:
    """Count the bytes of all arrays in packed operations."""
    total = 0
    for op in ops:
        for value in op.values():
            if isinstance(value, np.ndarray):
                total += value.nbytes
            elif isinstance(value, dict):
                total += packed_bytes([value])
            elif isinstance(value, list):
                total += packed_bytes(value)
    return total


def _pack_op(step: Op | GlueOp) -> Packed:
    n_in, n_out = step.shape
    base = {**_NO_OP, "kind": _OPS[step.op], "n_in": n_in, "n_out": n_out}
    if isinstance(step, SelectOp):
        return {**base, "indices": _copy(step.indices)}
    if isinstance(step, AffineOp):
        return {**base, "a": _copy(step.scale), "b": _copy(step.bias)}
    if isinstance(step, LayerNormOp):
        return {**base, "a": _copy(step.weight), "b": _copy(step.bias), "eps": step.eps}
    if isinstance(step, ActivationOp):
        if step.slope is not None:
            return {**base, "kind": _OPS["prelu"], "a": _copy(step.slope)}
        return {**base, "function": ACTIVATIONS.index(step.function)}
    if isinstance(step, LinearOp):
        return {**base, "a": _copy(step.weight), "b": _copy(step.bias)}
    if isinstance(step, ProductOp):
        return {**base, "indices": _copy(step.indices), "offsets": _copy(step.offsets)}
    if isinstance(step, QuantizeOp):
        numbers = [*step.position, (1 << step.bits) - 1, step.step, step.low]
        return {**base, "a": np.array(numbers, dtype=np.float32)}
    live_in, live_out = step.branches[0].table.shape
    branches = [{"pre": [_pack_op(glue) for glue in b.pre], "table": _pack_table(b.table)} for b in step.branches]
    return {
        **base,
        "a": _copy(step.bias),
        "indices": _copy(step.inputs),
        "offsets": _copy(step.outputs),
        "live_in": live_in,
        "live_out": live_out,
        "branches": branches,
        **_pack_requantize(step),
    }


def _pack_requantize(op: KANOp) -> Packed:
    if op.requantize is None or op.requantizing is None:
        return {}
    multipliers, offset = op.requantizing
    top = (1 << op.requantize.bits) - 1
    return {
        "a": np.clip(offset >> op.requantize.shift, 0, top).astype(np.float32),
        "multipliers": _pad(multipliers.astype(np.int32)),
        "totals": _pad(offset if op.outputs is None else offset[op.outputs]),
        "code_shift": op.requantize.shift,
        "top_code": top,
    }


def _copy(array: Array | None) -> Array | None:
    """Return an aligned copy that does not depend on the artifact's bytes."""
    return None if array is None else np.array(array, order="C")


def _pad(array: Array) -> Array:
    """Pad the last axis (outputs) with zeros."""
    more = -array.shape[-1] % _PAD
    return np.ascontiguousarray(np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, more)]))


def _each(array: Array, count: int) -> Array:
    """Repeat what all inputs share."""
    return np.array(np.broadcast_to(array, (count, *array.shape[1:])), order="C")


def _pack_table(table: Table) -> Packed:
    n_in, n_out = table.shape
    base = {**_NO_TABLE, "kind": _TABLES[table.op], "inputs": n_in, "pad": n_out + -n_out % _PAD}
    if isinstance(table, SegmentTable):
        return {**base, **_pack_segments(table)}
    if isinstance(table, BaseTable):
        return {**base, "function": ACTIVATIONS.index(table.function), "base_weight": _pad(table.weight)}
    if isinstance(table, CodeTable):
        return {**base, **(_pack_code_pairs(table) if _is_paired(table) else _pack_code_rows(table))}
    if isinstance(table, IntegerRows):
        return {**base, **_pack_rows(table)}
    if isinstance(table, SplineTable):
        return {**base, **_pack_spline(table)}
    return {**base, **_pack_codes(table)}


def _pack_segments(table: SegmentTable) -> Packed:
    n_in = table.shape[0]
    knots = _each(table.knots, n_in)
    factor = np.float32(1.0) if table.edge_scale is None else table.edge_scale[:, None, :]
    mean = (knots[:, -1] - knots[:, 0]) / np.float32(table.segments)
    inverse = np.float32(1.0) / mean
    uniform = table.segments <= _EVEN_SEGMENTS and bool((np.isfinite(inverse) & (mean > 0)).all())
    if uniform:
        even = knots[:, :1] + np.arange(table.segments + 1) * mean[:, None].astype(np.float64)
        uniform = bool((np.abs(knots - even) <= 0.4 * mean[:, None]).all())
    return {
        "segments": table.segments,
        "samples": table.samples,
        "closed": int(table.boundary == "closed"),
        "nearest": int(table.interpolation == "nearest"),
        "outside": _OUTSIDE[table.outside],
        "is_unsigned": int(table.offset is not None),
        "uniform": int(uniform),
        "shared": int(bool((knots == knots[:1]).all())),
        "knots": knots,
        "inverse": inverse,
        "q": _pad(table.q),
        "scale": _pad(table.scale * factor),
        "offset": None if table.offset is None else _pad(table.offset * factor),
        "function": -1 if table.base is None else ACTIVATIONS.index(table.base),
        "base_weight": None if table.base_weight is None else _pad(table.base_weight),
    }


def _interleave(rows: Array, segments: int, taps: int) -> Array:
    """Return `[in][segment][group][out][4]` (int8) or `[in][segment][group][pair][out][2]` (int16).

    `rows` is [in, segments - 1 + taps, out]: segment `s` takes the rows `s .. s + taps - 1`.
    """
    n_in, _, n_out = rows.shape
    span = 4 if rows.dtype == np.int8 else 2
    packed = _new_aligned((n_in, segments, taps // span, n_out, span), rows.dtype)
    for tap in range(taps):
        packed[:, :, tap // span, :, tap % span] = rows[:, tap : tap + segments]
    return packed


def _new_aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array whose memory starts on a cache line."""
    nbytes = math.prod(shape) * dtype.itemsize
    raw = np.empty(nbytes + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes].view(dtype).reshape(shape)


def _aligned(array: Array) -> Array:
    """Copy to memory that starts on a cache line."""
    target = _new_aligned(array.shape, array.dtype)
    target[...] = array
    return target


def _pack_dense(rows: Array) -> Packed:
    """Lay rows [in, depth, out] out as tiles of 64 rows by 16 outputs for a dense product."""
    n_in, depth, n_out = rows.shape
    depth += -depth % 4
    width = n_in * depth
    tiles = -(-width // 64)
    flat = np.zeros((n_in, depth, n_out), dtype=np.int8)
    flat[:, : rows.shape[1]] = rows
    whole = np.zeros((tiles * 64, n_out), dtype=np.int8)
    whole[:width] = flat.reshape(width, n_out)
    dense = whole.reshape(tiles, 16, 4, n_out // 16, 16).transpose(3, 0, 1, 4, 2)
    stride = tiles * 64
    # Rows a multiple of 1 KB apart would share a few sets of the cache.
    return {
        "dense": _aligned(dense),
        "dense_tiles": tiles,
        "dense_stride": stride + 64 if stride % 1024 == 0 else stride,
        "depth": depth,
        "no_base": np.zeros(n_in, dtype=np.uint32),
    }


def _row_bytes(table: BasisTable | RadialTable) -> Array:
    """Return the eight bytes that an input takes in a dense row, a word a position."""
    weights = np.asarray(table.weights)
    if isinstance(table, RadialTable):
        return np.ascontiguousarray(weights).view(np.uint64).reshape(-1)
    count = len(weights)
    spread = np.zeros((table.segments, count, 8 + 2 * table.shift + table.segments + 8), dtype=np.uint8)
    for segment in range(table.segments):
        spread[segment, :, segment : segment + 4] = weights
    return np.ascontiguousarray(spread[:, :, table.shift : table.shift + 8]).view(np.uint64).reshape(-1)


def _before(low: Array, positions: int, inverse: Array) -> Array:
    """Return float32 bounds a little below `low + positions / inverse`, whatever is lost to rounding in between.

    They are finite, so that infinity lies beyond, and so does `x` where `x - low` overflows.
    """
    start, largest = low.astype(np.float64), float(np.finfo(np.float32).max)
    width = np.minimum(positions / inverse.astype(np.float64), largest)
    end = np.minimum(start + width, largest)
    slack = 1e-6 * width + 4 * np.spacing(np.maximum(np.abs(end), np.abs(start)).astype(np.float32))
    return np.maximum(end - slack, -largest).astype(np.float32)


def _words(weights: Array) -> Array:
    """Return weight rows as little-endian words: four uint8 or two int16 each."""
    return np.ascontiguousarray(weights).view(np.uint32)


def _pack_rows(table: IntegerRows) -> Packed:
    n_in = table.shape[0]
    wide = table.kernel_bits == 16
    if not isinstance(table, (BasisTable, KnotTable, RadialTable)):
        raise TypeError(type(table).__name__)
    taps, segments, shift = table.taps, table.segments, table.shift
    rows = _pad(np.asarray(table.coefficients))
    stacked = np.zeros((n_in, segments - 1 + taps, rows.shape[2]), dtype=rows.dtype)
    kept = min(table.rows, stacked.shape[1] - shift)
    stacked[:, shift : shift + kept] = rows[:, :kept]
    nbytes = n_in * segments * taps * rows.shape[2] * rows.itemsize
    if nbytes > 64 * _MAX_UNITS:
        raise RuntimeUnavailableError(
            f"a table of {nbytes:,} bytes, laid out", f"at most {64 * _MAX_UNITS:,} bytes", "use smaller tables"
        )
    packed = _interleave(stacked, segments, taps)
    body: Packed = {
        "segments": segments,
        "wide": int(wide),
        "units": n_in,
        "groups": taps // 4,
        "flush": _INT16_INPUTS,
        "block": packed[0, 0].nbytes // 64,
        "packed": packed,
        "scale": _pad(table.scale),
    }
    body["base"] = np.arange(n_in, dtype=np.uint32) * np.uint32(segments * body["block"])
    if not wide and table.rows <= _DENSE_DEPTH:
        body |= {**_pack_dense(rows), "shift": shift}
        if isinstance(table, (BasisTable, RadialTable)) and body["depth"] == 8:
            body["bytes"] = _row_bytes(table)
    if isinstance(table, KnotTable):
        knots = _each(table.padded_knots, n_in)
        return {**body, "degree": table.degree, "knots": knots}
    body["low"], body["inverse"] = _each(table.low, n_in), _each(table.inverse, n_in)
    body["weights"] = _words(table.weights)
    if isinstance(table, RadialTable):
        return {**body, "position_bits": _ONE_SEGMENT, "positions": table.positions}
    body |= {"position_bits": table.position_bits, "positions": segments << table.position_bits}
    if table.outside == "linear":
        apart, factor = table.slope
        left, right = (rows[:, at].astype(np.float32) for at in ([0, apart], [-1 - apart, -1]))
        body |= {
            "linear": 1,
            "factor": factor,
            "fold_low": body["low"],
            "fold_high": _before(body["low"], body["positions"], body["inverse"]),
            "ends": np.stack([left[:, 1] - left[:, 0], right[:, 1] - right[:, 0]]),
        }
    if table.base is not None:
        fit = np.zeros((n_in, stacked.shape[1]), dtype=np.float32)
        fit[:, shift : shift + kept] = table.base_rows[:, :kept]  # type: ignore[index]
        body |= {
            "function": ACTIVATIONS.index(table.base),
            "fit": fit,
            "fit_rows": fit.shape[1],
            "fold_low": _each(table.fold_low, n_in),  # type: ignore[arg-type]
            "fold_high": _each(table.fold_high, n_in),  # type: ignore[arg-type]
            "base_weight": _pad(table.base_q.astype(np.float32)),  # type: ignore[union-attr]
            "base_scale": _pad(table.base_scale),  # type: ignore[arg-type]
        }
    return body


def _is_paired(table: CodeTable) -> bool:
    return table.rows == 1 and table.kernel_bits == 8


def _code_positions(table: CodeTable) -> Packed:
    """Return how inputs become codes, and whether every input has weights of its own."""
    n_in, levels = table.in_features, 1 << table.bits
    low, inverse = (np.full(n_in, value, dtype=np.float32) for value in table.position)
    own = len(table.weights) > 1
    return {"low": low, "inverse": inverse, "positions": levels, "stride": levels if own else 0}


def _pack_code_pairs(table: CodeTable) -> Packed:
    """Lay one feature an input out, two inputs a word: a byte with zeros behind it, or two digits of a fine feature."""
    n_in, digit = table.in_features, table.digit
    q = _pad(np.asarray(table.coefficients)[:, 0])
    digits = 1 if digit == 1 else 2  # rows that an input takes where nothing keeps them apart
    each = np.zeros((n_in + n_in % 2, 2, q.shape[1]), dtype=np.int8)
    each[:n_in, 0] = q * np.int8(digit)
    if digits == 2:
        each[:n_in, 1] = q
    units = len(each) // 2
    packed = _interleave(each.reshape(units, 4, -1), 1, 4)
    block = packed[0, 0].nbytes // 64
    taken = each[:n_in, :digits].reshape(n_in * digits, -1)
    together = np.zeros((-(-len(taken) // 4), 4, q.shape[1]), dtype=np.int8)
    together.reshape(-1, q.shape[1])[: len(taken)] = taken
    weights = table.weights.reshape(-1).astype(np.uint32)
    return {
        **_code_positions(table),
        **_pack_dense(together),
        "kind": _CODE_PAIRS,
        "no_base": np.zeros(n_in, dtype=np.uint32),
        "depth": digits,
        "segments": 1,
        "units": units,
        "groups": 1,
        "block": block,
        "packed": packed,
        "base": np.arange(units, dtype=np.uint32) * np.uint32(block),
        "weights": weights if digits == 1 else weights // np.uint32(digit) | weights % np.uint32(digit) << np.uint32(8),
        "scale": _pad(table.scale),
        "start": _code_start(table, q[:, None]),
    }


def _pack_code_rows(table: CodeTable) -> Packed:
    """Lay several features an input out; those that are zero at a code are skipped where that saves a group of four."""
    n_in, wide = table.in_features, table.kernel_bits == 16
    weights, rows = np.asarray(table.weights), _pad(np.asarray(table.coefficients))
    start = _code_start(table, rows)
    pair = pair_sum(table.coefficient_bits)
    window = _code_windows(weights, wide, pair) if table.zero == 0 else None
    if window is None and not wide and _largest_pair(weights) > pair:  # zeros keep neighbours apart
        weights = _spread_apart(weights, 2)
        rows = _spread_apart(rows, 1)
    count = rows.shape[1]
    if window is None:
        taps, segments, first = count + -count % 4, 1, None
        seen = np.pad(weights, ((0, 0), (0, 0), (0, taps - count)))
    else:
        first, taps = window
        segments = count - taps + 1
        seen = np.take_along_axis(weights, first[..., None] + np.arange(taps), axis=2)
    stacked = np.pad(rows, ((0, 0), (0, segments - 1 + taps - count), (0, 0)))
    nbytes = n_in * segments * taps * rows.shape[2] * rows.itemsize
    if nbytes > 64 * _MAX_UNITS:
        raise RuntimeUnavailableError(
            f"a table of {nbytes:,} bytes, laid out", f"at most {64 * _MAX_UNITS:,} bytes", "use smaller tables"
        )
    packed = _interleave(stacked, segments, taps)
    block = packed[0, 0].nbytes // 64
    body: Packed = {
        **_code_positions(table),
        "segments": segments,
        "wide": int(wide),
        "units": n_in,
        "groups": taps // 4,
        "flush": _INT16_INPUTS,
        "block": block,
        "packed": packed,
        "scale": _pad(table.scale),
        "base": np.arange(n_in, dtype=np.uint32) * np.uint32(segments * block),
        "weights": _words(seen).reshape(-1),
        "first": None if first is None else first.reshape(-1).astype(np.uint32),
        "start": start,
    }
    if not wide and count <= _DENSE_DEPTH:
        body |= _pack_dense(rows)
        if body["depth"] == 8 and len(weights) == 1:
            whole = np.pad(weights[0], ((0, 0), (0, 8 - count)))
            body["bytes"] = np.ascontiguousarray(whole).view(np.uint64).reshape(-1)
        else:
            body["dense_weights"] = _words(np.pad(weights, ((0, 0), (0, 0), (0, -count % 4)))).reshape(-1)
    return body


def _spread_apart(array: Array, axis: int) -> Array:
    """Put a row of zeros behind every row along an axis."""
    shape = list(array.shape)
    shape[axis] *= 2
    return np.ascontiguousarray(np.stack([array, np.zeros_like(array)], axis=axis + 1).reshape(shape))


def _code_start(table: CodeTable, rows: Array) -> Array | None:
    """Return where sums start, so that features count from their zero."""
    return None if table.zero == 0 else -table.zero * rows.sum(axis=(0, 1), dtype=np.int64)


def _code_windows(weights: Array, wide: bool, pair: int) -> tuple[Array, int] | None:
    """Find the rows that are not zero at each code: the first one [in or 1, codes], and a multiple of 4 that holds all.

    None where that is no less than all rows, or where two neighbours sum to too much.
    """
    count = weights.shape[2]
    used = weights != 0
    some = used.any(axis=2)
    first = np.where(some, used.argmax(axis=2), 0)
    last = np.where(some, count - 1 - used[:, :, ::-1].argmax(axis=2), 0)
    taps = int((last - first).max()) + 1
    taps += -taps % 4
    if taps >= count:
        return None
    first = np.minimum(first, count - taps)
    seen = np.take_along_axis(weights, first[..., None] + np.arange(taps), axis=2)
    return None if not wide and _largest_pair(seen) > pair else (first, taps)


def _largest_pair(weights: Array) -> int:
    """Return what two neighbouring weights, 0 and 1, 2 and 3 and so on, sum to at most."""
    even = np.pad(weights, ((0, 0), (0, 0), (0, weights.shape[2] % 2))).astype(np.int64)
    return int((even[..., ::2] + even[..., 1::2]).max(initial=0))


def _pack_spline(table: SplineTable) -> Packed:
    n_in = table.shape[0]
    rows = _pad(table.rows)
    body: Packed = {
        "segments": table.segments,
        "degree": table.degree,
        "low": _each(table.low, n_in),
        "inverse": _each(table.inverse, n_in),
        "q": _aligned(np.pad(rows, ((0, 0), (table.shift, table.shift), (0, 0)))),
    }
    if table.outside == "linear":
        apart, factor = table.slope
        ends = np.stack([rows[:, apart] - rows[:, 0], rows[:, -1] - rows[:, -1 - apart]])
        body |= {"linear": 1, "ends": ends * np.float32(factor)}
    return body


def _pack_codes(table: Any) -> Packed:
    n_in = table.shape[0]
    q = _pad(np.asarray(table.coefficients))
    wide = table.kernel_bits == 16
    units = -(-n_in // 4)
    rows = np.zeros((units, 4, q.shape[1]), dtype=q.dtype)
    rows.reshape(-1, q.shape[1])[:n_in] = q
    packed = _interleave(rows, 1, 4)
    step = np.float32(table.step)
    scale = _pad(table.scale)
    block = packed[0, 0].nbytes // 64
    dense = {} if wide else _pack_dense(rows)
    return {
        **dense,
        "base": np.arange(units, dtype=np.uint32) * np.uint32(block),
        "segments": 1,
        "wide": int(wide),
        "units": units,
        "groups": 1,
        "flush": _INT16_INPUTS // 4,
        "block": block,
        "packed": packed,
        "scale": scale * step,
        "function": ACTIVATIONS.index(table.function),
        "base_weight": q.astype(np.float32),
        "base_scale": scale,
        "step_inverse": float(np.float32(1.0) / step),
        "half": table.zero + 0.5,
        "zero": table.zero,
        "levels": table.levels,
        "start": -table.zero * q.sum(axis=0, dtype=np.int64),
    }
