"""PTQ of whole networks: the preset against an oracle of its own, integers against the artifact, and bad input."""

import itertools
from pathlib import Path

import numpy as np
import pytest

import lutkan
from lutkan.errors import InputError, SpecError, VerificationError
from lutkan.ir import Branch, EdgeBank, FunctionBank, KANLayer, NamedFunction, Network, Source
from lutkan.lab.nets import efficient_kan, fast_kan, input_rows
from lutkan.tables import BranchSpec, CodeSpec, SegmentSpec, Spec
from lutkan.train.ptq import METHODS, Method, quantize_network

WIDTHS = (6, 7, 3)
EXAMPLES = Path(__file__).parents[4] / "examples"


def gram_state(seed=0):
    rng = np.random.default_rng(seed)
    state = {}
    for number, (n_in, n_out) in enumerate(itertools.pairwise(WIDTHS)):
        at = f"layers.{number}."
        state[at + "grams_basis_weights"] = rng.normal(size=(n_in, n_out, 4)) / 3
        state[at + "base_weights"] = rng.normal(size=(n_out, n_in)) / 3
        state[at + "beta_weights"] = rng.normal(size=4) / 50
        state[at + "norm.weight"] = rng.uniform(0.5, 1.5, n_out)
        state[at + "norm.bias"] = rng.normal(size=n_out) / 5
    return {name: array.astype(np.float32) for name, array in state.items()}


def pykan_state(seed=0):
    rng = np.random.default_rng(seed)
    state = {}
    for number, (n_in, n_out) in enumerate(itertools.pairwise(WIDTHS)):
        at = f"act_fun.{number}."
        state[at + "grid"] = np.tile(-1 + 0.4 * np.arange(-3, 9), (n_in, 1))
        state[at + "mask"] = (rng.random((n_in, n_out)) < 0.8).astype(float)
        state[at + "coef"] = rng.normal(size=(n_in, n_out, 8))
        state[at + "scale_base"] = rng.normal(size=(n_in, n_out))
        state[at + "scale_sp"] = rng.uniform(0.2, 1.0, size=(n_in, n_out))
        state[f"symbolic_fun.{number}.mask"] = np.zeros((n_out, n_in))
        state[f"symbolic_fun.{number}.affine"] = np.zeros((n_out, n_in, 4))
        for kind in ("node", "subnode"):
            state[f"{kind}_bias_{number}"] = np.zeros(n_out)
            state[f"{kind}_scale_{number}"] = np.ones(n_out)
    return {name: np.asarray(array, dtype=np.float32) for name, array in state.items()}


def networks():
    """Return state and network of the four families."""
    efficient, fast = efficient_kan(WIDTHS), fast_kan(WIDTHS)
    return {
        "efficient-kan": (efficient.state, efficient.network),
        "fast-kan": (fast.state, fast.network),
        "gram": (gram_state(), lutkan.import_model(gram_state(), config={"act": "silu"})),
        "pykan": (pykan_state(), lutkan.import_model(pykan_state())),
    }


FAMILIES = tuple(networks())
X = input_rows(6, 700)


def rtn(weight, bits, axis):
    """QuantKAN's uniform weights, as seen in the use of its code: amax of a channel over 2^(b-1) - 1."""
    top = 2 ** (bits - 1) - 1
    others = tuple(a for a in range(weight.ndim) if a != axis)
    scale = np.abs(weight.astype(np.float64)).max(axis=others, keepdims=True) / top
    return np.clip(np.round(weight / scale), -top - 1, top).astype(int), scale


def oracle(family, state, layer, bits):
    """Return codes and scales by tensor name, straight from the tensors of the library: (codes, scale, axis)."""
    at = f"act_fun.{layer}." if family == "pykan" else f"layers.{layer}."
    axes = {
        "efficient-kan": {"base_weight": 0, "spline_weight": 0, "spline_scaler": 0},
        "fast-kan": {"base_linear.weight": 0, "spline_linear.weight": 0},
        "gram": {"base_weights": 0, "grams_basis_weights": 1},
        "pykan": {"coef": 1, "scale_sp": 1, "scale_base": 1},
    }[family]
    return {name: rtn(state[at + name], bits, axis) for name, axis in axes.items()}


