"""Rows of numbers in files: .npy, .npz, .csv, .tsv and .parquet, read and written in chunks."""

from __future__ import annotations

import csv
import math
import os
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import InputError, RuntimeUnavailableError

__all__ = ["SUFFIXES_IN", "SUFFIXES_OUT", "Chunk", "RowFile", "open_rows", "read_rows", "require_place", "write_rows"]

F32 = NDArray[np.float32]
SUFFIXES_IN = (".npy", ".npz", ".csv", ".tsv", ".parquet")
SUFFIXES_OUT = (".npy", ".csv", ".tsv", ".parquet")
# Values a chunk: about 8 MB of float32, small enough for any machine and long enough to keep a runtime busy.
_CHUNK_VALUES = 1 << 21
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_NPY_HEADER_BYTES = 128


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a file.

    Attributes
    ----------
    values : array [n, width]
        Any real dtype.
    first : int
        Number of the first row in the file, from 0.
    lines : sequence of int
        Line of each row in a text file, from 1; empty for other files.
    """

    values: NDArray[Any]
    first: int
    lines: Sequence[int] = ()

    def place(self, row: int) -> str:
        """Say where row `row` of this chunk stands in the file."""
        return f"line {self.lines[row]}" if self.lines else f"row {self.first + row} (the first is 0)"


@dataclass(frozen=True)
class RowFile:
    """A file of rows that is ready to be read.

    Attributes
    ----------
    path : str
    width : int
        Columns, those left out not counted.
    count : int or None
        Rows, where the file says so.
    names : tuple of str
        Names of the columns; empty where the file has none.
    read : callable
        Rows a chunk -> the chunks.
    """

    path: str
    width: int
    count: int | None
    names: tuple[str, ...]
    read: Callable[[int], Iterator[Chunk]]

    def column(self, index: int) -> str:
        """Say which column that is, counted from 1 as spreadsheets do."""
        name = f" {self.names[index]!r}" if self.names else ""
        return f"column {index + 1}{name}"

    def chunks(self, *, allow_nan: bool = False, fix: str = "clean the rows") -> Iterator[Chunk]:
        """Read the rows, a chunk at a time.

        Parameters
        ----------
        allow_nan : bool
        fix : str
            What else the reader of the error can do.

        Raises
        ------
        InputError
            A value is NaN or missing, unless `allow_nan`; the message names its row and column.
        """
        for chunk in self.read(max(1, _CHUNK_VALUES // max(1, self.width))):
            if not allow_nan and chunk.values.dtype.kind == "f" and np.isnan(chunk.values).any():
                row, column = (int(v) for v in np.argwhere(np.isnan(chunk.values))[0])
                raise InputError(
                    f"{self.path}, {chunk.place(row)}, {self.column(column)}: NaN, or no value",
                    "numbers",
                    fix,
                )
            yield chunk


def open_rows(path: Path, *, width: int | None = None, header: bool | None = None, drop: Sequence[str] = ()) -> RowFile:
    """Open a file of rows.

    Parameters
    ----------
    path : Path
        The suffix says the format. Of an .npz file the array `X` is read, or its only array.
    width : int, optional
        Columns that are needed.
    header : bool, optional
        Whether the first line of a text file names the columns. None: it does if none of its cells is a number.
    drop : sequence of str
        Names of columns to leave out.

    Raises
    ------
    InputError
        The file is absent, damaged, of an unknown kind, or does not hold numbers in rows of that width.
    RuntimeUnavailableError
        A Parquet file, and pyarrow is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES_IN:
        raise InputError(f"{path}: unknown kind of file {path.suffix!r}", ", ".join(SUFFIXES_IN))
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}", "a file of rows")
    if header is not None and suffix not in _DELIMITERS:
        raise InputError(f"{path}: --header and --no-header do not apply to {suffix}", fix="leave them out")
    if suffix in _DELIMITERS:
        rows = _open_text(path, _DELIMITERS[suffix], header, drop)
    elif suffix == ".parquet":
        rows = _open_parquet(path, drop)
    else:
        if drop:
            raise InputError(f"{path}: --drop needs named columns", ".csv with a header, .tsv with a header, .parquet")
        rows = _open_numpy(path)
    if width is not None and rows.width != width:
        fix = ""
        if rows.width > width and rows.names:
            fix = f"leave columns out with --drop NAMES; the names are {_shown(rows.names)}"
        elif rows.width > width:
            fix = "only a file whose columns have names can be read in part, see --drop"
        raise InputError(f"{path}: {rows.width} columns", f"{width}, the number of inputs", fix)
    return rows


