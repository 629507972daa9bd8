"""Experiments: files that stopped runs go on from, processes, Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import pytest

from lutkan._version import __version__
from lutkan.errors import InputError, RuntimeUnavailableError, VerificationError
from lutkan.lab import experiment
from lutkan.lab.experiment import _command, read_run, run_experiment


@dataclass(frozen=True)
class Cell:
    n: int
    sizes: tuple[int, ...] = (1, 2)


class Squares:
    """Counts what it measures, and fails or is interrupted when told to."""

    def __init__(self, stops_at=None, error=KeyboardInterrupt) -> None:
        self.measured: list[int] = []
        self.stops_at, self.error = stops_at, error

    def __call__(self, cell):
        if cell.n == self.stops_at:
            raise self.error
        self.measured.append(cell.n)
        return {"y": np.float32(cell.n) ** 2, "all": np.arange(cell.n)}


CELLS = [Cell(n) for n in (3, 1, 2)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "squares.jsonl"


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_run_holds_its_manifest_and_a_line_a_cell(path):
    told = []
    run = run_experiment("squares", CELLS, Squares(), path, parameters={"a": (1,)}, seeds=(0, 1), on_cell=told.append)
    first, *cells = lines(path)
    assert told == [0, 1, 2, 3]
    assert {key: first[key] for key in ("kind", "experiment", "format_version", "seeds", "parameters", "cells")} == {
        "kind": "manifest",
        "experiment": "squares",
        "format_version": 1,
        "seeds": [0, 1],
        "parameters": {"a": [1]},
        "cells": 3,
    }
    assert first["machine"]["lutkan"] == __version__
    assert [cell["kind"] for cell in cells] == ["cell"] * 3
    assert cells[0]["params"] == {"n": 3, "sizes": [1, 2]}
    assert cells[0]["values"] == {"y": 9.0, "all": [0, 1, 2]}
    assert run == read_run(path)
    assert [cell["values"]["y"] for cell in run.select(n=1, sizes=(1, 2))] == [1.0]
    assert run.select(n=4) == ()


def test_a_stopped_run_goes_on_without_losing_or_repeating_a_cell(path):
    with pytest.raises(KeyboardInterrupt):
        run_experiment("squares", CELLS, Squares(stops_at=2), path)
    assert len(read_run(path).cells) == 2
    second, told = Squares(), []
    run = run_experiment("squares", CELLS, second, path, on_cell=told.append)
    assert second.measured == [2]
    assert told == [2, 3]
    assert [cell["params"]["n"] for cell in run.cells] == [3, 1, 2]  # in the order that was asked for
    assert [line["kind"] for line in lines(path)] == ["manifest", "cell", "cell", "resumed", "cell"]
    assert lines(path)[3]["machine"]["lutkan"] == __version__
    third = Squares()
    assert run_experiment("squares", CELLS, third, path) == run
    assert third.measured == []


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_that_was_cut_off_is_measured_again(path, cut):
    whole = run_experiment("squares", CELLS, Squares(), path)
    path.write_bytes(path.read_bytes()[:-cut])
    again = Squares()
    run = run_experiment("squares", CELLS, again, path)
    assert again.measured == [2]
    assert [cell["values"] for cell in run.cells] == [cell["values"] for cell in whole.cells]


def test_a_manifest_that_was_cut_off_is_written_again(path):
    run_experiment("squares", CELLS, Squares(), path)
    path.write_bytes(path.read_bytes()[:30])
    assert len(run_experiment("squares", CELLS, Squares(), path).cells) == 3
    assert lines(path)[0]["kind"] == "manifest"


def test_again_starts_anew(path):
    run_experiment("squares", CELLS, Squares(), path, parameters={"a": 1})
    again = Squares()
    run_experiment("squares", CELLS[:1], again, path, parameters={"a": 2}, again=True)
    assert again.measured == [3]
    assert len(lines(path)) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "cubes"}, "holds the experiment 'squares'"),
        ({"parameters": {"a": 2}}, r'measured with parameters \{"a": 1\}'),
        ({"seeds": (5,)}, "measured with seeds"),
        ({"name": "cubes", "again": True}, "holds the experiment 'squares'"),
    ],
)
def test_results_of_something_else_are_left_alone(path, options, message):
    run_experiment("squares", CELLS, Squares(), path, parameters={"a": 1})
    before = path.read_bytes()
    name = options.pop("name", "squares")
    with pytest.raises(InputError, match=message):
        run_experiment(name, CELLS, Squares(), path, **{"parameters": {"a": 1}, **options})
    assert path.read_bytes() == before


def test_results_of_another_version_are_not_mixed_with(path, monkeypatch):
    run_experiment("squares", CELLS, Squares(), path)
    before = experiment.fingerprint()
    monkeypatch.setattr(experiment, "fingerprint", lambda: before | {"lutkan": "99"})
    with pytest.raises(InputError, match=f"measured by lutkan {__version__}"):
        run_experiment("squares", CELLS, Squares(), path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n", "line 1: no JSON"),
        (b'{"kind": "cell"}\n', "the first line is no manifest"),
        (b"[1]\n", "line 1: a list"),
        (b"precious", "the first line is no manifest"),
        (b'{"kind": "manifest", "format_version": 9}\n', "format 9"),
    ],
)
def test_a_file_of_somebody_else_is_left_alone(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    for call in (
        lambda: run_experiment("squares", CELLS, Squares(), path, again=True),
        lambda: read_run(path),
    ):
        with pytest.raises(InputError, match=message):
            call()
    assert path.read_bytes() == content


def test_a_line_damaged_in_the_middle_is_named(path):
    run_experiment("squares", CELLS, Squares(), path)
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*whole[:2], b"{\n", *whole[2:]]))
    with pytest.raises(InputError, match="line 3: no JSON"):
        run_experiment("squares", CELLS, Squares(), path)


def test_reading_what_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_run(tmp_path / "absent.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InputError, match="holds no results"):
        read_run(tmp_path / "empty.jsonl")


def test_two_runs_do_not_write_to_one_file(path):
    pytest.importorskip("fcntl", reason="this system has no such locks")

    def measure(cell):
        with pytest.raises(InputError, match="another run writes to it"):
            run_experiment("squares", CELLS, Squares(), path)
        return {}

    assert len(run_experiment("squares", CELLS, measure, path).cells) == 3


@pytest.mark.parametrize("value", [float("nan"), np.inf])
def test_values_have_to_be_finite(path, value):
    with pytest.raises(VerificationError, match="NaN or infinite"):
        run_experiment("squares", CELLS, lambda cell: {"y": value}, path)
    assert read_run(path).cells == ()


@pytest.mark.parametrize("cells", [[], [Cell(1), Cell(1)]])
def test_cells_have_to_differ(path, cells):
    with pytest.raises(InputError, match="at least one, all different"):
        run_experiment("squares", cells, Squares(), path)
    assert not path.exists()


def test_at_least_one_worker(path):
    with pytest.raises(InputError, match="0 workers"):
        run_experiment("squares", CELLS, Squares(), path, workers=0)


# Processes import the function that measures, so it stands in a module of its own.
MODULE = """
import os
from dataclasses import dataclass

