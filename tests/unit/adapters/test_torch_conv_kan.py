from __future__ import annotations

import math

import numpy as np
import pytest

from checkpoints import bspline, close, layer_norm, prefixed, rows, silu, sum_of_edges, weights
from lutkan.adapters import import_model
from lutkan.adapters.registry import family_named
from lutkan.errors import ImportModelError

N_IN, N_OUT, DEGREE = 4, 3, 3
ERF = np.frompyfunc(math.erf, 1, 1)


def gelu(x):
    return x * 0.5 * (1 + ERF(x / math.sqrt(2)).astype(np.float64))


ACTIVATIONS = {"silu": silu, "gelu": gelu, "identity": lambda x: x}


def f64(state):
    return {name: value.astype(np.float64) for name, value in state.items()}


def norm(name: str) -> dict[str, np.ndarray]:
    return {f"{name}.weight": weights(8, N_OUT), f"{name}.bias": weights(9, N_OUT)}


def normed(s, y, name):
    return layer_norm(y, s[f"{name}.weight"], s[f"{name}.bias"])


def base(s, x, act, name="base_weights"):
    return sum_of_edges(x, N_OUT, lambda i, j, xi: s[name][j, i] * act(xi))


# ---- KANLayer


def kan() -> dict[str, np.ndarray]:
    return {
        "base_weight": weights(1, N_OUT, N_IN),
        "spline_weight": weights(2, N_OUT, N_IN, 8),
        "prelu.weight": np.array([0.3], np.float32),
        **norm("layer_norm"),
    }


def kan_by_hand(x, knots, degree=3, act=gelu):
    s = f64(kan())
    y = base(s, x, act, "base_weight") + sum_of_edges(
        x, N_OUT, lambda i, j, xi: sum(s["spline_weight"][j, i, m] * bspline(xi, knots, degree, m) for m in range(8))
    )
    y = normed(s, y, "layer_norm")
    return np.where(y >= 0, y, y * s["prelu.weight"])


KNOTS = np.linspace(-2.2, 2.2, 12)


def test_kan_layer_is_spline_and_base_then_layernorm_then_prelu():
    x = rows(N_IN)
    net = import_model(kan(), config={"grid": KNOTS.tolist()})
    assert [step.kind for step in net.steps] == ["kan", "layer_norm", "activation"]
    assert close(net.evaluate(x), kan_by_hand(x, KNOTS))


def test_trap_the_knots_of_kan_layer_are_a_plain_attribute_and_not_stored():
    with pytest.raises(ImportModelError, match="'grid_range' is neither in the checkpoint nor in config="):
        import_model(kan())
    with pytest.raises(ImportModelError, match="'spline_order' is neither in the checkpoint nor in config="):
        import_model(kan(), config={"grid_range": [-1, 1]})
    x = rows(N_IN)
    for told in ({"grid_size": 5}, {"spline_order": 3}, {"grid_size": 5, "spline_order": 3}):
        net = import_model(kan(), config={"grid_range": [-1, 1]} | told)
        assert close(net.evaluate(x), kan_by_hand(x, KNOTS), 1e-5)
    other = import_model(kan(), config={"grid_range": [-1, 1], "grid_size": 6})
    assert other.layers[0].branches[0].bank.basis.degree == 2


def test_rebuilt_knots_are_rounded_as_torch_rounds_them():
    torch = pytest.importorskip("torch", reason="needs torch")
    for low, high, size in ((-1, 1, 5), (-2, 2, 7), (0, 1, 4), (-1.3, 2.7, 6)):
        order, h = 8 - size, (high - low) / size
        net = import_model(kan(), config={"grid_range": [low, high], "grid_size": size})
        expected = torch.linspace(low - h * order, high + h * order, size + 2 * order + 1, dtype=torch.float32)
        found = net.layers[0].branches[0].bank.basis.knots[0]
        # A torch build without fused multiply-add may round the last bit otherwise.
        assert np.abs(found - expected.double().numpy()).max() <= np.spacing(np.float32(abs(high) + h * order))


def test_knots_may_differ_by_input_and_by_layer():
    x = rows(N_IN)
    grid = np.stack([KNOTS + 0.1 * i for i in range(N_IN)])
    net = import_model(kan(), config={"layers": [{"grid": grid.tolist(), "act": "gelu"}]})
    assert np.array_equal(net.layers[0].branches[0].bank.basis.knots, grid)
    two = prefixed(kan(), "0") | prefixed({**kan(), **square_kan()}, "1")
    net = import_model(two, config={"grid": [KNOTS.tolist(), (KNOTS * 2).tolist()]})
    assert net.layers[1].branches[0].bank.basis.knots[0, 0] == -4.4
    assert net.evaluate(x).shape == (len(x), N_OUT)


