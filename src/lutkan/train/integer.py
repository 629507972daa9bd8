"""The integers of a quantized model, simulated: what its artifact answers, without making one.

Features are the integers that the tables hold, sums are integers (products of integers that float64 holds exactly), the
sums of a layer become the codes of the next one by a multiplication and a shift, and what lies between layers that are
not neighbours is computed in float32 as the runtimes do (docs/spec/semantics.md section 5.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lutkan.errors import InputError
from lutkan.ir import Activation, Affine, KANLayer, LayerNorm, Linear, Network, Product, Select, Step
from lutkan.numerics import float32
from lutkan.numerics.rows import real_rows
from lutkan.tables.code_features import CodeGrid, IntegerFeatures, integer_features
from lutkan.tables.coded import CodedBranch, CodedLayer
from lutkan.tables.liveness import live_features
from lutkan.train.convert import coded_layers
from lutkan.train.prepare import as_rows

__all__ = ["DecisionReport", "Simulation", "compare_decisions", "simulate"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# Features, rows times columns, of a layer that are held at a time: 64 MB.
_AT_ONCE = 8_000_000


@dataclass(frozen=True, eq=False)
class _Branch:
    """A branch in integers.

    Attributes
    ----------
    coded : CodedBranch
    features : IntegerFeatures
    weights : float64 [in * rows, out]
        The codes.
    unit : float32 [out]
        What one unit of the sum is worth.
    """

    coded: CodedBranch
    features: IntegerFeatures
    weights: F64
    unit: F32

    def sums(self, codes: I64) -> I64:
        """Return the integer sums of input codes: [N, in] -> [N, out]."""
        table = self.features.values - self.features.zero
        found = np.empty((len(codes), self.weights.shape[1]), dtype=np.int64)
        step = max(1, _AT_ONCE // len(self.weights))
        for start in range(0, len(codes), step):
            part = codes[start : start + step]
            column = np.zeros(1, dtype=np.int64) if len(table) == 1 else np.arange(part.shape[1])
            rows = table[column, part].reshape(len(part), -1).astype(np.float64)
            found[start : start + step] = np.rint(rows @ self.weights).astype(np.int64)
        return found


class Simulation:
    """A quantized network in integers.

    Parameters
    ----------
    network : Network
    layers : sequence of CodedLayer
        One for each KAN layer of the network, in order.

    Examples
    --------
    >>> import lutkan, lutkan.train
    >>> net = lutkan.import_model({"cheby_coeffs": np.ones((2, 3, 4), dtype=np.float32)})
    >>> model = lutkan.train.from_network(net, "w8a8")
    >>> lutkan.train.calibrate(model, np.linspace(-1, 1, 20).reshape(10, 2))
    >>> simulation = lutkan.train.Simulation(*lutkan.train.coded_layers(model))
    >>> simulation.predict(np.zeros((1, 2))).shape, simulation.codes(np.zeros((1, 2)))[0].shape
    ((1, 3), (1, 2))
    """

    def __init__(self, network: Network, layers: Sequence[CodedLayer]) -> None:
        if len(layers) != len(network.layers):
            raise InputError(f"{len(layers)} coded layers for {len(network.layers)} KAN layers", "one each")
        self.network, self.layers = network, tuple(layers)
        kan_steps = [index for index, step in enumerate(network.steps) if isinstance(step, KANLayer)]
        live = live_features(network, dict.fromkeys(kan_steps, False))
        self._outputs = [live[step][1] for step in kan_steps]
        self._branches = [[_integer_branch(layer, branch) for branch in layer.branches] for layer in layers]

    def predict(self, X: object) -> F32:
        """Answer as the artifact does: [N, in] -> float32 [N, out]."""
        return self._run(X)[0]

    def codes(self, X: object) -> list[I64]:
        """Return the codes that every KAN layer sees, int64 [N, in] each."""
        return self._run(X)[1]

    def _run(self, X: object) -> tuple[F32, list[I64]]:
        x = real_rows("X", X, self.network.in_features).astype(np.float32)
        if np.isnan(x).any():
            raise InputError(f"X[{int(np.isnan(x).any(axis=1).argmax())}] holds NaN", "numbers")
        steps = self.network.steps
        seen: list[I64] = []
        coming: I64 | None = None  # codes of the next layer's grid, where the layer before it gave them
        number = 0
        with np.errstate(over="ignore", invalid="ignore"):
            for index, step in enumerate(steps):
                if not isinstance(step, KANLayer):
                    x = _float_step(step, x)
                    continue
                layer, branches = self.layers[number], self._branches[number]
                codes = layer.grid.encode(x) if coming is None else coming
                seen.append(codes)
                sums = [branch.sums(_branch_codes(layer, branch.coded, codes)) for branch in branches]
                neighbour = index + 1 < len(steps) and isinstance(steps[index + 1], KANLayer)
                if neighbour:
                    coming = _requantized(layer, branches, sums, self.layers[number + 1].grid, self._outputs[number])
                else:
                    x, coming = _floats(layer, branches, sums), None
                number += 1
        return x, seen


def _integer_branch(layer: CodedLayer, branch: CodedBranch) -> _Branch:
    pre, inner = branch.pre, None
    grid = layer.grid if branch.grid is None else branch.grid
    if all(step.elementwise for step in branch.pre):
        grid, inner = layer.grid, branch.grid
    else:
        pre = branch.pre[_after_coupling(branch) :] if branch.grid is None else ()
    features = integer_features(branch.bank, grid, pre, inner=inner, bits=branch.bits)
    weights = branch.codes.astype(np.float64).reshape(-1, branch.bank.out_features)
    return _Branch(branch, features, weights, (branch.scale * features.scale).astype(np.float32))


def _after_coupling(branch: CodedBranch) -> int:
    return max((i + 1 for i, step in enumerate(branch.pre) if not step.elementwise), default=0)


def _branch_codes(layer: CodedLayer, branch: CodedBranch, codes: I64) -> I64:
    """Return the codes that a branch's features see."""
    if branch.grid is None or all(step.elementwise for step in branch.pre):
        return codes
    x = layer.grid.points()[codes]
    for step in branch.pre:
        x = _float_step(step, x)
    return branch.grid.encode(x)


