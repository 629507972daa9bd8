from __future__ import annotations

import numpy as np
import pytest

from checkpoints import close
from lutkan.adapters import generic, import_model
from lutkan.adapters.options import ConfigNeededError
from lutkan.errors import ImportModelError
from lutkan.ir import BSpline


def smooth(X):
    """Three inputs, two outputs, a constant in each."""
    a, b, c = X.T
    return np.stack([np.sin(2 * a) + np.exp(b / 2) + 3.0, a**3 - np.tanh(3 * c) - 1.0], axis=1)


def imported(function=smooth, **config):
    return import_model(function, family="generic", config={"in_features": 3, "domain": (-1.5, 2.0)} | config)


def inside(n=200, low=-1.5, high=2.0, n_in=3):
    return np.random.default_rng(1).uniform(low, high, (n, n_in))


def noted(net, what):
    """Return the number after `what` in the notes."""
    text = next(text for text in net.source.notes if what in text)
    return float(text.split(what)[1].split()[0].rstrip(",;"))


def test_an_additive_function_is_imported_within_the_error_that_it_notes():
    net = imported()
    x = inside()
    error = np.abs(net.evaluate(x) - smooth(x)).max()
    assert 1e-9 < error < 1e-4
    assert 0.3 * error < noted(net, "error of an output ") < 3 * error
    assert 0.1 * error < noted(net, "error of an edge function ") < 10 * error
    assert "largest error of an output" in net.summary()


def test_the_error_falls_with_the_fourth_power_of_the_segments():
    x = inside()
    coarse, fine = (np.abs(imported(segments=s).evaluate(x) - smooth(x)).max() for s in (32, 64))
    assert 8 < coarse / fine < 32


def test_degree_one_is_piecewise_linear_through_the_samples():
    net = imported(segments=35, degree=1)
    on_knots = np.repeat(np.linspace(-1.5, 2.0, 36)[:, None], 3, axis=1)
    assert close(net.evaluate(on_knots), smooth(on_knots), 1e-10)
    middle = (on_knots[:-1] + on_knots[1:]) / 2
    chord = (smooth(on_knots[:-1]) + smooth(on_knots[1:])) / 2
    assert close(net.evaluate(middle), chord, 1e-10)


def test_splines_on_the_same_knots_are_reproduced_exactly():
    rng = np.random.default_rng(2)
    knots = np.arange(-3, 8 + 4) * 0.5 - 2.0
    basis, weights = BSpline(knots[None], 3), rng.normal(size=(2, 11, 3))

    def layer(X):
        return np.einsum("nic,ico->no", basis.evaluate(X), weights)

    net = import_model(layer, family="generic", config={"in_features": 2, "domain": (-2, 2), "segments": 8})
    x = inside(low=-2, high=2, n_in=2)
    assert close(net.evaluate(x), layer(x), 1e-11)


def test_every_input_may_have_a_domain_of_its_own():
    low, high = np.array([-1.0, 0.0, -5.0]), np.array([1.0, 0.1, 5.0])
    net = import_model(smooth, family="generic", config={"domain": (low, high)})  # in_features follows
    x = np.random.default_rng(3).uniform(low, high, (100, 3))
    assert close(net.evaluate(x), smooth(x), 1e-3)
    core = net.layers[0].core()
    assert np.allclose(core[0], low) and np.allclose(core[1], high)
    assert imported(domain=(low, 2.0 + high)).in_features == 3
    assert imported(domain=(np.float32(-1.0), 1)).in_features == 3


def test_outside_the_domain_the_edges_fall_to_zero_and_the_notes_say_so():
    net = imported()
    middle = np.full((1, 3), 0.25)
    assert close(net.evaluate(np.full((1, 3), 9.0)), smooth(middle), 1e-12)
    assert any("outside the domain" in text and "fall to 0" in text for text in net.source.notes)


def test_inputs_without_effect_have_dead_edges():
    net = imported()
    assert net.layers[0].live().tolist() == [[True, True], [True, False], [False, True]]


