"""Network + spec -> artifact."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact.artifact import Artifact
from lutkan.artifact.program import (
    ACTIVATIONS,
    ActivationOp,
    AffineOp,
    BaseTable,
    BranchOp,
    GlueOp,
    KANOp,
    LayerNormOp,
    LinearOp,
    Op,
    ProductOp,
    Program,
    QuantizeOp,
    SelectOp,
)
from lutkan.errors import InputError, SpecError
from lutkan.ir import Activation, Affine, KANLayer, LayerNorm, Linear, Network, Product, Select, Step
from lutkan.numerics.rows import real_rows
from lutkan.tables.basis import BasisValues, quantize_basis, quantize_product
from lutkan.tables.code_features import CodeGrid
from lutkan.tables.coded import CodedLayer, CodeValues, make_code_table, requantization
from lutkan.tables.plan import BaseValues, LayerPlan, plan_layers, plan_network
from lutkan.tables.segment import SegmentValues, as_float32, quantize_segments
from lutkan.tables.spec import BasisSpec, BranchSpec, CodeSpec, LayerSpec, SegmentSpec, Spec

__all__ = [
    "SAMPLE_ROWS",
    "assemble",
    "calibration_rows",
    "compile_codes",
    "compile_layer",
    "compile_network",
    "input_domain",
    "table_domain",
]

F64 = NDArray[np.float64]
#: Rows that stand in for calibration data when there are none, drawn from the input domain with seed 0.
SAMPLE_ROWS = 4096


def calibration_rows(net: Network, calibration: object, domain: object) -> tuple[F64, bool]:
    """Return the rows that hidden ranges are measured on, and whether they are the user's.

    Parameters
    ----------
    net : Network
    calibration : array [N, in] or None
    domain : (low, high) or None
        Input domain, numbers or arrays [in]; None is the core grid of the first layer.

    Raises
    ------
    InputError, SpecError
        Calibration data of the wrong width, empty or with NaN; a malformed domain.
    """
    if calibration is not None:
        X = real_rows("calibration", calibration, net.in_features).astype(np.float64)
        if len(X) == 0:
            raise InputError("calibration has no rows", "at least one row")
        usable = np.abs(X) <= np.finfo(np.float32).max
        if not usable.all():
            row, column = (int(v) for v in np.argwhere(~usable)[0])
            raise InputError(f"calibration[{row}, {column}] is {X[row, column]}", "finite float32 numbers")
        return X, True
    low, high = input_domain(net, domain)
    rng = np.random.default_rng(0)
    return rng.uniform(low, high, size=(SAMPLE_ROWS, net.in_features)), False


def input_domain(net: Network, domain: object, *, points: bool = False) -> tuple[F64, F64]:
    """Return the ends of every input, float64 [in] each.

    Parameters
    ----------
    net : Network
    domain : (low, high) or None
        Numbers or arrays [in]; None is the core grid of the first layer.
    points : bool
        Whether both ends of an input may be the same number.

    Raises
    ------
    SpecError
        A malformed domain.
    """
    n = net.in_features
    if domain is None:
        core = net.layers[0].core()
        low, high = core if core is not None else (np.array([-1.0]), np.array([1.0]))
        first = net.steps[0]
        if isinstance(first, KANLayer) and low.size in (1, n):
            return np.broadcast_to(low, n), np.broadcast_to(high, n)
        return np.full(n, low.min()), np.full(n, high.max())
    try:
        low, high = (np.broadcast_to(np.asarray(bound, dtype=np.float64), n) for bound in domain)  # type: ignore[union-attr]
    except (TypeError, ValueError) as error:
        raise SpecError(f"domain = {domain!r}", f"(low, high), numbers or arrays of {n}") from error
    largest = np.finfo(np.float32).max
    ordered = low <= high if points else low < high
    if not (ordered.all() and low.min() >= -largest and high.max() <= largest):
        raise SpecError(f"domain = {domain!r}", f"finite float32 bounds with low {'<=' if points else '<'} high")
    return low, high


def compile_network(net: Network, spec: Spec, rows: F64, calibrated: bool) -> Artifact:
    """Compile a network to tables.

    Parameters
    ----------
    net : Network
    spec : Spec
    rows : float64 [N, in]
        Rows on which hidden ranges are measured.
    calibrated : bool
        Whether the rows are the user's own data; the manifest says so.

    Returns
    -------
    Artifact
        Without golden vectors: `lutkan.compile` adds them.

    Raises
    ------
    SpecError
        The spec cannot be honoured for this network.
    """
    trace = net.trace(rows)
    plans = plan_network(net, spec, trace)
    return assemble(net, spec, plans, [compile_layer(plan) for plan in plans], trace, calibrated)


def compile_codes(
    net: Network,
    layers: Sequence[CodedLayer],
    info: Mapping[str, Any] | None = None,
    *,
    rows: F64 | None = None,
    keep_masked: bool = False,
) -> Artifact:
    """Compile quantized layers to integer tables, from code to code.

    Parameters
    ----------
    net : Network
        Everything but the KAN layers' weights is taken from it.
    layers : sequence of CodedLayer
        One a KAN layer, in order.
    info : mapping, optional
        More keys for the manifest: `spec`, a `Spec` in JSON, and what else should be told.
    rows : float64 [N, in], optional
        The calibration rows; the manifest then says how many there were, and the share of inputs beyond the codes.
    keep_masked : bool
        Keep inputs and outputs without a live edge.

    Returns
    -------
    Artifact
        Without golden vectors.

    Raises
    ------
    SpecError
        The layers are not those of the network, or exceed what integers hold.
    """
    steps = [index for index, step in enumerate(net.steps) if isinstance(step, KANLayer)]
    found = [(layer.name, layer.shape) for layer in layers]
    wanted = [(layer.name, layer.shape) for layer in net.layers]
    if found != wanted:
        raise SpecError(f"coded layers {found}", f"{wanted}, the layers of the network")
    coded = dict(zip(steps, layers, strict=True))
    specs: list[LayerSpec] = [_spec_of(layer, keep_masked) for layer in layers]
    spec = Spec(specs[0], tuple((str(n), own) for n, own in enumerate(specs) if own != specs[0]))
    if info is not None and "spec" in info:
        spec = Spec.from_json(info["spec"])
    seen = np.zeros((0, net.in_features)) if rows is None else rows
    trace = net.trace(seen)
    plans = plan_layers(net, dict(zip(steps, specs, strict=True)), coded, trace)
    artifact = assemble(net, spec, plans, [compile_layer(plan) for plan in plans], trace, rows is not None)
    return replace(artifact, info={**artifact.info, **(info or {})})


def _spec_of(layer: CodedLayer, keep_masked: bool) -> CodeSpec:
    """Describe a quantized layer whose spec is not told."""
    bits = {b.bank.role: min(b.bits, 8) for b in layer.branches}
    first = min(layer.branches[0].bits, 8)
    base, spline = BranchSpec(bits=bits.get("base", first)), BranchSpec(bits=bits.get("spline", first))
    return CodeSpec(layer.grid.bits, base=base, spline=spline, keep_masked=keep_masked)


def assemble(
    net: Network,
    spec: Spec,
    plans: Sequence[LayerPlan],
    layers: Sequence[KANOp],
    trace: Sequence[F64],
    calibrated: bool,
) -> Artifact:
    """Put compiled KAN layers together with the steps between them.

    Parameters
    ----------
    net : Network
    spec : Spec
        What the layers were compiled from; the manifest names it.
    plans, layers : sequences, one entry a KAN layer
    trace : list of float64 arrays
        `net.trace(rows)`.
    calibrated : bool
        As in `compile_network`.

    Raises
    ------
    SpecError
        A step between layers has no exact float32 form.
    """
    compiled = {plan.step: op for plan, op in zip(plans, _link_codes(plans, layers), strict=True)}
    steps: list[Op] = []
    width = net.in_features
    for index, step in enumerate(net.steps):
        steps.append(compiled[index] if index in compiled else _glue_op(step, width, f"step {index}"))
        width = step.out_features(width)
    program = Program(net.in_features, tuple(steps))
    info: dict[str, Any] = {
        "spec": spec.to_json(),
        "source": {
            "family": net.source.family,
            "checkpoint_sha256": net.source.checkpoint_sha256,
            "defaults_taken": list(net.source.defaults_taken),
            "notes": list(net.source.notes),
            "edges": net.edges,
        },
        "calibration": {
            "rows": len(trace[0]) if calibrated else 0,
            "seeded_rows": 0 if calibrated else len(trace[0]),
            "outside_share": [_outside_share(plan, trace) for plan in plans],
        },
    }
    if any(plan.coded is not None for plan in plans):
        info["codes"] = [_codes_json(plan) for plan in plans]
    return Artifact(program, info)


def _codes_json(plan: LayerPlan) -> list[list[int | float]] | None:
    entries = [branch.values.to_json() for branch in plan.branches if isinstance(branch.values, CodeValues)]
    return entries or None


def _link_codes(plans: Sequence[LayerPlan], layers: Sequence[KANOp]) -> list[KANOp]:
    """Let a coded layer that follows another one directly take its codes."""
    linked = list(layers)
    for index, (plan, following) in enumerate(itertools.pairwise(plans)):
        if plan.coded is None or following.coded is None or following.step != plan.step + 1:
            continue
        linked[index] = _requantized(linked[index], following.coded.grid)
        linked[index + 1] = _taking_codes(linked[index + 1])
    return linked


def _requantized(op: KANOp, grid: CodeGrid) -> KANOp:
    return replace(op, requantize=requantization(op.code_tables, op.bias, op.outputs, op.out_features, grid))


def _taking_codes(op: KANOp) -> KANOp:
    branches = []
    for branch in op.branches:
        first = branch.pre[0] if branch.pre else None
        if isinstance(first, QuantizeOp):
            branches.append(replace(branch, pre=(replace(first, coded=True), *branch.pre[1:])))
        else:
            branches.append(replace(branch, table=replace(branch.table, coded=True)))  # type: ignore[call-overload]
    return replace(op, branches=tuple(branches))


def _outside_share(plan: LayerPlan, trace: Sequence[F64]) -> float:
    """Share of the layer's table inputs that lie beyond the tables."""
    for branch in plan.branches:
        if isinstance(branch.values, BaseValues):
            continue
        x = trace[plan.step]
        if not len(x):
            return 0.0
        if isinstance(branch.values, CodeValues) and branch.pre:
            x = branch.values.outer.round(x)
        for step in branch.pre:
            x = step.evaluate(x)
        low, high = table_domain(branch.values)
        x = x[:, plan.inputs]
        return float(np.mean((x < low) | (x > high)))
    return 0.0


