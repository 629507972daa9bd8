"""Result files: what experiments wrote, checked and brought to one form.

Two forms are read. Experiments of `lutkan lab` write JSON lines, a manifest first and then a finished cell a line::

    {"kind": "manifest", "experiment": "sweep", ...}
    {"kind": "cell", "params": {"net": "64-64-10", "seed": 0}, "values": {"mae": 0.01}}

Benchmarks write one JSON object, which names itself under "benchmark" or holds "records".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lutkan.errors import InputError

__all__ = ["BENCHMARKS", "EDGES", "EXPERIMENTS", "Cell", "Result", "flat", "read_results"]

#: What `lutkan lab` measures, in the order of a report, and what each is about.
EXPERIMENTS = {
    "sweep": "Accuracy, bytes and time by representation",
    "oob": "Inputs beyond the grid",
    "memory": "Bytes",
    "coldstart": "Cold start",
    "dos": "Intrusion detection",
    "quant": "Quantization methods",
}
#: What benchmarks/ and `lutkan bench` measure.
BENCHMARKS = {
    "accuracy": "Accuracy on data",
    "bounds": "Certified bounds",
    "engine": "The engine against its rivals",
    "instructions": "Instructions",
    "bench": "Runtimes on one model",
}
#: Edge functions are read from an artifact and its model, not from a file of results.
EDGES = {"edges": "Edge functions"}
# What tells one record of a benchmark's file from another; everything else was measured.
_RECORD_KEYS = ("data", "net", "shape", "seed", "spec", "method", "family")
# A field that only records of one benchmark hold.
_RECORDS = {"mean_error": "accuracy", "bound": "bounds", "counts": "instructions"}
_FIX = (
    "pass what `lutkan lab EXPERIMENT -o FILE`, `lutkan bench --json` or the accuracy, bounds, engine and instructions "
    "scripts of benchmarks/ wrote"
)


@dataclass(frozen=True)
class Cell:
    """One finished measurement.

    Attributes
    ----------
    params : mapping
        What was asked for.
    values : mapping
        What was found: numbers, texts, and lists or mappings of these.
    """

    params: Mapping[str, Any]
    values: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Result:
    """One result file.

    Attributes
    ----------
    source : str
        Name of the file.
    experiment : str
        A key of `EXPERIMENTS`, `BENCHMARKS` or `EDGES`.
    manifest : mapping
        Command, date, machine, seeds, ...: everything that is no measurement.
    cells : tuple of Cell
    notes : tuple of str
        What a reader of the figures should know about the file.
    """

    source: str
    experiment: str
    manifest: Mapping[str, Any]
    cells: tuple[Cell, ...]
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What the experiment is about."""
        return {**EXPERIMENTS, **BENCHMARKS, **EDGES}[self.experiment]


