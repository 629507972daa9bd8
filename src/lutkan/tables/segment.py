"""IR edges -> segment tables: the LUT-KAN contract (arXiv 2601.03332, docs/spec/semantics.md section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact.program import SegmentTable
from lutkan.errors import SpecError
from lutkan.ir import Activation, Affine, Branch, EdgeBank, NamedFunction
from lutkan.numerics.affine import quantize_asymmetric, quantize_symmetric
from lutkan.tables.spec import SegmentSpec

__all__ = ["EdgeGroup", "SegmentValues", "quantize_segments", "sample_segments"]

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]

# tanh of a float32 is exactly +-1 beyond 9.02, the sigmoid 0 or 1 up to 2^-25 beyond 17.4: from there on an edge
# function of a squashed input is constant, and clipping is what the model does.
_SQUASH_REACH = {"tanh": 9.02, "sigmoid": 17.4}
_DEFAULT_SEGMENTS = 32
# Values worked on at a time: 2 MB of float64, so that temporaries stay in the second-level cache.
_CHUNK = 1 << 18


@dataclass(frozen=True, eq=False)
class EdgeGroup:
    """Branches of a layer that see the same input, with what is still to be applied to each input alone.

    Attributes
    ----------
    where : str
        The layer's name, for messages.
    branches : tuple of Branch
        `pre` holds elementwise steps only; they are folded into the table.
    calibrated : (float64 [in], float64 [in]) or None
        Smallest and largest value of each input on the calibration rows.
    seen : float64 [N, in] or None
        The inputs on the calibration rows.
    """

    where: str
    branches: tuple[Branch, ...]
    calibrated: tuple[F64, F64] | None = None
    seen: F64 | None = None

    @property
    def in_features(self) -> int:
        return self.branches[0].bank.in_features

    def values(self, x: F64, scaled: bool) -> F64:
        """Evaluate all edges at points of their inputs: float64 [in, S] -> float64 [in, S, out]."""
        total: F64 | None = None
        for branch in self.branches:
            points = x.T
            for step in branch.pre:
                points = step.evaluate(points)
            part = branch.bank.edge_values(np.ascontiguousarray(points.T), scaled=scaled)
            total = part if total is None else total + part
        return total  # type: ignore[return-value]

    def take(self, inputs: NDArray[np.int64], outputs: NDArray[np.int64]) -> EdgeGroup:
        """Return the group of a selection of inputs and outputs."""
        branches = tuple(
            Branch(b.bank.take(inputs, outputs), tuple(_take(step, inputs) for step in b.pre)) for b in self.branches
        )
        calibrated = None if self.calibrated is None else (self.calibrated[0][inputs], self.calibrated[1][inputs])
        seen = None if self.seen is None else self.seen[:, inputs]
        return EdgeGroup(self.where, branches, calibrated, seen)

    def covered(self, share: float, *, shared: bool) -> tuple[F64, F64] | None:
        """Return the interval that holds `share` of the calibrated inputs, float64 [1] for all or [in] each."""
        if self.seen is None or self.seen.size == 0:
            return None
        tails = [(1.0 - share) / 2.0, 1.0 - (1.0 - share) / 2.0]
        low, high = np.quantile(self.seen.reshape(-1, 1) if shared else self.seen, tails, axis=0)
        return low, high


def _take(step: object, inputs: NDArray[np.int64]) -> Affine | Activation:
    if isinstance(step, (Affine, Activation)):
        return step.take(inputs)
    raise TypeError(f"{step} couples inputs")


@dataclass(frozen=True, eq=False)
class SegmentValues:
    """Samples of a group of edges on segments, before quantization.

    Attributes
    ----------
    knots : float32 [in or 1, K + 1]
    values : float64 [in, K * L, out]
    edge_scale : float64 [in, out] or None
        Factor of the samples, kept apart as in the contract's `edge_spline_scale * edge_out_scale`.
    outside : {"clip", "zero", "base", "linear"}
    base : str or None
    base_weight : float64 [in, out] or None
    samples : int
    interpolation, boundary : str
    """

    knots: F32
    values: F64
    edge_scale: F64 | None
    outside: str
    base: str | None
    base_weight: F64 | None
    samples: int
    interpolation: str
    boundary: str

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[2]

    @property
    def segments(self) -> int:
        """Number of segments, K."""
        return self.knots.shape[1] - 1


def sample_segments(group: EdgeGroup, spec: SegmentSpec, knots: F32 | None = None) -> SegmentValues:
    """Sample the edges of a group at both ends and between the knots of every segment.

    `x[k, l] = t_k + l / (L - 1) * (t_{k+1} - t_k)`, `l = 0 .. L - 1`, evaluated in float64 at float32 knots.

    Parameters
    ----------
    group : EdgeGroup
    spec : SegmentSpec
    knots : float32 [in or 1, K + 1], optional
        Segment borders to use instead of those that follow from the group and the spec.

    Raises
    ------
    SpecError
        The spec cannot be honoured for these edges; the message says which field and what would work.
    """
    knots = _knots(group, spec) if knots is None else knots
    outside, base, base_weight = _outside(group, spec, knots)
    scaled = len(group.branches) > 1
    bank = group.branches[0].bank
    edge_scale = bank.scale if not scaled and isinstance(bank, EdgeBank) else None

    left, right = knots[:, :-1].astype(np.float64), knots[:, 1:].astype(np.float64)
    alpha = np.linspace(0.0, 1.0, spec.samples)
    points = left[:, :, None] + alpha * (right - left)[:, :, None]
    points = np.broadcast_to(points.reshape(len(knots), -1), (group.in_features, points.shape[1] * spec.samples))
    n_out = bank.out_features
    values = np.empty((group.in_features, points.shape[1], n_out))
    step = max(1, _CHUNK // (points.shape[1] * max(n_out, 16)))
    for start in range(0, group.in_features, step):
        inputs = np.arange(start, min(start + step, group.in_features))
        part = group.take(inputs, np.arange(n_out)).values(points[inputs], scaled)
        if not (np.abs(part).max() <= np.finfo(np.float32).max):  # NaN fails the comparison too
            i, row, o = (int(v) for v in np.argwhere(~(np.abs(part) <= np.finfo(np.float32).max))[0])
            raise SpecError(
                f"{group.where}: edge ({start + i}, {o}) is {part[i, row, o]} at x = {points[start + i, row]:.6g}",
                "edge functions that are finite on the table's domain",
                "choose a domain without the singularity: SegmentSpec(domain=(low, high), oob_policy='clip_x')",
            )
        values[start : start + step] = part
    return SegmentValues(
        knots, values, edge_scale, outside, base, base_weight, spec.samples, spec.interpolation, spec.boundary_mode
    )


def quantize_segments(sampled: SegmentValues, spec: SegmentSpec, where: str) -> SegmentTable:
    """Quantize samples to 8 bits with a scale (and offset) an edge and segment; `where` names the layer in messages."""
    n_in, n_out = sampled.shape
    q = np.empty(sampled.values.shape, dtype=spec.dtype)
    scale = np.empty((n_in, sampled.segments, n_out), dtype=np.float32)
    offset = None if spec.dtype == "int8" else np.empty_like(scale)
    step = max(1, _CHUNK // sampled.values[0].size)
    for start in range(0, n_in, step):
        part = slice(start, start + step)
        y = sampled.values[part].reshape(-1, sampled.segments, spec.samples, n_out)
        if spec.percentile is None:
            low, high = y.min(axis=2, keepdims=True), y.max(axis=2, keepdims=True)
        else:
            low, high = np.percentile(y, spec.percentile, axis=2, keepdims=True)
        if offset is None:
            codes, scales = quantize_symmetric(y, low, high)
        else:
            codes, scales, offsets = quantize_asymmetric(y, low, high)
            offset[part] = offsets[:, :, 0]
        q[part] = codes.reshape(len(y), -1, n_out)
        scale[part] = scales[:, :, 0]
    return SegmentTable(
        samples=spec.samples,
        interpolation=spec.interpolation,
        boundary=spec.boundary_mode,
        outside=sampled.outside,
        knots=sampled.knots,
        q=q,
        scale=scale,
        offset=offset,
        edge_scale=None if sampled.edge_scale is None else as_float32(sampled.edge_scale, f"{where}: edge scale"),
        base=sampled.base,
        base_weight=None if sampled.base_weight is None else as_float32(sampled.base_weight, f"{where}: base weights"),
    )


def as_float32(values: F64, what: str) -> F32:
    """Round to float32, or raise SpecError if a value does not fit."""
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(array).all():
        raise SpecError(f"{what}: {values[~np.isfinite(array)][0]} is no float32 number", "values below 3.4e38")
    return array


def _knots(group: EdgeGroup, spec: SegmentSpec) -> F32:
    """Return the segment borders: the family's own knots, or uniform ones over a domain."""
    own = [b.bank.basis.knots for b in group.branches if isinstance(b.bank, EdgeBank) and not b.pre]
    own = [knots for knots in own if knots is not None]
    if own:
        if spec.segments is not None or spec.domain is not None:
            raise SpecError(
                f"{group.where}: SegmentSpec.segments or .domain for edges that have knots of their own",
                "None; these two are for families without knots",
            )
        if any(k.shape != own[0].shape or (k != own[0]).any() for k in own[1:]):
            raise SpecError(f"{group.where}: branches with different knots", "one knot vector a layer input")
        knots = as_float32(own[0], f"{group.where}: knots")
        shared = (knots == knots[:1]).all()
        return np.ascontiguousarray(knots[:1] if shared else knots)
    low, high = _domain(group, spec)
    alpha = np.linspace(0.0, 1.0, (spec.segments or _DEFAULT_SEGMENTS) + 1)
    knots = low[:, None] + alpha * (high - low)[:, None]
    knots[:, -1] = high
    knots = as_float32(knots, f"{group.where}: table domain")
    if (np.diff(knots, axis=1) <= 0).any():
        raise SpecError(
            f"{group.where}: {spec.segments or _DEFAULT_SEGMENTS} segments on [{low.min():.6g}, {high.max():.6g}] "
            "are narrower than float32 can tell apart",
            "fewer segments or a wider domain",
        )
    return np.ascontiguousarray(knots[:1] if (knots == knots[:1]).all() else knots)


