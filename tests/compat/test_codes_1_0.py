"""What codes-1.0.lutkan holds: code tables of many kinds."""

from pathlib import Path

import lutkan
from lutkan.artifact.program import CodeTable, KANOp, QuantizeOp

ARTIFACT = Path(__file__).parent / "codes-1.0.lutkan"


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
