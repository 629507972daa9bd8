"""Sections of the case study on intrusion detection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lutkan.report.load import Result
from lutkan.report.page import Part
from lutkan.report.parts import (
    READ_PARETO,
    Point,
    arms,
    entries,
    grid,
    in_words,
    numbers_of,
    only,
    pareto,
    share,
    tables_kind,
    timed_points,
    whole,
)
from lutkan.report.plots import Plot, matrices
from lutkan.report.tables import Group, Table, group, number, over_seeds, spread

__all__ = ["dos_parts"]

# Rows of a table of single decisions; what is beyond stands in the CSV.
_MOST_ROWS = 2000


def dos_parts(result: Result) -> Sequence[Part]:
    """Return the parts of the case study."""
    models = over_seeds(only(result, "part", "model"))
    specs = over_seeds(only(result, "part", "spec"))
    timings = over_seeds(only(result, "part", "timing"))
    return [
        _quality(models, specs),
        _front(specs, timings),
        _confusion(models, specs),
        _changed(specs),
        _outside(models),
        _times(timings),
    ]


_FIGURES = ("accuracy", "precision", "recall", "f1", "auc", "pr_auc")


def _quality(models: Sequence[Group], specs: Sequence[Group]) -> Part:
    rows = []
    for (data, attack), mine in group([*models, *specs], "data", "attack").items():
        for one in mine:
            tested = [sum(numbers_of(Group({}, (cell,)), "confusion").values()) for cell in one.cells]
            rows.append(
                (
                    f"{data}, {attack}",
                    str(one.params.get("spec") or "float model"),
                    *(spread(one.summary(name), "{:.5f}".format) for name in _FIGURES),
                    spread(one.summary("f1_lost"), "{:+.5f}".format),
                    f"{sum(one.numbers('changed_decisions')):,.0f} of {sum(tested):,.0f}"
                    if one.numbers("changed_decisions")
                    else "",
                    whole(one.mean("file_bytes" if one.numbers("file_bytes") else "checkpoint_bytes")),
                    str(len(one.cells)),
                )
            )
    head = (
        "task", "tables", "accuracy", "precision", "recall", "F1", "AUC", "PR-AUC", "F1 lost", "changed decisions",
        "bytes", "seeds",
    )  # fmt: skip
    missing = "" if models else "no cell of the float model"
    return Part(
        "Quality by precision", tables=(Table("Quality", head, tuple(rows), 2),) if rows else (), missing=missing
    )


def _front(specs: Sequence[Group], timings: Sequence[Group]) -> Part:
    plots: list[Plot] = []
    missing: list[str] = []
    for (data, attack), mine in group([*specs, *timings], "data", "attack").items():
        points = [
            Point(
                tables_kind(str(one.params.get("spec"))),
                str(one.params.get("spec")),
                one.mean("mean_error"),
                one.mean("file_bytes"),
            )
            for one in mine
            if one.params.get("part") == "spec"
        ]
        timed = [one for one in mine if one.params.get("part") == "timing"]
        clocked = timed_points(timed)
        for candidates, coordinate in ((points, "nbytes"), (clocked, "time")):
            drawn, lacking = pareto(
                f"pareto-{data}-{attack}",
                f"{data}, {attack}",
                candidates,
                coordinates=(coordinate,),
                error="mean error of the logit",
                nbytes="file bytes",
            )
            plots += drawn
            missing += [f"{data}, {attack}: {text}" for text in lacking]
    return Part("Accuracy, size and latency", READ_PARETO, tuple(plots), missing="; ".join(missing))


def _matrix(one: Group) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """Add up the confusion matrices of the seeds."""
    total = np.zeros((2, 2))
    for cell in one.cells:
        found = cell.values.get("confusion")
        if isinstance(found, dict):
            found = [[found.get("tn"), found.get("fp")], [found.get("fn"), found.get("tp")]]
        try:
            total = total + np.asarray(found, dtype=np.float64)
        except (TypeError, ValueError):
            return None
    return total if np.isfinite(total).all() else None


def _confusion(models: Sequence[Group], specs: Sequence[Group]) -> Part:
    plots: list[Plot] = []
    lacking: list[str] = []
    for (data, attack), mine in group([*models, *specs], "data", "attack").items():
        found = [(str(one.params.get("spec") or "float model"), _matrix(one)) for one in mine]
        lacking += [f"{data}, {attack}: {name} has no matrix" for name, matrix in found if matrix is None]
        shown = [(name, matrix) for name, matrix in found if matrix is not None]
        if shown:
            seeds = max(len(one.cells) for one in mine)
            plots.append(
                matrices(
                    f"confusion-{data}-{attack}",
                    f"{data}, {attack}",
                    shown,
                    ("benign", "attack"),
                    caption=f"Rows of the test side, {seeds} seed{'s' if seeds > 1 else ''} added up.",
                )
            )
    if not plots and not lacking:
        lacking.append("no cell holds a confusion matrix")
    return Part("Confusion matrices", "", tuple(plots), missing="; ".join(lacking))


def _changed(specs: Sequence[Group]) -> Part:
    rows, total = [], 0
    for one in specs:
        for cell in one.cells:
            for changed in entries(cell.values.get("changed")):
                total += 1
                if len(rows) < _MOST_ROWS:
                    rows.append(
                        (
                            f"{one.params.get('data')}, {one.params.get('attack')}",
                            str(one.params.get("spec")),
                            str(cell.params.get("seed", "")),
                            str(changed.get("row", "")),
                            str(changed.get("label", "")),
                            *(_probability(changed.get(name)) for name in ("float_score", "score")),
                        )
                    )
    head = ("task", "tables", "seed", "row", "label", "float score", "score of the tables")
    note = f"The first {_MOST_ROWS} of {total:,}; all stand in the CSV." if total > len(rows) else ""
    if specs and not rows:
        note = "No test row is called otherwise than by the float model."
    text = "Test rows that the tables call otherwise than the float model. A score of 0.5 is the border."
    table = Table("Changed decisions", head, tuple(rows), 2, note)
    return Part("Changed decisions", text, tables=(table,) if specs else ())


def _mean(values: Sequence[Any]) -> float:
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return float(np.mean(numbers)) if numbers else math.nan


def _probability(value: object) -> str:
    return f"{value:.6f}" if isinstance(value, float) else number(value)


def _outside(models: Sequence[Group]) -> Part:
    fields: dict[str, dict[tuple[str, str], float]] = {"outside_core": {}, "outside_knots": {}}
    rows = []
    for one in models:
        task = f"{one.params.get('data')}, {one.params.get('attack')}"
        layers: dict[Any, list[dict[str, Any]]] = {}
        for cell in one.cells:
            for layer in entries(cell.values.get("layers")):
                layers.setdefault(str(layer.get("layer")), []).append(layer)
        for layer, found in layers.items():
            means = {name: _mean([one_layer.get(name) for one_layer in found]) for name in fields}
            for name, value in means.items():
                fields[name][task, f"layer {layer}"] = value
            rows.append((task, layer, *(share(value) for value in means.values())))
    plots = [
        drawn
        for name, values in fields.items()
        if (drawn := grid(f"oob-{name}", f"Inputs {in_words(name)}", values, write=share)) is not None
    ]
    head = ("task", "layer", "outside the core grid", "outside the knots")
    table = Table("Inputs beyond the grid", head, tuple(rows), 2)
    missing = "" if plots else "no cell tells the share of inputs beyond the grid"
    return Part("Inputs beyond the grid", "", tuple(plots), (table,) if rows else (), missing)


def _times(timings: Sequence[Group]) -> Part:
    rows = []
    for one in timings:
        for name, arm in sorted(arms(one), key=lambda pair: pair[1].mean("ns_an_edge")):
            rows.append(
                (
                    f"{one.params.get('data')}, {one.params.get('attack')}",
                    str(one.params.get("batch")),
                    name,
                    number(1e6 * arm.mean("median_s")),
                    number(arm.mean("ns_an_edge")),
                    number(arm.mean("max_error")),
                    number(arm.mean("memory_bytes")),
                )
            )
    head = ("task", "rows", "arm", "us a call", "ns an edge", "max error", "bytes in memory")
    return Part(
        "Latency",
        tables=(Table("Latency", head, tuple(rows), 3),) if rows else (),
        missing="" if rows else "no cell was timed",
    )
