"""benchmarks/pages.py beside unfinished results, and the script that is a thin call of a verb."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lutkan.lab.memory import run_memory

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_pages", ROOT / "benchmarks" / "pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_finished_results_get_a_page(pages, tmp_path, monkeypatch, capsys):
    (tmp_path / "results").mkdir()
    path = tmp_path / "results" / "memory.jsonl"
    run_memory(path, names=["10-8"], tables=["basis-8", "basis-4"])
    whole = path.read_bytes()
    monkeypatch.setattr(pages, "RESULTS", path.parent)
    monkeypatch.setattr(pages, "FOLDER", tmp_path)
    path.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])  # one cell of two
    assert pages.main([]) == 0
    assert not (tmp_path / "memory.md").exists()
    path.write_bytes(whole)
    assert pages.main(["--check"]) == 1
    assert pages.main([]) == 0
    assert (tmp_path / "memory.md").read_text(encoding="utf-8").startswith("# Bytes")
    assert pages.main(["--check"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "all pages are current"
    first, *cells = whole.splitlines()
    assert json.loads(first)["cells"] == len(cells) == 2


def test_the_cold_start_script_is_the_verb():
    command = [sys.executable, "benchmarks/coldstart.py", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "lutkan lab coldstart" in done.stdout
