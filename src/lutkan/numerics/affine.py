"""Affine quantization of table rows to 8 bits, as the LUT-KAN contract fixes it: in float64, stored as float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["quantize_asymmetric", "quantize_symmetric"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def quantize_symmetric(y: F64, low: F64, high: F64) -> tuple[NDArray[np.int8], F32]:
    """Quantize to int8 with `scale = max(|low|, |high|) / 127`; `q = clip(rint(y / scale), -127, 127)`.

    Parameters
    ----------
    y : float64 [..., L, n]
        Samples; the range is taken along the axis of L.
    low, high : float64 [..., 1, n]
        Range of the samples; what lies beyond saturates.

    Returns
    -------
    q : int8, shape of `y`
    scale : float32, shape of `low`
        1 where the range is zero.

    Examples
    --------
    >>> q, scale = quantize_symmetric(*(np.array([[v]]) for v in (0.5, -1.0, 1.0)))
    >>> int(q[0, 0]), float(scale[0, 0])
    (64, 0.007874015718698502)
    """
    scale = np.maximum(np.abs(low), np.abs(high)) / 127.0
    scale = np.where(scale == 0.0, 1.0, scale)
    with np.errstate(over="ignore"):  # beyond a tiny percentile range the quotient may be infinite, and saturates
        q = np.clip(np.rint(y / scale), -127, 127).astype(np.int8)
    return q, scale.astype(np.float32)


def quantize_asymmetric(y: F64, low: F64, high: F64) -> tuple[NDArray[np.uint8], F32, F32]:
    """Quantize to uint8 with `scale = (high - low) / 255`; `q = clip(rint((y - low) / scale), 0, 255)`.

    Parameters
    ----------
    y, low, high
        As in `quantize_symmetric`.

    Returns
    -------
    q : uint8, shape of `y`
    scale : float32, shape of `low`
        1 where the range is zero.
    offset : float32, shape of `low`
        The value of code 0, the contract's `y_min`.
    """
    scale = (high - low) / 255.0
    scale = np.where(scale == 0.0, 1.0, scale)
    with np.errstate(over="ignore"):
        q = np.clip(np.rint((y - low) / scale), 0, 255).astype(np.uint8)
    return q, scale.astype(np.float32), low.astype(np.float32)
