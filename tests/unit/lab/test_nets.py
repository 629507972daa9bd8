"""Networks that are timed."""

from __future__ import annotations

import numpy as np
import pytest

from lutkan.errors import InputError
from lutkan.lab import nets

DRAWING = (nets.efficient_kan, nets.fast_kan, nets.kanditioned, nets.perceptron)


@pytest.mark.parametrize("draw", DRAWING)
def test_the_same_seed_draws_the_same_network(draw):
    first, again, other = draw((5, 4, 3)), draw((5, 4, 3)), draw((5, 4, 3), seed=1)
    assert first.edges == 32
    assert list(first.state) == list(again.state)
    assert all(np.array_equal(first.state[name], again.state[name]) for name in first.state)
    assert not all(np.array_equal(first.state[name], other.state[name]) for name in first.state)
    assert all(array.dtype == np.float32 for array in first.state.values())
    assert first.checkpoint_bytes > first.nbytes == sum(array.nbytes for array in first.state.values())


@pytest.mark.parametrize("draw", DRAWING[:3])
def test_networks_are_recognised_and_have_their_edges(draw):
    model = draw((5, 4, 3))
    assert model.network.edges == model.edges
    assert model.network.source.family == model.family
    x = nets.input_rows(5, 11)
    np.testing.assert_array_equal(model.evaluate(x), model.network.evaluate(x))
    np.testing.assert_array_equal(model.evaluate(-x), model.network.evaluate(-x))  # the kept answer is of those rows


def test_hidden_activations_leave_the_grid_as_trained_ones_do():
    model = nets.efficient_kan((64, 64, 10))
    hidden = model.network.trace(nets.input_rows(64, 500))[1]
    assert 0.2 < np.mean(np.abs(hidden) > 1) < 0.45


def test_perceptron_has_silu_between_its_layers():
    model = nets.perceptron((3, 4, 2))
    x = nets.input_rows(3, 5).astype(np.float64)
    w0, b0, w1, b1 = (model.state[f"layers.{i}.{n}"].astype(float) for i in (0, 1) for n in ("weight", "bias"))
    hidden = x @ w0.T + b0
    expected = (hidden / (1 + np.exp(-hidden))) @ w1.T + b1
    np.testing.assert_allclose(model.evaluate(x.astype(np.float32)), expected, rtol=1e-12)


def test_bad_widths():
    with pytest.raises(InputError, match="two or more"):
        nets.efficient_kan((3,))
    with pytest.raises(InputError, match="positive"):
        nets.edge_count((3, 0))
