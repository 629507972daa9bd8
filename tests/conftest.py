"""Fixtures and rules that all tests share.

Golden data made with the real libraries lies in ``../shared`` of the project root where a developer or CI has it. Tests
that use it take one of the path fixtures below and are skipped, with a counted reason, where it is absent.

Skip reasons follow one form, "needs <tool>", for anything that has to be installed: under ``LUTKAN_CI=1`` such a skip
is a failure, since CI installs every tool that the tests know.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
NO_GOLDEN = "golden data absent: ../shared not found"
IN_CI = os.environ.get("LUTKAN_CI") == "1"

settings.register_profile("lutkan", deadline=None, derandomize=True)
settings.load_profile("lutkan")


def _golden(*parts: str) -> Path:
    path = SHARED.joinpath(*parts)
    if not path.is_dir():
        pytest.skip(NO_GOLDEN)
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets, ``../shared/data``."""
    return _golden("data")


@pytest.fixture(scope="session")
def golden_models() -> Path:
    """Folder of checkpoints with upstream outputs, ``../shared/golden/models``: one folder a family, one a case."""
    return _golden("golden", "models")


@pytest.fixture(scope="session")
def golden_lutkan() -> Path:
    """Folder of the LUT-KAN reference project's vectors, ``../shared/golden/lutkan``."""
    return _golden("golden", "lutkan")


def forbidden_skip(reason: str) -> bool:
    """Tell whether CI may not accept a test skipped for this reason."""
    reason = reason.removeprefix("Skipped: ")
    return reason.startswith("needs ") or (reason.startswith("golden data absent") and SHARED.is_dir())


def _fail_forbidden_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if IN_CI and report.skipped and isinstance(report.longrepr, tuple) and forbidden_skip(report.longrepr[2]):
        report.outcome = "failed"
        path, line, reason = report.longrepr
        report.longrepr = f"{path}:{line}: a skip that CI does not accept: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    report = yield
    _fail_forbidden_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    report = yield
    _fail_forbidden_skip(report)
    return report
