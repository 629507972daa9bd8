"""The engine against everything it could be compared with: time, error and bytes, and the bars it has to clear.

    python benchmarks/engine.py            everything; writes into benchmarks/results and docs/benchmarks
    python benchmarks/engine.py --quick    two shapes, two batches, few rounds; writes nothing unless -o is given

One thread, one core, all arms of a case interleaved in this process. A rival that is absent (PyTorch, ONNX Runtime,
Numba) is skipped, and said so.
"""

from __future__ import annotations

import os

# Before anything loads numpy.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lutkan.lab.arms.lineup import line_up
from lutkan.lab.fingerprint import cpu, slug
from lutkan.lab.nets import input_rows
from lutkan.lab.pinning import one_thread
from lutkan.lab.results import case_markdown, header, machine_markdown, markdown_table, write_json
from lutkan.lab.suite import Case, run_case
from lutkan.lab.timing import Plan

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks" / "engine.md"

NETWORKS = ("64-64-10", "784-64-10", "78-32-16-1")
LAYERS = ("64-64", "784-64", "128-128", "256-256", "1024-1024")
BATCHES = (1, 16, 256, 4096)
QUICK_SHAPES = ("64-64-10", "64-64")
QUICK_BATCHES = (1, 256)
# Larger batches than this say nothing more of the reference runtime.
REFERENCE_BATCH = 16
# Small batches are drawn among so many rows, on which errors are measured.
ERROR_ROWS = 256


# --- bars ---


@dataclass(frozen=True)
class Bar:
    """What is asked of the time of an arm, beside that of a rival.

    Attributes
    ----------
    text : str
    arm : str
    rivals : tuple of str
        The fastest of these in the case is compared with.
    shapes, batches : tuple
        Where it is asked.
    at_least : float or None
        Times faster than the rival: rival's time / arm's time.
    at_most : float or None
        Share of the rival's time: arm's time / rival's time. One of the two is given.
    reach : float or None
        What was hoped for, in the same terms.
    """

    text: str
    arm: str
    rivals: tuple[str, ...]
    shapes: tuple[str, ...]
    batches: tuple[int, ...]
    at_least: float | None = None
    at_most: float | None = None
    reach: float | None = None


BULK = (256, 4096)
BULK_SHAPES = ("64-64", "128-128", "784-64", "256-256")
SEGMENT_SHAPES = ("64-64-10", "784-64-10", "78-32-16-1", "64-64", "784-64", "128-128", "256-256")
COMPILED = ("inkan compiled", "fast-kan compiled", "KANditioned embedding_bag")
INT8 = "native int8"
BARS = (
    Bar("int8 in bulk against nn.Linear", INT8, ("nn.Linear",), BULK_SHAPES, BULK, at_most=2.0, reach=1.4),
    Bar(
        "int8 in bulk against efficient-kan",
        INT8,
        ("efficient-kan",),
        (*NETWORKS, *LAYERS),
        BULK,
        at_least=40,
        reach=200,
    ),
    Bar(
        "int8 in bulk against efficient-kan, one layer of 64 outputs",
        INT8,
        ("efficient-kan",),
        ("64-64", "784-64"),
        BULK,
        at_least=100,
        reach=200,
    ),
    Bar("int8 in bulk against the best compiled KAN", INT8, COMPILED, BULK_SHAPES, BULK, at_least=5, reach=15),
    Bar(
        "one row against ONNX Runtime's MLP",
        INT8,
        ("ONNX Runtime MLP",),
        ("64-64-10", "784-64-10"),
        (1,),
        at_most=1.0,
        reach=0.5,
    ),
    *(
        Bar(f"native {spec} against {text}", f"native {spec}", (rival,), SEGMENT_SHAPES, BULK, at_least=times)
        for spec in ("segment-int8-L64", "segment-uint8-L16")
        for times, text, rival in (
            (20, "LUT-KAN's layout in Numba", f"LUT-KAN layout {spec}"),
            (3, "its own layout in Numba", f"numba {spec}"),
        )
    ),
)
# Bytes of the int8 artifact over those of the checkpoint.
SIZE_BAR = 0.3


