"""Cold start: what a new process pays to import lutkan, load an artifact and predict one row; and what loading costs.

A service that loads its model for every request pays `load_and_predict_s` each time, one that loads once pays
`predict_s`; a command that is started for every request pays the whole process.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lutkan import api
from lutkan.errors import RuntimeUnavailableError
from lutkan.lab import nets
from lutkan.lab.experiment import Run, run_experiment
from lutkan.lab.timing import Arm, Plan, time_interleaved
from lutkan.runtimes import load
from lutkan.runtimes.model import available_runtimes

__all__ = [
    "ASKED",
    "NETS",
    "ColdStart",
    "StartCell",
    "cells",
    "children_seconds",
    "measure",
    "measure_cold_start",
    "run_coldstart",
]

F32 = NDArray[np.float32]

#: Seconds above importing numpy that a new process may take to its first answer.
ASKED = 0.05
#: Networks by name.
NETS = {"64-64-10": (64, 64, 10), "784-64-10": (784, 64, 10)}
_CALIBRATION_ROWS = 1024
ROUNDS = 20

# Both children import numpy first, so that what is left is ours. Times inside the child leave out its own start.
_NUMPY = "import numpy"
_LUTKAN = """
import sys, time
import numpy
started = time.{clock}()
import lutkan
imported = time.{clock}()
model = lutkan.load({path!r}, runtime={runtime!r})
loaded = time.{clock}()
y = model.predict(numpy.zeros((1, model.in_features), dtype=numpy.float32))
ended = time.{clock}()
assert y.shape == (1, model.out_features)
heavy = sorted(name for name in ("torch", "numba", "yaml", "pyarrow", "typer") if name in sys.modules)
import json
print(json.dumps([imported - started, loaded - imported, ended - loaded, heavy]))
"""


@dataclass(frozen=True)
class ColdStart:
    """What a new process took, in seconds, a number a round.

    Attributes
    ----------
    runtime : str
    with_numpy : tuple of float
        A whole process that only imports numpy.
    with_lutkan : tuple of float
        A whole process that also imports lutkan, loads the artifact and predicts one row.
    imports, loads, predicts : tuple of float
        The three parts, as the second process sees them.
    heavy : tuple of str
        Heavy packages that were imported although nothing asked for them.
    """

    runtime: str
    with_numpy: tuple[float, ...]
    with_lutkan: tuple[float, ...]
    imports: tuple[float, ...]
    loads: tuple[float, ...]
    predicts: tuple[float, ...]
    heavy: tuple[str, ...]

    @property
    def above_numpy(self) -> float:
        """Median of the differences, round by round."""
        return float(np.median(np.subtract(self.with_lutkan, self.with_numpy)))

    @property
    def quartiles(self) -> tuple[float, float]:
        """Quartiles of the differences, round by round."""
        low, high = np.percentile(np.subtract(self.with_lutkan, self.with_numpy), (25, 75))
        return float(low), float(high)

    @property
    def parts(self) -> dict[str, float]:
        """Medians of import, load and first prediction, as the process itself sees them."""
        return {
            "import": float(np.median(self.imports)),
            "load": float(np.median(self.loads)),
            "predict": float(np.median(self.predicts)),
        }

    def to_json(self) -> dict[str, object]:
        """Return the figures in seconds, and the rounds they come from."""
        return {
            "runtime": self.runtime,
            "above_numpy_s": self.above_numpy,
            "above_numpy_quartiles_s": list(self.quartiles),
            "numpy_median_s": float(np.median(self.with_numpy)),
            "lutkan_median_s": float(np.median(self.with_lutkan)),
            **{f"{part}_median_s": seconds for part, seconds in self.parts.items()},
            "heavy": list(self.heavy),
            "with_numpy_s": list(self.with_numpy),
            "with_lutkan_s": list(self.with_lutkan),
        }


def children_seconds() -> float:
    """Return the processor time of all processes that this one has started and that have ended (not on Windows)."""
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_cold_start(
    artifact: Path,
    runtime: str,
    rounds: int = 20,
    *,
    clock: Callable[[], float] = time.perf_counter,
    clock_inside: Literal["perf_counter", "process_time"] = "perf_counter",
    on_round: Callable[[int], None] | None = None,
) -> ColdStart:
    """Start processes in turns, one that imports numpy alone and one that predicts.

    Parameters
    ----------
    artifact : Path
    runtime : str
    rounds : int
        Rounds that count; one more comes first and fills the caches of the file system.
    clock : callable
        `children_seconds` on a machine that others use.
    clock_inside : str
        Function of `time` that the process takes its parts with.
    on_round : callable, optional
        Called with the number of rounds done.

    Raises
    ------
    RuntimeUnavailableError
        The process failed; the message holds the end of what it said.
    """
    code = _LUTKAN.format(path=str(artifact), runtime=runtime, clock=clock_inside)
    # Bytecode is kept from the first round on, as it is where a package was installed.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with_numpy, with_lutkan, parts = [], [], []
    for number in range(rounds + 1):
        # The order changes, so that neither always runs on what the other has left in the caches.
        order = (_NUMPY, code) if number % 2 else (code, _NUMPY)
        for source in order:
            start = clock()
            done = subprocess.run(
                [sys.executable, "-c", source], capture_output=True, text=True, check=False, env=environment
            )
            taken = clock() - start
            if done.returncode:
                raise RuntimeUnavailableError(f"a new process fails on runtime {runtime!r}: {done.stderr[-400:]}")
            if number == 0:
                continue
            if source is code:
                with_lutkan.append(taken)
                parts.append(json.loads(done.stdout))
            else:
                with_numpy.append(taken)
        if number and on_round is not None:
            on_round(number)
    imports, loads, predicts, heavy = zip(*parts, strict=True)
    return ColdStart(
        runtime,
        tuple(with_numpy),
        tuple(with_lutkan),
        tuple(imports),
        tuple(loads),
        tuple(predicts),
        tuple(sorted({name for names in heavy for name in names})),
    )


# --- the experiment ---


@dataclass(frozen=True)
class StartCell:
    """A network as tables on a runtime."""

    net: str
    tables: str
    runtime: str


def cells(names: Sequence[str] = tuple(NETS), *, quick: bool = False) -> list[StartCell]:
    """Return the cells: all kinds of tables on the fastest runtime here, int8 on the others.

    Examples
    --------
    >>> [cell.tables for cell in cells(quick=True)]
    ['int8']
    """
    here = [name for name, missing in available_runtimes().items() if not missing]
    first = next(name for name in ("native", "numba", "reference") if name in here)
    if quick:
        return [StartCell("64-64-10", "int8", first)]
    kinds = [("int8", first), ("int16", first), ("float32", first), ("segment-int8-L64", first)]
    kinds += [("int8", name) for name in ("numba", "reference") if name in here and name != first]
    return [StartCell(name, tables, runtime) for name in names for tables, runtime in kinds]


def run_coldstart(
    output: Path,
    *,
    names: Sequence[str] = tuple(NETS),
    rounds: int = ROUNDS,
    clock: Literal["wall", "cpu"] = "wall",
    quick: bool = False,
    again: bool = False,
    on_cell: Callable[[int], None] | None = None,
) -> Run:
    """Measure start-ups into a result file, or go on with it; see `run_experiment`.

    `clock="cpu"` takes the processor time of the new processes instead of the clock on the wall, on a machine that
    others use.
    """
    return run_experiment(
        "coldstart",
        cells(names, quick=quick),
        functools.partial(measure, rounds=rounds, clock=clock),
        output,
        parameters={"rounds": rounds, "clock": clock},
        seeds=(0,),
        again=again,
        on_cell=on_cell,
    )


@functools.lru_cache(maxsize=1)
def _drawn(name: str) -> nets.Drawn:
    return nets.efficient_kan(NETS[name])


def measure(cell: StartCell, rounds: int, clock: Literal["wall", "cpu"]) -> dict[str, Any]:
    """Measure a cell: new processes, and loading and predicting in this one."""
    calibration = nets.input_rows(NETS[cell.net][0], _CALIBRATION_ROWS)
    artifact = api.compile(_drawn(cell.net).network, cell.tables, calibration=calibration, certificate=False)
    with tempfile.TemporaryDirectory() as folder:
        path = artifact.save(Path(folder) / "m.lutkan")
        outside, inside = (time.perf_counter, "perf_counter") if clock == "wall" else (children_seconds, "process_time")
        start = measure_cold_start(path, cell.runtime, rounds, clock=outside, clock_inside=inside)
        warm = _in_one_process(path, cell.runtime, calibration[:1], rounds, clock)
    found = {key: value for key, value in start.to_json().items() if key != "runtime"}
    return {**found, **warm, "file_bytes": artifact.nbytes}


def _in_one_process(path: Path, runtime: str, row: F32, rounds: int, clock: str) -> dict[str, Any]:
    """Time a row with the model loaded before, and with the model loaded for it."""
    model = load(path, runtime=runtime)
    plan = Plan(max(rounds, 3), 1, 0.002, 4.0, clock=time.perf_counter if clock == "wall" else time.thread_time)
    arms = [
        Arm("predict", lambda: model.predict(row), 1, 1),
        Arm("load_and_predict", lambda: load(path, runtime=runtime).predict(row), 1, 1),
    ]
    found = {}
    for timing in time_interleaved(arms, plan):
        found[f"{timing.name}_s"] = timing.median
        found[f"{timing.name}_quartiles_s"] = list(timing.quartiles)
    return found
