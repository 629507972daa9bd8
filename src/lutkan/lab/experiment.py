"""Experiments: a list of cells, a function that measures one, and a file that a stopped run goes on from.

The file holds JSON lines. The first is the manifest: experiment, command, code version, machine, seeds, parameters.
Every further line of kind "cell" is a finished cell, `{"kind": "cell", "params": {...}, "values": {...}}`, written and
synchronised to the disk before the next one counts. A line of kind "resumed" says when, where and with which code a
stopped run went on.
"""

from __future__ import annotations

import concurrent.futures
import datetime
import functools
import importlib
import importlib.util
import itertools
import json
import logging
import multiprocessing
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from lutkan.errors import InputError, RuntimeUnavailableError, VerificationError
from lutkan.lab.fingerprint import fingerprint
from lutkan.lab.pinning import UNPINNED, one_thread, single_threaded_children

__all__ = ["FORMAT_VERSION", "Run", "read_run", "run_experiment"]

FORMAT_VERSION = 1
Measure = Callable[[Any], Mapping[str, Any]]


@dataclass(frozen=True)
class Run:
    """What a result file holds.

    Attributes
    ----------
    manifest : dict
        `experiment`, `command`, `date`, `machine`, `pinned`, `workers`, `seeds`, `parameters`.
    cells : tuple of dict
        `params`, `values` and `seconds` of every finished cell.
    resumed : tuple of dict
        `command`, `date`, `machine`, `pinned` of every time that a stopped run went on.
    """

    manifest: dict[str, Any]
    cells: tuple[dict[str, Any], ...]
    resumed: tuple[dict[str, Any], ...] = field(default=(), compare=False)

    def select(self, **params: object) -> tuple[dict[str, Any], ...]:
        """Return the cells whose parameters have these values."""
        wanted = {key: _plain(value) for key, value in params.items()}
        return tuple(c for c in self.cells if all(c["params"].get(key) == value for key, value in wanted.items()))


def run_experiment(
    name: str,
    cells: Sequence[Any],
    measure: Measure,
    output: Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (),
    workers: int = 1,
    ray: bool = False,
    again: bool = False,
    on_cell: Callable[[int], None] | None = None,
) -> Run:
    """Measure the cells that a result file lacks, and return all of them.

    Parameters
    ----------
    name : str
        What the experiment is called; a file of another experiment is refused.
    cells : sequence of frozen dataclasses
        One record of parameters a cell, all different. `dataclasses.asdict` of it is the cell's `params`.
    measure : callable
        Cell -> its values, a mapping that JSON can hold (numpy scalars and arrays may be in it). With workers or Ray it
        has to be importable: a function of a module, or a `functools.partial` of one.
    output : Path
        The result file. Cells that it holds are not measured again.
    parameters : mapping, optional
        What else decides the values; a file that was made with others is refused.
    seeds : sequence of int
        Seeds of the cells, for the manifest.
    workers : int
        Processes, each with one thread. With 1, cells are measured in this process, pinned to one core.
    ray : bool
        Spread over Ray instead, `workers` cells at a time: the cluster of `RAY_ADDRESS`, or this machine.
    again : bool
        Start a new file instead of going on.
    on_cell : callable, optional
        Called with the number of cells done, first with the number that were found.

    Returns
    -------
    Run
        In the order of `cells`.

    Raises
    ------
    InputError
        The file is of another experiment, version or parameters, is damaged, or is being written by another run.
    RuntimeUnavailableError
        Ray is not installed.
    VerificationError
        A value is NaN or infinite.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Cell:
    ...     n: int
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = run_experiment("squares", [Cell(2), Cell(3)], lambda c: {"y": c.n**2}, Path(folder) / "squares.jsonl")
    >>> [cell["values"] for cell in run.cells]
    [{'y': 4}, {'y': 9}]
    """
    if workers < 1:
        raise InputError(f"{workers} workers", "at least 1")
    keys = [_key(_params(cell)) for cell in cells]
    if not cells or len(set(keys)) < len(keys):
        raise InputError(f"{len(cells)} cells, {len(set(keys))} of them different", "at least one, all different")
    with _placed(workers, ray) as pinned:
        manifest = {
            "kind": "manifest",
            "experiment": name,
            "format_version": FORMAT_VERSION,
            "command": _command(),
            "date": _now(),
            "machine": fingerprint(),
            "pinned": pinned,
            "workers": workers,
            "ray": ray,
            "seeds": list(seeds),
            "parameters": _plain(dict(parameters or {})),
            "cells": len(cells),
        }
        with _result_file(output) as file:
            found = _start(file, output, manifest, again)
            missing = [cell for cell, key in zip(cells, keys, strict=True) if key not in found]
            done = len(cells) - len(missing)
            if on_cell is not None:
                on_cell(done)
            for params, values, seconds in _measured(missing, measure, workers, ray):
                record = {"kind": "cell", "params": params, "values": values, "seconds": round(seconds, 3)}
                _append(file, record)
                found[_key(params)] = record
                done += 1
                if on_cell is not None:
                    on_cell(done)
    run = read_run(output)
    return Run(run.manifest, tuple(found[key] for key in keys), run.resumed)


