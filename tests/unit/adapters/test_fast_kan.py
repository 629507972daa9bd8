from __future__ import annotations

import numpy as np
import pytest

from checkpoints import close, layer_norm, prefixed, rows, silu, sum_of_edges, weights
from lutkan.adapters import import_model
from lutkan.errors import ImportModelError

N_IN, N_OUT, C = 4, 3, 8


def fast(norm: bool = True, base: bool = True, centres: np.ndarray | None = None) -> dict[str, np.ndarray]:
    centres = np.linspace(-2, 2, C).astype(np.float32) if centres is None else centres
    s = {"rbf.grid": centres, "spline_linear.weight": weights(1, N_OUT, N_IN * centres.size)}
    if norm:
        s |= {"layernorm.weight": weights(2, N_IN), "layernorm.bias": weights(3, N_IN)}
    if base:
        s |= {"base_linear.weight": weights(4, N_OUT, N_IN), "base_linear.bias": weights(5, N_OUT)}
    return s


def by_hand(state, x, width=4 / 7, applied=True, act=silu, eps=1e-5, bump=None):
    s = {name: value.astype(np.float64) for name, value in state.items()}
    centres = s["rbf.grid"]
    coefficients = s["spline_linear.weight"].reshape(N_OUT, N_IN, centres.size)
    bump = bump or (lambda t: np.exp(-((t / width) ** 2)))
    z = layer_norm(x, s["layernorm.weight"], s["layernorm.bias"], eps) if applied and "layernorm.weight" in s else x
    y = sum_of_edges(z, N_OUT, lambda i, j, zi: bump(zi[:, None] - centres) @ coefficients[j, i])
    if "base_linear.weight" in s:
        y += sum_of_edges(x, N_OUT, lambda i, j, xi: s["base_linear.weight"][j, i] * act(xi)) + s["base_linear.bias"]
    return y


def test_a_layer_is_the_sum_of_its_edges():
    x = rows(N_IN)
    assert close(import_model(fast()).evaluate(x), by_hand(fast(), x))


def test_without_layernorm_and_base_it_is_one_sum():
    x = rows(N_IN)
    state = fast(norm=False, base=False)
    assert close(import_model(state).evaluate(x), by_hand(state, x))


# ---- the traps


def test_trap_gaussians_see_the_normalised_input_and_the_base_branch_the_raw_one():
    net = import_model(fast())
    spline, base = net.layers[0].branches
    assert [step.kind for step in spline.pre] == ["layer_norm"]
    assert base.pre == ()
    # Shifting a row changes LN(x) not at all, so that only the base branch can answer.
    identity = {"layernorm.weight": np.ones(N_IN, np.float32), "layernorm.bias": np.zeros(N_IN, np.float32)}
    net = import_model(fast() | identity)
    x = rows(N_IN)
    w = fast()["base_linear.weight"].astype(np.float64)
    assert close(net.evaluate(x + 1.0) - net.evaluate(x), (silu(x + 1.0) - silu(x)) @ w.T, 1e-4)


def test_trap_the_denominator_is_not_stored():
    net = import_model(fast())
    assert any(f"denominator = {4 / 7!r}" in text for text in net.source.defaults_taken)
    x = rows(N_IN)
    told = import_model(fast(), config={"denominator": 0.9})
    assert close(told.evaluate(x), by_hand(fast(), x, width=0.9))
    assert not any("denominator" in text for text in told.source.defaults_taken)


def test_trap_one_centre_alone_does_not_tell_the_denominator():
    state = fast(centres=np.array([0.25], np.float32))
    with pytest.raises(ImportModelError, match="'denominator' is neither in the checkpoint nor in config="):
        import_model(state)
    x = rows(N_IN)
    assert close(import_model(state, config={"denominator": 0.5}).evaluate(x), by_hand(state, x, width=0.5))


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), "wide", True])
def test_a_denominator_that_is_no_width_is_refused(value):
    with pytest.raises(ImportModelError, match="denominator"):
        import_model(fast(), config={"denominator": value})


