"""The segment contract in Numba: lutkan's layout against that of the LUT-KAN project.

    python benchmarks/segment_numba.py            78-32-16-1 at batches 1, 256 and 4096; writes benchmarks/results
    python benchmarks/segment_numba.py --quick    few rounds; writes nothing unless -o is given

The rival is a reimplementation of that project's packed kernel (`lutkan.lab.arms.numba_.edge_lut`): tables
[in][out][segment, sample], two codes, a scale and an offset an edge, float64 inside, one thread. Its own code took 5.8
ns an edge on this network at batch 256 where it was measured. At least 3x faster is asked. A local-support B-spline in
Numba stands beside both, because it is the better baseline.
"""

from __future__ import annotations

import os

# Before anything loads numpy.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lutkan.lab import nets
from lutkan.lab.arms import Contender, Skipped, numba_, own
from lutkan.lab.arms.lineup import compile_specs
from lutkan.lab.fingerprint import cpu, slug
from lutkan.lab.pinning import one_thread
from lutkan.lab.results import case_markdown, header, machine_markdown, markdown_table, write_json
from lutkan.lab.suite import Case, run_case
from lutkan.lab.timing import Plan

SHAPE = (78, 32, 16, 1)
BATCHES = (1, 256, 4096)
SPECS = ("segment-int8-L64", "segment-uint8-L16")
ASKED = 3.0


def measure(batches: Sequence[int], plan: Plan) -> list[Case]:
    """Time both layouts and the B-spline at every batch."""
    model = nets.efficient_kan(SHAPE)
    arms: list[Contender | Skipped] = [numba_.bspline(model)]
    for spec, artifact in compile_specs(model, SPECS).items():
        arms.append(own.on_runtime(artifact, model.evaluate, "numba", spec))
        arms.append(numba_.edge_lut(artifact, model, spec))
    rows = nets.input_rows(SHAPE[0], max(BATCHES))
    return [run_case("-".join(map(str, SHAPE)), batch, arms, rows, plan) for batch in batches]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, batches 1 and 256")
    parser.add_argument("-o", "--output", type=Path, help="result file (default: benchmarks/results/segment-numba-CPU)")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: time of the calling thread, on a busy machine"
    )
    options = parser.parse_args(arguments)
    clock = time.perf_counter if options.clock == "wall" else time.thread_time
    quick = Plan(rounds=5, blocks=2, block_seconds=0.003, arm_seconds=0.5, clock=clock)
    plan = quick if options.quick else Plan(clock=clock)
    command = ["python", "benchmarks/segment_numba.py", *(sys.argv[1:] if arguments is None else arguments)]
    with one_thread() as pinned:
        results = header("segment-numba", command, plan, pinned)
        cases = measure(BATCHES[:2] if options.quick else BATCHES, plan)
    results["cases"] = [case.to_json() for case in cases]
    results["ratios"] = []
    rows = [("where", "asked", "measured", "quartiles", "")]
    for case in cases:
        for spec in SPECS:
            ratio = case.ratio(f"LUT-KAN layout {spec}", f"numba {spec}")
            met = ratio.paired >= ASKED
            results["ratios"].append({"batch": case.batch, "asked": ASKED, "met": met, **ratio.to_json()})
            spread = "{:.3g} to {:.3g}".format(*ratio.quartiles)
            verdict = "met" if met else "**missed**"
            where = f"{spec}, batch {case.batch}"
            rows.append((where, f"at least {ASKED:g}x", f"{ratio.paired:.3g}x", spread, verdict))
    print(machine_markdown(results), markdown_table(rows), sep="\n\n")
    for case in cases:
        print(f"\n## {case.shape}, batch {case.batch}\n\n{case_markdown(case)}")
    default = Path(__file__).parent / "results" / f"segment-numba-{slug(cpu()[0])}.json"
    output = options.output or (None if options.quick else default)
    if output is not None:
        print(f"wrote {write_json(output, results)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
