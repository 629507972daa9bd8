"""Named functions of one variable in float64: base activations, squashings and pykan's symbolic library.

These are the oracle's functions. The artifact's own float32 functions are in `numerics.float32`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["ACTIVATIONS", "FUNCTIONS", "apply"]

F64 = NDArray[np.float64]
_erf = np.frompyfunc(math.erf, 1, 1)


def _sigmoid(x: F64) -> F64:
    return np.where(x >= 0, 1.0 / (1.0 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1.0 + np.exp(-np.abs(x))))


def _silu(x: F64) -> F64:
    # sigmoid is exactly 0 at -inf, where the product would be NaN; the limit is -0.
    return np.where(np.isneginf(x), -0.0, x * _sigmoid(x))


def _gelu(x: F64) -> F64:
    half = 0.5 * (1.0 + _erf(x / math.sqrt(2.0)).astype(np.float64))
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

#: Every named function, by the name that checkpoints use.
FUNCTIONS: dict[str, Callable[[F64], F64]] = dict(ACTIVATIONS)


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
