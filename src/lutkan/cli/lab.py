"""`lutkan lab`: experiments that anyone can run again, each with the baselines that could refute it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["VERBS", "Again", "Output", "OverRay", "Quick", "Workers"]

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

#: The subcommands of `lutkan lab`, in the order in which the help lists them.
VERBS: tuple[Callable[..., Any], ...] = ()
