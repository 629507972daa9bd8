"""The engine benchmark: how bars are judged and written, and the whole command at its smallest."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from lutkan.lab.suite import Case, Measured
from lutkan.lab.timing import Timing

ROOT = Path(__file__).resolve().parents[3]


def script(name: str):
    """Import a script of benchmarks/; the thread variables that it sets stay as they were."""
    path = ROOT / "benchmarks" / f"{name}.py"
    if not path.is_file():
        pytest.skip("benchmarks/ is not part of an installed package")
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    before = dict(os.environ)
    try:
        spec.loader.exec_module(module)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return module


@pytest.fixture(scope="module")
def engine():
    return script("engine")


def arm(name: str, *seconds: float, file_bytes: int | None = None) -> Measured:
    timing = Timing(name, 256, 100, 1, tuple(range(len(seconds))), seconds)
    return Measured(timing, "eager", 0.0, 0.0, 1.0, 1, file_bytes, "", False)


def bar(engine, **options):
    return engine.Bar("a bar", "ours", ("slow", "fast"), ("2-2",), (256,), **options)


def test_the_fastest_rival_that_is_there_is_compared_with(engine):
    case = Case("2-2", 256, (arm("ours", 1.0, 1.0, 1.0), arm("slow", 9.0, 9.0, 9.0), arm("fast", 6.0, 5.0, 4.0)))
    (outcome,) = engine.judge(bar(engine, at_least=5, reach=6), [case])
    assert (outcome.rival, outcome.measured, outcome.met, outcome.reached) == ("fast", 5.0, True, False)
    assert outcome.quartiles == (4.5, 5.5)
    (outcome,) = engine.judge(bar(engine, at_least=5.01), [case])
    assert (outcome.met, outcome.reached) == (False, None)
    alone = Case("2-2", 256, case.arms[:2])
    assert engine.judge(bar(engine, at_least=5), [alone])[0].rival == "slow"


def test_a_share_of_the_rivals_time_is_judged_the_other_way(engine):
    case = Case("2-2", 256, (arm("ours", 3.0, 3.0, 3.0), arm("fast", 2.0, 2.0, 2.0)))
    (outcome,) = engine.judge(bar(engine, at_most=2.0, reach=1.4), [case])
    assert (outcome.measured, outcome.met, outcome.reached) == (1.5, True, False)
    assert outcome.asked == "at most 2x"
    assert engine.judge(bar(engine, at_most=1.4), [case])[0].met is False


def test_bars_are_judged_where_they_are_asked_only(engine):
    arms = (arm("ours", 1.0, 1.0, 1.0), arm("fast", 2.0, 2.0, 2.0))
    cases = [Case("2-2", 1, arms), Case("3-3", 256, arms), Case("2-2", 256, arms)]
    assert len(engine.judge(bar(engine, at_least=1), cases)) == 1


def test_an_absent_arm_leaves_the_bar_open(engine):
    for arms in ((arm("ours", 1.0),), (arm("fast", 1.0),)):
        (outcome,) = engine.judge(bar(engine, at_least=1), [Case("2-2", 256, arms)])
        assert (outcome.met, outcome.measured, outcome.rival) == (None, None, "slow or fast")


def test_bytes_are_judged_by_shape(engine):
    cases = [Case("2-2", 1, (arm("reference int8", 1.0, file_bytes=25),)), Case("3-3", 1, ())]
    small, absent = engine.judge_sizes(cases, {"2-2": 100, "3-3": 100})
    assert (small.measured, small.met) == (0.25, True)
    assert (absent.measured, absent.met) == (None, None)
    assert engine.judge_sizes(cases, {"2-2": 80})[0].met is False


def test_bars_as_a_table(engine):
    case = Case("2-2", 256, (arm("ours", 1.0, 1.0, 1.0), arm("fast", 6.0, 5.0, 4.0)))
    text = engine.bars_markdown(
        [
            *engine.judge(bar(engine, at_least=5, reach=5), [case]),
            *engine.judge(bar(engine, at_least=7), [case]),
            *engine.judge(bar(engine, at_least=7), [Case("2-2", 256, ())]),
        ]
    )
    assert "| 2-2, batch 256 | at least 5x | 5x | 4.5 to 5.5 | fast | reached |" in text
    assert "| 2-2, batch 256 | at least 7x | 5x | 4.5 to 5.5 | fast | **missed** |" in text
    assert "| not measured |" in text


def test_every_arm_that_a_bar_names_takes_part(engine):
    from lutkan.lab.arms.lineup import line_up

    names = {entry.name for entry in line_up((3, 2), compiled=False)[0]}
    for entry in engine.BARS:
        assert {entry.arm, *entry.rivals} <= names
        assert (entry.at_least is None) != (entry.at_most is None)
        assert set(entry.shapes) <= {*engine.NETWORKS, *engine.LAYERS}
        assert set(entry.batches) <= set(engine.BATCHES)


def test_the_command_measures_judges_and_writes(engine, tmp_path, capsys):
    output, page = tmp_path / "r.json", tmp_path / "docs" / "p.md"
    command = ["--quick", "--rounds", "3", "--shapes", "4-3", "--batches", "1", "20"]
    assert engine.main([*command, "-o", str(output), "--page", str(page)]) == 0
    found = json.loads(output.read_text())
    assert [case["batch"] for case in found["cases"]] == [1, 20]
    assert all(len(arm["rounds"]) == 3 for arm in found["cases"][0]["arms"])
    names = [[arm["name"] for arm in case["arms"]] for case in found["cases"]]
    assert "reference int8" in names[0]
    assert "reference int8" not in names[1]
    assert found["bars"][-1]["bar"].startswith("bytes of the int8 artifact")
    printed = capsys.readouterr()
    assert page.read_text() + "\n" == printed.out
    assert engine.page(*engine.read(output)) == page.read_text()
    assert "## 4-3, batch 20" in printed.out
    assert "python benchmarks/engine.py --quick --rounds 3" in printed.out


def test_quick_writes_nothing_of_its_own(engine, monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "PAGE", tmp_path / "page.md")
    results = sorted((ROOT / "benchmarks").rglob("*.json"))
    engine.main(["--quick", "--rounds", "3", "--shapes", "3-2", "--batches", "1"])
    assert not (tmp_path / "page.md").exists()
    assert sorted((ROOT / "benchmarks").rglob("*.json")) == results


def test_segment_comparison(tmp_path, capsys):
    pytest.importorskip("numba", reason="needs numba")
    segment = script("segment_numba")
    assert segment.main(["--quick", "-o", str(tmp_path / "s.json")]) == 0
    found = json.loads((tmp_path / "s.json").read_text())
    assert [(ratio["batch"], ratio["of"], ratio["to"]) for ratio in found["ratios"]] == [
        (batch, f"LUT-KAN layout {spec}", f"numba {spec}") for batch in (1, 256) for spec in segment.SPECS
    ]
    assert "at least 3x" in capsys.readouterr().out
