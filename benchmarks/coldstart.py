"""Cold start: what a new process pays, above importing numpy, to load an artifact and predict one row.

    python benchmarks/coldstart.py            64-64-10 and 784-64-10 on the native runtime; writes benchmarks/results
    python benchmarks/coldstart.py --quick    few rounds; writes nothing unless -o is given

Two processes take turns: one imports numpy, the other also imports lutkan, loads and predicts. The difference of their
whole run times, from start to exit, has to stay below 50 ms. Neither may import PyTorch or Numba.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import lutkan
from lutkan.lab import nets
from lutkan.lab.coldstart import ColdStart, children_seconds, measure_cold_start
from lutkan.lab.fingerprint import cpu, slug
from lutkan.lab.pinning import one_thread
from lutkan.lab.results import header, markdown_table, write_json
from lutkan.lab.timing import Plan
from lutkan.runtimes.model import available_runtimes

SHAPES = ((64, 64, 10), (784, 64, 10))
ASKED = 0.05
CALIBRATION_ROWS = 1024


def measure(shape: tuple[int, ...], runtime: str, rounds: int, clock: Callable[[], float]) -> ColdStart:
    """Compile a network, write it, and start processes with it."""
    artifact = lutkan.compile(
        nets.efficient_kan(shape).network, "int8", calibration=nets.input_rows(shape[0], CALIBRATION_ROWS)
    )
    with tempfile.TemporaryDirectory() as folder:
        return measure_cold_start(artifact.save(Path(folder) / "m.lutkan"), runtime, rounds, clock=clock)


def _row(name: str, start: ColdStart) -> tuple[str, ...]:
    parts = (f"{1000 * seconds:.1f}" for seconds in start.parts.values())
    spread = "{:.1f} to {:.1f}".format(*(1000 * seconds for seconds in start.quartiles))
    verdict = "met" if start.above_numpy < ASKED else "**missed**"
    asked = f"below {1000 * ASKED:g}"
    return name, asked, f"{1000 * start.above_numpy:.1f}", spread, *parts, ", ".join(start.heavy) or "none", verdict


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; the exit code is 1 if something heavy is imported."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--runtime", default=None, help="default: native, or reference where it is absent")
    parser.add_argument(
        "-o", "--output", type=Path, help="result file (default: benchmarks/results/coldstart-CPU.json)"
    )
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: processor time, on a machine that others use"
    )
    options = parser.parse_args(arguments)
    clock = time.perf_counter if options.clock == "wall" else children_seconds
    rounds = options.rounds or (5 if options.quick else 30)
    runtime = options.runtime or ("reference" if available_runtimes().get("native", "absent") else "native")
    command = ["python", "benchmarks/coldstart.py", *(sys.argv[1:] if arguments is None else arguments)]
    with one_thread() as pinned:  # the processes started from here stay on the same core
        results = header("coldstart", command, Plan(rounds=max(rounds, 3), clock=clock), pinned)
        found = [measure(shape, runtime, rounds, clock) for shape in (SHAPES[:1] if options.quick else SHAPES)]
    names = ["-".join(map(str, shape)) for shape in SHAPES[: len(found)]]
    results["cases"] = [
        {"shape": name, "asked_s": ASKED, "met": start.above_numpy < ASKED, **start.to_json()}
        for name, start in zip(names, found, strict=True)
    ]
    rows = [("network", "asked", "ms above numpy", "quartiles", "import", "load", "first row", "heavy", "")]
    rows += [_row(f"{name} ({runtime})", start) for name, start in zip(names, found, strict=True)]
    print(markdown_table(rows))
    default = Path(__file__).parent / "results" / f"coldstart-{slug(cpu()[0])}.json"
    output = options.output or (None if options.quick else default)
    if output is not None:
        print(f"wrote {write_json(output, results)}", file=sys.stderr)
    return int(any(start.heavy for start in found))


if __name__ == "__main__":
    sys.exit(main())
