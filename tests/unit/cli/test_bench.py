"""`lutkan bench`."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest

import lutkan
from lutkan.cli import bench as verb
from lutkan.lab.arms import own
from lutkan.runtimes.model import RUNTIMES, available_runtimes

QUICK = ("--rounds", "3")
HERE = [name for name in RUNTIMES if not available_runtimes()[name]]


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    """Time with short blocks."""
    plan = verb.Plan
    monkeypatch.setattr(verb, "Plan", lambda rounds: plan(rounds=rounds, blocks=1, block_seconds=1e-4))


def test_text_of_a_checkpoint(run, checkpoint):
    result = run("bench", checkpoint, "--batch", "1,20", *QUICK)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "efficient-kan, 3 -> 2, 20 edges" in " ".join(result.stdout.split())
    assert "one thread" in result.stdout
    for batch in ("1 row a call", "20 rows a call"):
        (start,) = (number for number, line in enumerate(lines) if line.startswith(batch))
        assert sorted(line.split()[0] for line in lines[start + 1 : start + 1 + len(HERE)]) == sorted(HERE)
    assert "measured here" in result.stdout
    assert "drawn from the core grid" in result.stdout


def test_json_of_a_checkpoint_names_machine_errors_bytes_and_times(run, checkpoint):
    result = run("bench", checkpoint, "--batch", "5", "--spec", "int16,segment-int8-L16", *QUICK, "--json")
    found = json.loads(result.stdout)
    net = lutkan.import_model(checkpoint)
    assert [told["spec"] for told in found["artifacts"]] == ["int16", "segment-int8-L16"]
    for told in found["artifacts"]:
        artifact = lutkan.compile(net, told["spec"])
        assert told["bytes"] == artifact.nbytes
        assert told["same_bits"] is True
        assert told["measured"] == "here"
        assert 0 < told["mean_error"] < told["max_error"] < 1
    (case,) = found["cases"]
    assert [arm["name"] for arm in case["arms"]] == [
        f"{name} {spec}" for spec in ("int16", "segment-int8-L16") for name in HERE
    ]
    for arm in case["arms"]:
        assert (arm["rows"], arm["edges"], len(arm["seconds"])) == (5, 20, 3)
        assert arm["ns_an_edge"] == pytest.approx(1e9 * arm["median_s"] / 100)
        assert arm["isa"]
        assert arm["memory_bytes"] > 0
        assert "max_error" not in arm  # all runtimes have those of the artifact
    assert found["machine"]["cpu"]
    assert found["threads"] == 1
    assert found["command"].startswith("lutkan")
    assert json.loads(run("bench", checkpoint, "--batch", "1", *QUICK, "-o", "json").stdout)["benchmark"] == "bench"


def test_markdown(run, checkpoint):
    text = run("bench", checkpoint, "--batch", "1", *QUICK, "-o", "md").stdout
    assert text.startswith("# ")
    assert "| artifact | bytes | max error | mean error | runtimes agree |\n|:--|--:|--:|--:|--:|\n| int8 |" in text
    assert "| runtime | instruction set | bytes in memory |" in text
    assert "| 1 row a call | us a call | quartiles | ns an edge |" in text
    assert "- command: `lutkan" in text


def test_an_artifact_shows_the_errors_that_stand_in_it(run, artifact):
    opened = lutkan.Artifact.open(artifact)
    found = json.loads(run("bench", artifact, "--batch", "2", *QUICK, "--json").stdout)
    (told,) = found["artifacts"]
    assert (told["bytes"], told["same_bits"]) == (opened.nbytes, True)
    assert told["max_error"] == opened.manifest["verification"]["max_abs"]
    assert told["measured"] == "when it was compiled"
    assert [arm["name"] for arm in found["cases"][0]["arms"]] == HERE
    text = run("bench", artifact, "--batch", "2", *QUICK).stdout
    assert "measured when it was compiled" in text
    assert "drawn from [-1, 1]" in text


def test_an_artifact_without_errors_says_so(run, artifact, tmp_path):
    opened = lutkan.Artifact.open(artifact)
    info = {key: value for key, value in opened.info.items() if key != "verification"}
    replace(opened, info=info).save(tmp_path / "bare.lutkan")
    text = run("bench", tmp_path / "bare.lutkan", "--batch", "1", *QUICK).stdout
    assert "unknown" in text
    assert "Errors are" not in text


def test_own_rows_calibrate_a_checkpoint_and_are_timed_on(run, checkpoint, X, tmp_path):
    np.save(tmp_path / "x.npy", X)
    options = ("--data", tmp_path / "x.npy", "--batch", "20", *QUICK, "--json")
    found = json.loads(run("bench", checkpoint, *options).stdout)
    net = lutkan.import_model(checkpoint)
    (told,) = found["artifacts"]
    calibrated = lutkan.compile(net, "int8", calibration=X)
    assert told["bytes"] == calibrated.nbytes
    gap = np.abs(lutkan.load(calibrated, runtime="reference").predict(X) - net.evaluate(X))
    assert told["max_error"] == pytest.approx(gap.max())
    assert (told["error_rows"], found["rows"]) == (7, "given rows")


def test_one_runtime_alone(run, artifact):
    found = json.loads(run("bench", artifact, "--runtime", "reference", "--batch", "1", *QUICK, "--json").stdout)
    assert [arm["name"] for arm in found["cases"][0]["arms"]] == ["reference"]


def test_an_absent_runtime_is_told(run, artifact, monkeypatch):
    states = {name: "" if name == "reference" else "package xyz" for name in RUNTIMES}
    monkeypatch.setattr(own, "available_runtimes", lambda: states)
    text = run("bench", artifact, "--batch", "1", *QUICK).stdout
    assert "missing: package xyz" in text


def test_threads_leave_the_process_on_all_its_cores(run, artifact):
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    found = json.loads(run("bench", artifact, "--threads", "2", "--batch", "300", *QUICK, "--json").stdout)
    assert (found["threads"], found["pinned"]["core"]) == (2, None)
    run("bench", artifact, "--batch", "1", *QUICK)
    if before is not None:
        assert os.sched_getaffinity(0) == before


def test_a_runtime_that_answers_other_bits_fails_after_the_figures(run, artifact, monkeypatch):
    on_runtime = verb.on_runtime

    def wrong(*arguments):
        arm = on_runtime(*arguments)
        return replace(arm, prepare=lambda x: lambda: arm.prepare(x)() + np.float32(1e-3))

    monkeypatch.setattr(verb, "on_runtime", wrong)
    result = run("bench", artifact, "--batch", "1", *QUICK)
    assert result.exit_code == 1
    assert "NO" in result.stdout
    assert "other bits" in result.stderr


def test_bad_input(fails, checkpoint, artifact, tmp_path):
    assert "--batch 1,x" in fails("bench", artifact, "--batch", "1,x")
    assert "numbers from 1" in fails("bench", artifact, "--batch", "0")
    assert "do not apply to an artifact" in fails("bench", artifact, "--spec", "int8")
    assert "without --data" in fails("bench", artifact, "--drop", "a")
    assert "runtime 'teapot'" in fails("bench", artifact, "--runtime", "teapot")
    assert "spec 'int7'" in fails("bench", checkpoint, "--spec", "int7")
    assert "no such file" in fails("bench", artifact, "--data", tmp_path / "absent.npy")
    np.save(tmp_path / "wide.npy", np.zeros((2, 9), dtype=np.float32))
    assert "9" in fails("bench", artifact, "--data", tmp_path / "wide.npy")
