"""Code tables of format 1.0 give the bits they gave, on infinities and NaN too."""

from pathlib import Path

import numpy as np
import pytest

import lutkan
from conformance.cases import same_bits
from lutkan.artifact.program import CodeTable, KANOp, QuantizeOp
from lutkan.runtimes import available_runtimes

ARTIFACT = Path(__file__).parent / "codes-1.0.lutkan"


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


def test_it_holds_code_tables_of_many_kinds():
    program = lutkan.Artifact.open(ARTIFACT).program
    layers = [step for step in program.steps if isinstance(step, KANOp)]
    tables = [branch.table for step in layers for branch in step.branches if isinstance(branch.table, CodeTable)]
    pre = [step for layer in layers for branch in layer.branches for step in branch.pre if isinstance(step, QuantizeOp)]
    assert {table.coefficient_bits for table in tables} >= {2, 3, 5, 7, 8, 16}
    assert {table.bits for table in tables} == {4, 5, 6, 8}
    assert {table.coded for table in tables} == {False, True} and {step.coded for step in pre} == {True}
    assert {table.knots is None for table in tables} == {table.zero == 0 for table in tables} == {False, True}
    assert {len(table.weights) > 1 for table in tables} == {False, True}
    assert [layer.requantize is None for layer in layers] == [False, False, True, True, True, True]
    assert {layer.outputs is None for layer in layers} == {False, True}
