"""Cells over seeds, and tables as Markdown and CSV."""

from __future__ import annotations

import csv
import io
import json
import math

from lutkan.report.load import Cell
from lutkan.report.tables import Table, csv_text, group, markdown, over_seeds


def test_cells_that_differ_in_their_seed_alone_come_together():
    cells = [Cell({"net": n, "L": L, "seed": s}, {"mae": L + s}) for n in "ab" for s in (0, 1, 2) for L in (2, 4)]
    groups = over_seeds(cells)
    assert [one.params for one in groups] == [{"net": n, "L": L} for n in "ab" for L in (2, 4)]
    assert groups[0].numbers("mae") == [2.0, 3.0, 4.0]
    assert groups[0].mean("mae") == 3.0
    assert groups[0].summary("absent") is None
    assert math.isnan(groups[0].mean("absent"))
    assert list(group(groups, "net")) == [("a",), ("b",)]


def test_texts_booleans_and_infinities_are_no_numbers():
    values = [{"y": "text"}, {"y": True}, {"y": math.inf}, {"y": None}, {"y": 2}]
    (one,) = over_seeds([Cell({"seed": s}, v) for s, v in enumerate(values)])
    assert one.numbers("y") == [2.0]


def test_markdown_escapes_and_aligns():
    table = Table("t", ("net", "tables", "bytes"), (("a|b", "x\ny", "1"),), 2)
    assert markdown(table).splitlines() == ["| net | tables | bytes |", "|:--|:--|--:|", "| a\\|b | x y | 1 |"]


def test_csv_holds_every_cell_with_all_digits(result):
    results = [result("dos"), result("memory")]
    rows = list(csv.DictReader(io.StringIO(csv_text(results))))
    assert len(rows) == sum(len(one.cells) for one in results)
    assert list(rows[0])[:2] == ["source", "experiment"]
    names = list(rows[0])
    assert names == sorted(names, key=lambda name: 0 if "." not in name else 1 if name.startswith("params.") else 2)
    first = next(row for row in rows if row["params.spec"] == "int8")
    cell = next(one for one in results[0].cells if one.params["spec"] == "int8")
    assert float(first["values.mean_error"]) == cell.values["mean_error"]
    assert json.loads(first["values.changed"]) == cell.values["changed"]
    assert rows[-1]["values.arrays.q"] == "16000"
    assert rows[-1]["values.accuracy"] == ""
