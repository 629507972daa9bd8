"""Bytes: every array of every kind of table, against the checkpoint and against what a runtime keeps in memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lutkan.artifact import Artifact
from lutkan.artifact.codec import LIST_PARTS, encode_program
from lutkan.errors import InputError
from lutkan.lab import nets
from lutkan.lab.experiment import Run, run_experiment
from lutkan.lab.nets import Drawn
from lutkan.runtimes import load
from lutkan.runtimes.model import available_runtimes
from lutkan.tables import BasisSpec, SegmentSpec, Spec, compile_network

__all__ = ["NETS", "TABLES", "MemoryCell", "array_bytes", "cells", "measure", "run_memory", "tables_spec"]

#: Networks by name: widths, and intervals of the grid.
NETS = {
    "10-8": ((10, 8), 8),
    "78-32-16-1": ((78, 32, 16, 1), 5),
    "64-64-10": ((64, 64, 10), 5),
    "784-64-10": ((784, 64, 10), 5),
    "128-128": ((128, 128), 8),
    "256-256": ((256, 256), 8),
}
_SAMPLES = (2, 4, 8, 16, 32, 64, 128)
#: What the networks are compiled to: coefficient bits of basis tables, and the paper's L with both of its codes.
TABLES = (
    "basis-32",
    "basis-16",
    "basis-8",
    "basis-4",
    "basis-3",
    "basis-2",
    *(f"segment-{dtype}-L{samples}" for dtype in ("int8", "uint8") for samples in _SAMPLES),
)
_ROWS = 256


@dataclass(frozen=True)
class MemoryCell:
    """A network as one kind of table."""

    net: str
    tables: str


def cells(names: Sequence[str] = tuple(NETS), tables: Sequence[str] = TABLES) -> list[MemoryCell]:
    """Return the cells.

    Raises
    ------
    InputError
        An unknown network.

    Examples
    --------
    >>> len(cells(["10-8"]))
    20
    """
    unknown = [name for name in names if name not in NETS]
    if unknown:
        raise InputError(f"no network {unknown[0]!r} here", ", ".join(NETS))
    return [MemoryCell(name, kind) for name in names for kind in tables]


def run_memory(
    output: Path,
    *,
    names: Sequence[str] = tuple(NETS),
    tables: Sequence[str] = TABLES,
    workers: int = 1,
    ray: bool = False,
    again: bool = False,
    on_cell: Callable[[int], None] | None = None,
) -> Run:
    """Count bytes into a result file, or go on with it; see `run_experiment`."""
    return run_experiment(
        "memory",
        cells(names, tables),
        measure,
        output,
        seeds=(0,),
        workers=workers,
        ray=ray,
        again=again,
        on_cell=on_cell,
    )


def tables_spec(tables: str) -> Spec:
    """Return the spec of a kind of table.

    Examples
    --------
    >>> tables_spec("basis-4").default.coefficient_bits
    4
    """
    kind, *rest = tables.split("-")
    if kind == "basis":
        return Spec(BasisSpec(int(rest[0])))  # type: ignore[arg-type]
    return Spec(SegmentSpec(int(rest[1].removeprefix("L")), rest[0]))  # type: ignore[arg-type]


@functools.lru_cache(maxsize=1)
def _draw(name: str) -> Drawn:
    widths, intervals = NETS[name]
    return nets.efficient_kan(widths, intervals=intervals)


def measure(cell: MemoryCell) -> dict[str, Any]:
    """Count the bytes of a cell."""
    model = _draw(cell.net)
    rows = nets.input_rows(model.widths[0], _ROWS).astype(np.float64)
    artifact = compile_network(model.network, tables_spec(cell.tables), rows, calibrated=True)
    resident = {
        name: load(artifact, runtime=name).info()["memory_bytes"]
        for name, missing in available_runtimes().items()
        if not missing
    }
    trained = (array.nbytes for key, array in model.state.items() if not key.endswith("grid"))
    return {
        "edges": model.edges,
        "checkpoint_bytes": model.checkpoint_bytes,
        "parameter_bytes": sum(trained),
        "file_bytes": artifact.nbytes,
        "table_bytes": artifact.table_nbytes,
        "arrays": array_bytes(artifact),
        "memory_bytes": resident,
    }


def array_bytes(artifact: Artifact) -> dict[str, int]:
    """Return the bytes of an artifact's arrays by what they hold, the largest first.

    Examples
    --------
    >>> from lutkan import api
    >>> array_bytes(api.compile(nets.efficient_kan((3, 2)).network, "int8"))["basis q"]
    48
    """
    found: dict[str, int] = {}
    for path, array in encode_program(artifact.program)[1].items():
        *parents, name = path.split(".")
        role = f"{_operation(artifact, parents)} {name}".replace("_", " ")
        found[role] = found.get(role, 0) + array.nbytes
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _operation(artifact: Artifact, path: Sequence[str]) -> str:
    """Return the kind of the operation at a path such as s0, b1, table."""
    owner: Any = artifact.program
    for part in path:
        listed = next((name for name, short in LIST_PARTS.items() if part[0] == short and part[1:].isdigit()), None)
        owner = getattr(owner, part) if listed is None else getattr(owner, listed)[int(part[1:])]
    return owner.op
