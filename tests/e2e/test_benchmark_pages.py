"""Every page of docs/benchmarks is what its frozen results give, number for number."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from lutkan.lab.experiment import read_run

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "benchmarks"
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture(scope="module")
def pages():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        spec = importlib.util.spec_from_file_location("benchmark_pages", ROOT / "benchmarks" / "pages.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


PAGES = [*sorted(FOLDER.glob("*.md")), ROOT / "docs" / "explanation" / "method.md"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_page_is_what_its_frozen_results_give(pages, path):
    made = dict(pages.pages())
    assert path in made, f"{path} has no results in benchmarks/results"
    assert path.read_text(encoding="utf-8") == made[path](), "run python benchmarks/pages.py"


def test_all_results_have_their_page(pages):
    names = {path.stem for path, _ in pages.pages()}
    assert names == {path.stem for path in PAGES}
    assert {"sweep", "oob", "memory", "coldstart", "accuracy", "bounds", "method"} <= names


def test_a_number_that_was_changed_is_noticed(pages, tmp_path, monkeypatch, capsys):
    for path in PAGES:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(pages, "FOLDER", tmp_path)
    monkeypatch.setattr(pages, "METHOD", tmp_path / "method.md")
    assert pages.main(["--check"]) == 0
    for name in ("sweep.md", "method.md"):
        path = tmp_path / name
        text = path.read_text(encoding="utf-8")
        number = re.search(r"\d\.\d\d", text[text.index("| ") :])
        assert number is not None
        at = text.index("| ") + number.start()
        path.write_text(text[:at] + "9.87" + text[at + 4 :], encoding="utf-8")
        capsys.readouterr()
        assert pages.main(["--check"]) == 1
        assert capsys.readouterr().out == f"differs: {name}\n"
        pages.main([])
        assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", ["sweep", "oob", "memory", "coldstart"])
def test_frozen_results_are_complete_and_name_their_origin(name):
    run = read_run(RESULTS / f"{name}.jsonl")
    assert run.manifest["experiment"] == name
    assert len(run.cells) == run.manifest["cells"]
    assert run.manifest["command"].startswith("lutkan lab ")
    assert run.manifest["machine"]["commit"]
    assert run.manifest["machine"]["dirty"] is False
