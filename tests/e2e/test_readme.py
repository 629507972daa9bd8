"""README.md does what it says: its commands, its Python example, its matrix, its links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lutkan.adapters.registry import FAMILIES
from lutkan.runtimes import available_runtimes

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_commands_and_python_print_what_the_page_says(stale):
    missing = available_runtimes()
    for runtime in re.findall(r"^runtime (\w+)$", README, re.MULTILINE):
        if missing[runtime]:
            pytest.skip(f"needs {missing[runtime]}")
    assert stale("README.md") == [], "run python tools/doc_blocks.py README.md"


def test_the_python_example_has_six_lines(doc_blocks):
    (example,) = (block for block in doc_blocks.blocks(README) if block.language == "python")
    assert len([line for line in example.text.splitlines() if line.strip()]) == 6


def test_the_matrix_has_a_row_for_every_family_and_no_other():
    cells = (line.split("|")[1] for line in README.splitlines() if line.startswith("| "))
    named = [name for cell in cells for name in re.findall(r"\(`([a-z-]+)`\)", cell)]
    assert sorted(named) == sorted([*(family.name for family in FAMILIES), "generic"])


def test_links_lead_somewhere():
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
