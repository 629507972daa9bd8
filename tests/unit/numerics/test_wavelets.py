from __future__ import annotations

import math

import numpy as np
import pytest

from lutkan.numerics.functions import WAVELETS, apply


def test_values_at_known_points():
    assert apply("mexican_hat", np.array([0.0])) == pytest.approx(-2 / (math.sqrt(3) * math.pi**0.25))
    assert apply("mexican_hat", np.array([1.0, -1.0])) == pytest.approx([0.0, 0.0])
    assert apply("morlet", np.array([0.0])) == pytest.approx(1.0)
    assert apply("dog", np.array([1.0])) == pytest.approx(-math.exp(-0.5))
    assert apply("meyer", np.array([0.25, 0.5])) == pytest.approx([math.sin(math.pi / 4), 1.0])
    assert apply("shannon", np.array([0.0, math.pi / 2])) == pytest.approx([1.0, 2 / math.pi])


@pytest.mark.parametrize("name", sorted(WAVELETS))
def test_symmetry(name):
    x = np.linspace(0.01, 5, 300)
    sign = -1.0 if name == "dog" else 1.0
    assert np.allclose(apply(name, -x), sign * apply(name, x), rtol=1e-13)


@pytest.mark.parametrize("name", sorted(WAVELETS))
def test_infinity_is_the_limit_zero_and_nan_stays(name):
    values = apply(name, np.array([np.inf, -np.inf, np.nan]))
    assert np.all(values[:2] == 0.0) and np.isnan(values[2])


def test_meyer_is_zero_from_one_on_and_continuous():
    assert np.all(apply("meyer", np.array([1.0, 1.5, 100.0])) == pytest.approx(0.0, abs=1e-15))
    x = np.linspace(0, 1.2, 20001)
    assert np.abs(np.diff(apply("meyer", x))).max() < 5e-4
