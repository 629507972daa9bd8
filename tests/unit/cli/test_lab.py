"""`lutkan lab`: its verbs as they are called, stopped, resumed and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lutkan.cli.lab import VERBS, advancing
from lutkan.lab import oob
from lutkan.lab.experiment import read_run

NAMES = [verb.__name__ for verb in VERBS]


@pytest.mark.parametrize("verb", NAMES)
def test_every_verb_has_help_with_an_example_within_80_columns(run, verb):
    result = run("lab", verb, "--help")
    assert result.exit_code == 0
    assert f"Example:\n    lutkan lab {verb}" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_help_lists_the_verbs_with_whole_sentences(run):
    text = run("lab", "--help").stdout
    for verb in NAMES:
        (line,) = (line for line in text.splitlines() if line.startswith(f"  {verb} "))
        assert line.endswith("."), line
        assert not line.endswith("..."), line


def test_memory_writes_a_file_and_prints_its_page(run, tmp_path):
    path = tmp_path / "memory.jsonl"
    result = run("lab", "memory", "--quick", "-o", path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("# Bytes")
    assert {cell["params"]["net"] for cell in read_run(path).cells} == {"10-8"}
    again = run("lab", "memory", "--quick", "-o", path, "--json")
    found = json.loads(again.stdout)
    assert found["experiment"] == "memory"
    assert len(found["results"]) == len(read_run(path).cells)


def test_the_default_file_lies_here(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("lab", "oob", "--quick").exit_code == 0
    assert Path("oob.jsonl").is_file()


def test_other_parameters_are_refused_and_again_starts_anew(run, fails, tmp_path):
    path = tmp_path / "oob.jsonl"
    run("lab", "oob", "--quick", "-o", path)
    before = path.read_bytes()
    assert "measured with parameters" in fails("lab", "oob", "-o", path, "--nets", "phi tables")
    assert "--again" in fails("lab", "oob", "--seeds", 3, "-o", path, "--nets", "phi tables")
    assert "holds the experiment 'oob'" in fails("lab", "memory", "--quick", "-o", path)
    assert path.read_bytes() == before
    assert run("lab", "oob", "--quick", "-o", path, "--again").exit_code == 0


def test_a_policy_that_is_broken_ends_with_exit_code_1(run, tmp_path, monkeypatch):
    honest = oob.defined
    swap = {"closed/clip_x": "closed/zero_spline"}
    monkeypatch.setattr(oob, "defined", lambda m, s, policy, x: honest(m, s, swap.get(policy, policy), x))
    result = run("lab", "oob", "--quick", "-o", tmp_path / "oob.jsonl")
    assert result.exit_code == 1
    assert "tables for closed/clip_x" in result.stderr


@pytest.mark.parametrize("verb", ["sweep", "oob", "memory", "coldstart"])
def test_an_unknown_network_is_named(fails, tmp_path, verb):
    assert "--nets teapot" in fails("lab", verb, "--nets", "teapot", "-o", tmp_path / "x.jsonl")
    assert not (tmp_path / "x.jsonl").exists()


def test_sweep_and_coldstart_run(run, tmp_path):
    result = run("lab", "sweep", "--quick", "--seeds", 1, "--clock", "cpu", "-o", tmp_path / "sweep.jsonl")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "## What a look-up gains over a B-spline" in result.stdout
    result = run("lab", "coldstart", "--quick", "-o", tmp_path / "coldstart.jsonl")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "64-64-10, int8" in result.stdout


def test_progress_advances_by_what_is_new():
    with advancing("cells", 3) as on_cell:
        on_cell(2)
        on_cell(3)


@pytest.mark.parametrize("verb", [(name,) for name in (*NAMES, "quant")] + [("dos", "flows.csv")], ids=lambda v: v[0])
def test_a_folder_is_no_result_file(fails, tmp_path, verb):
    said = fails("lab", *verb, "--quick", "-o", tmp_path)
    assert f"{tmp_path}: is a folder\n  allowed: the name of a result file" in said
    assert f"such as -o {tmp_path / verb[0]}.jsonl" in said
    assert list(tmp_path.iterdir()) == []