def _natural_domain(group: EdgeGroup) -> tuple[F64, F64] | None:
    """Return the interval beyond which every edge is zero or constant in float32, or None."""
    lows, highs = [], []
    for branch in group.branches:
        first = branch.pre[0] if branch.pre else None
        if isinstance(first, Activation) and first.name in _SQUASH_REACH:
            reach = np.array([_SQUASH_REACH[first.name]])
            lows.append(-reach)
            highs.append(reach)
        elif isinstance(branch.bank, EdgeBank) and not branch.pre and branch.bank.basis.support() is not None:
            low, high = branch.bank.basis.support()  # type: ignore[misc]
            lows.append(low)
            highs.append(high)
        else:
            return None
    return np.min(np.broadcast_arrays(*lows), axis=0), np.max(np.broadcast_arrays(*highs), axis=0)


def _domain(group: EdgeGroup, spec: SegmentSpec) -> tuple[F64, F64]:
    """Choose the table's domain for edges without knots, float64 [in or 1] each."""
    if spec.domain is not None:
        return np.array([spec.domain[0]]), np.array([spec.domain[1]])
    natural = _natural_domain(group)
    if natural is not None:
        return natural
    if group.calibrated is not None:
        low, high = group.calibrated
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise SpecError(
                f"{group.where}: an input of this layer is not finite on the calibration rows",
                "finite inputs, or a domain that does not come from calibration",
                "pass calibration rows on which the model is finite, or SegmentSpec(domain=(low, high))",
            )
        # An input that never varies still needs a segment of some width.
        margin = np.where(high > low, 0.0, 0.5 + 1e-3 * np.abs(low))
        return low - margin, high + margin
    raise SpecError(
        f"{group.where}: these edges have neither knots nor a bounded domain",
        "a domain, or calibration rows",
        "pass SegmentSpec(domain=(low, high), oob_policy='clip_x'), or calibration=X",
    )