def square_kan():
    return {"base_weight": weights(1, N_OUT, N_OUT), "spline_weight": weights(2, N_OUT, N_OUT, 8)}


@pytest.mark.parametrize(
    "config",
    [
        {"grid": KNOTS[:9].tolist()},
        {"grid": [KNOTS.tolist(), KNOTS.tolist()]},
        {"layers": [{"grid": [[0.0, 1.0], [2.0]]}]},
        {"grid": "here"},
        {"grid": [*KNOTS[:-1].tolist(), float("nan")]},
        {"grid": KNOTS.tolist(), "grid_range": [-1, 1.5]},
        {"grid": KNOTS.tolist(), "spline_order": 2},
        {"grid_range": [1, -1], "grid_size": 5},
        {"grid_range": [-1, 1], "grid_size": 8},
        {"grid_range": [-1, 1], "grid_size": 4.5},
        {"grid_range": 2, "grid_size": 5},
    ],
)
def test_knots_that_cannot_be_are_refused(config):
    with pytest.raises(ImportModelError, match=r"grid|spline_order"):
        import_model(kan(), config=config)


def test_gelu_is_taken_for_kan_layer_and_said():
    net = import_model(kan(), config={"grid": KNOTS.tolist()})
    assert any("base_activation = 'gelu'" in text for text in net.source.defaults_taken)
    x = rows(N_IN)
    told = import_model(kan(), config={"grid": KNOTS.tolist(), "layers": [{"act": "silu"}]})
    assert close(told.evaluate(x), kan_by_hand(x, KNOTS, act=silu))
    with pytest.raises(ImportModelError, match="'act'"):
        import_model(kan(), config={"grid": KNOTS.tolist(), "base_activation": "gelu", "layers": [{"act": "silu"}]})


@pytest.mark.parametrize("name", ["base_weight", "layer_norm.weight", "layer_norm.bias", "prelu.weight"])
def test_a_missing_tensor_of_kan_layer_is_named(name):
    broken = {key: value for key, value in kan().items() if key != name}
    with pytest.raises(ImportModelError, match=f"'{name}' is missing"):
        import_model(broken, config={"grid": KNOTS.tolist()})


# ---- GRAMLayer


def gram() -> dict[str, np.ndarray]:
    return {
        "grams_basis_weights": weights(1, N_IN, N_OUT, DEGREE + 1),
        "beta_weights": weights(2, DEGREE + 1),
        "base_weights": weights(3, N_OUT, N_IN),
        **norm("norm"),
    }


def gram_by_hand(state, x, act, degree=DEGREE):
    s, t = f64(state), np.tanh(x)
    polynomials = [np.ones_like(t), t]
    for m in range(2, degree + 1):
        n = m - 1
        beta = (m + n) * (m - n) * n**2 / (m**2 / (4 * n**2 - 1)) * s["beta_weights"][n]
        polynomials.append(t * polynomials[-1] - beta * polynomials[-2])
    y = base(s, x, act)
    for i in range(N_IN):
        for j in range(N_OUT):
            y[:, j] += sum(s["grams_basis_weights"][i, j, d] * act(polynomials[d][:, i]) for d in range(degree + 1))
    return act(normed(s, y, "norm"))


@pytest.mark.parametrize("act", ["silu", "gelu"])
def test_trap_gram_applies_its_activation_to_base_polynomials_and_output(act):
    x = rows(N_IN)
    assert close(import_model(gram(), config={"act": act}).evaluate(x), gram_by_hand(gram(), x, ACTIVATIONS[act]))


def test_trap_mlp_kagn_takes_gelu_and_class_kagn_silu_so_none_is_guessed():
    with pytest.raises(ImportModelError, match="'act' is neither in the checkpoint nor in config="):
        import_model(gram())


