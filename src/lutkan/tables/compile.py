"""Network + spec -> artifact."""

from __future__ import annotations

from collections.abc import Sequence
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
    SelectOp,
)
from lutkan.errors import InputError, SpecError
from lutkan.ir import Activation, Affine, KANLayer, LayerNorm, Linear, Network, Product, Select, Step
from lutkan.numerics.rows import real_rows
from lutkan.tables.basis import BasisValues, quantize_basis, quantize_product
from lutkan.tables.plan import BaseValues, LayerPlan, plan_network
from lutkan.tables.segment import SegmentValues, as_float32, quantize_segments
from lutkan.tables.spec import BasisSpec, SegmentSpec, Spec

__all__ = [
    "SAMPLE_ROWS",
    "assemble",
    "calibration_rows",
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
    compiled = {plan.step: op for plan, op in zip(plans, layers, strict=True)}
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
    return Artifact(program, info)


def _outside_share(plan: LayerPlan, trace: Sequence[F64]) -> float:
    """Share of the layer's table inputs that lie beyond the tables."""
    for branch in plan.branches:
        if isinstance(branch.values, BaseValues):
            continue
        x = trace[plan.step]
        for step in branch.pre:
            x = step.evaluate(x)
        low, high = table_domain(branch.values)
        x = x[:, plan.inputs]
        return float(np.mean((x < low) | (x > high)))
    return 0.0


def table_domain(values: SegmentValues | BasisValues) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the ends of what a table covers, [in or 1] each."""
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
        elif isinstance(values, BaseValues):
            table = BaseTable(values.function, as_float32(values.weight, f"{where} base weights"))
        else:
            raise SpecError(f"{where}: {type(values).__name__} under {type(plan.spec).__name__}", "values of that spec")
        branches.append(BranchOp(pre, table))
    all_outputs = len(plan.outputs) == n_out
    bias = layer.bias if layer.bias is not None else (None if all_outputs else np.zeros(n_out))
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
