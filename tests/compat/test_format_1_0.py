"""Artifacts of released formats load for ever, with the answers they were made with."""

from pathlib import Path

import numpy as np
import pytest

import lutkan
from lutkan.runtimes import available_runtimes

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.lutkan"))


def test_they_are_here():
    assert {"segment-1.0.lutkan", "tables-1.0.lutkan"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("runtime", [name for name, missing in available_runtimes().items() if not missing])
def test_it_answers_as_it_did(path, runtime):
    artifact = lutkan.Artifact.open(path)
    assert artifact.manifest["format_version"] == [1, 0]
    model = lutkan.load(artifact, runtime=runtime, self_test=True)
    y = model.predict(artifact.golden_x)
    np.testing.assert_array_equal(y.view(np.uint32), artifact.golden_y.view(np.uint32))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_its_bytes_are_canonical(path):
    assert lutkan.Artifact.open(path).to_bytes() == path.read_bytes()


def test_it_holds_every_kind_of_step():
    program = lutkan.Artifact.open(FOLDER / "segment-1.0.lutkan").program
    tables = {branch.table.op for step in program.steps if step.op == "kan" for branch in step.branches}
    assert tables == {"segment", "base", "knots", "base_product", "radial", "basis"}
    assert {step.op for step in program.steps} == {"select", "kan", "product", "affine", "activation", "linear"}
