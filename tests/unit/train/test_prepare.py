"""From live models to trainable ones and back: float equality, what stays, specs by pattern, and refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

import lutkan  # noqa: E402
from live_kans import FAMILIES, EfficientLayer, Stack, stack  # noqa: E402
from lutkan import train  # noqa: E402
from lutkan.errors import ImportModelError, InputError, SpecError  # noqa: E402
from lutkan.ir import FunctionBank  # noqa: E402
from lutkan.tables import BranchSpec, CodeSpec, SegmentSpec, Spec  # noqa: E402

nn = torch.nn
TRAINED = ("efficient_kan", "fast_kan", "pykan", "torch_conv_kan")


def rows(n_in, n=64, seed=0):
    return np.random.default_rng(seed).uniform(-1.6, 1.6, size=(n, n_in)).astype(np.float32)


def worst(found, wanted):
    return float(np.max(np.abs(found - wanted) / (1 + np.abs(wanted))))


def run(model, x):
    with torch.no_grad():
        dtype = next(model.parameters()).dtype
        return model(torch.tensor(x, dtype=dtype)).double().numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prepared_model_computes_what_it_was_made_from(family):
    torch.manual_seed(0)
    model, x = stack(family, 6, 5, 3), rows(6)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    prepared = train.prepare(model, "w4a8")
    assert len(train.kan_layers(prepared)) == 2
    assert worst(run(prepared, x), run(model, x)) < 2e-6  # two float32 computations of the same sums
    assert worst(run(prepared.double(), x), run(model.double(), x)) < 1e-6
    model.float()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("family", FAMILIES)
def test_ordinary_layers_stay_between(family):
    torch.manual_seed(1)
    inner = stack(family, 6, 4)
    norm = nn.BatchNorm1d(6)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    model = nn.Sequential(nn.Linear(5, 6), norm, inner, nn.Dropout(0.3), nn.Linear(4, 3), nn.Tanh()).eval()
    prepared = train.prepare(model, "w4a8")
    assert [type(part).__name__ for part in prepared][:2] == ["Linear", "BatchNorm1d"]
    x = rows(5)
    assert worst(run(prepared.double(), x), run(model.double(), x)) < 1e-6
    train.calibrate(prepared, x)
    net = train.to_network(prepared)
    assert [step.kind for step in net.steps][:2] == ["linear", "affine"]


def test_every_golden_model_of_the_four_families(golden_models):
    seen = 0
    for folder in sorted(p for family in TRAINED for p in (golden_models / family).iterdir()):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config["expect"] != "import" or "2d" in folder.name or "2block" in folder.name:
            continue
        net = lutkan.import_model(folder / "model.safetensors", config=config["not_in_state_dict"])
        if any(isinstance(branch.bank, FunctionBank) for layer in net.layers for branch in layer.branches):
            with pytest.raises(SpecError, match="named functions"):
                train.from_network(net, "w4a8")
            continue
        with np.load(folder / "data.npz") as data:
            x, wanted = data["x"].astype(np.float64), data["y64"]
        if "mlp_kagn" not in folder.name and x.ndim == 2 and x.shape[1] >= net.in_features:
            found = run(train.from_network(net, "w4a8").double(), x[:, : net.in_features])
            assert worst(found, wanted) < 1e-6, folder.name
            seen += 1
    assert seen >= 20


def test_a_network_becomes_the_same_network_again():
    torch.manual_seed(2)
    net = lutkan.import_model(stack("pykan", 5, 4, 3))
    model = train.from_network(net, CodeSpec(base=BranchSpec(8), spline=BranchSpec(8)), method="uniform")
    train.calibrate(model, rows(5))
    back = train.to_network(model)
    assert back.source.family == net.source.family
    assert [step.kind for step in back.steps] == [step.kind for step in net.steps]
    for a, b in zip(back.layers, net.layers, strict=True):
        for mine, theirs in zip(a.branches, b.branches, strict=True):
            step = np.abs(theirs.bank.weights).max(axis=(0, 1)) / 127
            assert np.all(np.abs(mine.bank.weights - theirs.bank.weights) <= 0.501 * step)


def test_specs_go_by_pattern_and_survive_json():
    torch.manual_seed(3)
    narrow = CodeSpec(input_bits=3, base=BranchSpec(8), spline=BranchSpec(2, "edge"))
    spec = Spec(CodeSpec(input_bits=8), overrides=(("layers.1", narrow), ("1", CodeSpec(input_bits=2))))
    for given in (spec, spec.to_json(), Spec.from_json(json.loads(json.dumps(spec.to_json())))):
        layers = train.kan_layers(train.prepare(stack("efficient-kan", 6, 5, 3), given))
        assert [layer.spec for layer in layers] == [CodeSpec(input_bits=8), narrow]
        assert layers[1].weight_quantizers["spline"].rows == 15
        assert layers[1].weight_quantizers["base"].bits == 8


def test_calibration_goes_layer_by_layer_through_quantized_layers():
    torch.manual_seed(4)
    model, x = train.prepare(stack("fast-kan", 6, 5, 3), "w4a2"), rows(6)
    first, second = train.kan_layers(model)
    seen = []
    second.register_forward_pre_hook(lambda layer, arguments: seen.append(arguments[0]))
    train.calibrate(model, x)
    assert first.quantizing and second.quantizing
    with torch.no_grad():
        torch.testing.assert_close(seen[0], first(torch.tensor(x)))
    assert "ready" in " ".join(model.state_dict())
    # A second call starts anew from the float weights.
    before = [p.clone() for p in second.quantizer_parameters()]
    train.calibrate(model, x)
    assert all(torch.equal(a, b) for a, b in zip(before, second.quantizer_parameters(), strict=True))


def test_a_percentile_range_is_taken_from_the_spec():
    torch.manual_seed(5)
    model = train.prepare(stack("efficient-kan", 6, 5), CodeSpec(input_bits=8, percentile=(1.0, 99.0)))
    x = rows(6)
    train.calibrate(model, x)
    quantizer = train.kan_layers(model)[0].input_quantizer
    low, high = np.percentile(x, (1, 99))
    assert np.allclose(
        [quantizer.low.item(), quantizer.low.item() + 255 * quantizer.step.item()], [low, high], atol=1e-5
    )


def test_unknown_layers_are_named_by_their_path():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(3))

        def forward(self, x):
            return x * self.factor

    with pytest.raises(ImportModelError, match="'1'"):
        train.prepare(nn.Sequential(EfficientLayer(4, 3), Odd()), "w4a8")
    with pytest.raises(ImportModelError, match="no KAN layer"):
        train.prepare(nn.Linear(3, 2), "w4a8")


def test_bad_calls_are_refused():
    torch.manual_seed(6)
    model = stack("efficient-kan", 6, 5, 3)
    with pytest.raises(SpecError, match="matches no layer"):
        train.prepare(model, Spec(CodeSpec(), overrides=(("layers.7", CodeSpec()),)))
    with pytest.raises(SpecError, match="SegmentSpec"):
        train.prepare(model, SegmentSpec())
    with pytest.raises(SpecError, match="lsq"):
        train.prepare(model, "w4a8", method="nearest")
    with pytest.raises(SpecError, match="2 to 8"):
        train.prepare(model, CodeSpec(input_bits=9))
    with pytest.raises(InputError, match="from_network"):
        train.prepare("model.pt", "w4a8")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Network"):
        train.from_network(model, "w4a8")  # type: ignore[arg-type]
    prepared = train.prepare(model, "w4a8")
    for bad, what in (
        (rows(7), "6"),
        (rows(6)[:0], "no rows"),
        (np.full((3, 6), np.nan), "NaN"),
    ):
        with pytest.raises(InputError, match=what):
            train.calibrate(prepared, bad)
    with pytest.raises(InputError, match="not calibrated"):
        train.to_network(prepared)
    with pytest.raises(InputError, match="no quantized KAN layer"):
        train.calibrate(model, rows(6))


def test_tied_layers_stay_tied():
    torch.manual_seed(7)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = EfficientLayer(4, 4)
            self.again = self.first

        def forward(self, x):
            return self.again(self.first(x))

    model = Twice().eval()
    prepared = train.prepare(model, "w8a8")
    assert prepared.first is prepared.again
    x = rows(4)
    assert worst(run(prepared.double(), x), run(model.double(), x)) < 1e-6


def test_a_stack_of_stacks():
    torch.manual_seed(8)
    model = nn.Sequential(Stack(EfficientLayer, 4, 5), stack("gram", 5, 3)).eval()
    prepared, x = train.prepare(model, "w8a8"), rows(4)
    assert worst(run(prepared.double(), x), run(model.double(), x)) < 1e-6
