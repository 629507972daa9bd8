"""The scripts of tools/, as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _tool(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def doc_blocks():
    return _tool("doc_blocks")


@pytest.fixture(scope="session")
def cli_reference():
    return _tool("cli_reference")


@pytest.fixture
def stale(doc_blocks):
    """Run a page's blocks; give what it says and does not happen."""

    def run(name: str) -> list[str]:
        outputs = list(doc_blocks.run_page((ROOT / name).read_text(encoding="utf-8")))
        assert outputs
        missing = [(output.where, doc_blocks.missing_line(output.said, output.printed)) for output in outputs]
        return [f"{where!r} does not print {line!r}" for where, line in missing if line is not None]

    return run