def read_rows(path: Path, *, width: int, what: str, header: bool | None = None, drop: Sequence[str] = ()) -> F32:
    """Read all rows at once; errors as `open_rows`, and InputError if there is no row or a NaN.

    Returns
    -------
    float32 [N, width]
    """
    rows = open_rows(path, width=width, header=header, drop=drop)
    with np.errstate(over="ignore"):
        parts = [chunk.values.astype(np.float32) for chunk in rows.chunks()]
    if sum(map(len, parts)) == 0:
        raise InputError(f"{path}: no rows", f"at least one row for {what}")
    return np.concatenate(parts)


# --- .npy and .npz ---


def _open_numpy(path: Path) -> RowFile:
    try:
        if path.suffix.lower() == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            array = _array_of_npz(path)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a readable {path.suffix} file ({error})", "an array of numbers") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: holds several arrays", "one array", "name it .npz")
    if array.dtype.kind not in "fiub":
        raise InputError(f"{path}: dtype {array.dtype}", "real numbers: float, integer or bool")
    if array.ndim == 1:
        array = array[None, :]
    if array.ndim != 2:
        raise InputError(f"{path}: shape {array.shape}", "[rows, columns], or [columns] for a single row")

    def read(rows: int) -> Iterator[Chunk]:
        for first in range(0, len(array), rows):
            yield Chunk(np.asarray(array[first : first + rows]), first)

    return RowFile(str(path), array.shape[1], len(array), (), read)


def _array_of_npz(path: Path) -> NDArray[Any]:
    arrays = np.load(path, allow_pickle=False)
    if isinstance(arrays, np.ndarray):
        raise ValueError("it is a .npy file")
    with arrays:
        names = arrays.files
        name = "X" if "X" in names else names[0] if len(names) == 1 else None
        if name is None:
            raise InputError(f"{path}: arrays {', '.join(names)}", "an array named X, or a single array")
        return arrays[name]


# --- .csv and .tsv ---


def _open_text(path: Path, delimiter: str, header: bool | None, drop: Sequence[str]) -> RowFile:
    with _text(path) as file:
        numbered = ((number, line) for number, line in enumerate(_lines(path, file), 1) if line.strip())
        first_line, line = next(numbered, (0, ""))
    if not first_line:
        raise InputError(f"{path}: no rows", "lines of numbers")
    if _has_semicolons(line, delimiter):
        kind = {",": "commas", "\t": "tabs"}[delimiter]
        raise InputError(
            f"{path}, line {first_line}: its cells are separated by semicolons",
            f"{kind}, and numbers with a decimal point",
            f"write the file again with {kind}",
        )
    cells = _cells(path, first_line, line, delimiter)
    if header is None:
        header = _is_header(path, cells)
    names = tuple(cell.strip() or f"column {index}" for index, cell in enumerate(cells, 1)) if header else ()
    keep = _keep(path, names, drop)
    layout = _Layout(path, delimiter, len(cells), keep, names)

    def read(rows: int) -> Iterator[Chunk]:
        with _text(path) as file:
            numbered = ((number, line) for number, line in enumerate(_lines(path, file), 1) if line.strip())
            if header:
                next(numbered, None)
            first = 0
            while part := list(islice(numbered, rows)):
                numbers, lines = [number for number, _ in part], [line for _, line in part]
                yield Chunk(_parse(layout, numbers, lines), first, numbers)
                first += len(part)

    kept = names if keep is None else tuple(names[index] for index in keep)
    return RowFile(str(path), len(cells) if keep is None else len(keep), None, kept, read)


def _text(path: Path) -> TextIO:
    return path.open(encoding="utf-8-sig", newline="")


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    try:
        yield from file
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason})", "a UTF-8 file") from error


def _cells(path: Path, number: int, line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}, line {number}: {error}", "cells with closed quotes, each row in a line") from error


