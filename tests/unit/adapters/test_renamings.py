from __future__ import annotations

import numpy as np
import pytest

from checkpoints import close, layer_norm, prefixed, rows, weights
from lutkan.adapters import import_model
from lutkan.adapters.registry import family_named
from lutkan.errors import ImportModelError

N_IN, N_OUT, G, K = 3, 2, 5, 3
C = G + K
KNOTS = np.tile((np.arange(-K, G + K + 1) * 0.4 - 1).astype(np.float32), (N_IN, 1))
BASE, SPLINE, SCALER, BIAS = (
    weights(1, N_OUT, N_IN),
    weights(2, N_OUT, N_IN, C),
    weights(3, N_OUT, N_IN),
    weights(4, N_OUT),
)
X = rows(N_IN)


def mother(**changes) -> np.ndarray:
    """What efficient-kan answers with the same arrays."""
    state = {"base_weight": BASE, "spline_weight": SPLINE, "spline_scaler": SCALER, "grid": KNOTS} | changes
    return import_model({name: value for name, value in state.items() if value is not None}).evaluate(X)


def imported(state, family, config=None):
    net = import_model(prefixed(state, "layers.0"), config=config)
    assert net.source.family == family
    return net.evaluate(X)


# ---- LKAN


def lkan() -> dict[str, np.ndarray]:
    return {"coeff": SPLINE, "scale_base": BASE, "scale_spline": SCALER, "grid": KNOTS}


def test_lkan_equals_efficient_kan():
    assert close(imported(lkan(), "lkan"), mother())
    one = imported(lkan() | {"scale_spline": np.array([0.5], np.float32)}, "lkan")
    assert close(one, mother(spline_scaler=np.full((N_OUT, N_IN), 0.5)))


@pytest.mark.parametrize("shape", [(N_OUT,), (1, N_OUT)])
def test_lkan_may_have_a_bias(shape):
    assert close(imported(lkan() | {"bias": BIAS.reshape(shape)}, "lkan"), mother() + BIAS.astype(np.float64))


def test_lkan_of_another_shape_is_refused():
    for name, value in (("scale_spline", SCALER.T), ("bias", weights(1, 5)), ("coeff", weights(1, 2, N_OUT, N_IN, G))):
        with pytest.raises(ImportModelError, match=f"'{name}'"):
            import_model(lkan() | {name: value})


def test_lkan_config():
    told = import_model(lkan(), config={"layers": [{"base_fun": "silu", "in_dim": N_IN, "k": K, "grid_size": G}]})
    assert told.source.defaults_taken == () and close(told.evaluate(X), mother())
    with pytest.raises(ImportModelError, match="k = 2, the tensors say 3"):
        import_model(lkan(), config={"layers": [{"k": 2}]})


# ---- KANLib


def kanlib() -> dict[str, np.ndarray]:
    return {
        "coefficients": SPLINE,
        "weight_spline": SCALER,
        "weight_residual": BASE,
        "bias_output": BIAS,
        "basis.grid": KNOTS,
    }


def test_kanlib_equals_efficient_kan():
    assert close(imported(kanlib(), "kanlib"), mother() + BIAS.astype(np.float64))
    assert import_model(kanlib()).source.defaults_taken == ()
    shared = kanlib() | {"basis.grid": KNOTS[:1]}
    assert close(imported(shared, "kanlib"), mother() + BIAS.astype(np.float64))


def test_kanlib_parts_are_optional():
    bare = {"coefficients": SPLINE, "basis.grid": KNOTS}
    assert close(imported(bare, "kanlib"), mother(spline_scaler=None, base_weight=np.zeros_like(BASE)))


def test_kanlib_normalises_the_spline_branch_alone():
    norm = {"layer_norm.weight": weights(5, N_IN), "layer_norm.bias": weights(6, N_IN)}
    z = layer_norm(X, norm["layer_norm.weight"].astype(float), norm["layer_norm.bias"].astype(float))
    alone = {"base_weight": np.zeros_like(BASE), "spline_weight": SPLINE, "spline_scaler": SCALER, "grid": KNOTS}
    expected = import_model(alone).evaluate(z) + mother(spline_weight=np.zeros_like(SPLINE)) + BIAS.astype(float)
    assert close(imported(kanlib() | norm, "kanlib", {"layernorm_eps": 1e-5}), expected)


def test_kanlib_with_gaussians_is_refused():
    with pytest.raises(ImportModelError, match=r"'basis.grid' has 8 entries .* Gaussian basis is not part"):
        import_model(kanlib() | {"basis.grid": KNOTS[:, :C]})


# ---- kanx: efficient-kan's names in another order, knots not extended


