"""`lutkan lab`: experiments that anyone can run again, each with the baselines that could refute it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lutkan.cli.options import AsJson, split_names
from lutkan.cli.terminal import note, print_json, progress
from lutkan.errors import InputError

if TYPE_CHECKING:
    from lutkan.lab.experiment import Run

__all__ = [
    "VERBS",
    "Again",
    "Clock",
    "Output",
    "OverRay",
    "Quick",
    "Workers",
    "advancing",
    "coldstart",
    "memory",
    "oob",
    "print_run",
    "result_file",
    "sweep",
]

# Options that the experiments share.
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="The result file, JSON lines; a stopped run goes on after what it holds. Default: VERB.jsonl here.",
        show_default=False,
    ),
]
Workers = Annotated[
    int, typer.Option("--workers", min=1, max=1024, help="Processes, each with one thread. Time with 1 only.")
]
OverRay = Annotated[bool, typer.Option("--ray", help="Spread over Ray: the cluster of RAY_ADDRESS, or this machine.")]
Again = Annotated[bool, typer.Option("--again", help="Start a new file instead of going on.")]
Quick = Annotated[bool, typer.Option("--quick", help="A small part of it, in seconds: to see whether all works.")]


class Clock(str, Enum):
    """What times are taken with."""

    wall = "wall"
    cpu = "cpu"


Timer = Annotated[
    Clock, typer.Option("--clock", help="cpu takes processor time instead, on a machine that others use.")
]
Nets = Annotated[
    str | None,
    typer.Option("--nets", metavar="NAMES", help="Some of its networks, separated by commas.", show_default=False),
]
Seeds = Annotated[int, typer.Option("--seeds", min=1, max=1000, help="Seeds: 0, 1, ...")]


def result_file(output: Path | None, verb: str) -> Path:
    """Return where the results of a verb go, by default VERB.jsonl here; a folder is refused before work begins."""
    path = output or Path(f"{verb}.jsonl")
    if path.is_dir():
        raise InputError(f"{path}: is a folder", "the name of a result file", f"such as -o {path / verb}.jsonl")
    return path


@contextmanager
def advancing(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show the cells of a run as a bar; yields what `run_experiment` takes as `on_cell`."""
    done = 0
    with progress(text, total) as advance:

        def on_cell(count: int) -> None:
            nonlocal done
            advance(count - done)
            done = count

        yield on_cell


def print_run(run: Run, output: Path, *, as_json: bool) -> None:
    """Print a finished run: its page in Markdown, or manifest and cells as JSON."""
    if as_json:
        print_json({**run.manifest, "results": run.cells})
    else:
        from lutkan.lab.pages import page

        print(page(run))
    note(f"wrote {output}")


def _chosen(names: str | None, known: Sequence[str], quick: bool) -> tuple[str, ...]:
    """Return the networks of a run: those that were named, the first for a quick look, all otherwise."""
    if names is None:
        return tuple(known[:1] if quick else known)
    chosen = tuple(dict.fromkeys(split_names(names)))
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise InputError(f"--nets {unknown[0]}", ", ".join(known))
    return chosen


def sweep(
    output: Output = None,
    nets: Nets = None,
    seeds: Seeds = 5,
    workers: Workers = 1,
    ray: OverRay = False,
    clock: Timer = Clock.wall,
    quick: Quick = False,
    again: Again = False,
    as_json: AsJson = False,
) -> None:
    """Repeat LUT-KAN's controlled sweep, with strong baselines.

    Networks from 10-8 to 256-256 as segment tables with L from 2 to 128 and as basis tables: errors in and out of
    range, bytes by array, and times in numpy, Numba and native code, against the paper's B-spline, which repeats the
    whole recursion for every edge, and against ordinary ones. About 15 minutes on one core.

    \b
    Example:
      lutkan lab sweep -o sweep.jsonl --nets 10-8,64-64-10
    """  # noqa: D301
    from lutkan.lab import sweep as experiment

    names, numbers = _chosen(nets, tuple(experiment.NETS), quick), tuple(range(2 if quick else seeds))
    settings = experiment.settings(quick=quick, clock=clock.value)
    target = result_file(output, "sweep")
    with advancing("sweep", len(experiment.cells(names, numbers, quick=quick))) as on_cell:
        run = experiment.run_sweep(
            target,
            names=names,
            seeds=numbers,
            settings=settings,
            quick=quick,
            workers=workers,
            ray=ray,
            again=again,
            on_cell=on_cell,
        )
    print_run(run, target, as_json=as_json)


