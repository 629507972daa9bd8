"""The unquantized twin: the artifact's tables, weights and positions in float64, unrounded.

|twin - model| is what the representation costs (approximation), |artifact - twin| what rounding to 8 bits and
float32 costs (quantization). Where inputs are codes, the twin has the quantized inputs and weights, which is what the
spec chose to represent, but unrounded features and sums: |artifact - twin| is what doing it in integers costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import Artifact
from lutkan.artifact.program import KANOp
from lutkan.errors import SpecError, VerificationError
from lutkan.ir import Network
from lutkan.numerics import functions
from lutkan.tables import BaseValues, BasisValues, BranchPlan, CodeValues, LayerPlan, SegmentValues, Spec, plan_network

__all__ = ["evaluate_layer", "plan_of", "segment_edges", "trace_twin"]

F64 = NDArray[np.float64]
Plans = Mapping[int, LayerPlan]


def plan_of(artifact: Artifact, net: Network) -> Plans:
    """Return the unquantized plans of an artifact, by number of the network's step.

    Raises
    ------
    VerificationError
        The artifact was not compiled from this network.
    """
    program = artifact.program
    width, layout = net.in_features, []
    for step in net.steps:
        layout.append((step.kind, width, step.out_features(width)))
        width = step.out_features(width)
    found = [(op.op, *op.shape) for op in program.steps]
    if found != layout:
        raise VerificationError(
            f"the artifact's steps are {_describe(found)}, the network's {_describe(layout)}",
            "the network that the artifact was compiled from",
        )
    try:
        spec = Spec.from_json(artifact.info.get("spec", {}))
        plans = plan_network(net, spec, program=program, codes=artifact.info.get("codes"))
    except SpecError as error:
        raise VerificationError(f"the artifact does not belong to this network: {error}") from error
    for plan in plans:
        op = program.steps[plan.step]
        if not isinstance(op, KANOp) or _outline(op) != (
            plan.inputs.tolist(),
            plan.outputs.tolist(),
            [_kinds(branch) for branch in plan.branches],
        ):
            raise VerificationError(
                f"layer {plan.layer.name!r}: other live features or branches than in this network",
                "the network that the artifact was compiled from",
            )
    return {plan.step: plan for plan in plans}


def _describe(layout: Sequence[tuple[str, int, int]]) -> str:
    return ", ".join(f"{kind} {n_in} -> {n_out}" for kind, n_in, n_out in layout)


def _kinds(branch: BranchPlan) -> list[str]:
    """Return the kinds of the compiled steps before a planned table."""
    quantized = branch.pre and isinstance(branch.values, CodeValues)
    return [*(["quantize"] if quantized else []), *(step.kind for step in branch.pre)]


def _outline(op: KANOp) -> tuple[list[int], list[int], list[list[str]]]:
    """Return the live inputs and outputs of a compiled layer, and the kinds of the steps before each table."""
    inputs = range(op.in_features) if op.inputs is None else op.inputs.tolist()
    outputs = range(op.out_features) if op.outputs is None else op.outputs.tolist()
    return list(inputs), list(outputs), [[step.op for step in branch.pre] for branch in op.branches]


def trace_twin(net: Network, plans: Plans, x: F64) -> list[F64]:
    """Evaluate the twin and keep what goes into each step, and the output, as `Network.trace` does."""
    values = [x]
    with np.errstate(over="ignore", invalid="ignore"):
        for index, step in enumerate(net.steps):
            values.append(evaluate_layer(plans[index], values[-1]) if index in plans else step.evaluate(values[-1]))
    return values


def evaluate_layer(plan: LayerPlan, x: F64) -> F64:
    """Evaluate one planned layer in float64: [N, in] -> [N, out]."""
    y = np.zeros((len(x), plan.layer.shape[1]))
    with np.errstate(invalid="ignore", over="ignore"):
        for branch in plan.branches:
            seen = branch_input(plan, branch, x)
            if isinstance(branch.values, BaseValues):
                y[:, plan.outputs] += functions.apply(branch.values.function, seen) @ branch.values.weight
                continue
            if isinstance(branch.values, (BasisValues, CodeValues)):
                y[:, plan.outputs] += branch.values.evaluate(seen)
                continue
            for i in range(seen.shape[1]):
                y[:, plan.outputs] += segment_edges(branch.values, seen[:, i], i)
    return y if plan.bias is None else y + plan.bias


def branch_input(plan: LayerPlan, branch: BranchPlan, x: F64) -> F64:
    """Return what the tables of a branch see: float64 [N, live inputs]."""
    if branch.pre and isinstance(branch.values, CodeValues):
        x = np.where(np.isnan(x), x, branch.values.outer.round(x))
    for step in branch.pre:
        x = step.evaluate(x)
    return x[:, plan.inputs]


def segment_edges(table: SegmentValues, x: F64, i: int) -> F64:
    """Evaluate the edges of input `i` by interpolation of unquantized samples: float64 [N] -> [N, out].

    The rule is that of docs/spec/semantics.md section 4, with every operation in float64.
    """
    knots = table.knots[i if len(table.knots) > 1 else 0].astype(np.float64)
    low, high = knots[0], knots[-1]
    closed = table.boundary == "closed"
    inside = (x >= low) & ((x <= high) if closed else (x < high))
    point = x if table.outside == "linear" else np.clip(x, low, high)
    k = np.clip(np.searchsorted(knots, point, side="right") - 1, 0, table.segments - 1)
    width = knots[k + 1] - knots[k]
    u = np.divide(point - knots[k], width, out=np.zeros_like(point), where=width > 0)
    if table.outside != "linear":
        u = np.clip(u, 0.0, 1.0)
    position = u * (table.samples - 1)
    sample = np.nan_to_num(np.clip(np.floor(position), 0, table.samples - 2))
    w, right = position - sample, 1
    if table.outside == "linear":
        w, sample = np.where(inside, w, u), np.where(inside, sample, 0)
        right = np.where(inside, 1, table.samples - 1)
    w = w[:, None]
    row = k * table.samples + sample.astype(np.int64)
    y0, y1 = table.values[i, row], table.values[i, row + right]
    value = np.where(w < 0.5, y0, y1) if table.interpolation == "nearest" else y0 + w * (y1 - y0)
    value = np.where(np.isnan(x)[:, None], np.nan, value)
    if table.edge_scale is not None:
        value = value * table.edge_scale[i]
    if table.outside == "zero":
        value = np.where(inside[:, None] | np.isnan(x)[:, None], value, 0.0)
    elif table.outside == "base" and table.base is not None and table.base_weight is not None:
        beyond = functions.apply(table.base, x)[:, None] * table.base_weight[i]
        value = np.where(inside[:, None], value, beyond)
    return value
