"""Choosing bits: against all assignments, and within the budget."""

import itertools

import numpy as np
import pytest

from lutkan.lab.nets import efficient_kan, input_rows
from lutkan.tables import resolve_spec
from lutkan.train.ptq.mixed import BIT_CHOICES, choose_bits, flat_bits, hawq_costs, hawq_spec, with_bits


@pytest.mark.parametrize("seed", range(5))
def test_choose_bits_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    keys = [(0, "base"), (0, "spline"), (1, "base"), (1, "spline")]
    n = dict(zip(keys, (64, 512, 10, 80), strict=True))
    costs = {k: dict(zip(BIT_CHOICES, sorted(rng.exponential(size=len(BIT_CHOICES)))[::-1], strict=True)) for k in keys}
    sizes = {k: {b: float(b * n[k]) for b in BIT_CHOICES} for k in keys}
    budget = 3.0 * sum(n.values())
    found = choose_bits(costs, sizes, budget)
    assert sum(sizes[k][b] for k, b in found.items()) <= budget
    every = (dict(zip(keys, bits, strict=True)) for bits in itertools.product(BIT_CHOICES, repeat=4))
    best = min(
        sum(costs[k][b] for k, b in bits.items())
        for bits in every
        if sum(sizes[k][b] for k, b in bits.items()) <= budget
    )
    assert sum(costs[k][b] for k, b in found.items()) == pytest.approx(best)
    assert choose_bits(costs, sizes, 1.0) == {}


def test_hawq_spec_keeps_the_size_and_lowers_its_cost():
    net, X = efficient_kan((6, 5, 3)).network, input_rows(6, 200).astype(np.float64)
    flat = resolve_spec("w3a3")
    spec = hawq_spec(net, flat, X, seed=0)
    before, after = flat_bits(net, flat), flat_bits(net, spec)
    assert sum(b * n for b, n in after.values()) <= sum(b * n for b, n in before.values())
    costs = hawq_costs(net, X, tuple(before), seed=0)
    assert sum(costs[k][after[k][0]] for k in after) <= sum(costs[k][3] for k in before)
    assert all(spec.for_layer(i, "").input_bits == 3 for i in range(2))


def test_with_bits_changes_only_the_weights():
    net = efficient_kan((4, 3)).network
    spec = with_bits(net, resolve_spec("w4a8"), {(0, "spline"): 2})
    own = spec.for_layer(0, net.layers[0].name)
    assert (own.base.bits, own.spline.bits, own.input_bits) == (4, 2, 8)