def test_trap_beta_factors_of_gram():
    """2.25 b1, 33.33 b2, 137.8 b3: read off the recurrence p_n = x p_(n-1) - factor * p_(n-2)."""
    state = gram() | {"beta_weights": np.ones(5, np.float32), "grams_basis_weights": weights(1, N_IN, N_OUT, 5)}
    basis = import_model(state, config={"act": "identity"}).layers[0].branches[0].bank.basis
    x = 0.5
    p = basis.evaluate(np.array([[x]]))[0, 0]
    for n, factor in ((2, 2.25), (3, 100 / 3), (4, 137.8125)):
        assert (x * p[n - 1] - p[n]) / p[n - 2] == pytest.approx(factor)


def test_trap_first_and_last_beta_weight_of_gram_are_never_used():
    x = rows(N_IN)
    changed = gram()["beta_weights"].copy()
    changed[[0, -1]] = 99.0
    expected = import_model(gram(), config={"act": "silu"}).evaluate(x)
    assert np.array_equal(
        import_model(gram() | {"beta_weights": changed}, config={"act": "silu"}).evaluate(x), expected
    )
    changed[1] += 0.5
    moved = import_model(gram() | {"beta_weights": changed}, config={"act": "silu"}).evaluate(x)
    assert not close(moved, expected, 1e-6)


def test_trap_dense_gram_weights_are_input_output_degree():
    coefficients = import_model(gram(), config={"act": "silu"}).layers[0].branches[0].bank.coefficients
    assert np.array_equal(coefficients, gram()["grams_basis_weights"].astype(np.float64).transpose(0, 2, 1))


def test_trap_the_last_layer_has_its_activation_too():
    y = import_model(gram(), config={"act": "silu"}).evaluate(rows(N_IN, 2000))
    assert y.min() >= -0.2785 and y.min() < -0.2


def test_trap_tanh_bounds_what_the_gram_basis_sees():
    net = import_model(gram(), config={"act": "silu"})
    assert [step.name for step in net.layers[0].branches[0].pre] == ["tanh"]
    assert net.layers[0].core()[0] == -1.0 and net.layers[0].core()[1] == 1.0


@pytest.mark.parametrize("wrapper", ["module", "layer"])
def test_trap_l1_wrappers_add_a_level_to_the_names(wrapper):
    square = gram() | {"grams_basis_weights": weights(5, N_OUT, N_OUT, 4), "base_weights": weights(6, N_OUT, N_OUT)}
    plain = prefixed(gram(), "layers.0") | prefixed(square, "layers.1") | prefixed(square, "layers.2")
    wrapped = (
        prefixed(gram(), f"layers.0.{wrapper}") | prefixed(square, f"layers.1.{wrapper}") | prefixed(square, "layers.2")
    )
    x, config = rows(N_IN), {"act": "silu"}
    assert np.array_equal(
        import_model(wrapped, config=config).evaluate(x), import_model(plain, config=config).evaluate(x)
    )


def test_beta_weights_of_another_degree_are_refused():
    with pytest.raises(ImportModelError, match=r"'beta_weights' has shape \[5\]; allowed: \[4\]"):
        import_model(gram() | {"beta_weights": weights(2, 5)}, config={"act": "silu"})


def test_a_bottleneck_gram_layer_is_refused_by_class_name():
    state = gram() | {"inner_proj.weight": weights(1, 2, N_IN), "outer_proj.weight": weights(1, N_OUT, 2)}
    with pytest.raises(ImportModelError, match=r"'kan.0.inner_proj.weight'.*BottleNeckGRAMLayer"):
        import_model(prefixed(state, "kan.0"), config={"act": "silu"})


def test_a_live_gramkan_of_another_repository_is_not_mistaken():
    class GRAMKAN:
        act, bias = staticmethod(silu), False

    with pytest.raises(ImportModelError, match="GRAMKAN"):
        family_named("torch-conv-kan-gram").attributes(GRAMKAN())


# ---- KALNLayer


def kaln() -> dict[str, np.ndarray]:
    return {
        "base_weight": weights(1, N_OUT, N_IN),
        "poly_weight": weights(2, N_OUT, N_IN * (DEGREE + 1)),
        **norm("layer_norm"),
    }


def kaln_by_hand(x, low, high, act):
    s = f64(kaln())
    t = 2 * (x - low) / (high - low) - 1
    legendre = [np.ones_like(t), t, (3 * t**2 - 1) / 2, (5 * t**3 - 3 * t) / 2]
    y = base(s, x, act, "base_weight")
    for i in range(N_IN):
        for j in range(N_OUT):
            y[:, j] += sum(s["poly_weight"][j, i * (DEGREE + 1) + d] * legendre[d][:, i] for d in range(DEGREE + 1))
    return act(normed(s, y, "layer_norm"))


