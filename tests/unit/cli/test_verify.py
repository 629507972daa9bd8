"""`lutkan verify`."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lutkan
from lutkan.runtimes.model import RUNTIMES, available_runtimes


@pytest.fixture
def data(tmp_path, X):
    np.save(tmp_path / "x.npy", X)
    return tmp_path / "x.npy"


def test_report_in_text_and_json_is_that_of_the_python_call(run, checkpoint, artifact, data, X):
    report = lutkan.verify(lutkan.Artifact.open(artifact), lutkan.import_model(checkpoint), X)
    found = json.loads(run("verify", artifact, "--model", checkpoint, "--data", data, "--json").stdout)
    assert found == json.loads(json.dumps(report.to_json()))
    result = run("verify", artifact, "--model", checkpoint, "--data", data)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1].startswith(f"verified 7 rows: max error {report.max_abs:.3g}, mean ")
    for name in ("approximation", "quantization", "layers.0", "layers.1", "worst edge"):
        assert name in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("limit", "kept", "broken"),
    [("--max-abs", "10", "1e-9"), ("--mae", "10", "1e-9"), ("--agreement", "0", None)],
)
def test_limits_decide_the_exit_code(run, checkpoint, artifact, data, limit, kept, broken):
    command = ("verify", artifact, "--model", checkpoint, "--data", data)
    assert run(*command, limit, kept).exit_code == 0
    if broken is not None:
        result = run(*command, limit, broken)
        assert result.exit_code == 1
        assert "verified 7 rows" in result.stdout  # the figures are shown all the same
        assert result.stderr.startswith("error: ")


def test_agreement_below_the_limit_fails(run, checkpoint, artifact, tmp_path):
    net = lutkan.import_model(checkpoint)
    rows = np.random.default_rng(0).uniform(-2, 2, size=(20000, 3)).astype(np.float32)
    np.save(tmp_path / "many.npy", rows)
    assert lutkan.verify(lutkan.Artifact.open(artifact), net, rows).agreement < 1
    command = ("verify", artifact, "--model", checkpoint, "--data", tmp_path / "many.npy")
    assert run(*command, "--agreement", "1").exit_code == 1


def test_without_model_the_golden_vectors_are_replayed(run, artifact):
    runtimes = [name for name in RUNTIMES if not available_runtimes()[name]]
    rows = len(lutkan.Artifact.open(artifact).golden_x)
    assert rows > 0
    assert run("verify", artifact).stdout == f"verified {rows} golden rows: 0 mismatches on {', '.join(runtimes)}\n"
    assert json.loads(run("verify", artifact, "--json").stdout)["runtimes"] == runtimes
    assert run("verify", artifact, "--runtime", "reference").stdout.endswith("on reference\n")


def test_golden_vectors_that_differ_fail(fails, artifact, tmp_path):
    from dataclasses import replace

    opened = lutkan.Artifact.open(artifact)
    forged = replace(opened, golden_y=opened.golden_y + np.float32(1e-3))
    forged.save(tmp_path / "forged.lutkan")
    assert "golden row 0" in fails("verify", tmp_path / "forged.lutkan")


def test_bad_input(fails, checkpoint, artifact, data, tmp_path):
    assert "--model without --data" in fails("verify", artifact, "--model", checkpoint)
    assert "--data without --model" in fails("verify", artifact, "--data", data)
    assert "without --model and --data" in fails("verify", artifact, "--max-abs", "1")
    assert "no such file" in fails("verify", artifact, "--model", checkpoint, "--data", tmp_path / "absent.npy")
    assert "cannot be read" in fails("verify", tmp_path / "absent.lutkan")
    assert "runtime 'teapot'" in fails("verify", artifact, "--runtime", "teapot")
    (tmp_path / "e.csv").write_text("a,b,c\n")
    assert "no rows" in fails("verify", artifact, "--model", checkpoint, "--data", tmp_path / "e.csv")


def test_an_artifact_of_another_model_is_refused(run, checkpoint, data, tmp_path):
    from safetensors.numpy import load_file, save_file

    state = load_file(checkpoint)
    first = {name.removeprefix("layers.0."): array for name, array in state.items() if name.startswith("layers.0.")}
    save_file(first, tmp_path / "o.safetensors")
    net = lutkan.import_model(tmp_path / "o.safetensors")
    lutkan.compile(net, "segment-int8-L16").save(tmp_path / "o.lutkan")
    result = run("verify", tmp_path / "o.lutkan", "--model", checkpoint, "--data", data)
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
