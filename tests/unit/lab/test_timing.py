"""Interleaved timing, on a clock that the arms themselves move."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from lutkan.errors import InputError
from lutkan.lab.timing import Arm, Plan, Timing, compare, fit_rows, time_interleaved


class FakeClock:
    """A clock that stands still until somebody lets time pass, and a record of who did."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def __call__(self) -> float:
        return self.now

    def arm(self, name: str, seconds, rows: int = 1, edges: int = 1) -> Arm:
        """Make an arm whose call number n takes `seconds` (a number, or a function of n)."""
        calls = iter(range(10**9))

        def call() -> None:
            self.log.append(name)
            self.now += seconds(next(calls)) if callable(seconds) else seconds

        return Arm(name, call, rows, edges)


@pytest.fixture
def clock():
    return FakeClock()


def plan(clock, **options) -> Plan:
    return Plan(**{"rounds": 5, "blocks": 2, "block_seconds": 0.01, **options}, clock=clock)


def test_a_steady_arm_takes_what_its_call_takes(clock):
    (timing,) = time_interleaved([clock.arm("a", 0.002, rows=10, edges=50)], plan(clock))
    assert timing.calls == 5
    assert timing.rounds == (0, 1, 2, 3, 4)
    assert timing.seconds == pytest.approx([0.002] * 5)
    assert timing.median == pytest.approx(0.002)
    assert timing.minimum == pytest.approx(0.002)
    assert timing.quartiles == pytest.approx((0.002, 0.002))
    assert timing.ns_an_edge == pytest.approx(0.002 * 1e9 / 500)


@pytest.mark.parametrize("seconds", [1e-7, 3e-5, 0.004, 0.01, 0.5])
def test_a_block_takes_about_its_time_whatever_a_call_takes(clock, seconds):
    (timing,) = time_interleaved([clock.arm("a", seconds)], plan(clock, arm_seconds=1e9))
    assert timing.calls == max(1, round(0.01 / seconds))
    assert timing.median == pytest.approx(seconds)


def test_the_best_block_of_a_round_counts(clock):
    # Blocks of one call; after the warm-up (two calls) every second call is disturbed.
    arm = clock.arm("a", lambda n: 0.01 if n % 2 == 0 else 0.03)
    (timing,) = time_interleaved([arm], plan(clock))
    assert timing.calls == 1
    assert timing.seconds == pytest.approx([0.01] * 5)


def test_arms_take_turns_in_orders_that_the_seed_decides(clock):
    names = "abcd"

    def orders(seed: int) -> list[str]:
        clock.log.clear()
        time_interleaved([clock.arm(name, 0.01) for name in names], plan(clock, blocks=1, seed=seed, rounds=6))
        rounds = clock.log[2 * len(names) :]  # a warm-up and a trial of each come first
        return ["".join(rounds[i : i + 4]) for i in range(0, len(rounds), 4)]

    first = orders(1)
    assert len(first) == 6
    assert all(sorted(order) == list(names) for order in first)
    assert len(set(first)) > 1
    assert orders(1) == first
    assert orders(2) != first


def test_a_slow_arm_takes_part_in_fewer_rounds_spread_evenly(clock):
    slow, fast = time_interleaved(
        [clock.arm("slow", 1.0), clock.arm("fast", 0.01)], plan(clock, rounds=9, arm_seconds=5.0)
    )
    assert slow.rounds == (0, 2, 4, 6, 8)
    assert fast.rounds == tuple(range(9))
    assert clock.log.count("slow") == 2 + 5  # one block a round
    ratio = compare(slow, fast)
    assert ratio.rounds == 5
    assert ratio.paired == pytest.approx(100)


def test_the_slowest_arm_still_takes_part_in_three_rounds(clock):
    (timing,) = time_interleaved([clock.arm("a", 100.0)], plan(clock, arm_seconds=5.0))
    assert timing.rounds == (0, 2, 4)


