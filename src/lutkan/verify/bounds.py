"""Certified bounds on |artifact - model| over a box of inputs (docs/explanation/error-bounds.md).

A layer's output is a sum of functions of one input each, so the worst error over a box is, up to rounding, the sum of
the worst errors of the edges: nothing is lost by treating them one by one. From layer to layer an error travels at most
as fast as the steepest slopes of the model's edges on the box that it may reach.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import Artifact
from lutkan.artifact.program import (
    ActivationOp,
    AffineOp,
    BasisTable,
    KANOp,
    KnotTable,
    LayerNormOp,
    LinearOp,
    Op,
    RadialTable,
    SegmentTable,
    SplineTable,
    Table,
)
from lutkan.errors import InputError, VerificationError
from lutkan.ir import Activation, Affine, Branch, LayerNorm, Linear, Network, Product, Select
from lutkan.ir.layers import Step
from lutkan.numerics.derivatives import derivative_bounds, range_bounds
from lutkan.tables import BaseValues, BranchPlan, LayerPlan, input_domain
from lutkan.tables.basis import BasisValues
from lutkan.verify.edge_functions import EdgeFunctions, function_branch
from lutkan.verify.table_error import FLOAT32_MAX, FUNCTION_ERROR, FUNCTION_FLOOR, UNIT, table_error
from lutkan.verify.twin import plan_of

__all__ = ["Certificate", "LayerBound", "certificate_work", "certify"]

F64 = NDArray[np.float64]
# Pieces that the box of an input is cut into for ranges and slopes of the model.
_MESH = 1024
# Covers the float64 rounding of the bounds themselves.
_SAFETY = 1.0 + 1e-9
# Numbers whose squares float32 can still add up.
_SQUARED_MAX = 1e17


@dataclass(frozen=True, eq=False)
class LayerBound:
    """Certified bound of one KAN layer, fed with the same float32 rows as the model's layer.

    Attributes
    ----------
    step : int
        Number of the step in the network.
    name : str
    low, high : float64 [in]
        Box of the layer's inputs that the bound holds on: what the model can reach, widened by the error so far.
    error : float64 [out] or None
        Bound on |artifact layer - model layer|; None where there is none.
    reason : str
        Why there is none, or empty.
    """

    step: int
    name: str
    low: F64
    high: F64
    error: F64 | None
    reason: str = ""

    @property
    def max(self) -> float | None:
        """The largest bound of an output."""
        return None if self.error is None else float(self.error.max())


@dataclass(frozen=True, eq=False)
class Certificate:
    """Bounds on |artifact - model| that hold for every input in a box.

    Attributes
    ----------
    low, high : float64 [in]
        The declared input domain.
    layers : tuple of LayerBound
    error : float64 [out] or None
        Bound of the network's outputs; None where there is none.
    reason : str
        Why there is none, or empty.
    """

    low: F64
    high: F64
    layers: tuple[LayerBound, ...]
    error: F64 | None
    reason: str = ""

    @property
    def max(self) -> float | None:
        """The largest bound of an output."""
        return None if self.error is None else float(self.error.max())

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, everything included."""
        return {
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "error": None if self.error is None else self.error.tolist(),
            "max_abs": self.max,
            "reason": self.reason,
            "layers": [
                {
                    "step": layer.step,
                    "name": layer.name,
                    "low": layer.low.tolist(),
                    "high": layer.high.tolist(),
                    "error": None if layer.error is None else layer.error.tolist(),
                    "max_abs": layer.max,
                    "reason": layer.reason,
                }
                for layer in self.layers
            ],
        }

    def summary(self) -> dict[str, Any]:
        """Return what a manifest holds: the largest bounds, rounded up to three digits, and the hull of the boxes."""
        return {
            "domain": _hull(self.low, self.high),
            "max_abs": _short(self.max, 1),
            **({"reason": self.reason} if self.reason else {}),
            "layers": [
                {
                    "step": layer.step,
                    "domain": _hull(layer.low, layer.high),
                    "max_abs": _short(layer.max, 1),
                    **({"reason": layer.reason} if layer.reason else {}),
                }
                for layer in self.layers
            ],
        }

    def to_text(self) -> str:
        """Return a short table for people."""

        def figure(entry: Certificate | LayerBound) -> str:
            return f"{entry.max:.3g}" if entry.max is not None else f"none ({entry.reason})"

        lines = [
            f"certified on inputs in [{self.low.min():.4g}, {self.high.max():.4g}]: "
            f"|artifact - model| at most {figure(self)}"
        ]
        for layer in self.layers:
            box = f" on [{layer.low.min():.4g}, {layer.high.max():.4g}]" if layer.low.size else ""
            lines.append(f"  layer {layer.step} {layer.name}{box}: {figure(layer)}")
        return "\n".join(lines)


