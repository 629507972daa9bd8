"""IR edges -> integer basis tables: exact rows for uniform B-splines, own coefficients for radial bases, projection.

Three ways into one form (docs/spec/semantics.md section 5). Uniform B-splines keep their coefficients. Radial
functions keep theirs too, with the whole basis tabulated by position. Everything else is projected on a uniform cubic
spline by least squares. A base branch on the same input may be folded into B-spline rows: a spline fits it where the
inputs are, and beyond that the runtimes add the difference in float32, so that the model's answer holds everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact.basis import BasisTable, KnotTable, ProductTable, RadialTable
from lutkan.artifact.spline import SplineTable
from lutkan.errors import SpecError
from lutkan.ir import RSWAF, Activation, BSpline, EdgeBank, GaussianRBF, NamedFunction, PiecewiseLinear
from lutkan.numerics import bspline, functions
from lutkan.numerics.fixed_point import MAX_INPUTS_INT8, PAIR_SUM, WEIGHT_SUM, pack_codes, round_to_sum
from lutkan.tables.rounding import FIT_ROWS, Rounded, fit_codes, round_nearest
from lutkan.tables.segment import EdgeGroup, as_float32, require_float32_function
from lutkan.tables.spec import BasisSpec

__all__ = ["BasisValues", "quantize_basis", "quantize_product", "spread", "tabulate_basis", "will_fold"]

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]

# Intervals that a projection tries, until its residual is small beside the rounding of the coefficients.
_SEGMENTS = (16, 32, 64, 128, 256)
_PROJECTION_ERROR = {32: 1e-6, 16: 2e-5, 8: 1e-3, 4: 1e-2, 3: 2e-2, 2: 5e-2}
_UNIFORM = 1e-5
# Whoever asks for float32 rows does not expect a projection that is worse than 16 bits.
_FLOAT32_REFUSED = 1e-3
# Beyond these |x| a squashed input moves by less than 1.2e-5 (tanh) or 6e-6 (sigmoid) any more.
_SQUASH_DOMAIN = {"tanh": 6.0, "sigmoid": 12.0}
# A bump is tabulated down to this part of its peak: below half a step of 16-bit weights.
_BUMP_RATIO = 1e4
# Rows an input up to which codes are fitted unasked; the time grows with their cube.
_MOST_FITTED = 256
# Edges times calibration rows that a fit may take, and the fewest rows.
_FIT_WORK = 1 << 29
_FEWEST_FITTED = 256
# Rows that a folded base branch may add on each side, in multiples of the core grid's intervals.
_MOST_EXTENSION = 2
_FREE_EXTENSION = 2


@dataclass(frozen=True, eq=False)
class BasisValues:
    """Coefficients of a group of edges, before quantization.

    Attributes
    ----------
    low, width : float64 [in or 1]
        Left end of the positions and width of an interval (of the whole domain for a whole basis).
    segments, degree, shift : int
        As in `BasisTable`.
    outside : {"hold", "linear"}
    coefficients : float64 [in, rows, out]
    radial : GaussianRBF, RSWAF or None
        A basis of evenly spaced bumps that is tabulated whole.
    knots : float64 [in or 1, rows + degree + 1] or None
        Knots of any spacing; positions are not used then.
    base, base_weight, base_rows, fold : str, float64 [in, out], float64 [in or 1, rows], (float64, float64) or None
        A folded base branch: `base_rows` are the spline coefficients of its fit, `fold` where it holds.
    seen : float64 [N, in] or None
        Calibration rows that coefficients may be fitted to when they are rounded.
    """

    low: F64
    width: F64
    segments: int
    degree: int
    shift: int
    outside: str
    coefficients: F64
    radial: GaussianRBF | RSWAF | None = None
    knots: F64 | None = None
    base: str | None = None
    base_weight: F64 | None = None
    base_rows: F64 | None = None
    fold: tuple[F64, F64] | None = None
    seen: F64 | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.coefficients.shape[0], self.coefficients.shape[2]

    def evaluate(self, x: F64) -> F64:
        """Evaluate in float64 with unrounded weights, positions and coefficients: [N, in] -> [N, out]."""
        features = self.row_weights(x)
        if self.radial is not None or self.knots is not None:
            return features.reshape(len(x), -1) @ self.coefficients.reshape(-1, self.shape[1])
        v = (x - self.low) / self.width
        y = features.reshape(len(x), -1) @ self.coefficients.reshape(-1, self.shape[1])
        if self.outside == "linear":
            apart = 2 if self.degree == 3 else 1
            excess = np.minimum(v, 0.0), np.maximum(v - self.segments, 0.0)
            c = self.coefficients
            y = y + excess[0] @ ((c[:, apart] - c[:, 0]) / apart) + excess[1] @ ((c[:, -1] - c[:, -1 - apart]) / apart)
        if self.base is not None and self.base_weight is not None and self.fold is not None:
            beyond = (x < self.fold[0]) | (x > self.fold[1])
            rows = np.broadcast_to(np.asarray(self.base_rows), (x.shape[1], features.shape[2]))
            fit = np.einsum("nir,ir->ni", features, rows)
            y = y + np.where(beyond, functions.apply(self.base, x) - fit, 0.0) @ self.base_weight
        return y

    def row_weights(self, x: F64) -> F64:
        """Return what multiplies every row of coefficients: float64 [N, in] -> [N, in, rows]."""
        if self.knots is not None:
            return bspline.basis(x, self.knots, self.degree)
        if self.radial is not None:
            return self.radial.evaluate(x)
        return self._uniform_weights((x - self.low) / self.width)

    def of_input(self, i: int) -> BasisValues:
        """Return the values of one input alone, without its base branch."""
        low, width = (array[i : i + 1] if array.size > 1 else array for array in (self.low, self.width))
        knots = self.knots if self.knots is None or len(self.knots) == 1 else self.knots[i : i + 1]
        return replace(self, low=low, width=width, knots=knots, coefficients=self.coefficients[i : i + 1], base=None)

    def _uniform_weights(self, v: F64) -> F64:
        rows = self.coefficients.shape[1]
        clamped = np.clip(np.nan_to_num(v, nan=0.0), 0.0, self.segments)
        segment = np.minimum(np.floor(clamped).astype(np.int64), self.segments - 1)
        local = bspline.uniform_weights(clamped - segment, self.degree)
        padded = np.zeros((*v.shape, rows + 2 * self.degree))
        index = segment[..., None] + (self.degree - self.shift) + np.arange(self.degree + 1)
        np.put_along_axis(padded, index, local, axis=2)
        features = padded[:, :, self.degree : self.degree + rows]
        features[np.isnan(v)] = np.nan
        return features


def will_fold(group: EdgeGroup, base: EdgeBank, spec: BasisSpec) -> bool:
    """Tell whether the base branch goes into the rows of this group."""
    if spec.base == "apart" or spec.coefficient_bits == 32:
        return False
    splines = all(
        isinstance(b.bank, EdgeBank) and isinstance(b.bank.basis, BSpline) and not b.pre for b in group.branches
    )
    bank = group.branches[0].bank
    uniform = splines and isinstance(bank, EdgeBank) and isinstance(bank.basis, BSpline) and _is_uniform(bank.basis)
    possible = uniform and len(group.branches) == 1 and isinstance(base.basis, NamedFunction)
    if spec.base == "fold" and not possible:
        raise SpecError(
            f"{group.where}: BasisSpec.base = 'fold'",
            "'auto' or 'apart': only uniform B-splines of the same input take a base",
        )
    if possible and spec.base == "auto" and isinstance(bank, EdgeBank) and isinstance(bank.basis, BSpline):
        return _worth_folding(group, bank.basis, spec)
    return possible


def _worth_folding(group: EdgeGroup, basis: BSpline, spec: BasisSpec) -> bool:
    """Tell whether the rows reach the inputs almost as they are: then folding costs neither bytes nor accuracy."""
    knots = basis.extended_knots
    low, width = knots[:, 0], (knots[:, -1] - knots[:, 0]) / (knots.shape[1] - 1)
    return sum(_extension(group, basis, low, width, knots.shape[1] - 1, spec)) <= _FREE_EXTENSION


def tabulate_basis(
    group: EdgeGroup, base: EdgeBank | None, spec: BasisSpec, fixed: BasisTable | SplineTable | None = None
) -> BasisValues:
    """Bring a group of edges to basis rows.

    Parameters
    ----------
    group : EdgeGroup
    base : EdgeBank or None
        Base branch to fold into the rows.
    spec : BasisSpec
    fixed : BasisTable or SplineTable, optional
        A compiled table of the same edges: its positions are used, so that the result is its twin.

    Raises
    ------
    SpecError
        The edges are not finite on the domain, or the base function has no float32 form.
    """
    values = _tabulate(group, base, spec, fixed)
    return values if group.seen is None else replace(values, seen=group.seen[spread(len(group.seen), FIT_ROWS)])


def spread(count: int, most: int) -> NDArray[np.int64]:
    """Return the numbers of at most `most` rows out of `count`, evenly spread.

    Examples
    --------
    >>> spread(10, 4)
    array([0, 3, 6, 9])
    """
    return np.rint(np.linspace(0, count - 1, min(count, most))).astype(np.int64)


def _tabulate(
    group: EdgeGroup, base: EdgeBank | None, spec: BasisSpec, fixed: BasisTable | SplineTable | None
) -> BasisValues:
    bank = group.branches[0].bank
    own = isinstance(bank, EdgeBank) and len(group.branches) == 1 and not group.branches[0].pre
    tabulated = spec.coefficient_bits != 32  # float32 weights are computed, for uniform splines only
    if own and isinstance(bank, EdgeBank):
        if isinstance(bank.basis, BSpline):
            if _is_uniform(bank.basis) and 1 <= bank.basis.degree <= 3:
                return _exact_rows(group, bank, bank.basis, base, spec, fixed)
            if tabulated and 1 <= bank.basis.degree <= 3 and _has_usable_knots(bank.basis):
                return _knot_rows(bank, bank.basis)
        if tabulated and isinstance(bank.basis, (GaussianRBF, RSWAF)) and _is_even(bank.basis.centres):
            return _radial_rows(bank, bank.basis)
        if isinstance(bank.basis, PiecewiseLinear) and _is_even(bank.basis.points):
            points = bank.basis.points
            width = np.array([(points[-1] - points[0]) / (len(points) - 1)])
            return BasisValues(points[:1], width, len(points) - 1, 1, 0, "linear", bank.weights)
    if fixed is not None:
        low, width = _positions_of(fixed)
        return _project(group, low, width, fixed.segments, fixed.outside)[0]
    low, high, outside = _domain(group, spec)
    choices = (spec.segments,) if spec.segments is not None else _SEGMENTS
    values, error = _project(group, low, (high - low) / choices[0], choices[0], outside)
    for segments in choices[1:]:
        if error <= _PROJECTION_ERROR[spec.coefficient_bits]:
            break
        values, error = _project(group, low, (high - low) / segments, segments, outside)
    if spec.coefficient_bits == 32 and spec.segments is None and error > _FLOAT32_REFUSED:
        raise SpecError(
            f"{group.where}: {values.segments} uniform intervals miss an edge by {error:.2g} of its size",
            f"at most {_FLOAT32_REFUSED:g}",
            "knots of uneven spacing are kept as they are by int16 and int8; or pass BasisSpec(segments=...)",
        )
    return values


def _positions_of(table: BasisTable | SplineTable) -> tuple[F64, F64]:
    positions = 1 if isinstance(table, SplineTable) else 1 << table.position_bits
    return table.low.astype(np.float64), positions / table.inverse.astype(np.float64)


def _is_uniform(basis: BSpline) -> bool:
    steps = np.diff(basis.extended_knots, axis=1)
    mean = steps.mean(axis=1, keepdims=True)
    return bool((mean > 0).all() and (np.abs(steps - mean) <= _UNIFORM * mean).all())


def _exact_rows(
    group: EdgeGroup,
    bank: EdgeBank,
    basis: BSpline,
    base: EdgeBank | None,
    spec: BasisSpec,
    fixed: BasisTable | SplineTable | None,
) -> BasisValues:
    """Keep the coefficients of uniform B-splines; fold the base branch in, on as many rows as the inputs need."""
    knots = basis.extended_knots
    if (knots == knots[:1]).all():
        knots = knots[:1]
    degree, intervals = basis.degree, knots.shape[1] - 1
    low, width = knots[:, 0], (knots[:, -1] - knots[:, 0]) / intervals
    if base is None:
        return BasisValues(low, width, intervals, degree, degree, "hold", bank.weights)
    require_float32_function(group.where, base.basis.name)  # type: ignore[attr-defined]
    if fixed is not None:
        before = round(float(((low - _positions_of(fixed)[0]) / width).mean()))
        after = fixed.segments - intervals - before
    else:
        before, after = _extension(group, basis, low, width, intervals, spec)
    start = low - before * width
    segments = intervals + before + after
    coefficients = np.pad(bank.weights, ((0, 0), (before, after), (0, 0)))
    return _with_base(BasisValues(start, width, segments, degree, degree, "hold", coefficients), base)


def _extension(
    group: EdgeGroup, basis: BSpline, low: F64, width: F64, intervals: int, spec: BasisSpec
) -> tuple[int, int]:
    """Count the rows to add on each side, so that the fit of the base branch covers the calibrated inputs."""
    seen = group.covered(spec.cover, shared=True)
    if seen is None:
        return 0, 0
    degree, most = basis.degree, _MOST_EXTENSION * basis.intervals
    # All `degree + 1` rows are stored on the core grid; each row more on a side extends that by an interval.
    before = np.ceil(((low + degree * width) - seen[0]) / width - 1e-6).max()
    after = np.ceil((seen[1] - (low + (intervals - degree) * width)) / width - 1e-6).max()
    return int(np.clip(before, 0, most)), int(np.clip(after, 0, most))


def _with_base(values: BasisValues, base: EdgeBank) -> BasisValues:
    """Fold a base branch into rows: fit its function by the rows where all of an interval's rows are stored."""
    name = base.basis.name  # type: ignore[attr-defined]
    degree, rows = values.degree, values.coefficients.shape[1]
    cells = values.segments - 2 * values.shift
    u = (np.arange(cells * 16) + 0.5) / 16
    design = np.zeros((u.size, rows))
    cell = np.floor(u).astype(np.int64)
    np.put_along_axis(design, cell[:, None] + np.arange(degree + 1), bspline.uniform_weights(u - cell, degree), axis=1)
    start = values.low + values.shift * values.width
    points = start[:, None] + u * values.width[:, None]
    fit = functions.apply(name, points) @ np.linalg.pinv(design).T
    weight = base.weights[:, 0, :]
    coefficients = values.coefficients + fit[:, :, None] * weight[:, None, :]
    fold = (start, start + cells * values.width)
    return replace(values, coefficients=coefficients, base=name, base_weight=weight, base_rows=fit, fold=fold)


