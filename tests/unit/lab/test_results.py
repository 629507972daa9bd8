"""Results as JSON and Markdown."""

from __future__ import annotations

import json

from lutkan.lab.arms import Skipped
from lutkan.lab.pinning import UNPINNED
from lutkan.lab.results import case_markdown, header, machine_markdown, write_json
from lutkan.lab.suite import Case, Measured
from lutkan.lab.timing import Plan, Timing


def measured(name: str, seconds: float, *, reduced: bool = False, isa: str = "") -> Measured:
    timing = Timing(name, 256, 100, 1, (0, 1, 2), (seconds, 1.1 * seconds, 0.9 * seconds))
    return Measured(timing, "eager", 1e-5, 1e-6, 1.0, 12345, None if reduced else 678, isa, reduced)


def test_header_and_machine_lines_name_the_command_and_the_machine(tmp_path):
    results = header("engine", ["python", "benchmarks/engine.py", "--shapes", "64-64 10"], Plan(), UNPINNED)
    assert json.loads(write_json(tmp_path / "new" / "r.json", results).read_text()) == results
    text = machine_markdown(results)
    assert "`python benchmarks/engine.py --shapes '64-64 10'`" in text
    assert results["machine"]["cpu"] in text
    assert "one thread, on all cores" in text
    assert "15 rounds" in text
    assert "perf_counter" in text
    several = results | {"threads": 3, "pinned": {**UNPINNED, "core": 1}}
    assert "3 threads, on core 1" in machine_markdown(several)


def test_a_case_lists_the_fastest_arm_first_and_marks_reduced_batches():
    arms = (measured("slow", 1e-3, reduced=True), measured("fast", 1e-6, isa="avx2"))
    lines = case_markdown(Case("a-b", 4096, arms, (Skipped("x", "absent"),))).splitlines()
    assert lines[0].startswith("| arm | rows | us a call |")
    assert lines[2].startswith("| fast (avx2) | 256 | 1 | 0.95 to 1.05 |")
    assert lines[3].startswith("| slow | 256* | 1,000 |")
    assert "| 12,345 | 678 |" in lines[2]
    assert lines[-1] == "Skipped: x: absent."
    assert any("fewer rows than 4096" in line for line in lines)