def expected(family, state, layer, bits):
    """Return codes [out, in * C] and scales [out] of spline and base branch from the oracle."""
    o = oracle(family, state, layer, bits)
    if family == "efficient-kan":
        (w, sw), (s, ss) = o["spline_weight"], o["spline_scaler"]
        spline = ((w * s[..., None]).reshape(len(w), -1), (sw.ravel() * ss.ravel()))
        base = o["base_weight"]
    elif family == "fast-kan":
        spline, base = o["spline_linear.weight"], o["base_linear.weight"]
    elif family == "gram":
        w, sw = o["grams_basis_weights"]
        spline, base = (w.transpose(1, 0, 2).reshape(w.shape[1], -1), sw), o["base_weights"]
    else:
        at = f"act_fun.{layer}."
        mask = state[at + "mask"].astype(int)
        (w, sw), (b, sb) = o["coef"], o["scale_base"]
        # Masks are no weights; a masked scale is no part of the largest one either.
        s, ss = rtn(state[at + "scale_sp"] * mask, bits, 1)
        b, sb = rtn(state[at + "scale_base"] * mask, bits, 1)
        spline = ((w * s[..., None]).transpose(1, 0, 2).reshape(w.shape[1], -1), sw.ravel() * ss.ravel())
        base = (b.T, sb)
    return {"spline": (spline[0], np.ravel(spline[1])), "base": (base[0], np.ravel(base[1]))}


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_preset_has_the_codes_of_an_independent_oracle(family, bits):
    state, net = networks()[family]
    weights = BranchSpec(bits=bits)
    apart = weights if family in ("efficient-kan", "pykan") else None
    spec = CodeSpec(input_bits=bits, base=weights, spline=weights, scaler=apart)
    done = quantize_network(net, spec, method="quantkan-uniform", calibration=X)
    inputs = [x for x, step in zip(net.trace(X[:512]), net.steps, strict=False) if isinstance(step, KANLayer)]
    for number, layer in enumerate(done.layers):
        wanted = expected(family, state, number, bits)
        for branch in layer.branches:
            codes, scale = wanted[branch.bank.role]
            assert np.array_equal(branch.codes, codes)
            assert np.allclose(np.broadcast_to(branch.scale, codes.shape)[:, 0], scale, rtol=1e-12)
        batches = [np.quantile(np.abs(inputs[number][at : at + 64]), 0.999) for at in range(0, 512, 64)]
        step = max(batches) / (2 ** (bits - 1) - 1)
        assert layer.grid.step == pytest.approx(step, rel=1e-6)
        assert layer.grid.low == pytest.approx(-(2 ** (bits - 1)) * step, rel=1e-6)


@pytest.mark.parametrize("method", [*METHODS])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_artifact_is_the_simulation(family, method):
    _, net = networks()[family]
    done = quantize_network(net, "w3a4", method=method, calibration=X[:300])
    artifact = done.artifact()
    answer = lutkan.load(artifact, runtime="reference").predict(X)
    simulated = done.evaluate(X, integer=True)
    spread = simulated.std()
    # Codes between layers are exact but for ties of a multiplication and a shift; those move an output by one step.
    close = np.abs(answer - simulated).max(axis=1) < 1e-3 * spread
    assert close.mean() > 0.99
    assert np.corrcoef(simulated.ravel(), net.evaluate(X).ravel())[0, 1] > 0.7


@pytest.mark.parametrize("family", FAMILIES)
def test_eight_bits_change_little_and_the_default_is_the_best_at_two(family):
    _, net = networks()[family]
    exact = net.evaluate(X)

    def error(spec, method):
        done = quantize_network(net, spec, method=method, calibration=X)
        return float(np.sqrt(np.mean((done.evaluate(X, integer=True) - exact) ** 2)) / exact.std())

    assert error("w8a8", "auto") < 0.03
    ours, preset, gptq = (error("w2a2", method) for method in ("auto", "quantkan-uniform", "quantkan-gptq"))
    assert ours < 0.8 * min(preset, gptq)