def _has_usable_knots(basis: BSpline) -> bool:
    """Tell whether every input's knots are strictly ascending in float32, or all equal (a spline that is zero)."""
    knots = basis.extended_knots.astype(np.float32)
    return bool(((np.diff(knots, axis=1) > 0).all(axis=1) | (np.ptp(knots, axis=1) == 0)).all())


def _is_even(points: F64) -> bool:
    steps = np.diff(points)
    return bool(len(steps) and (np.abs(steps - steps.mean()) <= _UNIFORM * abs(steps.mean())).all())


def _knot_rows(bank: EdgeBank, basis: BSpline) -> BasisValues:
    """Keep coefficients and knots as they are; inputs whose knots all coincide have a spline that is zero."""
    knots = basis.extended_knots.astype(np.float32).astype(np.float64)
    if (knots == knots[:1]).all():
        knots = knots[:1]
    nothing = np.zeros(1)
    return BasisValues(
        nothing, nothing + 1.0, knots.shape[1] - 1, basis.degree, basis.degree, "hold", bank.weights, knots=knots
    )


def _radial_rows(bank: EdgeBank, basis: GaussianRBF | RSWAF) -> BasisValues:
    """Keep the coefficients of a radial basis; its one bump is tabulated as far as it matters."""
    if isinstance(basis, GaussianRBF):
        reach = basis.width * np.sqrt(np.log(_BUMP_RATIO))
    else:
        reach = 0.5 * np.log(4 * _BUMP_RATIO) / abs(basis.inverse_width)
    low, high = basis.core()
    return BasisValues(low - reach, (high - low) + 2 * reach, 1, 0, 0, "hold", bank.weights, radial=basis)


