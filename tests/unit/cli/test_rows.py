"""Files of rows: what is read, what is refused and where, and that nothing half-written stays."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutkan.cli import rows
from lutkan.cli.rows import open_rows, read_rows, require_place, write_rows
from lutkan.errors import InputError, RuntimeUnavailableError


def everything(path, **options):
    file = open_rows(path, **options)
    return np.concatenate([chunk.values for chunk in file.chunks(allow_nan=True)])


def lines(path, *text):
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def short_chunks(monkeypatch):
    """Two rows a chunk for files of three columns."""
    monkeypatch.setattr(rows, "_CHUNK_VALUES", 6)


# --- reading ---


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "f2", "i1", "u2", "?"])
def test_npy_of_any_real_dtype(tmp_path, dtype):
    X = np.arange(12).reshape(4, 3).astype(dtype)
    np.save(tmp_path / "x.npy", X)
    file = open_rows(tmp_path / "x.npy", width=3)
    assert (file.width, file.count, file.names) == (3, 4, ())
    np.testing.assert_array_equal(everything(tmp_path / "x.npy"), X)


def test_npy_in_fortran_order_and_a_single_row(tmp_path):
    X = np.asfortranarray(np.arange(12.0).reshape(4, 3))
    np.save(tmp_path / "x.npy", X)
    np.testing.assert_array_equal(everything(tmp_path / "x.npy"), X)
    np.save(tmp_path / "one.npy", X[2])
    np.testing.assert_array_equal(everything(tmp_path / "one.npy"), X[2:3])


def test_npz_takes_the_array_x_or_the_only_one(tmp_path):
    X = np.arange(6.0).reshape(2, 3)
    np.savez(tmp_path / "two.npz", X=X, y=np.arange(2))
    np.savez(tmp_path / "one.npz", rows=X)
    np.savez(tmp_path / "none.npz", a=X, b=X)
    np.testing.assert_array_equal(everything(tmp_path / "two.npz"), X)
    np.testing.assert_array_equal(everything(tmp_path / "one.npz"), X)
    with pytest.raises(InputError, match="arrays a, b; allowed: an array named X"):
        open_rows(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: np.save(path, np.array(["a"])), "dtype <U1"),
        (lambda path: np.save(path, np.array([1 + 2j])), "dtype complex128"),
        (lambda path: np.save(path, np.zeros((2, 2, 2))), r"shape \(2, 2, 2\)"),
        (lambda path: np.save(path, np.array([None]), allow_pickle=True), "not a readable .npy file"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00"), "not a readable .npy file"),
        (lambda path: path.write_bytes(b"nonsense"), "not a readable .npy file"),
        (lambda path: path.write_bytes(b""), "not a readable .npy file"),
    ],
)
def test_npy_that_holds_no_rows_of_numbers_is_refused(tmp_path, make, message):
    make(tmp_path / "x.npy")
    with pytest.raises(InputError, match=message):
        open_rows(tmp_path / "x.npy")


def test_npz_renamed_to_npy_and_the_other_way_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", X=np.zeros((1, 3)))
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    with pytest.raises(InputError):
        open_rows(tmp_path / "x.npy")
    np.save(tmp_path / "y.npy", np.zeros((1, 3)))
    (tmp_path / "y.npy").rename(tmp_path / "y.npz")
    with pytest.raises(InputError, match=r"not a readable \.npz file"):
        open_rows(tmp_path / "y.npz")


def test_csv_with_and_without_header(tmp_path):
    X = [[1.0, -2.5, 3e-3], [0.0, 4.0, 5.0]]
    with_header = lines(tmp_path / "h.csv", "a,b,c", "1,-2.5,3e-3", "0,4,5")
    without = lines(tmp_path / "n.csv", "1,-2.5,3e-3", "0,4,5")
    assert open_rows(with_header).names == ("a", "b", "c")
    assert open_rows(without).names == ()
    np.testing.assert_array_equal(everything(with_header), X)
    np.testing.assert_array_equal(everything(without), X)
    np.testing.assert_array_equal(everything(without, header=True), X[1:])


def test_tsv_quotes_blank_lines_byte_order_mark_and_windows_line_ends(tmp_path):
    tsv = lines(tmp_path / "x.tsv", "a\tb", "1\t2")
    np.testing.assert_array_equal(everything(tsv), [[1, 2]])
    path = tmp_path / "x.csv"
    path.write_bytes('\ufeff"a","b"\r\n\r\n"1"," 2 "\r\n   \r\n3,4\r\n'.encode())
    assert open_rows(path).names == ("a", "b")
    np.testing.assert_array_equal(everything(path), [[1, 2], [3, 4]])


def test_a_first_line_that_counts_is_not_guessed(tmp_path):
    path = lines(tmp_path / "x.csv", "0,1,2", "5,6,7")
    with pytest.raises(InputError, match="--header or --no-header"):
        open_rows(path)
    np.testing.assert_array_equal(everything(path, header=True), [[5, 6, 7]])
    np.testing.assert_array_equal(everything(path, header=False), [[0, 1, 2], [5, 6, 7]])


def test_the_index_column_of_pandas_is_a_header_and_can_be_dropped(tmp_path):
    path = lines(tmp_path / "x.csv", ",0,1,2", "0,5,6,7", "1,8,9,10")
    with pytest.raises(InputError, match=r"4 columns; allowed: 3.*--drop NAMES; the names are column 1, 0, 1, 2"):
        open_rows(path, width=3)
    np.testing.assert_array_equal(everything(path, width=3, drop=["column 1"]), [[5, 6, 7], [8, 9, 10]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (("a,b", "1,2", "3,x y"), r"line 3, column 2 'b': 'x y' is not a number"),
        (("1,2", "3,four"), r"line 2, column 2: 'four' is not a number.*--header"),
        (("1,2", "", "3,1_000"), r"line 3, column 2: '1_000' is not a number"),
        (("1;2", "3;4"), r"line 1: its cells are separated by semicolons; allowed: commas"),
        (("a;b", "3;4"), r"line 1: its cells are separated by semicolons; allowed: commas"),
        (("", "0,5;1,5;2", "1;2;3"), r"line 2: its cells are separated by semicolons; .*decimal point"),
        (("1,2", "3"), r"line 2: 1 cells; allowed: 2"),
        (("a,b", "1,2,3"), r"line 2: 3 cells; allowed: 2"),
        (("1,a", "3,4"), r"line 1, column 2: 'a' is not a number.*pass --header"),
        (("1,2", '3,"4'), r"line 2: .*closed quotes"),
        (("a", "1;2"), r"line 2, column 1 'a': '1;2' is not a number.*by commas"),
    ],
)
def test_a_bad_cell_is_named_by_line_and_column(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        everything(lines(tmp_path / "x.csv", *text))


def test_a_name_may_hold_a_semicolon(tmp_path):
    path = lines(tmp_path / "x.csv", "a;b,c", "1,2")
    np.testing.assert_array_equal(everything(path), [[1, 2]])
    path = lines(tmp_path / "x.csv", '"a;b"', "1")
    np.testing.assert_array_equal(everything(path), [[1]])
    with pytest.raises(InputError, match="by semicolons; allowed: tabs"):
        open_rows(lines(tmp_path / "x.tsv", "1;2"))


def test_a_bad_cell_far_down_is_named_by_its_own_line(tmp_path, short_chunks):
    path = lines(tmp_path / "x.csv", "a,b,c", *["1,2,3"] * 9, "1,oops,3")
    with pytest.raises(InputError, match=r"line 11, column 2 'b': 'oops'"):
        everything(path)


def test_text_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n1,\xff2\n")
    with pytest.raises(InputError, match="not UTF-8"):
        everything(path)


def test_an_empty_file_is_refused_and_a_header_alone_is_no_rows(tmp_path):
    with pytest.raises(InputError, match="no rows"):
        open_rows(lines(tmp_path / "x.csv", "", " "))
    header = lines(tmp_path / "h.csv", "a,b")
    assert list(open_rows(header, width=2).chunks()) == []
    with pytest.raises(InputError, match="at least one row for calibration"):
        read_rows(header, width=2, what="calibration")


@pytest.mark.parametrize(
    ("text", "place"),
    [(("a,b", "1,2", "3,"), "line 3, column 2 'b'"), (("1,2", "nan,4"), "line 2, column 1")],
)
def test_a_missing_value_is_an_error_or_nan(tmp_path, text, place):
    path = lines(tmp_path / "x.csv", *text)
    with pytest.raises(InputError, match=f"{place}: NaN, or no value.*mend it"):
        list(open_rows(path).chunks(fix="mend it"))
    assert np.isnan(everything(path)).sum() == 1


def test_a_nan_of_an_array_is_named_by_its_row_in_the_file(tmp_path, short_chunks):
    X = np.zeros((7, 3))
    X[5, 1] = np.nan
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(InputError, match=r"x\.npy, row 5 \(the first is 0\), column 2: NaN"):
        list(open_rows(tmp_path / "x.npy").chunks())


def test_columns_are_dropped_by_name_and_unknown_names_are_refused(tmp_path):
    path = lines(tmp_path / "x.csv", "id,a,label,b", "7,1,0,2", "8,3,1,4")
    file = open_rows(path, width=2, drop=["label", "id"])
    assert file.names == ("a", "b")
    np.testing.assert_array_equal(everything(path, drop=["label", "id"]), [[1, 2], [3, 4]])
    with pytest.raises(InputError, match="no column 'c' to drop; allowed: id, a, label, b"):
        open_rows(path, drop=["c"])
    with pytest.raises(InputError, match="the file has no header"):
        open_rows(lines(tmp_path / "n.csv", "1,2"), drop=["a"])
    np.save(tmp_path / "x.npy", np.zeros((1, 2)))
    with pytest.raises(InputError, match="--drop needs named columns"):
        open_rows(tmp_path / "x.npy", drop=["a"])


def test_a_dropped_column_may_hold_text_but_every_line_needs_its_cells(tmp_path):
    path = lines(tmp_path / "x.csv", "id,a,b", "seven,1,2", '"ei,ght",3,4')
    np.testing.assert_array_equal(everything(path, drop=["id"]), [[1, 2], [3, 4]])
    with pytest.raises(InputError, match="line 3: 4 cells; allowed: 3"):
        everything(lines(tmp_path / "y.csv", "id,a,b", "7,1,2", "8,3,4,5"), drop=["id"])


@pytest.mark.parametrize("name", ["absent.csv", "x.xlsx", "folder.npy"])
def test_paths_that_are_no_files_of_rows(tmp_path, name):
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "x.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match=name):
        open_rows(tmp_path / name)


def test_header_options_belong_to_text_files(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 2)))
    with pytest.raises(InputError, match=r"do not apply to \.npy"):
        open_rows(tmp_path / "x.npy", header=True)


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_wrong_width_is_refused(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    np.save(path, np.zeros((2, 3))) if suffix == ".npy" else lines(path, "1,2,3")
    with pytest.raises(InputError, match="3 columns; allowed: 4, the number of inputs"):
        open_rows(path, width=4)


def test_chunks_are_numbered_and_complete(tmp_path, short_chunks):
    X = np.arange(21.0).reshape(7, 3)
    np.save(tmp_path / "x.npy", X)
    chunks = list(open_rows(tmp_path / "x.npy").chunks())
    assert [(chunk.first, len(chunk.values)) for chunk in chunks] == [(0, 2), (2, 2), (4, 2), (6, 1)]
    path = lines(tmp_path / "x.csv", "a,b,c", *(",".join(map(str, row)) for row in X))
    chunks = list(open_rows(path).chunks())
    assert [(chunk.first, len(chunk.values)) for chunk in chunks] == [(0, 2), (2, 2), (4, 2), (6, 1)]
    assert chunks[2].place(1) == "line 7"
    np.testing.assert_array_equal(np.concatenate([chunk.values for chunk in chunks]), X)


# --- Parquet ---


def test_parquet_types_chunks_and_dropped_columns(tmp_path, short_chunks):
    arrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    import pyarrow.parquet as parquet

    columns = {
        "id": ["a", "b", "c"],
        "f": arrow.array([1.5, 2.5, 3.5], arrow.float32()),
        "i": arrow.array([1, 2, 3], arrow.int8()),
        "b": arrow.array([True, False, True]),
    }
    parquet.write_table(arrow.table(columns), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"column 'id': type (large_)?string.*--drop id"):
        open_rows(tmp_path / "x.parquet")
    file = open_rows(tmp_path / "x.parquet", width=3, drop=["id"])
    assert (file.count, file.names) == (3, ("f", "i", "b"))
    np.testing.assert_array_equal(
        everything(tmp_path / "x.parquet", drop=["id"]), [[1.5, 1, 1], [2.5, 2, 0], [3.5, 3, 1]]
    )


def test_parquet_null_is_a_missing_value(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    import pyarrow.parquet as parquet

    parquet.write_table(arrow.table({"a": [1, None, 3]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"row 1 \(the first is 0\), column 1 'a': NaN"):
        list(open_rows(tmp_path / "x.parquet").chunks())
    np.testing.assert_array_equal(everything(tmp_path / "x.parquet"), [[1], [np.nan], [3]])


def test_damaged_parquet_is_refused(tmp_path):
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        open_rows(tmp_path / "x.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(RuntimeUnavailableError, match=r"needs? pyarrow.*lutkan\[parquet\]"):
        open_rows(tmp_path / "x.parquet")
    with pytest.raises(RuntimeUnavailableError), write_rows(tmp_path / "y.parquet", 1):
        pass
    assert not (tmp_path / "y.parquet").exists()


# --- writing ---


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("sizes", [(), (0,), (2, 3), (1,)])
def test_written_rows_come_back_bit_for_bit(tmp_path, suffix, sizes):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow")
    rng = np.random.default_rng(3)
    parts = [(rng.normal(size=(n, 4)) * 10.0 ** rng.integers(-30, 30, (n, 4))).astype(np.float32) for n in sizes]
    path = tmp_path / f"y{suffix}"
    with write_rows(path, 4) as write:
        for part in parts:
            write(part)
    expected = np.concatenate([np.empty((0, 4), np.float32), *parts])
    file = open_rows(path, width=4)
    found = np.concatenate([np.empty((0, 4)), *(chunk.values for chunk in file.chunks())]).astype(np.float32)
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))
    assert file.names == (() if suffix == ".npy" else ("y0", "y1", "y2", "y3"))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    if suffix == ".npy":
        assert np.load(path).dtype == np.float32


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_nine_digits_of_text_give_float32_back(values):
    text = io.StringIO()
    y = np.array([values], dtype=np.float32)
    with rows._text_writer(text, ",", len(values)) as write:
        write(y)
    _, cells = csv.reader(io.StringIO(text.getvalue()))
    np.testing.assert_array_equal(np.array(cells, dtype=np.float64).astype(np.float32), y[0])


def test_npy_header_is_numpys_own_for_small_and_large_counts():
    for count in (0, 7, 10**15):
        header = rows._npy_header(count, 12)
        assert len(header) == 128
        file = io.BytesIO(header)
        assert np.lib.format.read_magic(file) == (1, 0)
        assert np.lib.format.read_array_header_1_0(file) == ((count, 12), False, np.dtype("<f4"))


def test_nothing_stays_behind_when_reading_fails_midway(tmp_path):
    (tmp_path / "y.csv").write_text("before")
    with pytest.raises(InputError), write_rows(tmp_path / "y.csv", 1) as write:
        write(np.zeros((1, 1), np.float32))
        raise InputError("a bad row")
    assert (tmp_path / "y.csv").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [("y.xlsx", r"unknown kind of file '\.xlsx'"), ("nowhere/y.npy", "there is no folder"), ("folder.npy", "a folder")],
)
def test_places_that_cannot_be_written_are_refused_first(tmp_path, name, message):
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(InputError, match=message):
        require_place(tmp_path / name, rows.SUFFIXES_OUT)


def test_a_full_disk_is_one_message(tmp_path, monkeypatch):
    def full(file, delimiter, width):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rows, "_text_writer", full)
    with pytest.raises(InputError, match=r"y\.csv: cannot be written \(No space left on device\)"):
        with write_rows(tmp_path / "y.csv", 1):
            pass
    assert list(tmp_path.iterdir()) == []
