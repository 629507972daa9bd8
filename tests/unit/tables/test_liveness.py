"""Dead inputs and outputs are left out, and the answers stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lutkan
from conformance import networks
from lutkan.artifact.program import KANOp
from lutkan.ir import Affine, Branch, EdgeBank, FunctionBank, KANLayer, LayerNorm, Linear, Network, Product, Select
from lutkan.tables import SegmentSpec, Spec
from lutkan.tables.liveness import live_features


def layer(live: np.ndarray, seed: int = 0, name: str = "l") -> KANLayer:
    """B-splines with some edges at zero."""
    branch = networks.spline(np.random.default_rng(seed), *live.shape)
    return KANLayer(name, (Branch(EdgeBank(branch.bank.basis, branch.bank.coefficients * live[:, None])),))


def masks(net: Network, keep: bool = False) -> dict[int, tuple[list[int], list[int]]]:
    steps = [i for i, step in enumerate(net.steps) if isinstance(step, KANLayer)]
    found = live_features(net, dict.fromkeys(steps, keep))
    return {i: (np.flatnonzero(a).tolist(), np.flatnonzero(b).tolist()) for i, (a, b) in found.items()}


ALL = np.ones((3, 3))
NO_INPUT_1 = np.array([[1, 1, 1], [0, 0, 0], [1, 1, 1]])
NO_OUTPUT_2 = np.array([[1, 1, 0], [1, 1, 0], [1, 1, 0]])


def test_an_input_without_edges_is_dead():
    assert masks(networks.network(layer(NO_INPUT_1))) == {0: ([0, 2], [0, 1, 2])}


def test_an_output_without_edges_is_dead():
    assert masks(networks.network(layer(NO_OUTPUT_2))) == {0: ([0, 1, 2], [0, 1])}


def test_an_output_that_nobody_reads_is_dead_and_so_are_the_inputs_it_alone_used():
    only_1_feeds_1 = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]])
    net = networks.network(layer(only_1_feeds_1), layer(NO_INPUT_1, 1))
    assert masks(net) == {0: ([0, 2], [0, 2]), 1: ([0, 2], [0, 1, 2])}


@pytest.mark.parametrize(
    ("step", "read"),
    [
        (Affine(np.ones(3), np.ones(3)), [0, 2]),
        (Select(np.array([2, 0, 1]), 3), [1, 2]),
        (LayerNorm(3), [0, 1, 2]),
        (Linear(np.eye(3)), [0, 1, 2]),
        (Product(((0,), (1,), (2,)), 3), [0, 1, 2]),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_steps_that_couple_features_read_all_of_them(step, read):
    net = networks.network(layer(ALL), step, layer(NO_INPUT_1, 1))
    assert masks(net)[0] == ([0, 1, 2], read)


def test_a_layer_norm_before_the_edges_reads_all_features():
    branch = layer(NO_INPUT_1, 1).branches[0]
    net = networks.network(layer(ALL), KANLayer("n", (Branch(branch.bank, (LayerNorm(3),)),)))
    assert masks(net) == {0: ([0, 1, 2], [0, 1, 2]), 1: ([0, 2], [0, 1, 2])}


def test_an_edge_scale_of_zero_is_a_mask():
    branch = networks.spline(np.random.default_rng(0), 3, 3)
    bank = EdgeBank(branch.bank.basis, branch.bank.coefficients, NO_INPUT_1.astype(float))
    assert masks(networks.one_layer(Branch(bank))) == {0: ([0, 2], [0, 1, 2])}


def test_an_edge_is_live_if_any_branch_is():
    spline, rng = layer(NO_INPUT_1).branches[0], np.random.default_rng(0)
    assert masks(networks.one_layer(spline, networks.base(rng, 3, 3))) == {0: ([0, 1, 2], [0, 1, 2])}


def test_a_constant_edge_of_a_named_function_is_live():
    bank = FunctionBank(2, 1, ("sin",), np.zeros(1, int), np.ones(1, int), np.zeros(1, int), np.array([[1, 0, 0, 3.0]]))
    assert masks(networks.one_layer(Branch(bank))) == {0: ([1], [0])}


def test_a_layer_without_live_edges_keeps_one():
    assert masks(networks.network(layer(np.zeros((3, 3))))) == {0: ([0], [0])}


def test_keep_masked_keeps_everything():
    net = networks.network(layer(NO_INPUT_1), layer(NO_OUTPUT_2, 1))
    everything = ([0, 1, 2], [0, 1, 2])
    assert masks(net, keep=True) == {0: everything, 1: everything}


def test_dead_features_are_not_in_the_file_and_do_not_change_answers():
    net, x = networks.masked(), np.random.default_rng(0).normal(0, 1.5, (200, 4))
    small, whole = (lutkan.compile(net, SegmentSpec(16, keep_masked=keep)) for keep in (False, True))
    first, last = (step for step in small.program.steps if isinstance(step, KANOp))
    assert first.inputs.tolist() == [0, 2, 3] and first.outputs.tolist() == [0, 1, 3, 4]
    assert last.inputs is None  # hidden feature 2 is its bias, which the last layer reads
    assert last.outputs.tolist() == [1, 2]
    assert small.program.edges == 3 * 4 + 5 * 2
    assert all(step.inputs is None and step.outputs is None for step in whole.program.steps)
    assert whole.program.edges == 4 * 5 + 5 * 3
    assert small.table_nbytes < 0.8 * whole.table_nbytes
    y = lutkan.load(small).predict(x)
    np.testing.assert_allclose(y, lutkan.load(whole).predict(x), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(y[:, 0], np.float32(net.layers[1].bias[0]))
    assert lutkan.verify(small, net, x).max_abs < 0.1


def test_keep_masked_is_a_choice_by_layer():
    spec = Spec(SegmentSpec(4), (("layers.0", SegmentSpec(4, keep_masked=True)),))
    first, last = lutkan.compile(networks.masked(), spec).program.steps
    assert first.inputs is None and last.outputs.tolist() == [1, 2]


def test_a_dead_hidden_feature_still_carries_its_bias_to_a_coupling_step():
    net = networks.masked()
    net = replace(net, steps=(net.steps[0], LayerNorm(5), net.steps[1]))
    x = np.random.default_rng(0).normal(0, 1, (100, 4))
    assert lutkan.verify(lutkan.compile(net, SegmentSpec(dtype="uint8")), net, x).max_abs < 0.05
