"""Mean, standard deviation and confidence interval."""

from __future__ import annotations

import numpy as np
import pytest

from lutkan.errors import InputError
from lutkan.lab.statistics import summarize


def test_the_interval_is_students():
    found = summarize([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.776 * np.sqrt(2.5) / np.sqrt(5)
    assert (found.mean, found.std, found.count) == (3.0, pytest.approx(np.sqrt(2.5)), 5)
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half))


def test_the_interval_holds_the_mean_in_95_of_100_cases():
    rng = np.random.default_rng(0)
    found = [summarize(rng.normal(7.0, 2.0, size=5)) for _ in range(4000)]
    assert 0.94 < np.mean([s.low <= 7.0 <= s.high for s in found]) < 0.96


def test_many_runs_are_normal():
    values = np.random.default_rng(0).normal(size=1000)
    found = summarize(values)
    assert found.high - found.mean == pytest.approx(1.960 * values.std(ddof=1) / np.sqrt(1000))


def test_one_run_has_no_spread():
    found = summarize([2.0])
    assert (found.std, found.low, found.high, found.text()) == (0.0, 2.0, 2.0, "2")


def test_text_has_a_factor():
    assert summarize([0.001, 0.003]).text(1000, 2) == "2 ± 1.4 (-11 to 15)"


def test_nothing_is_refused():
    with pytest.raises(InputError, match="no values"):
        summarize([])
