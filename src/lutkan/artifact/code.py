"""Tables addressed by the code of an input, and the integer step from sums to the codes of the next layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import checks
from lutkan.artifact.basis import IntegerRows, check_bounds
from lutkan.numerics.fixed_point import WEIGHT_SUM, fine_digit, function_features, knot_features

__all__ = ["MAX_CODE_FEATURES", "CodeTable", "QuantizeOp", "Requantization"]

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
#: Features that the code tables of a program unfold to, inputs times codes times rows.
MAX_CODE_FEATURES = 1 << 26
# Features that are computed from knots at a time: some arrays of 64-bit numbers.
_UNFOLDED_AT_ONCE = 1 << 17


def _check_grid(where: str, bits: object, low: object, step: object, coded: object) -> None:
    checks.integer(f"{where}.bits", bits, 2, 8)
    if not isinstance(low, float) or not abs(low) <= 1e30:
        checks.fail(f"{where}.low", f"is {low!r}", "a number from -1e30 to 1e30")
    if not isinstance(step, float) or not 1e-30 < step < 1e30:
        checks.fail(f"{where}.step", f"is {step!r}", "a number from 1e-30 to 1e30")
    if not isinstance(coded, bool):
        checks.fail(f"{where}.coded", f"is {coded!r}", "true or false")


def _position(low: float, step: float, coded: bool) -> tuple[np.float32, np.float32]:
    if coded:
        return np.float32(0.0), np.float32(1.0)
    return np.float32(low - step / 2), np.float32(1.0 / step)


@dataclass(frozen=True, eq=False)
class QuantizeOp:
    """Round every feature to the nearest number that has a code (docs/spec/semantics.md section 3).

    Attributes
    ----------
    features : int
    bits : int
        2 to 8.
    low, step : float
        Code `c` is the number `step * c + low`.
    coded : bool
        Whether the features are codes already, and only take their numbers.
    """

    features: int
    bits: int
    low: float
    step: float
    coded: bool
    op: ClassVar[str] = "quantize"

    def __post_init__(self) -> None:
        checks.integer("quantize.features", self.features, 1, checks.MAX_FEATURES)
        _check_grid("quantize", self.bits, self.low, self.step, self.coded)

    @property
    def shape(self) -> tuple[int, int]:
        return self.features, self.features

    @property
    def position(self) -> tuple[np.float32, np.float32]:
        """(low, inverse): a code is `(x - low) * inverse`, clamped and rounded down."""
        return _position(self.low, self.step, self.coded)


@dataclass(frozen=True, eq=False)
class CodeTable(IntegerRows):
    """Coefficient rows whose integer weights, the features, are looked up by the code of an input.

    All rows are used at every code (docs/spec/semantics.md section 5.5). The features are stored, or follow from knots
    or from a function.

    Attributes
    ----------
    bits : int
        2 to 8: there are `2^bits` codes.
    low, step : float
        Code `c` is the number `step * c + low`.
    coded : bool
        Whether inputs are codes already: the layer before is requantized.
    zero : int
        What stands for a feature of 0.
    features : uint8 or int16 [in or 1, 2^bits, rows] or None
        uint8 with coefficients of 8 bits and fewer, int16 with 16 bits. A table of one row with coefficients of 2 to 6
        bits may have int16 as well: fine features, below `256 * fine_digit(coefficient_bits)`.
    degree, knots : int, float32 [in or 1, rows + degree + 1], or None
        B-splines: their features follow from the knots, and `zero` is 0.
    function, unit : str, float, or None
        One feature an input that is a function's value, in units of the float32 number `unit`; fine with coefficients
        of 2 to 6 bits.
    """

    bits: int
    low: float
    step: float
    coded: bool
    zero: int
    features: NDArray[np.uint8] | NDArray[np.int16] | None
    degree: int | None
    knots: F32 | None
    function: str | None = None
    unit: float | None = None
    op: ClassVar[str] = "code"
    added: ClassVar[tuple[str, ...]] = ("function", "unit")
    packed_bits: ClassVar[tuple[int, ...]] = (2, 3, 4, 5, 6, 7)

    def __post_init__(self) -> None:
        where = "code"
        self._check_rows(where)
        _check_grid(where, self.bits, self.low, self.step, self.coded)
        kernel = self.kernel_bits
        checks.integer(f"{where}.zero", self.zero, 0, self._top)
        given = [self.features is not None, self.knots is not None, self.function is not None]
        if (self.degree is None) != (self.knots is None) or (self.unit is None) != (self.function is None):
            checks.fail(f"{where}", "has degree or knots, function or unit alone", "both or neither")
        if sum(given) != 1:
            checks.fail(f"{where}.features", "or degree and knots are absent, or more than one is there", "one of them")
        if self.knots is not None:
            self._check_knots(where)
        elif self.function is not None:
            checks.choice(f"{where}.function", self.function, checks.ACTIVATIONS)
            checks.integer(f"{where}.rows", self.rows, 1, 1)
            if not isinstance(self.unit, float) or not 1e-30 < self.unit < 1e30:
                checks.fail(f"{where}.unit", f"is {self.unit!r}", "a number from 1e-30 to 1e30")
        else:
            dtype = "int16" if kernel == 16 or self.digit > 1 else "uint8"
            checks.array(f"{where}.features", self.features, dtype, (None, 1 << self.bits, self.rows))
        unfolded = math.prod(self.unfolded_shape)
        if unfolded > MAX_CODE_FEATURES:
            checks.fail(f"{where}", f"unfolds to {unfolded} features", f"at most {MAX_CODE_FEATURES}")
        if self.unfolded_shape[0] not in (1, self.in_features):
            checks.fail(f"{where}.features", "do not fit the inputs", f"1 or {self.in_features} of them")
        if self.features is not None and self.features.size and self.features.min() < 0:
            checks.fail(f"{where}.features", "are negative", "0 and above")
        if self.digit == 1:
            check_bounds(where, self._most, 0, kernel, self.in_features)
        elif self.features is not None and self.features.max(initial=0) > self._top:
            # Fine features keep sums within int32 for as many inputs as a table may have.
            checks.fail(f"{where}.features", f"of up to {self.features.max()}", f"at most {self._top}")

    def _check_knots(self, where: str) -> None:
        checks.integer(f"{where}.degree", self.degree, 1, 3)
        degree = int(self.degree or 0)
        checks.array(f"{where}.knots", self.knots, "float32", (None, self.rows + degree + 1))
        knots = np.asarray(self.knots)
        with np.errstate(over="ignore"):
            steps, span = np.diff(knots, axis=1), knots[:, -1] - knots[:, 0]
            finite = np.isfinite(knots[:, 0] - degree * span) & np.isfinite(knots[:, -1] + degree * span)
        if not (((steps > 0).all(axis=1) | (span == 0)).all() and finite.all()):
            checks.fail(f"{where}.knots", "are not strictly ascending, or too large", "ascending knots")
        if self.zero != 0:
            checks.fail(f"{where}.zero", f"is {self.zero} beside knots", "0")

    @property
    def digit(self) -> int:
        """The base of the two digits of fine features (`lutkan.numerics.fixed_point.fine_digit`); 1 for others."""
        stored = self.rows == 1 and self.features is not None and np.asarray(self.features).dtype == np.int16
        return fine_digit(self.coefficient_bits) if stored or self.function is not None else 1

    @property
    def _top(self) -> int:
        """The largest feature."""
        return WEIGHT_SUM[16] if self.kernel_bits == 16 else 256 * self.digit - 1

    @property
    def unfolded_shape(self) -> tuple[int, int, int]:
        """Shape of `weights`, [in or 1, 2^bits, rows]."""
        stored = self.features if self.features is not None else self.knots
        return 1 if stored is None else len(stored), 1 << self.bits, self.rows

    @property
    def position(self) -> tuple[np.float32, np.float32]:
        """(low, inverse): a code is `(x - low) * inverse`, clamped and rounded down."""
        return _position(self.low, self.step, self.coded)

    @property
    def points(self) -> F32:
        """The numbers of the codes, float32 [2^bits]."""
        return np.float32(self.step) * np.arange(1 << self.bits, dtype=np.float32) + np.float32(self.low)

    @cached_property
    def weights(self) -> NDArray[np.uint8] | NDArray[np.int16]:
        """The features, [in or 1, 2^bits, rows]."""
        if self.features is not None:
            return self.features
        if self.function is not None:
            values = function_features(self.function, self.points, float(self.unit or 1.0), self.zero, self._top)
            small = self.kernel_bits == 8 and self.digit == 1
            values = values.reshape(self.unfolded_shape)
            return values.astype(np.uint8) if small else values.astype(np.int16)
        knots, total = np.asarray(self.knots), WEIGHT_SUM[self.kernel_bits]
        found: NDArray[Any] = np.empty(self.unfolded_shape, dtype=np.int16 if self.kernel_bits == 16 else np.uint8)
        step = max(1, _UNFOLDED_AT_ONCE // math.prod(self.unfolded_shape[1:]))
        for start in range(0, len(knots), step):
            part = knots[start : start + step]
            found[start : start + step] = knot_features(part, int(self.degree or 0), self.points, total)
        return found

    @cached_property
    def _most(self) -> int:
        """What the absolute values of an input's weights, or of their zero points, sum to at most."""
        if self.knots is not None:
            return WEIGHT_SUM[self.kernel_bits]
        return int(np.maximum(self.weights.astype(np.int64), self.zero).sum(axis=2).max(initial=0))

    @property
    def sum_bound(self) -> int:
        """What no integer sum of the table exceeds in absolute value."""
        largest = 32767 if self.kernel_bits == 16 else 1 << (self.coefficient_bits - 1) if self.digit > 1 else 127
        return self._most * self.in_features * largest


