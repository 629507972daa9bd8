"""The trainable layer: the values of every basis, gradients of any order, look-ups, granularity, pruned edges."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from lutkan.errors import InputError, SpecError  # noqa: E402
from lutkan.ir import (  # noqa: E402
    RSWAF,
    Activation,
    Branch,
    BSpline,
    EdgeBank,
    Fourier,
    FunctionBank,
    GaussianRBF,
    KANLayer,
    LayerNorm,
    NamedFunction,
    PiecewiseLinear,
    Polynomial,
    ReluProduct,
)
from lutkan.numerics import functions  # noqa: E402
from lutkan.tables import BranchSpec, CodeSpec  # noqa: E402
from lutkan.train.features import ACTIVATIONS, BasisFeatures  # noqa: E402
from lutkan.train.layer import QuantKANLayer, branch_names, float_mode, kan_layers  # noqa: E402
from lutkan.train.look_up import look_up  # noqa: E402

N_IN, N_OUT = 4, 3
RNG = np.random.default_rng(11)


def knots(degree, rows=1, size=5):
    even = np.arange(-degree, size + degree + 1) * (2.0 / size) - 1.0
    return even + 0.1 * np.sort(RNG.uniform(size=(rows, even.size)), axis=1) * (rows > 1)


BASES = {
    **{f"spline {d}": BSpline(knots(d), d) for d in range(1, 6)},
    "spline per input": BSpline(knots(3, N_IN), 3),
    "spline same for all": BSpline(np.repeat(knots(3), N_IN, axis=0), 3),
    "gaussian": GaussianRBF(np.linspace(-2, 2, 8), 4 / 7),
    "rswaf": RSWAF(np.linspace(-1.2, 0.2, 8), 1.5),
    "chebyshev": Polynomial("chebyshev", 4),
    "legendre": Polynomial("legendre", 3),
    "jacobi": Polynomial("jacobi", 3, (0.5, 2.0)),
    "gram": Polynomial("gram", 3, (0.1, 0.2, -0.1, 0.3), "silu"),
    "bernstein": Polynomial("bernstein", 3),
    "fourier": Fourier(3),
    "hats": PiecewiseLinear(np.array([-1.0, -0.2, 0.5, 1.4])),
    "relu product": ReluProduct(np.full((N_IN, 2), -1.0) + RNG.uniform(size=(N_IN, 2)), np.full((N_IN, 2), 1.0), 2.0),
    "silu": NamedFunction("silu"),
}


def rows(n=40, seed=0):
    x = np.random.default_rng(seed).uniform(-2.6, 2.6, size=(n, N_IN))
    x[:3] = [[-1.0] * N_IN, [1.0] * N_IN, [0.0] * N_IN]
    return x


def layer_of(basis, *, scale=None, pre=(), base=True, bias=True):
    rng = np.random.default_rng(3)
    bank = EdgeBank(basis, rng.normal(size=(N_IN, basis.size, N_OUT)), scale)
    branches = [Branch(bank, pre)]
    if base:
        branches.append(Branch(EdgeBank(NamedFunction("silu"), rng.normal(size=(N_IN, 1, N_OUT)), role="base")))
    return KANLayer("here", tuple(branches), rng.normal(size=N_OUT) if bias else None)


@pytest.mark.parametrize("name", BASES)
def test_features_are_those_of_the_importers_basis(name):
    features, x = BasisFeatures(BASES[name]), rows()
    np.testing.assert_allclose(features(torch.tensor(x)).numpy(), BASES[name].evaluate(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(functions.ACTIVATIONS)))
def test_activations_are_the_same_in_torch(name):
    x = np.linspace(-6, 6, 50)
    np.testing.assert_allclose(ACTIVATIONS[name](torch.tensor(x)).numpy(), functions.apply(name, x), atol=1e-12)


@pytest.mark.parametrize("name", ["spline 2", "spline 3", "spline 5", "spline per input"])
def test_spline_gradients_are_exact_to_the_second_order(name):
    features = BasisFeatures(BASES[name])
    x = torch.tensor(rows(10, seed=4) * 0.37 + 0.013, requires_grad=True)
    assert torch.autograd.gradcheck(features, (x,))
    assert torch.autograd.gradgradcheck(features, (x,))


def test_repeated_knots_follow_pykan():
    repeated = np.array([[-1.0, -1.0, -1.0, -1.0, 0.0, 1.0, 1.0, 1.0, 1.0]])
    basis, x = BSpline(repeated, 3), rows()
    features = BasisFeatures(basis)
    np.testing.assert_allclose(features(torch.tensor(x)).numpy(), basis.evaluate(x), atol=1e-12)
    inner = torch.tensor(x[3:] * 0.3, requires_grad=True)
    assert torch.autograd.gradcheck(features, (inner,))


@pytest.mark.parametrize(
    "name", ["spline 3", "spline same for all", "gaussian", "chebyshev", "gram", "fourier", "rswaf"]
)
def test_looked_up_features_and_gradients_are_the_computed_ones(name):
    features = BasisFeatures(BASES[name])
    points = torch.linspace(-2.2, 1.9, 16, dtype=torch.float64)
    codes = torch.randint(0, 16, (12, N_IN), generator=torch.Generator().manual_seed(0))
    given = torch.tensor(np.random.default_rng(1).normal(size=(12, N_IN, features.size)))
    grads, values, seconds = [], [], []
    for how in ("computed", "looked up"):
        x = points[codes].clone().requires_grad_(True)
        found = features(x) if how == "computed" else look_up(features, x, codes, points)
        (grad,) = torch.autograd.grad((found * given).sum(), x, create_graph=True)
        seconds.append(torch.autograd.grad((grad**2).sum(), x)[0])
        grads.append(grad.detach())
        values.append(found.detach())
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(grads[0], grads[1], rtol=0, atol=1e-10)
    torch.testing.assert_close(seconds[0], seconds[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", BASES)
def test_a_layer_computes_what_it_was_made_from(name):
    scale = np.random.default_rng(9).uniform(0.5, 2, size=(N_IN, N_OUT))
    for spec in (CodeSpec(), CodeSpec(scaler=BranchSpec())):
        layer = layer_of(BASES[name], scale=scale)
        found = QuantKANLayer(layer, spec)(torch.tensor(rows(), dtype=torch.float32)).detach().numpy()
        wanted = layer.evaluate(rows())
        assert np.max(np.abs(found - wanted) / (1 + np.abs(wanted))) < 5e-6


def test_features_times_weights_are_the_layer():
    module = QuantKANLayer(layer_of(BASES["spline 3"]), CodeSpec(input_bits=4)).double()
    x = torch.tensor(rows())
    for calibrated in (False, True):
        if calibrated:
            module.calibrate(x)
        features, weights = module.features(x), module.weights()
        assert {k: tuple(v.shape) for k, v in features.items()} == {"spline": (40, 32), "base": (40, 4)}
        assert {k: tuple(v.shape) for k, v in weights.items()} == {"spline": (3, 32), "base": (3, 4)}
        y = sum(features[name] @ weights[name].T for name in features) + module.bias
        torch.testing.assert_close(y, module(x))


def test_a_steps_before_the_basis_gets_a_quantizer_of_its_own_where_it_couples_inputs():
    norm = LayerNorm(N_IN, weight=np.full(N_IN, 1.3))
    coupled = QuantKANLayer(layer_of(BASES["gaussian"], pre=(norm,)), CodeSpec(input_bits=3)).double()
    assert list(coupled.branch_quantizers) == ["spline"]
    squashed = QuantKANLayer(layer_of(BASES["gram"], pre=(Activation("tanh"),)), CodeSpec(input_bits=3)).double()
    assert not len(squashed.branch_quantizers)
    x = torch.tensor(rows())
    coupled.calibrate(x)
    seen = coupled.seen(x)["spline"]
    inner = coupled.branch_quantizers["spline"](seen)
    wanted = BASES["gaussian"].evaluate(inner.detach().numpy()).reshape(40, -1)
    np.testing.assert_allclose(coupled.features(x)["spline"].detach().numpy(), wanted, atol=1e-9)
    squashed.calibrate(x)
    quantized = squashed.input_quantizer(x).detach()
    assert len(torch.unique(quantized)) <= 8
    wanted = BASES["gram"].evaluate(np.tanh(quantized.numpy())).reshape(40, -1)
    np.testing.assert_allclose(squashed.features(x)["spline"].detach().numpy(), wanted, atol=1e-9)


@pytest.mark.parametrize(
    ("spec", "scales"),
    [
        (BranchSpec(4, "tensor"), 1),
        (BranchSpec(4, "output"), N_OUT),
        (BranchSpec(4, "edge"), N_OUT * N_IN),
        (BranchSpec(4, "group", group_size=16), N_OUT * 2),
    ],
)
def test_scales_are_shared_as_the_spec_says(spec, scales):
    layer = layer_of(BASES["spline 3"])
    layer.branches[0].bank.coefficients[1] *= 20  # one input with large weights
    module = QuantKANLayer(layer, CodeSpec(spline=spec), method="uniform")
    module.calibrate(torch.tensor(rows(), dtype=torch.float32))
    quantizer = module.weight_quantizers["spline"]
    assert quantizer.scale.shape == (scales, 1)
    wide = module.float_weights()["spline"].detach().reshape(scales, -1)
    step = wide.abs().amax(1, keepdim=True) / 7
    wanted = ((wide / step).round() * step).reshape(N_OUT, -1)
    torch.testing.assert_close(module.weights()["spline"].detach(), wanted, rtol=1e-5, atol=1e-6)


def test_branches_have_bits_of_their_own_or_none():
    spec = CodeSpec(base=BranchSpec(None), spline=BranchSpec(2))
    module = QuantKANLayer(layer_of(BASES["spline 3"]), spec, method="dsq")
    assert list(module.weight_quantizers) == ["spline"]
    module.calibrate(torch.tensor(rows(), dtype=torch.float32))
    weights, unquantized = module.weights(), module.float_weights()
    assert torch.equal(weights["base"], unquantized["base"])
    assert all(len(torch.unique(row)) <= 4 for row in weights["spline"].detach())


def test_pruned_edges_stay_pruned():
    scale = np.ones((N_IN, N_OUT))
    scale[1, 2] = 0.0
    module = QuantKANLayer(layer_of(BASES["spline 3"], scale=scale, base=False), CodeSpec(), method="dorefa")
    module.calibrate(torch.tensor(rows(), dtype=torch.float32))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(3):
        module(torch.tensor(rows(), dtype=torch.float32)).square().sum().backward()
        optimizer.step()
    assert torch.all(module.weights()["spline"].reshape(N_OUT, N_IN, -1)[2, 1] == 0)
    assert np.all(module.to_layer(quantized=True).branches[0].bank.coefficients[1, :, 2] == 0)


def test_weights_on_the_grid_come_back_as_they_are():
    module = QuantKANLayer(layer_of(BASES["spline 3"]), CodeSpec(spline=BranchSpec(3)), method="uniform")
    module.calibrate(torch.tensor(rows(), dtype=torch.float32))
    quantizer = module.weight_quantizers["spline"]
    codes = torch.randint(-3, 4, (N_OUT, 32), generator=torch.Generator().manual_seed(0))
    module.set_weights({"spline": codes * quantizer.scale})
    assert torch.equal(quantizer.codes(module.coefficients["spline"]), codes)


def test_a_state_dict_holds_the_quantizers_and_whether_they_take_part():
    make = lambda: QuantKANLayer(layer_of(BASES["spline 3"]), CodeSpec(input_bits=3), method="dsq")  # noqa: E731
    module, x = make(), torch.tensor(rows(), dtype=torch.float32)
    module.calibrate(x)
    twin = make()
    twin.load_state_dict(module.state_dict())
    assert twin.quantizing and torch.equal(twin(x), module(x))
    with float_mode(twin):
        assert not kan_layers(twin)[0].quantizing
        assert not torch.equal(twin(x), module(x))
    assert twin.quantizing


def test_what_cannot_be_trained_is_refused_by_name():
    some = np.zeros(1, dtype=np.int64)
    symbolic = FunctionBank(N_IN, N_OUT, ("sin",), some, some, some, np.ones((1, 4)))
    with pytest.raises(SpecError, match=r"'here'.*named functions"):
        QuantKANLayer(KANLayer("here", (Branch(symbolic),)), CodeSpec())
    with pytest.raises(SpecError, match="group_size = 5 with 32"):
        QuantKANLayer(layer_of(BASES["spline 3"]), CodeSpec(spline=BranchSpec(4, "group", group_size=5)))
    with pytest.raises(SpecError, match="keeps no edge scale"):
        QuantKANLayer(layer_of(BASES["spline 3"]), CodeSpec(scaler=BranchSpec()))
    module = QuantKANLayer(layer_of(BASES["spline 3"]), CodeSpec())
    with pytest.raises(InputError, match="shape"):
        module.calibrate(torch.zeros(3, N_IN + 1))
    with pytest.raises(InputError, match="NaN"):
        module.calibrate(torch.full((3, N_IN), float("nan")))
    module.quantizing = True
    with pytest.raises(InputError, match="calibrate"):
        module(torch.zeros(3, N_IN))


def test_branches_are_named_by_role_and_numbered():
    bank = EdgeBank(NamedFunction("silu"), np.ones((1, 1, 1)), role="base")
    assert branch_names(KANLayer("", tuple(Branch(bank) for _ in range(3)))) == ("base", "base2", "base3")
