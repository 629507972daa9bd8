"""Decide for every KAN layer what is tabulated, what stays analytic, and on which features.

The plan holds unquantized float64 values. Compilation quantizes it; verification evaluates it as it is (the
unquantized twin), which splits the error into approximation and quantization.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact.program import BasisTable, IntegerRows, KANOp, Program, SegmentTable, SplineTable
from lutkan.errors import SpecError
from lutkan.ir import Activation, Affine, Branch, EdgeBank, KANLayer, LayerNorm, NamedFunction, Network
from lutkan.numerics import functions
from lutkan.tables.basis import BasisValues, spread, tabulate_basis, will_fold
from lutkan.tables.coded import CodedBranch, CodedLayer, CodeValues, round_layer
from lutkan.tables.liveness import live_features
from lutkan.tables.read_coded import read_coded_layer
from lutkan.tables.rounding import FIT_ROWS
from lutkan.tables.segment import EdgeGroup, SegmentValues, require_float32_function, sample_segments
from lutkan.tables.spec import BasisSpec, CodeSpec, LayerSpec, SegmentSpec, Spec

__all__ = ["BaseValues", "BranchPlan", "LayerPlan", "plan_layers", "plan_network", "with_codes"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
_T = TypeVar("_T", bound="SegmentTable | IntegerRows | SplineTable")
Glue = Affine | LayerNorm | Activation


@dataclass(frozen=True, eq=False)
class BaseValues:
    """An analytic branch.

    Attributes
    ----------
    function : str
    weight : float64 [in, out]
    seen : (float, float)
        Range of the function's values on the calibration rows.
    rows : float64 [N, in] or None
        Calibration rows that the weights may be fitted to when they are rounded.
    """

    function: str
    weight: F64
    seen: tuple[float, float] = (-1.0, 1.0)
    rows: F64 | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.weight.shape[0], self.weight.shape[1]


@dataclass(frozen=True, eq=False)
class BranchPlan:
    """One table of a layer: the steps before it (on all features), its values, and the edges they were taken from."""

    pre: tuple[Glue, ...]
    values: SegmentValues | BasisValues | BaseValues | CodeValues
    group: EdgeGroup | None = None


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """A KAN layer as it will be compiled.

    Attributes
    ----------
    step : int
        Number of the layer's step in the network.
    layer : KANLayer
    spec : SegmentSpec, BasisSpec or CodeSpec
    inputs, outputs : int64 arrays
        Live features; what is left out is not computed.
    branches : tuple of BranchPlan
    coded : CodedLayer or None
        The quantized layer, where its inputs are codes.
    """

    step: int
    layer: KANLayer
    spec: LayerSpec
    inputs: I64
    outputs: I64
    branches: tuple[BranchPlan, ...]
    coded: CodedLayer | None = None

    @property
    def bias(self) -> F64 | None:
        """What is added to the sums, float64 [out]; quantization may have corrected the network's own."""
        return self.layer.bias if self.coded is None else self.coded.bias


def plan_network(
    net: Network,
    spec: Spec,
    trace: Sequence[F64] | None = None,
    program: Program | None = None,
    codes: object = None,
) -> tuple[LayerPlan, ...]:
    """Plan all KAN layers of a network.

    Parameters
    ----------
    net : Network
    spec : Spec
    trace : list of float64 arrays, optional
        `net.trace(rows)`: calibration ranges come from it.
    program : Program, optional
        A compiled program of the same network and spec: its knots are used, so that the plan is its twin.
    codes : JSON, optional
        The manifest's key `codes` beside that program.

    Raises
    ------
    SpecError
        The spec cannot be honoured for a layer.
    """
    kan_steps = [index for index, step in enumerate(net.steps) if isinstance(step, KANLayer)]
    names = tuple(layer.name for layer in net.layers)
    spec.require_matches(names)
    specs = {step: spec.for_layer(number, names[number]) for number, step in enumerate(kan_steps)}
    compiled = [step for step in program.steps if isinstance(step, KANOp)] if program is not None else []
    if program is not None and len(compiled) != len(kan_steps):
        raise SpecError(
            f"the artifact has {len(compiled)} KAN layers, the network {len(kan_steps)}",
            "the network that the artifact was compiled from",
        )
    coded: dict[int, CodedLayer] = {}
    for number, step in enumerate(kan_steps):
        layer_spec, layer = specs[step], net.steps[step]
        if not isinstance(layer_spec, CodeSpec) or not isinstance(layer, KANLayer):
            continue
        where = _where(layer)
        if compiled:
            written = codes[number] if isinstance(codes, list) and len(codes) == len(compiled) else None
            coded[step] = read_coded_layer(layer, compiled[number], written, where)
        else:
            seen = trace[step] if trace is not None else np.zeros((0, layer.shape[0]))
            coded[step] = round_layer(layer, layer_spec, seen, where)
    return plan_layers(net, specs, coded, trace, compiled)


