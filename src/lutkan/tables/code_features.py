"""What an input's code leads to: the numbers that codes stand for, and the features of a basis there as integers.

An input of A bits has only `2^A` values, so everything a layer does before its weights is a table that the code
addresses: rows of features, in integers (docs/spec/semantics.md section 5.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import SpecError
from lutkan.ir import Activation, Affine, Basis, BSpline, EdgeBank, LayerNorm, NamedFunction
from lutkan.numerics.fixed_point import (
    MAX_INPUTS_INT8,
    WEIGHT_SUM,
    fine_digit,
    function_features,
    knot_features,
    pair_sum,
    round_to_sum,
)
from lutkan.numerics.float32 import ACTIVATIONS

__all__ = ["CodeGrid", "Glue", "IntegerFeatures", "code_features", "integer_features", "spline_knots"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Glue = Affine | LayerNorm | Activation
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
class IntegerFeatures:
    """The features of a branch, by code, as the integers that tables hold.

    Attributes
    ----------
    values : int64 [in or 1, 2^bits, rows]
        0 to 255; with 16-bit coefficients up to 4096, with fine features below `256 * fine_digit(coefficient bits)`.
    scale : float
    zero : int
        A feature is about `scale * (values - zero)`.
    function : str or None
        The function that they follow from, in units of `scale`: a table need not hold them.
    """

    values: I64
    scale: float
    zero: int
    function: str | None = None

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
    function = _float32_function(bank.basis, scale) if not pre and inner is None else None
    if function is not None:
        unit = float(np.float32(scale))
        found = function_features(function, grid.points(), unit, zero, top)
        return IntegerFeatures(found.reshape(1, -1, 1), unit, zero, function)
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


def _float32_function(basis: Basis, scale: float) -> str | None:
    """Return the name of a function whose features of such a scale tables compute themselves, or None."""
    if not isinstance(basis, NamedFunction) or basis.name not in ACTIVATIONS:
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