@dataclass(frozen=True)
class Outcome:
    """A bar in one case: what was measured and whether it is met; None where an arm is absent."""

    bar: str
    shape: str
    batch: int | None
    asked: str
    rival: str
    measured: float | None = None
    quartiles: tuple[float, float] | None = None
    of_medians: float | None = None
    met: bool | None = None
    reached: bool | None = None


def judge(bar: Bar, cases: Sequence[Case]) -> list[Outcome]:
    """Return the outcome of a bar in every case where it is asked; the median of the paired ratios decides."""
    most = bar.at_most is not None
    asked = f"at most {bar.at_most:g}x" if most else f"at least {bar.at_least:g}x"
    outcomes = []
    for case in cases:
        if case.shape not in bar.shapes or case.batch not in bar.batches:
            continue
        present = [case[name] for name in bar.rivals if name in case]
        if bar.arm not in case or not present:
            outcomes.append(Outcome(bar.text, case.shape, case.batch, asked, " or ".join(bar.rivals)))
            continue
        rival = min(present, key=lambda arm: arm.timing.ns_an_edge).name
        ratio = case.ratio(bar.arm, rival) if most else case.ratio(rival, bar.arm)

        def clears(limit: float | None, found: float = ratio.paired) -> bool | None:
            return None if limit is None else found <= limit if most else found >= limit

        outcomes.append(
            Outcome(
                bar.text,
                case.shape,
                case.batch,
                asked,
                rival,
                ratio.paired,
                ratio.quartiles,
                ratio.of_medians,
                clears(bar.at_most if most else bar.at_least),
                clears(bar.reach),
            )
        )
    return outcomes


def judge_sizes(cases: Sequence[Case], checkpoints: dict[str, int]) -> list[Outcome]:
    """Compare the bytes of the int8 artifact with those of the checkpoint, a line a shape."""
    text, asked = "bytes of the int8 artifact against the fp32 checkpoint", f"at most {SIZE_BAR:g}x"
    outcomes = []
    for shape, nbytes in checkpoints.items():
        sizes = [
            arm.file_bytes for case in cases if case.shape == shape for arm in case.arms if arm.name.endswith(" int8")
        ]
        share = sizes[0] / nbytes if sizes and sizes[0] is not None else None
        met = None if share is None else share <= SIZE_BAR
        outcomes.append(Outcome(text, shape, None, asked, "checkpoint", share, None, share, met))
    return outcomes


# --- the page ---


def _bar_row(outcome: Outcome) -> tuple[str, ...]:
    where = outcome.shape if outcome.batch is None else f"{outcome.shape}, batch {outcome.batch}"
    if outcome.measured is None:
        return where, outcome.asked, "", "", outcome.rival, "not measured"
    spread = "" if outcome.quartiles is None else "{:.3g} to {:.3g}".format(*outcome.quartiles)
    verdict = ("reached" if outcome.reached else "met") if outcome.met else "**missed**"
    return where, outcome.asked, f"{outcome.measured:.3g}x", spread, outcome.rival, verdict


def bars_markdown(outcomes: Sequence[Outcome]) -> str:
    """Write a table for each bar."""
    head = ("where", "asked", "measured", "quartiles", "against", "")
    parts = []
    for text in dict.fromkeys(outcome.bar for outcome in outcomes):
        rows = [_bar_row(outcome) for outcome in outcomes if outcome.bar == text]
        parts.append(f"**{text}**\n\n{markdown_table([head, *rows])}")
    return "\n\n".join(parts)


def page(results: dict[str, Any], outcomes: Sequence[Outcome], cases: Sequence[Case]) -> str:
    """Write the whole page."""
    counted = [outcome.met for outcome in outcomes]
    parts = [
        "# Engine benchmark",
        "Written by `python benchmarks/engine.py`; do not edit.",
        machine_markdown(results),
        "What is timed is the whole network or layer as a caller sees it: `predict` of prepared float32 rows into a "
        "given array, with encoding, spline, base branch and the policy `model` outside. The networks have "
        "efficient-kan's default grid (G = 5, cubic, SiLU base) and seeded weights; rows are uniform in [-1, 1]. "
        "Rivals are reimplementations of the libraries' forward passes (`src/lutkan/lab/arms`), each checked against "
        "the float64 meaning of its own model before it is timed; fast-kan, KANditioned and the dense networks are "
        "other functions of the same shape. Ratios are formed round by round: the median decides, the quartiles show "
        "the spread. 'Reached' is what was hoped for beyond the bar.",
        f"## Bars: {counted.count(True)} met, {counted.count(False)} missed, {counted.count(None)} not measured",
        bars_markdown(outcomes),
    ]
    for case in cases:
        parts += [f"## {case.shape}, batch {case.batch}", case_markdown(case)]
    return "\n\n".join(parts) + "\n"


