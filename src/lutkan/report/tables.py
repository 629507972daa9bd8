"""Tables: cells of an experiment brought together over seeds, and written as Markdown or CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lutkan.lab.statistics import Summary, summarize
from lutkan.report.load import Cell, Result, flat

__all__ = ["Group", "Table", "csv_text", "divided", "group", "markdown", "number", "over_seeds", "spread"]


@dataclass(frozen=True)
class Table:
    """Rows of text, ready to be written.

    Attributes
    ----------
    title : str
    head : tuple of str
    rows : tuple of tuple of str
        As wide as the head.
    text_columns : int
        How many columns from the left are names and not numbers.
    note : str
        What a reader has to know to read it; empty if nothing.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1
    note: str = ""


def divided(table: Table, most: int = 10) -> list[Table]:
    """Divide a table into tables of at most so many columns of numbers, each with the columns of names.

    Rows that have nothing in these columns are left out.

    Examples
    --------
    >>> wide = Table("t", ("net", "a", "b", "c"), (("n", "1", "2", "3"),))
    >>> [(part.title, part.head) for part in divided(wide, 2)]
    [('t (1 of 2)', ('net', 'a', 'b')), ('t (2 of 2)', ('net', 'c'))]
    """
    names, columns = table.text_columns, range(table.text_columns, len(table.head))
    if len(columns) <= most:
        return [table]
    count = math.ceil(len(columns) / most)
    parts = []
    for number_, chosen in enumerate(np.array_split(np.array(columns), count), start=1):
        kept = [*range(names), *chosen.tolist()]
        told = [row for row in table.rows if any(row[column] for column in chosen)]
        rows = tuple(tuple(row[column] for column in kept) for row in told)
        head = tuple(table.head[column] for column in kept)
        note = table.note if number_ == count else ""
        parts.append(Table(f"{table.title} ({number_} of {count})", head, rows, names, note))
    return parts


@dataclass(frozen=True, eq=False)
class Group:
    """Cells that differ in their seed alone.

    Attributes
    ----------
    params : mapping
        What they have in common.
    cells : tuple of Cell
    """

    params: Mapping[str, Any]
    cells: tuple[Cell, ...]

    def numbers(self, field: str) -> list[float]:
        """Return a figure's finite values, by its dotted name."""
        found = (flat(cell.values).get(field) for cell in self.cells)
        return [float(v) for v in found if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)]

    def summary(self, field: str) -> Summary | None:
        """Return a figure over the seeds, None where no cell has it."""
        values = self.numbers(field)
        return summarize(values) if values else None

    def mean(self, field: str) -> float:
        """Return a figure's mean, NaN where no cell has it."""
        found = self.summary(field)
        return math.nan if found is None else found.mean


def over_seeds(cells: Iterable[Cell], without: Sequence[str] = ("seed",)) -> list[Group]:
    """Bring together the cells that differ in their seed alone, in the order in which they come up.

    Examples
    --------
    >>> cells = [Cell({"L": L, "seed": s}, {"mae": s}) for L in (2, 4) for s in (0, 1)]
    >>> [(group.params, group.mean("mae")) for group in over_seeds(cells)]
    [({'L': 2}, 0.5), ({'L': 4}, 0.5)]
    """
    found: dict[str, tuple[dict[str, Any], list[Cell]]] = {}
    for cell in cells:
        params = {key: value for key, value in cell.params.items() if key not in without}
        found.setdefault(json.dumps(params, sort_keys=True), (params, []))[1].append(cell)
    return [Group(params, tuple(mine)) for params, mine in found.values()]


def group(groups: Iterable[Group], *keys: str) -> dict[tuple[Any, ...], list[Group]]:
    """Divide groups by some of their parameters, in the order in which they come up."""
    found: dict[tuple[Any, ...], list[Group]] = {}
    for one in groups:
        found.setdefault(tuple(_hashable(one.params.get(key)) for key in keys), []).append(one)
    return found


def _hashable(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def number(value: object) -> str:
    """Write a value into a table: integers with separators, other numbers with three digits, nothing for None.

    Examples
    --------
    >>> [number(v) for v in (12345, 0.0123456, 1.5e-5, 98765.4, None, True, "a", float("nan"))]
    ['12,345', '0.0123', '1.50e-5', '98,765', '', 'yes', 'a', '']
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        if 1e3 <= abs(value) < 1e9:
            return f"{value:,.0f}"
        small = 0 < abs(value) < 1e-3
        return re.sub(r"e([+-])0*", r"e\1", f"{value:.2e}" if small else f"{value:.3g}")
    return str(value)


def spread(found: Summary | None, write: Callable[[float], str] = number) -> str:
    """Write a mean with its standard deviation.

    Examples
    --------
    >>> spread(summarize([1.0, 2.0, 3.0])), spread(None), spread(summarize([0.5]))
    ('2 ± 1', '', '0.5')
    """
    if found is None:
        return ""
    return write(found.mean) if found.count < 2 else f"{write(found.mean)} ± {write(found.std).lstrip('+')}"


def markdown(table: Table) -> str:
    r"""Write a table as Markdown.

    Examples
    --------
    >>> print(markdown(Table("t", ("arm", "us"), (("a|b", "1"),))))
    | arm | us |
    |:--|--:|
    | a\|b | 1 |
    """
    rule = [":--" if index < table.text_columns else "--:" for index in range(len(table.head))]
    lines = [_line(table.head), "|" + "|".join(rule) + "|", *map(_line, table.rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def csv_text(results: Sequence[Result]) -> str:
    """Write all cells of all results as CSV, a cell a row, with every digit that the files hold.

    Parameters begin with `params.`, values with `values.`; nested values have dotted names, and lists are JSON.

    Examples
    --------
    >>> one = Result("m.jsonl", "memory", {}, (Cell({"L": 2}, {"bytes": {"q": 7}}),))
    >>> print(csv_text([one]), end="")
    source,experiment,params.L,values.bytes.q
    m.jsonl,memory,2,7
    """
    rows = [
        {
            "source": result.source,
            "experiment": result.experiment,
            **flat(cell.params, "params."),
            **flat(cell.values, "values."),
        }
        for result in results
        for cell in result.cells
    ]
    # Parameters first, then values, each in the order in which they come up.
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["source", "experiment"]
    names.sort(key=lambda name: 0 if "." not in name else 1 if name.startswith("params.") else 2)
    file = io.StringIO()
    writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
