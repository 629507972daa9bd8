"""Reading result files: what is tolerated with a note, and what is refused with a message that helps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lutkan.errors import InputError
from lutkan.report.load import flat, read_results
from lutkan.report.sections import make_report
from made_results import CELLS, cell, manifest, write_lines

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("experiment", CELLS)
def test_manifest_and_cells_of_every_experiment(result, experiment):
    found = result(experiment)
    assert found.experiment == experiment
    assert found.source == f"{experiment}.jsonl"
    assert found.manifest["command"] == f"lutkan lab {experiment} -o {experiment}.jsonl"
    assert [(one.params, one.values) for one in found.cells] == [
        (c["params"], c["values"]) for c in CELLS[experiment]()
    ]
    assert found.notes == ()


def test_a_last_line_that_was_cut_off_is_left_out_and_told(result_file):
    path = result_file("memory")
    whole = len(read_results(path).cells)
    path.write_text(path.read_text(encoding="utf-8")[:-30], encoding="utf-8")
    found = read_results(path)
    assert len(found.cells) == whole - 1
    assert found.notes == (f"Line {whole + 1} was cut off and is left out: the run was stopped while it wrote.",)


def test_a_damaged_line_elsewhere_is_an_error_with_its_number(result_file):
    path = result_file("memory")
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], lines[1][:-4], *lines[2:]]), encoding="utf-8")
    with pytest.raises(InputError, match=r"memory\.jsonl, line 2: not JSON"):
        read_results(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("bytes,error\n1,2\n", "line 1: not JSON"),
        ('{"kind": "manifest", "exp', "line 1: not JSON"),
        ("[1, 2]", "line 1: no manifest"),
        ("3", "line 1: no manifest"),
        ('{"a": 1}\n{"b": 2}\n', "line 1: no manifest"),
        ('{"a": 1}', "no manifest, and neither records nor cases"),
        ('{"kind": "cell", "params": {}, "values": {}}\n{}\n', "line 1: no manifest"),
        ('{"kind": "manifest", "experiment": "teapot"}\n', "line 1: unknown experiment 'teapot'; allowed: sweep, oob"),
        ('{"kind": "manifest"}', "unknown experiment None"),
        ('{"kind": "manifest", "experiment": "oob"}\n{"kind": "row"}\n', "line 2: no cell"),
        ('{"kind": "manifest", "experiment": "oob"}\n{"kind": "cell", "params": 1, "values": {}}\n', "line 2: no cell"),
        ('{"kind": "manifest", "experiment": "oob"}\n7\n', "line 2: no cell"),
        ('{"records": [{"data": "digits"}]}', "unknown benchmark None"),
        ('{"benchmark": "teapot", "cases": []}', "unknown benchmark 'teapot'"),
        ('{"benchmark": "bench", "cases": [{"batch": 1}]}', "case 0: no arms"),
        ('{"benchmark": "accuracy", "records": [7]}', "record 0: a int"),
    ],
)
def test_other_files_are_refused(tmp_path, text, says):
    path = tmp_path / "r.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_results(path)
    assert str(error.value).startswith(f"{path}")
    assert says in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_results(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        read_results(tmp_path)
    (tmp_path / "r.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_results(tmp_path / "r.jsonl")


def test_a_manifest_alone_is_a_run_without_cells(tmp_path):
    found = read_results(write_lines(tmp_path / "r.jsonl", [manifest("oob")]))
    assert found.cells == ()
    assert found.notes == ("The file holds a manifest and no finished cell.",)


def test_a_resumed_run_tells_what_changed(tmp_path):
    first = manifest("oob")
    again = {"kind": "resumed", "date": "2026-02-03", "machine": {**first["machine"], "cpu": "Another"}}
    same = {"kind": "resumed", "date": "2026-02-04", "machine": first["machine"]}
    lines = [first, cell({"a": 1}, {}), again, cell({"a": 2}, {}), same]
    found = read_results(write_lines(tmp_path / "r.jsonl", lines))
    assert len(found.cells) == 2
    assert found.notes == (
        "Stopped after 1 cells and gone on 2026-02-03, with another cpu.",
        "Stopped after 2 cells and gone on 2026-02-04.",
    )


def test_of_cells_that_come_up_twice_the_last_counts(tmp_path):
    lines = [manifest("oob"), cell({"a": 1}, {"y": 1}), cell({"a": 2}, {"y": 2}), cell({"a": 1}, {"y": 3})]
    found = read_results(write_lines(tmp_path / "r.jsonl", lines))
    assert [one.values["y"] for one in found.cells] == [3, 2]
    assert found.notes == ("1 cells were measured again; the last measurement of each counts.",)


def test_cells_of_several_processes_are_put_in_order(tmp_path):
    names = ["segment-L16", "segment-L2", "basis-8", "segment-L128"]
    lines = [cell({"net": net, "tables": name}, {}) for net in ("64-10", "10-8") for name in names]
    path = tmp_path / "r.jsonl"
    alone = read_results(write_lines(path, [manifest("oob"), *lines]))
    assert [one.params["tables"] for one in alone.cells[:4]] == names
    found = read_results(write_lines(path, [manifest("oob", workers=2), *lines]))
    ordered = ["basis-8", "segment-L2", "segment-L16", "segment-L128"]
    assert [tuple(one.params.values()) for one in found.cells] == [
        (net, name) for net in ("10-8", "64-10") for name in ordered
    ]


def test_frozen_benchmarks_are_read_and_shown():
    folder = ROOT / "benchmarks" / "results"
    names = ("accuracy", "bounds", "instructions", "engine")
    files = {name: path for name in names for path in folder.glob(f"{name}*.json")}
    found = {name: read_results(path) for name, path in files.items()}
    assert {"accuracy", "bounds", "instructions"} <= set(found)
    assert all(name == one.experiment and one.cells for name, one in found.items())
    for section in make_report(list(found.values())).sections:
        assert [one.missing for one in section.parts] == [""] * len(section.parts)
        assert all(one.plots and one.tables for one in section.parts)
    records = json.loads((folder / "accuracy.json").read_text(encoding="utf-8"))["records"]
    assert [one.values["mean_error"] for one in found["accuracy"].cells] == [one["mean_error"] for one in records]
    assert found["accuracy"].cells[0].params == {"data": "digits", "net": "efficient-kan", "seed": 0, "spec": "int16"}


def test_cases_of_a_bench_become_a_cell_an_arm(tmp_path):
    arms = [
        {"name": "native", "ns_an_edge": 1.5, "rounds": [1], "seconds": [2.0]},
        {"name": "numba", "ns_an_edge": 9.0},
    ]
    path = tmp_path / "b.json"
    path.write_text(json.dumps({"benchmark": "bench", "command": "c", "cases": [{"batch": 4, "arms": arms}]}))
    found = read_results(path)
    assert found.manifest == {"benchmark": "bench", "command": "c"}
    assert [(one.params, one.values) for one in found.cells] == [
        ({"batch": 4, "arm": "native"}, {"ns_an_edge": 1.5}),
        ({"batch": 4, "arm": "numba"}, {"ns_an_edge": 9.0}),
    ]


def test_flat_names():
    assert flat({"a": {"b": {"c": 1}}, "d": [1, 2], "e": None}) == {"a.b.c": 1, "d": "[1, 2]", "e": None}
