"""A small checkpoint, its artifact, and a runner of the command line in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

import lutkan
from lutkan.cli.app import app

WIDTH_IN, WIDTH_OUT = 3, 2


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """An efficient-kan network 3 -> 4 -> 2 on the usual grid."""
    rng = np.random.default_rng(11)
    state = {}
    for index, (n_in, n_out) in enumerate([(3, 4), (4, 2)]):
        state[f"layers.{index}.base_weight"] = rng.normal(size=(n_out, n_in)).astype(np.float32)
        state[f"layers.{index}.spline_weight"] = rng.normal(size=(n_out, n_in, 8)).astype(np.float32)
        knots = -1.0 + 0.4 * np.arange(-3, 9)
        state[f"layers.{index}.grid"] = np.tile(knots.astype(np.float32), (n_in, 1))
    path = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    save_file(state, path)
    return path


@pytest.fixture(scope="session")
def artifact(checkpoint, tmp_path_factory) -> Path:
    """The checkpoint under the segment contract."""
    net = lutkan.import_model(checkpoint)
    return lutkan.compile(net, "segment-int8-L16").save(tmp_path_factory.mktemp("artifact") / "small.lutkan")


@pytest.fixture
def X() -> np.ndarray:
    return np.random.default_rng(5).uniform(-1.5, 1.5, size=(7, WIDTH_IN)).astype(np.float32)


@pytest.fixture
def run():
    """Run `lutkan ARGUMENTS` in this process; the result has exit_code, stdout and stderr."""

    def invoke(*arguments: object) -> Any:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def fails(run):
    """Run a command that has to fail with exit code 1, one message on stderr and nothing on stdout."""

    def invoke(*arguments: object) -> str:
        result = run(*arguments)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("error: ") == 1
        assert "Traceback" not in result.stderr
        return result.stderr

    return invoke
