"""The controlled sweep of LUT-KAN, with baselines that could refute it and integer basis tables beside it.

Two kinds of cells. A `TableCell` compiles one network to one kind of table and measures errors and bytes; a `TimeCell`
times tables and B-splines of one network in turns, tier by tier: numpy against numpy, Numba against Numba, native code
against native code. In each tier stands the baseline of the paper, which repeats the Cox-de Boor recursion for every
edge, and the ordinary one, which finds an input's few bases once for all outputs (arXiv 2601.03332, section
"matched backends").
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import Artifact
from lutkan.errors import InputError
from lutkan.lab import nets
from lutkan.lab.arms import Contender, Skipped, numpy_, own
from lutkan.lab.experiment import Run, run_experiment
from lutkan.lab.memory import array_bytes
from lutkan.lab.nets import Drawn
from lutkan.lab.suite import run_case
from lutkan.lab.timing import Plan
from lutkan.runtimes import load
from lutkan.tables import LayerSpec, SegmentSpec, Spec, compile_network, resolve_spec

__all__ = [
    "NETS",
    "TIERS",
    "Settings",
    "TableCell",
    "Tier",
    "TimeCell",
    "cells",
    "draw",
    "measure",
    "run_sweep",
    "settings",
    "table_spec",
]

F32 = NDArray[np.float32]

SAMPLES = (2, 4, 8, 16, 32, 64, 128)
BASES = ("int16", "int8", "int4", "float32")
VALUES = ("spline_component", "phi")
SEEDS = (0, 1, 2, 3, 4)
BATCHES = (1, 256)
TIMED = ("segment-int8-L16", "segment-int8-L64", "segment-uint8-L16")
#: The per-edge recursion in Python takes seconds a row beyond this.
PAPER_EDGES = 5_000
_CALIBRATION_ROWS = 1024


@dataclass(frozen=True)
class Shape:
    """A network of the sweep.

    Attributes
    ----------
    widths : tuple of int
    intervals : int
        Of the grid, `G`; cubic splines.
    untrained : bool
        Drawn as pykan initialises; otherwise so that hidden activations spread as in trained networks.
    """

    widths: tuple[int, ...]
    intervals: int = 5
    untrained: bool = False


#: The networks of the sweep by name. The first is that of the paper's controlled experiments.
NETS = {
    "10-8": Shape((10, 8), 8, untrained=True),
    "78-32-16-1": Shape((78, 32, 16, 1)),
    "64-64-10": Shape((64, 64, 10)),
    "128-128": Shape((128, 128), 8),
    "256-256": Shape((256, 256), 8),
}


@dataclass(frozen=True)
class TableCell:
    """A network as tables: errors and bytes.

    Attributes
    ----------
    net : str
        A name of `NETS`.
    seed : int
    tables : str
        "segment-int8-L16", ..., or a basis spec: "int16", "int8", "int4", "float32".
    value : str
        What segment tables hold: "spline_component" or "phi"; empty for basis tables.
    """

    net: str
    seed: int
    tables: str
    value: str = ""
    task: Literal["tables"] = "tables"


@dataclass(frozen=True)
class TimeCell:
    """A network and a batch: all arms in turns."""

    net: str
    seed: int
    batch: int
    task: Literal["time"] = "time"


@dataclass(frozen=True)
class Settings:
    """What decides the values beside the cells.

    Attributes
    ----------
    rows : int
        Rows that errors are measured on, half of them in range.
    rounds, blocks : int
    block_seconds, arm_seconds : float
        Of the timing plan.
    clock : {"wall", "cpu"}
        "cpu" is the time of the calling thread, on a machine that others use.
    """

    rows: int = 1024
    rounds: int = 7
    blocks: int = 2
    block_seconds: float = 0.004
    arm_seconds: float = 1.5
    clock: Literal["wall", "cpu"] = "wall"

    def plan(self, seed: int) -> Plan:
        """Return the plan of a case."""
        import time

        clock = time.perf_counter if self.clock == "wall" else time.thread_time
        return Plan(self.rounds, self.blocks, self.block_seconds, self.arm_seconds, seed, clock)


def settings(*, quick: bool = False, clock: Literal["wall", "cpu"] = "wall") -> Settings:
    """Return the settings of a whole sweep, or of a quick look.

    Examples
    --------
    >>> settings(quick=True).rows
    64
    """
    if quick:
        return Settings(rows=64, rounds=3, blocks=1, block_seconds=0.001, arm_seconds=0.1, clock=clock)
    return Settings(clock=clock)


def cells(
    names: Sequence[str] = tuple(NETS), seeds: Sequence[int] = SEEDS, *, quick: bool = False
) -> list[TableCell | TimeCell]:
    """Return the cells of the sweep, those that time last.

    Raises
    ------
    InputError
        An unknown network.

    Examples
    --------
    >>> len(cells(["10-8"], [0]))
    34
    """
    unknown = [name for name in names if name not in NETS]
    if unknown:
        raise InputError(f"no network {unknown[0]!r} in the sweep", ", ".join(NETS))
    samples = (4, 16) if quick else SAMPLES
    tables = [
        TableCell(name, seed, spec, value)
        for name in names
        for seed in seeds
        for spec, value in (
            *((f"segment-{d}-L{n}", v) for n in samples for d in ("int8", "uint8") for v in VALUES),
            *((spec, "") for spec in BASES),
        )
    ]
    batches = (8,) if quick else BATCHES
    return tables + [TimeCell(name, seed, batch) for name in names for batch in batches for seed in seeds]


def run_sweep(
    output: Path,
    *,
    names: Sequence[str] = tuple(NETS),
    seeds: Sequence[int] = SEEDS,
    settings: Settings,
    quick: bool = False,
    workers: int = 1,
    ray: bool = False,
    again: bool = False,
    on_cell: Callable[[int], None] | None = None,
) -> Run:
    """Run the sweep into a result file, or go on with it; see `run_experiment`."""
    return run_experiment(
        "sweep",
        cells(names, seeds, quick=quick),
        functools.partial(measure, settings=settings),
        output,
        parameters=asdict(settings),
        seeds=seeds,
        workers=workers,
        ray=ray,
        again=again,
        on_cell=on_cell,
    )


def measure(cell: TableCell | TimeCell, settings: Settings) -> dict[str, Any]:
    """Measure a cell."""
    return _measure_times(cell, settings) if isinstance(cell, TimeCell) else _measure_tables(cell, settings)


# --- errors and bytes ---


@functools.lru_cache(maxsize=2)
def draw(name: str, seed: int) -> Drawn:
    """Return a network of the sweep."""
    shape = NETS[name]
    make = nets.untrained_pykan if shape.untrained else nets.efficient_kan
    return make(shape.widths, seed, intervals=shape.intervals)


def table_spec(tables: str, value: str) -> Spec:
    """Return the spec of a `TableCell`: segments are closed and keep the model's policy outside.

    A spline of these networks is zero at both ends of its knots, so that for `spline_component` the policies `model`,
    `clip_x` and `zero_spline` are one; for `phi`, `model` keeps policy out of what is measured here.
    """
    spec = resolve_spec(tables)
    if not isinstance(spec.default, SegmentSpec):
        return spec
    layer: LayerSpec = SegmentSpec(
        spec.default.samples,
        spec.default.dtype,
        value=value,  # type: ignore[arg-type]
        boundary_mode="closed",
        oob_policy="model",
    )
    return Spec(layer)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows in and out of the range of the first layer's knots, and the model's answers."""

    within: F32
    beyond: F32
    answers: tuple[NDArray[np.float64], NDArray[np.float64]] = field(repr=False)
    share: float = 0.0