def read_results(path: Path) -> Result:
    """Read a result file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Result
        A last line that was cut off is left out, and `notes` says so.

    Raises
    ------
    InputError
        The file is absent, empty, no JSON, has no manifest, is of an unknown experiment, or holds a line that is
        neither manifest nor cell.

    Examples
    --------
    >>> import tempfile
    >>> manifest = {"kind": "manifest", "experiment": "memory"}
    >>> cell = {"kind": "cell", "params": {}, "values": {"n": 1}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "memory.jsonl"
    ...     with path.open("w") as file:
    ...         print(json.dumps(manifest), json.dumps(cell), sep=chr(10), file=file)
    ...     read_results(path).cells[0].values
    {'n': 1}
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text", "JSON lines", _FIX) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", "a result file", _FIX) from error
    if not text.strip():
        raise InputError(f"{path}: is empty", "a result file", _FIX)
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        return _read_lines(path, text)
    # One line alone may be a whole run: a manifest, and no cell yet.
    if isinstance(whole, dict) and whole.get("kind") != "manifest":
        return _read_benchmark(path, whole)
    return _read_lines(path, text)


def _read_lines(path: Path, text: str) -> Result:
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    manifest: dict[str, Any] | None = None
    cells: dict[str, Cell] = {}
    notes, repeated = [], 0
    for number, line in lines:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            if manifest is None:
                raise InputError(f"{path}, line {number}: not JSON ({error.msg})", "JSON lines", _FIX) from error
            if number == lines[-1][0]:
                notes.append(f"Line {number} was cut off and is left out: the run was stopped while it wrote.")
                break
            raise InputError(
                f"{path}, line {number}: not JSON ({error.msg})",
                "a cell a line; only the last line may be cut off",
                "remove the line, or run the experiment again",
            ) from error
        if manifest is None:
            manifest = _manifest(path, number, entry)
        elif isinstance(entry, dict) and entry.get("kind") == "resumed":
            notes.append(_resumed(manifest, entry, len(cells)))
        else:
            cell = _cell(path, number, entry)
            key = json.dumps(cell.params, sort_keys=True)
            repeated += key in cells
            cells[key] = cell
    if manifest is None:
        raise InputError(f"{path}: holds no manifest", 'a first line {"kind": "manifest", ...}', _FIX)
    if repeated:
        notes.append(f"{repeated} cells were measured again; the last measurement of each counts.")
    if not cells:
        notes.append("The file holds a manifest and no finished cell.")
    told = {key: value for key, value in manifest.items() if key != "kind"}
    found = list(cells.values())
    if manifest.get("ray") or manifest.get("workers") not in (None, 1):
        found.sort(key=_natural)  # several processes finish in an order that differs from run to run
    return Result(path.name, manifest["experiment"], told, tuple(found), tuple(notes))


def _natural(cell: Cell) -> list[tuple[bool, int, str]]:
    """Return what cells are sorted by: their parameters in order, numbers within texts as numbers."""
    text = json.dumps(list(cell.params.values()))
    parts = re.findall(r"\d+|\D+", text)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _manifest(path: Path, number: int, entry: object) -> dict[str, Any]:
    if not isinstance(entry, dict) or entry.get("kind") != "manifest":
        raise InputError(
            f"{path}, line {number}: no manifest", 'a first line {"kind": "manifest", "experiment": ...}', _FIX
        )
    if entry.get("experiment") not in EXPERIMENTS:
        raise InputError(
            f"{path}, line {number}: unknown experiment {entry.get('experiment')!r}", ", ".join(EXPERIMENTS), _FIX
        )
    return entry


def _resumed(manifest: Mapping[str, Any], entry: Mapping[str, Any], done: int) -> str:
    """Say where a stopped run went on, and what was no longer the same: figures may not be comparable then."""
    machines = [one.get("machine") for one in (manifest, entry)]
    before, now = (machine if isinstance(machine, dict) else {} for machine in machines)
    changed = [what for what in ("cpu", "commit", "packages", "python") if before.get(what) != now.get(what)]
    other = f", with another {', '.join(changed)}" if changed else ""
    return f"Stopped after {done} cells and gone on {entry.get('date', 'later')}{other}."


def _cell(path: Path, number: int, entry: object) -> Cell:
    if (
        not isinstance(entry, dict)
        or entry.get("kind") != "cell"
        or not isinstance(entry.get("params"), dict)
        or not isinstance(entry.get("values"), dict)
    ):
        raise InputError(f"{path}, line {number}: no cell", '{"kind": "cell", "params": {...}, "values": {...}}', _FIX)
    return Cell(entry["params"], entry["values"])


def _read_benchmark(path: Path, whole: dict[str, Any]) -> Result:
    if isinstance(whole.get("records"), list):
        cells = tuple(_record(path, number, record) for number, record in enumerate(whole["records"]))
        # These files do not name themselves; what stands in them does.
        held = {name for cell in cells for name in cell.values}
        name = whole.get("benchmark") or next((name for field, name in _RECORDS.items() if field in held), None)
        told = {key: value for key, value in whole.items() if key != "records"}
    elif isinstance(whole.get("cases"), list):
        name = whole.get("benchmark")
        cells = tuple(_arms(path, whole["cases"]))
        told = {key: value for key, value in whole.items() if key != "cases"}
    else:
        raise InputError(
            f"{path}: no manifest, and neither records nor cases", "JSON lines with a manifest, or a benchmark", _FIX
        )
    if name not in BENCHMARKS:
        raise InputError(f"{path}: unknown benchmark {name!r}", ", ".join(BENCHMARKS), _FIX)
    notes = () if cells else ("The file holds no finished record.",)
    return Result(path.name, name, told, cells, notes)


def _record(path: Path, number: int, record: object) -> Cell:
    if not isinstance(record, dict):
        raise InputError(f"{path}, record {number}: a {type(record).__name__}", "an object", _FIX)
    params = {key: record[key] for key in _RECORD_KEYS if key in record}
    return Cell(params, {key: value for key, value in record.items() if key not in params})


def _arms(path: Path, cases: list[Any]) -> Iterator[Cell]:
    for number, case in enumerate(cases):
        if not isinstance(case, dict) or not isinstance(case.get("arms"), list):
            raise InputError(f"{path}, case {number}: no arms", '{"batch": ..., "arms": [...]}', _FIX)
        params = {key: case[key] for key in ("shape", "batch") if key in case}
        for arm in case["arms"]:
            # The rounds are for whoever draws conclusions of their own from the file.
            values = {key: value for key, value in arm.items() if key not in ("name", "rounds", "seconds")}
            yield Cell({**params, "arm": arm.get("name")}, values)


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Give nested values dotted names; lists of more than numbers become JSON text.

    Examples
    --------
    >>> flat({"bytes": {"q": 1, "scale": 2}, "names": ["a"]})
    {'bytes.q': 1, 'bytes.scale': 2, 'names': '["a"]'}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            found.update(flat(value, f"{name}."))
        elif isinstance(value, list | tuple):
            found[name] = json.dumps(value)
        else:
            found[name] = value
    return found