def _hull(low: F64, high: F64) -> list[float | None] | None:
    return [_short(float(low.min()), -1), _short(float(high.max()), 1)] if low.size else None


def _short(value: float | None, direction: int) -> float | None:
    """Round away from the inside to three digits, so that a shortened bound still holds."""
    if value is None or value == 0 or not np.isfinite(value):
        return None if value is None else float(value)
    digits = 10.0 ** (2 - int(np.floor(np.log10(abs(value)))))
    scaled = float(value) * digits
    near = round(scaled)
    if abs(scaled - near) < 1e-9 * abs(scaled):  # the value has no more than three digits
        return float(f"{near / digits:.3g}") if near / digits * direction >= value * direction else float(value)
    return float(f"{(np.ceil(scaled) if direction > 0 else np.floor(scaled)) / digits:.3g}")


@dataclass(frozen=True, eq=False)
class _State:
    """What is known before a step, by feature.

    Attributes
    ----------
    low, high : float64 [n]
        Box of the model's values.
    error_low, error_high : float64 [n]
        Enclosure of artifact - model.
    """

    low: F64
    high: F64
    error_low: F64
    error_high: F64

    @property
    def reach(self) -> F64:
        """Bound on the size of the error."""
        return np.maximum(-self.error_low, self.error_high)

    def hull(self) -> tuple[F64, F64]:
        """Return the box that holds both the model's and the artifact's values."""
        return self.low + np.minimum(self.error_low, 0.0), self.high + np.maximum(self.error_high, 0.0)

    def largest(self) -> F64:
        """Return the largest magnitude in the hull."""
        low, high = self.hull()
        return np.maximum(np.abs(low), np.abs(high))


def _around(low: F64, high: F64, error: F64) -> _State:
    return _State(low, high, -error, error)


def certify(artifact: Artifact, net: Network, domain: object = None) -> Certificate:
    """Bound |artifact - model| for every input in a box.

    Parameters
    ----------
    artifact : Artifact
    net : Network
        The network it was compiled from.
    domain : (low, high), optional
        Ends of the inputs, numbers or arrays [in]; the default is the core grid of the first layer. Inputs are float32
        numbers: other numbers are rounded first, for both sides, as `verify` does.

    Returns
    -------
    Certificate
        A layer, or the network, without a finite bound has None and the reason: a LayerNorm behind an error (its slope
        is bounded by 1 / sqrt(eps) only), edges that jump or have a pole on the box, inputs that are
        quantized to codes.

    Raises
    ------
    InputError
        `artifact` or `net` is something else.
    SpecError
        A malformed domain.
    VerificationError
        The artifact was not compiled from this network.

    Examples
    --------
    >>> import lutkan
    >>> net = lutkan.import_model({"cheby_coeffs": np.ones((2, 1, 3), dtype=np.float32)})
    >>> artifact = lutkan.compile(net, "int16")
    >>> bound = lutkan.certify(artifact, net, (-1.0, 1.0)).max
    >>> report = lutkan.verify(artifact, net, np.random.default_rng(0).uniform(-1.0, 1.0, (100, 2)))
    >>> report.max_abs < bound < 0.01
    True
    """
    if not isinstance(artifact, Artifact):
        raise InputError(f"artifact is a {type(artifact).__name__}", "an Artifact", "lutkan.Artifact.open(path)")
    if not isinstance(net, Network):
        raise InputError(f"net is a {type(net).__name__}", "a Network", "pass lutkan.import_model(source)")
    low, high = _outward(*input_domain(net, domain, points=True))
    plans = plan_of(artifact, net)
    state = _exact(low, high)
    reason, lost = "", ""  # why the network's error is unbounded, why the model's own range is
    layers: list[LayerBound] = []
    with np.errstate(all="ignore"):
        for index, (step, op) in enumerate(zip(net.steps, artifact.program.steps, strict=True)):
            if lost:
                if index in plans:
                    layers.append(LayerBound(index, plans[index].layer.name, np.empty(0), np.empty(0), None, lost))
                continue
            if index in plans and plans[index].coded is not None:
                lost = f"layer {plans[index].layer.name!r}: no bounds are computed where inputs are quantized to codes"
                reason = reason or lost
                layers.append(LayerBound(index, plans[index].layer.name, *state.hull(), None, lost))
                continue
            if index in plans and isinstance(op, KANOp):
                bound, state, why = _certify_layer(plans[index], op, state)
                layers.append(bound)
            else:
                state, why = _advance(step, op, state), f"step {index}: {_why(step)}"
            if not (np.abs([state.low, state.high]) < FLOAT32_MAX).all():  # NaN fails the comparison too
                lost = f"step {index}: the model has no finite range in float32 on this domain"
                reason = reason or lost
            elif not np.isfinite(state.reach).all():
                reason = reason or why
                state = _exact(state.low, state.high)  # later layers still have bounds of their own
    error = None if reason else state.reach * _SAFETY
    return Certificate(low, high, tuple(layers), error, reason)


