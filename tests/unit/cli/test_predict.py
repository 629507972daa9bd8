"""`lutkan predict`."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

import lutkan


@pytest.fixture
def expected(artifact, X):
    return lutkan.load(artifact, runtime="reference").predict(X)


@pytest.fixture
def rows(tmp_path, X):
    def write(suffix: str):
        path = tmp_path / f"x{suffix}"
        if suffix == ".npy":
            np.save(path, X)
        elif suffix == ".csv":
            np.savetxt(path, X, delimiter=",", fmt="%.9g")
        else:
            arrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
            import pyarrow.parquet as parquet

            parquet.write_table(arrow.table({f"c{i}": column for i, column in enumerate(X.T)}), path)
        return path

    return write


def read(path):
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".csv":
        return np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2).astype(np.float32)
    import pyarrow.parquet as parquet

    return np.stack([column.to_numpy() for column in parquet.read_table(path)], axis=1)


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".parquet"])
@pytest.mark.parametrize("suffix_out", [".npy", ".csv", ".parquet"])
def test_every_format_to_every_format_bit_for_bit(run, artifact, rows, expected, tmp_path, suffix, suffix_out):
    if suffix_out == ".parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow")
    out = tmp_path / f"y{suffix_out}"
    result = run("predict", artifact, rows(suffix), "-o", out)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    np.testing.assert_array_equal(read(out), expected)


def test_stdout_is_csv_and_nothing_else(run, artifact, rows, expected):
    result = run("predict", artifact, rows(".npy"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0] == "y0,y1"
    found = np.loadtxt(io.StringIO(result.stdout), delimiter=",", skiprows=1)
    np.testing.assert_array_equal(found.astype(np.float32), expected)


def test_chunks_threads_and_runtime_change_nothing(run, artifact, rows, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("lutkan.cli.rows._CHUNK_VALUES", 6)
    out = tmp_path / "y.npy"
    command = ("predict", artifact, rows(".csv"), "-o", out, "--threads", "2", "--runtime", "reference", "--json")
    found = json.loads(run(*command).stdout)
    assert (found["rows"], found["outputs"], found["runtime"], found["threads"]) == (7, 2, "reference", 2)
    np.testing.assert_array_equal(np.load(out), expected)


def test_nan_is_refused_or_answered(run, fails, artifact, rows, expected, X, tmp_path):
    X[4, 1] = np.nan
    out = tmp_path / "y.npy"
    message = fails("predict", artifact, rows(".npy"), "-o", out)
    assert "x.npy, row 4 (the first is 0), column 2: NaN" in message
    assert "--nan propagate" in message
    assert not out.exists()
    assert run("predict", artifact, rows(".npy"), "-o", out, "--nan", "propagate").exit_code == 0
    expected[4] = np.nan
    np.testing.assert_array_equal(np.load(out), expected)


def test_no_rows_give_no_rows(run, artifact, tmp_path):
    np.save(tmp_path / "x.npy", np.empty((0, 3)))
    assert run("predict", artifact, tmp_path / "x.npy").stdout == "y0,y1\n"
    run("predict", artifact, tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    assert np.load(tmp_path / "y.npy").shape == (0, 2)


def test_columns_are_dropped(run, artifact, X, expected, tmp_path):
    lines = ["id,a,b,c", *(f"r{n}," + ",".join(f"{v:.9g}" for v in row) for n, row in enumerate(X))]
    (tmp_path / "x.csv").write_text("\n".join(lines))
    assert run("predict", artifact, tmp_path / "x.csv", "-o", tmp_path / "y.npy", "--drop", "id").exit_code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)


def test_bad_input(fails, artifact, rows, tmp_path):
    x = rows(".npy")
    assert "no such file" in fails("predict", artifact, tmp_path / "absent.npy")
    assert "cannot be read" in fails("predict", tmp_path / "absent.lutkan", x)
    assert "runtime 'teapot'; allowed" not in fails("predict", artifact, x, "--runtime", "teapot")
    assert "unknown kind of file '.xlsx'" in fails("predict", artifact, x, "-o", tmp_path / "y.xlsx")
    assert "there is no folder" in fails("predict", artifact, x, "-o", tmp_path / "no" / "y.npy")
    assert "pass -o OUT" in fails("predict", artifact, x, "--json")
    np.save(tmp_path / "w.npy", np.zeros((2, 4)))
    assert "4 columns\n  allowed: 3" in fails("predict", artifact, tmp_path / "w.npy")
    (tmp_path / "t.csv").write_text("a,b,c\n1,2,3\n4,five,6\n")
    assert "t.csv, line 3, column 2 'b': 'five' is not a number" in fails("predict", artifact, tmp_path / "t.csv")
