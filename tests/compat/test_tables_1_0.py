"""Segment tables of format 1.0 give the bits they gave, on knots, infinities and NaN too."""

from pathlib import Path

import numpy as np
import pytest

import lutkan
from conformance.cases import same_bits
from lutkan.artifact.program import KANOp, SegmentTable
from lutkan.runtimes import available_runtimes

ARTIFACT = Path(__file__).parent / "tables-1.0.lutkan"


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


def test_it_holds_segment_tables_of_every_kind():
    program = lutkan.Artifact.open(ARTIFACT).program
    tables = [branch.table for step in program.steps if isinstance(step, KANOp) for branch in step.branches]
    segments = [table for table in tables if isinstance(table, SegmentTable)]
    assert {table.outside for table in segments} == {"clip", "zero", "base", "linear"}
    assert {table.q.dtype.name for table in segments} == {"int8", "uint8"}
    assert {table.interpolation for table in segments} == {"linear", "nearest"}
    assert {table.boundary for table in segments} == {"half_open", "closed"}
    assert {len(table.knots) > 1 for table in segments} == {False, True}
    assert {table.edge_scale is not None for table in segments} == {False, True}
    kinds = {step.op for step in program.steps}
    assert kinds == {"select", "affine", "layer_norm", "activation", "linear", "product", "kan"}
