"""Cold start: new processes."""

from __future__ import annotations

import json

import pytest

import lutkan
from lutkan.errors import RuntimeUnavailableError
from lutkan.lab import coldstart, nets
from lutkan.lab.coldstart import ColdStart, cells, children_seconds, measure_cold_start, run_coldstart


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    made = lutkan.compile(nets.efficient_kan((3, 2)).network, "int8")
    return made.save(tmp_path_factory.mktemp("cold") / "it's a model.lutkan")


def test_processes_take_turns_and_load_nothing_heavy(artifact):
    told = []
    found = measure_cold_start(artifact, "reference", 2, on_round=told.append)
    assert told == [1, 2]
    assert len(found.with_numpy) == len(found.with_lutkan) == len(found.imports) == 2
    assert min(found.imports) > 0
    assert found.heavy == ()
    assert json.loads(json.dumps(found.to_json()))["runtime"] == "reference"


def test_a_process_that_fails_is_an_error(artifact):
    with pytest.raises(RuntimeUnavailableError, match="teapot"):
        measure_cold_start(artifact, "teapot", 1)


def test_figures():
    found = ColdStart(
        "native", (1.0, 1.0, 1.0, 2.0), (1.1, 1.3, 1.2, 2.4), (0.01,) * 4, (0.02,) * 4, (0.03, 0.04, 0.05, 0.06), ()
    )
    assert found.above_numpy == pytest.approx(0.25)
    assert found.quartiles == pytest.approx((0.175, 0.325))
    assert found.parts == pytest.approx({"import": 0.01, "load": 0.02, "predict": 0.045})


def test_processor_time_of_children_only_grows():
    pytest.importorskip("resource", reason="this system does not tell")
    assert children_seconds() <= children_seconds()


def test_the_experiment_starts_processes_and_loads_each_time(tmp_path):
    told = []
    run = run_coldstart(tmp_path / "coldstart.jsonl", rounds=3, quick=True, on_cell=told.append)
    assert told == [0, 1]
    (cell,) = run.cells
    values = cell["values"]
    assert cell["params"]["tables"] == "int8"
    assert len(values["with_numpy_s"]) == len(values["with_lutkan_s"]) == 3
    assert 0 < values["predict_s"] < values["load_and_predict_s"]
    assert values["file_bytes"] > 0
    assert values["heavy"] == []
    assert run.manifest["parameters"] == {"rounds": 3, "clock": "wall"}


def test_processor_time_is_taken_of_the_parts_too(artifact, monkeypatch):
    monkeypatch.setattr(
        coldstart, "_LUTKAN", coldstart._LUTKAN.replace("import lutkan\n", "import lutkan\ntime.sleep(3)\n")
    )
    found = measure_cold_start(artifact, "reference", 1, clock=children_seconds, clock_inside="process_time")
    assert 0 < found.imports[0] < 3  # asleep no time is taken
    assert found.with_lutkan[0] < 3


def test_all_tables_on_the_fastest_runtime_and_int8_on_the_others(monkeypatch):
    monkeypatch.setattr(
        coldstart, "available_runtimes", lambda: {"native": "no compiler", "numba": "", "reference": ""}
    )
    found = [(cell.tables, cell.runtime) for cell in cells(["64-64-10"])]
    assert found == [
        ("int8", "numba"),
        ("int16", "numba"),
        ("float32", "numba"),
        ("segment-int8-L64", "numba"),
        ("int8", "reference"),
    ]
