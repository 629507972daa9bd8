"""The functions of `lutkan.numerics.float32` for use inside Numba kernels, equal to them bit for bit.

Scalar functions take and return float32; the row functions work on one row of a batch. Everything is forced inline and
compiled without fast-math, so LLVM neither reorders nor fuses an operation. Numba gives float64 for int * float32 and
for any float literal, hence the casts and the float32 constants.

This module imports numba; import it only from a runtime that needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numba import njit

from lutkan.numerics.float32 import (
    ACTIVATIONS,
    EXP_HIGH,
    EXP_LOW,
    EXP_POLYNOMIAL,
    EXPONENT_SHIFT,
    GELU_CUT,
    GELU_DENOMINATOR,
    GELU_FAR,
    GELU_NUMERATOR,
    HALF,
    INFINITY,
    LANES,
    LN2_HIGH,
    LN2_LOW,
    LOG2E,
    ONE,
    ROUNDER,
    SIGN_BIT,
    SILU_FLOOR,
    TANH_POLYNOMIAL,
    TANH_SPLIT,
    TWO,
    UPPER_HALF,
    ZERO,
)

__all__ = [
    "KIND_IDS",
    "activate",
    "exp",
    "gelu",
    "layer_norm_row",
    "linear_row",
    "prelu",
    "relu",
    "sigmoid",
    "silu",
    "tanh",
]

#: The integer by which `activate` knows an activation.
KIND_IDS: Mapping[str, int] = MappingProxyType({name: kind for kind, name in enumerate(ACTIVATIONS)})

_SILU, _GELU, _RELU, _TANH, _SIGMOID, _IDENTITY = (
    KIND_IDS[name] for name in ("silu", "gelu", "relu", "tanh", "sigmoid", "identity")
)
_MINUS_HALF = -HALF
_MINUS_FAR = -GELU_FAR
_NAN = np.float32(np.nan)

# error_model="numpy": a division by zero gives inf instead of a check that would stop LLVM from vectorising.
_inline = njit(error_model="numpy", forceinline=True)


@_inline
def _bits(x):
    return np.float32(x).view(np.uint32)


@_inline
def _float(bits):
    return np.uint32(bits).view(np.float32)


@_inline
def _absolute(x):
    return _float(_bits(x) & ~SIGN_BIT)


@_inline
def exp(x):
    """Compute e**x; see `lutkan.numerics.float32.exp`."""
    c0, c1, c2, c3, c4 = EXP_POLYNOMIAL
    clamped = x if x >= EXP_LOW else EXP_LOW
    clamped = clamped if clamped <= EXP_HIGH else EXP_HIGH
    shifted = clamped * LOG2E + ROUNDER
    k = shifted - ROUNDER
    r = clamped - k * LN2_HIGH
    r = r - k * LN2_LOW
    q = (((c4 * r + c3) * r + c2) * r + c1) * r + c0
    p = ONE + (r + (r * r) * q)
    y = _float(_bits(p) + np.uint32(_bits(shifted) << EXPONENT_SHIFT))
    y = ZERO if x < EXP_LOW else y
    y = INFINITY if x > EXP_HIGH else y
    return x if x != x else y


@_inline
def tanh(x):
    """Compute the hyperbolic tangent; see `lutkan.numerics.float32.tanh`."""
    c0, c1, c2, c3, c4 = TANH_POLYNOMIAL
    a = _absolute(x)
    z = a * a
    near = a + (a * z) * ((((c4 * z + c3) * z + c2) * z + c1) * z + c0)
    far = ONE - TWO / (exp(a + a) + ONE)
    y = near if a < TANH_SPLIT else far
    return _float(_bits(y) | (_bits(x) & SIGN_BIT))


@_inline
def sigmoid(x):
    """Compute 1 / (1 + e**-x); see `lutkan.numerics.float32.sigmoid`."""
    e = exp(-_absolute(x))
    return (e if x < ZERO else ONE) / (ONE + e)


@_inline
def silu(x):
    """Compute x * sigmoid(x); see `lutkan.numerics.float32.silu`."""
    e = exp(-_absolute(x))
    bounded = SILU_FLOOR if x < SILU_FLOOR else x
    return (bounded * (e if x < ZERO else ONE)) / (ONE + e)


@_inline
def gelu(x):
    """Compute x * Phi(x), the exact (erf) form; see `lutkan.numerics.float32.gelu`."""
    n0, n1, n2, n3, n4 = GELU_NUMERATOR
    d0, d1, d2, d3, d4, d5 = GELU_DENOMINATOR
    a = _absolute(x)
    a = a if a < GELU_CUT else GELU_FAR
    square = a * a
    upper = _float(_bits(a) & UPPER_HALF)
    lost = (upper * upper - square) + (a - upper) * (a + upper)
    e = exp(_MINUS_HALF * square)
    e = e - e * (HALF * lost)
    numerator = (((n4 * a + n3) * a + n2) * a + n1) * a + n0
    denominator = ((((d5 * a + d4) * a + d3) * a + d2) * a + d1) * a + d0
    tail = (e * numerator) / denominator
    share = tail if x < ZERO else ONE - tail
    bounded = _MINUS_FAR if x < _MINUS_FAR else x
    return bounded * share


@_inline
def relu(x):
    """Compute max(x, 0); see `lutkan.numerics.float32.relu`."""
    return ZERO if x <= ZERO else x


@_inline
def prelu(x, slope):
    """Compute slope * x where x < 0, and x elsewhere; see `lutkan.numerics.float32.prelu`."""
    return slope * x if x < ZERO else x


@_inline
def activate(kind_id, x):
    """Apply the activation whose number in `KIND_IDS` is `kind_id`; a number that is not there gives NaN."""
    if kind_id == _IDENTITY:
        return x
    if kind_id == _SILU:
        return silu(x)
    if kind_id == _GELU:
        return gelu(x)
    if kind_id == _RELU:
        return relu(x)
    if kind_id == _TANH:
        return tanh(x)
    if kind_id == _SIGMOID:
        return sigmoid(x)
    return _NAN


@_inline
def _tree(lanes):
    width = LANES
    while width > 1:
        width //= 2
        for lane in range(width):
            lanes[lane] += lanes[lane + width]
    return lanes[0]


@_inline
def _lane_sum(values, centre, squared, lanes):
    """Sum values - centre, or its square, in the lane order of `lutkan.numerics.float32.layer_norm`."""
    lanes[:] = ZERO
    size = values.size
    whole = size - size % LANES
    for start in range(0, whole, LANES):
        for lane in range(LANES):
            term = values[start + lane] - centre
            lanes[lane] += term * term if squared else term
    for lane in range(size - whole):
        term = values[whole + lane] - centre
        lanes[lane] += term * term if squared else term
    return _tree(lanes)


@_inline
def layer_norm_row(x_row, weight, bias, eps, out_row):
    """Normalise one row into `out_row`; see `lutkan.numerics.float32.layer_norm`.

    Parameters
    ----------
    x_row
        float32 array [n], n >= 1.
    weight, bias
        float32 arrays [n], or None.
    eps
        float32.
    out_row
        float32 array [n] that takes the result; may be `x_row` itself.
    """
    lanes = np.empty(LANES, dtype=np.float32)
    count = np.float32(x_row.size)
    mean = _lane_sum(x_row, ZERO, False, lanes) / count  # x - 0 is x, -0 included
    variance = _lane_sum(x_row, mean, True, lanes) / count
    inverse = ONE / np.sqrt(variance + np.float32(eps))
    for i in range(x_row.size):
        y = (x_row[i] - mean) * inverse
        if weight is not None:
            y = y * weight[i]
        if bias is not None:
            y = y + bias[i]
        out_row[i] = y


@_inline
def linear_row(x_row, weight, bias, out_row):
    """Multiply one row by `weight` [in, out] into `out_row`; see `lutkan.numerics.float32.linear`.

    Parameters
    ----------
    x_row
        float32 array [in].
    weight
        float32 array [in, out].
    bias
        float32 array [out], or None.
    out_row
        float32 array [out] that takes the result; must not share memory with `x_row`.
    """
    out_row[:] = ZERO
    for i in range(x_row.size):
        value = x_row[i]
        for o in range(out_row.size):
            out_row[o] += value * weight[i, o]
    if bias is not None:
        for o in range(out_row.size):
            out_row[o] += bias[o]
