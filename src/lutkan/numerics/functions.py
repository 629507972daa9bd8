"""Named functions of one variable in float64: base activations, squashings and pykan's symbolic library.

These are the oracle's functions. The artifact's own float32 functions are in `numerics.float32`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["ACTIVATIONS", "FUNCTIONS", "PYKAN_SYMBOLIC", "WAVELETS", "apply"]

F64 = NDArray[np.float64]
_erf = np.frompyfunc(math.erf, 1, 1)


def _sigmoid(x: F64) -> F64:
    return np.where(x >= 0, 1.0 / (1.0 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1.0 + np.exp(-np.abs(x))))


def _silu(x: F64) -> F64:
    # sigmoid is exactly 0 at -inf, where the product would be NaN; the limit is -0.
    return np.where(np.isneginf(x), -0.0, x * _sigmoid(x))


def _gelu(x: F64) -> F64:
    half = 0.5 * (1.0 + np.asarray(_erf(x / math.sqrt(2.0)), dtype=np.float64))
    return np.where(np.isneginf(x), -0.0, x * half)


def _gelu_tanh(x: F64) -> F64:
    inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)
    return np.where(np.isneginf(x), -0.0, 0.5 * x * (1.0 + np.tanh(inner)))


#: Functions that a base branch or a glue activation may name.
ACTIVATIONS: Mapping[str, Callable[[F64], F64]] = {
    "zero": np.zeros_like,
    "identity": lambda x: x,
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": lambda x: np.maximum(x, 0.0),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "sin": np.sin,
    "cos": np.cos,
    "exp": np.exp,
    "softplus": lambda x: np.logaddexp(x, 0.0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0.0)),
}

#: pykan's symbolic library, by the names that its checkpoints use. Where a function is undefined (the logarithm of a
#: negative number, 1/0) the value is NaN or infinite, as in pykan's ordinary forward pass.
PYKAN_SYMBOLIC: Mapping[str, Callable[[F64], F64]] = {
    "0": np.zeros_like,
    "x": lambda x: x,
    "x^2": lambda x: x**2,
    "x^3": lambda x: x**3,
    "x^4": lambda x: x**4,
    "x^5": lambda x: x**5,
    "1/x": lambda x: 1.0 / x,
    "1/x^2": lambda x: 1.0 / x**2,
    "1/x^3": lambda x: 1.0 / x**3,
    "1/x^4": lambda x: 1.0 / x**4,
    "1/x^5": lambda x: 1.0 / x**5,
    "sqrt": np.sqrt,
    "x^0.5": np.sqrt,
    "x^1.5": lambda x: np.sqrt(x) ** 3,
    "1/sqrt(x)": lambda x: 1.0 / np.sqrt(x),
    "1/x^0.5": lambda x: 1.0 / np.sqrt(x),
    "exp": np.exp,
    "log": np.log,
    "abs": np.abs,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "tanh": np.tanh,
    "sgn": np.sign,
    "arcsin": np.arcsin,
    "arccos": np.arccos,
    "arctan": np.arctan,
    "arctanh": np.arctanh,
    "gaussian": lambda x: np.exp(-(x**2)),
}


def _mexican_hat(x: F64) -> F64:
    # The sign is that of the KAN libraries: the hat points down.
    return 2.0 / (math.sqrt(3.0) * math.pi**0.25) * (x * x - 1.0) * np.exp(-0.5 * x * x)


def _meyer(x: F64) -> F64:
    v = np.minimum(np.abs(x), 1.0)
    t = np.maximum(2.0 * v - 1.0, 0.0)
    fade = np.cos(0.5 * math.pi * t**4 * (35.0 - 84.0 * t + 70.0 * t**2 - 20.0 * t**3))
    return np.where(v == 1.0, 0.0, np.sin(math.pi * v) * fade)


def _far_is_zero(wavelet: Callable[[F64], F64]) -> Callable[[F64], F64]:
    # exp(-x^2 / 2) is exactly 0 from |x| = 39 on; without the clip an infinite x would give inf * 0.
    return lambda x: wavelet(np.clip(x, -1e3, 1e3))


#: Mother wavelets of Wav-KAN (arXiv 2405.12832) as the KAN libraries compute them; "shannon" without its window.
WAVELETS: Mapping[str, Callable[[F64], F64]] = {
    "mexican_hat": _far_is_zero(_mexican_hat),
    "morlet": _far_is_zero(lambda x: np.exp(-0.5 * x * x) * np.cos(5.0 * x)),
    "dog": _far_is_zero(lambda x: -x * np.exp(-0.5 * x * x)),
    "meyer": _meyer,
    "shannon": lambda x: np.where(np.isinf(x), 0.0, np.sinc(x / math.pi)),
}

#: Every named function, by the name that checkpoints use.
FUNCTIONS: dict[str, Callable[[F64], F64]] = {**ACTIVATIONS, **PYKAN_SYMBOLIC, **WAVELETS}


def apply(name: str, x: F64) -> F64:
    """Apply the function called `name` elementwise.

    Parameters
    ----------
    name : str
        A key of `FUNCTIONS`.
    x : float64 array

    Examples
    --------
    >>> apply("relu", np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    with np.errstate(all="ignore"):
        return np.asarray(FUNCTIONS[name](x), dtype=np.float64)
