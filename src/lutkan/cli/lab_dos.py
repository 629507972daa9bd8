"""`lutkan lab dos`: the case study on intrusion detection, from flows to decisions."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lutkan.cli.lab import Again, Clock, Output, OverRay, Quick, Timer, Workers, advancing, print_run, result_file
from lutkan.cli.options import AsJson, Drop, split_names
from lutkan.cli.terminal import working
from lutkan.errors import InputError

__all__ = ["Protocol", "Split", "dos"]


class Protocol(str, Enum):
    """How flows are cleaned, split and scaled."""

    clean = "clean"
    paper = "paper"


class Split(str, Enum):
    """How flows are split that no file splits."""

    auto = "auto"
    time = "time"
    stratified = "stratified"


def dos(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="A folder of NSL-KDD, a .csv of flows by CICFlowMeter, or a folder of them.",
            show_default=False,
        ),
    ],
    attack: Annotated[
        list[str] | None,
        typer.Option(
            "--attack",
            metavar="CLASSES",
            help="What to detect, a label or several separated by commas; dos is all denial of service. May be "
            "repeated: a network each. Default: neptune and dos on NSL-KDD, dos elsewhere.",
            show_default=False,
        ),
    ] = None,
    normal: Annotated[
        str | None,
        typer.Option(
            "--normal",
            metavar="CLASSES",
            help="What it is told from. Default: normal on NSL-KDD, BENIGN elsewhere.",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        Protocol,
        typer.Option(
            "--protocol",
            help="clean: no equal rows, logarithms scaled to [-1, 1]; paper: as in the published study of DoS Hulk.",
        ),
    ] = Protocol.clean,
    split: Annotated[
        Split,
        typer.Option("--split", help="Where the files have no split of their own; auto: by time if they tell it."),
    ] = Split.auto,
    test_share: Annotated[float, typer.Option("--test-share", metavar="SHARE", help="Of every class.")] = 0.2,
    drop: Drop = None,
    seeds: Annotated[str, typer.Option("--seeds", metavar="LIST", help="Of networks and random splits.")] = "0,1,2",
    spec: Annotated[
        str | None,
        typer.Option(
            "--spec", metavar="SPECS", help="Precisions, separated by commas. Default: all.", show_default=False
        ),
    ] = None,
    hidden: Annotated[str, typer.Option("--hidden", metavar="LIST", help="Widths of the hidden layers.")] = "32,16",
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help="Of the training, exactly. Default: by protocol.", show_default=False),
    ] = None,
    batch: Annotated[
        str, typer.Option("--batch", metavar="SIZES", help="Rows a call in the timings; an empty text: no timings.")
    ] = "1,256",
    clock: Timer = Clock.wall,
    output: Output = None,
    workers: Workers = 1,
    ray: OverRay = False,
    again: Again = False,
    quick: Quick = False,
    as_json: AsJson = False,
) -> None:
    """Run the case study on intrusion detection.

    A pykan-style network is trained on flows and compiled under every precision, and its decisions on the test side are
    compared with those of the float model: figures of a classifier, confusion matrices, every changed decision with its
    float score, bytes, latency of all arms, inputs beyond the grid. Trained networks are kept beside the result file.

    \b
    Example:
      lutkan lab dos nsl_kdd/ -o dos.jsonl
    """  # noqa: D301
    from lutkan.lab.dos import study as experiment
    from lutkan.lab.dos.sides import Task

    target = result_file(output, "dos")
    study = experiment.Study(
        tuple(experiment.Source.of(path) for path in paths),
        task=Task(normal=normal or "", protocol=protocol.value, split=split.value, test_share=test_share),
        drop=tuple(split_names(drop)),
        hidden=_integers("--hidden", hidden),
        recipe=experiment.recipe_of(protocol.value, epochs, quick=quick),
        models=f"{target.with_suffix('')}-models",
        plan=experiment.plan_of(clock.value, quick=quick),
    )
    with working("reading the flows"):
        cells = experiment.plan_cells(
            study,
            attacks=attack or (),
            seeds=tuple(dict.fromkeys(_integers("--seeds", seeds)))[: 1 if quick else None],
            specs=tuple(split_names(spec)) or (experiment.QUICK_SPECS if quick else experiment.SPECS),
            batches=tuple(dict.fromkeys(_integers("--batch", batch))) if batch else (),
        )
    with advancing("cells", len(cells)) as on_cell:
        run = experiment.run(study, cells, target, workers=workers, ray=ray, again=again, on_cell=on_cell)
    print_run(run, target, as_json=as_json)


def _integers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{option} {text}", "whole numbers separated by commas") from error
