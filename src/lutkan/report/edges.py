"""Edge functions for plots: the model's in float64 beside what the artifact's tables answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import Artifact
from lutkan.artifact.program import (
    AffineOp,
    BaseTable,
    BasisTable,
    BranchOp,
    CodeTable,
    IntegerRows,
    KANOp,
    KnotTable,
    LayerNormOp,
    ProductTable,
    QuantizeOp,
    SegmentTable,
    SplineTable,
    Table,
)
from lutkan.errors import InputError
from lutkan.ir import KANLayer, LayerNorm, Network
from lutkan.numerics.fixed_point import pack_codes
from lutkan.runtimes import reference
from lutkan.verify.twin import plan_of

__all__ = ["Edge", "EdgeCurve", "asked_edges", "chosen_edges", "edge_curve", "parse_edges"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_POINTS = 601
# How far beyond the tables a plot reaches, in parts of their width.
_MARGIN = 0.15
# Points an edge on which the largest differences are looked for.
_PROBES = 33


@dataclass(frozen=True, order=True)
class Edge:
    """An edge by its numbers: the layer counts KAN layers, from 0."""

    layer: int
    source: int
    target: int

    def __str__(self) -> str:
        return f"{self.layer}:{self.source}:{self.target}"


@dataclass(frozen=True, eq=False)
class EdgeCurve:
    """An edge function, sampled.

    Attributes
    ----------
    edge : Edge
    name : str
        Of the layer.
    x, model, artifact : float64 [S]
    inside : (float, float)
        What the tables cover.
    after_norm : bool
        Whether a LayerNorm stands before the edge: `x` is then what comes out of it.
    """

    edge: Edge
    name: str
    x: F64
    model: F64
    artifact: F64
    inside: tuple[float, float]
    after_norm: bool

    @property
    def error(self) -> F64:
        """The difference artifact - model, float64 [S]."""
        return self.artifact - self.model


def parse_edges(text: str) -> tuple[Edge, ...]:
    """Read edges written as `layer:source:target`, separated by commas.

    Raises
    ------
    InputError
        It is something else.

    Examples
    --------
    >>> parse_edges("0:3:5,1:0:2")
    (Edge(layer=0, source=3, target=5), Edge(layer=1, source=0, target=2))
    """
    found = []
    for part in text.split(","):
        numbers = part.strip().split(":")
        if len(numbers) != 3 or not all(number.isascii() and number.isdigit() for number in numbers):
            raise InputError(
                f"--edges {text}", "LAYER:SOURCE:TARGET, separated by commas", "such as --edges 0:3:5,1:0:2"
            )
        found.append(Edge(*(int(number) for number in numbers)))
    return tuple(dict.fromkeys(found))


def edge_curve(artifact: Artifact, net: Network, edge: Edge, points: int = _POINTS) -> EdgeCurve:
    """Sample an edge of the model and of the artifact, a little beyond what the tables cover.

    Parameters
    ----------
    artifact : Artifact
    net : Network
        The network that the artifact was compiled from.
    edge : Edge
    points : int

    Raises
    ------
    InputError
        There is no such edge.
    VerificationError
        The artifact does not belong to the network.

    Examples
    --------
    >>> import lutkan
    >>> net = lutkan.import_model({"cheby_coeffs": np.ones((2, 1, 3), dtype=np.float32)})
    >>> curve = edge_curve(lutkan.compile(net, "segment-int8-L64"), net, Edge(0, 1, 0))
    >>> bool(np.abs(curve.error).max() < 0.02)
    True
    """
    step, layer, op = _layer(artifact, net, edge)
    low, high = _covered(op, edge)
    margin = _MARGIN * (high - low)
    x = np.linspace(low - margin, high + margin, points).astype(np.float32).astype(np.float64)
    model, table = _values(layer, op, edge, x)
    normed = any(isinstance(glue, LayerNorm) for branch in layer.branches for glue in branch.pre)
    return EdgeCurve(edge, layer.name or f"step {step}", x, model, table, (low, high), normed)


def chosen_edges(artifact: Artifact, net: Network, count: int = 2) -> tuple[Edge, ...]:
    """Choose the edges of every KAN layer that differ most from the model where the tables cover them.

    At most 64 inputs a layer are looked at, evenly spread.

    Examples
    --------
    >>> import lutkan
    >>> net = lutkan.import_model({"cheby_coeffs": np.eye(3, dtype=np.float32)[:, None, :]})
    >>> [str(edge) for edge in chosen_edges(lutkan.compile(net, "segment-int8-L64"), net, 1)]
    ['0:2:0']
    """
    chosen: list[Edge] = []
    for number, (_, layer, op) in enumerate(_kan_layers(artifact, net)):
        n_in, n_out = layer.shape
        found: list[tuple[float, Edge]] = []
        for source in np.unique(np.linspace(0, n_in - 1, min(n_in, 64)).astype(int)).tolist():
            low, high = _covered(op, Edge(number, source, 0))
            x = np.linspace(low, high, _PROBES).astype(np.float32)
            held = _artifact_edges(op, source, x).astype(np.float64)
            for target in range(n_out):
                exact = layer.edge(source, target)(x)
                found.append((float(np.abs(held[:, target] - exact).max()), Edge(number, source, target)))
        found.sort(key=lambda pair: (-pair[0], pair[1]))
        chosen += [edge for _, edge in found[:count]]
    return tuple(chosen)


def _kan_layers(artifact: Artifact, net: Network) -> list[tuple[int, KANLayer, KANOp]]:
    plans = plan_of(artifact, net)  # checks that they belong together
    found = []
    for step in sorted(plans):
        op = artifact.program.steps[step]
        if isinstance(op, KANOp):
            found.append((step, plans[step].layer, op))
    return found


def _layer(artifact: Artifact, net: Network, edge: Edge) -> tuple[int, KANLayer, KANOp]:
    layers = _kan_layers(artifact, net)
    if edge.layer >= len(layers):
        raise InputError(f"edge {edge}: there is no KAN layer {edge.layer}", f"0 to {len(layers) - 1}")
    step, layer, op = layers[edge.layer]
    n_in, n_out = layer.shape
    if edge.source >= n_in or edge.target >= n_out:
        raise InputError(
            f"edge {edge}: layer {edge.layer} has {n_in} inputs and {n_out} outputs",
            f"{edge.layer}:0:0 to {edge.layer}:{n_in - 1}:{n_out - 1}",
        )
    return step, layer, op


def _values(layer: KANLayer, op: KANOp, edge: Edge, x: F64) -> tuple[F64, F64]:
    model = layer.edge(edge.source, edge.target)(x)
    table = _artifact_edges(op, edge.source, x.astype(np.float32))[:, edge.target]
    return model, table.astype(np.float64)


def _artifact_edges(op: KANOp, source: int, x: F32) -> F32:
    """Evaluate all edges of an input by the reference runtime, without the bias: float32 [S] -> [S, out]."""
    place = _place(op, source)
    if place is None:  # the input has no live edge
        return np.zeros((len(x), op.out_features), dtype=np.float32)
    branches = []
    for branch in op.branches:
        pre = tuple(_cut_glue(step, source) for step in branch.pre if not isinstance(step, LayerNormOp))
        branches.append(BranchOp(pre, _cut(branch.table, place)))
    bias = None if op.outputs is None else np.zeros(op.out_features, dtype=np.float32)
    single = replace(op, in_features=1, inputs=None, bias=bias, branches=tuple(branches), requantize=None)
    with np.errstate(all="ignore"):
        return reference.run_kan(single, np.ascontiguousarray(x[:, None]))


def _place(op: KANOp, source: int) -> int | None:
    """Return the place of an input in the tables, None where it is in none."""
    if op.inputs is None:
        return source
    places = np.flatnonzero(op.inputs == source)
    return int(places[0]) if places.size else None


def _cut_glue(step: Any, source: int) -> Any:
    """Return an elementwise step for one of its features."""
    if isinstance(step, AffineOp):
        return AffineOp(step.scale[source : source + 1], step.bias[source : source + 1])
    if isinstance(step, QuantizeOp):
        return replace(step, features=1, coded=False)
    slope = None if step.slope is None else step.slope[source : source + 1]
    return replace(step, features=1, slope=slope)


def _cut(table: Table, i: int) -> Table:
    """Return a table for one of its inputs."""

    def mine(array: Any) -> Any:
        return None if array is None else array if len(array) == 1 else array[i : i + 1]

    if isinstance(table, SegmentTable):
        return replace(
            table,
            knots=mine(table.knots),
            q=table.q[i : i + 1],
            scale=table.scale[i : i + 1],
            offset=None if table.offset is None else table.offset[i : i + 1],
            edge_scale=None if table.edge_scale is None else table.edge_scale[i : i + 1],
            base_weight=None if table.base_weight is None else table.base_weight[i : i + 1],
        )
    if isinstance(table, BaseTable):
        return BaseTable(table.function, table.weight[i : i + 1])
    if isinstance(table, SplineTable):
        return replace(table, low=mine(table.low), inverse=mine(table.inverse), rows=table.rows[i : i + 1])
    bits, q = table.coefficient_bits, table.coefficients[i : i + 1]
    # Packed codes of one input may end within a byte, so they are packed anew.
    own: dict[str, Any] = {"in_features": 1, "q": q if bits >= 8 else pack_codes(q.astype(np.int8), bits)}
    if isinstance(table, ProductTable):
        return replace(table, **own)
    if isinstance(table, BasisTable):
        base_q = None if table.base_q is None else table.base_q[i : i + 1]
        own |= {name: mine(getattr(table, name)) for name in ("low", "inverse", "base_rows", "fold_low", "fold_high")}
        own["base_q"] = base_q
    elif isinstance(table, KnotTable):
        own["knots"] = mine(table.knots)
    elif isinstance(table, CodeTable):
        # The layer before may hand over codes; an edge is drawn over the numbers that they stand for.
        own |= {"features": mine(table.features), "knots": mine(table.knots), "coded": False}
    return replace(table, **own)


def _covered(op: KANOp, edge: Edge) -> tuple[float, float]:
    """Return what the tables of an input cover, in terms of what comes into the layer (after LayerNorm, if any)."""
    place = _place(op, edge.source)
    for branch in op.branches:
        ends = None if place is None else _ends(branch.table, place)
        if ends is None:
            continue
        low, high = ends
        for step in reversed([step for step in branch.pre if not isinstance(step, LayerNormOp | QuantizeOp)]):
            if not isinstance(step, AffineOp):
                # A squashing function: its table holds all that comes out of it, so show where it bends.
                return -3.0, 3.0
            scale, bias = float(step.scale[edge.source]), float(step.bias[edge.source])
            if scale == 0.0:
                return -1.0, 1.0
            low, high = sorted(((low - bias) / scale, (high - bias) / scale))
        return (low, high) if high > low else (low - 0.5, low + 0.5)
    return -1.0, 1.0


def _ends(table: Table, i: int) -> tuple[float, float] | None:
    """Return the ends of a table for an input, None for an analytic one."""

    def mine(array: Any) -> Any:
        return array[i if len(array) > 1 else 0]

    if isinstance(table, SegmentTable | KnotTable):
        knots = mine(table.knots)
        return float(knots[0]), float(knots[-1])
    if isinstance(table, SplineTable):
        low = float(mine(table.low))
        return low, low + table.segments / float(mine(table.inverse))
    if isinstance(table, CodeTable):
        return table.low, table.low + table.step * ((1 << table.bits) - 1)
    if isinstance(table, IntegerRows):
        low = float(mine(table.low))  # type: ignore[attr-defined]
        count = table.segments << table.position_bits if isinstance(table, BasisTable) else table.positions  # type: ignore[attr-defined]
        return low, low + count / float(mine(table.inverse))  # type: ignore[attr-defined]
    return None


def asked_edges(text: str | None, artifact: Artifact, net: Network) -> Sequence[Edge]:
    """Return the edges that were asked for, or without any the two of every layer that differ most."""
    return chosen_edges(artifact, net) if text is None else parse_edges(text)
