"""A case of a benchmark: contenders on one network and batch, timed in turns, with error and bytes beside the speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import InputError
from lutkan.lab.arms import Contender, Skipped, errors
from lutkan.lab.timing import Arm, Plan, Ratio, Timing, compare, fit_rows, time_interleaved

__all__ = ["TOLERANCES", "Case", "Measured", "run_case"]

F32 = NDArray[np.float32]

#: Largest error of an arm that quantizes nothing, by kind; "lutkan" and "look-up" arms have tables of 8 bits.
TOLERANCES = {"eager": 1e-4, "compiled": 1e-4, "numba": 1e-4, "numpy": 1e-4, "dense": 1e-4}

# Rows on which an arm is compared with its float64 oracle.
_ERROR_ROWS = 256
# Rows of it for arms that are slow or take much memory a row.
_FEW_ROWS = 16


@dataclass(frozen=True)
class Measured:
    """An arm's time, error and bytes.

    Attributes
    ----------
    timing : Timing
    kind : str
        As of the contender.
    max_error, mean_error : float
        |output - float64 oracle| on up to 256 rows.
    spread : float
        Standard deviation of the oracle's outputs on these rows.
    nbytes : int
        Bytes of parameters or tables in memory.
    file_bytes : int or None
    isa : str
    reduced : bool
        Whether the batch is smaller than asked for, because a call would take too long or too much memory.
    """

    timing: Timing
    kind: str
    max_error: float
    mean_error: float
    spread: float
    nbytes: int
    file_bytes: int | None
    isa: str
    reduced: bool

    @property
    def name(self) -> str:
        """Name of the arm."""
        return self.timing.name

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            **self.timing.to_json(),
            "kind": self.kind,
            "isa": self.isa,
            "max_error": self.max_error,
            "mean_error": self.mean_error,
            "output_spread": self.spread,
            "memory_bytes": self.nbytes,
            "file_bytes": self.file_bytes,
            "batch_reduced": self.reduced,
        }


@dataclass(frozen=True)
class Case:
    """All arms of one network and batch.

    Attributes
    ----------
    shape : str
        Widths of the network, "64-64-10".
    batch : int
        Rows that were asked for.
    arms : tuple of Measured
    skipped : tuple of Skipped
    """

    shape: str
    batch: int
    arms: tuple[Measured, ...]
    skipped: tuple[Skipped, ...] = ()

    def __contains__(self, name: str) -> bool:
        return any(arm.name == name for arm in self.arms)

    def __getitem__(self, name: str) -> Measured:
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise KeyError(name)

    def ratio(self, of: str, to: str) -> Ratio:
        """Compare two of its arms by their time a row."""
        return compare(self[of].timing, self[to].timing)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "shape": self.shape,
            "batch": self.batch,
            "arms": [arm.to_json() for arm in self.arms],
            "skipped": [vars(skipped) for skipped in self.skipped],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Case:
        """Read what `to_json` wrote."""
        arms = []
        for arm in data["arms"]:
            rounds, seconds = tuple(arm["rounds"]), tuple(arm["seconds"])
            timing = Timing(arm["name"], arm["rows"], arm["edges"], arm["calls_a_block"], rounds, seconds)
            errors = arm["max_error"], arm["mean_error"], arm["output_spread"]
            sizes = arm["memory_bytes"], arm["file_bytes"]
            arms.append(Measured(timing, arm["kind"], *errors, *sizes, arm["isa"], arm["batch_reduced"]))
        skipped = tuple(Skipped(**entry) for entry in data["skipped"])
        return Case(data["shape"], data["batch"], tuple(arms), skipped)


def run_case(
    shape: str,
    batch: int,
    contenders: Sequence[Contender | Skipped],
    rows: F32,
    plan: Plan | None = None,
    *,
    call_seconds: float = 2.0,
    call_bytes: int = 4 << 30,
    tolerances: Mapping[str, float] = TOLERANCES,
) -> Case:
    """Time contenders in turns.

    Parameters
    ----------
    shape : str
        What to call the network.
    batch : int
    contenders : sequence of Contender or Skipped
    rows : float32 [N, in]
        Inputs; taken again from the start where they are fewer than the batch.
    plan : Plan, optional
    call_seconds, call_bytes : float, int
        A contender that would exceed one of them in a call runs at a smaller batch, and is marked.
    tolerances : mapping
        Kind of contender -> largest error allowed.

    Raises
    ------
    InputError
        An arm is farther from its oracle than allowed: it computes something else, and its time means nothing.

    Examples
    --------
    >>> from lutkan.lab import nets
    >>> from lutkan.lab.arms.numpy_ import gemm
    >>> plan = Plan(rounds=3, blocks=1, block_seconds=1e-4)
    >>> case = run_case("4-2", 8, [gemm(nets.efficient_kan((4, 2)))], nets.input_rows(4, 8), plan)
    >>> case["numpy basis + GEMM"].timing.rows
    8
    """
    plan = plan or Plan()
    live = [contender for contender in contenders if isinstance(contender, Contender)]
    filled = rows[np.arange(batch) % len(rows)]
    arms, found = [], []
    for contender in live:
        fitted = fit_rows(
            lambda count, contender=contender: contender.prepare(filled[:count]),
            batch,
            bytes_a_row=contender.bytes_a_row,
            seconds=call_seconds,
            nbytes=call_bytes,
            clock=plan.clock,
        )
        checked = rows[: min(_ERROR_ROWS, max(fitted, _FEW_ROWS))]
        largest, mean, spread = errors(contender, checked)
        limit = tolerances.get(contender.kind)
        if limit is not None and not largest <= limit:
            raise InputError(
                f"arm {contender.name!r} on {shape} is {largest:.3g} from its oracle",
                f"at most {limit:g}",
                "repair the arm: it computes another function",
            )
        arms.append(Arm(contender.name, contender.prepare(filled[:fitted]), fitted, contender.edges))
        found.append((largest, mean, spread, fitted < batch))
    timings = time_interleaved(arms, plan)
    measured = tuple(
        Measured(timing, c.kind, largest, mean, spread, c.nbytes, c.file_bytes, c.isa, reduced)
        for timing, c, (largest, mean, spread, reduced) in zip(timings, live, found, strict=True)
    )
    skipped = tuple(contender for contender in contenders if isinstance(contender, Skipped))
    return Case(shape, batch, measured, skipped)
