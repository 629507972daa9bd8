"""Sections of the experiments of `lutkan lab`: which plots and tables each of them gets."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lutkan.report.load import Cell, Result, flat
from lutkan.report.page import Part
from lutkan.report.parts import Point, all_cells, grid, in_words, pareto, share, whole
from lutkan.report.plots import Plot, Series, bars, curves, matrices
from lutkan.report.tables import Group, Table, group, number, over_seeds, spread

__all__ = ["BUILDERS"]

# Rows of a table of single decisions; what is beyond stands in the CSV.
_MOST_ROWS = 400
_SAMPLES = re.compile(r"segment-(u?int8)-L(\d+)$")


def _only(result: Result, name: str, value: str) -> list[Cell]:
    return [cell for cell in result.cells if cell.params.get(name) == value]


# --------------------------------------------------------------------------------------------------------- sweep


def _sweep(result: Result) -> Sequence[Part]:
    tables = over_seeds(_only(result, "task", "tables"))
    times = over_seeds(_only(result, "task", "time"))
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


def _kind(tables: str) -> str:
    found = _SAMPLES.match(tables)
    return f"segments, {found[1]}" if found else "basis"


def _arm_kind(arm: str) -> str:
    if "Cox-de Boor" in arm:
        return "B-spline, recursion an edge"
    if "segment-" in arm:
        return "segment look-up"
    if arm.endswith("float32") or "B-spline" in arm or "GEMM" in arm:
        return "B-spline, local support"
    return "integer basis"


def _arms(one: Group) -> Iterator[tuple[str, Group]]:
    """Give the arms of a timing cell as groups of their own, seeds together."""
    names = dict.fromkeys(name for cell in one.cells for name in _mapping(cell.values.get("arms")))
    for name in names:
        mine = [_mapping(cell.values.get("arms")).get(name) for cell in one.cells]
        yield name, Group({**one.params, "arm": name}, tuple(Cell({}, values) for values in mine if values))


def _mapping(value: Any) -> dict[str, Any]:
    """Return arms by name, from a mapping or from a list of arms with names."""
    if isinstance(value, list):
        return {str(arm.get("name")): arm for arm in value if isinstance(arm, dict)}
    return value if isinstance(value, dict) else {}


def _sweep_front(tables: Sequence[Group], times: Sequence[Group]) -> Part:
    plots: list[Plot] = []
    missing: list[str] = []
    for (net,), mine in group([*tables, *times], "net").items():
        points = [
            Point(
                _kind(str(one.params.get("tables"))),
                _tables_name(one),
                one.mean("in_range.mae"),
                one.mean("file_bytes"),
            )
            for one in mine
            if one.params.get("task") == "tables"
        ]
        timed = [one for one in mine if one.params.get("task") == "time"]
        batch = max((int(one.params.get("batch", 0)) for one in timed), default=0)
        clocked = [
            Point(_arm_kind(name), name, arm.mean("mean_error"), time=arm.mean("ns_an_edge"))
            for one in timed
            if one.params.get("batch") == batch
            for name, arm in _arms(one)
        ]
        for candidates, coordinate in ((points, "nbytes"), (clocked, "time")):
            drawn, lacking = pareto(
                f"pareto-{net}", str(net), candidates, coordinates=(coordinate,), nbytes="file bytes"
            )
            plots += drawn
            missing += [f"{net}: {text}" for text in lacking]
    text = (
        "Mean error in range over five seeds or as many as were run. Times are those of the largest batch, of all "
        "tiers: numpy, Numba and native code; a B-spline's error is that of float32."
    )
    return Part("Accuracy, size and latency", text, tuple(plots), missing="; ".join(missing))


def _sweep_curves(tables: Sequence[Group]) -> Part:
    plots: list[Plot] = []
    missing: list[str] = []
    rows = []
    for (net,), mine in group(tables, "net").items():
        lines: dict[str, list[tuple[float, float, float]]] = {}
        for one in mine:
            found = _SAMPLES.match(str(one.params.get("tables")))
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
                        _interval(one, f"{where}.mae"),
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


def _interval(one: Group, field: str) -> str:
    found = one.summary(field)
    return "" if found is None or found.count < 2 else f"{number(found.low)} to {number(found.high)}"


def _bytes(tables: Sequence[Group]) -> Part:
    """Show bytes by array, of a choice of tables in the plots and of all in the table."""
    plots: list[Plot] = []
    for (net,), mine in group(tables, "net").items():
        shown = [
            one for one in mine if one.params.get("value") != "phi" and not _left_out(str(one.params.get("tables")))
        ]
        arrays = list(dict.fromkeys(name for one in shown for name in _inner(one, "arrays")))
        if arrays:
            checkpoint = shown[0].mean("checkpoint_bytes")
            plots.append(
                bars(
                    f"bytes-{net}",
                    str(net),
                    [_tables_name(one) for one in shown],
                    _brought_together({name: [_inner(one, "arrays").get(name, 0) for one in shown] for name in arrays}),
                    x_label="bytes of arrays",
                    mark=None if math.isnan(checkpoint) else checkpoint,
                )
            )
    valued = any(one.params.get("value") for one in tables)
    names = ("net", "tables", "value") if valued else ("net", "tables")
    labels = [tuple(str(one.params.get(name) or "") for name in names) for one in tables]
    sizes = [name for name in _fields(tables) if name.startswith(_SIZES)]
    arrays = [name for name in _fields(tables) if name.startswith("arrays.")]
    of_checkpoint = [share(one.mean("file_bytes") / one.mean("checkpoint_bytes") or math.nan) for one in tables]
    found = []
    if sizes:
        head = (*names, *(in_words(name).replace(" bytes", "") for name in sizes), "file of checkpoint")
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


def _fields(groups: Sequence[Group]) -> list[str]:
    return list(dict.fromkeys(name for one in groups for cell in one.cells for name in flat(cell.values)))


def _inner(one: Group, name: str) -> dict[str, Any]:
    """Return a mapping of numbers, of the first seed: bytes do not depend on it."""
    found = one.cells[0].values.get(name)
    found = found if isinstance(found, dict) else {}
    return {key: value for key, value in found.items() if isinstance(value, int | float)}


def _brought_together(parts: dict[str, list[float]], most: int = 6) -> dict[str, list[float]]:
    """Keep the largest parts and add up the others."""
    ordered = sorted(parts, key=lambda name: -sum(parts[name]))
    if len(ordered) <= most:
        return {name: parts[name] for name in ordered}
    rest = [float(sum(sizes)) for sizes in zip(*(parts[name] for name in ordered[most - 1 :]), strict=True)]
    return {name: parts[name] for name in ordered[: most - 1]} | {"other arrays": rest}


def _sweep_times(times: Sequence[Group]) -> Part:
    rows = []
    for one in times:
        for name, arm in sorted(_arms(one), key=lambda pair: pair[1].mean("ns_an_edge")):
            rows.append(
                (
                    str(one.params.get("net")),
                    str(one.params.get("batch")),
                    name,
                    spread(arm.summary("ms")),
                    spread(arm.summary("ns_an_edge")),
                    _interval(arm, "ns_an_edge"),
                    number(arm.mean("mean_error")),
                    number(arm.mean("memory_bytes")),
                    str(len(arm.cells)),
                )
            )
    skipped = {
        f"{name}: {reason}"
        for one in times
        for cell in one.cells
        for name, reason in (cell.values.get("skipped") or {}).items()
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
            names = dict.fromkeys(name for cell in one.cells for name in cell.values.get("ratios") or {})
            for name in names:
                found = Group({}, tuple(Cell({}, cell.values.get("ratios") or {}) for cell in one.cells))
                summary = found.summary(name)
                if summary is not None:
                    rows.append((str(one.params.get("net")), str(batch), name, spread(summary), _interval(found, name)))
                    if "L16" in name and "uint8" not in name and "layout" not in name:
                        fields[name.replace(" segment-int8-L16", " look-up"), str(one.params.get("net"))] = summary.mean
        drawn = grid(
            f"speed-up-{batch}",
            f"B-spline time / look-up time, {batch:,} rows" if isinstance(batch, int) else "B-spline / look-up",
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
    fields = [name for name in _fields(every) if name.startswith("against_") and name.endswith(".mae")]
    found = [value for one in every for name in fields for value in one.numbers(name) if value > 0]
    return (min(found), max(found)) if found else None


def _groups_of_rows(groups: Sequence[Group]) -> list[str]:
    return list(
        dict.fromkeys(name for one in groups for cell in one.cells for name in cell.values.get("against_model") or {})
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


def _quant(result: Result) -> Sequence[Part | None]:
    groups = over_seeds(result.cells)
    methods = [one for one in groups if one.params.get("kind") in ("float", "ptq", "qat")]
    return [
        _quant_maps(methods),
        _quant_front(methods),
        _quant_table(methods),
        _sensitivity(groups),
        _quant_speed(groups),
    ]


def _method(one: Group) -> str:
    name = str(one.params.get("method"))
    return {"quantkan-uniform": "QuantKAN preset (ours)"}.get(name, name)


def _quant_maps(groups: Sequence[Group]) -> Part:
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


def _quant_front(groups: Sequence[Group]) -> Part:
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
    return Part("Accuracy and size", "", tuple(plots), missing="; ".join(missing))


def _quant_table(groups: Sequence[Group]) -> Part:
    rows = [
        (
            f"{one.params.get('data')}, {one.params.get('family')}",
            str(one.params.get("row")),
            str(one.params.get("kind")),
            _method(one),
            spread(one.summary("accuracy"), "{:.2f}".format),
            spread(one.summary("drop"), "{:+.2f}".format),
            _interval(one, "drop"),
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
    """Return (accuracy, output error) by part and bits."""
    found = cell.values.get("sensitivity", cell.values)
    if not isinstance(found, dict) or not {"parts", "bits", "accuracy", "output_error"} <= set(found):
        return {}
    bits = [f"{bits} bits" for bits in found["bits"]]
    return {
        (" ".join(map(str, part)), column): (accuracy[n], error[n])
        for part, accuracy, error in zip(found["parts"], found["accuracy"], found["output_error"], strict=True)
        for n, column in enumerate(bits)
    }


def _quant_speed(groups: Sequence[Group]) -> Part:
    cells = [cell for one in groups for cell in one.cells if one.params.get("kind") == "speed"]
    title = "Size and speed against float"
    return all_cells(cells, title) or Part(title)


# ----------------------------------------------------------------------------------------------------------- dos


def _dos(result: Result) -> Sequence[Part | None]:
    models = over_seeds(_only(result, "part", "model"))
    specs = over_seeds(_only(result, "part", "spec"))
    timings = over_seeds(_only(result, "part", "timing"))
    return [
        _dos_quality(models, specs),
        _dos_front(specs, timings),
        _dos_confusion(models, specs),
        _dos_changed(specs),
        _dos_outside(models),
        _dos_times(timings),
    ]


_FIGURES = ("accuracy", "precision", "recall", "f1", "auc", "pr_auc")


def _dos_quality(models: Sequence[Group], specs: Sequence[Group]) -> Part:
    rows = []
    for (data, attack), mine in group([*models, *specs], "data", "attack").items():
        for one in mine:
            tested = [sum(_inner(Group({}, (cell,)), "confusion").values()) for cell in one.cells]
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


def _dos_front(specs: Sequence[Group], timings: Sequence[Group]) -> Part:
    plots: list[Plot] = []
    missing: list[str] = []
    for (data, attack), mine in group([*specs, *timings], "data", "attack").items():
        points = [
            Point(
                _kind(str(one.params.get("spec"))),
                str(one.params.get("spec")),
                one.mean("mean_error"),
                one.mean("file_bytes"),
            )
            for one in mine
            if one.params.get("part") == "spec"
        ]
        timed = [one for one in mine if one.params.get("part") == "timing"]
        batch = max((int(one.params.get("batch", 0)) for one in timed), default=0)
        clocked = [
            Point(_arm_kind(name), name, arm.mean("mean_error"), time=arm.mean("ns_an_edge"))
            for one in timed
            if one.params.get("batch") == batch
            for name, arm in _arms(one)
        ]
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
    return Part("Accuracy, size and latency", "", tuple(plots), missing="; ".join(missing))


def _confusion(one: Group) -> np.ndarray[Any, np.dtype[np.float64]] | None:
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


def _dos_confusion(models: Sequence[Group], specs: Sequence[Group]) -> Part:
    plots: list[Plot] = []
    lacking: list[str] = []
    for (data, attack), mine in group([*models, *specs], "data", "attack").items():
        found = [(str(one.params.get("spec") or "float model"), _confusion(one)) for one in mine]
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


def _dos_changed(specs: Sequence[Group]) -> Part:
    rows, total = [], 0
    for one in specs:
        for cell in one.cells:
            for changed in cell.values.get("changed") or ():
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


def _probability(value: object) -> str:
    return f"{value:.6f}" if isinstance(value, float) else number(value)


def _dos_outside(models: Sequence[Group]) -> Part:
    fields: dict[str, dict[tuple[str, str], float]] = {"outside_core": {}, "outside_knots": {}}
    rows = []
    for one in models:
        task = f"{one.params.get('data')}, {one.params.get('attack')}"
        layers: dict[Any, list[dict[str, Any]]] = {}
        for cell in one.cells:
            for layer in cell.values.get("layers") or ():
                layers.setdefault(layer.get("layer"), []).append(layer)
        for layer, found in layers.items():
            means = {name: float(np.mean([one_layer.get(name, math.nan) for one_layer in found])) for name in fields}
            for name, value in means.items():
                fields[name][task, f"layer {layer}"] = value
            rows.append((task, str(layer), *(share(value) for value in means.values())))
    plots = [
        drawn
        for name, values in fields.items()
        if (drawn := grid(f"oob-{name}", f"Inputs {in_words(name)}", values, write=share)) is not None
    ]
    head = ("task", "layer", "outside the core grid", "outside the knots")
    table = Table("Inputs beyond the grid", head, tuple(rows), 2)
    missing = "" if plots else "no cell tells the share of inputs beyond the grid"
    return Part("Inputs beyond the grid", "", tuple(plots), (table,) if rows else (), missing)


def _dos_times(timings: Sequence[Group]) -> Part:
    rows = []
    for one in timings:
        for name, arm in sorted(_arms(one), key=lambda pair: pair[1].mean("ns_an_edge")):
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


BUILDERS: dict[str, Callable[[Result], Sequence[Part | None]]] = {
    "sweep": _sweep,
    "oob": _oob,
    "memory": _memory,
    "coldstart": _coldstart,
    "dos": _dos,
    "quant": _quant,
}