def read(path: Path) -> tuple[dict[str, Any], list[Outcome], list[Case]]:
    """Read a result file into what `page` takes."""
    results = json.loads(path.read_text(encoding="utf-8"))
    outcomes = [
        Outcome(**{**bar, "quartiles": None if bar["quartiles"] is None else tuple(bar["quartiles"])})
        for bar in results["bars"]
    ]
    return results, outcomes, [Case.from_json(case) for case in results["cases"]]


# --- the command ---


def measure(
    shapes: Sequence[str], batches: Sequence[int], plan: Plan, *, compiled: bool
) -> tuple[list[Case], dict[str, int]]:
    """Run all cases, telling on stderr what goes on; returns them and the bytes of each shape's checkpoint."""
    cases, checkpoints = [], {}
    started = time.perf_counter()

    def tell(text: str) -> None:
        print(f"[{time.perf_counter() - started:6.0f} s] {text}", file=sys.stderr, flush=True)

    for shape in shapes:
        widths = tuple(int(width) for width in shape.split("-"))
        tell(f"{shape}: compiling")
        arms, checkpoints[shape] = line_up(widths, compiled=compiled)
        for batch in batches:
            small = [arm for arm in arms if batch <= REFERENCE_BATCH or not arm.name.startswith("reference")]
            tell(f"{shape}, batch {batch}: warming up and timing")
            cases.append(run_case(shape, batch, small, input_rows(widths[0], max(batch, ERROR_ROWS)), plan))
    return cases, checkpoints


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="two shapes, two batches, few rounds, no torch.compile")
    parser.add_argument("-o", "--output", type=Path, help="result file (default: benchmarks/results/engine-CPU.json)")
    parser.add_argument("--page", type=Path, help="Markdown page (default: docs/benchmarks/engine.md)")
    parser.add_argument("--shapes", nargs="+", metavar="IN-OUT", help=f"among {' '.join((*NETWORKS, *LAYERS))}, or any")
    parser.add_argument("--batches", nargs="+", type=int, metavar="N")
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--no-compile", action="store_true", help="leave out the torch.compile arms")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: time of the calling thread, on a busy machine"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, judge, write and print."""
    options = _options(arguments)
    clock = time.perf_counter if options.clock == "wall" else time.thread_time
    quick = Plan(rounds=options.rounds or 5, blocks=2, block_seconds=0.003, arm_seconds=0.5, clock=clock)
    plan = quick if options.quick else Plan(rounds=options.rounds or 15, clock=clock)
    command = ["python", "benchmarks/engine.py", *(sys.argv[1:] if arguments is None else arguments)]
    with one_thread(torch=True) as pinned:
        results = header("engine", command, plan, pinned)
        cases, checkpoints = measure(
            options.shapes or (QUICK_SHAPES if options.quick else (*NETWORKS, *LAYERS)),
            options.batches or (QUICK_BATCHES if options.quick else BATCHES),
            plan,
            compiled=not (options.quick or options.no_compile),
        )
    outcomes = [outcome for bar in BARS for outcome in judge(bar, cases)] + judge_sizes(cases, checkpoints)
    results["checkpoint_bytes"] = checkpoints
    results["bars"] = [asdict(outcome) for outcome in outcomes]
    results["cases"] = [case.to_json() for case in cases]
    text = page(results, outcomes, cases)
    print(text)
    output = options.output or (
        None if options.quick else Path(__file__).parent / "results" / f"engine-{slug(cpu()[0])}.json"
    )
    if output is not None:
        print(f"wrote {write_json(output, results)}", file=sys.stderr)
    target = options.page or (None if options.quick else PAGE)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        print(f"wrote {target}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
