"""What tables-1.0.lutkan holds: segment tables of every kind."""

from pathlib import Path

import lutkan
from lutkan.artifact.program import KANOp, SegmentTable

ARTIFACT = Path(__file__).parent / "tables-1.0.lutkan"


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
