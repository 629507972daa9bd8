"""Derivatives against finite differences of the loss, on networks of every kind of step."""

import numpy as np
import pytest

from lutkan.ir import (
    Activation,
    Affine,
    Branch,
    BSpline,
    EdgeBank,
    GaussianRBF,
    KANLayer,
    LayerNorm,
    Linear,
    NamedFunction,
    Network,
    Polynomial,
    Product,
    Select,
    Source,
)
from lutkan.train.ptq.gradients import fisher, hutchinson_traces, kl_divergence, layer_gradients, softmax


def bank(basis, n_in, n_out, rng, role="spline"):
    return EdgeBank(basis, rng.normal(size=(n_in, basis.size, n_out)) / np.sqrt(n_in * basis.size), None, role)


def network(rng):
    """Three KAN layers with all kinds of steps before, between and after them."""
    knots = np.linspace(-2.2, 2.2, 12)[None]
    silu = NamedFunction("silu")
    first = KANLayer(
        "a", (Branch(bank(BSpline(knots, 3), 4, 6, rng)), Branch(bank(silu, 4, 6, rng, "base"))), rng.normal(size=6)
    )
    norm = LayerNorm(4, 1e-5, rng.uniform(0.5, 1.5, 4), rng.normal(size=4))
    rbf = GaussianRBF(np.linspace(-2, 2, 5), 1.0)
    second = KANLayer("b", (Branch(bank(rbf, 4, 4, rng), (norm,)), Branch(bank(silu, 4, 4, rng, "base"))))
    gram = Polynomial("gram", 3, (0.1, 0.2, 0.01, 0.1), "silu")
    third = KANLayer("c", (Branch(bank(gram, 3, 3, rng), (Activation("tanh"),)),))
    steps = (
        Affine(np.full(5, 0.7), np.linspace(-0.2, 0.2, 5)),
        Select(np.array([0, 4, 2, 2]), 5),
        first,
        LayerNorm(6),
        Activation("silu"),
        Product(((0, 1), (2, 3), (4,), (5,)), 6),
        second,
        Linear(rng.normal(size=(4, 3))),
        third,
    )
    return Network(steps, 5, Source("handmade"))


def test_layer_gradients_are_those_of_finite_differences():
    rng = np.random.default_rng(0)
    net = network(rng)
    X = rng.uniform(-1, 1, size=(7, 5))
    trace = net.trace(X)
    direction = rng.normal(size=trace[-1].shape)
    found = layer_gradients(net, trace, direction)
    assert sorted(found) == [2, 6, 8]
    for index, gradient in found.items():
        for column in range(gradient.shape[1]):
            moved = []
            for sign in (1, -1):
                z = trace[index + 1].copy()
                z[:, column] += sign * 1e-5
                for step in net.steps[index + 1 :]:
                    z = step.evaluate(z)
                moved.append(np.sum(z * direction, axis=1))
            assert np.allclose((moved[0] - moved[1]) / 2e-5, gradient[:, column], atol=1e-6)


def test_kl_divergence():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6, 4))
    p, q = softmax(a), softmax(b)
    assert kl_divergence(a, b) == pytest.approx(np.mean(np.sum(p * np.log(p / q), axis=1)))
    assert kl_divergence(a, b + 3.0) == pytest.approx(kl_divergence(a, b))
    assert kl_divergence(a, b, "squares") == pytest.approx(np.mean((a - b) ** 2))


def one_layer(rng):
    rbf = GaussianRBF(np.linspace(-2, 2, 5), 1.0)
    return Network((KANLayer("a", (Branch(bank(rbf, 3, 4, rng)),)),), 3, Source("handmade"))


def test_fisher_of_the_last_layer_is_p_times_one_minus_p():
    rng = np.random.default_rng(0)
    net, X = one_layer(rng), rng.uniform(-1, 1, size=(3, 3))
    p = softmax(net.evaluate(X))
    found = fisher(net, X, loss="kl", seed=0, draws=20_000)[0]
    assert np.allclose(found, p * (1 - p), atol=0.01)
    assert np.allclose(fisher(net, X, loss="squares", seed=0)[0], 1.0)


def test_hutchinson_trace_of_the_last_layer_is_exact_in_the_mean():
    rng = np.random.default_rng(0)
    net, X = one_layer(rng), rng.uniform(-1, 1, size=(3, 3))
    p = softmax(net.evaluate(X))
    F = net.layers[0].branches[0].bank.basis.evaluate(X).reshape(3, -1)
    exact = np.mean(np.sum(p * (1 - p), axis=1) * np.sum(F**2, axis=1))
    assert hutchinson_traces(net, X, loss="kl", seed=0, vectors=20_000)[0, 0] == pytest.approx(exact, rel=0.02)
