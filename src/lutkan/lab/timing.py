"""Interleaved timing: all arms in one process, in turns, so that what disturbs the machine disturbs them alike.

A round runs every arm once, in a random order of its own. An arm's time in a round is that of its best block, where a
block is as many calls as fill some milliseconds: the best of a few blocks leaves out interrupts, and the spread over
rounds shows what is left. Ratios are formed round by round before anything is averaged.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lutkan.errors import InputError

__all__ = ["Arm", "Plan", "Ratio", "Timing", "compare", "fit_rows", "time_interleaved"]

Clock = Callable[[], float]


@dataclass(frozen=True, eq=False)
class Arm:
    """One contestant: a call without arguments that works on a fixed batch.

    Attributes
    ----------
    name : str
        Unique within a run.
    call : callable
    rows : int
        Rows a call.
    edges : int
        Edges (or multiplications, for a dense product) a row.
    """

    name: str
    call: Callable[[], object]
    rows: int
    edges: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.edges < 1:
            raise InputError(f"arm {self.name!r}: {self.rows} rows of {self.edges} edges", "at least 1 of each")


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes
    ----------
    rounds : int
        Rounds, each of which runs the arms in a new order.
    blocks : int
        Blocks a round, of which the fastest counts.
    block_seconds : float
        What a block should take; a call that takes longer is a block of its own.
    arm_seconds : float
        What an arm may take in all rounds together. A slow arm takes part in fewer rounds, evenly spread, and in one
        block a round, but in three rounds at least.
    seed : int
        Seed of the orders.
    clock : callable
        Seconds since some moment. `time.perf_counter`; `time.thread_time` on a machine that others use, for arms that
        work in the calling thread alone.

    Examples
    --------
    >>> Plan(rounds=5).blocks
    3
    """

    rounds: int = 15
    blocks: int = 3
    block_seconds: float = 0.01
    arm_seconds: float = 6.0
    seed: int = 0
    clock: Clock = field(default=time.perf_counter, compare=False)

    def __post_init__(self) -> None:
        if self.rounds < 3 or self.blocks < 1 or self.block_seconds <= 0 or self.arm_seconds <= 0:
            raise InputError(
                f"a plan of {self.rounds} rounds of {self.blocks} blocks of {self.block_seconds} s, "
                f"{self.arm_seconds} s an arm",
                "at least 3 rounds and 1 block, and times above 0",
            )


