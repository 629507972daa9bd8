"""Layers whose inputs are codes: what training and post-training quantization hand over, and how it becomes tables.

An input of A bits has only `2^A` values, so everything a layer does before its weights is a table that the code
addresses: the rows of features, in integers (docs/spec/semantics.md section 5.5). A layer is then integers from code
to code; between two KAN layers the sums are requantized by an integer multiplication and a shift.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import SpecError
from lutkan.ir import Activation, Affine, Basis, BSpline, EdgeBank, LayerNorm
from lutkan.numerics.fixed_point import PAIR_SUM, WEIGHT_SUM, knot_features, round_to_sum

__all__ = ["CodeGrid", "CodedBranch", "CodedLayer", "IntegerFeatures", "integer_features"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Glue = Affine | LayerNorm | Activation


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
            Rounded to float32 first.

        Returns
        -------
        int64, the shape of x
        """
        start, inverse = np.float32(self.low - self.step / 2), np.float32(1.0 / self.step)
        with np.errstate(over="ignore", invalid="ignore"):
            v = (np.asarray(x).astype(np.float32) - start) * inverse
            return np.maximum(np.minimum(v, np.float32(self.levels - 1)), np.float32(0.0)).astype(np.int64)

    def points(self) -> F32:
        """Return the number of every code as the tables compute it, float32 [2^bits]: one product, one sum."""
        codes = np.arange(self.levels, dtype=np.float32)
        return np.float32(self.step) * codes + np.float32(self.low)

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
        0 to 255 (with 16-bit coefficients up to 4096).
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
        seen = inner.decode(inner.encode(seen))
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
    kernel: int = 8,
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
    kernel : int
        8, or 16 with 16-bit coefficients: features then have up to 12 bits.

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
    rows = values.shape[2]
    if kernel == 16:
        most = WEIGHT_SUM[16]
    else:
        most = (2**31 - 1) // (127 * bank.in_features)
    if most < WEIGHT_SUM[8]:
        raise SpecError(f"{bank.in_features} inputs of a coded layer", "at most 66311, so that 32-bit sums hold")
    if isinstance(bank.basis, BSpline):
        return _rounded_splines(bank, grid, kernel, values, not pre and inner is None)
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        return IntegerFeatures(np.zeros(values.shape, dtype=np.int64), 1.0, 0)
    top = most // rows if kernel == 16 else min(255, most // rows)
    if low == 0.0 and rows > 1:
        top = _densest_top(values / high, most, kernel)
    scale = (high - low) / top
    zero = int(np.rint(-low / scale))
    return IntegerFeatures(np.clip(np.rint(values / scale) + zero, 0, top).astype(np.int64), scale, zero)


def _densest_top(shares: F64, most: int, kernel: int) -> int:
    """Return the units that the largest feature may have, so that pairs and sums of rows stay in bounds."""
    rows = shares.shape[2]
    total = int((most - rows) / shares.sum(axis=2).max())
    if kernel == 16:
        return total
    even = np.pad(shares, ((0, 0), (0, 0), (0, rows % 2)))
    pairs = even.reshape(*even.shape[:2], -1, 2).sum(axis=3).max()
    return min(255, int((PAIR_SUM - 1) / pairs), total)


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


def spline_knots(basis: Basis) -> F32 | None:
    """Return the knots of splines that tables compute from the knots: float32 [in or 1, rows + degree + 1], or None."""
    if not isinstance(basis, BSpline) or not 1 <= basis.degree <= 3:
        return None
    knots = basis.extended_knots.astype(np.float32)
    if not ((np.diff(knots, axis=1) > 0).all(axis=1) | (np.ptp(knots, axis=1) == 0)).all():
        return None
    return np.ascontiguousarray(knots[:1] if (knots == knots[:1]).all() else knots)
