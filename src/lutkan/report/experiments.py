"""Sections of the controlled experiments of `lutkan lab`: sweep, policies, bytes, cold start."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lutkan.report.load import Cell, Result
from lutkan.report.page import Part
from lutkan.report.parts import (
    READ_PARETO,
    SAMPLES,
    Point,
    all_cells,
    arms,
    brought_together,
    field_names,
    grid,
    in_words,
    interval,
    mapping,
    numbers_of,
    only,
    pareto,
    plural,
    share,
    tables_kind,
    timed_points,
    whole,
)
from lutkan.report.plots import Plot, Series, bars, curves
from lutkan.report.tables import Group, Table, group, number, over_seeds, spread

__all__ = ["BUILDERS"]


# --------------------------------------------------------------------------------------------------------- sweep


def _sweep(result: Result) -> Sequence[Part]:
    tables = over_seeds(only(result, "task", "tables"))
    times = over_seeds(only(result, "task", "time"))
    return [
        _sweep_front(tables, times),
        _sweep_curves(tables),
        _bytes(tables),
        _sweep_times(times),
        _sweep_ratios(times),
    ]


def _tables_name(one: Group) -> str:
    value = {"spline_component": "spline", "phi": "phi"}.get(str(one.params.get("value")), "")
    return f"{one.params.get('tables')} {value}".strip()


def _sweep_front(tables: Sequence[Group], times: Sequence[Group]) -> Part:
    plots: list[Plot] = []
    missing: list[str] = []
    for (net,), mine in group([*tables, *times], "net").items():
        points = [
            Point(
                tables_kind(str(one.params.get("tables"))),
                _tables_name(one),
                one.mean("in_range.mae"),
                one.mean("file_bytes"),
            )
            for one in mine
            if one.params.get("task") == "tables"
        ]
        timed = [one for one in mine if one.params.get("task") == "time"]
        clocked = timed_points(timed)
        for candidates, coordinate in ((points, "nbytes"), (clocked, "time")):
            drawn, lacking = pareto(
                f"pareto-{net}", str(net), candidates, coordinates=(coordinate,), nbytes="file bytes"
            )
            plots += drawn
            missing += [f"{net}: {text}" for text in lacking]
    text = (
        "Mean error in range over five seeds or as many as were run. Times are those of the largest batch, of all "
        f"tiers: numpy, Numba and native code; a B-spline's error is that of float32. {READ_PARETO}"
    )
    return Part("Accuracy, size and latency", text, tuple(plots), missing="; ".join(missing))


def _sweep_curves(tables: Sequence[Group]) -> Part:
    plots: list[Plot] = []
    missing: list[str] = []
    rows = []
    for (net,), mine in group(tables, "net").items():
        lines: dict[str, list[tuple[float, float, float]]] = {}
        for one in mine:
            found = SAMPLES.match(str(one.params.get("tables")))
            within = one.summary("in_range.mae")
            if found and within is not None:
                label = f"{found[1]}, {'phi' if one.params.get('value') == 'phi' else 'spline component'}"
                lines.setdefault(label, []).append((int(found[2]), within.mean, within.high - within.mean))
        if not lines:
            missing.append(f"{net}: no cell holds the error of segment tables")
            continue
        series = [Series(label, *np.array(sorted(points)).T) for label, points in lines.items()]
        # More samples help until rounding to 8 bits is all that is left.
        floor = min(one.y[-1] for one in series)
        plots.append(
            curves(
                f"error-{net}",
                str(net),
                series,
                x_label="samples a segment, L",
                y_label="mean error in range",
                level=(float(floor), "8-bit floor"),
                x_ticks=sorted({float(x) for one in series for x in one.x}),
                caption="Bars: 95 % interval of the mean over seeds.",
            )
        )
    for one in tables:
        rows.append(
            (
                str(one.params.get("net")),
                str(one.params.get("tables")),
                str(one.params.get("value") or ""),
                *(
                    text
                    for where in ("in_range", "out_of_range")
                    for text in (
                        spread(one.summary(f"{where}.mae")),
                        interval(one, f"{where}.mae"),
                        spread(one.summary(f"{where}.max")),
                    )
                ),
                str(len(one.cells)),
            )
        )
    head = (
        "net", "tables", "value", "mean, in range", "95 % interval", "max, in range", "mean, beyond", "95 % interval",
        "max, beyond", "seeds",
    )  # fmt: skip
    text = (
        "The dotted line is the least error that the largest L reaches: rounding to 8 bits, which samples do not lower."
    )
    table = Table("Errors", head, tuple(rows), 3)
    if not tables:
        missing.append("no cell of tables")
    return Part("Error against samples a segment", text, tuple(plots), (table,) if rows else (), "; ".join(missing))


def _bytes(tables: Sequence[Group]) -> Part:
    """Show bytes by array, of a choice of tables in the plots and of all in the table."""
    plots: list[Plot] = []
    for (net,), mine in group(tables, "net").items():
        shown = [
            one for one in mine if one.params.get("value") != "phi" and not _left_out(str(one.params.get("tables")))
        ]
        every = [numbers_of(one, "arrays") for one in shown]
        arrays = list(dict.fromkeys(name for sizes in every for name in sizes))
        parts = {name: [sizes.get(name, 0) for sizes in every] for name in arrays}
        if arrays:
            checkpoint = shown[0].mean("checkpoint_bytes")
            plots.append(
                bars(
                    f"bytes-{net}",
                    str(net),
                    [_tables_name(one) for one in shown],
                    brought_together(parts, "other arrays"),
                    x_label="bytes of arrays",
                    mark=None if math.isnan(checkpoint) else checkpoint,
                )
            )
    valued = any(one.params.get("value") for one in tables)
    names = ("net", "tables", "value") if valued else ("net", "tables")
    labels = [tuple(str(one.params.get(name) or "") for name in names) for one in tables]
    sizes = [name for name in field_names(tables) if name.startswith(_SIZES)]
    arrays = [name for name in field_names(tables) if name.startswith("arrays.")]
    ratios = [one.mean("file_bytes") / (one.mean("checkpoint_bytes") or math.nan) for one in tables]
    of_checkpoint = ["" if math.isnan(ratio) else f"{ratio:.3g}x" for ratio in ratios]
    found = []
    if sizes:
        head = (*names, *(in_words(name).replace(" bytes", "") for name in sizes), "file / checkpoint")
        rows = [
            (*label, *(whole(one.mean(name)) for name in sizes), part)
            for label, one, part in zip(labels, tables, of_checkpoint, strict=True)
        ]
        found.append(Table("Bytes", head, tuple(rows), len(names)))
    if arrays:
        head = (*names, *(in_words(name.removeprefix("arrays.")) for name in arrays))
        rows = [
            (*label, *(whole(one.mean(name)) for name in arrays)) for label, one in zip(labels, tables, strict=True)
        ]
        found.append(Table("Bytes by array", head, tuple(rows), len(names)))
    missing = "" if plots else "no cell tells the bytes of its arrays"
    text = "Arrays of the artifact; the dotted line is the float32 checkpoint." if plots else ""
    return Part("Bytes by array", text, tuple(plots), tuple(found), missing)


_SIZES = ("file_bytes", "table_bytes", "memory_bytes", "checkpoint_bytes", "parameter_bytes")


def _left_out(tables: str) -> bool:
    """Tell whether tables are too many to be shown as bars."""
    return re.search(r"uint8|-L(2|4|8|32|128)$|basis-3$", tables) is not None


def _sweep_times(times: Sequence[Group]) -> Part:
    rows = []
    for one in times:
        for name, arm in sorted(arms(one), key=lambda pair: pair[1].mean("ns_an_edge")):
            rows.append(
                (
                    str(one.params.get("net")),
                    str(one.params.get("batch")),
                    name,
                    spread(arm.summary("ms")),
                    spread(arm.summary("ns_an_edge")),
                    interval(arm, "ns_an_edge"),
                    number(arm.mean("mean_error")),
                    number(arm.mean("memory_bytes")),
                    str(len(arm.cells)),
                )
            )
    skipped = {
        f"{name}: {reason}"
        for one in times
        for cell in one.cells
        for name, reason in mapping(cell.values.get("skipped")).items()
    }
    head = ("net", "rows", "arm", "ms a call", "ns an edge", "95 % interval", "mean error", "bytes in memory", "seeds")
    table = Table("Times", head, tuple(rows), 3, f"Skipped: {'; '.join(sorted(skipped))}." if skipped else "")
    return Part("Times", tables=(table,) if rows else (), missing="" if rows else "no cell was timed")


def _sweep_ratios(times: Sequence[Group]) -> Part:
    """Show what each B-spline takes over a look-up of the same tier: above 1 the look-up is faster."""
    plots: list[Plot] = []
    rows = []
    for (batch,), mine in group(times, "batch").items():
        fields: dict[tuple[str, str], float] = {}
        for one in mine:
            names = dict.fromkeys(name for cell in one.cells for name in mapping(cell.values.get("ratios")))
            for name in names:
                found = Group({}, tuple(Cell({}, mapping(cell.values.get("ratios"))) for cell in one.cells))
                summary = found.summary(name)
                if summary is not None:
                    rows.append((str(one.params.get("net")), str(batch), name, spread(summary), interval(found, name)))
                    if "L16" in name and "uint8" not in name and "layout" not in name:
                        fields[name.replace(" segment-int8-L16", " look-up"), str(one.params.get("net"))] = summary.mean
        drawn = grid(
            f"speed-up-{batch}",
            f"B-spline time / look-up time, {plural(batch, 'row')}" if isinstance(batch, int) else "B-spline / look-up",
            fields,
            logarithmic=True,
            caption="int8, L = 16. Above 1 the look-up is faster. Empty: too slow to be run.",
        )
        if drawn is not None:
            plots.append(drawn)
    head = ("net", "rows", "B-spline / look-up", "ratio", "95 % interval")
    text = (
        "Within a tier, the B-spline's time over that of the look-up. The recursion for every edge is the baseline of "
        "the LUT-KAN paper; local support is what a B-spline takes when an input's few bases are found once."
    )
    missing = "" if plots else "no cell holds ratios of times"
    return Part(
        "Look-up against B-spline",
        text,
        tuple(plots),
        (Table("Ratios", head, tuple(rows), 3),) if rows else (),
        missing,
    )


# ----------------------------------------------------------------------------------------------------------- oob


def _oob(result: Result) -> Sequence[Part]:
    groups = over_seeds(result.cells)
    nets = group(groups, "net")
    return [_oob_model(nets), _oob_definitions(nets), _oob_table(groups)]


def _oob_model(nets: dict[tuple[Any, ...], list[Group]]) -> Part:
    plots: list[Plot] = []
    missing: list[str] = []
    limits = _limits(nets)
    for (net,), mine in nets.items():
        rows = _groups_of_rows(mine)
        fields = {
            (str(one.params.get("policy")), rows_): one.mean(f"against_model.{rows_}.mae")
            for one in mine
            for rows_ in rows
        }
        outside = [value for one in mine for value in one.numbers("out_share")]
        caption = f"{share(float(np.mean(outside)))} of unclipped inputs lie beyond the tables." if outside else ""
        drawn = grid(
            f"model-{net}", str(net), fields, logarithmic=True, limits=limits, column_label="rows", caption=caption
        )
        if drawn is None:
            missing.append(f"{net}: no cell holds errors against the model")
        else:
            plots.append(drawn)
    if not nets:
        missing.append("no cell")
    text = (
        "Mean error against the trained model, by policy (boundary mode / out-of-range policy) and by rows: all inputs "
        "inside the tables, some exactly on their upper end, some beyond it."
    )
    return Part("Error against the model", text, tuple(plots), missing="; ".join(missing))


def _oob_definitions(nets: dict[tuple[Any, ...], list[Group]]) -> Part:
    plots: list[Plot] = []
    missing: list[str] = []
    limits = _limits(nets)
    for (net,), mine in nets.items():
        policies = [str(one.params.get("policy")) for one in mine]
        rows = _groups_of_rows(mine)
        fields = {
            (str(one.params.get("policy")), policy): max(
                (one.mean(f"against_definition.{policy}.{rows_}.mae") for rows_ in rows), default=math.nan
            )
            for one in mine
            for policy in policies
        }
        drawn = grid(
            f"definition-{net}",
            str(net),
            fields,
            logarithmic=True,
            limits=limits,
            row_label="tables",
            column_label="definition",
        )
        if drawn is None:
            missing.append(f"{net}: no cell holds errors against the definitions")
        else:
            plots.append(drawn)
    text = (
        "Mean error of tables made for one policy against the definition of every policy, on the group of rows where "
        "it is largest. Where a row has one low field, on the diagonal, policies differ and tables follow their own."
    )
    return Part("Tables against the definition of each policy", text, tuple(plots), missing="; ".join(missing))


def _limits(nets: dict[tuple[Any, ...], list[Group]]) -> tuple[float, float] | None:
    """Return the least and the largest mean error of all networks, so that their maps share their colours."""
    every = [one for mine in nets.values() for one in mine]
    fields = [name for name in field_names(every) if name.startswith("against_") and name.endswith(".mae")]
    found = [value for one in every for name in fields for value in one.numbers(name) if value > 0]
    return (min(found), max(found)) if found else None


def _groups_of_rows(groups: Sequence[Group]) -> list[str]:
    return list(
        dict.fromkeys(
            name for one in groups for cell in one.cells for name in mapping(cell.values.get("against_model"))
        )
    )


def _oob_table(groups: Sequence[Group]) -> Part:
    rows = [
        (
            str(one.params.get("net")),
            str(one.params.get("policy")),
            rows_,
            number(one.mean(f"rows.{rows_}")),
            *(
                spread(one.summary(f"{where}.{rows_}.{name}"))
                for where in ("against_model", f"against_definition.{one.params.get('policy')}")
                for name in ("mae", "max")
            ),
            share(one.mean("out_share")),
            str(len(one.cells)),
        )
        for one in groups
        for rows_ in _groups_of_rows([one])
    ]
    head = (
        "net", "policy", "rows", "how many", "mean, model", "max, model", "mean, own definition", "max, own definition",
        "inputs beyond", "seeds",
    )  # fmt: skip
    return Part("Errors by policy", tables=(Table("Errors by policy", head, tuple(rows), 3),) if rows else ())


# -------------------------------------------------------------------------------------- memory, cold start, methods


def _memory(result: Result) -> Sequence[Part | None]:
    return [_bytes(over_seeds(result.cells))]


_STEPS = {"import_median_s": "import lutkan", "load_median_s": "load", "predict_median_s": "first row"}
_CALLS = {"predict_s": "loaded once", "load_and_predict_s": "loaded for every row"}


def _coldstart(result: Result) -> Sequence[Part | None]:
    groups = over_seeds(result.cells)
    plots: list[Plot] = []
    missing: list[str] = []
    for (net,), mine in group(groups, "net").items():
        labels = [f"{one.params.get('tables')}, {one.params.get('runtime')}" for one in mine]
        steps = {label: [1000 * one.mean(field) for one in mine] for field, label in _STEPS.items()}
        calls = {
            f"{label}, {row}": 1000 * one.mean(field)
            for one, label in zip(mine, labels, strict=True)
            for field, row in _CALLS.items()
        }
        if np.isfinite(list(steps.values())).any():
            plots.append(
                bars(f"start-{net}", f"{net}: a new process", labels, steps, x_label="ms above importing numpy")
            )
        else:
            missing.append(f"{net}: no cell tells what a new process takes")
        if np.isfinite(list(calls.values())).any():
            plots.append(
                bars(
                    f"calls-{net}",
                    f"{net}: one row",
                    list(calls),
                    {"ms a row": list(calls.values())},
                    x_label="ms a row",
                    logarithmic=True,
                )
            )
        else:
            missing.append(f"{net}: no cell tells what loading for every row takes")
    part = all_cells(result.cells, "Cold start, medians", ("with_numpy_s", "with_lutkan_s"))
    tables = part.tables if part is not None else ()
    return [
        Part(
            "From nothing to the first answer",
            "Medians, in milliseconds.",
            tuple(plots),
            tables,
            "; ".join(missing) or ("" if groups else "no cell"),
        )
    ]


BUILDERS: dict[str, Callable[[Result], Sequence[Part | None]]] = {
    "sweep": _sweep,
    "oob": _oob,
    "memory": _memory,
    "coldstart": _coldstart,
}