def test_trap_dense_kaln_activates_the_input_of_its_base_branch():
    x = rows(N_IN)
    net = import_model(kaln(), config={"act": "gelu", "minmax": [-3.0, 5.0]})
    assert close(net.evaluate(x), kaln_by_hand(x, -3.0, 5.0, gelu))


def test_trap_kaln_needs_frozen_ranges():
    with pytest.raises(ImportModelError, match="'minmax' is neither in the checkpoint nor in config="):
        import_model(kaln(), config={"act": "gelu"})
    with pytest.raises(ImportModelError, match="minmax"):
        import_model(kaln(), config={"act": "gelu", "minmax": [2.0, 2.0]})


def test_trap_kaln_class_and_builder_differ_in_their_activation():
    with pytest.raises(ImportModelError, match="'act' is neither in the checkpoint nor in config="):
        import_model(kaln(), config={"minmax": [-1.0, 1.0]})


def test_frozen_ranges_may_be_arrays_a_row_a_layer():
    x = rows(N_IN)
    net = import_model(prefixed(kaln(), "0"), config={"act": "silu", "minmax": np.array([[-3.0, 5.0]])})
    assert close(net.evaluate(x), kaln_by_hand(x, -3.0, 5.0, silu))


def test_kaln_columns_have_to_fit_the_inputs():
    with pytest.raises(ImportModelError, match="'poly_weight' has 15 columns"):
        import_model(kaln() | {"poly_weight": weights(2, N_OUT, 15)}, config={"act": "silu", "minmax": [0, 1]})


# ---- JacobiKANLayer, BernsteinKANLayer


def jacobi() -> dict[str, np.ndarray]:
    return {"jacobi_coeffs": weights(1, N_IN, N_OUT, 3), "base_weights": weights(3, N_OUT, N_IN), **norm("norm")}


def test_jacobi_layer_has_a_base_branch_a_layernorm_and_an_output_activation():
    x, s, a, b = rows(N_IN), f64(jacobi()), 1.0, 0.5
    t = np.tanh(x)
    first = ((a - b) + (a + b + 2) * t) / 2
    # P_2 by its explicit sum.
    second = (
        (a + 1) * (a + 2) / 2 * ((t + 1) / 2) ** 2
        + (a + 2) * (b + 2) * (t - 1) / 2 * (t + 1) / 2
        + (b + 1) * (b + 2) / 2 * ((t - 1) / 2) ** 2
    )
    y = base(s, x, silu)
    for d, p in enumerate((np.ones_like(t), first, second)):
        y += p @ s["jacobi_coeffs"][:, :, d]
    net = import_model(jacobi(), config={"a": a, "b": b})
    assert net.source.family == "torch-conv-kan-jacobi"
    assert close(net.evaluate(x), silu(normed(s, y, "norm")))
    assert any("act = 'silu'" in text for text in net.source.defaults_taken)
    with pytest.raises(ImportModelError, match="'a' is neither"):
        import_model(jacobi())


def bernstein() -> dict[str, np.ndarray]:
    return {"bernstein_coeffs": weights(1, N_IN, N_OUT, 4), "base_weights": weights(3, N_OUT, N_IN), **norm("norm")}


def test_trap_the_bernstein_polynomials_of_upstream_are_all_one():
    """De Casteljau's scheme started from ones: every step is 1 * (1 - x) + 1 * x."""
    x, s = rows(N_IN), f64(bernstein())
    t = 1 / (1 + np.exp(-x))
    values = np.ones((*t.shape, 4))
    for j in range(1, 4):
        for k in range(4 - j):
            values[..., k] = values[..., k] * (1 - t) + values[..., k + 1] * t
    y = base(s, x, gelu) + np.einsum("bid,iod->bo", values, s["bernstein_coeffs"])
    net = import_model(bernstein(), config={"act": "gelu"})
    assert close(net.evaluate(x), gelu(normed(s, y, "norm")))
    assert "the edges are constants" in net.summary()


def test_bernstein_class_and_builder_differ_in_their_activation():
    with pytest.raises(ImportModelError, match="'act' is neither"):
        import_model(bernstein())


# ---- WavKANLayer


