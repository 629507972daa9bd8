"""The `lutkan` command as a process of its own: whole ways, exit codes, clean pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import lutkan
from lutkan.cli.examples import example_path

CHECKPOINT = example_path("digits.safetensors")
CALIBRATION = example_path("digits_calibration.npz")
TEST = example_path("digits_test.npz")
COMMAND = [sys.executable, "-m", "lutkan"]


def lutkan_process(*arguments: object, cwd, **options):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300, check=False, **options
    )


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder with the compiled digits network and its test rows in all formats."""
    folder = tmp_path_factory.mktemp("workshop")
    result = lutkan_process("compile", CHECKPOINT, "-o", "m.lutkan", "--calib", CALIBRATION, cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    with np.load(TEST) as data:
        X = data["X"]
    np.save(folder / "x.npy", X)
    names = ",".join(f"pixel{i}" for i in range(X.shape[1]))
    np.savetxt(folder / "x.csv", X, delimiter=",", header=names, comments="", fmt="%.9g")
    np.savetxt(folder / "bare.csv", X, delimiter=",", fmt="%.9g")
    return folder


@pytest.fixture(scope="module")
def expected(workshop):
    return lutkan.load(workshop / "m.lutkan", runtime="reference").predict(np.load(workshop / "x.npy"))


def read(path):
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".csv":
        return np.loadtxt(path, delimiter=",", skiprows=1).astype(np.float32)
    import pyarrow.parquet as parquet

    return np.stack([column.to_numpy() for column in parquet.read_table(path)], axis=1)


# --- whole ways ---


def test_demo_runs_in_an_empty_folder_and_its_artifact_works(tmp_path):
    result = lutkan_process("demo", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "accuracy" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    again = lutkan_process("demo", "--json", cwd=tmp_path)
    found = json.loads(again.stdout)
    verified = lutkan_process("verify", found["artifact"], cwd=tmp_path)
    assert verified.returncode == 0
    assert " golden rows: 0 mismatches on " in verified.stdout


@pytest.mark.parametrize("source", ["x.npy", "x.csv", "bare.csv", str(TEST)])
@pytest.mark.parametrize("target", ["y.npy", "y.csv"])
def test_predict_round_trip(workshop, expected, tmp_path, source, target):
    out = tmp_path / target
    result = lutkan_process("predict", "m.lutkan", source, "-o", out, cwd=workshop)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    np.testing.assert_array_equal(read(out), expected)


def test_parquet_round_trip(workshop, expected, tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    import pyarrow.parquet as parquet

    X = np.load(workshop / "x.npy")
    columns = {"id": [f"r{n}" for n in range(len(X))], **{f"pixel{i}": column for i, column in enumerate(X.T)}}
    parquet.write_table(arrow.table(columns), tmp_path / "x.parquet", row_group_size=100)
    command = ("predict", workshop / "m.lutkan", "x.parquet", "-o", "y.parquet", "--drop", "id")
    result = lutkan_process(*command, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    np.testing.assert_array_equal(read(tmp_path / "y.parquet"), expected)


def test_verify_after_compile(workshop):
    command = ("verify", "m.lutkan", "--model", CHECKPOINT, "--data", "x.npy", "--max-abs", "1", "--agreement", "0.98")
    result = lutkan_process(*command, cwd=workshop)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1].startswith("verified 450 rows: max error ")
    result = lutkan_process(*command[:-4], "--max-abs", "1e-9", cwd=workshop)
    assert result.returncode == 1
    assert result.stderr.startswith("error: max_abs is ")


def test_the_installed_script_is_the_same_command():
    script = os.path.join(os.path.dirname(sys.executable), "lutkan")  # noqa: PTH118, PTH120 - a name, not a file's path
    if not os.path.exists(script):  # noqa: PTH110
        pytest.skip("lutkan is not installed as a script here")
    result = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == f"lutkan {lutkan.__version__}\n"


# --- bad input ---


@pytest.fixture(scope="module")
def faulty(workshop):
    """Inputs that each have one fault."""
    X = np.load(workshop / "x.npy")[:20]
    np.save(workshop / "wide.npy", np.hstack([X, X[:, :1]]))
    bad = X.copy()
    bad[13, 5] = np.nan
    np.save(workshop / "nan.npy", bad)
    lines = (workshop / "x.csv").read_text().splitlines()[:20]
    cells = lines[11].split(",")
    cells[3] = "n/a"
    (workshop / "text.csv").write_text("\n".join([*lines[:11], ",".join(cells), *lines[12:]]) + "\n")
    (workshop / "cut.lutkan").write_bytes((workshop / "m.lutkan").read_bytes()[:-100])
    damaged = bytearray((workshop / "m.lutkan").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (workshop / "damaged.lutkan").write_bytes(damaged)
    (workshop / "model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}xxxxxx")
    return workshop


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("predict m.lutkan absent.npy", "absent.npy: no such file"),
        ("predict m.lutkan wide.npy", "wide.npy: 65 columns\n  allowed: 64"),
        ("predict m.lutkan nan.npy", "nan.npy, row 13 (the first is 0), column 6: NaN"),
        ("predict m.lutkan text.csv -o y.csv", "text.csv, line 12, column 4 'pixel3': 'n/a' is not a number"),
        ("predict m.lutkan x.npy --runtime abacus", "runtime 'abacus'"),
        ("predict m.lutkan x.npy -o nowhere/y.npy", "there is no folder nowhere"),
        ("predict cut.lutkan x.npy", "cut.lutkan: "),
        ("predict damaged.lutkan x.npy", "damaged.lutkan: "),
        ("predict x.npy x.npy", "x.npy: "),
        ("inspect damaged.lutkan", "damaged.lutkan: "),
        ("inspect model.safetensors", "model.safetensors"),
        ("compile absent.safetensors -o a.lutkan", "absent.safetensors: no such file"),
        (f"compile {CHECKPOINT} -o a.lutkan --spec abacus", "--spec abacus"),
        (f"compile {CHECKPOINT} -o a.lutkan --calib nan.npy", "nan.npy, row 13"),
        (f"verify m.lutkan --model {CHECKPOINT} --data wide.npy", "65 columns"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_1(faulty, arguments, message):
    result = lutkan_process(*arguments.split(), cwd=faulty)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not any((faulty / name).exists() for name in ("a.lutkan", "y.csv"))


def test_a_folder_that_cannot_be_written(workshop, tmp_path):
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        target = "/proc/y.npy"
        if not os.path.isdir("/proc"):  # noqa: PTH112
            pytest.skip("root may write everywhere here")
    else:
        tmp_path.chmod(0o500)
        target = tmp_path / "y.npy"
    result = lutkan_process("predict", "m.lutkan", "x.npy", "-o", target, cwd=workshop)
    assert result.returncode == 1
    assert "cannot be written" in result.stderr
    assert "Traceback" not in result.stderr


def test_wrong_usage_is_exit_code_2(workshop):
    assert lutkan_process("predict", cwd=workshop).returncode == 2
    assert lutkan_process("abacus", cwd=workshop).returncode == 2


# --- pipes and interrupts ---


def test_pipes_get_results_only(workshop, expected):
    result = lutkan_process("predict", "m.lutkan", "x.npy", cwd=workshop)
    lines = result.stdout.splitlines()
    assert (result.returncode, result.stderr, len(lines)) == (0, "", 451)
    assert lines[0] == ",".join(f"y{i}" for i in range(10))
    np.testing.assert_array_equal(np.array(lines[-1].split(","), dtype=np.float64).astype(np.float32), expected[-1])
    for verb in ("doctor", "inspect m.lutkan", f"inspect {CHECKPOINT}", "verify m.lutkan"):
        result = lutkan_process(*verb.split(), "--json", cwd=workshop)
        assert result.stderr == ""
        json.loads(result.stdout)
        result = lutkan_process(*verb.split(), cwd=workshop)
        assert result.stderr == ""
        assert "\x1b" not in result.stdout


def test_a_reader_that_leaves_early_causes_no_traceback(workshop):
    np.save(workshop / "many.npy", np.tile(np.load(workshop / "x.npy"), (60, 1)))
    process = subprocess.Popen(
        [*COMMAND, "predict", "m.lutkan", "many.npy"], cwd=workshop, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    complaint = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=300)
    assert complaint == b""


def test_an_interrupt_exits_130_and_leaves_nothing(workshop, tmp_path):
    code = (
        "import signal, sys\n"
        "from lutkan.cli import main\n"
        "from lutkan.runtimes import Model\n"
        "Model.predict = lambda self, X: signal.raise_signal(signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background start with it ignored\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "predict", workshop / "m.lutkan", workshop / "x.npy", "-o", "y.npy"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")
    assert list(tmp_path.iterdir()) == []
