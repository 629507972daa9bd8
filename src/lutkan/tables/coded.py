"""Layers whose inputs are codes: what training and post-training quantization hand over, and their tables.

The features of an input are looked up by its code (`lutkan.tables.code_features`), and multiplied with integer
coefficients. A layer is integers from code to code; between two KAN layers the sums are requantized by an integer
multiplication and a shift. `lutkan.tables.read_coded` reads such layers back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact.program import CodeTable, Requantization
from lutkan.errors import ArtifactError, SpecError
from lutkan.ir import EdgeBank, KANLayer
from lutkan.numerics.fixed_point import pack_codes
from lutkan.tables.code_features import CodeGrid, Glue, IntegerFeatures, integer_features, spline_knots
from lutkan.tables.rounding import round_nearest
from lutkan.tables.segment import as_float32
from lutkan.tables.spec import BranchSpec, CodeSpec

__all__ = [
    "CodeValues",
    "CodedBranch",
    "CodedLayer",
    "make_code_table",
    "range_grid",
    "requantization",
    "round_layer",
]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
_MOST_SHIFT = 40


@dataclass(frozen=True, eq=False)
class CodedBranch:
    """One branch of a coded layer.

    Attributes
    ----------
    pre : tuple of glue steps
        As in `lutkan.ir.Branch`. Elementwise steps become part of the features. Steps that couple features (LayerNorm)
        are computed in float32 on the decoded inputs, and need a `grid` of their own for what they give.
    grid : CodeGrid or None
        Codes of what `pre` gives; None where the features see the layer's own codes.
    bank : EdgeBank
        Its basis gives the features; its coefficients are not used.
    codes : int8 or int16 [in, rows, out]
        Integer coefficients, the edge scale folded in; as many rows as the basis has functions.
    bits : int
        Bits that the codes are stored with: 2 to 8 within `-2^(bits - 1) .. 2^(bits - 1) - 1` (8 bits: -127 to 127),
        or 16 (-32767 to 32767; slower).
    scale : float64 [out]
        A coefficient is `codes * scale`.
    """

    pre: tuple[Glue, ...]
    grid: CodeGrid | None
    bank: EdgeBank
    codes: NDArray[Any]
    bits: int
    scale: F64

    def __post_init__(self) -> None:
        where = f"CodedBranch ({self.bank.role})"
        object.__setattr__(self, "pre", tuple(self.pre))
        if self.bits not in (2, 3, 4, 5, 6, 7, 8, 16) or isinstance(self.bits, bool):
            raise SpecError(f"{where}.bits = {self.bits!r}", "2 to 8, or 16")
        codes = np.asarray(self.codes)
        shape = (self.bank.in_features, self.bank.basis.size, self.bank.out_features)
        if codes.dtype.kind not in "iu" or codes.shape != shape:
            raise SpecError(f"{where}.codes: {codes.dtype} of shape {codes.shape}", f"integers of shape {shape}")
        top = (1 << (self.bits - 1)) - 1
        bottom = -top if self.bits >= 8 else -top - 1
        if codes.size and (codes.min() < bottom or codes.max() > top):
            raise SpecError(
                f"{where}.codes: {codes.min()} to {codes.max()}", f"{bottom} to {top} with {self.bits} bits"
            )
        scale = np.ascontiguousarray(self.scale, dtype=np.float64)
        if scale.shape != shape[2:] or not np.isfinite(scale).all():
            raise SpecError(f"{where}.scale of shape {scale.shape}", f"finite numbers of shape {shape[2:]}")
        object.__setattr__(self, "codes", np.ascontiguousarray(codes, dtype=np.int16 if self.bits == 16 else np.int8))
        object.__setattr__(self, "scale", scale)
        if self.grid is None and not all(step.elementwise for step in self.pre):
            raise SpecError(f"{where}: steps that couple features without a grid after them", "grid=CodeGrid(...)")

    @property
    def kernel(self) -> int:
        """8 or 16: the integers that are multiplied."""
        return 16 if self.bits == 16 else 8

    def coefficients(self) -> F64:
        """Return the coefficients that the codes stand for, float64 [in, rows, out]."""
        return self.codes * self.scale


@dataclass(frozen=True, eq=False)
class CodedLayer:
    """A KAN layer in integers: what QAT and PTQ hand over.

    Attributes
    ----------
    name : str
        The layer's name in the network.
    grid : CodeGrid
        Codes of the layer's input, for all branches without a grid of their own.
    branches : tuple of CodedBranch
        In the order of the network's branches.
    bias : float64 [out] or None
    """

    name: str
    grid: CodeGrid
    branches: tuple[CodedBranch, ...]
    bias: F64 | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "branches", tuple(self.branches))
        shapes = {(b.bank.in_features, b.bank.out_features) for b in self.branches}
        if len(shapes) != 1:
            raise SpecError(f"CodedLayer {self.name!r}: branches of shapes {sorted(shapes)}", "one shape for all")
        if self.bias is not None:
            bias = np.ascontiguousarray(self.bias, dtype=np.float64)
            object.__setattr__(self, "bias", bias)
            if bias.shape != (self.shape[1],) or not np.isfinite(bias).all():
                raise SpecError(f"CodedLayer {self.name!r}: bias of shape {bias.shape}", f"{self.shape[1]} numbers")

    @property
    def shape(self) -> tuple[int, int]:
        """(inputs, outputs)."""
        return self.branches[0].bank.in_features, self.branches[0].bank.out_features


@dataclass(frozen=True, eq=False)
class CodeValues:
    """A coded branch of a planned layer, cut down to the live inputs and outputs.

    Attributes
    ----------
    number : int
        Of the branch in the network's layer.
    outer : CodeGrid
        Codes of the layer's input.
    branch : CodedBranch
        Its `pre` is what the features see folded in; steps that couple inputs stand in the plan.
    coupled : bool
        Whether such steps come before: the features then see `branch.grid` alone.
    """

    number: int
    outer: CodeGrid
    branch: CodedBranch
    coupled: bool

    @property
    def shape(self) -> tuple[int, int]:
        return self.branch.bank.in_features, self.branch.bank.out_features

    def to_json(self) -> list[int | float]:
        """Return what the manifest says of the branch: its number, and a grid that is folded into its features."""
        inner = self._inner
        return [self.number] if inner is None else [self.number, inner.low, inner.step, inner.bits]

    @property
    def grid(self) -> CodeGrid:
        """What the table's codes mean."""
        return self.branch.grid if self.coupled and self.branch.grid is not None else self.outer

    @property
    def _inner(self) -> CodeGrid | None:
        return None if self.coupled else self.branch.grid

    def features(self) -> IntegerFeatures:
        """Return the integer features, by code."""
        branch = self.branch
        return integer_features(branch.bank, self.grid, branch.pre, inner=self._inner, bits=branch.bits)

    def evaluate(self, x: F64) -> F64:
        """Evaluate on rounded inputs with unrounded features and sums: [N, in] -> [N, out]."""
        seen = self.grid.round(x)
        for step in self.branch.pre:
            seen = step.evaluate(seen)
        if self._inner is not None:
            seen = self._inner.round(seen)
        features = self.branch.bank.basis.evaluate(np.ascontiguousarray(seen))
        y = features.reshape(len(x), -1) @ self.branch.coefficients().reshape(-1, self.shape[1])
        y[np.isnan(x).any(axis=1)] = np.nan
        return y