def oob(
    output: Output = None,
    nets: Nets = None,
    seeds: Seeds = 5,
    workers: Workers = 1,
    ray: OverRay = False,
    quick: Quick = False,
    again: Again = False,
    as_json: AsJson = False,
) -> None:
    """Try every policy beyond the tables, where policies differ.

    The matrix of boundary_mode and oob_policy, and the policy `model`, on inputs that nobody clipped: errors against
    the trained model and against each policy's own definition. The exit code is 1 if tables do not follow the policy
    they were compiled for.

    \b
    Example:
      lutkan lab oob -o oob.jsonl
    """  # noqa: D301
    from lutkan.lab import oob as experiment

    names, numbers = _chosen(nets, tuple(experiment.NETS), quick), tuple(range(2 if quick else seeds))
    rows = 128 if quick else experiment.ROWS
    target = result_file(output, "oob")
    with advancing("policies", len(experiment.cells(names, numbers))) as on_cell:
        run = experiment.run_oob(
            target, names=names, seeds=numbers, rows=rows, workers=workers, ray=ray, again=again, on_cell=on_cell
        )
    print_run(run, target, as_json=as_json)
    experiment.require_policies(run)


def memory(
    output: Output = None,
    nets: Nets = None,
    workers: Workers = 1,
    ray: OverRay = False,
    quick: Quick = False,
    again: Again = False,
    as_json: AsJson = False,
) -> None:
    """Count the bytes of every kind of table, array by array.

    Basis tables of 32 to 2 bits and segment tables with L from 2 to 128, against the checkpoint, its parameters, and
    what each runtime keeps in memory.

    \b
    Example:
      lutkan lab memory --nets 64-64-10
    """  # noqa: D301
    from lutkan.lab import memory as experiment

    names = _chosen(nets, tuple(experiment.NETS), quick)
    target = result_file(output, "memory")
    with advancing("bytes", len(experiment.cells(names))) as on_cell:
        run = experiment.run_memory(target, names=names, workers=workers, ray=ray, again=again, on_cell=on_cell)
    print_run(run, target, as_json=as_json)


def coldstart(
    output: Output = None,
    nets: Nets = None,
    rounds: Annotated[int, typer.Option("--rounds", min=3, max=10000, help="New processes of each kind.")] = 20,
    clock: Timer = Clock.wall,
    quick: Quick = False,
    again: Again = False,
    as_json: AsJson = False,
) -> None:
    """Time a new process to its first answer, and loading each time.

    New processes take turns: one imports numpy, the other also lutkan, loads a file and predicts one row. Beside it, in
    one process: a row with the model loaded once, and loaded for every row.

    \b
    Example:
      lutkan lab coldstart --rounds 50
    """  # noqa: D301
    from lutkan.lab import coldstart as experiment

    names = _chosen(nets, tuple(experiment.NETS), quick)
    target = result_file(output, "coldstart")
    with advancing("starts", len(experiment.cells(names, quick=quick))) as on_cell:
        run = experiment.run_coldstart(
            target,
            names=names,
            rounds=3 if quick else rounds,
            clock=clock.value,
            quick=quick,
            again=again,
            on_cell=on_cell,
        )
    print_run(run, target, as_json=as_json)


#: The subcommands of `lutkan lab`, in the order in which the help lists them.
VERBS: tuple[Callable[..., Any], ...] = (sweep, oob, memory, coldstart)