def test_many_inputs_are_sampled_in_batches(monkeypatch):
    def wide(X):
        return np.tanh(X) @ np.linspace(-1, 1, 90).reshape(30, 3)

    config = {"in_features": 30, "domain": (-1, 1), "segments": 10}
    whole = import_model(wide, family="generic", config=config)
    largest = []

    def watched(X):
        largest.append(X.size)
        return wide(X)

    monkeypatch.setattr(generic, "BATCH_NUMBERS", 3000)
    parts = import_model(watched, family="generic", config=config)
    assert max(largest) <= 3000 + 30
    x = inside(n_in=30, low=-1, high=1)
    assert close(parts.evaluate(x), whole.evaluate(x), 1e-13)


def test_one_output_may_come_as_a_vector():
    net = imported(lambda X: X.sum(axis=1))
    assert net.out_features == 1
    assert close(net.evaluate(inside()), inside().sum(axis=1, keepdims=True), 1e-10)


def test_defaults_are_recorded():
    assert [text.split(" (")[0] for text in imported().source.defaults_taken] == ["segments = 64", "degree = 3"]
    assert imported(segments=16, degree=1).source.defaults_taken == ()


# --- what is not additive, and how much -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda X: X[:, :1] * X[:, 1:2],
        lambda X: (X - X.mean(axis=1, keepdims=True)) / X.std(axis=1, keepdims=True),
        lambda X: np.exp(X) / np.exp(X).sum(axis=1, keepdims=True),
        lambda X: np.tanh(X.sum(axis=1)),
        lambda X: np.maximum(X[:, 0], X[:, 2]),
        lambda X: X.sum(axis=1) + 1e-3 * X[:, 1] * X[:, 2],
    ],
    ids=["product", "layer norm", "softmax", "tanh of a sum", "maximum", "a little"],
)
def test_coupled_inputs_are_refused(function):
    with pytest.raises(ImportModelError, match=r"not a sum of functions of its single inputs: output \d+ deviates"):
        imported(function)


def test_the_deviation_from_a_sum_is_measured():
    with pytest.raises(ImportModelError) as caught:
        imported(lambda X: X[:, :1] * X[:, 1:2], domain=(-1, 1))
    measured = float(caught.value.found.split("by ")[1].split(",")[0])
    assert 2.0 < measured <= 4.0  # at most |x0 - y0| * |x1 - y1|
    assert "couples the inputs" in caught.value.fix


def test_a_large_constant_does_not_hide_coupled_inputs():
    with pytest.raises(ImportModelError, match="output 0 deviates"):
        imported(lambda X: 1e6 + X[:, :1] * X[:, 1:2])


def test_a_large_output_does_not_hide_a_small_coupled_one():
    with pytest.raises(ImportModelError, match="output 1 deviates"):
        imported(lambda X: np.stack([1e7 * X[:, 0], X[:, 0] * X[:, 1]], axis=1))


def test_float32_rounding_is_no_coupling():
    net = imported(lambda X: smooth(X).astype(np.float32) + np.float32(50.0))
    assert 0 < noted(net, "additive up to ") < 1e-4


def test_a_row_that_depends_on_its_batch_is_refused():
    def min_max(X):
        return (X - X.min()) / max(X.max() - X.min(), 1e-3)

    with pytest.raises(ImportModelError, match="alone and in a batch"):
        imported(min_max)


def test_chance_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ImportModelError, match="two calls with the same rows differ"):
        imported(lambda X: X + rng.normal(size=X.shape))


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ImportModelError, match="output 0 is nan on a row"), np.errstate(invalid="ignore"):
        imported(lambda X: np.log(X))

    with pytest.raises(ImportModelError, match="not finite in the middle"):  # no random row meets this pole
        imported(lambda X: np.where(X == 0.25, np.inf, X))
    with pytest.raises(ImportModelError, match=r"output 1 is not finite where input 1 is -1\.5"):
        imported(lambda X: np.where(X == [[-9, -1.5, -9]], np.inf, X))