@dataclass(frozen=True, eq=False)
class Requantization:
    """From the integer sums of a layer's tables to the codes of the next layer's inputs.

    `code = clamp((sum over branches of acc * multiplier + offset) >> shift, 0, 2^bits - 1)`, in 64-bit integers that
    follow from the tables' scales and the layer's bias (docs/spec/semantics.md section 5.5).

    Attributes
    ----------
    bits : int
        2 to 8.
    low, step : float
        Code `c` is the number `step * c + low`.
    shift : int
        0 to 62.
    """

    bits: int
    low: float
    step: float
    shift: int
    op: ClassVar[str] = "requantize"

    def __post_init__(self) -> None:
        _check_grid("requantize", self.bits, self.low, self.step, False)
        checks.integer("requantize.shift", self.shift, 0, 62)

    def integers(
        self, tables: Sequence[CodeTable], bias: F32 | None, outputs: NDArray[np.int32] | None, out_features: int
    ) -> tuple[I64, I64]:
        """Return the integers of a layer.

        Parameters
        ----------
        tables : sequence of CodeTable
            A branch each.
        bias : float32 [out_features] or None
        outputs : int32 [live outputs] or None
            Where the tables' sums go.
        out_features : int

        Returns
        -------
        multipliers : int64 [branches, live outputs]
            Below 2^30 in size.
        offset : int64 [out_features]

        Raises
        ------
        ArtifactError
            A multiplier is too large, or 64-bit sums could overflow.
        """
        unit = 2.0**self.shift
        with np.errstate(over="ignore"):
            factors = np.rint(np.stack([table.scale.astype(np.float64) / self.step * unit for table in tables]))
            start = np.zeros(out_features) if bias is None else bias.astype(np.float64)
            start = np.rint(((start - self.low) / self.step + 0.5) * unit)
        peaks = np.abs(factors).max(axis=1)
        if not peaks.max() < 1 << 30:
            checks.fail("requantize", f"gives a multiplier of {peaks.max():.6g}", "less than 2^30 in size")
        if not np.abs(start).max() < 2.0**62:
            checks.fail("requantize", f"gives an offset of {np.abs(start).max():.6g}", "less than 2^62 in size")
        live = start if outputs is None else start[outputs]
        most = sum(table.sum_bound * int(peak) for table, peak in zip(tables, peaks, strict=True))
        if most + int(np.abs(live).max()) >= 1 << 63:
            checks.fail("requantize", f"gives sums of up to {most + int(np.abs(live).max())}", "below 2^63")
        return factors.astype(np.int64), start.astype(np.int64)
