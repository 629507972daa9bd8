"""Layers whose inputs are codes: what training and post-training quantization hand over, and its integers.

An input of A bits has only `2^A` values, so everything a layer does before its weights is a table that the code
addresses: the rows of features, in integers (docs/spec/semantics.md section 5.5). A layer is then integers from code
to code; between two KAN layers the sums are requantized by an integer multiplication and a shift.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact.program import CodeTable, KANOp, QuantizeOp, Requantization
from lutkan.errors import ArtifactError, SpecError
from lutkan.ir import Activation, Affine, Basis, BSpline, EdgeBank, KANLayer, LayerNorm, NamedFunction
from lutkan.numerics import float32
from lutkan.numerics.fixed_point import (
    MAX_INPUTS_INT8,
    WEIGHT_SUM,
    fine_digit,
    function_features,
    knot_features,
    pack_codes,
    pair_sum,
    round_to_sum,
)
from lutkan.tables.rounding import round_nearest
from lutkan.tables.segment import as_float32
from lutkan.tables.spec import BranchSpec, CodeSpec

__all__ = [
    "CodeGrid",
    "CodeValues",
    "CodedBranch",
    "CodedLayer",
    "IntegerFeatures",
    "ScaledBasis",
    "code_features",
    "integer_features",
    "make_code_table",
    "range_grid",
    "read_coded_layer",
    "requantization",
    "round_layer",
]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Glue = Affine | LayerNorm | Activation
# Features in a table are off by half a unit, and a little for factors that are found from them.
_ROUNDED = 0.75
_MOST_SHIFT = 40
# Features of a function that is smaller, or larger, everywhere are stored.
_LEAST_UNIT = 1e-29


@dataclass(frozen=True)
class CodeGrid:
    """What the codes of an input mean: code `c` of `2^bits` is the number `low + step * c`.

    Attributes
    ----------
    low, step : float
        A free offset and a positive step; both, and the largest value, within float32.
    bits : int
        2 to 8.

    Raises
    ------
    SpecError

    Examples
    --------
    >>> grid = CodeGrid(-1.0, 0.5, 2)
    >>> grid.values(), grid.encode(np.array([-9.0, -0.8, -0.75, 0.2, 7.0]))
    (array([-1. , -0.5,  0. ,  0.5]), array([0, 0, 1, 2, 3]))
    """

    low: float
    step: float
    bits: int

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or not isinstance(self.bits, int) or not 2 <= self.bits <= 8:
            raise SpecError(f"CodeGrid.bits = {self.bits!r}", "an integer from 2 to 8")
        for name in ("low", "step"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)) or not math.isfinite(value):
                raise SpecError(f"CodeGrid.{name} = {value!r}", "a finite number")
            object.__setattr__(self, name, float(value))
        if not 1e-30 < self.step < 1e30 or abs(self.low) > 1e30:
            raise SpecError(f"CodeGrid(low={self.low}, step={self.step})", "1e-30 < step < 1e30, |low| <= 1e30")

    @property
    def levels(self) -> int:
        """Number of codes, `2^bits`."""
        return 1 << self.bits

    def values(self) -> F64:
        """Return the number of every code, float64 [2^bits]."""
        return self.decode(np.arange(self.levels))

    def encode(self, x: object) -> I64:
        """Return the codes of numbers, exactly as every runtime finds them: in float32, nearest, half up, saturating.

        Parameters
        ----------
        x : array
            Rounded to float32 first; NaN has the code 0.

        Returns
        -------
        int64, the shape of x
        """
        start, inverse = np.float32(self.low - self.step / 2), np.float32(1.0 / self.step)
        with np.errstate(over="ignore", invalid="ignore"):
            v = np.minimum((np.asarray(x).astype(np.float32) - start) * inverse, np.float32(self.levels - 1))
            return np.where(v > 0, v, 0).astype(np.int64)

    def points(self) -> F32:
        """Return the number of every code as the tables compute it, float32 [2^bits]: one product, one sum."""
        codes = np.arange(self.levels, dtype=np.float32)
        return np.float32(self.step) * codes + np.float32(self.low)

    def round(self, x: object) -> F64:
        """Return the nearest numbers that have a code, float64."""
        return self.decode(self.encode(x))

    def decode(self, codes: object) -> F64:
        """Return the numbers of codes, float64."""
        return np.asarray(self.low + self.step * np.asarray(codes, dtype=np.float64), dtype=np.float64)


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
class IntegerFeatures:
    """The features of a branch, by code, as the integers that tables hold.

    Attributes
    ----------
    values : int64 [in or 1, 2^bits, rows]
        0 to 255; with 16-bit coefficients up to 4096, with fine features below `256 * fine_digit(coefficient bits)`.
    scale : float
    zero : int
        A feature is about `scale * (values - zero)`.
    """

    values: I64
    scale: float
    zero: int

    def decoded(self) -> F64:
        """Return the features that the integers stand for, float64 of the shape of `values`."""
        return np.asarray(self.scale * (self.values - self.zero), dtype=np.float64)


def code_features(bank: EdgeBank, grid: CodeGrid, pre: Sequence[Glue], inner: CodeGrid | None = None) -> F64:
    """Return the unrounded features by code: float64 [in or 1, 2^bits, rows].

    Parameters
    ----------
    bank : EdgeBank
    grid : CodeGrid
        What the codes mean.
    pre : sequence of elementwise glue steps
    inner : CodeGrid, optional
        Codes that what `pre` gives is rounded to.
    """
    if not all(step.elementwise for step in pre):
        raise SpecError("features behind a step that couples inputs", "elementwise steps")
    n_in = bank.in_features
    one = bank.basis.rows == 1 and all(_is_shared(step) for step in pre)
    width = 1 if one else n_in
    seen = np.broadcast_to(grid.values()[:, None], (grid.levels, width)).copy()
    for step in pre:
        seen = step.evaluate(seen)
    if inner is not None:
        seen = inner.round(seen)
    values = bank.basis.evaluate(np.ascontiguousarray(seen)).transpose(1, 0, 2)
    return np.ascontiguousarray(values)


def _is_shared(step: Glue) -> bool:
    """Tell whether an elementwise step is the same for every feature."""
    if isinstance(step, Affine):
        return False
    return not (isinstance(step, Activation) and step.slope is not None and step.slope.size > 1)


def integer_features(
    bank: EdgeBank,
    grid: CodeGrid,
    pre: Sequence[Glue] = (),
    *,
    inner: CodeGrid | None = None,
    bits: int = 8,
) -> IntegerFeatures:
    """Round the features of a branch to the integers that the tables hold; training simulates with the same ones.

    Parameters
    ----------
    bank : EdgeBank
        Its basis gives the features.
    grid : CodeGrid
        What the codes mean: the layer's, or the branch's own where a coupling step comes before it.
    pre : sequence of elementwise glue steps
        What lies between the decoded code and the basis.
    inner : CodeGrid, optional
        A branch's own grid behind an elementwise `pre`.
    bits : int
        Of the stored coefficients: with 16, features have up to 12 bits; with 2 to 6, those of a branch of one function
        have more than 8 as well.

    Returns
    -------
    IntegerFeatures

    Raises
    ------
    SpecError
        A feature is not finite on a code, or the layer has too many inputs for 32-bit sums.
    """
    values = code_features(bank, grid, pre, inner)
    if not np.isfinite(values).all():
        i, code, row = (int(v) for v in np.argwhere(~np.isfinite(values))[0])
        raise SpecError(f"feature {row} of input {i} at code {code} ({grid.decode(code):.6g})", "finite numbers")
    rows, kernel = values.shape[2], 16 if bits == 16 else 8
    digit = fine_digit(bits) if rows == 1 and not isinstance(bank.basis, BSpline) else 1
    largest = 127 if digit == 1 else 1 << (bits - 1)
    most = WEIGHT_SUM[16] if kernel == 16 else (2**31 - 1) // (largest * bank.in_features)
    if bank.in_features > MAX_INPUTS_INT8 and kernel == 8:
        raise SpecError(f"{bank.in_features} inputs of a coded layer", "at most 66311, so that 32-bit sums hold")
    if isinstance(bank.basis, BSpline):
        return _rounded_splines(bank, grid, kernel, values, not pre and inner is None)
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        return IntegerFeatures(np.zeros(values.shape, dtype=np.int64), 1.0, 0)
    top = most // rows if kernel == 16 else min(256 * digit - 1, most // rows)
    if low == 0.0 and rows > 1:
        top = _densest_top(values / high, most, bits)
    if top < 1:
        raise SpecError(f"{bank.in_features} inputs with {rows} features each", "fewer, so that integer sums hold")
    scale = (high - low) / top
    zero = int(np.rint(-low / scale))
    function = float32_function(bank.basis, scale) if not pre and inner is None else None
    if function is not None:
        unit = float(np.float32(scale))
        found = function_features(function, grid.points(), unit, zero, top)
        return IntegerFeatures(found.reshape(1, -1, 1), unit, zero)
    return IntegerFeatures(np.clip(np.rint(values / scale) + zero, 0, top).astype(np.int64), scale, zero)


def _densest_top(shares: F64, most: int, bits: int) -> int:
    """Return the units that the largest feature may have, so that pairs and sums of rows stay in bounds."""
    rows = shares.shape[2]
    total = int((most - rows) / shares.sum(axis=2).max())
    if bits == 16:
        return total
    even = np.pad(shares, ((0, 0), (0, 0), (0, rows % 2)))
    pairs = even.reshape(*even.shape[:2], -1, 2).sum(axis=3).max()
    return min(255, int((pair_sum(bits) - 1) / pairs), total)


def _rounded_splines(bank: EdgeBank, grid: CodeGrid, kernel: int, values: F64, plain: bool) -> IntegerFeatures:
    """Round B-splines so that each code's integers sum to 255 (4096) where the splines sum to 1."""
    basis, total = bank.basis, WEIGHT_SUM[kernel]
    knots = spline_knots(basis) if plain else None
    if knots is not None:
        whole = knot_features(knots, basis.degree, grid.points(), total)  # type: ignore[attr-defined]
    else:
        flat = values.reshape(-1, values.shape[2])
        rest = np.maximum(1.0 - flat.sum(axis=1), 0.0)
        whole = round_to_sum(np.concatenate([flat, rest[:, None]], axis=1), total)[:, :-1].reshape(values.shape)
    return IntegerFeatures(whole, 1.0 / total, 0)