def read_run(path: Path) -> Run:
    """Read a result file, finished or not.

    Raises
    ------
    InputError
        The file is absent, is no result file, or is damaged.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", "a result file of `lutkan lab`") from error
    lines, _ = _lines(text, path)
    if not lines:
        raise InputError(f"{path}: holds no results", "a result file of `lutkan lab`")
    cells, resumed = (tuple(line for line in lines[1:] if line.get("kind") == kind) for kind in ("cell", "resumed"))
    return Run(lines[0], cells, resumed)


# --- the file ---


def _lines(text: bytes, path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the whole lines of a result file and where they end; a line that was cut off by a stop is left out."""
    end = text.rfind(b"\n") + 1
    lines = []
    for number, line in enumerate(text[:end].splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: no JSON", "a result file of `lutkan lab`") from error
        if not isinstance(record, dict):
            raise InputError(f"{path}, line {number}: a {type(record).__name__}", "a JSON object a line")
        lines.append(record)
    begun = lines[0].get("kind") == "manifest" if lines else b'{"kind": "manifest"'.startswith(text[:19])
    if not begun:
        raise InputError(f"{path}: the first line is no manifest", "a result file of `lutkan lab`", "name another file")
    if lines and lines[0].get("format_version") != FORMAT_VERSION:
        raise InputError(f"{path}: format {lines[0].get('format_version')!r}", f"format {FORMAT_VERSION}")
    return lines, end


@contextmanager
def _result_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a result file for reading and appending, for this run alone where the system has such locks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if importlib.util.find_spec("fcntl") is not None:
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(
                    f"{path}: another run writes to it", fix="wait for it, or name another file"
                ) from error
        yield file


def _start(file: IO[bytes], path: Path, manifest: dict[str, Any], again: bool) -> dict[str, dict[str, Any]]:
    """Write the manifest, or go on after what the file holds; return its finished cells by key."""
    file.seek(0)
    lines, end = _lines(file.read(), path)
    if lines:
        _require_same(path, lines[0], manifest, again)
    if again or not lines:
        file.truncate(0)
        _append(file, manifest)
        return {}
    file.truncate(end)
    resumed = {key: manifest[key] for key in ("command", "date", "machine", "pinned", "workers", "ray")}
    _append(file, {"kind": "resumed", **resumed})
    return {_key(line["params"]): line for line in lines if line.get("kind") == "cell"}


def _require_same(path: Path, there: Mapping[str, Any], wanted: Mapping[str, Any], again: bool) -> None:
    if there.get("experiment") != wanted["experiment"]:
        raise InputError(
            f"{path}: holds the experiment {there.get('experiment')!r}",
            repr(wanted["experiment"]),
            "name another file",
        )
    if again:
        return
    version = (there.get("machine") or {}).get("lutkan")
    if version != wanted["machine"]["lutkan"]:
        raise InputError(f"{path}: measured by lutkan {version}", wanted["machine"]["lutkan"], "--again starts anew")
    for what in ("parameters", "seeds"):
        if there.get(what) != wanted[what]:
            raise InputError(
                f"{path}: measured with {what} {json.dumps(there.get(what))}",
                json.dumps(wanted[what]),
                "name another file, or start anew with --again",
            )


def _append(file: IO[bytes], record: Mapping[str, Any]) -> None:
    try:
        line = json.dumps(record, allow_nan=False)
    except ValueError as error:
        raise VerificationError(f"cell {record.get('params')}: a value is NaN or infinite", "finite values") from error
    file.write(line.encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _params(cell: Any) -> dict[str, Any]:
    return _plain(asdict(cell))


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(inner) for inner in value]
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value


def _command() -> str:
    """Return the command line as others can repeat it: a file elsewhere on this machine by its name alone."""
    program = Path(sys.argv[0]).name
    words = (Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:])
    return shlex.join(["lutkan" if program == "__main__.py" else program, *words])


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


