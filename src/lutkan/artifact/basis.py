"""Integer tables: basis rows with tabulated weights, and the integer product of a base branch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import checks
from lutkan.numerics.fixed_point import MAX_INPUTS_INT8, PAIR_SUM, WEIGHT_SUM, padded_knots, unpack_codes

__all__ = ["BasisTable", "IntegerRows", "KnotTable", "ProductTable", "RadialTable", "check_bounds"]

F32 = NDArray[np.float32]


def _coefficients(
    where: str, q: object, bits: object, shape: tuple[int, ...], packed: tuple[int, ...] = (2, 3, 4)
) -> None:
    """Check stored coefficients: int16, int8, or fewer bits packed into uint8."""
    checks.integer(f"{where}.coefficient_bits", bits, 2, 16)
    if bits == 16:
        checks.array(f"{where}.q", q, "int16", shape)
        low = np.iinfo(np.int16).min
    elif bits == 8:
        checks.array(f"{where}.q", q, "int8", shape)
        low = -128
    elif bits in packed and isinstance(bits, int):
        size = int(np.prod(shape, dtype=np.int64))
        checks.array(f"{where}.q", q, "uint8", ((size * bits + 7) // 8,))
        return
    else:
        checks.fail(f"{where}.coefficient_bits", f"is {bits}", ", ".join(map(str, (*packed, 8, 16))))
        return
    if isinstance(q, np.ndarray) and q.size and q.min() == low:
        checks.fail(f"{where}.q", f"holds {low}", "codes that are symmetric about zero")


def _unpacked(q: NDArray[Any], bits: int, shape: tuple[int, ...]) -> NDArray[Any]:
    return q if bits >= 8 else unpack_codes(q, bits, shape)


def _inputs(where: str, count: int, kernel: int) -> None:
    # int16 products are added into int64 every 16 inputs; MAX_FEATURES is far below what that could overflow.
    if kernel == 8 and count > MAX_INPUTS_INT8:
        checks.fail(where, f"{count} inputs", f"at most {MAX_INPUTS_INT8}, so that int32 sums cannot overflow")


@dataclass(frozen=True, eq=False)
class IntegerRows:
    """Integer coefficient rows, a stack of them an input; what all basis tables share.

    An encoding gives every input a segment `s` and integer weights `w[t]` of the rows `s - shift + t`; rows that are
    not stored are zero. Products are summed over inputs and taps as integers and scaled once an output.

    Attributes
    ----------
    in_features, out_features, rows : int
    coefficient_bits : int
        16, 8, or fewer bits (`packed_bits`), packed along the flat order.
    q : int16 or int8 [in, rows, out], or uint8 of packed codes
    scale : float32 [out]
        Value of one unit of the integer sum.
    """

    in_features: int
    out_features: int
    rows: int
    coefficient_bits: int
    q: NDArray[Any]
    scale: F32
    packed_bits: ClassVar[tuple[int, ...]] = (2, 3, 4)

    def _check_rows(self, where: str) -> None:
        for name in ("in_features", "out_features"):
            checks.integer(f"{where}.{name}", getattr(self, name), 1, checks.MAX_FEATURES)
        checks.integer(f"{where}.rows", self.rows, 1, 65536)
        shape = (self.in_features, self.rows, self.out_features)
        _coefficients(where, self.q, self.coefficient_bits, shape, self.packed_bits)
        _inputs(where, self.in_features, self.kernel_bits)
        checks.array(f"{where}.scale", self.scale, "float32", (self.out_features,))

    @property
    def kernel_bits(self) -> int:
        """8 or 16: the integers that the kernels multiply."""
        return 16 if self.coefficient_bits == 16 else 8

    @property
    def shape(self) -> tuple[int, int]:
        return self.in_features, self.out_features

    @cached_property
    def coefficients(self) -> NDArray[np.int8] | NDArray[np.int16]:
        """Unpacked coefficients, [in, rows, out]."""
        return _unpacked(self.q, self.coefficient_bits, (self.in_features, self.rows, self.out_features))


def _check_sums(where: str, weights: NDArray[Any], kernel: int, n_in: int) -> None:
    """Check what keeps the kernels from overflowing: weight rows [n, taps], taps a multiple of 4."""
    weights = weights.astype(np.int64)
    if (weights < 0).any():
        checks.fail(f"{where}.weights", "are negative", "0 and above")
    pair = int(weights.reshape(len(weights), -1, 2).sum(axis=2).max())
    check_bounds(where, int(weights.sum(axis=1).max()), pair, kernel, n_in)


def check_bounds(where: str, total: int, pair: int, kernel: int, n_in: int) -> None:
    """Check the largest sum of a weight row, and of two weights that meet in one instruction."""
    if kernel == 8 and pair > PAIR_SUM:
        checks.fail(f"{where}.weights", "of a pair sum to too much", f"at most {PAIR_SUM}")
    limit = (2**31 - 1) // (127 * n_in) if kernel == 8 else (2**31 - 1) // (16 * 32767)
    if total > limit:
        checks.fail(f"{where}.weights", f"sum to {total}, so that an int32 sum could overflow", f"at most {limit}")


@dataclass(frozen=True, eq=False)
class BasisTable(IntegerRows):
    """Uniform B-spline rows of degree 1 to 3 (docs/spec/semantics.md section 5).

    A position `p = floor(clamp((x - low) * inverse, 0, segments * 2^position_bits - 1))` gives the segment
    `p >> position_bits` and the weights `weights[p mod 2^position_bits]`.

    Attributes
    ----------
    segments : int
    position_bits : int
    degree : int
    shift : int
        `degree` where the table runs down to zero on both sides, 0 elsewhere.
    outside : {"hold", "linear"}
        Beyond the positions: the border's value (zero where the table runs down to zero), or the border's slope on.
    low, inverse : float32 [in or 1]
        Left end of the positions, and positions a unit of x.
    weights : uint8 or int16 [2^position_bits, 4]
        uint8 with coefficients of 8 bits and fewer, int16 with 16 bits.
    base : str or None
        Function that is folded into the rows by a spline fit.
    base_q : int8 or int16 [in, out] or None
    base_scale : float32 [out] or None
        The function's weights are `base_q * base_scale`.
    base_rows : float32 [in or 1, rows] or None
        Rows of the fit, divided by what a weight row sums to.
    fold_low, fold_high : float32 [in or 1] or None
        Where the fit holds; beyond, function - fit is added in float32.
    """

    segments: int
    position_bits: int
    degree: int
    shift: int
    outside: str
    low: F32
    inverse: F32
    weights: NDArray[np.uint8] | NDArray[np.int16]
    base: str | None
    base_q: NDArray[np.int8] | NDArray[np.int16] | None
    base_scale: F32 | None
    base_rows: F32 | None
    fold_low: F32 | None
    fold_high: F32 | None
    op: ClassVar[str] = "basis"
    taps: ClassVar[int] = 4

    def __post_init__(self) -> None:
        where = "basis"
        self._check_rows(where)
        n_in, n_out = self.shape
        checks.integer(f"{where}.segments", self.segments, 1, 65536)
        checks.integer(f"{where}.position_bits", self.position_bits, 0, 12)
        checks.integer(f"{where}.degree", self.degree, 1, 3)
        if isinstance(self.shift, bool) or self.shift not in (0, self.degree):
            checks.fail(f"{where}.shift", f"is {self.shift!r}", f"0 or {self.degree}")
        if self.rows != self.segments + self.degree - 2 * self.shift:
            checks.fail(f"{where}.rows", f"is {self.rows}", "segments + degree - 2 shift")
        checks.choice(f"{where}.outside", self.outside, ("hold", "linear"))
        if self.outside == "linear" and self.shift != 0:
            checks.fail(f"{where}.outside", "is linear for a table that runs down to zero", "shift 0")
        if self.segments << self.position_bits > 1 << 24:
            checks.fail(f"{where}.segments", "and position_bits give too many positions", "at most 2^24 positions")
        checks.array(f"{where}.low", self.low, "float32", (None,))
        checks.array(f"{where}.inverse", self.inverse, "float32", self.low.shape)
        if self.low.size not in (1, n_in) or not (self.inverse > 0).all():
            checks.fail(f"{where}.low", "does not fit the inputs, or inverse is not positive", f"1 or {n_in} entries")
        kernel = self.kernel_bits
        checks.array(
            f"{where}.weights", self.weights, "int16" if kernel == 16 else "uint8", (1 << self.position_bits, 4)
        )
        _check_sums(where, self.weights, kernel, n_in)
        self._check_base(where, n_in, n_out)

    def _check_base(self, where: str, n_in: int, n_out: int) -> None:
        optional = (self.base_q, self.base_scale, self.base_rows, self.fold_low, self.fold_high)
        if self.base is None:
            if any(value is not None for value in optional):
                checks.fail(f"{where}.base", "is absent, but parts of it are not", "all or none")
            return
        checks.choice(f"{where}.base", self.base, checks.ACTIVATIONS)
        if self.outside != "hold":
            checks.fail(f"{where}.base", "is folded into a table with linear tails", 'outside = "hold"')
        checks.array(f"{where}.base_q", self.base_q, ("int8", "int16"), (n_in, n_out))
        checks.array(f"{where}.base_scale", self.base_scale, "float32", (n_out,))
        checks.array(f"{where}.base_rows", self.base_rows, "float32", (None, self.rows))
        checks.array(f"{where}.fold_low", self.fold_low, "float32", (None,))
        checks.array(f"{where}.fold_high", self.fold_high, "float32", (None,))
        sizes = {len(array) for array in (self.base_rows, self.fold_low, self.fold_high) if array is not None}
        if not sizes <= {1, n_in}:
            checks.fail(f"{where}.base", "does not fit the inputs", f"1 or {n_in} rows")

    @property
    def slope(self) -> tuple[int, float]:
        """Slope at a border of a spline that goes on: (distance in rows, factor a position and weight unit)."""
        per_position = WEIGHT_SUM[self.kernel_bits] / (1 << self.position_bits)
        return (2, per_position / 2) if self.degree == 3 else (1, per_position)


@dataclass(frozen=True, eq=False)
class KnotTable(IntegerRows):
    """B-spline rows on knots of any spacing, of their own for every input (pykan's adapted grids).

    The segment is found by comparison with the knots; the weights follow from the knots in float32 and are rounded so
    that each row of them sums to 255 (4096 with 16 bits). Zero beyond the knots.

    Attributes
    ----------
    degree : int
    knots : float32 [in or 1, rows + degree + 1]
        Strictly ascending, or all equal for an input whose splines are zero.
    """

    degree: int
    knots: F32
    op: ClassVar[str] = "knots"
    taps: ClassVar[int] = 4

    def __post_init__(self) -> None:
        where = "knots"
        self._check_rows(where)
        checks.integer(f"{where}.degree", self.degree, 1, 3)
        checks.array(f"{where}.knots", self.knots, "float32", (None, self.rows + self.degree + 1))
        if len(self.knots) not in (1, self.in_features):
            checks.fail(f"{where}.knots", f"has {len(self.knots)} rows", f"1 or {self.in_features}")
        with np.errstate(over="ignore"):
            steps, span = np.diff(self.knots, axis=1), self.knots[:, -1] - self.knots[:, 0]
            padded = self.padded_knots
        if not (((steps > 0).all(axis=1) | (span == 0)).all() and np.isfinite(padded).all()):
            checks.fail(f"{where}.knots", "are not strictly ascending, or too large", "ascending knots")
        sums = np.full((1, 4), 0)
        sums[0, 0] = WEIGHT_SUM[self.kernel_bits]
        _check_sums(where, sums, self.kernel_bits, self.in_features)

    @property
    def segments(self) -> int:
        """Number of intervals between the knots."""
        return self.knots.shape[1] - 1

    @property
    def shift(self) -> int:
        """Rows before the first one that a segment may ask for."""
        return self.degree

    @property
    def padded_knots(self) -> F32:
        """Knots with `degree` more on both sides, a span apart each: they only feed rows that do not exist."""
        return padded_knots(self.knots, self.degree)


@dataclass(frozen=True, eq=False)
class RadialTable(IntegerRows):
    """Coefficients of evenly spaced bumps of one shape, all of them used at every position (fast-kan, faster-kan).

    A position `p = floor(clamp((x - low) * inverse, 0, positions - 1))` gives the weights
    `w[t] = profile[p - stride * t]`, `t = 0 .. rows - 1`, zero beyond the profile. The bump is symmetric and falls to
    both sides, so its left half is stored, as steps up: `profile[j] = steps[0] + .. + steps[j]`, and the right half is
    the left one in reverse.

    Attributes
    ----------
    low, inverse : float32 [1]
    positions, stride : int
    profile_steps : uint8 or uint16 [size / 2]
    """

    low: F32
    inverse: F32
    positions: int
    stride: int
    profile_steps: NDArray[np.uint8] | NDArray[np.uint16]
    op: ClassVar[str] = "radial"
    segments: ClassVar[int] = 1
    shift: ClassVar[int] = 0

    def __post_init__(self) -> None:
        where = "radial"
        self._check_rows(where)
        checks.array(f"{where}.low", self.low, "float32", (1,))
        checks.array(f"{where}.inverse", self.inverse, "float32", (1,))
        if not (self.inverse > 0).all():
            checks.fail(f"{where}.inverse", "is not positive", "a positive number")
        checks.integer(f"{where}.positions", self.positions, 1, 1 << 16)
        checks.integer(f"{where}.stride", self.stride, 1, 1 << 16)
        kernel = self.kernel_bits
        checks.array(f"{where}.profile_steps", self.profile_steps, ("uint8", "uint16"), (None,))
        if self.positions * self.taps > 1 << 22 or not 1 <= self.profile_steps.size <= 1 << 16:
            checks.fail(f"{where}.positions", "times rows is too large, or the profile is empty", "at most 2^22")
        top = 255 if kernel == 8 else 32767
        if int(self.profile_steps.sum(dtype=np.int64)) > top:
            checks.fail(f"{where}.profile_steps", "sum to too much", f"at most {top}")
        # Without making the weight rows, of which a small file may name very many.
        profile, span = self.profile.astype(np.int64), self.positions
        total = np.zeros(span, dtype=np.int64)
        pair = 0
        for t in range(min(self.rows, -(-span // self.stride))):
            part = total[t * self.stride : t * self.stride + profile.size]
            part += profile[: part.size]
            if t < 2:
                pair = int(total.max())
        check_bounds(where, int(total.max()), pair, kernel, self.in_features)

    @property
    def taps(self) -> int:
        """Weights a position: the rows, rounded up to a multiple of 4."""
        return -(-self.rows // 4) * 4

    @cached_property
    def profile(self) -> NDArray[np.uint8] | NDArray[np.int16]:
        """The bump, sampled at the centre of every position: uint8 with 8-bit kernels, int16 with 16-bit ones."""
        rising = np.cumsum(self.profile_steps, dtype=np.int64)
        whole = np.concatenate([rising, rising[::-1]])
        return whole.astype(np.int16) if self.kernel_bits == 16 else whole.astype(np.uint8)

    @cached_property
    def weights(self) -> NDArray[np.uint8] | NDArray[np.int16]:
        """All weight rows, [positions, taps]."""
        index = np.arange(self.positions)[:, None] - self.stride * np.arange(self.rows)
        inside = (index >= 0) & (index < self.profile.size)
        weights = np.where(inside, self.profile[np.clip(index, 0, self.profile.size - 1)], 0)
        padded = np.pad(weights, ((0, 0), (0, self.taps - self.rows)))
        return padded.astype(np.int16) if self.kernel_bits == 16 else padded.astype(np.uint8)


@dataclass(frozen=True, eq=False)
class ProductTable:
    """An analytic branch in integers: `sum_i q[i, o] * (code(function(x_i)) - zero)`, scaled once an output.

    `code = floor(v)`, `v = function(x) * (1 / step) + (zero + 0.5)`; where `v` lies outside of `[0, levels)` the code
    is `zero` and the function's value is added in float32.

    Attributes
    ----------
    in_features, out_features : int
    function : str
    levels : int
        128 with coefficients of 8 bits and fewer, 4096 with 16 bits.
    zero : int
    step : float
    coefficient_bits : int
    q : int16 or int8 [in, out], or uint8 of packed codes
    scale : float32 [out]
        Value of one unit of `q`; the integer sum is scaled by `scale * step`.
    """

    in_features: int
    out_features: int
    function: str
    levels: int
    zero: int
    step: float
    coefficient_bits: int
    q: NDArray[Any]
    scale: F32
    op: ClassVar[str] = "base_product"

    def __post_init__(self) -> None:
        where = "base_product"
        for name in ("in_features", "out_features"):
            checks.integer(f"{where}.{name}", getattr(self, name), 1, checks.MAX_FEATURES)
        checks.choice(f"{where}.function", self.function, checks.ACTIVATIONS)
        _coefficients(where, self.q, self.coefficient_bits, (self.in_features, self.out_features))
        kernel = self.kernel_bits
        checks.integer(f"{where}.levels", self.levels, 2, 128 if kernel == 8 else 4096)
        checks.integer(f"{where}.zero", self.zero, 0, self.levels - 1)
        if not isinstance(self.step, float) or not 1e-30 < self.step < 1e30:
            checks.fail(f"{where}.step", f"is {self.step!r}", "a number from 1e-30 to 1e30")
        _inputs(where, self.in_features, kernel)
        checks.array(f"{where}.scale", self.scale, "float32", (self.out_features,))

    @property
    def kernel_bits(self) -> int:
        """8 or 16: the integers that the kernels multiply."""
        return 16 if self.coefficient_bits == 16 else 8

    @property
    def shape(self) -> tuple[int, int]:
        return self.in_features, self.out_features

    @cached_property
    def coefficients(self) -> NDArray[np.int8] | NDArray[np.int16]:
        """Unpacked coefficients, [in, out]."""
        return _unpacked(self.q, self.coefficient_bits, (self.in_features, self.out_features))