def certificate_work(artifact: Artifact) -> int:
    """Return about how many edge values `certify` compares: edges times positions or samples of all tables."""
    return sum(
        branch.table.shape[0] * branch.table.shape[1] * _pieces(branch.table)
        for step in artifact.program.steps
        if isinstance(step, KANOp)
        for branch in step.branches
    )


def _pieces(table: Table) -> int:
    if isinstance(table, BasisTable):
        return table.segments << table.position_bits
    if isinstance(table, RadialTable):
        return table.positions
    if isinstance(table, (KnotTable, SplineTable)):
        return table.segments * 64
    if isinstance(table, SegmentTable):
        return table.segments * 4 * max(table.samples, 96)
    return 1


def _exact(low: F64, high: F64) -> _State:
    """Return the state of values that artifact and model share."""
    return _State(low, high, np.zeros(low.shape), np.zeros(low.shape))


def _outward(low: F64, high: F64) -> tuple[F64, F64]:
    """Round a box to float32 so that it holds the float32 neighbours of all its numbers."""
    down, up = low.astype(np.float32), high.astype(np.float32)
    down = np.where(down > low, np.nextafter(down, np.float32(-np.inf)), down)
    up = np.where(up < high, np.nextafter(up, np.float32(np.inf)), up)
    return down.astype(np.float64), up.astype(np.float64)


def _why(step: Step) -> str:
    if isinstance(step, LayerNorm):
        return "LayerNorm: no finite bound, for the rows of this domain may have any variance"
    return f"{step.describe()} has no bounded slope on this domain"


# ---- KAN layers ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _View:
    """Branches of a layer whose tables see the same values: the steps before them, and the model's edges behind."""

    plans: list[BranchPlan]
    ops: list[Op]
    tables: list[tuple[Table, tuple[Branch, ...]]]

    @property
    def edges(self) -> EdgeFunctions:
        return EdgeFunctions(tuple(branch for _, branches in self.tables for branch in branches))


def _views(plan: LayerPlan, op: KANOp) -> list[_View]:
    views: list[_View] = []
    for branch, compiled in zip(plan.branches, op.branches, strict=True):
        entry = (compiled.table, _model_branches(branch))
        for view in views:
            known = view.plans[0].pre
            if len(known) == len(branch.pre) and all(a is b for a, b in zip(known, branch.pre, strict=True)):
                view.tables.append(entry)
                break
        else:
            views.append(_View([branch], list(compiled.pre), [entry]))
    return views


