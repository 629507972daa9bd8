"""Whole reports: every experiment's parts, what is missing, and the three forms."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

import lutkan
from lutkan.lab import nets
from lutkan.report.load import EXPERIMENTS, Cell, Result, read_results
from lutkan.report.page import Report, html, manifest_lines, markdown_page
from lutkan.report.sections import edge_section, make_report
from lutkan.report.tables import divided
from made_results import CELLS, POLICIES, cell, manifest, write_lines

PARTS = {
    "sweep": [
        "Accuracy, size and latency",
        "Error against samples a segment",
        "Bytes by array",
        "Times",
        "Look-up against B-spline",
    ],
    "oob": ["Error against the model", "Tables against the definition of each policy", "Errors by policy"],
    "memory": ["Bytes by array"],
    "coldstart": ["From nothing to the first answer"],
    "dos": [
        "Quality by precision",
        "Accuracy, size and latency",
        "Confusion matrices",
        "Changed decisions",
        "Inputs beyond the grid",
        "Latency",
    ],
    "quant": [
        "Accuracy by method and bits",
        "Accuracy and size",
        "Methods",
        "Sensitivity",
        "Size and speed against float",
    ],
}


def only_section(found: Result):
    (section,) = make_report([found]).sections
    return section


def part(section, title):
    return next(one for one in section.parts if one.title == title)


@pytest.mark.parametrize("experiment", CELLS)
def test_every_part_of_an_experiment_is_there(result, experiment):
    section = only_section(result(experiment))
    assert [one.title for one in section.parts] == PARTS[experiment]
    assert [one.missing for one in section.parts] == [""] * len(section.parts)
    assert all(one.plots or one.tables for one in section.parts)


@pytest.mark.parametrize("experiment", CELLS)
def test_an_experiment_without_cells_names_what_is_missing(result, experiment):
    section = only_section(result(experiment, []))
    assert not any(one.plots or one.tables for one in section.parts)
    assert all(one.missing for one in section.parts)
    assert "no finished cell" in section.notes[0]


@pytest.mark.parametrize("experiment", [name for name in CELLS if name != "coldstart"])
def test_cells_without_values_are_named_not_dropped(result, experiment):
    bare = [cell(one["params"], {}) for one in CELLS[experiment]()]
    section = only_section(result(experiment, bare))
    assert any(one.missing for one in section.parts)
    assert not any(one.plots for one in section.parts)


def test_the_sweep_shows_means_over_seeds_and_the_floor(result):
    found = result("sweep")
    section = only_section(found)
    table = part(section, "Error against samples a segment").tables[0]
    row = next(row for row in table.rows if row[:3] == ("10-8", "segment-int8-L4", "spline_component"))
    exact = 1e-2 / 16 + 1e-5
    assert row[3] == "6.67e-4 ± 4.49e-5"
    assert float(row[3].split()[0]) == pytest.approx(1.05 * exact, rel=1e-2)
    assert row[-1] == "2"
    curves = part(section, "Error against samples a segment").plots
    assert [plot.title for plot in curves] == ["10-8", "64-64-10"]
    assert [key.label for key in curves[0].legend] == [
        "int8, spline component",
        "uint8, spline component",
        "int8, phi",
        "uint8, phi",
    ]
    assert len(part(section, "Accuracy, size and latency").plots) == 4
    ratios = part(section, "Look-up against B-spline").tables[0]
    assert ratios.rows[0][3] == "1.55 ± 0.0707"


def test_the_policies_own_definition_stands_in_the_table(result):
    section = only_section(result("oob"))
    table = part(section, "Errors by policy").tables[0]
    assert len(table.rows) == 2 * len(POLICIES) * 2
    assert table.rows[1][:4] == ("phi tables", POLICIES[0], "outside", "14")
    assert table.rows[1][6] == "0.01 ± 0"
    assert "25 % of unclipped inputs" in part(section, "Error against the model").plots[0].caption


def test_confusion_matrices_are_added_over_seeds(result):
    section = only_section(result("dos"))
    (plot,) = part(section, "Confusion matrices").plots
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    assert {"float model", "int16", "int8", "10,000", "9,914", "80", "6"} <= set(
        re.findall(r">([^<>]+)</text>", plot.svg)
    )
    table = part(section, "Quality by precision").tables[0]
    row = next(row for row in table.rows if row[1] == "int8")
    assert row[5] == "0.99050 ± 0.00071"
    assert row[9] == "2 of 20,000"


def test_every_changed_decision_is_listed_with_its_float_score(result):
    changed = part(only_section(result("dos")), "Changed decisions")
    assert [row[1:] for row in changed.tables[0].rows] == [
        ("int8", seed, "17", "neptune", "0.501235", "0.498700") for seed in "01"
    ]


def test_a_long_list_of_changed_decisions_says_how_many_there_are(result, monkeypatch):
    monkeypatch.setattr("lutkan.report.dos._MOST_ROWS", 1)
    (table,) = part(only_section(result("dos")), "Changed decisions").tables
    assert len(table.rows) == 1
    assert table.note == "The first 1 of 2; all stand in the CSV."


def test_methods_are_compared_with_the_float_network_and_the_preset_is_named(result):
    section = only_section(result("quant"))
    table = part(section, "Methods").tables[0]
    row = next(row for row in table.rows if row[1] == "w4a4" and row[3].startswith("QuantKAN"))
    assert row[3:6] == ("QuantKAN preset (ours)", "93.50 ± 0.71", "+4.50 ± 0.00")
    maps = part(section, "Accuracy by method and bits").plots
    assert [plot.caption for plot in maps] == ["Float: 98.00 %."] * 2
    rows = part(section, "Sensitivity").tables[0].rows
    assert rows[5] == ("digits, efficient-kan", "layers.0 spline", "2 bits", "0.5", "0.7")


def test_a_cell_of_another_kind_than_numbers_does_no_harm(result):
    odd = [
        cell({"net": None, "task": "tables", "tables": "odd", "seed": 0}, {"in_range": "text", "arrays": {"q": None}}),
        cell({"task": "time", "seed": 0, "net": "x", "batch": 1}, {"arms": {}, "ratios": {}}),
    ]
    section = only_section(result("sweep", odd))
    assert any(one.missing for one in section.parts)


def leaves(value, before=()):
    """Give the paths of all values within nested mappings and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    yield before
    for key, one in inner:
        yield from leaves(one, (*before, key))


