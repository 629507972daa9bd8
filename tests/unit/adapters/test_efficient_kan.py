from __future__ import annotations

import numpy as np
import pytest

from checkpoints import bspline, close, prefixed, rows, silu, sum_of_edges, weights
from lutkan.adapters import import_model
from lutkan.errors import ImportModelError, InputError

N_IN, N_OUT, G, K = 3, 2, 5, 3
UNIFORM = np.tile(((np.arange(-K, G + K + 1)) * 0.4 - 1.0).astype(np.float32), (N_IN, 1))


def state(seed: int = 0, grid: np.ndarray = UNIFORM) -> dict[str, np.ndarray]:
    return {
        "base_weight": weights(seed, N_OUT, N_IN),
        "spline_weight": weights(seed + 1, N_OUT, N_IN, grid.shape[1] - 1 - K),
        "spline_scaler": weights(seed + 2, N_OUT, N_IN),
        "grid": grid,
    }


def by_hand(layer: dict[str, np.ndarray], x: np.ndarray, degree: int = K, act=silu) -> np.ndarray:
    s = {name: value.astype(np.float64) for name, value in layer.items()}

    def edge(i, j, xi):
        spline = sum(
            s["spline_weight"][j, i, m] * bspline(xi, s["grid"][i], degree, m)
            for m in range(s["spline_weight"].shape[2])
        )
        return s["base_weight"][j, i] * act(xi) + s.get("spline_scaler", np.ones((N_OUT, N_IN)))[j, i] * spline

    return sum_of_edges(x, N_OUT, edge)


def test_a_layer_is_the_sum_of_its_edges():
    x = rows(N_IN)
    assert close(import_model(state()).evaluate(x), by_hand(state(), x))


def test_a_key_prefix_is_no_obstacle():
    x = rows(N_IN)
    net = import_model(prefixed(state(), "model.kan.layers.0"))
    assert net.layers[0].name == "model.kan.layers.0"
    assert close(net.evaluate(x), by_hand(state(), x))


def test_layers_stand_in_natural_order_not_in_that_of_the_letters():
    square = {
        "base_weight": weights(3, N_IN, N_IN),
        "spline_weight": weights(4, N_IN, N_IN, G + K),
        "grid": UNIFORM,
    }
    stack = {f"layers.{n}.{name}": value for n in (10, 9, 2) for name, value in square.items()}
    names = [layer.name for layer in import_model(stack).layers]
    assert names == ["layers.2", "layers.9", "layers.10"]


# ---- the traps


def test_trap_extended_grid_support_and_partition_of_unity():
    """Bases live on the extended knots, sum to 1 on the core only, and are 0 outside and at the last knot."""
    layer = import_model(state() | {"base_weight": np.zeros((N_OUT, N_IN), np.float32)})
    basis = layer.layers[0].branches[0].bank.basis
    inside, between, outside = np.full((1, N_IN), 0.99), np.full((1, N_IN), 1.7), np.full((1, N_IN), 2.3)
    assert np.allclose(basis.evaluate(inside).sum(-1), 1.0, atol=1e-12)
    assert np.all((basis.evaluate(between).sum(-1) > 0) & (basis.evaluate(between).sum(-1) < 0.99))
    assert np.all(layer.evaluate(outside) == 0.0)
    assert np.all(layer.evaluate(UNIFORM[:, -1].astype(np.float64)[None]) == 0.0)
    assert np.any(layer.evaluate(np.full((1, N_IN), 2.19)) != 0.0)


def test_trap_outside_only_the_base_branch_goes_on():
    x = np.full((1, N_IN), 7.5)
    expected = silu(7.5) * state()["base_weight"].astype(np.float64).sum(1)
    assert close(import_model(state()).evaluate(x), expected[None])


def test_trap_the_scaler_folds_into_the_coefficients_exactly():
    s = state()
    folded = s["spline_weight"].astype(np.float64) * s["spline_scaler"].astype(np.float64)[..., None]
    bank = import_model(s).layers[0].branches[0].bank
    assert np.array_equal(bank.weights, folded.transpose(1, 2, 0))
    without = {name: value for name, value in s.items() if name != "spline_scaler"} | {"spline_weight": folded}
    x = rows(N_IN)
    assert close(import_model(without).evaluate(x), import_model(s).evaluate(x))


