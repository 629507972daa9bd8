"""Integer weights of tabulated bases, packed codes, and the bounds that keep integer sums from overflowing."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "GAUSSIAN_PEAK",
    "MAX_INPUTS_INT8",
    "PAIR_SUM",
    "WEIGHT_SUM",
    "pack_codes",
    "round_to_sum",
    "unpack_codes",
]

F64 = NDArray[np.float64]
#: What the weights of a partition of unity sum to, by bits of the coefficients' kernel.
WEIGHT_SUM = {8: 255, 16: 4096}
#: `vpmaddubsw` adds two u8 * s8 products into a saturating int16: 258 * 127 = 32766 is the largest sum that fits.
PAIR_SUM = 258
#: Peak of u8 weights of Gaussians spaced by their width: two neighbours then sum to 257 at most.
GAUSSIAN_PEAK = 165
#: int32 sums of `255 * 127` an input are safe up to here.
MAX_INPUTS_INT8 = (2**31 - 1) // (255 * 127)
# Codes that are unpacked at a time, a multiple of 8, which fills whole bytes: a bit takes three bytes meanwhile.
_BLOCK = 1 << 18


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
