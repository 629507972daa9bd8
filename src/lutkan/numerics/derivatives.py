"""Bounds on the named functions over an interval: range, largest slope and largest second derivative.

They carry the certified error bounds (docs/explanation/error-bounds.md). Every bound is a closed form of the interval's
ends or a constant that holds everywhere; none is a sampled maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from lutkan.numerics import functions

__all__ = ["derivative_bounds", "range_bounds"]

F64 = NDArray[np.float64]
Bounds = tuple[F64, F64]
_INF = np.inf

# Where an activation that is not monotone turns, and a number below its value there.
_MINIMA = {
    "silu": (-1.2784645427610738, -0.278464542762),
    "gelu": (-0.7517915246935645, -0.169971207480),
    "gelu_tanh": (-0.7524614220, -0.17004080),
    "mish": (-1.1924311957, -0.30884342),
}
_INCREASING = frozenset({"zero", "identity", "relu", "tanh", "sigmoid", "exp", "softplus", "elu", "0", "x", "arctan"})
_MAGNITUDE = {"sin": 1.0, "cos": 1.0}


def range_bounds(name: str, low: F64, high: F64) -> Bounds:
    """Enclose the values of a function on intervals.

    Parameters
    ----------
    name : str
        A key of `lutkan.numerics.functions.FUNCTIONS`.
    low, high : float64 arrays
        Ends of the intervals, low <= high.

    Returns
    -------
    least, greatest : float64 arrays
        Infinite where no finite enclosure is known.

    Examples
    --------
    >>> range_bounds("relu", np.array([-1.0]), np.array([2.0]))
    (array([0.]), array([2.]))
    """
    at_low, at_high = functions.apply(name, low), functions.apply(name, high)
    least, greatest = np.minimum(at_low, at_high), np.maximum(at_low, at_high)
    if name in _INCREASING:
        return least, greatest
    if name in _MINIMA:
        turn, bottom = _MINIMA[name]
        # The turning point is known to 1e-9 only: an interval that ends beside it counts as one that holds it.
        return np.where((low <= turn + 1e-6) & (high >= turn - 1e-6), bottom, least), greatest
    # Any function with a bounded slope stays within half a width times the slope of its ends.
    with np.errstate(invalid="ignore"):
        reach = 0.5 * (high - low) * derivative_bounds(name, low, high)[0]
    reach = np.where(np.isnan(reach), _INF, reach)
    limit = _MAGNITUDE.get(name, _INF)
    return np.maximum(least - reach, -limit), np.minimum(greatest + reach, limit)


def derivative_bounds(name: str, low: F64, high: F64) -> Bounds:
    """Bound |f'| and |f''| of a function on intervals.

    Parameters
    ----------
    name : str
        A key of `lutkan.numerics.functions.FUNCTIONS`.
    low, high : float64 arrays
        Ends of the intervals, low <= high.

    Returns
    -------
    slope, curvature : float64 arrays
        Infinite where the function jumps or has a pole; the curvature is infinite too where the slope jumps.

    Examples
    --------
    >>> derivative_bounds("x^3", np.array([-1.0]), np.array([2.0]))
    (array([12.]), array([12.]))
    """
    low, high = np.broadcast_arrays(np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64))
    with np.errstate(all="ignore"):
        slope, curvature = _RULES[name](low, high)
    zero = np.zeros(low.shape)
    slope, curvature = zero + slope, zero + curvature
    return np.where(np.isnan(slope), _INF, slope), np.where(np.isnan(curvature), _INF, curvature)


Rule = Callable[[F64, F64], tuple[F64 | float, F64 | float]]


def _holds(low: F64, high: F64, point: float) -> NDArray[np.bool_]:
    return (low <= point) & (high >= point)


def _reach(low: F64, high: F64) -> F64:
    return np.maximum(np.abs(low), np.abs(high))


def _distance(low: F64, high: F64) -> F64:
    """Return the smallest |x| on the interval."""
    return np.where(_holds(low, high, 0.0), 0.0, np.minimum(np.abs(low), np.abs(high)))


def _constants(slope: float, curvature: float) -> Rule:
    return lambda low, high: (slope, curvature)


def _corner_at_zero(slope: float) -> Rule:
    return lambda low, high: (slope, np.where((low < 0) & (high > 0), _INF, 0.0))


def _power(n: int) -> Rule:
    return lambda low, high: (n * _reach(low, high) ** (n - 1), n * (n - 1) * _reach(low, high) ** max(n - 2, 0))


def _inverse_power(n: float, factor: float = 1.0) -> Rule:
    """`factor * x^-n`, n > 0, on intervals that keep away from 0."""

    def rule(low: F64, high: F64) -> Bounds:
        r = _distance(low, high)
        return factor * n * r ** -(n + 1), factor * n * (n + 1) * r ** -(n + 2)

    return rule


def _positive_only(rule: Rule) -> Rule:
    def checked(low: F64, high: F64) -> Bounds:
        slope, curvature = rule(low, high)
        return np.where(low > 0, slope, _INF), np.where(low > 0, curvature, _INF)

    return checked


def _sech2(x: F64) -> F64:
    e = np.exp(-2.0 * np.abs(x))
    return 4.0 * e / (1.0 + e) ** 2


def _tanh(low: F64, high: F64) -> Bounds:
    slope = _sech2(_distance(low, high))
    # |tanh''| = 2 sech^2 |tanh| rises to 4 / sqrt(27) at tanh^2 = 1/3 and falls from there.
    ends = [2.0 * _sech2(x) * np.abs(np.tanh(x)) for x in (low, high)]
    turn = np.arctanh(np.sqrt(1.0 / 3.0))
    peak = _holds(low, high, turn) | _holds(low, high, -turn)
    return slope, np.where(peak, 4.0 / np.sqrt(27.0), np.maximum(*ends))


def _sigmoid(low: F64, high: F64) -> Bounds:
    slope, curvature = _tanh(0.5 * low, 0.5 * high)  # sigmoid(x) = (1 + tanh(x / 2)) / 2
    return 0.25 * slope, 0.125 * curvature


def _exp(low: F64, high: F64) -> Bounds:
    return np.exp(high), np.exp(high)


def _power_1_5(low: F64, high: F64) -> tuple[F64, F64]:
    return np.where(low >= 0, 1.5 * np.sqrt(high), _INF), np.where(low > 0, 0.75 / np.sqrt(low), _INF)


def _sign(low: F64, high: F64) -> Bounds:
    jump = np.where(_holds(low, high, 0.0), _INF, 0.0)
    return jump, jump


def _tan(low: F64, high: F64) -> Bounds:
    branch = np.floor(low / np.pi + 0.5) == np.floor(high / np.pi + 0.5)
    t = np.maximum(np.abs(np.tan(low)), np.abs(np.tan(high)))
    slope = np.where(branch, 1.0 + t * t, _INF)
    return slope, 2.0 * t * slope


def _arcsin(low: F64, high: F64) -> Bounds:
    r = _reach(low, high)
    inside = np.where(r < 1.0, 1.0 - r * r, 0.0)
    return inside**-0.5, np.where(r < 1.0, r * inside**-1.5, _INF)


def _arctanh(low: F64, high: F64) -> Bounds:
    r = _reach(low, high)
    inside = np.where(r < 1.0, 1.0 - r * r, 0.0)
    return 1.0 / inside, np.where(r < 1.0, 2.0 * r * inside**-2.0, _INF)


_SQRT = _positive_only(lambda low, high: (0.5 * low**-0.5, 0.25 * low**-1.5))
_INVERSE_SQRT = _positive_only(_inverse_power(0.5))
_RULES: Mapping[str, Rule] = {
    "zero": _constants(0.0, 0.0),
    "identity": _constants(1.0, 0.0),
    "silu": _constants(1.0999, 0.5),
    "gelu": _constants(1.1290, 0.7979),
    "gelu_tanh": _constants(1.1300, 0.8000),
    "relu": _corner_at_zero(1.0),
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "sin": _constants(1.0, 1.0),
    "cos": _constants(1.0, 1.0),
    "exp": _exp,
    "softplus": _constants(1.0, 0.25),
    "elu": _constants(1.0, 1.0),
    "mish": _constants(1.0890, 0.6500),
    "0": _constants(0.0, 0.0),
    "x": _constants(1.0, 0.0),
    **{f"x^{n}": _power(n) for n in (2, 3, 4, 5)},
    "1/x": _inverse_power(1.0),
    **{f"1/x^{n}": _inverse_power(float(n)) for n in (2, 3, 4, 5)},
    "sqrt": _SQRT,
    "x^0.5": _SQRT,
    "x^1.5": _power_1_5,
    "1/sqrt(x)": _INVERSE_SQRT,
    "1/x^0.5": _INVERSE_SQRT,
    "log": _positive_only(lambda low, high: (1.0 / low, low**-2.0)),
    "abs": _corner_at_zero(1.0),
    "sgn": _sign,
    "tan": _tan,
    "arcsin": _arcsin,
    "arccos": _arcsin,
    "arctan": _constants(1.0, 0.6496),
    "arctanh": _arctanh,
    "gaussian": _constants(0.8578, 2.0),
    "mexican_hat": _constants(1.1975, 2.6021),
    # |(e^(-x^2/2) cos 5x)'| <= 0.607 + 5, second derivative <= 1 + 2 * 0.607 * 5 + 25.
    "morlet": _constants(5.61, 32.1),
    "dog": _constants(1.0, 1.3802),
    # sin(pi |x|) has a corner at 0; the fade's slope is at most pi * 35/16, its curvature 6.88^2 + 2 pi * 7.52.
    "meyer": lambda low, high: (10.03, np.where((low < 0) & (high > 0), _INF, 148.0)),
    "shannon": _constants(0.4363, 0.3334),
}
