"""Cases: arms on one network and batch."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lutkan.errors import InputError
from lutkan.lab.arms import Contender, Skipped
from lutkan.lab.suite import Case, run_case
from lutkan.lab.timing import Plan


class Machine:
    """A clock, and arms that take a given time a row on it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.seen: dict[str, list[int]] = {}

    def plan(self, **options) -> Plan:
        return Plan(rounds=3, blocks=1, block_seconds=0.01, clock=lambda: self.now, **options)

    def contender(self, name, seconds_a_row, *, kind="eager", error=0.0, bytes_a_row=0) -> Contender:
        def prepare(x):
            self.seen.setdefault(name, []).append(len(x))

            def call():
                self.now += seconds_a_row * len(x)
                return (x + np.float32(error)).astype(np.float32)

            return call

        return Contender(name, kind, prepare, lambda x: x.astype(np.float64), 4, 100, bytes_a_row, 50, "isa")


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def rows():
    return np.random.default_rng(0).uniform(-1, 1, size=(300, 2)).astype(np.float32)


def test_times_errors_bytes_and_ratios_stand_side_by_side(machine, rows):
    arms = [machine.contender("a", 1e-4), Skipped("b", "absent"), machine.contender("c", 4e-4, error=1e-5)]
    case = run_case("2-2", 16, arms, rows, machine.plan())
    assert (case.shape, case.batch) == ("2-2", 16)
    assert [arm.name for arm in case.arms] == ["a", "c"]
    assert case.skipped == (Skipped("b", "absent"),)
    assert case["c"].timing.median == pytest.approx(16 * 4e-4)
    assert case["c"].max_error == pytest.approx(1e-5, rel=0.01)
    assert case["a"].max_error == 0
    assert case["a"].spread == pytest.approx(rows[:16].std(), rel=0.1)
    assert case.ratio("c", "a").paired == pytest.approx(4)
    assert "b" not in case
    with pytest.raises(KeyError):
        case["b"]
    found = json.loads(json.dumps(case.to_json()))
    assert found["arms"][0]["memory_bytes"] == 100
    assert found["arms"][0]["file_bytes"] == 50
    assert found["skipped"] == [{"name": "b", "reason": "absent"}]
    assert Case.from_json(found) == case


def test_a_slow_arm_runs_at_a_smaller_batch_and_is_marked(machine, rows):
    case = run_case("2-2", 256, [machine.contender("a", 1e-6), machine.contender("slow", 0.1)], rows, machine.plan())
    assert (case["a"].timing.rows, case["a"].reduced) == (256, False)
    assert (case["slow"].timing.rows, case["slow"].reduced) == (16, True)
    assert case.ratio("slow", "a").paired == pytest.approx(1e5)


def test_memory_reduces_the_batch_too(machine, rows):
    hungry = machine.contender("a", 1e-6, bytes_a_row=1 << 20)
    case = run_case("2-2", 256, [hungry], rows, machine.plan(), call_bytes=40 << 20)
    assert (case["a"].timing.rows, case["a"].reduced) == (32, True)


def test_rows_are_taken_again_where_there_are_too_few(machine, rows):
    run_case("2-2", 100, [machine.contender("a", 1e-6)], rows[:7], machine.plan())
    assert machine.seen["a"][-1] == 100  # timed on all of them
    assert 7 in machine.seen["a"]  # and checked on those that are different


@pytest.mark.parametrize("error", [2e-4, np.nan])
def test_an_arm_that_computes_something_else_is_not_timed(machine, rows, error):
    with pytest.raises(InputError, match=r"arm 'a' on 2-2 is .* from its oracle"):
        run_case("2-2", 4, [machine.contender("a", 1e-6, error=error)], rows, machine.plan())


def test_quantized_arms_may_differ(machine, rows):
    case = run_case("2-2", 4, [machine.contender("a", 1e-6, kind="lutkan", error=0.1)], rows, machine.plan())
    assert case["a"].max_error == pytest.approx(0.1, rel=0.01)
    run_case("2-2", 4, [machine.contender("a", 1e-6, error=0.1)], rows, machine.plan(), tolerances={})
