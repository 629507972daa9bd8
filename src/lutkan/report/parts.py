"""Parts that several experiments show: tables of all cells, Pareto plots, heat maps."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lutkan.report.load import Cell, Result, flat
from lutkan.report.page import Part
from lutkan.report.plots import Plot, Series, heat_map, scatter
from lutkan.report.tables import Group, Table, number, over_seeds, spread

__all__ = [
    "READ_PARETO",
    "SAMPLES",
    "Point",
    "all_cells",
    "arm_kind",
    "arms",
    "brought_together",
    "entries",
    "field_names",
    "grid",
    "in_words",
    "interval",
    "largest_batch",
    "mapping",
    "named",
    "numbers_of",
    "only",
    "pareto",
    "plural",
    "series_of",
    "share",
    "tables_kind",
    "timed_points",
    "whole",
]


#: Names of segment tables: code and samples a segment.
SAMPLES = re.compile(r"segment-(u?int8)-L(\d+)$")
#: How Pareto plots are read.
READ_PARETO = "Lower and further left is better; the line joins what nothing else beats in both."
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


def mapping(value: Any) -> dict[str, Any]:
    """Return a value if it is a mapping, an empty one otherwise."""
    return value if isinstance(value, dict) else {}


def entries(value: Any) -> list[dict[str, Any]]:
    """Return the mappings in a value if it is a list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def named(value: Any) -> dict[str, Any]:
    """Return a mapping by names: as it is, or from a list of mappings with a "name" each.

    Examples
    --------
    >>> named([{"name": "a", "ns": 1}])
    {'a': {'name': 'a', 'ns': 1}}
    """
    return mapping(value) or {str(one.get("name")): one for one in entries(value)}


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


def only(result: Result, name: str, value: str) -> list[Cell]:
    """Return the cells with this value of a parameter."""
    return [cell for cell in result.cells if cell.params.get(name) == value]


def interval(one: Group, field: str) -> str:
    """Write the 95 % confidence interval of a figure, nothing for a single seed."""
    found = one.summary(field)
    return "" if found is None or found.count < 2 else f"{number(found.low)} to {number(found.high)}"


def numbers_of(one: Group, name: str) -> dict[str, Any]:
    """Return a mapping of numbers, of the first seed: bytes do not depend on it."""
    found = mapping(one.cells[0].values.get(name))
    return {key: value for key, value in found.items() if isinstance(value, int | float) and math.isfinite(value)}


def field_names(groups: Sequence[Group]) -> list[str]:
    """Return the dotted names of all values, in the order in which they come up."""
    return list(dict.fromkeys(name for one in groups for cell in one.cells for name in flat(cell.values)))


def arms(one: Group) -> Iterator[tuple[str, Group]]:
    """Give the arms of a timing cell as groups of their own, seeds together."""
    names = dict.fromkeys(name for cell in one.cells for name in named(cell.values.get("arms")))
    for name in names:
        mine = [named(cell.values.get("arms")).get(name) for cell in one.cells]
        yield (
            name,
            Group({**one.params, "arm": name}, tuple(Cell({}, values) for values in mine if isinstance(values, dict))),
        )


def largest_batch(groups: Sequence[Group]) -> int:
    """Return the largest batch of timings, 0 where there is none."""
    found = [one.params.get("batch") for one in groups]
    return max((batch for batch in found if isinstance(batch, int)), default=0)


def timed_points(timed: Sequence[Group]) -> list[Point]:
    """Return every arm's error and time at the largest batch."""
    batch = largest_batch(timed)
    return [
        Point(arm_kind(name), name, arm.mean("mean_error"), time=arm.mean("ns_an_edge"))
        for one in timed
        if one.params.get("batch") == batch
        for name, arm in arms(one)
    ]


def brought_together(parts: dict[str, list[float]], others: str, most: int = 6) -> dict[str, list[float]]:
    """Keep the largest parts and add up the others under one name.

    Examples
    --------
    >>> brought_together({"a": [1.0], "b": [5.0], "c": [2.0]}, "others", most=2)
    {'b': [5.0], 'others': [3.0]}
    """
    ordered = sorted(parts, key=lambda name: -sum(parts[name]))
    if len(ordered) <= most:
        return {name: parts[name] for name in ordered}
    rest = [float(sum(sizes)) for sizes in zip(*(parts[name] for name in ordered[most - 1 :]), strict=True)]
    return {name: parts[name] for name in ordered[: most - 1]} | {others: rest}


def arm_kind(arm: str) -> str:
    """Tell what an arm of a timing does.

    Examples
    --------
    >>> [arm_kind(name) for name in ("numba B-spline", "native int8", "numpy segment-int8-L16")]
    ['B-spline, local support', 'integer basis', 'segment look-up']
    """
    kinds = {
        "Cox-de Boor": "B-spline, recursion an edge",
        "segment-": "segment look-up",
        r"\bw\da\d": "codes",
        r"\bint(4|8|16)\b": "integer basis",
        r"B-spline|GEMM|float32": "B-spline, local support",
    }
    return next((kind for pattern, kind in kinds.items() if re.search(pattern, arm)), "other implementation")


def tables_kind(tables: str) -> str:
    """Tell segment tables by what they hold, code tables and basis tables apart.

    Examples
    --------
    >>> tables_kind("segment-int8-L16"), tables_kind("int8"), tables_kind("w4a8")
    ('segments, int8', 'basis', 'codes')
    """
    found = SAMPLES.match(tables)
    return f"segments, {found[1]}" if found else "codes" if re.match(r"w\da\d", tables) else "basis"


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
    """Draw error against bytes and against time; the part has to say how to read them (`READ_PARETO`).

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
    for coordinate, label, word in (("nbytes", nbytes, "size"), ("time", time, "latency")):
        if coordinate not in coordinates:
            continue
        series = series_of(points, coordinate)
        if not series:
            missing.append(f"accuracy against {word}: no cell holds both")
            continue
        heading = f"{title}: accuracy against {word}" if title else f"Accuracy against {word}"
        plots.append(scatter(f"{name}-{coordinate}", heading, series, x_label=label, y_label=error))
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