def replaced(value, path, other):
    if not path:
        return other
    key, *rest = path
    if isinstance(value, dict):
        return {**value, key: replaced(value[key], rest, other)}
    return [replaced(one, rest, other) if n == key else one for n, one in enumerate(value)]


@pytest.mark.parametrize("experiment", CELLS)
def test_values_of_any_kind_are_shown_or_left_out(result, experiment):
    made = result(experiment)
    kinds = {}
    for number, one in enumerate(made.cells):
        kinds.setdefault(str(sorted(one.values)), number)
    kept = [made.cells[number] for number in kinds.values()]
    for number, target in enumerate(kept):
        for path in list(leaves(dict(target.values)))[1:]:
            for other in (None, "text", -1, [], {}, [1], {"a": 1}, float("nan"), float("inf")):
                changed = Cell(target.params, replaced(dict(target.values), path, other))
                cells = (*kept[:number], changed, *kept[number + 1 :])
                make_report([Result(made.source, experiment, made.manifest, cells)])
        for name in target.params:
            for other in (None, 7, [1], {"a": 1}):
                changed = Cell({**target.params, name: other}, target.values)
                cells = (*kept[:number], changed, *kept[number + 1 :])
                make_report([Result(made.source, experiment, made.manifest, cells)])


def test_experiments_without_a_file_are_named_with_their_command(result):
    page = make_report([result("memory")])
    assert dict(page.absent) == {
        **{about: f"lutkan lab {name}" for name, about in EXPERIMENTS.items() if name != "memory"},
        "Edge functions": "lutkan report --artifact ART --model MODEL --edges 0:0:0 -o edges.html",
    }
    for text in (markdown_page(page), html(page)):
        for about, command in page.absent:
            assert about in text and command in text


def test_two_files_of_one_experiment_are_two_sections(result):
    first = result("memory")
    second = Result("other.jsonl", "memory", first.manifest, first.cells)
    page = make_report([first, second])
    assert [section.title for section in page.sections] == ["Bytes (memory.jsonl)", "Bytes (other.jsonl)"]
    names = [plot.name for plot in page.plots]
    assert len(names) == len(set(names))


def test_sections_come_in_one_order_whatever_the_order_of_the_files(result):
    found = [result(name) for name in ("dos", "memory", "sweep")]
    assert [one.name for one in make_report(found).sections] == ["sweep", "memory", "dos"]