def _number(cell: str) -> float | None:
    """Return the number in a cell, NaN for an empty one, None for text."""
    if not cell.strip():
        return math.nan
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _has_semicolons(line: str, delimiter: str) -> bool:
    """Tell whether semicolons separate a line: it has no delimiter, or is numbers between them, maybe with commas."""
    parts = line.split(";")
    if len(parts) == 1 or '"' in line:
        return False
    return delimiter not in line or all(_number(part.replace(",", ".")) is not None for part in parts)


def _is_header(path: Path, cells: list[str]) -> bool:
    cells = [cell.strip() for cell in cells]
    if cells[0] == "" and len(cells) > 1 and cells[1:] == [str(index) for index in range(len(cells) - 1)]:
        return True  # pandas, with its index
    if cells == [str(index) for index in range(len(cells))]:
        raise InputError(
            f"{path}: the first line counts 0, 1, 2, ...: it may be a header, as pandas writes it, or a row",
            fix="pass --header or --no-header",
        )
    return all(_number(cell) is None or not cell for cell in cells)


@dataclass(frozen=True)
class _Layout:
    """How the lines of a text file are read: columns in it, those to keep (None for all), and their names."""

    path: Path
    delimiter: str
    columns: int
    keep: list[int] | None
    names: tuple[str, ...]


def _parse(layout: _Layout, numbers: list[int], lines: list[str]) -> NDArray[np.float64]:
    """Read lines as numbers, float64 [lines, kept columns]; their numbers in the file are for messages."""
    delimiter, keep = layout.delimiter, layout.keep
    # The fast way wants plain numbers in every kept cell, and every line of the right length.
    if all(line.count(delimiter) == layout.columns - 1 and '"' not in line for line in lines):
        with suppress(ValueError):
            return np.loadtxt(lines, delimiter=delimiter, ndmin=2, comments=None, usecols=keep)
    kept = range(layout.columns) if keep is None else keep
    values = np.empty((len(lines), len(kept)))
    for row, (number, line) in enumerate(zip(numbers, lines, strict=True)):
        cells = _cells(layout.path, number, line, delimiter)
        if len(cells) != layout.columns:
            raise InputError(
                f"{layout.path}, line {number}: {len(cells)} cells", f"{layout.columns}, as in the first line"
            )
        for index, column in enumerate(kept):
            value = _number(cells[column])
            if value is None:
                name = f" {layout.names[column]!r}" if layout.names else ""
                fix = "" if layout.names else "pass --header if that line names the columns"
                raise InputError(
                    f"{layout.path}, line {number}, column {column + 1}{name}: "
                    f"{cells[column].strip()[:40]!r} is not a number",
                    "numbers with a decimal point",
                    "separate the cells by commas" if ";" in cells[column] else fix,
                )
            values[row, index] = value
    return values


def _keep(path: Path, names: tuple[str, ...], drop: Sequence[str]) -> list[int] | None:
    """Return the indices of the columns to read, or None for all."""
    if not drop:
        return None
    for name in drop:
        if name not in names:
            allowed = _shown(names) if names else "named columns: the file has no header"
            raise InputError(f"{path}: no column {name!r} to drop", allowed)
    return [index for index, name in enumerate(names) if name not in drop]


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


# --- .parquet ---


def _pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"{path}: Parquet files need pyarrow", fix="pip install 'lutkan[parquet]', or use .npy or .csv"
        ) from error
    return pyarrow, parquet


def _open_parquet(path: Path, drop: Sequence[str]) -> RowFile:
    arrow, parquet = _pyarrow(path)
    try:
        with parquet.ParquetFile(path) as file:
            schema, count = file.schema_arrow, file.metadata.num_rows
    except (arrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error})", "a Parquet file") from error
    twice = next((name for name in schema.names if schema.names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path}: two columns are named {twice!r}", "different names")
    keep = _keep(path, tuple(schema.names), drop)
    names = tuple(schema.names) if keep is None else tuple(schema.names[index] for index in keep)
    types = arrow.types
    for name in names:
        kind = schema.field(name).type
        real = types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind) or types.is_decimal(kind)
        if not real:
            raise InputError(
                f"{path}, column {name!r}: type {kind}", "columns of numbers", f"leave it out: --drop {name}"
            )

    def read(rows: int) -> Iterator[Chunk]:
        first = 0
        try:
            with parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=rows, columns=list(names)):
                    columns = (batch.column(name).cast(arrow.float64()) for name in names)
                    values = [column.to_numpy(zero_copy_only=False) for column in columns]
                    yield Chunk(np.stack(values, axis=1), first)
                    first += batch.num_rows
        except (arrow.ArrowException, OSError) as error:
            raise InputError(f"{path}: damaged after row {first} ({error})", "a Parquet file") from error

    return RowFile(str(path), len(names), count, names, read)