def plan_layers(
    net: Network,
    specs: Mapping[int, LayerSpec],
    coded: Mapping[int, CodedLayer],
    trace: Sequence[F64] | None,
    compiled: Sequence[KANOp] = (),
) -> tuple[LayerPlan, ...]:
    """Plan all KAN layers, some of which are quantized already.

    Parameters
    ----------
    net : Network
    specs : mapping of step to layer spec
    coded : mapping of step to CodedLayer
        Every layer with a CodeSpec.
    trace : list of float64 arrays or None
        As in `plan_network`.
    compiled : sequence of KANOp
        The compiled layers, for a twin.

    Raises
    ------
    SpecError
        The spec cannot be honoured for a layer.
    """
    live = live_features(with_codes(net, coded), {step: spec.keep_masked for step, spec in specs.items()})
    plans = []
    for number, step in enumerate(specs):
        layer = net.steps[step]
        inputs, outputs = (np.flatnonzero(mask) for mask in live[step])
        rows = trace[step] if trace is not None else None
        op = compiled[number] if compiled else None
        if step in coded:
            if op is not None:
                inputs = np.arange(op.in_features) if op.inputs is None else op.inputs.astype(np.int64)
                outputs = np.arange(op.out_features) if op.outputs is None else op.outputs.astype(np.int64)
            branches = _plan_codes(coded[step], inputs, outputs)
            plans.append(LayerPlan(step, layer, specs[step], inputs, outputs, branches, coded[step]))  # type: ignore[arg-type]
            continue
        branches = _plan_layer(layer, specs[step], inputs, outputs, rows, op)  # type: ignore[arg-type]
        plans.append(LayerPlan(step, layer, specs[step], inputs, outputs, branches))  # type: ignore[arg-type]
    return tuple(plans)


def _plan_layer(
    layer: KANLayer, spec: LayerSpec, inputs: I64, outputs: I64, rows: F64 | None, op: KANOp | None
) -> tuple[BranchPlan, ...]:
    where = _where(layer)
    if isinstance(spec, CodeSpec):
        raise SpecError(f"{where}: a CodeSpec without codes", "a layer that was quantized")
    analytic, tabulated = _split(layer, spec, where)
    plans: list[BranchPlan] = []
    for coupling, branches in _groups(tabulated):
        seen = calibrated = None
        if rows is not None and len(rows):
            seen = rows
            for step in coupling:
                seen = step.evaluate(seen)
            calibrated = seen.min(axis=0), seen.max(axis=0)
        group = EdgeGroup(where, branches, calibrated, seen).take(inputs, outputs)
        if isinstance(spec, SegmentSpec):
            if op is None:
                values = sample_segments(group, spec)
            else:
                values = _sample_like(group, spec, _compiled_table(op, len(plans), SegmentTable))
        else:
            kind = SplineTable if spec.coefficient_bits == 32 else IntegerRows
            compiled = None if op is None else _compiled_table(op, len(plans), kind)
            fixed = compiled if isinstance(compiled, (BasisTable, SplineTable)) else None
            candidate = next((b for b in analytic if b.pre == coupling == ()), None)
            bank = candidate.bank if candidate is not None else None
            if compiled is None:
                fold = isinstance(bank, EdgeBank) and will_fold(group, bank, spec)
            else:
                fold = isinstance(fixed, BasisTable) and fixed.base is not None
            base = bank.take(inputs, outputs) if fold and isinstance(bank, EdgeBank) else None
            analytic = [b for b in analytic if base is None or b is not candidate]
            values = tabulate_basis(group, base, spec, fixed)
        plans.append(BranchPlan(coupling, values, group))
    for branch in analytic:
        plans.append(BranchPlan(branch.pre, _base_values(branch, spec, rows, inputs, outputs)))
    if not plans:  # every edge is zero; the layer still has to give its bias
        plans.append(BranchPlan((), BaseValues("identity", np.zeros((len(inputs), len(outputs))))))
    return tuple(plans)


def _where(layer: KANLayer) -> str:
    return f"layer {layer.name!r}" if layer.name else "layer"


def with_codes(net: Network, coded: Mapping[int, CodedLayer]) -> Network:
    """Return the network whose quantized layers have the coefficients and biases that their codes stand for.

    Parameters
    ----------
    net : Network
    coded : mapping of step to CodedLayer
    """
    steps = list(net.steps)
    for step, layer in coded.items():
        branches = tuple(
            Branch(EdgeBank(b.bank.basis, b.coefficients(), None, b.bank.role), b.pre) for b in layer.branches
        )
        steps[step] = KANLayer(layer.name, branches, layer.bias)
    return Network(tuple(steps), net.in_features, net.source) if coded else net