def _model_branches(branch: BranchPlan) -> tuple[Branch, ...]:
    """Return the model's edges that a table stands for; a folded base branch comes last."""
    values = branch.values
    if isinstance(values, BaseValues):
        return (function_branch(values.function, values.weight),)
    if branch.group is None:
        raise VerificationError("a table without the edges it was made from", "the plan of a compiled network")
    if isinstance(values, BasisValues) and values.base is not None and values.base_weight is not None:
        return (*branch.group.branches, function_branch(values.base, values.base_weight))
    return branch.group.branches


def _certify_layer(plan: LayerPlan, op: KANOp, state: _State) -> tuple[LayerBound, _State, str]:
    """Bound a layer by itself and behind the errors of what comes before it.

    Returns
    -------
    LayerBound
    _State
        After the layer.
    str
        Why its errors are infinite, if they are.
    """
    n_out = len(plan.outputs)
    shared = _exact(*state.hull())
    own_low, own_high, carried, own_carried = np.zeros((4, n_out))
    least, greatest, before, own_rounding = np.zeros((4, n_out))
    why = f"layer {plan.layer.name!r}: edges that jump or have no bounded slope on this domain"
    own_why = why
    for view in _views(plan, op):
        alone, behind = shared, state
        for step, compiled in zip(view.plans[0].pre, view.ops, strict=True):
            alone, behind = _advance(step, compiled, alone), _advance(step, compiled, behind)
            if not np.isfinite(alone.reach).all():
                own_why = f"layer {plan.layer.name!r}: {_why(step)}"
            if not np.isfinite(behind.reach).all():
                why = f"layer {plan.layer.name!r}: {_why(step)}"
        alone, behind = _take(alone, plan), _take(behind, plan)
        for table, branches in view.tables:
            found = table_error(table, branches, *alone.hull())
            own_low += found.low.sum(axis=0)
            own_high += found.high.sum(axis=0)
            own_rounding += found.rounding + found.sums * UNIT * before
            before += found.size.sum(axis=0)
        edges = view.edges
        model = _mesh(edges, behind, bool(alone.reach.any() or behind.reach.any()))
        least += model.least.sum(axis=0)
        greatest += model.greatest.sum(axis=0)
        carried += _weighed(model.slope, behind.reach)
        own_carried += _weighed(model.slope, alone.reach)
    bias = np.zeros(plan.layer.shape[1]) if plan.layer.bias is None else plan.layer.bias
    held = bias if op.bias is None else op.bias.astype(np.float64)
    moved = held - bias
    at = plan.outputs
    own_rounding += 0.0 if op.bias is None else UNIT * (before + np.abs(held[at]))
    own_low += moved[at] - own_rounding
    own_high += moved[at] + own_rounding
    local = np.where(before < FLOAT32_MAX, np.maximum(own_high, -own_low) + own_carried, np.inf)
    bounded = bool(np.isfinite(local).all())
    error = np.abs(moved)
    error[at] = local * _SAFETY
    bound = LayerBound(
        plan.step, plan.layer.name, shared.low, shared.high, error if bounded else None, "" if bounded else own_why
    )
    after = _State(bias.copy(), bias.copy(), moved.copy(), moved.copy())
    after.low[at], after.high[at] = bias[at] + least, bias[at] + greatest
    carried = np.where(np.isfinite(local), carried, np.inf)
    after.error_low[at], after.error_high[at] = own_low - carried, own_high + carried
    return bound, after, why


def _take(state: _State, plan: LayerPlan) -> _State:
    at = plan.inputs
    return _State(state.low[at], state.high[at], state.error_low[at], state.error_high[at])


def _weighed(slope: F64, reach: F64) -> F64:
    """Add what slopes [in, out] make of errors [in]: float64 [out]; an edge without a slope forgives any error."""
    return np.where((slope == 0) | (reach == 0)[:, None], 0.0, slope * reach[:, None]).sum(axis=0)


@dataclass(frozen=True, eq=False)
class _Mesh:
    """Range and steepest slope of the model's edges on boxes of their inputs, float64 [in, out] each."""

    least: F64
    greatest: F64
    slope: F64


