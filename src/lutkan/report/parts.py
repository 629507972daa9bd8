"""Parts that several experiments show: tables of all cells, Pareto plots, heat maps."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lutkan.report.load import Cell, flat
from lutkan.report.page import Part
from lutkan.report.plots import Plot, Series, heat_map, scatter
from lutkan.report.tables import Group, Table, number, over_seeds, spread

__all__ = ["Point", "all_cells", "grid", "in_words", "pareto", "plural", "series_of", "share", "whole"]


# Characters of a text in a table; the CSV holds all of it.
_LONGEST = 48


@dataclass(frozen=True)
class Point:
    """One candidate of a Pareto plot; NaN for what was not measured.

    Attributes
    ----------
    series : str
        What it belongs to: the kind of representation.
    label : str
    error, nbytes, time : float
    """

    series: str
    label: str
    error: float
    nbytes: float = math.nan
    time: float = math.nan


def in_words(name: str) -> str:
    """Write the name of a field for people.

    Examples
    --------
    >>> in_words("bytes.edge_scale"), in_words("ns_an_edge"), in_words("load_median_s")
    ('bytes: edge scale', 'ns an edge', 'load median (s)')
    """
    unit = re.search(r"_(s|ms|us)$", name)
    plain = name if unit is None else f"{name[: unit.start()]} ({unit[1]})"
    return plain.replace(".", ": ").replace("_", " ")


def plural(count: int, noun: str) -> str:
    """Write a count with its noun.

    Examples
    --------
    >>> plural(1, "seed"), plural(5, "seed")
    ('1 seed', '5 seeds')
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def share(value: float) -> str:
    """Write a share as a percentage.

    Examples
    --------
    >>> share(0.1234), share(0.0), share(math.nan)
    ('12.3 %', '0 %', '')
    """
    return "" if math.isnan(value) else f"{100 * value:.3g} %"


def whole(value: float) -> str:
    """Write a mean of integers, nothing for NaN.

    Examples
    --------
    >>> whole(1234.0), whole(math.nan)
    ('1,234', '')
    """
    return "" if math.isnan(value) else number(round(value))


def varying(groups: Sequence[Group]) -> tuple[list[str], dict[str, Any]]:
    """Divide the parameters into those that differ between groups and those that all share."""
    flats = [flat(group.params) for group in groups]
    names = list(dict.fromkeys(name for one in flats for name in one))
    shared = {
        name: flats[0][name] for name in names if all(name in one and one[name] == flats[0].get(name) for one in flats)
    }
    return [name for name in names if name not in shared], shared if len(groups) > 1 else {}


def all_cells(cells: Sequence[Cell], title: str = "All cells", without: Sequence[str] = ()) -> Part | None:
    """Show every figure of every cell, seeds brought together; None where there are no cells.

    Parameters
    ----------
    without : sequence of str
        Values to leave out, by name or by the name before the dot.
    """
    if not cells:
        return None
    groups = over_seeds(cells)
    names, shared = varying(groups)
    if len(groups) == 1:
        names = list(flat(groups[0].params))
    fields = []
    for cell in cells:
        for name, value in flat(cell.values).items():
            # Lists are for the CSV.
            short = isinstance(value, int | float) or (isinstance(value, str) and value != "" and value[:1] != "[")
            if short and name.partition(".")[0] not in without and name not in without and name not in fields:
                fields.append(name)
    rows = []
    for one in groups:
        params = flat(one.params)
        rows.append((*(_parameter(params.get(name)) for name in names), *(_value(one, field) for field in fields)))
    seeds = max(len(one.cells) for one in groups)
    said = [f"mean ± standard deviation of {plural(seeds, 'seed')}"] if seeds > 1 else []
    said += [f"{in_words(name)} {number(value)}" for name, value in shared.items() if value not in (None, "")]
    note = "; ".join(said)
    head = tuple(in_words(name) for name in (*names, *fields))
    table = Table(title, head, tuple(rows), max(len(names), 1), f"{note[:1].upper()}{note[1:]}." if note else "")
    return Part(title, tables=(table,))


def _parameter(value: object) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else number(value)


def _value(group: Group, field: str) -> str:
    values = [flat(cell.values).get(field) for cell in group.cells]
    found = None if all(value == values[0] for value in values) else group.summary(field)
    text = number(values[0]) if found is None else spread(found)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def series_of(points: Sequence[Point], coordinate: str) -> list[Series]:
    """Turn points into series of (coordinate, error); points without one of both are left out."""
    found: dict[str, list[tuple[float, float]]] = {point.series: [] for point in points}
    for point in points:
        pair = float(getattr(point, coordinate)), point.error
        if all(value > 0 and math.isfinite(value) for value in pair):
            found[point.series].append(pair)
    return [Series(name, *np.array(pairs, dtype=np.float64).T) for name, pairs in found.items() if pairs]


def pareto(
    name: str,
    title: str,
    points: Sequence[Point],
    *,
    error: str = "mean error",
    nbytes: str = "bytes",
    time: str = "ns an edge",
    coordinates: Sequence[str] = ("nbytes", "time"),
) -> tuple[list[Plot], list[str]]:
    """Draw error against bytes and against time.

    Parameters
    ----------
    coordinates : sequence of {"nbytes", "time"}
        Which of the two.

    Returns
    -------
    plots : list of Plot
    missing : list of str
        Why there are not as many.
    """
    plots, missing = [], []
    caption = "Lower and further left is better. The line joins what nothing else beats in both."
    for coordinate, label, word in (("nbytes", nbytes, "size"), ("time", time, "latency")):
        if coordinate not in coordinates:
            continue
        series = series_of(points, coordinate)
        if not series:
            missing.append(f"accuracy against {word}: no cell holds both")
            continue
        heading = f"{title}: accuracy against {word}" if title else f"Accuracy against {word}"
        plots.append(scatter(f"{name}-{coordinate}", heading, series, x_label=label, y_label=error, caption=caption))
    return plots, missing


def grid(
    name: str,
    title: str,
    values: Mapping[tuple[str, str], float],
    *,
    logarithmic: bool = False,
    limits: tuple[float, float] | None = None,
    row_label: str = "",
    column_label: str = "",
    caption: str = "",
    write: Callable[[float], str] | None = None,
) -> Plot | None:
    """Draw a heat map of values by (row, column); None where there is none."""
    rows = list(dict.fromkeys(row for row, _ in values))
    columns = list(dict.fromkeys(column for _, column in values))
    matrix = np.array([[values.get((row, column), math.nan) for column in columns] for row in rows], dtype=np.float64)
    if not np.isfinite(matrix).any():
        return None
    return heat_map(
        name,
        title,
        rows,
        columns,
        matrix,
        logarithmic=logarithmic,
        limits=limits,
        row_label=row_label,
        column_label=column_label,
        caption=caption,
        write=write,
    )