@pytest.mark.parametrize(
    ("config", "key"), [({}, "domain"), ({"in_features": 3}, "domain"), ({"domain": (-1, 1)}, "in_features")]
)
def test_what_a_callable_does_not_say_has_to_be_given(config, key):
    with pytest.raises(ConfigNeededError, match=key) as caught:
        import_model(smooth, family="generic", config=config)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"domain": (1, -1)}, r"config\['domain'\] of input 0 is \(1, -1\)"),
        ({"domain": (np.array([0, 0, 2]), 2)}, r"config\['domain'\] of input 2"),
        ({"domain": (0, np.inf)}, "finite"),
        ({"domain": (0, 1, 2)}, "not a pair"),
        ({"domain": "wide"}, "not a pair"),
        ({"domain": (np.zeros(2), np.ones(2))}, "for 3 inputs"),
        ({"in_features": 2.5}, r"config\['in_features'\]"),
        ({"in_features": True}, r"config\['in_features'\]"),
        ({"segments": 1}, r"config\['segments'\]"),
        ({"degree": 2}, r"config\['degree'\]"),
        ({"degree": 5}, r"config\['degree'\]"),
        ({"grid": 5}, "unknown key 'grid'"),
        ({"in_features": 4}, "the function fails on a float64 array of shape"),
    ],
)
def test_a_wrong_setting_is_refused(config, message):
    with pytest.raises(ImportModelError, match=message):
        imported(**config)


@pytest.mark.parametrize(
    "function",
    [lambda X: X[0], lambda X: X[:, :, None], lambda X: np.array(["a"] * len(X)), lambda X: 1.0],
    ids=["a row", "three axes", "text", "a number"],
)
def test_answers_that_are_no_rows_are_refused(function):
    with pytest.raises(ImportModelError, match="the function returns"):
        imported(function)


def test_only_callables_are_sampled():
    with pytest.raises(ImportModelError, match="a dict with family='generic'"):
        import_model({"weight": np.ones(3)}, family="generic", config={"in_features": 3, "domain": (-1, 1)})


def test_the_family_names_include_generic():
    with pytest.raises(ImportModelError, match="generic"):
        import_model({}, family="generik")


# --- modules ---------------------------------------------------------------------------------------------------------


def modules():
    torch = pytest.importorskip("torch", reason="needs torch")

    class Sines(torch.nn.Module):
        """A layer of no known family: sum_i w[j, i] * sin(k[i] * x_i), then a dropout."""

        def __init__(self):
            super().__init__()
            make = torch.Generator().manual_seed(5)
            self.w = torch.nn.Parameter(torch.randn(2, 3, generator=make))
            self.k = torch.nn.Parameter(torch.rand(3, generator=make) + 1)
            self.drop = torch.nn.Dropout(0.5)

        def forward(self, x):
            return self.drop(torch.sin(self.k * x)) @ self.w.T

    return torch, Sines()


def test_a_module_is_sampled_in_evaluation_mode_and_left_as_it_was():
    torch, module = modules()
    net = imported(module)
    assert module.training and module.drop.training
    w, k = (tensor.detach().double().numpy() for tensor in (module.w, module.k))
    x = inside()
    assert close(net.evaluate(x), np.sin(k * x) @ w.T, 1e-5)
    assert len(net.source.checkpoint_sha256) == 64
    assert noted(net, "additive up to ") < 1e-12  # on a float64 copy
    with torch.no_grad():
        assert np.allclose(net.evaluate(x), module.eval()(torch.tensor(x, dtype=torch.float32)), atol=1e-5)


def test_a_module_that_couples_its_inputs_is_refused():
    torch, module = modules()
    with pytest.raises(ImportModelError, match="Sequential is not a sum"):
        imported(torch.nn.Sequential(torch.nn.LayerNorm(3), module))
    with pytest.raises(ImportModelError, match="fails on"):
        imported(module, in_features=5)


def test_a_function_of_tensors_has_to_be_wrapped():
    torch, _ = modules()
    with pytest.raises(ImportModelError, match=r"torch\.from_numpy"):
        imported(lambda X: torch.sin(X))
    net = imported(lambda X: torch.sin(torch.from_numpy(X)))
    assert close(net.evaluate(inside()), np.sin(inside()), 1e-6)
