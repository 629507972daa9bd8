"""`lutkan compile --spec auto`."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lutkan


@pytest.fixture
def calib(X, tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, X)
    return path


def test_auto_is_what_the_python_call_gives(run, checkpoint, X, calib, tmp_path):
    out = tmp_path / "m.lutkan"
    result = run("compile", checkpoint, "-o", out, "--spec", "auto", "--calib", calib, "--max-error", "0.5")
    assert (result.exit_code, result.stderr) == (0, "")
    expected = lutkan.compile(lutkan.import_model(checkpoint), "auto", calibration=X, max_error=0.5)
    assert out.read_bytes() == expected.to_bytes()
    assert "certified for all inputs in [" in result.stdout


def test_a_dry_run_prints_what_was_tried(run, checkpoint, calib):
    arguments = ("compile", checkpoint, "--spec", "auto", "--calib", calib, "--max-error", "0.5", "--dry-run")
    text = run(*arguments).stdout
    lines = text.splitlines()
    assert lines[0].split()[:4] == ["bytes", "max", "error", "mean"]
    assert sum(" * " in line for line in lines) == 1
    assert lines[-1].startswith("* is taken: max error at most 0.5")
    assert all(len(line) <= 80 for line in lines)
    data = json.loads(run(*arguments, "--json").stdout)
    assert data["met"] is True and data["rows"] == 7
    assert [row["chosen"] for row in data["pareto"]].count(True) == 1
    assert sum(line[:1].isdigit() for line in lines) == 2 * len(data["pareto"])


def test_out_of_reach(fails, checkpoint, calib, tmp_path):
    message = fails(
        "compile", checkpoint, "-o", tmp_path / "m.lutkan", "--spec", "auto", "--calib", calib, "--target-bytes", "100"
    )
    assert "target_bytes = 100: the smallest file found takes" in message
    assert not (tmp_path / "m.lutkan").exists()


def test_json_holds_certificate_and_search(run, checkpoint, calib, tmp_path):
    out = tmp_path / "m.lutkan"
    data = json.loads(run("compile", checkpoint, "-o", out, "--spec", "auto", "--calib", calib, "--json").stdout)
    assert data["certificate"]["max_abs"] >= data["verification"]["max_abs"]
    assert data["search"]["pareto"]
    flat = json.loads(run("compile", checkpoint, "-o", out, "--calib", calib, "--json").stdout)
    assert "search" not in flat and flat["certificate"]["max_abs"] > 0