def test_pruned_edges_stay_pruned():
    state, net = networks()["pykan"]
    for method in ("auto", "gptq", "brecq"):
        done = quantize_network(net, "w3a3", method=method, calibration=X)
        for number, layer in enumerate(done.layers):
            dead = state[f"act_fun.{number}.mask"].T == 0
            for branch in layer.branches:
                codes = branch.codes.reshape(*dead.shape, -1)
                assert not codes[dead].any()
                assert codes[~dead].any()


def test_runs_are_reproducible_and_follow_the_seed():
    _, net = networks()["gram"]

    def codes(seed, method="brecq"):
        return quantize_network(net, "w2a3", method=method, calibration=X, seed=seed).layers[0].branches[0].codes

    assert np.array_equal(codes(0), codes(0))
    assert not np.array_equal(codes(0), codes(1))
    assert not np.array_equal(codes(0, "zeroq"), codes(1, "zeroq"))


def test_bits_by_layer_and_branch():
    _, net = networks()["efficient-kan"]
    narrow = CodeSpec(input_bits=3, base=BranchSpec(bits=8), spline=BranchSpec(bits=2))
    spec = Spec(CodeSpec(input_bits=5, base=BranchSpec(bits=4), spline=BranchSpec(bits=4)), (("layers.1", narrow),))
    done = quantize_network(net, spec, calibration=X)
    assert [layer.grid.bits for layer in done.layers] == [5, 3]
    assert {branch.bank.role: branch.bits for branch in done.layers[1].branches} == {"base": 8, "spline": 2}
    with pytest.raises(SpecError, match=r"'layers.7' matches no layer"):
        quantize_network(net, Spec(spec.default, (("layers.7", narrow),)), calibration=X)


@pytest.mark.parametrize("granularity", ["tensor", "edge", "group"])
def test_granularities(granularity):
    _, net = networks()["efficient-kan"]
    weights = BranchSpec(bits=3, granularity=granularity, group_size=4 if granularity == "group" else None)
    done = quantize_network(net, CodeSpec(base=BranchSpec(bits=8), spline=weights), calibration=X)
    branch = next(b for b in done.layers[0].branches if b.bank.role == "spline")
    scale = np.broadcast_to(branch.scale, branch.codes.shape)
    different = {"tensor": 1, "edge": 6 * 7, "group": 6 * 7 * 2}[granularity]
    assert len(np.unique(scale)) == different
    if granularity == "tensor":
        done.artifact()
    else:
        with pytest.raises(SpecError, match="several scales an output in the spline branch"):
            done.artifact()


def test_branches_in_floating_point():
    _, net = networks()["efficient-kan"]
    spec = CodeSpec(base=BranchSpec(bits=None), spline=BranchSpec(bits=3))
    done = quantize_network(net, spec, calibration=X)
    base = next(b for b in done.layers[0].branches if b.bank.role == "base")
    original = next(b for b in net.layers[0].branches if b.bank.role == "base")
    assert np.array_equal(base.weights, original.bank.weights[:, 0, :].T)
    with pytest.raises(SpecError, match="the base branch is in floating point"):
        done.artifact()


def test_to_network_has_the_quantized_weights():
    _, net = networks()["fast-kan"]
    done = quantize_network(net, "w3a8", calibration=X)
    weights = done.to_network().layers[0].branches[0].bank.weights
    assert len(np.unique(weights[:, :, 0])) <= 8
    gap = done.to_network().evaluate(X) - done.evaluate(X)  # that of the inputs, in 8 bits
    assert 0 < np.sqrt(np.mean(gap**2)) < 0.1 * net.evaluate(X).std()


