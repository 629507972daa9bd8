"""Flow tables: NSL-KDD as it is published, and what CICFlowMeter writes, CICIDS2017 among it.

NSL-KDD: Tavallaee, Bagheri, Lu, Ghorbani, "A detailed analysis of the KDD CUP 99 data set", 2009. CICIDS2017:
Sharafaldin, Lashkari, Ghorbani, "Toward generating a new intrusion detection dataset and intrusion traffic
characterization", 2018.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import InputError

__all__ = ["CICIDS2017", "NSL_KDD", "NSL_KDD_DOS", "NSL_KDD_TEXT", "Flows", "kind_of", "read_cicflow", "read_nsl_kdd"]

F64 = NDArray[np.float64]
Labels = NDArray[np.str_]
Cells = Sequence[str]

#: The 41 features of NSL-KDD in the order of its files, which mostly have no header.
NSL_KDD = tuple(
    "duration protocol_type service flag src_bytes dst_bytes land wrong_fragment urgent hot num_failed_logins "
    "logged_in num_compromised root_shell su_attempted num_root num_file_creations num_shells num_access_files "
    "num_outbound_cmds is_host_login is_guest_login count srv_count serror_rate srv_serror_rate rerror_rate "
    "srv_rerror_rate same_srv_rate diff_srv_rate srv_diff_host_rate dst_host_count dst_host_srv_count "
    "dst_host_same_srv_rate dst_host_diff_srv_rate dst_host_same_src_port_rate dst_host_srv_diff_host_rate "
    "dst_host_serror_rate dst_host_srv_serror_rate dst_host_rerror_rate dst_host_srv_rerror_rate".split()
)
#: Those of them that are words.
NSL_KDD_TEXT = ("protocol_type", "service", "flag")
#: Labels of NSL-KDD that are denial of service; the last five come up in the test file alone.
NSL_KDD_DOS = (
    "neptune", "smurf", "back", "teardrop", "pod", "land", "apache2", "processtable", "mailbomb", "udpstorm", "worm",
)  # fmt: skip
# Spellings that headers of published copies have.
_NSL_KDD_ALIASES = {
    "src_byts": "src_bytes",
    "is_hot_login": "is_host_login",
    "srv_error_rate": "srv_serror_rate",
    "labels": "label",
    "class": "label",
    "attack": "label",
}

_LENGTHS = ("Max", "Min", "Mean", "Std")
_TIMES = ("Mean", "Std", "Max", "Min")
#: The 77 features of CICIDS2017 beside `Destination Port`; `Fwd Header Length` stands twice in its files.
CICIDS2017 = (
    "Flow Duration", "Total Fwd Packets", "Total Backward Packets", "Total Length of Fwd Packets",
    "Total Length of Bwd Packets",
    *(f"{way} Packet Length {name}" for way in ("Fwd", "Bwd") for name in _LENGTHS),
    "Flow Bytes/s", "Flow Packets/s", *(f"Flow IAT {name}" for name in _TIMES),
    *(f"{way} IAT {name}" for way in ("Fwd", "Bwd") for name in ("Total", *_TIMES)),
    "Fwd PSH Flags", "Bwd PSH Flags", "Fwd URG Flags", "Bwd URG Flags", "Fwd Header Length", "Bwd Header Length",
    "Fwd Packets/s", "Bwd Packets/s", "Min Packet Length", "Max Packet Length", "Packet Length Mean",
    "Packet Length Std", "Packet Length Variance",
    *(f"{name} Flag Count" for name in ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "CWE", "ECE")),
    "Down/Up Ratio", "Average Packet Size", "Avg Fwd Segment Size", "Avg Bwd Segment Size", "Fwd Header Length.1",
    *(f"{way} Avg {name}" for way in ("Fwd", "Bwd") for name in ("Bytes/Bulk", "Packets/Bulk", "Bulk Rate")),
    "Subflow Fwd Packets", "Subflow Fwd Bytes", "Subflow Bwd Packets", "Subflow Bwd Bytes", "Init_Win_bytes_forward",
    "Init_Win_bytes_backward", "act_data_pkt_fwd", "min_seg_size_forward",
    *(f"{way} {name}" for way in ("Active", "Idle") for name in _TIMES),
)  # fmt: skip
# Columns that say which flow it is, or who labelled it, rather than what it is like.
_IDENTIFIERS = frozenset(
    "flow id,source ip,src ip,source port,src port,destination ip,dst ip,external ip,timestamp,unnamed: 0,"
    "simillarhttp,inbound".split(",")
)
# A table with as many names of CICIDS2017 is taken for one of them, and has to have the others too.
_ENOUGH_NAMES = 40
_SUFFIXES = (".csv", ".csv.gz")
_CHUNK_ROWS = 16_384
_WHEN = re.compile(
    r"(\d{1,4})[/.-](\d{1,2})[/.-](\d{1,4})[ T]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d*)?)?\s*([AaPp][Mm])?"
)
# Hours on a dial of twelve that are taken for the afternoon: CICIDS2017 was recorded from 9:00 to 17:00.
_AFTERNOON = range(1, 8)
# Classes that an error message names.
_NAMED = 20


@dataclass(frozen=True, eq=False)
class Flows:
    """Flows of one or more files.

    Attributes
    ----------
    source : str
        "nsl-kdd" or "cicflow".
    files : tuple of str
        Names of the files, in the order they were read.
    features : tuple of str
        Names of the columns of `values`.
    values : float64 [N, F]
        As they stand in the files: NaN and infinities too.
    labels : str [N]
    words : dict of str to str [N]
        Columns of words, by name.
    times : float64 [N] or None
        Seconds since 1970, where there is a Timestamp.
    is_test : bool [N] or None
        Which side a row is on, where the files say so.
    counts : dict of str to int
        Lines that are no rows: `repeated_headers`, `empty_lines`, `unlabelled`.
    """

    source: str
    files: tuple[str, ...]
    features: tuple[str, ...]
    values: F64
    labels: Labels
    words: dict[str, Labels] = field(default_factory=dict)
    times: F64 | None = None
    is_test: NDArray[np.bool_] | None = None
    counts: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def without(self, names: Sequence[str]) -> Flows:
        """Leave columns out.

        Raises
        ------
        InputError
            There is no column of that name.
        """
        _require_known(self.files[0], (*self.features, *self.words), names)
        kept = [column for column, name in enumerate(self.features) if name not in names]
        return replace(
            self,
            features=tuple(self.features[column] for column in kept),
            values=self.values[:, kept],
            words={name: column for name, column in self.words.items() if name not in names},
        )

    def classes(self) -> Counter[str]:
        """Count the rows of every label."""
        names, counts = np.unique(self.labels, return_counts=True)
        return Counter(dict(zip(names.tolist(), counts.tolist(), strict=True)))

    def find(self, wanted: str) -> list[str]:
        """Return the labels that a name stands for.

        Upper and lower case are one; `dos` stands for all denial of service, unless a label is called just that.

        Raises
        ------
        InputError
            No row is of that class; the message names those there are.
        """
        found = self.classes()
        same = [label for label in found if label.casefold() == wanted.casefold()]
        if not same and wanted.casefold() == "dos":
            same = [label for label in found if _is_dos(label)]
        if not same:
            shown = ", ".join(f"{label} ({count})" for label, count in found.most_common(_NAMED))
            more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            raise InputError(f"class {wanted!r}: no row of {', '.join(self.files)} has it", shown + more)
        return sorted(same)


def _is_dos(label: str) -> bool:
    return label in NSL_KDD_DOS or label.casefold().startswith(("dos", "ddos"))


def kind_of(path: Path) -> str:
    """Tell what lies there: "nsl-kdd" for a folder with a KDDTrain file, "cicflow" otherwise.

    Raises
    ------
    InputError
        Nothing lies there, or a folder without any table.
    """
    allowed = "a folder with KDDTrain+ and KDDTest+, or a .csv of flows or a folder of them"
    if path.is_file():
        return "cicflow"
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder", allowed)
    if _nsl_kdd_files(path, "train"):
        return "nsl-kdd"
    if _tables(path):
        return "cicflow"
    inside = sorted(entry.name for entry in path.iterdir())
    what = f"no table in it, only {', '.join(inside[:_NAMED])}" if inside else "the folder is empty"
    raise InputError(f"{path}: {what}", allowed)


# ------------------------------------------------------------------------------------------------------- text tables


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Read a text table, packed or not: the number of each line, and its cells."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        # Labels of CICIDS2017 hold bytes that are no UTF-8.
        with opened(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file)
            for cells in reader:
                yield reader.line_num, cells
    except (gzip.BadGzipFile, EOFError, zlib.error, csv.Error) as error:
        raise InputError(
            f"{path}: cannot be read ({error})", "text with cells between commas, or that in gzip"
        ) from error


@dataclass(frozen=True)
class _Columns:
    """Where things stand in a line."""

    path: Path
    names: tuple[str, ...]
    numbers: tuple[int, ...]
    words: tuple[int, ...]
    label: int
    time: int | None

    def parse(self, line: int, cells: Cells) -> list[float]:
        """Return the numbers of a line."""
        if len(cells) != len(self.names):
            raise InputError(
                f"{self.path}, line {line}: {len(cells)} cells", f"{len(self.names)}, as many as there are columns"
            )
        try:
            return list(map(float, _pick(self.numbers)(cells)))
        except ValueError:
            return [self._number(line, cells, column) for column in self.numbers]

    def _number(self, line: int, cells: Cells, column: int) -> float:
        cell = cells[column].strip()
        if not cell:
            return np.nan
        try:
            return float(cell)
        except ValueError as error:
            raise InputError(
                f"{self.path}, line {line}, column {self.names[column]!r}: {cells[column]!r} is no number",
                "a number, NaN, Infinity or nothing",
                "repair the line, or leave the column out of the file",
            ) from error


def _pick(columns: Sequence[int]) -> Callable[[Cells], Sequence[str]]:
    return itemgetter(*columns) if len(columns) > 1 else lambda cells: [cells[c] for c in columns]


@dataclass(frozen=True)
class _Read:
    values: F64
    labels: list[str]
    words: list[list[str]]
    times: list[str]
    counts: Counter[str]


def _read_table(path: Path, columns_of: Callable[[list[str]], tuple[_Columns, bool]]) -> _Read:
    """Read a table whose first line tells the columns; `columns_of` also says whether that line is a header."""
    chunks: list[F64] = []
    numbers: list[list[float]] = []
    labels: list[str] = []
    words: list[list[str]] = []
    times: list[str] = []
    counts: Counter[str] = Counter()
    columns: _Columns | None = None
    header: list[str] = []
    for line, cells in _lines(path):
        if not any(map(str.strip, cells)):
            counts["empty_lines"] += 1
            continue
        if columns is None:
            columns, has_header = columns_of(cells)
            words = [[] for _ in columns.words]
            if has_header:
                header = cells
                continue
        elif cells == header:
            counts["repeated_headers"] += 1
            continue
        parsed = columns.parse(line, cells)
        label = " ".join(cells[columns.label].replace("\ufffd", "-").split())
        if not label:
            counts["unlabelled"] += 1
            continue
        numbers.append(parsed)
        labels.append(label)
        for kept, column in zip(words, columns.words, strict=True):
            kept.append(cells[column].strip())
        if columns.time is not None:
            times.append(cells[columns.time].strip())
        if len(numbers) == _CHUNK_ROWS:
            chunks.append(np.array(numbers))
            numbers.clear()
    if columns is None or not labels:
        raise InputError(f"{path}: no rows", "a table of flows")
    chunks.append(np.array(numbers).reshape(len(numbers), len(columns.numbers)))
    return _Read(np.concatenate(chunks), labels, words, times, counts)


# ----------------------------------------------------------------------------------------------------------- NSL-KDD


def _nsl_kdd_files(folder: Path, side: str) -> list[Path]:
    """Return the files of a side, the whole set before the 20 % of it."""
    found = [
        path
        for path in folder.iterdir()
        if re.fullmatch(rf"kdd{side}\+?(_20percent)?\.(txt|csv)(\.gz)?", path.name.lower())
    ]
    return sorted(found, key=lambda path: ("20percent" in path.name.lower(), path.name))


def read_nsl_kdd(folder: Path) -> Flows:
    """Read NSL-KDD with the split it is published with.

    Parameters
    ----------
    folder : Path
        It holds KDDTrain+ (or KDDTrain+_20Percent, which is read where the whole is absent) and KDDTest+, each as .txt
        or .csv, packed with gzip or not, with or without a header.

    Returns
    -------
    Flows
        `is_test` tells the two files apart.

    Raises
    ------
    InputError
        A file is absent; columns are missing (named); a cell is no number (line and column).
    """
    parts = []
    for side in ("train", "test"):
        files = _nsl_kdd_files(folder, side)
        if not files:
            inside = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
            raise InputError(
                f"{folder}: no KDD{side.title()}+ file in it, only {', '.join(inside[:_NAMED]) or 'nothing'}",
                f"KDD{side.title()}+.txt, with .gz or without",
            )
        parts.append((files[0], _read_table(files[0], lambda cells, path=files[0]: _nsl_kdd_columns(path, cells))))
    tables = [table for _, table in parts]
    sizes = [len(table.labels) for table in tables]
    return Flows(
        "nsl-kdd",
        tuple(path.name for path, _ in parts),
        tuple(name for name in NSL_KDD if name not in NSL_KDD_TEXT),
        np.concatenate([table.values for table in tables]),
        np.array([label for table in tables for label in table.labels]),
        {
            name: np.array([word for table in tables for word in table.words[place]])
            for place, name in enumerate(NSL_KDD_TEXT)
        },
        is_test=np.repeat([False, True], sizes),
        counts=dict(sum((table.counts for table in tables), Counter())),
    )


def _nsl_kdd_columns(path: Path, cells: list[str]) -> tuple[_Columns, bool]:
    lowered = [cell.strip().lower() for cell in cells]
    named = [_NSL_KDD_ALIASES.get(name, name) for name in lowered]
    has_header = "duration" in named or "protocol_type" in named
    if not has_header:
        # 41 features, the label, and in most copies how many of 21 classifiers were right.
        if len(cells) not in (len(NSL_KDD) + 1, len(NSL_KDD) + 2):
            missing = [*NSL_KDD, "label"][len(cells) :]
            what = f"; missing: {', '.join(missing)}" if missing else ""
            raise InputError(f"{path}: {len(cells)} columns{what}", "41 features, the label, and perhaps a difficulty")
        named = [*NSL_KDD, "label", "difficulty"][: len(cells)]
    _require(path, named, [*NSL_KDD, "label"])
    place = {name: named.index(name) for name in (*NSL_KDD, "label")}
    numbers = tuple(place[name] for name in NSL_KDD if name not in NSL_KDD_TEXT)
    words = tuple(place[name] for name in NSL_KDD_TEXT)
    return _Columns(path, tuple(named), numbers, words, place["label"], None), has_header


def _require(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        shown = ", ".join(found[:8])
        raise InputError(
            f"{path}: missing columns: {', '.join(missing)}",
            f"a header with these names; found {shown}{', ...' if len(found) > 8 else ''}",
        )


# ------------------------------------------------------------------------------------------------------- CICFlowMeter


def _tables(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(_SUFFIXES) and path.is_file())


def read_cicflow(path: Path, drop: Sequence[str] = ()) -> Flows:
    """Read what CICFlowMeter writes, such as the files of CICIDS2017.

    Spaces around names are taken away, and a name that comes twice gets `.1`. Columns that identify a flow (addresses,
    source port, flow number) are left out; `Destination Port` stays, as in the published work on these data.

    Parameters
    ----------
    path : Path
        A .csv or .csv.gz, or a folder of them.
    drop : sequence of str
        More columns to leave out.

    Raises
    ------
    InputError
        Nothing lies there; columns are missing (named); a cell is no number (line and column); files differ in columns.
    """
    files = _tables(path) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise InputError(f"{path}: {'no .csv in the folder' if path.is_dir() else 'no such file'}", "a table of flows")
    features: tuple[str, ...] = ()
    dated = False
    tables = []

    def columns_of(file: Path, cells: list[str]) -> tuple[_Columns, bool]:
        nonlocal features, dated
        columns = _cicflow_columns(file, cells, drop)
        names = tuple(columns.names[column] for column in columns.numbers)
        if not tables:
            features, dated = names, columns.time is not None
        _require(file, names, features)
        place = {name: column for column, name in enumerate(columns.names)}
        numbers = tuple(place[name] for name in features)
        if dated and columns.time is None:
            raise InputError(f"{file}: missing columns: Timestamp", f"what {files[0].name} has")
        return _Columns(file, columns.names, numbers, (), columns.label, columns.time if dated else None), True

    for file in files:
        tables.append(_read_table(file, lambda cells, file=file: columns_of(file, cells)))
    _require_known(files[0].name, _names(next(_lines(files[0]))[1]), drop)
    return Flows(
        "cicflow",
        tuple(file.name for file in files),
        features,
        np.concatenate([table.values for table in tables]),
        np.array([label for table in tables for label in table.labels]),
        times=np.concatenate([_seconds(file, t.times) for file, t in zip(files, tables, strict=True)])
        if dated
        else None,
        counts=dict(sum((table.counts for table in tables), Counter())),
    )


def _require_known(file: str, known: Sequence[str], dropped: Sequence[str]) -> None:
    unknown = [name for name in dropped if name not in known]
    if unknown:
        raise InputError(f"columns to leave out: {', '.join(unknown)}: {file} has none of that name")


def _names(cells: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a header: single spaces, and `.1`, `.2`, ... behind a name that has come before."""
    names: list[str] = []
    seen: Counter[str] = Counter()
    for cell in cells:
        name = " ".join(cell.split())
        names.append(f"{name}.{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return tuple(names)


def _cicflow_columns(path: Path, cells: list[str], drop: Sequence[str]) -> _Columns:
    names = _names(cells)
    lowered = [name.casefold() for name in names]
    wanted = ["Label", "Flow Duration"]
    if sum(name in names for name in CICIDS2017) >= _ENOUGH_NAMES:
        wanted = ["Label", *CICIDS2017]
    _require(path, [*names, *(["Label"] if "label" in lowered else [])], wanted)
    label = lowered.index("label")
    time = lowered.index("timestamp") if "timestamp" in lowered else None
    left_out = _IDENTIFIERS | {"label"} | {name.casefold() for name in drop}
    numbers = tuple(column for column, name in enumerate(lowered) if name not in left_out)
    return _Columns(path, names, numbers, (), label, time)


def _seconds(path: Path, times: Sequence[str]) -> F64:
    """Read timestamps: the day comes before the month.

    CICIDS2017 writes hours on a dial of twelve and does not say which half of the day it is. Where no hour of a file
    exceeds twelve and none has AM or PM, one to seven o'clock are taken for the afternoon.
    """
    parsed: dict[str, tuple[datetime, bool]] = {}
    for text in dict.fromkeys(times):
        match = _WHEN.fullmatch(text)
        try:
            parsed[text] = _moment(match)
        except ValueError as error:
            raise InputError(
                f"{path}: Timestamp {text!r}", "day/month/year hour:minute, or year-month-day hour:minute"
            ) from error
    on_a_dial = all(not marked and moment.hour <= 12 for moment, marked in parsed.values())
    half_a_day = 43_200.0
    known = {}
    for text, (moment, _) in parsed.items():
        days = (moment - datetime(1970, 1, 1)).total_seconds()
        known[text] = days + (half_a_day if on_a_dial and moment.hour in _AFTERNOON else 0.0)
    return np.array([known[text] for text in times])


def _moment(match: re.Match[str] | None) -> tuple[datetime, bool]:
    """Return the moment, and whether the text says which half of the day it is."""
    if match is None:
        raise ValueError("no timestamp")
    first, month, last, hour, minute, second, half = match.groups()
    year, day = (first, last) if len(first) == 4 else (last, first)
    shift = 0
    if half:
        shift = 12 * (half.lower() == "pm") - (12 if int(hour) == 12 else 0)
    return datetime(int(year), int(month), int(day), int(hour) + shift, int(minute), int(second or 0)), bool(half)