def wavkan() -> dict[str, np.ndarray]:
    return {
        "scale": weights(1, N_OUT, N_IN) + np.float32(3.0),
        "translation": weights(2, N_OUT, N_IN),
        "wavelet_weights": weights(3, N_OUT, N_IN),
        "weight1": weights(4, N_OUT, N_IN),
        "bn.weight": weights(5, N_OUT),
        "bn.bias": weights(6, N_OUT),
        "bn.running_mean": weights(7, N_OUT),
        "bn.running_var": weights(8, N_OUT) ** 2,
        "bn.num_batches_tracked": np.array(12),
    }


def meyer(t):
    v = abs(t)
    if v >= 1:
        return 0.0
    u = 2 * v - 1
    fade = 1.0 if v <= 0.5 else math.cos(math.pi / 2 * u**4 * (35 - 84 * u + 70 * u**2 - 20 * u**3))
    return math.sin(math.pi * v) * fade


MOTHERS = {
    "mexican_hat": lambda t: 2 / (math.sqrt(3) * math.pi**0.25) * (t**2 - 1) * math.exp(-(t**2) / 2),
    "morlet": lambda t: math.exp(-(t**2) / 2) * math.cos(5 * t),
    "dog": lambda t: -t * math.exp(-(t**2) / 2),
    "meyer": meyer,
    "shannon": lambda t: math.sin(t) / t if t else 1.0,
}


def wavkan_by_hand(state, x, kind, with_base=True):
    s = f64(state)
    mother = np.frompyfunc(MOTHERS[kind], 1, 1)

    def edge(i, j, xi):
        window = 0.54 - 0.46 * math.cos(2 * math.pi * i / (N_IN - 1)) if kind == "shannon" else 1.0
        t = (xi - s["translation"][j, i]) / s["scale"][j, i]
        return s["wavelet_weights"][j, i] * window * mother(t).astype(np.float64)

    y = sum_of_edges(x, N_OUT, edge) + (base(s, x, silu, "weight1") if with_base else 0.0)
    return (y - s["bn.running_mean"]) / np.sqrt(s["bn.running_var"] + 1e-5) * s["bn.weight"] + s["bn.bias"]


@pytest.mark.parametrize("kind", sorted(MOTHERS))
def test_wavkan_has_a_wavelet_an_edge_then_batchnorm(kind):
    x = rows(N_IN)
    net = import_model(wavkan(), config={"wavelet_type": kind, "base_activation": "silu"})
    assert close(net.evaluate(x), wavkan_by_hand(wavkan(), x, kind), 1e-11)


def test_trap_the_original_wav_kan_stores_a_base_weight_and_does_not_use_it():
    with pytest.raises(ImportModelError, match="'base_activation' is neither in the checkpoint nor in config="):
        import_model(wavkan(), config={"wavelet_type": "dog"})
    x = rows(N_IN)
    net = import_model(wavkan(), config={"wavelet_type": "dog", "base_activation": "zero"})
    assert close(net.evaluate(x), wavkan_by_hand(wavkan(), x, "dog", with_base=False), 1e-11)


def test_trap_the_wavelet_is_not_stored():
    with pytest.raises(ImportModelError, match="'wavelet_type' is neither in the checkpoint nor in config="):
        import_model(wavkan())
    for unknown in ("bump", 5, {"name": "dog"}):
        with pytest.raises(ImportModelError, match=r"wavelet_type = .*mexican_hat, morlet, dog, meyer, shannon"):
            import_model(wavkan(), config={"wavelet_type": unknown, "base_activation": "silu"})


def test_a_wavelet_of_scale_zero_is_refused_with_its_place():
    scale = wavkan()["scale"].copy()
    scale[1, 2] = 0.0
    with pytest.raises(ImportModelError, match=r"'scale' is 0 at index \[1, 2\]"):
        import_model(wavkan() | {"scale": scale}, config={"wavelet_type": "dog", "base_activation": "silu"})


def test_batchnorm_without_running_statistics_is_named():
    state = {name: value for name, value in wavkan().items() if name != "bn.running_var"}
    with pytest.raises(ImportModelError, match=r"'bn.running_var' is missing"):
        import_model(state, config={"wavelet_type": "dog", "base_activation": "silu"})


# ---- ReLUKANLayer


G, K = 5, 2


def relukan() -> dict[str, np.ndarray]:
    low = np.arange(-K, G) / G + 0.01 * weights(1, N_IN, G + K)
    return {
        "phase_low": low.astype(np.float32),
        "phase_high": (low + (K + 1) / G).astype(np.float32),
        "equal_size_conv.weight": weights(2, N_OUT, 1, G + K, N_IN),
        "equal_size_conv.bias": weights(3, N_OUT),
    }


