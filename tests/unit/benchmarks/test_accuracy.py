"""docs/benchmarks/accuracy.md says what benchmarks/results/accuracy.json holds, and the verdicts follow from it."""

from __future__ import annotations

import copy
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def accuracy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("accuracy", ROOT / "benchmarks" / "accuracy.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results(accuracy) -> dict:
    return accuracy.read_results()


def test_the_page_is_what_the_results_give(accuracy, results):
    assert accuracy.PAGE.read_text(encoding="utf-8") == accuracy.page(results)


def test_everything_has_been_measured(accuracy, results):
    found = {(r["data"], r["net"], r["seed"], r["spec"]) for r in results["records"]}
    wanted = {
        (data, net, seed, spec)
        for data, seeds in accuracy.SEEDS.items()
        for seed in seeds
        for net in accuracy.NETS
        for spec in accuracy.SPECS
    }
    assert found == wanted and len(results["records"]) == len(wanted)


def test_records_do_not_contradict_themselves(results):
    for r in results["records"]:
        assert 0 <= r["equal"] <= r["rows"]
        assert abs(r["right_model"] - r["right_artifact"]) <= r["rows"] - r["equal"]
        assert 0 < r["mean_error"] <= r["max_error"]
        assert r["table_bytes"] < r["file_bytes"] and r["parameter_bytes"] < r["checkpoint_bytes"]
        assert r["rows"] == (450 if r["data"] == "digits" else 10000)


def verdicts(page: str) -> list[str]:
    return re.findall(r"\| (\*\*met\*\*|\*\*not met\*\*|not measured) \|$", page, re.MULTILINE)


def test_every_bar_has_a_verdict(accuracy, results):
    assert verdicts(accuracy.page(results)) == ["**met**"] * len(accuracy.BARS)
    assert verdicts(accuracy.page({**results, "records": []})) == ["not measured"] * len(accuracy.BARS)


@pytest.mark.parametrize("number", range(11))
def test_a_net_that_misses_a_bar_turns_its_verdict(accuracy, results, number):
    _, data, spec, figure, _, _ = accuracy.BARS[number]
    worse = copy.deepcopy(results)
    for r in worse["records"]:
        if (r["data"], r["net"], r["spec"]) == (data, "fast-kan", spec):
            if figure == "share":
                r["equal"] -= 11
            elif figure == "points_lost":
                r["right_artifact"] = r["right_model"] - (11 if spec == "int8" else 101) * r["rows"] // 10000
            else:
                r["file_bytes"] = r["checkpoint_bytes"]
    expected = ["**met**"] * len(accuracy.BARS)
    expected[number] = "**not met**"
    assert verdicts(accuracy.page(worse)) == expected


def test_seeds_are_pooled_by_rows(accuracy):
    def record(seed: int, rows: int, equal: int) -> dict:
        figures = {
            "right_model": equal,
            "right_artifact": equal - 1,
            "mean_error": seed,
            "max_error": seed,
            "spread": 1,
        }
        sizes = dict.fromkeys(("file_bytes", "table_bytes"), 10 * seed)
        fixed = {"checkpoint_bytes": 100, "parameter_bytes": 80, "calibration_rows": 5}
        key = {"data": "digits", "net": "pykan", "seed": seed, "spec": "int8"}
        return {**key, "rows": rows, "equal": equal, **figures, **sizes, **fixed}

    found = accuracy.pooled({"records": [record(1, 100, 90), record(2, 300, 290)]}, "digits", "pykan", "int8")
    assert found["share"] == 380 / 400 and found["points_lost"] == 0.5
    assert (found["mean"], found["max"], found["of_checkpoint"], found["of_parameters"]) == (1.5, 2.0, 0.2, 0.25)
    assert accuracy.pooled({"records": []}, "digits", "pykan", "int8") is None