@dataclass(frozen=True)
class Timing:
    """What an arm took.

    Attributes
    ----------
    name : str
    rows, edges : int
        Of the arm.
    calls : int
        Calls a block.
    rounds : tuple of int
        The rounds it took part in, ascending.
    seconds : tuple of float
        Seconds a call in the best block of each of these rounds.

    Examples
    --------
    >>> t = Timing("a", rows=10, edges=100, calls=1, rounds=(0, 1, 2), seconds=(3e-6, 1e-6, 2e-6))
    >>> t.median, t.minimum, round(t.ns_an_edge, 6)
    (2e-06, 1e-06, 2.0)
    """

    name: str
    rows: int
    edges: int
    calls: int
    rounds: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median over the rounds, seconds a call."""
        return float(np.median(self.seconds))

    @property
    def quartiles(self) -> tuple[float, float]:
        """Lower and upper quartile over the rounds, seconds a call."""
        low, high = np.percentile(self.seconds, (25, 75))
        return float(low), float(high)

    @property
    def minimum(self) -> float:
        """Fastest round, seconds a call."""
        return min(self.seconds)

    @property
    def ns_an_edge(self) -> float:
        """Median, in nanoseconds an edge and row."""
        return 1e9 * self.median / (self.rows * self.edges)

    def to_json(self) -> dict[str, object]:
        """Return the figures and the rounds they come from."""
        low, high = self.quartiles
        return {
            "name": self.name,
            "rows": self.rows,
            "edges": self.edges,
            "calls_a_block": self.calls,
            "median_s": self.median,
            "quartile_low_s": low,
            "quartile_high_s": high,
            "minimum_s": self.minimum,
            "ns_an_edge": self.ns_an_edge,
            "rounds": list(self.rounds),
            "seconds": list(self.seconds),
        }


@dataclass(frozen=True)
class Ratio:
    """Time of one arm over that of another, a row.

    Attributes
    ----------
    of, to : str
        Numerator and denominator.
    of_medians : float
        Ratio of the two medians.
    paired : float
        Median of the ratios formed round by round.
    quartiles : (float, float)
    extremes : (float, float)
        Smallest and largest of the ratios formed round by round.
    rounds : int
        Rounds in which both took part.
    """

    of: str
    to: str
    of_medians: float
    paired: float
    quartiles: tuple[float, float]
    extremes: tuple[float, float]
    rounds: int

    def inverse(self) -> Ratio:
        """Return the ratio the other way round."""
        (low, high), (least, most) = self.quartiles, self.extremes
        return Ratio(
            self.to,
            self.of,
            1 / self.of_medians,
            1 / self.paired,
            (1 / high, 1 / low),
            (1 / most, 1 / least),
            self.rounds,
        )

    def to_json(self) -> dict[str, object]:
        """Return the fields as plain values."""
        return {
            "of": self.of,
            "to": self.to,
            "of_medians": self.of_medians,
            "paired_median": self.paired,
            "paired_quartiles": list(self.quartiles),
            "paired_extremes": list(self.extremes),
            "rounds": self.rounds,
        }


def compare(of: Timing, to: Timing) -> Ratio:
    """Compare two arms of one run by their time a row, so that batches of different sizes can be compared.

    Raises
    ------
    InputError
        They have no round in common: they are not of one run.

    Examples
    --------
    >>> a = Timing("a", 1, 1, 1, (0, 1, 2), (2.0, 4.0, 8.0))
    >>> b = Timing("b", 1, 1, 1, (0, 1, 2), (1.0, 2.0, 2.0))
    >>> compare(a, b).paired, compare(a, b).extremes
    (2.0, (2.0, 4.0))
    """
    theirs = dict(zip(to.rounds, to.seconds, strict=True))
    pairs = [(s / of.rows) / (theirs[r] / to.rows) for r, s in zip(of.rounds, of.seconds, strict=True) if r in theirs]
    if not pairs:
        raise InputError(f"{of.name!r} and {to.name!r} have no round in common", "two arms of one run")
    low, middle, high = (float(v) for v in np.percentile(pairs, (25, 50, 75)))
    medians = (of.median / of.rows) / (to.median / to.rows)
    return Ratio(of.name, to.name, medians, middle, (low, high), (min(pairs), max(pairs)), len(pairs))


def fit_rows(
    make: Callable[[int], Callable[[], object]],
    rows: int,
    *,
    bytes_a_row: int = 0,
    seconds: float = 2.0,
    nbytes: int = 4 << 30,
    clock: Clock = time.perf_counter,
) -> int:
    """Find the batch that an arm can be timed at: `rows`, or the largest power of two below it that keeps the limits.

    Batches of 1, 16, 256, ... are tried, and what a larger one takes is concluded from the last, so that no call takes
    much longer than the limit.

    Parameters
    ----------
    make : callable
        Batch -> the arm's call.
    rows : int
        The batch that is asked for.
    bytes_a_row : int
        Memory that a call takes for each row.
    seconds, nbytes : float, int
        Limits of a call.
    clock : callable

    Returns
    -------
    int

    Examples
    --------
    >>> fit_rows(lambda rows: lambda: None, 4096, bytes_a_row=8 << 20)
    512
    """
    largest = _power_below(rows, nbytes / bytes_a_row) if bytes_a_row * rows > nbytes else rows
    tried = 1
    while True:
        tried = min(tried, largest)
        call = make(tried)
        call()
        start = clock()
        call()
        taken = clock() - start
        if tried == largest:
            # A call that exceeds the limit although the smaller one promised otherwise.
            return largest if taken <= seconds or tried == 1 else _power_below(tried, tried * seconds / taken)
        promised = tried * seconds / max(taken, 1e-9)
        if promised < 16 * tried:
            # Larger batches cost less a row as a rule, so this errs on the small side.
            return largest if promised >= largest else _power_below(largest, promised)
        tried *= 16


def _power_below(rows: int, limit: float) -> int:
    """Return the largest power of two that is at most `limit` and below `rows`, at least 1."""
    power = 1
    while 2 * power <= limit and 2 * power < rows:
        power *= 2
    return power


def time_interleaved(
    arms: Sequence[Arm], plan: Plan | None = None, *, on_round: Callable[[int], None] | None = None
) -> tuple[Timing, ...]:
    """Time arms in turns.

    Parameters
    ----------
    arms : sequence of Arm
        Names have to differ. Each call runs twice before anything is timed.
    plan : Plan, optional
    on_round : callable, optional
        Called with the number of rounds done.

    Returns
    -------
    tuple of Timing
        In the order of the arms.

    Raises
    ------
    InputError
        No arms, or two of one name.

    Examples
    --------
    >>> plan = Plan(rounds=3, blocks=1, block_seconds=1e-4)
    >>> [t.name for t in time_interleaved([Arm("sum", lambda: sum(range(9)), 1, 9)], plan)]
    ['sum']
    """
    plan = plan or Plan()
    names = [arm.name for arm in arms]
    if not arms or len(set(names)) < len(names):
        raise InputError(f"arms {names}", "at least one, and no two of one name")
    schedule = [_schedule(arm, plan) for arm in arms]
    taken: list[list[float]] = [[] for _ in arms]
    rng = np.random.default_rng(plan.seed)
    was_collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # a collection would hit one arm and not the others
    try:
        for number in range(plan.rounds):
            for index in rng.permutation(len(arms)):
                calls, blocks, rounds = schedule[index]
                if number in rounds:
                    taken[index].append(_best_block(arms[index].call, calls, blocks, plan.clock))
            if on_round is not None:
                on_round(number + 1)
    finally:
        if was_collecting:
            gc.enable()
    return tuple(
        Timing(arm.name, arm.rows, arm.edges, calls, rounds, tuple(seconds))
        for arm, (calls, _, rounds), seconds in zip(arms, schedule, taken, strict=True)
    )


def _schedule(arm: Arm, plan: Plan) -> tuple[int, int, tuple[int, ...]]:
    """Warm an arm up and return its calls a block, its blocks a round, and the rounds it takes part in."""
    arm.call()
    calls = 1
    while True:
        taken = max(_best_block(arm.call, calls, 1, plan.clock), 1e-9)
        wanted = max(1, round(plan.block_seconds / taken))
        if calls * taken >= 0.2 * plan.block_seconds or wanted <= calls:
            calls = wanted
            break
        calls = min(wanted, 10 * calls)
    block = calls * taken
    if block * plan.blocks * plan.rounds <= plan.arm_seconds:
        return calls, plan.blocks, tuple(range(plan.rounds))
    count = min(plan.rounds, max(3, int(plan.arm_seconds / block)))
    chosen = np.linspace(0, plan.rounds - 1, count).round().astype(int)
    return calls, 1, tuple(int(r) for r in chosen)


def _best_block(call: Callable[[], object], calls: int, blocks: int, clock: Clock) -> float:
    """Return the seconds a call of the fastest block."""
    best = float("inf")
    for _ in range(blocks):
        start = clock()
        for _ in range(calls):
            call()
        best = min(best, clock() - start)
    return best / calls
