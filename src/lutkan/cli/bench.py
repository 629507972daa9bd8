"""`lutkan bench`: how fast every runtime is here, with what error, in how many bytes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from lutkan.artifact import Artifact
from lutkan.cli.compile import DEFAULT_SPEC
from lutkan.cli.inspect import is_artifact
from lutkan.cli.options import (
    AsJson,
    Config,
    Drop,
    Family,
    Header,
    Settings,
    import_checkpoint,
    open_artifact,
    split_names,
)
from lutkan.cli.rows import read_rows
from lutkan.cli.terminal import count, figure, print_json, table, working, wrapped
from lutkan.errors import InputError, VerificationError
from lutkan.ir import Network
from lutkan.lab.arms import Contender, Skipped
from lutkan.lab.arms.own import on_runtime
from lutkan.lab.nets import input_rows
from lutkan.lab.pinning import UNPINNED, one_thread
from lutkan.lab.results import header as results_header
from lutkan.lab.results import machine_markdown, markdown_table, microseconds
from lutkan.lab.suite import Case, run_case
from lutkan.lab.timing import Plan
from lutkan.runtimes import load
from lutkan.runtimes.model import RUNTIMES

__all__ = ["Format", "bench"]

F32 = NDArray[np.float32]

# Rows on which errors are measured and bits are compared.
_CHECKED_ROWS = 256
_DRAWN_ROWS = 4096
_LARGEST_BATCH = 1 << 20


class Format(str, Enum):
    """How results are printed."""

    text = "text"
    json = "json"
    md = "md"


def bench(
    path: Annotated[str, typer.Argument(metavar="PATH", help="An artifact or a checkpoint.", show_default=False)],
    batch: Annotated[
        str, typer.Option("--batch", metavar="SIZES", help="Rows a call, separated by commas.")
    ] = "1,256,4096",
    spec: Annotated[
        str | None,
        typer.Option(
            "--spec",
            metavar="SPECS",
            help=f"Of a checkpoint: the tables to compile it to, separated by commas. Default: {DEFAULT_SPEC}.",
            show_default=False,
        ),
    ] = None,
    runtime: Annotated[
        str,
        typer.Option("--runtime", metavar="NAME", help="Time this runtime alone; auto times all that work here."),
    ] = "auto",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Rows like those to come: .npy, .npz, .csv, .tsv or .parquet. A checkpoint is calibrated on them. "
            "Default: rows drawn from the core grid of a checkpoint, from -1 to 1 for an artifact.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, max=256, help="Threads that share the rows.")] = 1,
    rounds: Annotated[
        int, typer.Option("--rounds", min=3, max=1000, help="Rounds, each of which times all runtimes in turns.")
    ] = 15,
    family: Family = None,
    config: Config = None,
    settings: Settings = None,
    header: Header = None,
    drop: Drop = None,
    form: Annotated[Format, typer.Option("--format", "-o", help="How to print the results.")] = Format.text,
    as_json: AsJson = False,
) -> None:
    """Time every runtime on an artifact or a checkpoint.

    All runtimes are timed in turns in one process, on one core unless there are more threads. A time is the median
    over the rounds, with quartiles; an edge is one function of the network, on one row. A checkpoint is compiled first,
    and its errors are measured against the model in float64; an artifact shows those that stand in it. The exit code is
    1 if the runtimes do not answer the same bits.

    \b
    Example:
      lutkan bench model.safetensors --batch 1,256 --spec int8,segment-int8-L64
    """  # noqa: D301
    batches = _batches(batch)
    if (header is not None or drop) and data is None:
        raise InputError(
            "--header, --no-header or --drop without --data", fix="leave them out: they are about its file"
        )

    def rows_of(width: int) -> F32 | None:
        if data is None:
            return None
        return read_rows(data, width=width, what="timing", header=header, drop=split_names(drop))

    if is_artifact(path):
        if spec is not None or family is not None or config is not None or settings:
            raise InputError(
                f"{path}: --spec, --family, --config and --set do not apply to an artifact", fix="leave them out"
            )
        subject = _artifact_subject(path, rows_of)
    else:
        with working("importing and compiling"):
            net = import_checkpoint(path, family, config, settings)
            subject = _model_subject(path, net, split_names(spec or DEFAULT_SPEC), rows_of)
    results, cases = _measure(subject, batches, runtime, threads, Plan(rounds=rounds))
    if as_json or form is Format.json:
        print_json(results | {"cases": [_case_json(case) for case in cases]})
    elif form is Format.md:
        print(_markdown(results, cases))
    else:
        print(_text(results, cases))
    differing = [told["spec"] or path for told in results["artifacts"] if not told["same_bits"]]
    if differing:
        raise VerificationError(f"{differing[0]}: the runtimes give other bits than the reference", "equal bits")


@dataclass(frozen=True, eq=False)
class _Subject:
    """What is timed, on which rows, and what its answers should be.

    Attributes
    ----------
    title : str
    artifacts : dict
        By spec; "" for an artifact whose spec is its own.
    rows : float32 [N, in]
    origin : str
        Where the rows come from.
    net : Network or None
        Of a checkpoint.
    """

    title: str
    artifacts: dict[str, Artifact]
    rows: F32
    origin: str
    net: Network | None = None


def _batches(text: str) -> list[int]:
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--batch {text}", "whole numbers separated by commas", "such as --batch 1,256") from error
    if min(sizes) < 1 or max(sizes) > _LARGEST_BATCH:
        raise InputError(f"--batch {text}", f"numbers from 1 to {_LARGEST_BATCH}")
    return list(dict.fromkeys(sizes))


def _artifact_subject(path: str, rows_of: Callable[[int], F32 | None]) -> _Subject:
    artifact = open_artifact(path)
    rows, origin = rows_of(artifact.program.in_features), "given rows"
    if rows is None:
        rows, origin = input_rows(artifact.program.in_features, _DRAWN_ROWS), "rows drawn from [-1, 1]"
    program = artifact.program
    title = f"{path}: {program.in_features} -> {program.out_features}, {count(program.edges)} edges"
    return _Subject(title, {"": artifact}, rows, origin)


def _model_subject(path: str, net: Network, specs: list[str], rows_of: Callable[[int], F32 | None]) -> _Subject:
    from lutkan import api
    from lutkan.tables import calibration_rows

    given = rows_of(net.in_features)
    rows, origin = given, "given rows"
    if rows is None:
        rows, origin = calibration_rows(net, None, None)[0].astype(np.float32), "rows drawn from the core grid"
    artifacts = {spec: api.compile(net, spec, calibration=given) for spec in dict.fromkeys(specs)}
    title = f"{path}: {net.source.family}, {net.in_features} -> {net.out_features}, {count(net.edges)} edges"
    return _Subject(title, artifacts, rows, origin, net)


def _measure(
    subject: _Subject, batches: Sequence[int], runtime: str, threads: int, plan: Plan
) -> tuple[dict[str, Any], list[Case]]:
    names = RUNTIMES if runtime == "auto" else (runtime,)
    for artifact in subject.artifacts.values():
        load(artifact, runtime=runtime, threads=threads)  # an unknown or absent runtime ends here
    pinned_to_one = one_thread() if threads == 1 else nullcontext(UNPINNED)
    with pinned_to_one as pinned:
        command = ["lutkan", *sys.argv[1:]]
        results = results_header("bench", command, plan, pinned) | {"threads": threads}
        arms, answers = _arms(subject, names, threads)
        results |= {"title": subject.title, "rows": subject.origin, "artifacts": answers}
        cases = []
        for batch in batches:
            with working(f"timing {count(batch)} rows a call"):
                cases.append(run_case(subject.title, batch, arms, subject.rows, plan, tolerances={}))
    return results, cases


def _arms(
    subject: _Subject, names: Sequence[str], threads: int
) -> tuple[list[Contender | Skipped], list[dict[str, Any]]]:
    """Return the arms, and what is to be said of each artifact: bytes, errors, whether all runtimes answer the same."""
    checked = subject.rows[:_CHECKED_ROWS]
    arms: list[Contender | Skipped] = []
    told = []
    for spec, artifact in subject.artifacts.items():
        expected = load(artifact, runtime="reference", nan="propagate").predict(checked)
        wanted = expected.astype(np.float64)
        mine = [on_runtime(artifact, lambda x, y=wanted: y[: len(x)], name, spec, threads) for name in names]
        live = [arm for arm in mine if isinstance(arm, Contender)]
        same = all(
            np.array_equal(np.asarray(arm.prepare(checked)()).view(np.uint32), expected.view(np.uint32)) for arm in live
        )
        told.append({"spec": spec, "bytes": artifact.nbytes, "same_bits": same, **_errors(subject, artifact, expected)})
        arms += mine
    return arms, told


def _errors(subject: _Subject, artifact: Artifact, answers: F32) -> dict[str, Any]:
    """Return the errors against the model: measured if it is here, as they stand in the artifact otherwise."""
    if subject.net is not None:
        gap = np.abs(answers - subject.net.evaluate(subject.rows[: len(answers)]))
        return {
            "max_error": float(gap.max()),
            "mean_error": float(gap.mean()),
            "error_rows": len(gap),
            "measured": "here",
        }
    found = artifact.manifest.get("verification") or {}
    return {
        "max_error": found.get("max_abs"),
        "mean_error": found.get("mae"),
        "error_rows": found.get("rows"),
        "measured": "when it was compiled",
    }


def _case_json(case: Case) -> dict[str, Any]:
    """Return a case; the errors stand with the artifacts, since all runtimes answer the same."""
    left_out = ("max_error", "mean_error", "output_spread", "kind")
    found = case.to_json()
    arms = [{key: value for key, value in arm.items() if key not in left_out} for arm in found["arms"]]
    return {"batch": found["batch"], "arms": arms, "skipped": found["skipped"]}


def _time_rows(case: Case) -> list[tuple[str, ...]]:
    """Return a table of the times, the fastest arm first."""
    head = "1 row a call" if case.batch == 1 else f"{count(case.batch)} rows a call"
    rows: list[tuple[str, ...]] = [(head, "us a call", "quartiles", "ns an edge")]
    for arm in sorted(case.arms, key=lambda arm: arm.timing.ns_an_edge):
        low, high = arm.timing.quartiles
        name = f"{arm.name} ({count(arm.timing.rows)} rows)" if arm.reduced else arm.name
        spread = f"{microseconds(low)} - {microseconds(high)}"
        rows.append((name, microseconds(arm.timing.median), spread, figure(arm.timing.ns_an_edge)))
    return rows


def _arm_rows(case: Case) -> list[tuple[str, ...]]:
    """Return a table of what the arms run on."""
    return [
        ("runtime", "instruction set", "bytes in memory"),
        *((arm.name, arm.isa, count(arm.nbytes)) for arm in case.arms),
    ]


def _artifact_rows(results: dict[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("artifact", "bytes", "max error", "mean error", "runtimes agree")]
    for told in results["artifacts"]:
        errors = ("unknown" if told[key] is None else figure(told[key]) for key in ("max_error", "mean_error"))
        rows.append((told["spec"] or "as given", count(told["bytes"]), *errors, "yes" if told["same_bits"] else "NO"))
    return rows


def _remarks(results: dict[str, Any], cases: Sequence[Case]) -> list[str]:
    first = results["artifacts"][0]
    lines = ["Runtimes agree where they answer the same bits."]
    if first["max_error"] is not None:
        rows = count(first["error_rows"])
        lines.append(f"Errors are |artifact - model| on {rows} rows, measured {first['measured']}.")
    if "drawn" in results["rows"]:
        lines.append(f"Timed on {results['rows']}; --data FILE takes your own.")
    lines += [f"{skipped.name} is not here: {skipped.reason}" for skipped in cases[0].skipped]
    if any(arm.reduced for case in cases for arm in case.arms):
        lines.append("Fewer rows than asked for, where a call would take more than 2 s or 4 GB.")
    return lines


def _text(results: dict[str, Any], cases: Sequence[Case]) -> str:
    machine, pinned = results["machine"], results["pinned"]
    threads = "one thread" if results["threads"] == 1 else f"{results['threads']} threads"
    place = "" if pinned["core"] is None else f" on core {pinned['core']}"
    lines = [
        wrapped(results["title"]),
        wrapped(f"{machine['cpu']}, {threads}{place}; {results['plan']['rounds']} rounds"),
        "",
        table(_artifact_rows(results)),
        "",
        table(_arm_rows(cases[0])),
    ]
    for case in cases:
        lines += ["", table(_time_rows(case))]
    return "\n".join([*lines, "", *(wrapped(line) for line in _remarks(results, cases))])


def _markdown(results: dict[str, Any], cases: Sequence[Case]) -> str:
    tables = [_artifact_rows(results), _arm_rows(cases[0]), *(_time_rows(case) for case in cases)]
    parts = [f"# {results['title']}", machine_markdown(results), *(markdown_table(rows) for rows in tables)]
    return "\n\n".join([*parts, *_remarks(results, cases)])
