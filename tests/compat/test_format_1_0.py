"""Artifacts of released formats load for ever, with the answers they were made with."""

from pathlib import Path

import numpy as np
import pytest

import lutkan
from conformance.cases import same_bits
from lutkan.runtimes import available_runtimes

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.lutkan"))
#: Difficult rows (infinities and NaN among them) and the answers that were given.
ANSWERS = sorted(FOLDER.glob("*.npz"))


def test_they_are_here():
    assert {"segment-1.0.lutkan", "tables-1.0.lutkan"} <= {path.name for path in FILES}
    assert [path.stem for path in ANSWERS] == ["codes-1.0", "functions-1.0", "tables-1.0"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("runtime", [name for name, missing in available_runtimes().items() if not missing])
def test_it_answers_as_it_did(path, runtime):
    artifact = lutkan.Artifact.open(path)
    assert artifact.manifest["format_version"] == [1, 0]
    model = lutkan.load(artifact, runtime=runtime, self_test=True)
    y = model.predict(artifact.golden_x)
    np.testing.assert_array_equal(y.view(np.uint32), artifact.golden_y.view(np.uint32))


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: path.stem)
@pytest.mark.parametrize("runtime", available_runtimes())
def test_difficult_rows_get_the_same_bits(path, runtime):
    if available_runtimes()[runtime]:
        pytest.skip(f"needs {available_runtimes()[runtime]}")
    with np.load(path, allow_pickle=False) as stored:
        x, y = stored["x"], stored["y"]
    model = lutkan.load(path.with_suffix(".lutkan"), runtime=runtime, nan="propagate", self_test=True)
    found = model.predict(x)
    assert same_bits(found, y).all(), f"rows {np.flatnonzero(~same_bits(found, y).all(axis=1)).tolist()}"
    assert np.isnan(y).any(axis=1).sum() >= 3 and np.isfinite(y).all(axis=1).sum() >= 60


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: path.stem)
def test_it_is_written_anew_as_it_was(path):
    artifact = lutkan.Artifact.open(path.with_suffix(".lutkan"))
    fresh = lutkan.Artifact(artifact.program, artifact.info, artifact.golden_x, artifact.golden_y)
    assert fresh.to_bytes() == path.with_suffix(".lutkan").read_bytes()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_its_bytes_are_canonical(path):
    assert lutkan.Artifact.open(path).to_bytes() == path.read_bytes()


def test_it_holds_every_kind_of_step():
    program = lutkan.Artifact.open(FOLDER / "segment-1.0.lutkan").program
    tables = {branch.table.op for step in program.steps if step.op == "kan" for branch in step.branches}
    assert tables == {"segment", "base", "knots", "base_product", "radial", "basis"}
    assert {step.op for step in program.steps} == {"select", "kan", "product", "affine", "activation", "linear"}
