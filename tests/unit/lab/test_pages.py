"""Pages from result files."""

from __future__ import annotations

import pytest

from lutkan.errors import InputError
from lutkan.lab import coldstart, memory, oob
from lutkan.lab.experiment import Run, read_run
from lutkan.lab.pages import page, run_markdown


def rows_of(text, start):
    """Return the cells of the table whose head starts so."""
    lines = text.split("\n")
    first = next(i for i, line in enumerate(lines) if line.startswith(f"| {start} |"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_memory(tmp_path):
    path = tmp_path / "memory.jsonl"
    run = memory.run_memory(path, names=["10-8"], tables=["basis-8", "segment-uint8-L4"])
    text = page(read_run(path))
    assert text == page(run)
    values = [cell["values"] for cell in run.cells]
    (basis, segment) = rows_of(text, "tables | codes or coefficients")
    assert basis[-1] == f"{values[0]['file_bytes']:,}"
    total = sum(int(cell.replace(",", "")) for cell in segment[1:-1])
    assert total == values[1]["table_bytes"]
    shares = dict(rows_of(text, "file / checkpoint"))
    assert shares["basis-8"] == f"{values[0]['file_bytes'] / values[0]['checkpoint_bytes']:.3g}x"


def test_oob(tmp_path):
    run = oob.run_oob(tmp_path / "oob.jsonl", names=["phi tables", "splines that end in zero"], seeds=(0, 1), rows=64)
    text = page(run)
    assert "Told apart: 9 of 10 pairs; not closed/clip_x and half_open/clip_x." in text
    assert "Told apart: 0 of 10 pairs." in text
    for row in rows_of(text, "tables for"):
        errors = [float(cell.strip("*")) for cell in row[1:]]
        assert errors[oob.POLICIES.index(row[0])] == min(errors)
    assert len(rows_of(text, "network | policy")) == 10


def test_coldstart():
    values = {
        "above_numpy_s": 0.02,
        "above_numpy_quartiles_s": [0.01, 0.03],
        "import_median_s": 0.004,
        "load_median_s": 0.003,
        "predict_median_s": 0.002,
        "heavy": [],
        "predict_s": 2e-6,
        "load_and_predict_s": 1e-3,
        "file_bytes": 12345,
    }
    cells = [
        {"params": {"net": "64-64-10", "tables": "int8", "runtime": "native"}, "values": values},
        {
            "params": {"net": "64-64-10", "tables": "int16", "runtime": "native"},
            "values": {**values, "above_numpy_s": 0.06},
        },
    ]
    text = page(Run(manifest("coldstart"), tuple(cells)))
    first, second = rows_of(text, "network, tables, runtime | ms above numpy")
    assert first == ["64-64-10, int8, native", "20.0", "10.0 to 30.0", "4.0", "3.0", "2.0", "none", "met"]
    assert second[-1] == "**missed**"
    assert rows_of(text, "network, tables, runtime | us a row, loaded once")[0][1:] == ["2", "1,000", "500x", "12,345"]
    assert f"{1000 * coldstart.ASKED:g} ms" in text


def manifest(experiment):
    machine = {
        "cpu": "a cpu",
        "isa_flags": ["avx"],
        "cores": 2,
        "platform": "p",
        "python": "3",
        "packages": {"numpy": "2"},
    }
    machine |= {"lutkan": "0", "commit": None, "dirty": None}
    return {
        "experiment": experiment,
        "command": "lutkan lab",
        "date": "today",
        "machine": machine,
        "pinned": {"core": 1},
        "workers": 1,
        "seeds": [0, 1],
        "parameters": {"rows": 3},
        "cells": 4,
    }


def test_where_a_run_comes_from():
    text = run_markdown(Run(manifest("sweep"), ()))
    for part in (
        "`lutkan lab`",
        "a cpu; avx",
        "one thread on core 1",
        "commit unknown, today",
        "0 of 4 cells; seeds 0, 1",
    ):
        assert part in text
    assert "2 workers" in run_markdown(Run(manifest("sweep") | {"workers": 2}, ()))


def test_an_experiment_without_a_page_is_named():
    with pytest.raises(InputError, match="no page for the experiment 'teapot'"):
        page(Run(manifest("teapot"), ()))
