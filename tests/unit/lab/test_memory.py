"""Bytes by array."""

from __future__ import annotations

import numpy as np
import pytest

from lutkan.errors import InputError
from lutkan.lab import memory, nets
from lutkan.lab.experiment import run_experiment
from lutkan.lab.memory import MemoryCell, array_bytes, cells, measure, run_memory, tables_spec
from lutkan.tables import compile_network


def test_segment_tables_have_the_bytes_that_the_contract_says(tmp_path):
    run = run_memory(tmp_path / "memory.jsonl", names=["10-8"], tables=["segment-uint8-L16", "segment-int8-L2"])
    for cell, samples, offsets in zip(run.cells, (16, 2), (1, 0), strict=True):
        edges, segments = 80, 8 + 2 * 3
        values = cell["values"]
        assert values["edges"] == edges
        assert values["arrays"]["segment q"] == edges * segments * samples
        assert values["arrays"]["segment scale"] == 4 * edges * segments
        assert values["arrays"].get("segment offset", 0) == 4 * edges * segments * offsets
        assert values["arrays"]["segment edge scale"] == values["arrays"]["base weight"] == 4 * edges
        assert values["arrays"]["segment knots"] == 4 * (segments + 1)
        assert sum(values["arrays"].values()) == values["table_bytes"] < values["file_bytes"]
        assert values["parameter_bytes"] == 4 * edges * (8 + 3 + 2) < values["checkpoint_bytes"]
        assert values["memory_bytes"]["reference"] > 0


@pytest.mark.parametrize(
    ("tables", "nbytes"), [("basis-32", 4.0), ("basis-16", 2.0), ("basis-8", 1.0), ("basis-4", 0.5)]
)
def test_basis_tables_have_a_coefficient_a_knot_interval(tables, nbytes):
    arrays = measure(MemoryCell("64-64-10", tables))["arrays"]
    assert arrays["spline rows" if tables == "basis-32" else "basis q"] == nbytes * 4736 * 8


def test_the_kinds_of_tables_are_all_different():
    specs = [tables_spec(kind).to_json() for kind in memory.TABLES]
    assert all(specs.count(spec) == 1 for spec in specs)
    assert len(cells()) == len(memory.NETS) * len(memory.TABLES)


def test_glue_between_layers_counts_too():
    model = nets.fast_kan((4, 3, 2))
    artifact = compile_network(model.network, tables_spec("basis-8"), np.zeros((4, 4)), calibrated=True)
    found = array_bytes(artifact)
    assert sum(found.values()) == artifact.table_nbytes
    assert {"layer norm weight": found["layer norm weight"], "radial q": found["radial q"]} == {
        "layer norm weight": 4 * (4 + 3),
        "radial q": (4 * 3 + 3 * 2) * 8,
    }


def test_an_unknown_network_is_named():
    with pytest.raises(InputError, match="no network 'teapot'"):
        cells(["teapot"])


def test_processes_count_the_same(tmp_path):
    two = [MemoryCell("10-8", "basis-8"), MemoryCell("10-8", "segment-int8-L2")]
    here = run_experiment("memory", two, measure, tmp_path / "here.jsonl")
    there = run_experiment("memory", two, measure, tmp_path / "there.jsonl", workers=2)
    assert [cell["values"] for cell in here.cells] == [cell["values"] for cell in there.cells]