def _mesh(edges: EdgeFunctions, state: _State, with_slopes: bool) -> _Mesh:
    """Enclose the model's edges: ranges on the model's box, slopes wherever model or artifact may be.

    Behind an error without a bound the slopes are those on the model's box: they tell which edges have any.
    """
    if not np.isfinite(state.reach).all():
        state = _exact(state.low, state.high)
    low, high = state.hull()
    pieces = _MESH if with_slopes else _MESH // 4
    step = (high - low) / pieces
    deviation = edges.deviation(low, high, step)
    n_in, n_out = edges.shape
    least, greatest, slope = np.empty((n_in, n_out)), np.empty((n_in, n_out)), np.zeros((n_in, n_out))
    for i in range(n_in):
        nodes = np.linspace(low[i], high[i], pieces + 1)
        values = edges.values(i, nodes)
        inside = (nodes >= state.low[i] - step[i]) & (nodes <= state.high[i] + step[i])
        least[i], greatest[i] = values[:, inside].min(axis=1), values[:, inside].max(axis=1)
        if with_slopes and step[i] > 0:
            slope[i] = np.abs(np.diff(values, axis=1)).max(axis=1) / step[i]
    if with_slopes:
        # A chord has the mean slope of its piece, from which a slope differs by h / 2 max|f''| at most.
        steepest, curvature = edges.bounds(low, high)
        slope = np.where(step[:, None] > 0, np.minimum(slope + step[:, None] / 2 * curvature, steepest), steepest)
    return _Mesh(least - deviation, greatest + deviation, slope)


# ---- the steps between -----------------------------------------------------------------------------------------


def _advance(step: Step, op: Op, state: _State) -> _State:
    """Carry ranges and errors through a step that is no KAN layer; an error without a bound becomes infinite."""
    if isinstance(step, Select):
        at = step.indices
        return _State(state.low[at], state.high[at], state.error_low[at], state.error_high[at])
    if isinstance(step, Affine) and isinstance(op, AffineOp):
        return _advance_affine(step.scale, step.bias, op.scale, op.bias, state)
    if isinstance(step, LayerNorm) and isinstance(op, LayerNormOp):
        return _advance_layer_norm(step, op, state)
    if isinstance(step, Activation) and isinstance(op, ActivationOp):
        return _advance_activation(step, op, state)
    if isinstance(step, Linear) and isinstance(op, LinearOp):
        return _advance_linear(step, op, state)
    if isinstance(step, Product):
        return _advance_product(step, state)
    raise VerificationError(f"the artifact's step is {op.op}, the network's {step.describe()}", "the same network")


def _rounded(rounding: Any, size: Any) -> Any:
    """Add what subnormal numbers lose; a term that float32 cannot hold has no bound."""
    return np.where(size < FLOAT32_MAX, rounding + FUNCTION_FLOOR, np.inf)


def _advance_affine(scale: F64, bias: F64, held_scale: Any, held_bias: Any, state: _State) -> _State:
    held_scale, held_bias = held_scale.astype(np.float64), held_bias.astype(np.float64)
    ends = scale * state.low + bias, scale * state.high + bias
    errors = scale * state.error_low, scale * state.error_high
    largest = state.largest()
    size = np.abs(held_scale) * largest
    own = np.abs(held_scale - scale) * largest + np.abs(held_bias - bias)
    own += _rounded(UNIT * (2 * size + np.abs(held_bias)), size)
    return _State(np.minimum(*ends), np.maximum(*ends), np.minimum(*errors) - own, np.maximum(*errors) + own)


