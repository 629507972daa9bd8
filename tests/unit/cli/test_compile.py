"""`lutkan compile`."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lutkan
from lutkan.cli.compile import DEFAULT_SPEC, table_bytes
from lutkan.tables.spec import NAMED_SPECS

SPEC = "segment-int8-L16"


def test_the_default_spec_has_a_name_and_is_taken(run, checkpoint, tmp_path):
    assert DEFAULT_SPEC in NAMED_SPECS
    out = tmp_path / "m.lutkan"
    assert run("compile", checkpoint, "-o", out).exit_code == 0
    expected = lutkan.compile(lutkan.import_model(checkpoint), DEFAULT_SPEC)
    assert lutkan.Artifact.open(out).content_id == expected.content_id


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_calibrated_compile_is_what_the_python_call_gives(run, checkpoint, X, tmp_path, suffix):
    calib = tmp_path / f"x{suffix}"
    if suffix == ".csv":
        np.savetxt(calib, X, delimiter=",", header="a,b,c", comments="", fmt="%.9g")
    else:
        (np.save if suffix == ".npy" else np.savez)(calib, X)
    out = tmp_path / "m.lutkan"
    result = run("compile", checkpoint, "-o", out, "--spec", SPEC, "--calib", calib)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "calibrated on 7 rows" in result.stdout
    assert f"m.lutkan: {out.stat().st_size:,} bytes" in result.stdout
    expected = lutkan.compile(lutkan.import_model(checkpoint), SPEC, calibration=X)
    assert out.read_bytes() == expected.to_bytes()


def test_uncalibrated_is_said_and_domain_is_used(run, checkpoint, tmp_path):
    out = tmp_path / "m.lutkan"
    result = run("compile", checkpoint, "-o", out, "--spec", SPEC, "--domain", "-2,0.5")
    assert "uncalibrated" in result.stdout
    assert "default taken: base_activation = 'silu'" in result.stdout
    expected = lutkan.compile(lutkan.import_model(checkpoint), SPEC, domain=(-2.0, 0.5))
    assert out.read_bytes() == expected.to_bytes()


def test_settings_change_the_model(run, checkpoint, tmp_path):
    out = tmp_path / "m.lutkan"
    assert run("compile", checkpoint, "-o", out, "--spec", SPEC, "--set", "base_activation=gelu").exit_code == 0
    expected = lutkan.compile(lutkan.import_model(checkpoint, config={"base_activation": "gelu"}), SPEC)
    assert lutkan.Artifact.open(out).content_id == expected.content_id


def test_a_spec_file(run, fails, checkpoint, tmp_path):
    spec = lutkan.Spec(lutkan.SegmentSpec(samples=8), overrides=(("1", lutkan.SegmentSpec(dtype="uint8")),))
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec.to_json()))
    out = tmp_path / "m.lutkan"
    assert run("compile", checkpoint, "-o", out, "--spec", path).exit_code == 0
    assert lutkan.Artifact.open(out).manifest["spec"] == spec.to_json()
    path.write_text("{")
    assert "not JSON" in fails("compile", checkpoint, "-o", out, "--spec", path)
    path.write_text('{"type": "Teapot"}')
    assert "Teapot" in fails("compile", checkpoint, "-o", out, "--spec", path)
    assert "cannot be read" in fails("compile", checkpoint, "-o", out, "--spec", tmp_path / "absent.json")


def test_json(run, checkpoint, tmp_path):
    out = tmp_path / "m.lutkan"
    found = json.loads(run("compile", checkpoint, "-o", out, "--spec", SPEC, "--json").stdout)
    assert found["bytes"] == out.stat().st_size
    assert found["content_id"] == lutkan.Artifact.open(out).content_id
    assert found["table_bytes"] == lutkan.Artifact.open(out).table_nbytes
    assert 0 < found["verification"]["max_abs"] < 1


@pytest.mark.parametrize("spec", [SPEC, "segment-uint8-L33", *NAMED_SPECS])
def test_dry_run_tells_the_bytes_of_the_tables_and_writes_nothing(run, checkpoint, tmp_path, spec):
    found = json.loads(run("compile", checkpoint, "--spec", spec, "--dry-run", "--json").stdout)
    artifact = lutkan.compile(lutkan.import_model(checkpoint), spec)
    assert found["table_bytes"] == artifact.table_nbytes
    assert [(e["layer"], e["tables"], e["bytes"]) for e in found["layers"]] == table_bytes(artifact)
    result = run("compile", checkpoint, "-o", tmp_path / "m.lutkan", "--spec", spec, "--dry-run")
    assert f"{artifact.table_nbytes:,} bytes of tables" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_limits_that_are_missed_write_nothing(fails, checkpoint, tmp_path):
    out = tmp_path / "m.lutkan"
    assert "max_error" in fails("compile", checkpoint, "-o", out, "--spec", SPEC, "--max-error", "1e-9")
    assert "target_bytes" in fails("compile", checkpoint, "-o", out, "--spec", SPEC, "--target-bytes", "10")
    assert list(tmp_path.iterdir()) == []


def test_bad_input(fails, checkpoint, tmp_path, X):
    out = tmp_path / "m.lutkan"
    assert "pass -o OUT" in fails("compile", checkpoint)
    assert "no such file" in fails("compile", tmp_path / "absent.safetensors", "-o", out)
    bogus = fails("compile", checkpoint, "-o", out, "--spec", "bogus")
    assert bogus.startswith("error: --spec bogus\n  allowed: float32, int16, int8, int4, w<2 to 8>a<2 to 8>, ")
    assert "auto, or a .json file with a Spec\n" in bogus
    for samples in ("1", "999999999"):
        said = fails("compile", checkpoint, "-o", out, "--spec", f"segment-int8-L{samples}")
        assert f"samples = {samples}\n  allowed: an integer from 2 to 65536\n" in said
    huge = fails("compile", checkpoint, "-o", out, "--spec", f"segment-int8-L{'9' * 40}")
    assert "segment-int8-L<2 to 65536>" in huge
    assert "there is no folder" in fails("compile", checkpoint, "-o", tmp_path / "no" / "m.lutkan")
    assert "is a folder" in fails("compile", checkpoint, "-o", tmp_path)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "w.npy", X[:, :2])
    X[1, 2] = np.nan
    np.save(tmp_path / "n.npy", X)
    calib = ("compile", checkpoint, "-o", out, "--calib")
    assert "2 columns" in fails(*calib, tmp_path / "w.npy")
    assert "n.npy, row 1 (the first is 0), column 3: NaN" in fails(*calib, tmp_path / "n.npy")
    assert "--domain with --calib" in fails(*calib, tmp_path / "x.npy", "--domain", "0,1")
    assert "two numbers LO,HI" in fails("compile", checkpoint, "-o", out, "--domain", "1")
    assert "low < high" in fails("compile", checkpoint, "-o", out, "--domain", "1,-1")
    assert "without --calib" in fails("compile", checkpoint, "-o", out, "--drop", "a")
    assert not out.exists()