@dataclass(frozen=True)
class Cell:
    n: int

def measure(cell):
    if cell.n == 4 and not os.path.exists("healed"):
        raise ValueError("four")
    return {"y": cell.n**2, "process": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}
"""
SCRIPT = """
import os, sys
from pathlib import Path
sys.path.insert(0, os.getcwd())
import measured
from lutkan.lab.experiment import run_experiment

if __name__ == "__main__":
    ray = sys.argv[1] == "ray"
    cells = [measured.Cell(n) for n in range(6)]
    run = run_experiment("squares", cells, measured.measure, Path("run.jsonl"), workers=2, ray=ray)
    values = [cell["values"] for cell in run.cells]
    assert [v["y"] for v in values] == [0, 1, 4, 9, 16, 25], values
    assert os.getpid() not in {v["process"] for v in values}
    assert {v["threads"] for v in values} == {"1"}
"""


def spread(folder, where):
    (folder / "measured.py").write_text(MODULE, encoding="utf-8")
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    (folder / "healed").touch()
    done = subprocess.run([sys.executable, "script.py", where], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return lines(folder / "run.jsonl")


def test_two_processes(tmp_path):
    manifest, *cells = spread(tmp_path, "processes")
    assert (manifest["workers"], len(cells)) == (2, 6)


def test_a_failure_in_a_process_keeps_what_was_finished(tmp_path):
    (tmp_path / "measured.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "script.py", "processes"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ValueError: four" in done.stderr
    finished = {line["params"]["n"] for line in lines(tmp_path / "run.jsonl")[1:]}
    assert {0, 1, 2, 3} <= finished <= {0, 1, 2, 3, 5}
    cells = [line for line in spread(tmp_path, "processes") if line["kind"] == "cell"]
    assert sorted(line["params"]["n"] for line in cells) == list(range(6))


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no such signals")
def test_an_interrupt_stops_all_processes_and_the_run_goes_on_later(tmp_path):
    slow = MODULE.replace("def measure(cell):", "def measure(cell):\n    time.sleep(0.2)").replace(
        "import os", "import os, time"
    )
    (tmp_path / "measured.py").write_text(slow, encoding="utf-8")
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # in the background it is not
    script = SCRIPT.replace("range(6)", "range(600)").replace("import os, sys", f"import os, sys\n{heard}")
    assert heard in script
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    (tmp_path / "healed").touch()
    running = subprocess.Popen(
        [sys.executable, "script.py", "processes"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    path = tmp_path / "run.jsonl"
    while running.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < 4):
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)
    _, stderr = running.communicate(timeout=120)
    assert running.returncode != 0
    assert stderr.count("KeyboardInterrupt") == 1  # of the parent alone
    before = [line for line in lines(path) if line["kind"] == "cell"]
    assert 3 <= len(before) < 600
    cells = [line for line in spread(tmp_path, "processes") if line["kind"] == "cell"]
    assert cells[: len(before)] == before
    assert len({line["params"]["n"] for line in cells}) == len(cells)


def test_ray_with_two_workers(tmp_path):
    pytest.importorskip("ray", reason="needs ray")
    (tmp_path / "measured.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "script.py", "ray"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ValueError: four" in done.stderr
    finished = {line["params"]["n"] for line in lines(tmp_path / "run.jsonl")[1:]}
    assert {0, 1, 2, 3} <= finished <= {0, 1, 2, 3, 5}
    (tmp_path / "run.jsonl").unlink()
    manifest, *cells = spread(tmp_path, "ray")
    assert manifest["ray"] is True
    assert len(cells) == 6


def test_without_ray_the_message_says_what_to_install(path, monkeypatch):
    found = experiment.importlib.util.find_spec
    monkeypatch.setattr(experiment.importlib.util, "find_spec", lambda name: None if name == "ray" else found(name))
    with pytest.raises(RuntimeUnavailableError, match="Ray is not installed"):
        run_experiment("squares", CELLS, Squares(), path, ray=True)


def test_the_command_names_no_folder_of_this_machine(monkeypatch, tmp_path):
    words = ["/usr/bin/lutkan", "lab", "oob", "-o", str(tmp_path / "oob.jsonl"), "--nets", "phi tables"]
    monkeypatch.setattr("sys.argv", words)
    assert _command() == "lutkan lab oob -o oob.jsonl --nets 'phi tables'"
