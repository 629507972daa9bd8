"""Cold start: what a new process pays to import lutkan, load an artifact and predict one row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lutkan.errors import RuntimeUnavailableError

__all__ = ["ColdStart", "children_seconds", "measure_cold_start"]

# Both children import numpy first, so that what is left is ours. Times inside the child leave out its own start.
_NUMPY = "import numpy"
_LUTKAN = """
import sys, time
import numpy
started = time.perf_counter()
import lutkan
imported = time.perf_counter()
model = lutkan.load({path!r}, runtime={runtime!r})
loaded = time.perf_counter()
y = model.predict(numpy.zeros((1, model.in_features), dtype=numpy.float32))
ended = time.perf_counter()
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
    on_round : callable, optional
        Called with the number of rounds done.

    Raises
    ------
    RuntimeUnavailableError
        The process failed; the message holds the end of what it said.
    """
    code = _LUTKAN.format(path=str(artifact), runtime=runtime)
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