# --- writing ---


def require_place(path: Path, suffixes: Sequence[str] = ()) -> None:
    """Raise InputError if a file cannot be written there, before work begins.

    Parameters
    ----------
    path : Path
    suffixes : sequence of str
        Suffixes allowed; any, if there are none.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise InputError(f"{path}: unknown kind of file {path.suffix!r}", ", ".join(suffixes))
    if path.is_dir():
        raise InputError(f"{path}: is a folder", "the name of a file")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}", fix="make the folder first")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: the folder {path.parent} cannot be written", fix="choose another place")


@contextmanager
def write_rows(path: Path | None, width: int) -> Iterator[Callable[[F32], None]]:
    """Write float32 rows to a file, whole or not at all, or as CSV to stdout; yields the function that takes rows.

    The columns of .csv, .tsv and .parquet are named y0, y1, ...; text has the nine digits that give float32 back.

    Raises
    ------
    InputError
        The file cannot be written.
    RuntimeUnavailableError
        A Parquet file, and pyarrow is not installed.
    """
    if path is None:
        with _text_writer(sys.stdout, ",", width) as write:
            yield write
        return
    require_place(path, SUFFIXES_OUT)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    opened = {".npy": _numpy_file, ".parquet": _parquet_file}.get(path.suffix.lower(), _text_file)
    try:
        with ExitStack() as files:
            with _writing(path):
                write = files.enter_context(opened(partial, path, width))

            def guarded(y: F32) -> None:
                with _writing(path):
                    write(y)

            yield guarded
            with _writing(path):
                files.close()
                partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error})", fix="choose another place"
        ) from error


@contextmanager
def _text_writer(file: TextIO, delimiter: str, width: int) -> Iterator[Callable[[F32], None]]:
    line = delimiter.join(["%.9g"] * width) + "\n"
    header = delimiter.join(f"y{index}" for index in range(width)) + "\n"

    def write(y: F32) -> None:
        nonlocal header
        file.write(header)  # with the first rows: nothing at all if the input is bad from the start
        header = ""
        file.writelines(line % tuple(row) for row in y.tolist())

    yield write
    file.write(header)


@contextmanager
def _text_file(partial: Path, path: Path, width: int) -> Iterator[Callable[[F32], None]]:
    delimiter = _DELIMITERS[path.suffix.lower()]
    with partial.open("w", encoding="utf-8", newline="") as file, _text_writer(file, delimiter, width) as write:
        yield write


@contextmanager
def _numpy_file(partial: Path, path: Path, width: int) -> Iterator[Callable[[F32], None]]:
    with partial.open("wb") as file:
        file.write(bytes(_NPY_HEADER_BYTES))  # filled in at the end, when the number of rows is known
        total = 0

        def write(y: F32) -> None:
            nonlocal total
            file.write(np.ascontiguousarray(y, dtype="<f4").tobytes())
            total += len(y)

        yield write
        file.seek(0)
        file.write(_npy_header(total, width))


def _npy_header(rows: int, width: int) -> bytes:
    """Write the header of a float32 .npy file, format 1.0, always of the same length."""
    start = b"\x93NUMPY\x01\x00" + (_NPY_HEADER_BYTES - 10).to_bytes(2, "little")
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}"
    return start + text.encode("ascii").ljust(_NPY_HEADER_BYTES - 11) + b"\n"


@contextmanager
def _parquet_file(partial: Path, path: Path, width: int) -> Iterator[Callable[[F32], None]]:
    arrow, parquet = _pyarrow(path)
    schema = arrow.schema([(f"y{index}", arrow.float32()) for index in range(width)])
    with parquet.ParquetWriter(partial, schema) as writer:

        def write(y: F32) -> None:
            columns = [arrow.array(np.ascontiguousarray(column)) for column in y.T]
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))

        yield write