def _plan_codes(layer: CodedLayer, inputs: I64, outputs: I64) -> tuple[BranchPlan, ...]:
    plans = []
    for number, branch in enumerate(layer.branches):
        if not branch.codes.any() and (plans or number + 1 < len(layer.branches)):
            continue
        coupled = not all(step.elementwise for step in branch.pre)
        cut = CodedBranch(
            () if coupled else tuple(step.take(inputs) for step in branch.pre if not isinstance(step, LayerNorm)),
            branch.grid,
            branch.bank.take(inputs, outputs),
            branch.codes[inputs][:, :, outputs],
            branch.bits,
            branch.scale[outputs],
        )
        plans.append(BranchPlan(branch.pre if coupled else (), CodeValues(number, layer.grid, cut, coupled)))
    return tuple(plans)


def _function(branch: Branch) -> str:
    """Return the function of a base branch, or an empty string."""
    bank = branch.bank
    named = isinstance(bank, EdgeBank) and bank.role == "base" and isinstance(bank.basis, NamedFunction)
    return bank.basis.name if named else ""  # type: ignore[attr-defined, union-attr]


def _base_values(branch: Branch, spec: LayerSpec, rows: F64 | None, inputs: I64, outputs: I64) -> BaseValues:
    name, bank = _function(branch), branch.bank.take(inputs, outputs)
    if not isinstance(bank, EdgeBank):
        raise TypeError(f"{bank.describe()} is no base branch")
    if rows is None or not len(rows) or not isinstance(spec, BasisSpec):
        return BaseValues(name, bank.weights[:, 0, :])
    for step in branch.pre:
        rows = step.evaluate(rows)
    tails = [(1.0 - spec.cover) / 2.0, 1.0 - (1.0 - spec.cover) / 2.0]
    low, high = np.quantile(functions.apply(name, rows[:, inputs]), tails)
    kept = rows[np.ix_(spread(len(rows), FIT_ROWS), inputs)]
    return BaseValues(name, bank.weights[:, 0, :], (float(low), float(high)), kept)


def _compiled_table(op: KANOp, index: int, kind: type[_T]) -> _T:
    table = op.branches[index].table if index < len(op.branches) else None
    if not isinstance(table, kind):
        raise SpecError(f"layer {op.name!r}: the artifact's tables are not those of this network", "the same network")
    return table


def _sample_like(group: EdgeGroup, spec: SegmentSpec, table: SegmentTable) -> SegmentValues:
    """Sample at the knots of a compiled table."""
    if table.shape != (group.in_features, group.branches[0].bank.out_features):
        raise SpecError(f"{group.where}: the artifact's table has shape {table.shape}", "the network it was made from")
    if any(isinstance(b.bank, EdgeBank) and b.bank.basis.knots is not None and not b.pre for b in group.branches):
        values = sample_segments(group, spec)
        if values.knots.shape != table.knots.shape or (values.knots != table.knots).any():
            raise SpecError(
                f"{group.where}: the artifact's knots are not the network's", "the network it was made from"
            )
        return values
    low, high = table.knots[:, 0].astype(np.float64), table.knots[:, -1].astype(np.float64)
    n_in = group.in_features
    fixed = replace(group, calibrated=(np.broadcast_to(low, n_in), np.broadcast_to(high, n_in)))
    return sample_segments(fixed, spec, table.knots)


def _split(layer: KANLayer, spec: LayerSpec, where: str) -> tuple[list[Branch], list[Branch]]:
    """Split the branches into those that stay analytic and those that are tabulated."""
    branches = [b for b in layer.branches if not _is_zero(b)]
    bases = [b for b in branches if _function(b)]
    if not bases or (isinstance(spec, SegmentSpec) and spec.value == "phi"):
        return [], branches
    for branch in bases:
        require_float32_function(where, _function(branch))
    return bases, [b for b in branches if not any(b is base for base in bases)]


def _is_zero(branch: Branch) -> bool:
    basis = branch.bank.basis if isinstance(branch.bank, EdgeBank) else None
    return (isinstance(basis, NamedFunction) and basis.name == "zero") or not branch.bank.live().any()


def _groups(branches: Sequence[Branch]) -> list[tuple[tuple[Glue, ...], tuple[Branch, ...]]]:
    """Group branches that see the same input; return the coupling steps and the rest of each branch."""
    groups: list[tuple[tuple[Glue, ...], list[Branch]]] = []
    for branch in branches:
        cut = max((i + 1 for i, step in enumerate(branch.pre) if not step.elementwise), default=0)
        coupling, rest = branch.pre[:cut], Branch(branch.bank, branch.pre[cut:])
        for known, members in groups:
            if len(known) == len(coupling) and all(a is b for a, b in zip(known, coupling, strict=True)):
                members.append(rest)
                break
        else:
            groups.append((coupling, [rest]))
    return [(coupling, tuple(members)) for coupling, members in groups]
