"""Elementary functions and sums as fixed sequences of float32 operations: the same bits on every target.

The ``expf`` of numpy, of the C library and of a compiler's vector library differ in the last bit. What an artifact
means must not depend on which of them runs, so every function here is a sequence of IEEE binary32 operations
(+, -, *, /, sqrt, compare, select, and integer operations on the bits), each rounded to nearest-even by itself: no
fused multiply-add, no wider intermediate, no platform function, no look-up. ``docs/spec/float32.md`` is the normative
text and holds a C listing; ``tools/fit_float32.py`` derives the constants.

Largest error against float64, in ulp of the float32 result: `exp` 1.0, `tanh` 1.3, `sigmoid` 2.4, `silu` 3.3, and
5e-7 relative for `gelu`. Results of `exp` below the smallest normal number are flushed to +0, so that a subnormal
number matters only where the input or half of it is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lutkan.errors import InputError

__all__ = [
    "ACTIVATIONS",
    "exp",
    "gelu",
    "layer_norm",
    "linear",
    "prelu",
    "relu",
    "sigmoid",
    "silu",
    "tanh",
]

F32 = NDArray[np.float32]

ZERO = np.float32(0)
HALF = np.float32(0.5)
ONE = np.float32(1)
TWO = np.float32(2)
INFINITY = np.float32(np.inf)

# Fitted or derived by tools/fit_float32.py, which prints these lines. Polynomials ascend.
LOG2E = np.float32(1.44269502)  # 0x1.715476p+0
LN2_HIGH = np.float32(0.693145752)  # 0x1.62e4p-1
LN2_LOW = np.float32(1.42860677e-06)  # 0x1.7f7d1cp-20
EXP_LOW = np.float32(-87.3365402)  # -0x1.5d589ep+6
EXP_HIGH = np.float32(88.7228317)  # 0x1.62e42ep+6
EXP_POLYNOMIAL = (
    np.float32(0.49999994),  # 0x1.fffffcp-2
    np.float32(0.166665211),  # 0x1.555492p-3
    np.float32(0.041668389),  # 0x1.5558f2p-5
    np.float32(0.00836873334),  # 0x1.123a06p-7
    np.float32(0.00138146093),  # 0x1.6a2446p-10
)
TANH_POLYNOMIAL = (
    np.float32(-0.333332807),  # -0x1.555532p-2
    np.float32(0.133314058),  # 0x1.1106f6p-3
    np.float32(-0.0537365153),  # -0x1.b835a4p-5
    np.float32(0.0206281673),  # 0x1.51f8cep-6
    np.float32(-0.0056922962),  # -0x1.750ce2p-8
)
GELU_NUMERATOR = (
    np.float32(0.5),  # 0x1p-1
    np.float32(0.43105641),  # 0x1.b966dap-2
    np.float32(0.177892119),  # 0x1.6c52b4p-3
    np.float32(0.0388363078),  # 0x1.3e25a4p-5
    np.float32(0.00385028124),  # 0x1.f8aap-9
)
GELU_DENOMINATOR = (
    np.float32(1),  # 0x1p+0
    np.float32(1.65999758),  # 0x1.a8f59ap+0
    np.float32(1.18026793),  # 0x1.2e260ap+0
    np.float32(0.455366343),  # 0x1.d24b8ep-2
    np.float32(0.0973573402),  # 0x1.8ec692p-4
    np.float32(0.00965103414),  # 0x1.3c3ebep-7
)

# Chosen, not fitted.
ROUNDER = np.float32(1.5 * 2**23)  # adding it leaves the nearest integer in the low bits of the significand
TANH_SPLIT = np.float32(0.625)
SILU_FLOOR = np.float32(-128)  # exp of it is 0, and the product with 0 is still -0
GELU_CUT = np.float32(11.75)  # the tail counts as 0 from here on: beyond, `e * (HALF * lost)` would turn subnormal
GELU_FAR = np.float32(16)  # exp(-GELU_FAR**2 / 2) is 0
EXPONENT_SHIFT = np.uint32(23)
SIGN_BIT = np.uint32(0x80000000)
UPPER_HALF = np.uint32(0xFFFFF000)  # keeps 12 of the 24 bits of a significand, so that the square is exact
LANES = 16

_BLOCK = 16384  # elements whose temporaries stay in the L2 cache
_ROW_BLOCK = 512


def _horner(coefficients: tuple[np.float32, ...], x: F32) -> F32:
    total = coefficients[-1] * x + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        total = total * x + coefficient
    return total


def _exp(x: F32) -> F32:
    clamped = np.where(x >= EXP_LOW, x, EXP_LOW)  # NaN becomes EXP_LOW too: no undefined integer below
    clamped = np.where(clamped <= EXP_HIGH, clamped, EXP_HIGH)
    shifted = clamped * LOG2E + ROUNDER
    k = shifted - ROUNDER
    r = clamped - k * LN2_HIGH  # exact
    r = r - k * LN2_LOW
    p = ONE + (r + (r * r) * _horner(EXP_POLYNOMIAL, r))
    # The low bits of `shifted` are k in two's complement; its other bits leave the word.
    y = (p.view(np.uint32) + (shifted.view(np.uint32) << EXPONENT_SHIFT)).view(np.float32)
    y = np.where(x < EXP_LOW, ZERO, y)
    y = np.where(x > EXP_HIGH, INFINITY, y)
    return np.where(x != x, x, y)


def _tanh(x: F32) -> F32:
    a = np.abs(x)
    z = a * a
    near = a + (a * z) * _horner(TANH_POLYNOMIAL, z)
    far = ONE - TWO / (_exp(a + a) + ONE)
    y = np.where(a < TANH_SPLIT, near, far)
    return (y.view(np.uint32) | (x.view(np.uint32) & SIGN_BIT)).view(np.float32)


def _sigmoid(x: F32) -> F32:
    e = _exp(-np.abs(x))
    return np.where(x < ZERO, e, ONE) / (ONE + e)


def _silu(x: F32) -> F32:
    e = _exp(-np.abs(x))
    bounded = np.where(x < SILU_FLOOR, SILU_FLOOR, x)  # -inf times 0 would be NaN
    return (bounded * np.where(x < ZERO, e, ONE)) / (ONE + e)


def _gelu(x: F32) -> F32:
    a = np.abs(x)
    a = np.where(a < GELU_CUT, a, GELU_FAR)
    square = a * a
    upper = (a.view(np.uint32) & UPPER_HALF).view(np.float32)
    lost = (upper * upper - square) + (a - upper) * (a + upper)  # what rounding took from a * a
    e = _exp(-HALF * square)
    e = e - e * (HALF * lost)
    tail = (e * _horner(GELU_NUMERATOR, a)) / _horner(GELU_DENOMINATOR, a)
    share = np.where(x < ZERO, tail, ONE - tail)
    bounded = np.where(x < -GELU_FAR, -GELU_FAR, x)
    return bounded * share


def _relu(x: F32) -> F32:
    return np.where(x <= ZERO, ZERO, x)


def _blockwise(function: Callable[[F32], F32], x: ArrayLike) -> F32:
    with np.errstate(all="ignore"):
        values = np.asarray(x, dtype=np.float32)
        flat = values.reshape(-1)
        result = np.empty(flat.size, dtype=np.float32)
        for start in range(0, flat.size, _BLOCK):
            result[start : start + _BLOCK] = function(flat[start : start + _BLOCK])
    return result.reshape(values.shape)


def exp(x: ArrayLike) -> F32:
    """Compute e**x in a fixed order of float32 operations.

    Parameters
    ----------
    x
        float32 array of any shape (other real types are converted to float32).

    Returns
    -------
    float32 array of the shape of `x`. Below ``EXP_LOW`` (about -87.3365, where the result leaves the normal numbers)
    the result is +0, above ``EXP_HIGH`` (about 88.7228) inf; NaN gives NaN.

    Examples
    --------
    >>> exp([0.0, 1.0, -88.0, 89.0]).tolist()
    [1.0, 2.7182817459106445, 0.0, inf]
    """
    return _blockwise(_exp, x)


def tanh(x: ArrayLike) -> F32:
    """Compute the hyperbolic tangent in a fixed order of float32 operations.

    Odd to the last bit, -0 included; +-inf give +-1 and NaN gives NaN. Takes and returns what `exp` does.

    Examples
    --------
    >>> tanh([-0.0, 0.5, -20.0]).tolist()
    [-0.0, 0.46211716532707214, -1.0]
    """
    return _blockwise(_tanh, x)


def sigmoid(x: ArrayLike) -> F32:
    """Compute 1 / (1 + e**-x) in a fixed order of float32 operations.

    Below ``EXP_LOW`` the result is +0; NaN gives NaN. Takes and returns what `exp` does.

    Examples
    --------
    >>> sigmoid([0.0, 2.0, -100.0]).tolist()
    [0.5, 0.8807970285415649, 0.0]
    """
    return _blockwise(_sigmoid, x)


def silu(x: ArrayLike) -> F32:
    """Compute x * sigmoid(x) in a fixed order of float32 operations.

    Below ``EXP_LOW`` and at -inf the result is -0, at +inf it is inf; NaN gives NaN. Takes and returns what `exp` does.

    Examples
    --------
    >>> silu([1.0, -100.0, float("-inf")]).tolist()
    [0.7310585975646973, -0.0, -0.0]
    """
    return _blockwise(_silu, x)


def gelu(x: ArrayLike) -> F32:
    """Compute x * Phi(x), the exact (erf) form of GELU, in a fixed order of float32 operations.

    From -11.75 down to -inf the result is -0, at +inf it is inf; NaN gives NaN. Takes and returns what `exp` does.
    Phi(-a) is exp(-a**2 / 2) times a ratio of polynomials, so small values keep their relative accuracy.

    Examples
    --------
    >>> gelu([1.0, -1.0, -20.0]).tolist()
    [0.8413447141647339, -0.15865527093410492, -0.0]
    """
    return _blockwise(_gelu, x)


def relu(x: ArrayLike) -> F32:
    """Compute max(x, 0), where -0 gives +0 and NaN gives NaN. Takes and returns what `exp` does.

    Examples
    --------
    >>> relu([-1.5, -0.0, 2.0]).tolist()
    [0.0, 0.0, 2.0]
    """
    return _blockwise(_relu, x)


def prelu(x: ArrayLike, slope: ArrayLike) -> F32:
    """Compute slope * x where x < 0, and x elsewhere.

    Parameters
    ----------
    x
        float32 array of any shape.
    slope
        float32 scalar, or an array that broadcasts against `x`.

    Returns
    -------
    float32 array of the broadcast shape; -0 gives -0 and NaN gives NaN.

    Raises
    ------
    InputError
        When the shapes do not broadcast.

    Examples
    --------
    >>> prelu([-2.0, 3.0], 0.25).tolist()
    [-0.5, 3.0]
    """
    with np.errstate(all="ignore"):
        values, slopes = np.asarray(x, dtype=np.float32), np.asarray(slope, dtype=np.float32)
        try:
            np.broadcast_shapes(values.shape, slopes.shape)
        except ValueError:
            raise InputError(
                f"prelu: x has shape {values.shape} and slope has shape {slopes.shape}",
                "a slope that broadcasts against x",
                "pass one slope, or one a column",
            ) from None
        return np.where(values < ZERO, slopes * values, values)


def identity(x: ArrayLike) -> F32:
    """Return x itself, as float32.

    Examples
    --------
    >>> identity([1.0, 2.0]).tolist()
    [1.0, 2.0]
    """
    return np.asarray(x, dtype=np.float32)


def _lane_sum(values: F32) -> F32:
    """Sum the rows of [N, n]: 16 lanes in ascending order from +0, then a tree over the lanes."""
    lanes = np.zeros((values.shape[0], LANES), dtype=np.float32)
    for start in range(0, values.shape[1], LANES):
        part = values[:, start : start + LANES]
        lanes[:, : part.shape[1]] += part
    width = LANES
    while width > 1:
        width //= 2
        lanes = lanes[:, :width] + lanes[:, width:]
    return lanes


def _require_matrix(where: str, x: F32) -> None:
    if x.ndim != 2 or x.shape[1] == 0:
        raise InputError(f"{where}: x has shape {x.shape}", "shape [N, n] with n >= 1", "pass one row a sample")


def _vector(where: str, name: str, value: ArrayLike | None, size: int) -> F32 | None:
    if value is None:
        return None
    vector = np.asarray(value, dtype=np.float32)
    if vector.shape != (size,):
        raise InputError(f"{where}: {name} has shape {vector.shape}", f"shape ({size},)", f"pass one {name} a column")
    return vector


def layer_norm(x: ArrayLike, weight: ArrayLike | None, bias: ArrayLike | None, eps: float) -> F32:
    """Normalise each row to mean 0 and variance 1 with a fixed order of float32 sums.

    Parameters
    ----------
    x
        float32 array [N, n], n >= 1.
    weight, bias
        float32 arrays [n] applied after the normalisation; None skips the operation.
    eps
        Added to the variance, as float32.

    Returns
    -------
    float32 array [N, n]. A row that holds NaN or +-inf becomes NaN.

    Raises
    ------
    InputError
        When a shape is not as above.

    Examples
    --------
    >>> layer_norm([[1.0, 3.0]], None, [0.0, 1.0], 0.0).tolist()
    [[-1.0, 2.0]]
    """
    with np.errstate(all="ignore"):
        values = np.asarray(x, dtype=np.float32)
        _require_matrix("layer_norm", values)
        scale = _vector("layer_norm", "weight", weight, values.shape[1])
        shift = _vector("layer_norm", "bias", bias, values.shape[1])
        count = np.float32(values.shape[1])
        centred: F32 = values - np.divide(_lane_sum(values), count)
        variance: F32 = np.divide(_lane_sum(centred * centred), count)
        result = centred * (ONE / np.sqrt(variance + np.float32(eps)))
        if scale is not None:
            result = result * scale
        if shift is not None:
            result = result + shift
        return result


def linear(x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None) -> F32:
    """Multiply rows by a weight matrix, adding the products in the order of the inputs.

    Parameters
    ----------
    x
        float32 array [N, in], in >= 1.
    weight
        float32 array [in, out].
    bias
        float32 array [out], added last; None skips it.

    Returns
    -------
    float32 array [N, out]. Each output starts at +0 and adds ``x[i] * weight[i]`` for i ascending, every product and
    every sum rounded to float32.

    Raises
    ------
    InputError
        When a shape is not as above.

    Examples
    --------
    >>> linear([[1.0, 2.0]], [[10.0], [100.0]], [0.5]).tolist()
    [[210.5]]
    """
    with np.errstate(all="ignore"):
        values, matrix = np.asarray(x, dtype=np.float32), np.asarray(weight, dtype=np.float32)
        _require_matrix("linear", values)
        if matrix.ndim != 2 or matrix.shape[0] != values.shape[1]:
            raise InputError(
                f"linear: weight has shape {matrix.shape} and x has shape {values.shape}",
                f"a weight of shape [{values.shape[1]}, out]",
                "pass the weight as [in, out], which is the transpose of torch.nn.Linear's",
            )
        shift = _vector("linear", "bias", bias, matrix.shape[1])
        result = np.zeros((values.shape[0], matrix.shape[1]), dtype=np.float32)
        for start in range(0, values.shape[0], _ROW_BLOCK):
            rows, total = values[start : start + _ROW_BLOCK], result[start : start + _ROW_BLOCK]
            product = np.empty_like(total)
            for i in range(values.shape[1]):
                np.multiply(rows[:, i, None], matrix[i], out=product)
                np.add(total, product, out=total)
        return result if shift is None else result + shift


#: The activations that an artifact may name.
ACTIVATIONS: Mapping[str, Callable[[ArrayLike], F32]] = MappingProxyType(
    {"identity": identity, "silu": silu, "gelu": gelu, "relu": relu, "tanh": tanh, "sigmoid": sigmoid}
)
