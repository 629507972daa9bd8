"""`lutkan.train.quantize` on live torch models, and what becomes of them."""

import numpy as np
import pytest

import lutkan
from lutkan.errors import InputError, SpecError
from lutkan.lab.nets import efficient_kan, fast_kan, input_rows
from lutkan.tables import BranchSpec, CodeSpec
from lutkan.train.ptq import Quantized, quantize, quantize_network

torch = pytest.importorskip("torch", reason="needs torch")
X = input_rows(5, 400)


def drawn(family):
    return (efficient_kan if family == "efficient-kan" else fast_kan)((5, 6, 3)).network


@pytest.mark.parametrize("family", ["efficient-kan", "fast-kan"])
@pytest.mark.parametrize("method", ["auto", "quantkan-uniform", "brecq"])
def test_a_torch_model_gets_what_the_network_gets(family, method):
    from lutkan.train import convert, from_network

    net = drawn(family)
    model = from_network(net, "w3a4")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    done = quantize(model, "w3a4", method=method, calibration=X)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    reference = quantize_network(net, "w3a4", method=method, calibration=X)
    with torch.no_grad():
        answer = done(torch.from_numpy(X)).double().numpy()
    fake = reference.evaluate(X)
    assert np.mean(np.abs(answer - fake).max(axis=1) < 1e-3 * fake.std()) > 0.99
    made, expected = convert(done), reference.artifact()
    rows = lutkan.load(made, runtime="reference").predict(X)
    wanted = lutkan.load(expected, runtime="reference").predict(X)
    assert np.mean(np.isclose(rows, wanted, atol=1e-3 * fake.std())) > 0.98  # a model holds scales in float32


def test_a_scaler_of_its_own_is_refused_with_the_way_out():
    from lutkan.train import from_network

    weights = BranchSpec(bits=3)
    spec = CodeSpec(input_bits=4, base=weights, spline=weights, scaler=weights)
    with pytest.raises(SpecError, match=r"pass lutkan.import_model\(model\)"):
        quantize(from_network(drawn("efficient-kan"), spec), spec, calibration=X)


def test_it_can_be_trained_further():
    from lutkan.train import from_network, train

    net = drawn("efficient-kan")
    y = net.evaluate(X).argmax(axis=1)
    done = quantize(from_network(net, "w2a2"), "w2a2", method="quantkan-uniform", calibration=X)

    def right():
        with torch.no_grad():
            return float((done(torch.from_numpy(X)).argmax(1).numpy() == y).mean())

    before = right()
    train(done, X, y, epochs=20, lr=2e-2, progress=False)
    assert right() > before


class ChebyKANLayer(torch.nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.cheby_coeffs = torch.nn.Parameter(torch.randn(n_in, n_out, 4) / 4)
        self.register_buffer("arange", torch.arange(4))

    def forward(self, x):
        angle = torch.tanh(x).unsqueeze(-1).acos() * self.arange
        return torch.einsum("bid,iod->bo", angle.cos(), self.cheby_coeffs)


def test_a_live_model_that_was_not_prepared():
    from lutkan.train import convert

    torch.manual_seed(0)
    model = torch.nn.Sequential(ChebyKANLayer(5, 6), torch.nn.Linear(6, 6), ChebyKANLayer(6, 3))
    exact = model(torch.from_numpy(X)).detach().numpy()
    answer = lutkan.load(convert(quantize(model, "w8a8", calibration=X))).predict(X)
    assert np.sqrt(np.mean((answer - exact) ** 2)) < 0.03 * exact.std()


def test_networks_need_no_torch():
    assert isinstance(quantize(drawn("fast-kan"), "w4a8", calibration=X), Quantized)


def test_awq_on_a_torch_model_is_refused_with_the_way_out():
    from lutkan.train import from_network

    model = from_network(drawn("efficient-kan"), "w4a8")
    with pytest.raises(SpecError, match=r"pass lutkan.import_model\(model\)"):
        quantize(model, "w4a8", method="awq", calibration=X)


def test_bad_rows_for_a_torch_model():
    from lutkan.train import from_network

    with pytest.raises(InputError, match="calibration holds no rows"):
        quantize(from_network(drawn("efficient-kan"), "w4a8"), "w4a8", calibration=X[:0])