def kanx() -> dict[str, np.ndarray]:
    return {"base_weight": BASE.T, "spline_weight": SPLINE.transpose(1, 0, 2), "grid": np.tile(CORE, (N_IN, 1))}


CORE = np.linspace(-1, 1, G + 1).astype(np.float32)


def extended(core: np.ndarray) -> np.ndarray:
    core = core.astype(np.float64)
    step = (core[-1] - core[0]) / (len(core) - 1)
    return np.r_[core[0] - step * np.arange(K, 0, -1), core, core[-1] + step * np.arange(1, K + 1)]


def test_kanx_equals_efficient_kan_on_the_extended_grid():
    expected = mother(spline_scaler=None, grid=np.tile(extended(CORE), (N_IN, 1)))
    assert close(imported(kanx(), "kanx"), expected)


def test_kanx_extends_a_non_uniform_grid_by_its_mean_step():
    core = np.sort(weights(9, N_IN, G + 1), axis=1)
    expected = mother(spline_scaler=None, grid=np.stack([extended(row) for row in core]))
    assert close(imported(kanx() | {"grid": core}, "kanx"), expected)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("intervals", [1, 2, 5, 8])
@pytest.mark.parametrize("width", [2, 3])
def test_trap_kanx_and_efficient_kan_share_their_names_and_are_told_apart_by_the_knots(order, intervals, width):
    """Square layers leave nothing but the number of knots: G + 1 against G + 2k + 1, for G + k coefficients."""
    spline, base = weights(1, width, width, intervals + order), weights(2, width, width)
    for knots, family in ((intervals + 1, "kanx"), (intervals + 2 * order + 1, "efficient-kan")):
        state = {"base_weight": base, "spline_weight": spline, "grid": np.tile(np.arange(knots) * 0.5, (width, 1))}
        net = import_model(state)
        assert net.source.family == family
        basis = net.layers[0].branches[0].bank.basis
        assert (basis.degree, basis.intervals) == (order, intervals)


def test_a_number_of_knots_that_neither_library_has_is_refused():
    """C + 1 knots of C coefficients are order 0, which neither can have; `family` does not help."""
    state = {"base_weight": BASE, "spline_weight": SPLINE, "grid": np.tile(np.arange(C + 1.0), (N_IN, 1))}
    for family in (None, "efficient-kan"):
        with pytest.raises(ImportModelError, match=r"'grid' has 9 knots for 8 coefficients"):
            import_model(state, family=family)
    with pytest.raises(ImportModelError, match="no KAN layer is recognised"):
        import_model(state, family="kanx")


def test_a_transposed_kanx_tensor_is_refused():
    for name in ("base_weight", "spline_weight", "grid"):
        with pytest.raises(ImportModelError):
            import_model(kanx() | {name: np.swapaxes(kanx()[name], 0, 1)})


def test_a_repeated_knot_of_kanx_is_refused():
    core = np.tile(CORE, (N_IN, 1))
    core[2, 3] = core[2, 2]
    with pytest.raises(ImportModelError, match="input 2 repeats a knot"):
        import_model(kanx() | {"grid": core})


def test_kanx_names_its_activation():
    class Layer:
        base_activation_name = "swish"

    assert family_named("kanx").attributes(Layer()) == {"base_activation": "silu"}
    Layer.base_activation_name = "linear"
    assert family_named("kanx").attributes(Layer()) == {"base_activation": "identity"}


# ---- convkan's KANLinear


def convkan() -> dict[str, np.ndarray]:
    return {
        "base_weight": BASE[None],
        "spline_weight": SPLINE[None],
        "spline_scaler": SCALER[None],
        "grid": KNOTS[None],
    }


def test_convkan_dense_equals_efficient_kan():
    assert close(imported(convkan(), "convkan"), mother())
    without = {name: value for name, value in convkan().items() if name != "spline_scaler"}
    assert close(imported(without, "convkan"), mother(spline_scaler=None))


def test_convkan_groups_take_inputs_of_their_own_and_are_refused():
    state = {name: np.repeat(value, 2, axis=0) for name, value in convkan().items()}
    with pytest.raises(ImportModelError, match="'base_weight' has 2 groups"):
        import_model(state)


def test_trap_inside_a_convolution_the_same_tensors_are_refused():
    with pytest.raises(ImportModelError, match=r"'conv1.kan_layer.spline_weight'.*convolution import is not part"):
        import_model(prefixed(convkan(), "conv1.kan_layer"))


def test_convkan_shapes_have_to_fit():
    for name in ("spline_weight", "spline_scaler", "grid"):
        with pytest.raises(ImportModelError, match=f"'{name}' has"):
            import_model(convkan() | {name: np.swapaxes(convkan()[name], 1, 2)})