class Parsed(HTMLParser):
    """Collects what a page refers to, and checks that its elements are closed."""

    VOID = ("meta", "link", "br", "hr", "img")

    def __init__(self, text):
        super().__init__()
        self.references, self.ids, self.figures, self.open = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        self.references += [found[name] for name in ("src", "href", "srcset", "data", "action") if name in found]
        self.ids += [found["id"]] if "id" in found else []
        self.figures += [found["data-plot"]] if "data-plot" in found else []

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a report of everything there is, drawn once for all tests."""
    folder = tmp_path_factory.mktemp("results")
    read = [
        read_results(write_lines(folder / f"{name}.jsonl", [manifest(name), *cells()])) for name, cells in CELLS.items()
    ]
    net = nets.efficient_kan((3, 2), 5).network
    artifact = lutkan.compile(net, "int8", calibration=np.random.default_rng(3).uniform(-1, 1, (64, 3)))
    edges, section = edge_section(artifact, net, "0:0:0,0:2:1", "m.lutkan")
    return make_report([*read, edges], [section], "A <title> & more")


@pytest.fixture(scope="module")
def text(whole):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    return html(whole)


def test_the_page_refers_to_nothing_outside(whole, text):
    page = Parsed(text)
    assert set(page.references) <= {"data:,", *(f"#{name}" for name in page.ids)}
    assert not re.search(r"@import|url\((?!#)|https?://|<script", text)
    assert len(page.ids) == len(set(page.ids))
    assert page.figures == [plot.name for plot in whole.plots]
    assert "<h1>A &lt;title&gt; &amp; more</h1>" in text


def test_texts_of_a_file_cannot_become_markup(result):
    evil = '<script>alert("x")</script>'
    cells = [cell({"net": evil, "tables": evil}, {"arrays": {evil: 5}, "file_bytes": 5, "checkpoint_bytes": 9})]
    text = html(make_report([result("memory", cells, command=evil)], title=evil))
    assert "<script" not in text
    assert "alert(" in text


def test_markdown_holds_every_table(whole):
    text = markdown_page(whole)
    assert text.startswith("# A <title> & more\n\n## Accuracy, bytes and time")
    assert len(re.findall(r"^\|:--", text, re.MULTILINE)) == sum(len(divided(table)) for table in whole.tables)
    for section in whole.sections:
        assert f"\n## {section.title}\n" in text
    assert "- command: lutkan lab dos -o dos.jsonl" in text


def test_the_manifest_is_told_and_what_it_lacks_is_named(result):
    told = dict(manifest_lines("x.jsonl", result("memory").manifest))
    assert told == {
        "file": "x.jsonl",
        "command": "lutkan lab memory -o memory.jsonl",
        "date": "2026-01-02T03:04:05+00:00",
        "seeds": "0, 1",
        "processor": "Some CPU (family 6); avx2 fma; L1d 48 KB, L2 2,048 KB; 2 cores",
        "system": "Linux-6.1",
        "versions": "Python 3.11.7 (cpython), numpy 2.0.0",
        "code": "lutkan 0.1.0, commit 0123456789ab with local changes",
        "placed": "one thread on core 1",
        "parameters": "rows 64",
    }
    silent = dict(manifest_lines("x.jsonl", {}))
    assert silent == {
        "file": "x.jsonl",
        "not told by the file": "command, date, seeds, processor, system, versions, code",
    }


def test_the_edges_of_an_artifact_are_a_section_and_a_result(whole):
    section = whole.sections[-1]
    assert [plot.name for plot in section.parts[0].plots] == ["edges-0-0-0", "edges-0-2-1"]
    assert [row[0] for row in section.parts[0].tables[0].rows] == ["0:0:0", "0:2:1"]
    told = dict(section.manifest)
    assert told["file"] == "m.lutkan" and len(told["content id"]) == 64
    assert told["spec"].startswith("BasisSpec: coefficient bits 8, ")
    assert (told["from"], told["calibration"]) == ("efficient-kan, 6 edges", "64 rows")


def test_an_empty_report_is_a_page_all_the_same():
    assert "<h1>Results</h1>" in html(Report("Results", ()))


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = (
        "import sys, lutkan.cli.app, lutkan.report.sections\n"
        "print([name for name in ('matplotlib', 'jinja2', 'pandas', 'torch', 'numba') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
