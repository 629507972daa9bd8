"""Unquantized spline rows: float32 coefficients, weights computed from the offset in the interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import checks

__all__ = ["SplineTable"]

F32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SplineTable:
    """Uniform B-spline rows of degree 1 to 3 in float32 (docs/spec/semantics.md section 6).

    `v = (x - low) * inverse` is clamped to `[0, segments]`; its integer part gives the segment `s`, the rest the offset
    `u`, from which the weights of the rows `s - shift + t`, `t = 0 .. degree`, follow.

    Attributes
    ----------
    segments, degree : int
    shift : int
        `degree` where the table runs down to zero on both sides, 0 elsewhere.
    outside : {"hold", "linear"}
        Beyond the segments: the border's value, or the border's slope on.
    low, inverse : float32 [in or 1]
        Left end, and intervals a unit of x.
    rows : float32 [in, segments + degree - 2 shift, out]
    """

    segments: int
    degree: int
    shift: int
    outside: str
    low: F32
    inverse: F32
    rows: F32
    op: ClassVar[str] = "spline"

    def __post_init__(self) -> None:
        where = "spline"
        checks.integer(f"{where}.segments", self.segments, 1, 65536)
        checks.integer(f"{where}.degree", self.degree, 1, 3)
        if isinstance(self.shift, bool) or self.shift not in (0, self.degree):
            checks.fail(f"{where}.shift", f"is {self.shift!r}", f"0 or {self.degree}")
        checks.choice(f"{where}.outside", self.outside, ("hold", "linear"))
        if self.outside == "linear" and self.shift != 0:
            checks.fail(f"{where}.outside", "is linear for a table that runs down to zero", "shift 0")
        count = self.segments + self.degree - 2 * self.shift
        if count < 1:
            checks.fail(f"{where}.segments", f"is {self.segments}", "enough for one row")
        checks.array(f"{where}.rows", self.rows, "float32", (None, count, None))
        checks.array(f"{where}.low", self.low, "float32", (None,))
        checks.array(f"{where}.inverse", self.inverse, "float32", self.low.shape)
        if min(self.rows.shape) < 1 or self.low.size not in (1, self.rows.shape[0]) or not (self.inverse > 0).all():
            checks.fail(
                f"{where}.low", "does not fit the inputs, or inverse is not positive", "1 entry or one an input"
            )

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.shape[0], self.rows.shape[2]

    @property
    def slope(self) -> tuple[int, float]:
        """Slope at a border of a spline that goes on: (distance in rows, factor an interval)."""
        return (2, 0.5) if self.degree == 3 else (1, 1.0)