def _requantized(
    layer: CodedLayer, branches: Sequence[_Branch], sums: Sequence[I64], grid: CodeGrid, live: NDArray[np.bool_]
) -> I64:
    """Turn sums into the codes of the next layer: a multiplication, a sum and a shift of 64-bit integers."""
    units = np.stack([branch.unit.astype(np.float64) for branch in branches]) / grid.step
    bias = np.zeros(layer.shape[1]) if layer.bias is None else layer.bias.astype(np.float32).astype(np.float64)
    offset = (bias - grid.low) / grid.step + 0.5
    # The most binary places with which multipliers stay below 2^30 and offsets below 2^62; 64-bit sums then hold.
    shift = next(
        n
        for n in range(40, -1, -1)
        if np.abs(np.rint(units[:, live] * 2.0**n)).max(initial=0) < 2**30 and np.abs(offset * 2.0**n).max() < 2.0**62
    )
    total = np.broadcast_to(np.rint(offset * 2.0**shift).astype(np.int64), sums[0].shape).copy()
    for unit, found in zip(np.rint(np.where(live, units, 0.0) * 2.0**shift).astype(np.int64), sums, strict=True):
        total += unit * found
    return np.clip(total >> shift, 0, grid.levels - 1)


def _floats(layer: CodedLayer, branches: Sequence[_Branch], sums: Sequence[I64]) -> F32:
    y = np.zeros((len(sums[0]), layer.shape[1]), dtype=np.float32)
    for branch, found in zip(branches, sums, strict=True):
        y += found.astype(np.float32) * branch.unit
    return y if layer.bias is None else y + layer.bias.astype(np.float32)


def _float_step(step: Step, x: F32) -> F32:
    """Run a step between layers with the operations of the runtimes."""
    if isinstance(step, Affine):
        return step.scale.astype(np.float32) * x + step.bias.astype(np.float32)
    if isinstance(step, LayerNorm):
        weight = np.ones(step.features) if step.weight is None else step.weight
        bias = np.zeros(step.features) if step.bias is None else step.bias
        return float32.layer_norm(x, weight.astype(np.float32), bias.astype(np.float32), step.eps)
    if isinstance(step, Activation):
        if step.slope is not None:
            return float32.prelu(x, step.slope.astype(np.float32))
        return float32.ACTIVATIONS[step.name](x)
    if isinstance(step, Linear):
        bias = None if step.bias is None else step.bias.astype(np.float32)
        return float32.linear(x, step.weight.astype(np.float32), bias)
    if isinstance(step, Select):
        return x[:, step.indices]
    if isinstance(step, Product):
        columns = []
        for group in step.groups:
            column = x[:, group[0]]
            for feature in group[1:]:
                column = column * x[:, feature]
            columns.append(column)
        return np.stack(columns, axis=1)
    raise InputError(f"a step of kind {step.kind!r} between layers", "glue steps")


def simulate(model: nn.Module, X: object) -> F32:
    """Answer rows as the artifact of a quantized model will.

    Parameters
    ----------
    model : torch.nn.Module
        From `prepare` or `from_network`, calibrated or trained.
    X : array [N, in]

    Returns
    -------
    float32 [N, out]

    Raises
    ------
    InputError, ImportModelError, SpecError
        As `coded_layers`.
    """
    return Simulation(*coded_layers(model)).predict(X)


@dataclass(frozen=True)
class DecisionReport:
    """How far the integers are from the fake-quantized model.

    Attributes
    ----------
    rows : int
    differing : int
        Rows whose largest output is another one.
    max_abs, mean_abs : float
        Of the differences of the outputs.
    """

    rows: int
    differing: int
    max_abs: float
    mean_abs: float

    @property
    def share(self) -> float:
        """Share of differing decisions."""
        return self.differing / max(self.rows, 1)


def compare_decisions(model: nn.Module, X: object) -> DecisionReport:
    """Compare the integers of a quantized model with its fake-quantized forward pass.

    Parameters
    ----------
    model : torch.nn.Module
        From `prepare` or `from_network`, calibrated or trained.
    X : array [N, in]

    Returns
    -------
    DecisionReport
    """
    rows = as_rows(model, X)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            wanted = np.concatenate([model(part).double().cpu().numpy() for part in rows.split(1024)])
    finally:
        model.train(training)
    found = simulate(model, rows.cpu().numpy()).astype(np.float64)
    away = np.abs(found - wanted)
    differing = int((found.argmax(axis=1) != wanted.argmax(axis=1)).sum())
    return DecisionReport(len(rows), differing, float(away.max()), float(away.mean()))