def test_trap_update_grid_leaves_non_uniform_knots_a_row_an_input_and_tensors_are_copied():
    grid = np.sort(np.random.default_rng(5).uniform(-2, 2, size=(N_IN, G + 2 * K + 1)), axis=1).astype(np.float32)
    s, x = state(grid=grid), rows(N_IN)
    net = import_model(s)
    bank = net.layers[0].branches[0].bank
    assert np.array_equal(bank.coefficients, s["spline_weight"].astype(np.float64).transpose(1, 2, 0))
    assert np.array_equal(bank.scale, s["spline_scaler"].astype(np.float64).T)
    assert np.array_equal(bank.basis.knots, grid.astype(np.float64))
    assert close(net.evaluate(x), by_hand(s, x))
    assert "non-uniform knots, per input" in net.summary()


def test_trap_repeated_knots_have_no_finite_answer_and_are_refused():
    grid = UNIFORM.copy()
    grid[1, 5] = grid[1, 4]
    with pytest.raises(ImportModelError, match="input 1 repeats a knot"):
        import_model(state(grid=grid))


@pytest.mark.parametrize(("degree", "intervals"), [(1, 4), (2, 8), (3, 1), (5, 6)])
def test_trap_degree_and_grid_size_come_from_the_shapes(degree, intervals):
    knots = (np.arange(-degree, intervals + degree + 1) / intervals).astype(np.float32)
    s = state() | {
        "spline_weight": weights(9, N_OUT, N_IN, intervals + degree),
        "grid": np.tile(knots, (N_IN, 1)),
    }
    net, x = import_model(s), rows(N_IN)
    basis = net.layers[0].branches[0].bank.basis
    assert (basis.degree, basis.intervals) == (degree, intervals)
    assert close(net.evaluate(x), by_hand(s, x, degree))


def test_trap_base_activation_is_not_stored_so_a_default_is_taken_and_said():
    net = import_model(state())
    assert any("base_activation = 'silu'" in text for text in net.source.defaults_taken)
    assert "default taken: base_activation = 'silu'" in net.summary()
    told = import_model(state(), config={"base_activation": "relu"})
    assert told.source.defaults_taken == ()
    x = rows(N_IN)
    assert close(told.evaluate(x), by_hand(state(), x, act=lambda v: np.maximum(v, 0)))


def test_trap_the_input_has_two_axes():
    net = import_model(state())
    with pytest.raises(InputError, match=r"\[N, 3\]"):
        net.evaluate(np.zeros((2, 4, N_IN)))


# ---- faults


@pytest.mark.parametrize("name", ["base_weight", "grid", "spline_weight"])
def test_a_missing_tensor_is_named(name):
    broken = prefixed({key: value for key, value in state().items() if key != name}, "net.0")
    with pytest.raises(ImportModelError, match=name if name != "spline_weight" else "no KAN layer is recognised"):
        import_model(broken)


@pytest.mark.parametrize("name", ["base_weight", "spline_scaler", "grid", "spline_weight"])
def test_a_transposed_tensor_is_refused(name):
    with pytest.raises(ImportModelError, match=r"shape|knots"):
        import_model(state() | {name: np.swapaxes(state()[name], 0, 1)})


@pytest.mark.parametrize("name", ["base_weight", "spline_weight", "spline_scaler", "grid"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_tensor_that_is_not_finite_is_named_with_the_place(name, value):
    s = {key: array.copy() for key, array in state().items()}
    s[name].flat[4] = value
    where = list(map(int, np.unravel_index(4, s[name].shape)))
    with pytest.raises(ImportModelError) as caught:
        import_model(prefixed(s, "kan"))
    assert f"'kan.{name}' holds {value} at index {where}" in str(caught.value)


def test_an_extra_tensor_is_refused():
    with pytest.raises(ImportModelError, match="tensor 'bias' is not a tensor of efficient-kan"):
        import_model(state() | {"bias": np.zeros(N_OUT)})


def test_half_precision_tensors_mean_what_they_hold():
    s, x = {name: value.astype(np.float16) for name, value in state().items()}, rows(N_IN)
    assert close(import_model(s).evaluate(x), by_hand(s, x))


def test_knots_that_fit_no_degree_are_refused():
    with pytest.raises(ImportModelError, match=r"'grid' has 9 knots for 8 coefficients"):
        import_model(state() | {"grid": UNIFORM[:, :9]})


def test_a_bfloat16_checkpoint_of_torch_means_what_it_holds(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch")
    s = {name: torch.from_numpy(value).bfloat16() for name, value in state().items()}
    torch.save(s, tmp_path / "m.pt")
    wide = {name: value.float().numpy() for name, value in s.items()}
    x = rows(N_IN)
    assert close(import_model(tmp_path / "m.pt").evaluate(x), by_hand(wide, x))
    assert close(import_model(s).evaluate(x), by_hand(wide, x))