def make_code_table(values: CodeValues) -> CodeTable:
    """Make the table of a branch; its `coded` is False."""
    branch, grid, found = values.branch, values.grid, values.features()
    n_in, n_out = values.shape
    knots = spline_knots(branch.bank.basis) if not branch.pre and values._inner is None else None
    wide = branch.kernel == 16 or found.values.max() > 255
    stored = found.values.astype(np.int16) if wide else found.values.astype(np.uint8)
    packed = branch.bits < 8
    return CodeTable(
        in_features=n_in,
        out_features=n_out,
        rows=branch.bank.basis.size,
        coefficient_bits=branch.bits,
        q=pack_codes(branch.codes, branch.bits) if packed else branch.codes,
        scale=as_float32(branch.scale * found.scale, "code scale"),
        bits=grid.bits,
        low=grid.low,
        step=grid.step,
        coded=False,
        zero=found.zero,
        features=None if knots is not None or found.function is not None else stored,
        degree=None if knots is None else branch.bank.basis.degree,  # type: ignore[attr-defined]
        knots=knots,
        function=found.function,
        unit=None if found.function is None else found.scale,
    )


def requantization(
    tables: Sequence[CodeTable], bias: F32 | None, outputs: NDArray[np.int32] | None, out_features: int, grid: CodeGrid
) -> Requantization:
    """Find the shift with which integers turn the sums of a layer into the codes of a grid.

    Parameters
    ----------
    tables : sequence of CodeTable
        A branch each.
    bias : float32 [out_features] or None
    outputs : int32 [live outputs] or None
    out_features : int
    grid : CodeGrid
        Of the next layer.

    Raises
    ------
    SpecError
        The sums are so large beside the grid's step that no 64-bit integer holds them.
    """
    for shift in range(_MOST_SHIFT, -1, -1):
        found = Requantization(grid.bits, grid.low, grid.step, shift)
        try:
            found.integers(tables, bias, outputs, out_features)
        except ArtifactError:  # too large: with fewer binary places they fit
            continue
        return found
    raise SpecError("sums that are very large beside a code grid's step", "a grid with larger steps")


