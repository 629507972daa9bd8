"""Mixed precision by curvature: HAWQ-V2 over the branches of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lutkan.ir import KANLayer, Network
from lutkan.tables import CodeSpec, Spec
from lutkan.train.ptq.features import LayerView
from lutkan.train.ptq.gradients import hutchinson_traces, resolve_loss
from lutkan.train.ptq.rounding import searched_grid

__all__ = ["BIT_CHOICES", "choose_bits", "hawq_costs", "hawq_spec", "with_bits"]

F64 = NDArray[np.float64]
Key = tuple[int, str]
#: Bits that a branch may get.
BIT_CHOICES = (2, 3, 4, 5, 6, 8)


def choose_bits(
    costs: Mapping[Key, Mapping[int, float]], sizes: Mapping[Key, Mapping[int, float]], budget: float
) -> dict[Key, int]:
    """Return the bits of each branch with the least total cost within a budget.

    Exact by a walk over the Pareto front of partial sums; costs add up by assumption.

    Parameters
    ----------
    costs : mapping of branch to (bits to cost)
    sizes : mapping of branch to (bits to size)
        In the budget's unit.
    budget : float

    Returns
    -------
    dict of branch to bits; empty if nothing fits.

    Examples
    --------
    >>> costs = {(0, "base"): {2: 9.0, 4: 1.0}, (0, "spline"): {2: 2.0, 4: 1.0}}
    >>> sizes = {(0, "base"): {2: 2.0, 4: 4.0}, (0, "spline"): {2: 2.0, 4: 4.0}}
    >>> choose_bits(costs, sizes, 6.0)
    {(0, 'base'): 4, (0, 'spline'): 2}
    """
    front: list[tuple[float, float, tuple[int, ...]]] = [(0.0, 0.0, ())]
    for key, options in costs.items():
        grown = [
            (size + sizes[key][bits], cost + options[bits], (*chosen, bits))
            for size, cost, chosen in front
            for bits in options
            if size + sizes[key][bits] <= budget * (1 + 1e-12)
        ]
        grown.sort(key=lambda entry: entry[:2])
        front, least = [], np.inf
        for entry in grown:
            if entry[1] < least:
                front.append(entry)
                least = entry[1]
    if not front:
        return {}
    best = min(front, key=lambda entry: entry[1])
    return dict(zip(costs, best[2], strict=True))


def with_bits(net: Network, spec: Spec, bits: Mapping[Key, int]) -> Spec:
    """Return a spec that gives each layer's branches their bits, and keeps the rest."""
    overrides = []
    for number, layer in enumerate(net.layers):
        own = spec.for_layer(number, layer.name)
        if isinstance(own, CodeSpec):
            for role in ("base", "spline"):
                if (number, role) in bits:
                    own = replace(own, **{role: replace(getattr(own, role), bits=bits[number, role])})
        overrides.append((str(number), own))
    return Spec(spec.default, tuple(overrides))


def flat_bits(net: Network, spec: Spec) -> dict[Key, tuple[int, int]]:
    """Return bits and number of weights of every branch that has bits; branches of one role count together."""
    found: dict[Key, tuple[int, int]] = {}
    for number, layer in enumerate(net.layers):
        own = spec.for_layer(number, layer.name)
        for branch in LayerView(layer, 0).branches:
            bits = getattr(own, "base" if branch.role == "base" else "spline").bits
            if bits is not None:
                key = (number, "base" if branch.role == "base" else "spline")
                found[key] = (bits, found.get(key, (0, 0))[1] + branch.weights.size)
    return found


def hawq_costs(net: Network, X: F64, keys: Sequence[Key], *, seed: int) -> dict[Key, dict[int, float]]:
    """Return HAWQ-V2's cost of every branch by bits: mean trace of the Hessian times the squared rounding error."""
    traces = hutchinson_traces(net, X, loss=resolve_loss(net), seed=seed)
    costs: dict[Key, dict[int, float]] = {key: dict.fromkeys(BIT_CHOICES, 0.0) for key in keys}
    number = -1
    for step, layer in enumerate(net.steps):
        if not isinstance(layer, KANLayer):
            continue
        number += 1
        for position, branch in enumerate(LayerView(layer, step).branches):
            key = (number, "base" if branch.role == "base" else "spline")
            if key not in costs:
                continue
            W = branch.weights
            mean_trace = traces[step, position] / W.size
            for bits in BIT_CHOICES:
                grid = searched_grid(W, bits)
                costs[key][bits] += mean_trace * float(np.sum((grid.values(grid.nearest(W)) - W) ** 2))
    return costs


def hawq_spec(net: Network, spec: Spec, X: F64, *, seed: int) -> Spec:
    """Spread the bytes of a flat spec over layers and branches so that HAWQ-V2's cost is least (arXiv 1911.03852)."""
    flat = flat_bits(net, spec)
    sizes = {key: {bits: float(bits * n) for bits in BIT_CHOICES} for key, (_, n) in flat.items()}
    budget = float(sum(bits * n for bits, n in flat.values()))
    chosen = choose_bits(hawq_costs(net, X, tuple(flat), seed=seed), sizes, budget)
    return with_bits(net, spec, chosen) if chosen else spec