def _advance_layer_norm(step: LayerNorm, op: LayerNormOp, state: _State) -> _State:
    """Carry through (x - mean) / s, s = sqrt(variance + eps): each value is at most sqrt(n - 1) in size.

    The rounding of the mean moves all entries by the same d: that adds d^2 to the variance, and d / s to each quotient.
    s is a norm of the centred row, so that moving every entry by at most e moves s by at most e and each quotient by at
    most (1 + sqrt(n)) e / s. Without a lower bound on the variance, s may be as small as sqrt(eps).
    """
    n = step.features
    low, high = state.hull()
    gap = max(0.0, float(low.max() - high.min()))  # two entries that far apart make a variance of at least gap^2 / 2n
    smallest = float(np.sqrt(gap * gap / (2 * n) + step.eps))
    sums = (-(-n // 16) + 6) * UNIT  # float32 sums in 16 lanes, then a tree
    carried = 2 * state.reach.max()
    if smallest == 0.0 or (carried > 0 and gap == 0.0) or state.largest().max() > _SQUARED_MAX:
        error = np.full(n, np.inf)
    else:
        shift = sums * state.largest().max() / smallest
        root = np.sqrt(n)
        quotient = shift + root * min(shift, shift * shift / 2) + (1 + root) * carried / smallest
        error = np.full(n, quotient + root * (sums + 10 * UNIT))
    reach = np.full(n, np.sqrt(max(n - 1, 0)))
    plain = _around(-reach, reach, error)
    if step.weight is None and step.bias is None:
        return plain
    weight = np.ones(n) if step.weight is None else step.weight
    bias = np.zeros(n) if step.bias is None else step.bias
    held_weight = weight if op.weight is None else op.weight
    held_bias = bias if op.bias is None else op.bias
    if not np.isfinite(error).all():
        after = _advance_affine(weight, bias, np.asarray(held_weight), np.asarray(held_bias), _exact(-reach, reach))
        return replace(after, error_low=-error, error_high=error)
    return _advance_affine(weight, bias, np.asarray(held_weight), np.asarray(held_bias), plain)


def _advance_activation(step: Activation, op: ActivationOp, state: _State) -> _State:
    low, high = state.hull()
    if step.name == "prelu":
        slope = np.broadcast_to(step.slope, low.shape)  # type: ignore[arg-type]
        held = np.asarray(op.slope, dtype=np.float64)
        ends = step.evaluate(state.low), step.evaluate(state.high)
        across = (state.low < 0) & (state.high > 0)
        least = np.where(across, np.minimum(np.minimum(*ends), 0.0), np.minimum(*ends))
        steepest = np.maximum(np.abs(slope), 1.0)
        own = _rounded((np.abs(held - slope) + UNIT * np.abs(held)) * np.maximum(-low, 0.0), np.abs(held * low))
        return _State(least, np.maximum(*ends), -steepest * state.reach - own, steepest * state.reach + own)
    least, greatest = range_bounds(step.name, state.low, state.high)
    steepest, _ = derivative_bounds(step.name, low, high)
    largest = np.maximum(*(np.abs(v) for v in range_bounds(step.name, low, high)))
    own = np.zeros(low.shape) if step.name in ("identity", "relu") else FUNCTION_ERROR * largest + FUNCTION_FLOOR
    error = np.where(state.reach == 0, 0.0, steepest * state.reach) + own
    return _State(least, greatest, -error, error)


def _advance_linear(step: Linear, op: LinearOp, state: _State) -> _State:
    weight, held = step.weight, op.weight.astype(np.float64)
    bias = np.zeros(weight.shape[1]) if step.bias is None else step.bias
    held_bias = bias if op.bias is None else op.bias.astype(np.float64)
    up, down = np.maximum(weight, 0.0), np.minimum(weight, 0.0)
    largest = state.largest()
    size = largest @ np.abs(held)
    own = largest @ np.abs(held - weight) + np.abs(held_bias - bias)
    own += _rounded(UNIT * ((len(weight) + 2) * size + np.abs(held_bias)), size)
    return _State(
        state.low @ up + state.high @ down + bias,
        state.high @ up + state.low @ down + bias,
        state.error_low @ up + state.error_high @ down - own,
        state.error_high @ up + state.error_low @ down + own,
    )


def _advance_product(step: Product, state: _State) -> _State:
    """Carry through products of features: one factor after the other, `x y' - x y = x' (y' - y) + y (x' - x)`."""
    parts = []
    for group in step.groups:
        first, *others = group
        low, high = state.low[first], state.high[first]
        error = state.reach[first]
        for feature in others:
            corners = [a * b for a in (low, high) for b in (state.low[feature], state.high[feature])]
            largest = max(abs(low), abs(high))
            factor = max(abs(state.low[feature]), abs(state.high[feature]))
            error = (largest + error) * state.reach[feature] + factor * error
            low, high = min(corners), max(corners)
            error += _rounded(UNIT * (max(abs(low), abs(high)) + error), max(abs(low), abs(high)) + error)
        parts.append((low, high, error))
    low, high, error = np.array(parts).T
    return _around(low, high, error)
