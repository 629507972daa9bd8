"""What functions-1.0.lutkan holds: fine features, and features of functions."""

from pathlib import Path

import lutkan
from lutkan.artifact.program import CodeTable, KANOp

ARTIFACT = Path(__file__).parent / "functions-1.0.lutkan"


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