@functools.lru_cache(maxsize=2)
def _rows(name: str, seed: int, count: int) -> _Rows:
    """Draw from N(0, 1): clipped to the knots, and as they come where at least one input lies beyond them."""
    model = draw(name, seed)
    rng = np.random.default_rng((2026, seed))
    width = model.widths[0]
    knots = model.state["layers.0.grid"][0]
    within = np.clip(rng.standard_normal((count, width)).astype(np.float32), knots[0], knots[-1])
    parts: list[F32] = []
    while sum(map(len, parts)) < count:
        rows = rng.standard_normal((count, width)).astype(np.float32)
        parts.append(rows[((rows < knots[0]) | (rows > knots[-1])).any(axis=1)])
    beyond = np.concatenate(parts)[:count]
    share = float(((beyond < knots[0]) | (beyond > knots[-1])).mean())
    return _Rows(within, beyond, (model.evaluate(within), model.evaluate(beyond)), share)


def _compile(model: Drawn, spec: Spec) -> Artifact:
    rows = np.clip(np.random.default_rng(7).standard_normal((_CALIBRATION_ROWS, model.widths[0])), *_ends(model))
    return compile_network(model.network, spec, rows, calibrated=True)


def _ends(model: Drawn) -> tuple[float, float]:
    knots = model.state["layers.0.grid"][0]
    return float(knots[0]), float(knots[-1])


