"""Sections of the comparison of quantization methods."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lutkan.report.load import Cell, Result
from lutkan.report.page import Part
from lutkan.report.parts import READ_PARETO, Point, all_cells, grid, interval, mapping, pareto, share, whole
from lutkan.report.plots import Plot
from lutkan.report.tables import Group, Table, group, number, over_seeds, spread

__all__ = ["quant_parts"]


def quant_parts(result: Result) -> Sequence[Part]:
    """Return the parts of the comparison."""
    groups = over_seeds(result.cells)
    methods = [one for one in groups if one.params.get("kind") in ("float", "ptq", "qat")]
    return [
        _maps(methods),
        _front(methods),
        _table(methods),
        _sensitivity(groups),
        _speed(groups),
    ]


def _method(one: Group) -> str:
    name = str(one.params.get("method"))
    return {"quantkan-uniform": "QuantKAN preset (ours)"}.get(name, name)


def _maps(groups: Sequence[Group]) -> Part:
    plots: list[Plot] = []
    means = [one.mean("accuracy") for one in groups if one.numbers("accuracy")]
    limits = (max(min(means), 100.0 / 10), max(means)) if means else None
    for (data, family), mine in group(groups, "data", "family").items():
        fields = {
            (_method(one), str(one.params.get("row"))): one.mean("accuracy")
            for one in mine
            if one.params.get("kind") != "float"
        }
        floats = [one.mean("accuracy") for one in mine if one.params.get("kind") == "float"]
        drawn = grid(
            f"accuracy-{data}-{family}",
            f"{data}, {family}",
            fields,
            limits=limits,
            write="{:.1f}".format,
            column_label="bits of weights and inputs",
            caption=f"Float: {floats[0]:.2f} %." if floats and math.isfinite(floats[0]) else "",
        )
        if drawn is not None:
            plots.append(drawn)
    text = "Percent of right decisions of the integer artifact, mean over seeds. All maps share their colours."
    missing = "" if plots else "no cell holds the accuracy of a quantized network"
    return Part("Accuracy by method and bits", text, tuple(plots), missing=missing)


def _front(groups: Sequence[Group]) -> Part:
    plots: list[Plot] = []
    missing: list[str] = []
    kinds = {"ptq": "after training", "qat": "in training"}
    for (data, family), mine in group(groups, "data", "family").items():
        points = [
            Point(
                kinds.get(str(one.params.get("kind")), "float"),
                f"{_method(one)} {one.params.get('row')}",
                100.0 - one.mean("accuracy"),
                one.mean("file_bytes" if one.numbers("file_bytes") else "checkpoint_bytes"),
            )
            for one in mine
        ]
        drawn, lacking = pareto(
            f"pareto-{data}-{family}",
            f"{data}, {family}",
            points,
            coordinates=("nbytes",),
            error="wrong decisions (%)",
            nbytes="file bytes",
        )
        plots += drawn
        missing += [f"{data}, {family}: {text}" for text in lacking]
    return Part("Accuracy and size", READ_PARETO, tuple(plots), missing="; ".join(missing))


def _table(groups: Sequence[Group]) -> Part:
    rows = [
        (
            f"{one.params.get('data')}, {one.params.get('family')}",
            str(one.params.get("row")),
            str(one.params.get("kind")),
            _method(one),
            spread(one.summary("accuracy"), "{:.2f}".format),
            spread(one.summary("drop"), "{:+.2f}".format),
            interval(one, "drop"),
            share(one.mean("decision_difference")),
            whole(one.mean("file_bytes" if one.numbers("file_bytes") else "checkpoint_bytes")),
            number(one.mean("seconds")),
            str(len(one.cells)),
        )
        for one in groups
    ]
    head = (
        "network", "bits", "kind", "method", "accuracy (%)", "drop (points)", "95 % interval",
        "integers decide otherwise", "bytes", "seconds", "seeds",
    )  # fmt: skip
    note = (
        "The drop is paired with the float network of the same seed. QuantKAN preset (ours): our re-implementation of "
        "its uniform preset."
    )
    return Part("Methods", tables=(Table("Methods", head, tuple(rows), 4, note),) if rows else ())


def _sensitivity(groups: Sequence[Group]) -> Part:
    """Show what quantizing one part of a network alone costs, wherever a cell tells it."""
    plots: list[Plot] = []
    rows = []
    for one in groups:
        found = [_sensitivity_fields(cell) for cell in one.cells]
        fields: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for cell_fields in found:
            for key, value in cell_fields.items():
                fields.setdefault(key, []).append(value)
        if not fields:
            continue
        label = ", ".join(str(one.params[name]) for name in ("data", "family", "net", "method") if one.params.get(name))
        means = {key: np.mean(values, axis=0) for key, values in fields.items()}
        drawn = grid(
            f"sensitivity-{label}",
            label or "network",
            {key: float(value[1]) for key, value in means.items()},
            logarithmic=True,
            caption="Root mean squared change of the outputs, over their standard deviation.",
        )
        if drawn is not None:
            plots.append(drawn)
        rows += [(label, *key, number(float(value[0])), number(float(value[1]))) for key, value in means.items()]
    head = ("network", "part", "bits", "accuracy", "output error")
    text = "Each part of a network quantized alone, all others in floating point."
    missing = "" if plots else "no cell tells the sensitivity of layers to bits"
    table = Table("Sensitivity", head, tuple(rows), 3)
    return Part("Sensitivity", text if plots else "", tuple(plots), (table,) if rows else (), missing)


def _sensitivity_fields(cell: Cell) -> dict[tuple[str, str], tuple[float, float]]:
    """Return (accuracy, output error) by part and bits; nothing where the cell does not tell them in full."""
    found = mapping(cell.values.get("sensitivity", cell.values))
    try:
        accuracy, error = (np.array(found[name], dtype=np.float64) for name in ("accuracy", "output_error"))
        parts = [" ".join(map(str, part)) for part in found["parts"]]
        bits = [f"{bits} bits" for bits in found["bits"]]
    except (KeyError, TypeError, ValueError):
        return {}
    if not accuracy.shape == error.shape == (len(parts), len(bits)):
        return {}
    return {
        (part, column): (float(accuracy[i, j]), float(error[i, j]))
        for i, part in enumerate(parts)
        for j, column in enumerate(bits)
    }


def _speed(groups: Sequence[Group]) -> Part:
    cells = [cell for one in groups for cell in one.cells if one.params.get("kind") == "speed"]
    title = "Size and speed against float"
    return all_cells(cells, title) or Part(title)
