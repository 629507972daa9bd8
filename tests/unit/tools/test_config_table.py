from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from lutkan.adapters.registry import FAMILIES

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def config_table():
    path = ROOT / "tools" / "config_table.py"
    if not path.is_file():
        pytest.skip("tools/ is not part of an installed package")
    spec = importlib.util.spec_from_file_location("config_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_page_is_what_the_families_declare(config_table):
    assert config_table.PAGE.read_text(encoding="utf-8") == config_table.page(), "run python tools/config_table.py"


def test_every_family_and_every_key_stands_in_the_page(config_table):
    page = config_table.page()
    for family in FAMILIES:
        assert f"\n## {family.name}\n" in page
        section = config_table.table(family)
        for key in (*family.keys, *family.layer_keys):
            assert f"`{key}`" in section


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_key_says_what_happens_when_it_is_absent(family):
    for key, text in family.keys.items():
        meaning, _, absent = text.partition("; ")
        assert meaning and absent, f"{key}: 'what it is; what happens when it is absent'"
        assert "\n" not in text and "|" not in text
