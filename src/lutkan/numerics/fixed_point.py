"""Integer weights of tabulated bases, packed codes, and the bounds that keep integer sums from overflowing."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lutkan.numerics.float32 import ACTIVATIONS

__all__ = [
    "GAUSSIAN_PEAK",
    "MAX_INPUTS_INT8",
    "PAIR_SUM",
    "WEIGHT_SUM",
    "fine_digit",
    "function_features",
    "knot_features",
    "knot_weights",
    "pack_codes",
    "padded_knots",
    "pair_sum",
    "round_to_sum",
    "unpack_codes",
]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
#: What the weights of a partition of unity sum to, by bits of the coefficients' kernel.
WEIGHT_SUM = {8: 255, 16: 4096}
#: `vpmaddubsw` adds two u8 * s8 products into a saturating int16: 258 * 127 = 32766 is the largest sum that fits.
PAIR_SUM = 258
#: Peak of u8 weights of Gaussians spaced by their width: two neighbours then sum to 257 at most.
GAUSSIAN_PEAK = 165
#: int32 sums of `255 * 127` an input are safe up to here.
MAX_INPUTS_INT8 = (2**31 - 1) // (255 * 127)
# Two bytes hold the fine features of narrow codes: `digit * high + low`, with `digit` times a code within +-127.
_FINE = {bits: 127 >> (bits - 1) for bits in (2, 3, 4, 5, 6)}
# Codes that are unpacked at a time, a multiple of 8, which fills whole bytes: a bit takes three bytes meanwhile.
_BLOCK = 1 << 18


def fine_digit(bits: int) -> int:
    """Return the base in which features of narrow codes have two digits of a byte, or 1 where they have one.

    A product of such a feature `w = digit * high + low` with a code `q` is `high * (digit * q) + low * q`: two products
    of a byte and an int8, where `digit * q` stays within +-127.

    Examples
    --------
    >>> [fine_digit(bits) for bits in (2, 4, 6, 8)]
    [63, 15, 3, 1]
    """
    return _FINE.get(bits, 1)


def round_to_sum(weights: F64, total: int) -> NDArray[np.int64]:
    """Round rows to integers that sum to `total`, by the largest remainders.

    Parameters
    ----------
    weights : float64 [n, taps]
        Non-negative rows that sum to 1.
    total : int

    Returns
    -------
    int64 [n, taps]
        A constant is reproduced exactly, whatever the position.

    Examples
    --------
    >>> round_to_sum(np.array([[1 / 6, 4 / 6, 1 / 6, 0.0]]), 255)
    array([[ 43, 170,  42,   0]])
    """
    scaled = weights * total
    floor = np.floor(scaled + 1e-12).astype(np.int64)
    missing = total - floor.sum(axis=1)
    order = np.argsort(-(scaled - floor), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(weights.shape[1]), order.shape).copy(), axis=1)
    return floor + (rank < missing[:, None])


def padded_knots(knots: F32, degree: int) -> F32:
    """Add `degree` knots on both sides, a span apart each: they only feed splines that do not exist.

    Parameters
    ----------
    knots : float32 [n, K + 1]
    degree : int

    Returns
    -------
    float32 [n, K + 1 + 2 degree]
    """
    span = knots[:, -1:] - knots[:, :1]
    span = np.where(span > 0, span, np.float32(1.0))
    more = np.arange(1, degree + 1, dtype=np.float32)
    return np.concatenate([knots[:, :1] - span * more[::-1], knots, knots[:, -1:] + span * more], axis=1)


def knot_weights(knots: F32, degree: int, x: F32, total: int) -> tuple[I64, I64]:
    """Find interval and integer weights of B-splines on knots of any spacing (docs/spec/semantics.md section 5.2).

    The `degree + 1` bases of an interval are evaluated by the triangular scheme in float32; the running sum is rounded.

    Parameters
    ----------
    knots : float32 [n, K + 1]
        Strictly ascending, or all equal: that spline is zero.
    degree : int
        1 to 3.
    x : float32 [N, n]
    total : int
        What the weights of an interval sum to.

    Returns
    -------
    segment : int64 [N, n]
    weights : int64 [N, n, 4]
        Of the splines `segment - degree + t`, those beyond the first and the last one included; 0 beyond the knots.
    """
    inside = (x >= knots[:, 0]) & (x < knots[:, -1])
    columns = [np.searchsorted(knots[i], x[:, i], side="right") - 1 for i in range(len(knots))]
    segment = np.where(inside, np.stack(columns, axis=1), 0)
    padded = padded_knots(knots, degree)
    rows, k = np.arange(len(knots)), segment + degree
    basis = [np.ones(x.shape, dtype=np.float32)]
    with np.errstate(all="ignore"):
        for p in range(1, degree + 1):
            grown, saved = [], np.zeros(x.shape, dtype=np.float32)
            for r in range(p):
                to_right, to_left = padded[rows, k + r + 1] - x, x - padded[rows, k + r + 1 - p]
                part = basis[r] / (to_right + to_left)
                grown.append(saved + to_right * part)
                saved = to_left * part
            basis = [*grown, saved]
        weights = np.zeros((*x.shape, 4), dtype=np.int64)
        running, before = np.zeros(x.shape, dtype=np.float32), np.zeros(x.shape, dtype=np.int64)
        for t in range(degree):
            running = running + basis[t]
            clamped = np.maximum(np.minimum(running * np.float32(total) + np.float32(0.5), np.float32(total)), 0)
            upto = np.maximum(np.where(np.isnan(clamped), 0, clamped).astype(np.int64), before)
            weights[..., t] = upto - before
            before = upto
    weights[..., degree] = total - before
    return segment, weights * inside[..., None]


def knot_features(knots: F32, degree: int, points: F32, total: int) -> I64:
    """Return the integer weights of all B-splines at the points of codes: [n, K + 1] knots -> int64 [n, codes, rows].

    Examples
    --------
    >>> knot_features(np.arange(4, dtype=np.float32)[None], 1, np.array([0.0, 1.25], dtype=np.float32), 255)
    array([[[  0,   0],
            [191,  64]]])
    """
    rows = knots.shape[1] - 1 - degree
    segment, weights = knot_weights(knots, degree, np.broadcast_to(points[:, None], (len(points), len(knots))), total)
    found = np.zeros((len(points), len(knots), rows + 2 * degree), dtype=np.int64)
    np.put_along_axis(found, segment[..., None] + np.arange(degree + 1), weights[..., : degree + 1], axis=2)
    return np.ascontiguousarray(found[:, :, degree : degree + rows].transpose(1, 0, 2))


def pair_sum(bits: int) -> int:
    """Return what two neighbouring uint8 weights may sum to: int16 sums hold as much more as coefficients are narrower.

    Examples
    --------
    >>> [pair_sum(bits) for bits in (2, 4, 7, 8)]
    [16383, 4095, 511, 258]
    """
    return PAIR_SUM if bits >= 8 else (1 << 15) - 1 >> (bits - 1)


def function_features(function: str, points: F32, unit: float, zero: int, top: int) -> I64:
    """Return the integer features of a function at the points of codes (docs/spec/semantics.md section 5.5).

    Parameters
    ----------
    function : str
        A key of `lutkan.numerics.float32.ACTIVATIONS`.
    points : float32 [codes]
    unit : float
        What a feature of 1 stands for; a float32 number.
    zero, top : int
        What stands for 0, and the largest integer.

    Examples
    --------
    >>> function_features("relu", np.array([-1.0, 0.25, 9.0], dtype=np.float32), 0.5, 3, 15)
    array([ 3,  4, 15])
    """
    with np.errstate(over="ignore"):
        v = ACTIVATIONS[function](points) * (np.float32(1.0) / np.float32(unit)) + np.float32(zero + 0.5)
    return np.floor(np.minimum(np.maximum(v, np.float32(0.0)), np.float32(top))).astype(np.int64)


def pack_codes(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Pack signed codes of 2 to 7 bits along the flat order, most significant bit first.

    Parameters
    ----------
    codes : int8 array
        Values within `[-(2^(bits-1)), 2^(bits-1) - 1]`; stored with `2^(bits-1)` added.
    bits : int

    Returns
    -------
    uint8 [ceil(size * bits / 8)]

    Examples
    --------
    >>> pack_codes(np.array([-7, 7, 0], dtype=np.int8), 4)
    array([ 31, 128], dtype=uint8)
    """
    offset = (codes.reshape(-1).astype(np.int16) + (1 << (bits - 1))).astype(np.uint8)
    planes = (offset[:, None] >> np.arange(bits - 1, -1, -1, dtype=np.uint8)) & 1
    return np.packbits(planes.reshape(-1))


def unpack_codes(packed: NDArray[np.uint8], bits: int, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Undo `pack_codes`.

    Examples
    --------
    >>> unpack_codes(np.array([31, 128], dtype=np.uint8), 4, (3,))
    array([-7,  7,  0], dtype=int8)
    """
    size = math.prod(shape)
    codes = np.empty(size, dtype=np.int8)
    weights = 1 << np.arange(bits - 1, -1, -1, dtype=np.int16)
    for start in range(0, size, _BLOCK):
        count = min(_BLOCK, size - start)
        stored = packed[start * bits // 8 : -(-(start + count) * bits // 8)]
        planes = np.unpackbits(stored, count=count * bits).reshape(count, bits)
        codes[start : start + count] = planes @ weights - (1 << (bits - 1))
    return codes.reshape(shape)