def float32_function(basis: Basis, scale: float) -> str | None:
    """Return the name of a function whose features of such a scale tables compute themselves, or None."""
    if not isinstance(basis, NamedFunction) or basis.name not in float32.ACTIVATIONS:
        return None
    return basis.name if _LEAST_UNIT < scale < 1.0 / _LEAST_UNIT else None


def spline_knots(basis: Basis) -> F32 | None:
    """Return the knots of splines that tables compute from the knots: float32 [in or 1, rows + degree + 1], or None."""
    if not isinstance(basis, BSpline) or not 1 <= basis.degree <= 3:
        return None
    knots = basis.extended_knots.astype(np.float32)
    if not ((np.diff(knots, axis=1) > 0).all(axis=1) | (np.ptp(knots, axis=1) == 0)).all():
        return None
    return np.ascontiguousarray(knots[:1] if (knots == knots[:1]).all() else knots)


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
    plain = not branch.pre and values._inner is None
    knots = spline_knots(branch.bank.basis) if plain else None
    function = float32_function(branch.bank.basis, found.scale) if plain and found.values.any() else None
    fine = branch.bank.basis.size == 1 and fine_digit(branch.bits) > 1
    wide = branch.kernel == 16 or fine
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
        features=None if knots is not None or function is not None else stored,
        degree=None if knots is None else branch.bank.basis.degree,  # type: ignore[attr-defined]
        knots=knots,
        function=function,
        unit=None if function is None else found.scale,
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
