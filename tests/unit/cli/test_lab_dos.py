"""`lutkan lab dos`: as it is called, stopped, resumed and refused."""

from __future__ import annotations

import json

import pytest

from flow_tables import CICIDS2017_HEADER, flow_lines, write_csv, write_flows, write_nsl_kdd
from lutkan.lab.experiment import read_run

needs_torch = pytest.mark.usefixtures("_torch")


@pytest.fixture
def _torch():
    pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("sklearn", reason="needs scikit-learn")


def test_help_has_an_example_within_80_columns(run):
    result = run("lab", "dos", "--help")
    assert result.exit_code == 0
    assert "Example:\n    lutkan lab dos" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    (line,) = (line for line in run("lab", "--help").stdout.splitlines() if line.startswith("  dos "))
    assert line.endswith(".")
    assert not line.endswith("...")


@needs_torch
def test_a_quick_run_prints_its_page_and_keeps_its_networks(run, tmp_path):
    folder = write_nsl_kdd(
        tmp_path / "nsl_kdd", (("normal", 40), ("neptune", 30)), (("normal", 30), ("neptune", 10), ("apache2", 5))
    )
    output = tmp_path / "out" / "dos.jsonl"
    options = ("--hidden", "3", "--quick", "--batch", "", "-o", output)
    result = run("lab", "dos", folder, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("# Intrusion detection")
    assert "| int8: F1 within 0.0005 of the float model | nsl_kdd, neptune |" in result.stdout
    assert len(list((tmp_path / "out" / "dos-models").iterdir())) == 2
    assert {cell["params"]["spec"] for cell in read_run(output).cells} == {"", "int16", "int8"}
    again = run("lab", "dos", folder, *options, "--json")
    assert json.loads(again.stdout)["results"] == list(read_run(output).cells)
    refused = run("lab", "dos", folder, *options, "--epochs", "3")
    assert refused.exit_code == 1
    assert "measured with parameters" in refused.stderr


@needs_torch
def test_classes_columns_and_precisions_are_chosen(run, tmp_path):
    path = write_flows(tmp_path / "flows.csv", (("BENIGN", 40), ("DoS Hulk", 30), ("Bot", 30)))
    output = tmp_path / "dos.jsonl"
    result = run(
        *("lab", "dos", path, "--attack", "Bot", "--attack", "bot,DoS Hulk", "--drop", "Flow Duration,Idle Min"),
        *("--epochs", "1", "--seeds", "7", "--spec", "segment-uint8-L4", "--test-share", "0.4", "--hidden", "2,2"),
        *("--batch", "", "-o", output),
    )
    assert (result.exit_code, result.stderr) == (0, "")
    first, table, second, _ = read_run(output).cells
    assert [cell["params"]["attack"] for cell in (first, second)] == ["Bot", "bot,DoS Hulk"]
    assert (first["params"]["seed"], table["params"]["spec"]) == (7, "segment-uint8-L4")
    assert first["values"]["data"]["test"] == {"normal": 16, "attack": 12}
    assert second["values"]["data"]["test"] == {"normal": 16, "attack": 24}
    varying = 78 - 2 - len(first["values"]["data"]["constant_features"])
    assert first["values"]["widths"] == [varying, 2, 2, 1]


def test_bad_input_is_one_clear_message(fails, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty: the folder is empty" in fails("lab", "dos", tmp_path / "empty")
    assert "absent: no such file or folder" in fails("lab", "dos", tmp_path / "absent")
    path = write_flows(tmp_path / "flows.csv")
    absent = fails("lab", "dos", path, "--attack", "DoS Slowloris")
    assert "class 'DoS Slowloris'" in absent
    assert "BENIGN (60), DoS Hulk (60)" in absent
    assert "--seeds 1,x" in fails("lab", "dos", path, "--seeds", "1,x")
    assert "int9" in fails("lab", "dos", path, "--spec", "int9")
    assert "test share 1.5" in fails("lab", "dos", path, "--test-share", "1.5")
    lines = flow_lines()
    lines[2][5] = "?"
    write_csv(path, CICIDS2017_HEADER, lines)
    assert "flows.csv, line 4, column 'Total Length of Bwd Packets': '?' is no number" in fails("lab", "dos", path)
    write_csv(path, CICIDS2017_HEADER[2:], [line[2:] for line in flow_lines()])
    assert "missing columns: Flow Duration" in fails("lab", "dos", path)
