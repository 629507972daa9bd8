"""Integers: codes and scales of every granularity, the artifact against the simulation bit for bit, and how near."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

import lutkan  # noqa: E402
from live_kans import FAMILIES, stack  # noqa: E402
from lutkan import train  # noqa: E402
from lutkan.errors import InputError, SpecError  # noqa: E402
from lutkan.tables import BranchSpec, CodeSpec  # noqa: E402
from lutkan.train.quantizers import METHODS  # noqa: E402

nn = torch.nn


def rows(n, n_in=6, seed=0):
    return np.random.default_rng(seed).uniform(-2.2, 2.2, size=(n, n_in)).astype(np.float32)


def quantized(family, spec, method="lsq+", seed=0, widths=(6, 5, 4, 3)):
    torch.manual_seed(seed)
    model = train.prepare(stack(family, *widths), spec, method=method)
    train.calibrate(model, rows(300, widths[0], seed=9))
    return model


@pytest.mark.parametrize("spec", ["w8a8", "w4a5", "w2a2"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_artifact_answers_what_the_simulation_answers(family, spec):
    model = quantized(family, spec, method={"w8a8": "uniform", "w4a5": "dsq", "w2a2": "lsq+"}[spec])
    x = rows(10_000)
    x[0], x[1] = 1e30, -1e30
    found = train.simulate(model, x)
    assert found.dtype == np.float32 and np.isfinite(found).all()
    artifact = train.convert(model)
    assert np.array_equal(lutkan.load(artifact, runtime="reference").predict(x), found)
    assert np.array_equal(lutkan.load(artifact).predict(x), found)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_converts(method):
    for bits in (2, 3, 5, 8):
        model = quantized("efficient-kan", f"w{bits}a{bits}", method, widths=(6, 4, 3))
        x = rows(200)
        answers = lutkan.load(train.convert(model), runtime="reference").predict(x)
        assert np.array_equal(answers, train.simulate(model, x))
        assert train.compare_decisions(model, x).mean_abs < 0.2


@pytest.mark.parametrize("family", FAMILIES)
def test_with_ordinary_layers_between(family):
    torch.manual_seed(3)
    norm = nn.BatchNorm1d(5)
    norm.running_mean.normal_()
    last = "gram" if family == "pykan" else family  # two pykan models in one module are not read
    inner = [stack(family, 6, 5), norm, nn.Linear(5, 5), nn.ReLU(), stack(last, 5, 3)]
    model = train.prepare(nn.Sequential(*inner).eval(), "w6a6", method="pact")
    x = rows(2000)
    train.calibrate(model, x[:200])
    answers = lutkan.load(train.convert(model, calibration=x[:200]), runtime="reference").predict(x)
    assert np.array_equal(answers, train.simulate(model, x))


def test_codes_are_what_every_layer_sees():
    model = quantized("efficient-kan", "w4a3")
    x = rows(500)
    simulation = train.Simulation(*train.coded_layers(model))
    codes = simulation.codes(x)
    assert [c.shape for c in codes] == [(500, 6), (500, 5), (500, 4)]
    assert all(c.min() >= 0 and c.max() <= 7 for c in codes)
    assert np.array_equal(codes[0], simulation.layers[0].grid.encode(x))
    # Fake quantization sees the same codes but where a sum lies at the border of two.
    seen = []
    hooks = [
        layer.register_forward_pre_hook(lambda layer, given: seen.append(layer.input_quantizer.codes(given[0])))
        for layer in train.kan_layers(model)
    ]
    with torch.no_grad():
        model(torch.tensor(x))
    for hook in hooks:
        hook.remove()
    for number, share in ((0, 0.0), (1, 0.04), (2, 0.08)):
        assert np.mean(seen[number].numpy() != codes[number]) <= share


@pytest.mark.parametrize("granularity", ["tensor", "output", "edge", "group"])
def test_scales_of_any_granularity_become_integers(granularity):
    branch = BranchSpec(4, granularity, group_size=8 if granularity == "group" else None)
    model = quantized("efficient-kan", CodeSpec(8, spline=branch, base=BranchSpec(8)), widths=(6, 4))
    layer = train.kan_layers(model)[0]
    network, (coded,) = train.coded_layers(model)
    weights = layer.weights()["spline"].detach().double().numpy().reshape(4, 6, 8).transpose(1, 2, 0)
    away = np.abs(coded.branches[0].coefficients() - weights)
    if granularity in ("tensor", "output"):
        assert coded.branches[0].bits == 4
        assert away.max() < 1e-6
    else:  # products of scales and codes, rounded once more to 8 bits
        assert coded.branches[0].bits == 8
        assert (away <= 0.501 * np.abs(weights).max(axis=(0, 1)) / 127).all() and away.max() > 0
    x = rows(300)
    answers = lutkan.load(train.convert(model), runtime="reference").predict(x)
    assert np.array_equal(answers, train.simulate(model, x))
    assert np.allclose(network.layers[0].branches[0].bank.coefficients, weights)


def test_scalers_that_are_kept_apart_are_multiplied_in():
    exact = CodeSpec(8, spline=BranchSpec(3), base=BranchSpec(8), scaler=BranchSpec(4))
    model = quantized("efficient-kan", exact, "uniform", widths=(6, 4))
    layer = train.kan_layers(model)[0]
    assert set(layer.weight_quantizers) == {"spline", "spline_scaler", "base"}
    _, (coded,) = train.coded_layers(model)
    weights = layer.weights()["spline"].detach().double().numpy().reshape(4, 6, 8).transpose(1, 2, 0)
    np.testing.assert_allclose(coded.branches[0].coefficients(), weights, atol=1e-6)  # 3 * 7 fits 8 bits
    large = CodeSpec(8, spline=BranchSpec(8), base=BranchSpec(8), scaler=BranchSpec(8))
    _, (coded,) = train.coded_layers(quantized("efficient-kan", large, "uniform", widths=(6, 4)))
    assert coded.branches[0].bits == 8 and np.abs(coded.branches[0].codes).max() == 127


def test_fewer_bits_make_smaller_files():
    sizes = [train.convert(quantized("efficient-kan", f"w{bits}a8", widths=(40, 30, 4))).nbytes for bits in (8, 4, 2)]
    weights = (40 * 30 + 30 * 4) * 9
    assert sizes[0] - sizes[1] == pytest.approx(weights / 2, rel=0.1)
    assert sizes[1] - sizes[2] == pytest.approx(weights / 4, rel=0.1)


def test_the_manifest_says_what_was_done():
    model = quantized("efficient-kan", "w4a8", "dsq")
    artifact = train.convert(model, calibration=rows(50), info={"note": "a test"})
    assert artifact.info["quantizers"] == "dsq"
    assert artifact.info["note"] == "a test"
    assert artifact.info["spec"]["data"]["default"]["data"]["spline"]["bits"] == 4
    assert lutkan.Artifact.open(artifact.to_bytes()).content_id == artifact.content_id


def digits():
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn")
    pixels, labels = datasets.load_digits(return_X_y=True)
    return (pixels / 8 - 1).astype(np.float32), labels.astype(np.int64)


@pytest.mark.parametrize("spec", ["w8a8", "w4a8"])
def test_integers_decide_as_fake_quantization_does_on_digits(spec):
    """Asked are at most 0.1 % of other decisions; the shipped network and all 1797 digits."""
    from lutkan.cli.examples import example_path

    X, y = digits()
    model = train.from_network(lutkan.import_model(example_path("digits.safetensors")), spec, method="lsq+")
    train.train(model, X[:1200], y[:1200], epochs=3, lr=1e-3, progress=False)
    report = train.compare_decisions(model, X)
    assert report.rows == len(X)
    assert report.share <= 0.001, report
    assert report.mean_abs < 0.1


def test_what_has_no_integers_is_refused():
    model = quantized("efficient-kan", CodeSpec(8, base=BranchSpec(None)), widths=(6, 4))
    with pytest.raises(SpecError, match="'base': bits = None"):
        train.convert(model)
    plain = train.prepare(stack("efficient-kan", 6, 4), "w4a8")
    with pytest.raises(InputError, match="not calibrated"):
        train.simulate(plain, rows(3))