# --- the work ---

Finished = tuple[dict[str, Any], dict[str, Any], float]


@contextmanager
def _placed(workers: int, ray: bool) -> Iterator[dict[str, Any]]:
    """Pin this process to one core if it measures alone; keep further processes to one thread each otherwise."""
    if workers == 1 and not ray:
        with one_thread() as pinned:
            yield pinned
    else:
        with single_threaded_children():
            yield dict(UNPINNED)


def _measure_one(measure: Measure, cell: Any) -> Finished:
    started = time.perf_counter()
    values = _plain(measure(cell))
    return _params(cell), values, time.perf_counter() - started


def _measured(cells: Sequence[Any], measure: Measure, workers: int, ray: bool) -> Iterable[Finished]:
    """Yield cells as they are finished."""
    one = functools.partial(_measure_one, measure)
    if ray:
        return _on_ray(cells, one, workers)
    if workers == 1:
        return map(one, cells)
    return _in_processes(cells, one, workers)


def _in_processes(cells: Sequence[Any], one: Callable[[Any], Finished], workers: int) -> Iterator[Finished]:
    context = multiprocessing.get_context("spawn")
    # An interrupt is for this process: workers finish what they do and are then not asked again.
    quiet = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_IGN)}
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, **quiet) as pool:
        waiting = {pool.submit(one, cell) for cell in cells}
        failure: BaseException | None = None
        try:
            while waiting:
                done, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    if future.cancelled():
                        continue
                    error = future.exception()
                    if error is None:
                        yield future.result()
                    elif failure is None:
                        # What others are at is finished and handed on before the failure ends the run.
                        failure = error
                        for other in waiting:
                            other.cancel()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        if failure is not None:
            raise failure


def _on_ray(cells: Sequence[Any], one: Callable[[Any], Finished], workers: int) -> Iterator[Finished]:
    if importlib.util.find_spec("ray") is None:
        raise RuntimeUnavailableError("Ray is not installed", fix="pip install 'lutkan[ray]'")
    ray = importlib.import_module("ray")
    mine = not ray.is_initialized()
    if mine:
        where = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers, "include_dashboard": False}
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **where)
    try:

        def work(cell: Any) -> Finished:
            return one(cell)

        task = ray.remote(num_cpus=1, max_retries=0)(work)
        queue = iter(cells)
        waiting = [task.remote(cell) for cell in itertools.islice(queue, workers)]
        failure: BaseException | None = None
        while waiting:
            (done,), waiting = ray.wait(waiting)
            try:
                finished = ray.get(done)
            except ray.exceptions.RayError as error:
                failure = failure or error
                continue  # as in processes
            if failure is None:
                waiting += [task.remote(cell) for cell in itertools.islice(queue, 1)]
            yield finished
        if failure is not None:
            raise failure
    finally:
        if mine:
            ray.shutdown()