def test_trap_stored_layernorm_tensors_may_be_left_out_by_the_forward():
    x = rows(N_IN)
    net = import_model(fast(), config={"use_layernorm": False})
    assert close(net.evaluate(x), by_hand(fast(), x, applied=False))


def test_trap_use_layernorm_in_layers_says_only_that_the_tensors_exist():
    x = rows(N_IN)
    entry = {"use_layernorm": True, "layernorm_applied": False}
    net = import_model(fast(), config={"use_layernorm": False, "layers": [entry]})
    assert close(net.evaluate(x), by_hand(fast(), x, applied=False))
    with pytest.raises(ImportModelError, match="use_layernorm = False, the tensors say True"):
        import_model(fast(), config={"layers": [{"use_layernorm": False}]})
    with pytest.raises(ImportModelError, match="layernorm_applied"):
        import_model(fast(), config={"use_layernorm": True, "layers": [entry]})


def test_a_layernorm_that_is_not_there_cannot_be_applied():
    with pytest.raises(ImportModelError, match="use_layernorm = True, the tensors say False"):
        import_model(fast(norm=False), config={"use_layernorm": True})


def test_trap_layernorm_of_one_input_is_a_constant():
    """Upstream forbids it; a checkpoint that has it means the bias."""
    state = {
        "rbf.grid": np.linspace(-2, 2, C).astype(np.float32),
        "spline_linear.weight": weights(1, 2, C),
        "layernorm.weight": np.ones(1, np.float32),
        "layernorm.bias": np.zeros(1, np.float32),
    }
    y = import_model(state).evaluate(np.array([[0.3], [5.0], [-2.0]]))
    assert np.ptp(y, axis=0).max() == 0.0


def test_trap_gaussians_never_reach_zero():
    state = fast(norm=False, base=False)
    far = import_model(state).evaluate(np.full((1, N_IN), 6.0))
    assert np.all(far != 0.0) and np.all(np.abs(far) < 1e-15)


def test_trap_centres_are_taken_as_stored_even_when_a_loop_over_parameters_changed_them():
    centres = np.array([-1.9, -1.2, 0.1, 0.3, 1.7], np.float32)
    x = rows(N_IN)
    state = fast(centres=centres)
    assert close(import_model(state).evaluate(x), by_hand(state, x, width=float(np.ptp(centres.astype(float))) / 4))


def test_base_activation_and_eps_come_from_the_configuration():
    x = rows(N_IN) * 1e-2
    net = import_model(fast(), config={"base_activation": "identity", "layernorm_eps": 0.5})
    assert close(net.evaluate(x), by_hand(fast(), x, act=lambda v: v, eps=0.5))


def test_a_missing_base_branch_is_said_because_early_faster_kan_looks_the_same():
    state = fast(base=False)
    assert any("use_base_update = False" in text for text in import_model(state).source.defaults_taken)
    told = import_model(state, config={"layers": [{"use_base_update": False, "base_activation": None}]})
    assert not any("use_base_update" in text for text in told.source.defaults_taken)
    with pytest.raises(ImportModelError, match="use_base_update"):
        import_model(state, config={"use_base_update": True})
    with pytest.raises(ImportModelError, match="use_base_update"):
        import_model(fast(), config={"use_base_update": False})


@pytest.mark.parametrize("name", sorted(set(fast()) - {"spline_linear.weight"}))
def test_a_missing_tensor_is_named(name):
    state = {key: value for key, value in fast().items() if key != name}
    # Both tensors of a part may be absent together; one alone is damage.
    with pytest.raises(ImportModelError, match=f"'layers.0.{name}'"):
        import_model(prefixed(state, "layers.0"))


def test_spline_columns_have_to_fit_the_centres():
    narrow = {"spline_linear.weight": weights(1, N_OUT, N_IN * C - 1)}
    with pytest.raises(ImportModelError, match=r"'spline_linear.weight' has shape \[3, 31\]; allowed: \[any, 32\]"):
        import_model(fast() | narrow)
    with pytest.raises(ImportModelError, match=r"'spline_linear.weight' has 31 columns"):
        import_model(fast(norm=False, base=False) | narrow)


