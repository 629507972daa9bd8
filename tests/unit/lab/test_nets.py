"""Networks that are timed."""

from __future__ import annotations

import numpy as np
import pytest

from lutkan.errors import InputError
from lutkan.lab import nets
from lutkan.numerics import bspline

DRAWING = (nets.efficient_kan, nets.fast_kan, nets.kanditioned, nets.perceptron, nets.untrained_pykan)


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


def test_an_untrained_pykan_has_its_own_scale():
    model = nets.untrained_pykan((10, 8), seed=3, intervals=8)
    state = model.state
    assert state["layers.0.grid"].shape == (10, 15)
    assert state["layers.0.grid"][0, [0, 3, 11, 14]] == pytest.approx([-1.75, -1.0, 1.0, 1.75])
    knots, curves = state["layers.0.grid"][:1].astype(float), state["layers.0.spline_weight"].astype(float)
    at_grid = bspline.basis(knots[0, 3:11, None], knots, 3)[:, 0] @ curves.reshape(-1, 11).T
    assert np.abs(at_grid).max() <= 0.15 / 8 + 1e-6
    assert at_grid.std() == pytest.approx(0.3 / 8 / np.sqrt(12), rel=0.1)
    assert np.abs(state["layers.0.base_weight"]).max() <= 10**-0.5
    assert not np.array_equal(
        curves, nets.untrained_pykan((10, 8), seed=4, intervals=8).state["layers.0.spline_weight"]
    )