def test_ratios_are_paired_so_that_a_slow_round_hits_both(clock):
    load = np.array([1.0, 1.0, 5.0, 1.0, 2.0])
    a = Timing("a", 1, 1, 1, tuple(range(5)), tuple(3.0 * load))
    b = Timing("b", 1, 1, 1, tuple(range(5)), tuple(1.0 * load))
    ratio = compare(a, b)
    assert (ratio.paired, ratio.of_medians) == pytest.approx((3.0, 3.0))
    assert ratio.extremes == pytest.approx((3.0, 3.0))
    back = ratio.inverse()
    assert (back.of, back.to, back.paired) == ("b", "a", pytest.approx(1 / 3))
    uneven = compare(a, Timing("c", 1, 1, 1, tuple(range(5)), (1.0, 2.0, 1.0, 4.0, 3.0)))
    assert uneven.extremes == pytest.approx((0.75, 15.0))
    assert uneven.quartiles == pytest.approx((1.5, 3.0))
    low, high = uneven.inverse().quartiles
    assert (low, high) == pytest.approx((1 / 3.0, 1 / 1.5))


def test_ratios_compare_times_a_row(clock):
    a = Timing("a", 256, 10, 1, (0, 1, 2), (2.56,) * 3)
    b = Timing("b", 64, 10, 1, (0, 1, 2), (6.4,) * 3)
    assert compare(b, a).paired == pytest.approx(10)
    assert compare(b, a).of_medians == pytest.approx(10)


def test_timings_of_different_runs_do_not_compare():
    a, b = Timing("a", 1, 1, 1, (0,), (1.0,)), Timing("b", 1, 1, 1, (1,), (1.0,))
    with pytest.raises(InputError, match="no round in common"):
        compare(a, b)


def test_json_holds_the_rounds(clock):
    (timing,) = time_interleaved([clock.arm("a", 0.002)], plan(clock))
    found = timing.to_json()
    assert found["seconds"] == list(timing.seconds)
    assert found["rounds"] == [0, 1, 2, 3, 4]
    assert found["median_s"] == timing.median
    ratio = compare(timing, timing).to_json()
    assert ratio["paired_median"] == 1.0


def test_garbage_is_not_collected_while_arms_are_timed(clock):
    seen = []
    arm = Arm("a", lambda: (seen.append(gc.isenabled()), clock.arm("x", 0.01).call()), 1, 1)
    assert gc.isenabled()
    time_interleaved([arm], plan(clock, blocks=1))
    assert seen[2:] == [False] * 5
    assert gc.isenabled()


def test_rounds_are_told(clock):
    told = []
    time_interleaved([clock.arm("a", 0.01)], plan(clock), on_round=told.append)
    assert told == [1, 2, 3, 4, 5]


def test_bad_input(clock):
    with pytest.raises(InputError, match="no two of one name"):
        time_interleaved([clock.arm("a", 1), clock.arm("a", 1)], plan(clock))
    with pytest.raises(InputError, match="at least one"):
        time_interleaved([])
    with pytest.raises(InputError, match="at least 3 rounds"):
        Plan(rounds=2)
    with pytest.raises(InputError, match="0 rows"):
        Arm("a", lambda: None, 0, 1)


class TestFitRows:
    """The batch that an arm can be timed at."""

    @staticmethod
    def fit(clock, seconds_a_row, rows, **limits):
        asked = []

        def make(count):
            asked.append(count)
            return clock.arm("a", 1e-5 + seconds_a_row * count).call

        return fit_rows(make, rows, clock=clock, **limits), asked

    def test_a_fast_arm_keeps_its_batch(self, clock):
        assert self.fit(clock, 1e-6, 4096)[0] == 4096
        assert self.fit(clock, 1e-6, 1000)[0] == 1000
        assert self.fit(clock, 1e-6, 1) == (1, [1])

    def test_a_slow_arm_runs_at_the_largest_power_of_two_that_keeps_the_limit(self, clock):
        rows, asked = self.fit(clock, 0.01, 4096)
        assert rows == 128  # 1.28 s; 256 rows would take 2.56 s
        assert max(asked) <= 128

    def test_a_batch_that_is_slow_only_when_large_is_cut(self, clock):
        asked = []

        def make(count):
            asked.append(count)
            return clock.arm("a", 1e-5 if count < 4096 else 10.0).call

        assert fit_rows(make, 4096, clock=clock) == 512

    def test_one_row_is_always_left(self, clock):
        assert self.fit(clock, 50.0, 4096)[0] == 1

    def test_memory_limits_the_batch_before_anything_is_called(self, clock):
        rows, asked = self.fit(clock, 1e-6, 4096, bytes_a_row=1 << 20, nbytes=100 << 20)
        assert rows == 64
        assert max(asked) == 64
        assert self.fit(clock, 1e-6, 64, bytes_a_row=1 << 20, nbytes=64 << 20)[0] == 64
