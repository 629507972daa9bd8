"""`lutkan report`: three forms, edges of an artifact, and messages for bad input."""

from __future__ import annotations

import csv
import json

import pytest

from made_results import CELLS, manifest, write_lines


@pytest.fixture
def memory(tmp_path):
    return write_lines(tmp_path / "memory.jsonl", [manifest("memory"), *CELLS["memory"]()])


def test_all_three_forms_at_once(run, memory, tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    outputs = [tmp_path / f"r.{form}" for form in ("html", "md", "csv")]
    result = run("report", memory, *(argument for path in outputs for argument in ("-o", path)), "--title", "Ours")
    assert result.exit_code == 0
    page, markdown, table = (path.read_text(encoding="utf-8") for path in outputs)
    assert "<h1>Ours</h1>" in page and 'data-plot="memory-bytes-10-8"' in page
    assert markdown.startswith("# Ours\n") and "| 10-8 | basis-8 |" in markdown
    assert len(list(csv.DictReader(table.splitlines()))) == 3
    lines = result.stdout.splitlines()
    assert lines[0] == f"{outputs[0]}: 1 plot, 2 tables, {len(page.encode()):,} bytes"
    assert lines[1] == f"{outputs[1]}: 2 tables, {len(markdown.encode()):,} bytes"
    assert lines[2] == f"{outputs[2]}: 3 cells, {len(table.encode()):,} bytes"
    assert lines[3] == "not in it"
    assert any("lutkan lab sweep" in line for line in lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["memory.jsonl", "r.csv", "r.html", "r.md"]


def test_csv_says_nothing_of_plots(run, memory, tmp_path):
    result = run("report", memory, "-o", tmp_path / "r.csv")
    assert result.stdout.splitlines() == [
        f"{tmp_path / 'r.csv'}: 3 cells, {(tmp_path / 'r.csv').stat().st_size:,} bytes"
    ]


def test_edges_of_an_artifact(run, checkpoint, artifact, tmp_path):
    output = tmp_path / "e.md"
    arguments = ("report", "--artifact", artifact, "--model", checkpoint, "-o", output, "--json")
    told = json.loads(run(*arguments, "--edges", "0:2:1,1:0:0").stdout)
    assert told["plots"] == ["edges-0-2-1", "edges-1-0-0"]
    assert told["files"] == [{"path": str(output), "bytes": output.stat().st_size}]
    assert told["tables"] == 1
    assert not any("Edge functions" in line for line in told["missing"])
    assert "| 0:2:1 | layers.0 | -2.2 to 2.2 |" in output.read_text(encoding="utf-8")
    chosen = json.loads(run(*arguments).stdout)["plots"]
    assert len(chosen) == 4
    run("report", "--artifact", artifact, "--model", checkpoint, "-o", tmp_path / "e.csv", "--edges", "0:2:1")
    (row,) = csv.DictReader((tmp_path / "e.csv").read_text(encoding="utf-8").splitlines())
    assert (row["params.layer"], row["params.source"], row["params.target"]) == ("0", "2", "1")
    assert 0 < float(row["values.max_error"]) < 0.1


def test_a_run_that_was_stopped_is_told(run, memory, tmp_path):
    memory.write_text(memory.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    run("report", memory, "-o", tmp_path / "r.md")
    assert "Line 4 was cut off and is left out" in (tmp_path / "r.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "no result file and no --artifact"),
        (("absent.jsonl",), "absent.jsonl: cannot be read (No such file or directory)"),
        (("--edges", "0:0:0"), "without --artifact"),
        (("--model", "m.safetensors"), "without --artifact"),
        (("--set", "a=b"), "without --artifact"),
        (("--artifact", "m.lutkan"), "--artifact without --model"),
    ],
)
def test_bad_input(fails, tmp_path, arguments, says):
    assert says in fails("report", *arguments, "-o", tmp_path / "r.md")
    assert list(tmp_path.iterdir()) == []


def test_bad_outputs(fails, memory, tmp_path):
    assert "no -o FILE" in fails("report", memory)
    assert "unknown kind of file '.pdf'\n  allowed: .html, .md, .csv" in fails(
        "report", memory, "-o", tmp_path / "r.pdf"
    )
    absent = fails("report", memory, "-o", tmp_path / "absent" / "r.md")
    assert f"r.md: there is no folder {tmp_path / 'absent'}\n" in absent and ".part" not in absent
    (tmp_path / "r.md").mkdir()
    assert "r.md: is a folder" in fails("report", memory, "-o", tmp_path / "r.md")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["memory.jsonl", "r.md"]


def test_a_full_disk_is_told_of_the_file_that_was_asked_for(fails, memory, tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    said = fails("report", memory, "-o", tmp_path / "r.md")
    assert f"error: {tmp_path / 'r.md'}: cannot be written (No space left on device)\n" in said
    assert ".part" not in said


def test_bad_edges(fails, checkpoint, artifact, tmp_path):
    arguments = ("report", "--artifact", artifact, "--model", checkpoint, "-o", tmp_path / "r.md", "--edges")
    assert "LAYER:SOURCE:TARGET" in fails(*arguments, "0:1")
    assert "layer 0 has 3 inputs and 4 outputs" in fails(*arguments, "0:3:0")
    assert "there is no KAN layer 2" in fails(*arguments, "2:0:0")


def test_a_file_of_another_kind(fails, tmp_path):
    (tmp_path / "r.jsonl").write_text('{"kind": "manifest", "experiment": "teapot"}\n')
    said = fails("report", tmp_path / "r.jsonl", "-o", tmp_path / "r.md")
    assert "unknown experiment 'teapot'\n  allowed: sweep, oob, memory, coldstart, dos, quant" in said