def _domain(group: EdgeGroup, spec: BasisSpec) -> tuple[F64, F64, str]:
    """Choose the domain of a projection and what happens beyond it."""
    squashes = [
        next((s.name for s in b.pre[:1] if isinstance(s, Activation) and s.name in _SQUASH_DOMAIN), None)
        for b in group.branches
    ]
    outside = "hold" if all(squashes) else "linear"
    if spec.domain is not None:
        return np.array([spec.domain[0]]), np.array([spec.domain[1]]), outside
    if all(squashes):
        reach = np.array([max(_SQUASH_DOMAIN[name] for name in squashes if name)])
        return -reach, reach, outside
    supports = [b.bank.basis.support() for b in group.branches if isinstance(b.bank, EdgeBank) and not b.pre]
    if len(supports) == len(group.branches) and all(s is not None for s in supports):
        low = np.min([np.broadcast_to(s[0], group.in_features) for s in supports if s is not None], axis=0)
        high = np.max([np.broadcast_to(s[1], group.in_features) for s in supports if s is not None], axis=0)
        return low, np.where(high > low, high, low + 1.0), "hold"  # knots that all coincide: a spline that is zero
    if group.calibrated is None:
        raise SpecError(
            f"{group.where}: no domain to project on",
            "calibration rows or BasisSpec.domain",
            "pass calibration=X, or BasisSpec(domain=(low, high))",
        )
    low, high = group.calibrated
    margin = np.where(high > low, 0.02 * (high - low), 0.5 + 1e-3 * np.abs(low))
    return low - margin, high + margin, outside