def test_all_parts_of_a_method_work_together():
    _, net = networks()["fast-kan"]
    exact = net.evaluate(X)
    for inputs in ("minmax", "percentile", "mse", "output-error"):
        for signed in (False, True):
            method = Method(inputs=inputs, signed_inputs=signed, scales="hessian", refit=0.1, rounding="gptq")
            done = quantize_network(net, "w6a6", method=method, calibration=X)
            assert np.sqrt(np.mean((done.evaluate(X) - exact) ** 2)) < 0.25 * exact.std()
            if signed:
                assert done.layers[0].grid.low == pytest.approx(-32 * done.layers[0].grid.step)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((5, 7)), "6"),
        (np.zeros((0, 6)), "calibration holds no rows"),
        (np.full((5, 6), np.nan), "calibration holds nan at row 0, column 0"),
        (np.full((5, 6), np.inf), "calibration holds inf at row 0, column 0"),
        (None, "no calibration rows"),
    ],
)
def test_bad_calibration_rows(rows, message):
    _, net = networks()["efficient-kan"]
    with pytest.raises(InputError, match=message):
        quantize_network(net, "w4a8", calibration=rows)


def test_bad_specs_and_methods():
    _, net = networks()["efficient-kan"]
    with pytest.raises(SpecError, match=r"method 'magic'; allowed: auto, quantkan-uniform"):
        quantize_network(net, "w4a8", method="magic", calibration=X)
    with pytest.raises(SpecError, match="a SegmentSpec; allowed: a CodeSpec"):
        quantize_network(net, SegmentSpec(), calibration=X)
    with pytest.raises(SpecError, match="spec 'w9a8'"):
        quantize_network(net, "w9a8", calibration=X)
    with pytest.raises(SpecError, match="spline weights with a free offset"):
        quantize_network(net, CodeSpec(spline=BranchSpec(symmetric=False)), calibration=X)
    with pytest.raises(SpecError, match=r"Method.rounding = 'up'"):
        Method(rounding="up")
    with pytest.raises(SpecError, match="rounding to nearest, by branch"):
        Method(balance="awq", rounding="gptq")
    with pytest.raises(InputError, match="net is a dict"):
        quantize_network({}, "w4a8", calibration=X)


def test_smoothquant_on_inputs():
    _, net = networks()["efficient-kan"]
    method = Method(balance="smooth", scales="peak", smooth_side="inputs")
    with pytest.raises(SpecError, match=r'layer layers.0: SmoothQuant on the inputs of .*; fix: .*"features"'):
        quantize_network(net, "w4a8", method=method, calibration=X)
    straight = EdgeBank(NamedFunction("identity"), np.random.default_rng(0).normal(size=(6, 1, 3)))
    lines = Network((KANLayer("a", (Branch(straight),)),), 6, Source("handmade"))
    done = quantize_network(lines, "w8a8", method=method, calibration=X)
    assert np.abs(done.evaluate(X) - lines.evaluate(X)).max() < 0.05


def test_edges_of_named_functions_are_refused_by_name():
    sine = FunctionBank(1, 1, ("sin",), np.array([0]), np.array([0]), np.array([0]), np.ones((1, 4)))
    base = EdgeBank(NamedFunction("silu"), np.ones((1, 1, 1)), role="base")
    net = Network((KANLayer("act_fun.0", (Branch(base), Branch(sine))),), 1, Source("pykan"))
    with pytest.raises(SpecError, match=r"layer act_fun.0: 1 edges of named functions \(sin\)"):
        quantize_network(net, "w4a8", calibration=np.zeros((4, 1)))


@pytest.mark.parametrize("method", ["awq", "smoothquant"])
@pytest.mark.parametrize("bits", ["w2a4", "w4a8"])
def test_artifacts_with_balanced_features_are_verified(method, bits):
    """Their tables hold features times factors, which verification has to find again."""
    net = lutkan.import_model(EXAMPLES / "digits.safetensors")
    rows = np.load(EXAMPLES / "digits_calibration.npz")["X"]
    artifact = quantize_network(net, bits, method=method, calibration=rows).artifact()
    report = lutkan.verify(artifact, net, rows)
    assert report.quantization.max_abs < 0.7 * report.max_abs
    assert report.agreement > 0.97
    other = lutkan.import_model(EXAMPLES / "digits.safetensors", config={"base_activation": "gelu"})
    with pytest.raises(VerificationError, match="not those of this network"):
        lutkan.verify(artifact, other, rows)
