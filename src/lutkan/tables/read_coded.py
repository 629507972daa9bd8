"""Read a quantized layer back from its compiled tables, so that an artifact can be compared with its network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact.program import CodeTable, KANOp, QuantizeOp
from lutkan.errors import SpecError
from lutkan.ir import Basis, EdgeBank, KANLayer, LayerNorm
from lutkan.tables.code_features import CodeGrid, Glue, code_features, integer_features
from lutkan.tables.coded import CodedBranch, CodedLayer

__all__ = ["ScaledBasis", "read_coded_layer"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
# Features in a table are off by half a unit, and a little for factors that are found from them.
_ROUNDED = 0.75


@dataclass(frozen=True, eq=False)
class ScaledBasis(Basis):
    """Basis functions times a factor each, and an input.

    Attributes
    ----------
    inner : Basis
    factors : float64 [in or 1, C]
    """

    inner: Basis
    factors: F64
    kind: ClassVar[str] = "scaled"

    @property
    def size(self) -> int:
        return self.inner.size

    @property
    def rows(self) -> int:
        return max(self.inner.rows, len(self.factors))

    @property
    def knots(self) -> F64 | None:
        return self.inner.knots

    def core(self) -> tuple[F64, F64] | None:
        return self.inner.core()

    def support(self) -> tuple[F64, F64] | None:
        return self.inner.support()

    def evaluate(self, x: F64) -> F64:
        return self.inner.evaluate(x) * self.factors

    def take(self, inputs: NDArray[np.int64]) -> ScaledBasis:
        return ScaledBasis(self.inner.take(inputs), self.factors if len(self.factors) == 1 else self.factors[inputs])

    def describe(self) -> str:
        return f"scaled {self.inner.describe()}"


def _scaled(bank: EdgeBank, inputs: I64, values: F64, units: I64) -> EdgeBank | None:
    """Find factors of the functions that make a table's features out of these, in units of the table; None if none do.

    Methods that balance features and weights (AWQ, SmoothQuant) leave such tables.
    """
    values = np.broadcast_to(values, units.shape)
    square = np.square(values).sum(axis=1)
    factors = np.where(square > 0, (values * units).sum(axis=1) / np.where(square > 0, square, 1.0), 1.0)
    if (factors <= 0).any() or np.abs(units - factors[:, None] * values).max() > _ROUNDED:
        return None
    every = np.ones((bank.in_features, bank.basis.size))
    every[inputs] = factors
    return replace(bank, basis=ScaledBasis(bank.basis, every))


def read_coded_layer(layer: KANLayer, op: KANOp, written: object, where: str) -> CodedLayer:
    """Read a quantized layer back from its compiled tables.

    Parameters
    ----------
    layer : KANLayer
        What the network has: basis functions and the steps before them.
    op : KANOp
    written : JSON
        `CodeValues.to_json` of every branch.
    where : str
        The layer, for messages.

    Raises
    ------
    SpecError
        The tables are not those of this layer.
    """
    branches: list[CodedBranch] = []
    tables = [branch.table for branch in op.branches]
    if op.shape != layer.shape or not isinstance(written, list) or len(written) != len(tables):
        raise _foreign(where)
    inputs = np.arange(layer.shape[0]) if op.inputs is None else op.inputs.astype(np.int64)
    outputs = np.arange(layer.shape[1]) if op.outputs is None else op.outputs.astype(np.int64)
    for entry, table in zip(written, tables, strict=True):
        number, inner = _read_entry(entry, where)
        source = layer.branches[number] if number < len(layer.branches) else None
        if source is None or not isinstance(table, CodeTable) or not isinstance(source.bank, EdgeBank):
            raise _foreign(where)
        bank, grid = source.bank, CodeGrid(table.low, table.step, table.bits)
        if bank.basis.size != table.rows:
            raise _foreign(where)
        pre: tuple[Glue, ...] = ()
        if source.elementwise:
            pre = tuple(step.take(inputs) for step in source.pre if not isinstance(step, LayerNorm))
        cut = bank.take(inputs, outputs)
        whole = table.in_features, 1 << table.bits, table.rows
        held, unit = np.broadcast_to(table.weights, whole).astype(np.int64), _unit(table, cut, grid, pre, inner, whole)
        if unit is None:
            scaled = _scaled(bank, inputs, code_features(cut, grid, pre, inner), held - table.zero)
            if scaled is None:
                raise _foreign(where)
            bank, unit = scaled, 1.0
        codes = np.zeros(bank.coefficients.shape, dtype=np.int64)
        codes[np.ix_(inputs, np.arange(table.rows), outputs)] = table.coefficients
        scale = np.ones(layer.shape[1])
        scale[outputs] = table.scale.astype(np.float64) / unit
        own = inner if source.elementwise else grid
        branches.append(CodedBranch(source.pre, own, bank, codes, table.coefficient_bits, scale))
    bias = None if op.bias is None else op.bias.astype(np.float64)
    return CodedLayer(layer.name, _input_grid(op, where), tuple(branches), bias)


def _unit(
    table: CodeTable,
    bank: EdgeBank,
    grid: CodeGrid,
    pre: Sequence[Glue],
    inner: CodeGrid | None,
    whole: tuple[int, int, int],
) -> float | None:
    """Return what a feature of 1 stands for where a table holds the basis' own features, else None.

    Early files have features beside narrow coefficients as they are beside 8 bits.
    """
    held = np.broadcast_to(table.weights, whole)
    for bits in dict.fromkeys((table.coefficient_bits, max(table.coefficient_bits, 8))):
        found = integer_features(bank, grid, pre, inner=inner, bits=bits)
        if found.zero == table.zero and np.array_equal(np.broadcast_to(found.values, whole), held):
            return found.scale
    return None


def _foreign(where: str) -> SpecError:
    return SpecError(f"{where}: the artifact's tables are not those of this network", "the same network")


def _read_entry(entry: object, where: str) -> tuple[int, CodeGrid | None]:
    if not isinstance(entry, list) or len(entry) not in (1, 4) or type(entry[0]) is not int or entry[0] < 0:
        raise _foreign(where)
    return entry[0], CodeGrid(*entry[1:]) if len(entry) == 4 else None


def _input_grid(op: KANOp, where: str) -> CodeGrid:
    """Return the grid of a layer's input."""
    for branch in op.branches:
        first = branch.pre[0] if branch.pre else branch.table
        if isinstance(first, (QuantizeOp, CodeTable)):
            return CodeGrid(first.low, first.step, first.bits)
    raise _foreign(where)