def _outside(group: EdgeGroup, spec: SegmentSpec, knots: F32) -> tuple[str, str | None, F64 | None]:
    """Translate the policy into what the artifact does beyond the knots: (outside, base, base_weight)."""
    if spec.oob_policy == "clip_x":
        return "clip", None, None
    if spec.oob_policy == "zero_spline":
        return "zero", None, None
    banks = [branch.bank for branch in group.branches]
    bases = [b for b in banks if isinstance(b, EdgeBank) and isinstance(b.basis, NamedFunction)]
    others = [branch for branch in group.branches if branch.bank not in bases]
    kinds = {b.bank.basis.outside for b in others if isinstance(b.bank, EdgeBank) and not b.pre}
    plain = all(isinstance(b.bank, EdgeBank) and not b.pre for b in others)
    if others and plain and kinds == {"zero"} and _covers_support(others, knots):
        if not bases:
            return "zero", None, None
        if len(bases) == 1 and not any(branch.pre for branch in group.branches):
            name = bases[0].basis.name  # type: ignore[union-attr]
            require_float32_function(group.where, name)
            return "base", name, bases[0].weights[:, 0, :]
    if plain and not bases and kinds == {"linear"} and spec.interpolation == "linear" and spec.domain is None:
        return "linear", None, None
    natural = _natural_domain(group)
    if natural is not None and all(b.pre for b in group.branches):  # all squashed
        low, high = natural[0].min(), natural[1].max()
        if knots[:, 0].max() <= low + 1e-6 and knots[:, -1].min() >= high - 1e-6:
            return "clip", None, None
    raise SpecError(
        f"{group.where}: oob_policy = 'model' cannot be kept by a segment table of these edges "
        f"({', '.join(bank.describe() for bank in banks)})",
        "edges that are zero, constant or straight beyond the table, or a base branch that stays analytic",
        "pass SegmentSpec(oob_policy='clip_x' or 'zero_spline', ...) with a domain that covers the inputs",
    )


def _covers_support(branches: Sequence[Branch], knots: F32) -> bool:
    for branch in branches:
        support = branch.bank.basis.support() if isinstance(branch.bank, EdgeBank) else None
        if support is None:
            return False
        low, high = (bound.astype(np.float32) for bound in support)
        if (knots[:, 0] > low).any() or (knots[:, -1] < high).any():
            return False
    return True


def require_float32_function(where: str, name: str) -> None:
    """Raise SpecError unless the runtimes can compute that function in float32."""
    from lutkan.artifact.program import ACTIVATIONS

    if name not in ACTIVATIONS:
        raise SpecError(
            f"{where}: base function {name!r} has no exact float32 form",
            ", ".join(ACTIVATIONS),
            "fold it into the tables: SegmentSpec(value='phi', oob_policy='clip_x')",
        )
