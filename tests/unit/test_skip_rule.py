"""CI turns a skip for want of a tool into a failure; elsewhere it stays a counted skip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
IN_TEST = "import pytest\ndef test_it():\n    pytest.skip('{reason}')\n"
IN_MODULE = "import pytest\npytest.importorskip('no_such_module', reason='{reason}')\ndef test_it():\n    pass\n"
IN_FIXTURE = "def test_it(shared_data):\n    assert shared_data.name == 'data'\n"


def run_pytest(folder: Path, source: str, lutkan_ci: str, *options: str) -> tuple[int, str]:
    tests = folder / "project" / "tests"
    tests.mkdir(parents=True)
    shutil.copy(CONFTEST, tests)
    (tests / "test_case.py").write_text(source)
    # The environment of an outer pytest-xdist worker must not reach the inner run.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", *options, str(tests)],
        cwd=folder,
        env=env | {"LUTKAN_CI": lutkan_ci},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("source", [IN_TEST, IN_MODULE], ids=["test", "module"])
@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["plain", "xdist"])
def test_missing_tool_fails_in_ci(tmp_path, source, options):
    status, out = run_pytest(tmp_path, source.format(reason="needs a tool"), "1", *options)
    assert status != 0
    assert "a skip that CI does not accept: Skipped: needs a tool" in out


@pytest.mark.parametrize("source", [IN_TEST, IN_MODULE], ids=["test", "module"])
def test_missing_tool_is_a_counted_skip_elsewhere(tmp_path, source):
    _, out = run_pytest(tmp_path, source.format(reason="needs a tool"), "0")
    assert "SKIPPED [1]" in out
    assert "needs a tool" in out
    assert "1 skipped" in out


def test_other_skips_pass_in_ci(tmp_path):
    status, out = run_pytest(tmp_path, IN_TEST.format(reason="this processor has no AVX2"), "1")
    assert status == 0
    assert "1 skipped" in out


def test_golden_data_may_be_absent_in_ci(tmp_path):
    status, out = run_pytest(tmp_path, IN_FIXTURE, "1")
    assert status == 0
    assert "golden data absent: ../shared not found" in out


def test_golden_data_may_not_be_incomplete_in_ci(tmp_path):
    (tmp_path / "shared").mkdir()
    status, out = run_pytest(tmp_path, IN_FIXTURE, "1")
    assert status != 0
    assert "a skip that CI does not accept: Skipped: golden data absent" in out


def test_golden_data_is_used_where_present(tmp_path):
    (tmp_path / "shared" / "data").mkdir(parents=True)
    status, out = run_pytest(tmp_path, IN_FIXTURE, "1")
    assert status == 0
    assert "1 passed" in out
