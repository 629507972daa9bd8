"""Bounds on the named functions hold on dense samples, and are reached."""

from __future__ import annotations

import numpy as np
import pytest

from lutkan.numerics import functions
from lutkan.numerics.derivatives import derivative_bounds, range_bounds

# Intervals that keep away from poles and corners, on both sides of them.
INTERVALS = [(-6.0, -2.5), (-2.0, -1.1), (-0.9, -0.05), (0.05, 0.9), (1.1, 2.0), (2.5, 6.0), (-0.8, 0.7), (-3.0, 2.0)]
NAMES = sorted(functions.FUNCTIONS)


def samples(name: str, low: float, high: float) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    """Return values, their distance, slopes and second derivatives by differences."""
    x = np.linspace(low, high, 40001)
    h = x[1] - x[0]
    y = functions.apply(name, x)
    with np.errstate(invalid="ignore"):
        return y, h, np.diff(y) / h, np.diff(y, 2) / h**2


@pytest.mark.parametrize("name", NAMES)
def test_bounds_hold(name):
    for low, high in INTERVALS:
        y, h, first, second = samples(name, low, high)
        (slope,), (curvature,) = derivative_bounds(name, np.array([low]), np.array([high]))
        if not np.isfinite(y).all():  # undefined here: no bound may be claimed
            assert slope == np.inf, (name, low, high)
            continue
        noise = 1e-15 * max(1.0, np.abs(y).max())
        assert np.abs(first).max() <= slope + 2 * noise / h, (name, low, high)
        assert np.abs(second).max() <= curvature * (1 + 1e-3) + 4 * noise / h**2, (name, low, high)
        (least,), (greatest,) = range_bounds(name, np.array([low]), np.array([high]))
        assert least - noise <= y.min() and y.max() <= greatest + noise, (name, low, high)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"morlet", "meyer", "zero", "0", "sgn"}))
def test_bounds_are_nearly_reached(name):
    """A bound that is far too large would go unnoticed otherwise."""
    low, high = (0.05, 0.9) if name in ("tan", "arcsin", "arccos", "arctanh") else (0.05, 6.0)
    _, _, first, second = samples(name, low, high)
    if name in ("sin", "cos", "silu", "gelu", "gelu_tanh", "mish", "mexican_hat", "dog", "shannon", "elu", "softplus"):
        low, high = -6.0, 6.0
        _, _, first, second = samples(name, low, high)
    (slope,), (curvature,) = derivative_bounds(name, np.array([low]), np.array([high]))
    assert slope <= 1.02 * np.abs(first).max()
    if name not in ("gaussian", "arctan"):  # constants whose peak lies at or beside 0
        assert curvature <= 1.05 * np.abs(second).max() + 1e-3


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("1/x", -1.0, 1.0),
        ("log", 0.0, 1.0),
        ("tan", 1.0, 2.0),
        ("sgn", -1.0, 1.0),
        ("arcsin", 0.5, 1.0),
        ("sqrt", 0, 1),
    ],
)
def test_poles_and_jumps_have_no_bound(name, low, high):
    slope, _ = derivative_bounds(name, np.array([low]), np.array([high]))
    assert slope[0] == np.inf


@pytest.mark.parametrize("name", ["relu", "abs", "meyer"])
def test_a_corner_has_no_curvature_bound(name):
    _, across = derivative_bounds(name, np.array([-0.5]), np.array([0.5]))
    _, beside = derivative_bounds(name, np.array([0.1]), np.array([0.5]))
    assert across[0] == np.inf and np.isfinite(beside[0])