def relukan_by_hand(state, x):
    s, r = f64(state), 4 * G * G / (K + 1) ** 2
    high = s.get("phase_high", s.get("phase_height"))
    features = np.zeros((len(x), N_IN, G + K))
    for i in range(N_IN):
        for m in range(G + K):
            rising = np.maximum(x[:, i] - s["phase_low"][i, m], 0)
            features[:, i, m] = (rising * np.maximum(high[i, m] - x[:, i], 0) * r) ** 2
    image = features.reshape(len(x), 1, G + K, N_IN)  # a reshape of [in, g + k], not a transpose
    return np.einsum("bcmi,ocmi->bo", image, s["equal_size_conv.weight"]) + s["equal_size_conv.bias"]


def test_trap_relukan_reshapes_where_a_transpose_would_be_expected():
    x = rows(N_IN) / 2
    assert close(import_model(relukan(), config={"g": G, "k": K}).evaluate(x), relukan_by_hand(relukan(), x))


def test_trap_the_factor_of_relukan_is_not_stored():
    with pytest.raises(ImportModelError, match="'g' is neither in the checkpoint nor in config="):
        import_model(relukan())
    with pytest.raises(ImportModelError, match="g = 5 and k = 3"):
        import_model(relukan(), config={"g": 5, "k": 3})
    with pytest.raises(ImportModelError, match="r = 1"):
        import_model(relukan(), config={"g": G, "k": K, "r": 1.0})
    x = rows(N_IN) / 2
    assert close(import_model(relukan(), config={"r": 100 / 9}).evaluate(x), relukan_by_hand(relukan(), x))


def test_the_original_relukan_spells_the_upper_phase_otherwise():
    state = relukan()
    state["phase_height"] = state.pop("phase_high")
    x = rows(N_IN) / 2
    assert close(import_model(state, config={"g": G, "k": K}).evaluate(x), relukan_by_hand(state, x))


# ---- what live layers tell


def test_attributes_of_live_layers():
    torch = pytest.importorskip("torch", reason="needs torch")

    class Layer(torch.nn.Module):
        def __init__(self, **parts):
            super().__init__()
            for name, part in parts.items():
                setattr(self, name, part)

    norm_1e3 = torch.nn.LayerNorm(N_OUT, eps=1e-3)
    grid = torch.linspace(-2.2, 2.2, 12).expand(N_IN, -1).contiguous()
    found = family_named("torch-conv-kan-kan").attributes(
        Layer(base_activation=torch.nn.GELU(), grid=grid, layer_norm=norm_1e3)
    )
    assert found == {
        "base_activation": "gelu",
        "layernorm_eps": 1e-3,
        "grid": grid[:1].double().tolist(),
    }
    moved = grid.clone()
    moved[1] += 0.5
    assert len(family_named("torch-conv-kan-kan").attributes(Layer(grid=moved))["grid"]) == N_IN
    act = Layer(act=torch.nn.SiLU(), norm=norm_1e3)
    for family in ("gram", "bernstein"):
        assert family_named(f"torch-conv-kan-{family}").attributes(act) == {"act": "silu", "layernorm_eps": 1e-3}
    layer = Layer(act=torch.nn.GELU("tanh"), norm=norm_1e3, a=1, b=2)
    assert family_named("torch-conv-kan-jacobi").attributes(layer) == {
        "a": 1.0,
        "b": 2.0,
        "act": "gelu_tanh",
        "layernorm_eps": 1e-3,
    }
    kaln_layer = Layer(base_activation=torch.nn.SiLU(), layer_norm=norm_1e3)
    assert family_named("torch-conv-kan-kaln").attributes(kaln_layer) == {"act": "silu", "layernorm_eps": 1e-3}
    wavelets = Layer(wavelet_type="dog", bn=torch.nn.BatchNorm1d(N_OUT, eps=1e-3), base_activation=torch.nn.SiLU())
    assert family_named("torch-conv-kan-wavkan").attributes(wavelets) == {"wavelet_type": "dog", "batchnorm_eps": 1e-3}
    assert family_named("torch-conv-kan-relukan").attributes(Layer(g=5, k=3, r=6.25)) == {"g": 5.0, "k": 3.0, "r": 6.25}
    with pytest.raises(ImportModelError, match=r"act .* of Layer"):
        family_named("torch-conv-kan-gram").attributes(Layer(act=torch.nn.LeakyReLU()))
