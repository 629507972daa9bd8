"""Fine features and features of functions of format 1.0 give the bits they gave, on infinities and NaN too."""

from pathlib import Path

import numpy as np
import pytest

import lutkan
from conformance.cases import same_bits
from lutkan.artifact.program import CodeTable, KANOp
from lutkan.runtimes import available_runtimes

ARTIFACT = Path(__file__).parent / "functions-1.0.lutkan"


@pytest.mark.parametrize("runtime", available_runtimes())
def test_it_gives_the_same_bits(runtime):
    if available_runtimes()[runtime]:
        pytest.skip(f"needs {available_runtimes()[runtime]}")
    with np.load(ARTIFACT.with_suffix(".npz"), allow_pickle=False) as stored:
        x, y = stored["x"], stored["y"]
    found = lutkan.load(ARTIFACT, runtime=runtime, nan="propagate", self_test=True).predict(x)
    assert same_bits(found, y).all(), f"rows {np.flatnonzero(~same_bits(found, y).all(axis=1)).tolist()}"
    assert np.isnan(y).any(axis=1).sum() >= 3 and np.isfinite(y).all(axis=1).sum() >= 60


def test_it_is_written_anew_as_it_was():
    artifact = lutkan.Artifact.open(ARTIFACT)
    fresh = lutkan.Artifact(artifact.program, artifact.info, artifact.golden_x, artifact.golden_y)
    assert fresh.to_bytes() == ARTIFACT.read_bytes()


def test_it_holds_what_its_name_says():
    program = lutkan.Artifact.open(ARTIFACT).program
    layers = [step for step in program.steps if isinstance(step, KANOp)]
    tables = [branch.table for step in layers for branch in step.branches if isinstance(branch.table, CodeTable)]
    functions = {(table.function, table.coefficient_bits) for table in tables if table.function is not None}
    assert functions == {("silu", 4), ("tanh", 2), ("gelu", 3), ("identity", 6), ("relu", 8)}
    stored = [table for table in tables if table.digit > 1 and table.function is None]
    assert {(table.coefficient_bits, table.digit, len(table.weights)) for table in stored} == {(5, 7, 4)}
    assert {table.bits for table in tables} == {4, 5, 6, 7, 8}
    assert [layer.requantize is None for layer in layers] == [False] * 5 + [True]