def test_the_sizes_in_layers_are_compared_with_the_tensors():
    entry = {"input_dim": N_IN, "output_dim": N_OUT, "num_grids": C, "grid_min": -2.0, "grid_max": 2}
    import_model(fast(), config={"layers": [entry]})
    with pytest.raises(ImportModelError, match="grid_max = 3"):
        import_model(fast(), config={"layers": [entry | {"grid_max": 3}]})


# ---- faster-kan


def faster(inverse: float = 0.5) -> dict[str, np.ndarray]:
    return fast(base=False) | {"rbf.inv_denominator": np.array(inverse, np.float32)}


def test_trap_faster_kan_stores_inv_denominator_and_leaves_it_out():
    x = rows(N_IN)
    net = import_model(faster(0.5))
    assert net.source.family == "faster-kan"
    assert close(net.evaluate(x), by_hand(faster(), x, bump=lambda t: 1 - np.tanh(t) ** 2))
    assert np.array_equal(net.evaluate(x), import_model(faster(17.0)).evaluate(x))
    assert any("inv_denominator_used_in_forward = False" in text for text in net.source.defaults_taken)


def test_faster_kan_of_another_commit_may_use_inv_denominator():
    x = rows(N_IN)
    net = import_model(faster(0.5), config={"inv_denominator_used_in_forward": True})
    assert close(net.evaluate(x), by_hand(faster(), x, bump=lambda t: 1 - np.tanh(0.5 * t) ** 2))
    with pytest.raises(ImportModelError, match="inverse width"):
        import_model(faster(0.0), config={"inv_denominator_used_in_forward": True})


def test_trap_the_exponent_of_faster_kan_is_two():
    import_model(faster(), config={"layers": [{"exponent_used": 2}]})
    with pytest.raises(ImportModelError, match="exponent_used = 3"):
        import_model(faster(), config={"layers": [{"exponent_used": 3}]})


def test_faster_kan_without_its_tell_tale_tensor_is_refused_when_asked_for():
    with pytest.raises(ImportModelError, match=r"'rbf.inv_denominator' is missing"):
        import_model(fast(base=False), family="faster-kan")


# ---- live attributes


def live_fast(torch, **changes):
    state = {name: torch.from_numpy(value) for name, value in fast().items()}

    class RBF(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.grid = torch.nn.Parameter(state["rbf.grid"], requires_grad=False)
            self.denominator = 0.7

        def forward(self, x):
            return torch.exp(-(((x[..., None] - self.grid) / self.denominator) ** 2))

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layernorm = torch.nn.LayerNorm(N_IN, eps=1e-3)
            self.rbf = RBF()
            self.spline_linear = torch.nn.Linear(N_IN * C, N_OUT, bias=False)
            self.base_linear = torch.nn.Linear(N_IN, N_OUT)
            self.base_activation = torch.nn.functional.gelu
            self.load_state_dict(state)

        def forward(self, x):
            basis = self.rbf(self.layernorm(x)).flatten(-2)
            return self.spline_linear(basis) + self.base_linear(self.base_activation(x))

    layer = Layer()
    for name, value in changes.items():
        setattr(layer.rbf, name, value)
    return layer.double()


def test_the_attributes_of_a_live_layer_complete_its_tensors():
    torch = pytest.importorskip("torch", reason="needs torch")
    layer = live_fast(torch)
    config = fast_family().attributes(layer)
    assert config == {
        "base_activation": "gelu",
        "denominator": 0.7,
        "layernorm_eps": 1e-3,
        "use_base_update": True,
    }
    net = import_model(layer.state_dict(), config={"layers": [config]})
    x = rows(N_IN)
    assert close(net.evaluate(x), layer(torch.from_numpy(x)).detach().numpy())


def test_a_live_early_faster_kan_is_not_mistaken_for_fast_kan():
    torch = pytest.importorskip("torch", reason="needs torch")
    with pytest.raises(ImportModelError, match="inv_denominator"):
        fast_family().attributes(live_fast(torch, inv_denominator=1 / 0.33))


def fast_family():
    from lutkan.adapters.registry import family_named

    return family_named("fast-kan")