def _measure_tables(cell: TableCell, settings: Settings) -> dict[str, Any]:
    model = draw(cell.net, cell.seed)
    rows = _rows(cell.net, cell.seed, settings.rows // 2)
    artifact = _compile(model, table_spec(cell.tables, cell.value))
    runtime = load(artifact)
    values: dict[str, Any] = {"out_share": rows.share, "spread": float(rows.answers[0].std())}
    for where, x, wanted in zip(("in_range", "out_of_range"), (rows.within, rows.beyond), rows.answers, strict=True):
        gap = np.abs(runtime.predict(x) - wanted)
        values[where] = {"rows": len(x), "mae": float(gap.mean()), "max": float(gap.max())}
    return values | {
        "file_bytes": artifact.nbytes,
        "table_bytes": artifact.table_nbytes,
        "arrays": array_bytes(artifact),
        "memory_bytes": runtime.info()["memory_bytes"],
        "checkpoint_bytes": model.checkpoint_bytes,
        "edges": model.edges,
    }


# --- times ---


@dataclass(frozen=True)
class Tier:
    """Arms of one kind of code.

    Attributes
    ----------
    name : str
    paper : str
        The B-spline of the paper, recursion an edge; empty where there is none.
    local : tuple of str
        B-splines with local support: the fastest known, and where that is another program, the one of the engine that
        the look-ups run on.
    look_ups : tuple of str
        Segment look-ups; `{}` stands for the name of the tables.
    """

    name: str
    paper: str
    local: tuple[str, ...]
    look_ups: tuple[str, ...]


TIERS = (
    Tier("numpy", "numpy Cox-de Boor an edge", ("numpy basis + GEMM",), ("numpy {}",)),
    Tier("numba", "numba Cox-de Boor an edge", ("numba B-spline", "numba float32"), ("numba {}", "LUT-KAN layout {}")),
    Tier("native", "", ("native float32",), ("native {}",)),
)


def _arms(model: Drawn) -> list[Contender | Skipped]:
    made = {name: _compile(model, table_spec(name, "spline_component")) for name in (*TIMED, *BASES)}
    paper = model.edges <= PAPER_EDGES
    slow = f"run up to {PAPER_EDGES:,} edges only"
    arms: list[Contender | Skipped] = [numpy_.gemm(model)]
    arms.append(numpy_.edge_bspline(model) if paper else Skipped(TIERS[0].paper, slow))
    arms += [numpy_.look_up(made[name], model, name) for name in TIMED]
    if importlib.util.find_spec("numba") is None:
        names = (TIERS[1].paper, "numba B-spline", *(f"LUT-KAN layout {name}" for name in TIMED))
        arms += [Skipped(name, "numba is not installed") for name in names]
    else:
        from lutkan.lab.arms import numba_

        arms.append(numba_.bspline(model))
        arms.append(numba_.edge_bspline(model) if paper else Skipped(TIERS[1].paper, slow))
        arms += [numba_.edge_lut(made[name], model, name) for name in TIMED]
    for runtime in ("numba", "native"):
        arms += [own.on_runtime(artifact, model.evaluate, runtime, name) for name, artifact in made.items()]
    return arms


def _measure_times(cell: TimeCell, settings: Settings) -> dict[str, Any]:
    model = draw(cell.net, cell.seed)
    rows = _rows(cell.net, cell.seed, max(settings.rows // 2, cell.batch)).within
    case = run_case(cell.net, cell.batch, _arms(model), rows, settings.plan(cell.seed), call_seconds=3.0)
    arms = {}
    for arm in case.arms:
        low, high = arm.timing.quartiles
        arms[arm.name] = {
            "ms": 1000 * arm.timing.median,
            "ms_quartiles": [1000 * low, 1000 * high],
            "rows": arm.timing.rows,
            "ns_an_edge": arm.timing.ns_an_edge,
            "max_error": arm.max_error,
            "mean_error": arm.mean_error,
            "spread": arm.spread,
            "memory_bytes": arm.nbytes,
            "file_bytes": arm.file_bytes,
            "isa": arm.isa,
        }
    ratios = {}
    for tier in TIERS:
        for look_up in tier.look_ups:
            for name in TIMED:
                for baseline in (tier.paper, *tier.local):
                    if baseline in case and look_up.format(name) in case:
                        ratio = case.ratio(baseline, look_up.format(name))
                        ratios[f"{baseline} / {look_up.format(name)}"] = ratio.paired
    return {"arms": arms, "ratios": ratios, "skipped": {skipped.name: skipped.reason for skipped in case.skipped}}