def range_grid(values: F64, spec: CodeSpec) -> CodeGrid:
    """Return the grid over the range of numbers: smallest to largest, or the spec's percentiles.

    Parameters
    ----------
    values : float64 array
        Finite; empty counts as 0.
    spec : CodeSpec
        Bits, and whether zero is the middle code.

    Examples
    --------
    >>> range_grid(np.array([0.0, 1.5]), CodeSpec(input_bits=2))
    CodeGrid(low=0.0, step=0.5, bits=2)
    """
    bits = spec.input_bits
    if not values.size:
        values = np.zeros(1)
    if spec.percentile is None:
        low, high = float(values.min()), float(values.max())
    else:
        low, high = (float(v) for v in np.percentile(values, spec.percentile))
    smallest = max(1e-6 * max(abs(low), abs(high)), 1e-20)
    if spec.input_symmetric:
        step = max(max(abs(low), abs(high)) / ((1 << (bits - 1)) - 1), smallest)
        return CodeGrid(-step * (1 << (bits - 1)), step, bits)
    return CodeGrid(low, max((high - low) / ((1 << bits) - 1), smallest), bits)


def round_layer(layer: KANLayer, spec: CodeSpec, rows: F64, where: str) -> CodedLayer:
    """Quantize a layer by rounding every weight to the nearest code, its input range that of the rows.

    Parameters
    ----------
    layer : KANLayer
    spec : CodeSpec
    rows : float64 [N, in]
        What goes into the layer.
    where : str
        The layer, for messages.

    Raises
    ------
    SpecError
        Weights without bits, granularities that integer sums cannot keep, or edges that have no common features.
    """
    used = layer.branches
    grid = range_grid(rows[:, layer.live().any(axis=1)] if layer.live().any() else rows, spec)
    branches = []
    for branch in used:
        bank = branch.bank
        if not isinstance(bank, EdgeBank):
            raise SpecError(f"{where}: {bank.describe()}", "edges that share a basis", "another spec, such as int8")
        inner, rounded = None, grid.round(rows)
        if not branch.elementwise:
            inner = range_grid(branch.prepare(rounded), spec)
        kind = spec.base if bank.role == "base" else spec.spline
        codes, scale = _round_weights(bank, kind, spec.scaler, where)
        branches.append(CodedBranch(branch.pre, inner, bank, codes, _stored_bits(codes), scale))
    return CodedLayer(layer.name, grid, tuple(branches), layer.bias)


def _round_weights(bank: EdgeBank, spec: BranchSpec, scaler: BranchSpec | None, where: str) -> tuple[I64, F64]:
    if scaler is None or bank.scale is None:
        return _round(bank.weights, spec, where)
    codes, scale = _round(bank.coefficients, spec, where)
    edge_codes, edge_scale = _round(bank.scale[:, None, :], scaler, where)
    return codes * edge_codes, scale * edge_scale


def _round(values: F64, spec: BranchSpec, where: str) -> tuple[I64, F64]:
    """Return integer codes, the zero point taken off, and a scale an output."""
    if spec.bits is None:
        raise SpecError(f"{where}: BranchSpec.bits = None", "2 to 8 bits for an integer table")
    if spec.granularity not in ("tensor", "output"):
        raise SpecError(
            f"{where}: BranchSpec.granularity = {spec.granularity!r}",
            "'output' or 'tensor'",
            "an integer sum over the edges has one scale an output",
        )
    flat = values if spec.granularity == "output" else values.reshape(1, -1, 1)
    if spec.symmetric:
        found = round_nearest(flat, spec.bits)
        codes, scale = found.codes.astype(np.int64), found.scale
    else:
        low, high = np.minimum(flat.min(axis=(0, 1)), 0.0), np.maximum(flat.max(axis=(0, 1)), 0.0)
        top = (1 << spec.bits) - 1
        scale = np.where(high > low, high - low, 1.0) / top
        zero = np.rint(-low / scale)
        codes = (np.clip(np.rint(flat / scale) + zero, 0, top) - zero).astype(np.int64)
    return codes.reshape(values.shape), np.broadcast_to(scale, values.shape[2:]).copy()


def _stored_bits(codes: I64) -> int:
    """Return the fewest bits that codes are stored with."""
    low, high = int(codes.min(initial=0)), int(codes.max(initial=0))
    for bits in (2, 3, 4, 5, 6, 7):
        if -(1 << (bits - 1)) <= low and high < 1 << (bits - 1):
            return bits
    return 8 if max(-low, high) <= 127 else 16
