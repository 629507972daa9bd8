"""Result files of every experiment, small and made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lutkan.report.load import Result, read_results
from made_results import CELLS, manifest, write_lines


@pytest.fixture
def result_file(tmp_path) -> Callable[..., Path]:
    """Write the result file of an experiment: all its made-up cells, or those given."""

    def write(experiment: str, cells: Sequence[dict[str, Any]] | None = None, **more: Any) -> Path:
        made = CELLS[experiment]() if cells is None else cells
        return write_lines(tmp_path / f"{experiment}.jsonl", [manifest(experiment, **more), *made])

    return write


@pytest.fixture
def result(result_file) -> Callable[..., Result]:
    """Read what `result_file` writes."""
    return lambda *arguments, **more: read_results(result_file(*arguments, **more))