def table_domain(values: SegmentValues | BasisValues | CodeValues) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the ends of what a table covers, [in or 1] each; a code covers half a step to both sides."""
    if isinstance(values, CodeValues):
        grid = values.grid
        ends = grid.decode(np.array([-0.5, grid.levels - 0.5]))
        return ends[:1], ends[1:]
    if isinstance(values, SegmentValues):
        return values.knots[:, 0], values.knots[:, -1]
    return values.fold if values.fold is not None else (values.low, values.low + values.segments * values.width)


def compile_layer(plan: LayerPlan) -> KANOp:
    """Quantize a planned KAN layer.

    Raises
    ------
    SpecError
        The spec cannot be honoured for this layer.
    """
    layer = plan.layer
    n_in, n_out = layer.shape
    where = f"layer {layer.name!r}"
    branches = []
    residual: F64 | None = None
    for branch in plan.branches:
        pre = tuple(_pre_op(step, n_in, where) for step in branch.pre)
        values = branch.values
        if isinstance(values, SegmentValues) and isinstance(plan.spec, SegmentSpec):
            table = quantize_segments(values, plan.spec, where)
        elif isinstance(values, BasisValues) and isinstance(plan.spec, BasisSpec):
            table, residual = quantize_basis(values, plan.spec, where, residual)
        elif isinstance(values, BaseValues) and isinstance(plan.spec, BasisSpec) and plan.spec.coefficient_bits < 32:
            table, residual = quantize_product(
                values.function, values.weight, values.seen, plan.spec, values.rows, residual
            )
        elif isinstance(values, CodeValues):
            table = make_code_table(values)
            if pre:
                outer = values.outer
                pre = (QuantizeOp(n_in, outer.bits, outer.low, outer.step, False), *pre)
        elif isinstance(values, BaseValues):
            table = BaseTable(values.function, as_float32(values.weight, f"{where} base weights"))
        else:
            raise SpecError(f"{where}: {type(values).__name__} under {type(plan.spec).__name__}", "values of that spec")
        branches.append(BranchOp(pre, table))
    all_outputs = len(plan.outputs) == n_out
    bias = plan.bias if plan.bias is not None else (None if all_outputs else np.zeros(n_out))
    return KANOp(
        name=layer.name[-256:],
        in_features=n_in,
        out_features=n_out,
        inputs=None if len(plan.inputs) == n_in else plan.inputs.astype(np.int32),
        outputs=None if all_outputs else plan.outputs.astype(np.int32),
        bias=None if bias is None else as_float32(bias, f"{where} bias"),
        branches=tuple(branches),
    )


def _pre_op(step: Affine | LayerNorm | Activation, width: int, where: str) -> GlueOp:
    op = _glue_op(step, width, where)
    if not isinstance(op, (AffineOp, LayerNormOp, ActivationOp)):
        raise SpecError(f"{where}: {step.describe()} before the edges", "LayerNorm, affine, activation")
    return op


def _glue_op(step: Step, width: int, where: str) -> Op:
    if isinstance(step, Select):
        return SelectOp(step.in_features, step.indices.astype(np.int32))
    if isinstance(step, Affine):
        return AffineOp(
            as_float32(step.scale, f"{where} {step.origin}"), as_float32(step.bias, f"{where} {step.origin}")
        )
    if isinstance(step, LayerNorm):
        weight = None if step.weight is None else as_float32(step.weight, f"{where} LayerNorm weight")
        bias = None if step.bias is None else as_float32(step.bias, f"{where} LayerNorm bias")
        return LayerNormOp(step.features, float(step.eps), weight, bias)
    if isinstance(step, Activation):
        if step.name == "prelu":
            slope = np.broadcast_to(step.slope, width)  # type: ignore[arg-type]
            return ActivationOp(width, "prelu", as_float32(slope, f"{where} slope"))
        if step.name not in ACTIVATIONS:
            raise SpecError(
                f"{where}: activation {step.name!r} between layers has no exact float32 form", ", ".join(ACTIVATIONS)
            )
        return ActivationOp(width, step.name)
    if isinstance(step, Linear):
        bias = None if step.bias is None else as_float32(step.bias, f"{where} bias")
        return LinearOp(as_float32(step.weight, f"{where} weight"), bias)
    if isinstance(step, Product):
        sizes = [len(group) for group in step.groups]
        indices = np.concatenate([np.asarray(group, dtype=np.int32) for group in step.groups])
        return ProductOp(step.in_features, indices, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))
    raise SpecError(f"{where}: {step.describe()} cannot be compiled", "the steps of lutkan.ir.layers")