def _project(group: EdgeGroup, low: F64, width: F64, segments: int, outside: str) -> tuple[BasisValues, float]:
    """Fit uniform cubic rows to the edges by least squares, 8 points an interval.

    Returns the rows, and the largest residual of an edge relative to the largest value of its output's edges.
    """
    n_in, n_out = group.in_features, group.branches[0].bank.out_features
    u = np.concatenate([[0.0], (np.arange(segments * 8) + 0.5) / 8, [segments]])
    cell = np.minimum(np.floor(u).astype(np.int64), segments - 1)
    design = np.zeros((u.size, segments + 3))
    np.put_along_axis(design, cell[:, None] + np.arange(4), bspline.uniform_weights(u - cell, 3), axis=1)
    solve = np.linalg.pinv(design)
    points = np.broadcast_to(low[:, None] + u * width[:, None], (n_in, u.size))
    coefficients = np.empty((n_in, segments + 3, n_out))
    peak, residual = np.zeros(n_out), np.zeros(n_out)
    step = max(1, (1 << 20) // (u.size * max(n_out, 16)))
    for first in range(0, n_in, step):
        inputs = np.arange(first, min(first + step, n_in))
        values = group.take(inputs, np.arange(n_out)).values(points[inputs], scaled=True)
        if not np.isfinite(values).all():
            i, row, o = (int(v) for v in np.argwhere(~np.isfinite(values))[0])
            raise SpecError(
                f"{group.where}: edge ({first + i}, {o}) is {values[i, row, o]} at x = {points[first + i, row]:.6g}",
                "edge functions that are finite on the domain",
                "choose a domain without the singularity: BasisSpec(domain=(low, high))",
            )
        coefficients[inputs] = np.matmul(solve, values)
        missed = np.abs(np.matmul(design, coefficients[inputs]) - values)
        peak = np.maximum(peak, np.abs(values).max(axis=(0, 1)))
        residual = np.maximum(residual, missed.max(axis=(0, 1)))
    error = float(np.max(residual / np.maximum(peak, 1e-300)))
    return BasisValues(low, width, segments, 3, 0, outside, coefficients), error


def quantize_basis(
    values: BasisValues, spec: BasisSpec, where: str, residual: F64 | None = None
) -> tuple[BasisTable | KnotTable | RadialTable | SplineTable, F64 | None]:
    """Round weights and coefficients to integers, a scale an output.

    Parameters
    ----------
    values : BasisValues
    spec : BasisSpec
    where : str
        Name of the layer, for messages.
    residual : float64 [N, out], optional
        What the layer's other tables are off on the calibration rows; fitted codes make it good.

    Returns
    -------
    BasisTable, KnotTable or RadialTable
        Or a SplineTable, whose coefficients are rounded to float32.
    float64 [N, out] or None
        What the layer's tables are off now; None where codes are not fitted.
    """
    n_in, n_out = values.shape
    if spec.coefficient_bits == 32:
        return _spline_table(values, where), None
    kernel = 16 if spec.coefficient_bits == 16 else 8
    if kernel == 8 and n_in > MAX_INPUTS_INT8:
        raise SpecError(f"{where}: {n_in} inputs", f"at most {MAX_INPUTS_INT8} with 8-bit coefficients")
    seen = _rows_to_fit(spec, values.seen, values.shape, values.coefficients.shape[1])
    if seen is not None:

        def row_weights(i: int) -> F64:
            return values.of_input(i).row_weights(seen[:, i : i + 1])[:, 0]

        rounded = fit_codes(values.coefficients, row_weights, spec.coefficient_bits, residual)
    else:
        rounded = round_nearest(values.coefficients, spec.coefficient_bits)
    rows = {
        "in_features": n_in,
        "out_features": n_out,
        "rows": values.coefficients.shape[1],
        "coefficient_bits": spec.coefficient_bits,
        "q": rounded.codes if spec.coefficient_bits >= 8 else pack_codes(rounded.codes, spec.coefficient_bits),
    }
    return _table(values, spec, rows, rounded.scale), rounded.residual


def _spline_table(values: BasisValues, where: str) -> SplineTable:
    return SplineTable(
        segments=values.segments,
        degree=values.degree,
        shift=values.shift,
        outside=values.outside,
        low=as_float32(values.low, f"{where} domain"),
        inverse=as_float32(1.0 / values.width, f"{where} domain"),
        rows=as_float32(values.coefficients, f"{where} coefficients"),
    )


def _rows_to_fit(spec: BasisSpec, seen: F64 | None, shape: tuple[int, int], rows: int) -> F64 | None:
    """Return the calibration rows that the codes of a table are fitted to, fewer for more edges; None to round."""
    worth_it = spec.coefficient_bits <= 8 and rows <= _MOST_FITTED
    if seen is None or not len(seen) or spec.rounding == "nearest" or (spec.rounding == "auto" and not worth_it):
        return None
    return seen[spread(len(seen), max(_FEWEST_FITTED, _FIT_WORK // (shape[0] * shape[1])))]


def _table(
    values: BasisValues, spec: BasisSpec, rows: dict[str, Any], scale: F64
) -> BasisTable | KnotTable | RadialTable:
    kernel = 16 if spec.coefficient_bits == 16 else 8
    if values.radial is not None:
        return _radial_table(values, values.radial, spec, rows, scale)
    unit = 1.0 / WEIGHT_SUM[kernel]
    rows["scale"] = (scale * unit).astype(np.float32)
    if values.knots is not None:
        return KnotTable(**rows, degree=values.degree, knots=values.knots.astype(np.float32))
    bits = spec.resolved_position_bits
    offsets = (np.arange(1 << bits) + 0.5) / (1 << bits)
    rounded = round_to_sum(bspline.uniform_weights(offsets, values.degree), WEIGHT_SUM[kernel])
    padded = np.pad(rounded, ((0, 0), (0, 4 - rounded.shape[1])))
    weights = padded.astype(np.int16) if kernel == 16 else padded.astype(np.uint8)
    base_q = base_scale = base_rows = fold_low = fold_high = None
    if values.base is not None and values.base_weight is not None and values.fold is not None:
        base = round_nearest(values.base_weight, kernel)
        base_q, base_scale = base.codes, base.scale.astype(np.float32)
        base_rows = (values.base_rows * unit).astype(np.float32)  # type: ignore[operator]
        fold_low, fold_high = (bound.astype(np.float32) for bound in values.fold)
    return BasisTable(
        **rows,
        segments=values.segments,
        position_bits=bits,
        degree=values.degree,
        shift=values.shift,
        outside=values.outside,
        low=values.low.astype(np.float32),
        inverse=((1 << bits) / values.width).astype(np.float32),
        weights=weights,
        base=values.base,
        base_q=base_q,
        base_scale=base_scale,
        base_rows=base_rows,
        fold_low=fold_low,
        fold_high=fold_high,
    )


def _radial_table(
    values: BasisValues, basis: GaussianRBF | RSWAF, spec: BasisSpec, rows: dict[str, Any], scale: F64
) -> RadialTable:
    """Tabulate one bump at positions that divide the distance of the centres."""
    kernel = 16 if spec.coefficient_bits == 16 else 8
    stride = 1 << max(0, spec.resolved_position_bits - 1)
    step = (basis.centres[-1] - basis.centres[0]) / (basis.size - 1) / stride
    reach = int(np.ceil((basis.centres[0] - values.low[0]) / step))
    alone = type(basis)(basis.centres[:1], basis.width if isinstance(basis, GaussianRBF) else basis.inverse_width)
    # Sampled at the centres of positions: the bump's own centre lies between two of them.
    rising = alone.evaluate(basis.centres[0] + (np.arange(reach) + 0.5 - reach)[:, None] * step)[:, 0, 0]
    whole = np.rint(rising * _radial_peak(rising, stride, basis.size, kernel, values.shape[0]))
    half = max(1, int(np.count_nonzero(whole)))
    steps = np.diff(whole[-half:], prepend=0.0)
    return RadialTable(
        **rows,
        scale=(scale / _radial_peak(rising, stride, basis.size, kernel, values.shape[0])).astype(np.float32),
        low=np.array([basis.centres[0] - half * step], dtype=np.float32),
        inverse=np.array([1.0 / step], dtype=np.float32),
        positions=2 * half + stride * (basis.size - 1),
        stride=stride,
        profile_steps=steps.astype(np.uint8) if steps.max() <= 255 else steps.astype(np.uint16),
    )


def _radial_peak(rising: F64, stride: int, size: int, kernel: int, n_in: int) -> float:
    """Return how many units the top of a bump may have: pairs and sums of overlapping bumps stay within bounds."""
    bump = np.concatenate([rising, rising[::-1]])
    taps = -(-size // 4) * 4
    index = np.arange(bump.size + stride * (size - 1))[:, None] - stride * np.arange(taps)
    inside = (index >= 0) & (index < bump.size) & (np.arange(taps) < size)
    every = np.where(inside, bump[index.clip(0, bump.size - 1)], 0.0)
    largest = every.sum(axis=1).max()
    if kernel == 16:
        return (WEIGHT_SUM[16] - taps) / largest
    pairs = every.reshape(len(every), -1, 2).sum(axis=2).max()
    limit = (2**31 - 1) // (127 * n_in)
    return min(255.0 / bump.max(), (PAIR_SUM - 1) / pairs, (limit - taps) / largest)


def quantize_product(
    function: str,
    weight: F64,
    seen: tuple[float, float],
    spec: BasisSpec,
    rows: F64 | None = None,
    residual: F64 | None = None,
) -> tuple[ProductTable, F64 | None]:
    """Make the integer product of a base branch.

    Parameters
    ----------
    function : str
    weight : float64 [in, out]
    seen : (float, float)
        Smallest and largest value of the function on the calibrated inputs.
    spec : BasisSpec
    rows : float64 [N, in], optional
        Calibration rows that codes may be fitted to.
    residual : float64 [N, out], optional
        As in `quantize_basis`.

    Returns
    -------
    ProductTable
        Of 8 or 16 bits. Fitted codes take as few as the rows' where that adds no more error than the rows have.
    float64 [N, out] or None
    """
    levels = 4096 if spec.coefficient_bits == 16 else 128
    low, high = min(seen[0], 0.0), max(seen[1], 0.0)
    step = max(high - low, 1e-6) / (levels - 1)
    bits, rounded = _round_product(function, weight, spec, rows, residual)
    table = ProductTable(
        in_features=weight.shape[0],
        out_features=weight.shape[1],
        function=function,
        levels=levels,
        zero=int(np.clip(np.rint(-low / step), 0, levels - 1)),
        step=float(np.float32(step)),
        coefficient_bits=bits,
        q=rounded.codes if bits >= 8 else pack_codes(rounded.codes, bits),
        scale=rounded.scale.astype(np.float32),
    )
    return table, rounded.residual


def _round_product(
    function: str, weight: F64, spec: BasisSpec, rows: F64 | None, residual: F64 | None
) -> tuple[int, Rounded]:
    bits = max(spec.coefficient_bits, 8)
    seen = _rows_to_fit(spec, rows, weight.shape, 1)  # type: ignore[arg-type]
    if seen is None:
        return bits, round_nearest(weight, bits)
    values = functions.apply(function, seen)

    def column(i: int) -> F64:
        return values[:, i : i + 1]

    if spec.coefficient_bits < 8 and residual is not None:
        few = fit_codes(weight[:, None], column, spec.coefficient_bits, residual)
        if np.square(few.residual).sum() <= 2.0 * np.square(residual).sum():  # type: ignore[arg-type]
            return spec.coefficient_bits, replace(few, codes=few.codes[:, 0])
    many = fit_codes(weight[:, None], column, bits, residual)
    return bits, replace(many, codes=many.codes[:, 0])
