from __future__ import annotations

import pytest

from lutkan.adapters.activations import activation_attribute, activation_name
from lutkan.errors import ImportModelError
from lutkan.numerics.functions import ACTIVATIONS

torch = pytest.importorskip("torch", reason="needs torch")
nn, F = torch.nn, torch.nn.functional


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (nn.SiLU(), "silu"),
        (nn.SiLU, "silu"),
        (F.silu, "silu"),
        (nn.GELU(), "gelu"),
        (nn.GELU(approximate="tanh"), "gelu_tanh"),
        (F.gelu, "gelu"),
        (torch.tanh, "tanh"),
        (nn.Identity(), "identity"),
        (nn.Softplus(), "softplus"),
        (nn.Mish(), "mish"),
        (torch.relu, "relu"),
        (torch.sigmoid, "sigmoid"),
    ],
)
def test_a_known_activation_has_its_name_and_means_the_same(function, name):
    assert activation_name(function) == name
    x = torch.linspace(-30, 30, 301, dtype=torch.float64)
    called = function() if isinstance(function, type) else function
    assert abs(called(x).numpy() - ACTIVATIONS[name](x.numpy())).max() < 1e-8  # torch cuts softplus off at 20


@pytest.mark.parametrize("function", [nn.LeakyReLU(), nn.Softplus(beta=2), lambda x: x, nn.ELU(alpha=2.0), 3])
def test_an_unknown_activation_has_none(function):
    assert activation_name(function) is None


def test_an_attribute_becomes_a_config_of_one_layer():
    class Layer:
        act = nn.GELU()
        odd = nn.Hardtanh()

    assert activation_attribute(Layer(), "act", "base_activation") == {"base_activation": "gelu"}
    assert activation_attribute(Layer(), "absent", "base_activation") == {}
    with pytest.raises(ImportModelError, match=r"odd Hardtanh.*of Layer.*config=\{'act': \.\.\.\}.*generic"):
        activation_attribute(Layer(), "odd", "act")
