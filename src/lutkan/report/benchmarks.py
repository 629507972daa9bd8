"""Sections of the frozen benchmarks: accuracy, bounds, the engine and its rivals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from lutkan.report.load import Result
from lutkan.report.page import Part
from lutkan.report.parts import (
    READ_PARETO,
    Point,
    all_cells,
    brought_together,
    largest_batch,
    numbers_of,
    pareto,
    plural,
)
from lutkan.report.plots import Plot, bars
from lutkan.report.tables import Group, Table, group, number, over_seeds

__all__ = ["BUILDERS"]


def _accuracy(result: Result) -> Sequence[Part]:
    groups = over_seeds(result.cells)
    plots: list[Plot] = []
    missing: list[str] = []
    rows = []
    for (data,), mine in group(groups, "data").items():
        points = []
        for one in mine:
            relative = _ratio(one, "mean_error", "spread")
            size = _ratio(one, "file_bytes", "checkpoint_bytes")
            points.append(Point(str(one.params.get("net")), str(one.params.get("spec")), relative, size))
            tested, equal = sum(one.numbers("rows")), sum(one.numbers("equal"))
            rows.append(
                (
                    str(data),
                    str(one.params.get("net")),
                    str(one.params.get("spec")),
                    _percent(equal / tested if tested else math.nan, 3),
                    _percent(relative),
                    _percent(_largest(one)),
                    number(one.mean("file_bytes")),
                    f"{size:.3f}" if math.isfinite(size) else "",
                )
            )
        drawn, lacking = pareto(
            f"pareto-{data}",
            str(data),
            points,
            error="mean error / spread of outputs",
            nbytes="file / checkpoint",
        )
        plots += drawn
        missing += [text for text in lacking if "latency" not in text]
    head = ("data", "net", "spec", "equal decisions", "mean error", "largest error", "file bytes", "of checkpoint")
    table = Table(
        "Accuracy and size", head, tuple(rows), 3, "Errors are parts of the standard deviation of the outputs."
    )
    return (Part("Accuracy and size", READ_PARETO, tuple(plots), (table,), "; ".join(missing)),)


def _bounds(result: Result) -> Sequence[Part]:
    groups = over_seeds(result.cells)
    bounded = [one for one in groups if one.numbers("bound") and one.numbers("drawn")]
    labels = [f"{one.params.get('net')} {one.params.get('spec')}" for one in bounded]
    ratio = [one.mean("bound") / one.mean("drawn") for one in bounded]
    plots: tuple[Plot, ...] = ()
    if bounded:
        plots = (
            bars(
                "bounds",
                "Certified bound over the largest error found",
                labels,
                {"ratio": ratio},
                x_label="bound / largest error on drawn rows",
                logarithmic=True,
                caption="1 would be a bound that is reached.",
            ),
        )
    part = all_cells(result.cells, "Bounds and errors", ("layers",))
    tables = part.tables if part is not None else ()
    missing = "" if bounded else "bound over error: no record holds both"
    return (Part("Bounds and errors", "", plots, tables, missing),)


def _engine(result: Result) -> Sequence[Part]:
    """Show arms by shape, on the largest batch of each: the smaller ones stand in the table."""
    groups = over_seeds(result.cells)
    plots: list[Plot] = []
    missing: list[str] = []
    for (shape,), mine in group(groups, "shape").items():
        batch = largest_batch(mine)
        points = [
            Point(
                _text(one, "kind") or "runtime",
                str(one.params.get("arm")),
                one.mean("mean_error"),
                one.mean("memory_bytes"),
                one.mean("ns_an_edge"),
            )
            for one in mine
            if one.params.get("batch") == batch and _text(one, "kind") != "dense"
        ]
        drawn, lacking = pareto(f"pareto-{shape}", f"{shape or 'all'}, {plural(batch, 'row')}", points)
        plots += drawn
        missing += [f"{shape or 'all'}: {text}" for text in lacking]
    part = all_cells(result.cells, "All arms", ("calls_a_block", "edges", "batch_reduced"))
    tables = part.tables if part is not None else ()
    text = (
        f"{READ_PARETO} On the largest batch. Dense layers of the same shape are other functions; they stand in the "
        "table only."
    )
    return (Part("Accuracy, size and latency", text, tuple(plots), tables, "; ".join(missing)),)


def _instructions(result: Result) -> Sequence[Part]:
    groups = over_seeds(result.cells)
    rows_of = result.manifest.get("rows")
    plots: list[Plot] = []
    missing: list[str] = []
    for (shape,), mine in group(groups, "shape").items():
        counts = []
        for one in mine:
            evaluations = (rows_of if isinstance(rows_of, int) else 0) * one.mean("edges")
            found = numbers_of(one, "counts")
            found = {name: count / evaluations for name, count in found.items() if name != "all" and evaluations > 0}
            counts.append(found)
        names = list(dict.fromkeys(name for found in counts for name in found))
        if not names:
            missing.append(f"{shape}: no record holds counts, rows and edges")
            continue
        plots.append(
            bars(
                f"instructions-{shape}",
                str(shape),
                [str(one.params.get("spec")) for one in mine],
                brought_together({name: [found.get(name, 0.0) for found in counts] for name in names}, "the rest"),
                x_label="instructions an edge",
            )
        )
    part = all_cells(result.cells, "Instructions by function")
    tables = part.tables if part is not None else ()
    return (Part("Instructions by function", "", tuple(plots), tables, "; ".join(missing)),)


def _ratio(one: Group, over: str, under: str) -> float:
    below = one.mean(under)
    return one.mean(over) / below if below else math.nan


def _largest(one: Group) -> float:
    """Return the largest error of all seeds, each over the spread of its own network's outputs."""
    pairs = zip(one.numbers("max_error"), one.numbers("spread"), strict=True)
    return max((error / spread for error, spread in pairs if spread), default=math.nan)


def _percent(value: float, digits: int = 2) -> str:
    return "" if math.isnan(value) else f"{100 * value:.{digits}f} %"


def _text(one: Group, name: str) -> str:
    found: Any = one.cells[0].values.get(name)
    return found if isinstance(found, str) else ""


BUILDERS: dict[str, Callable[[Result], Sequence[Part]]] = {
    "accuracy": _accuracy,
    "bounds": _bounds,
    "engine": _engine,
    "bench": _engine,
    "instructions": _instructions,
}
