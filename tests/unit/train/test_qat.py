"""The training loop: better than where it started, reproducible, decay where it belongs, clear errors."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from live_kans import FAMILIES, stack  # noqa: E402
from lutkan import train  # noqa: E402
from lutkan.errors import InputError, SpecError  # noqa: E402
from lutkan.train.qat import parameter_groups  # noqa: E402
from lutkan.train.quantizers import METHODS  # noqa: E402


def problem(n=256, seed=0):
    x = np.random.default_rng(seed).uniform(-1, 1, size=(n, 5)).astype(np.float32)
    return x, (np.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2] > 0).astype(np.int64)


@pytest.mark.parametrize("method", METHODS)
def test_training_at_two_bits_lowers_the_loss(method):
    torch.manual_seed(0)
    x, y = problem()
    model = train.prepare(stack("efficient-kan", 5, 6, 2), "w2a2", method=method)
    history = train.train(model, x, y, epochs=8, lr=3e-3, batch_size=32, progress=False)
    assert len(history.losses) == 8 and np.isfinite(history.losses).all()
    assert history.losses[-1] < history.losses[0]
    assert not model.training


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_model(family):
    x, y = problem(96)
    results = []
    for seed in (3, 3, 4):
        torch.manual_seed(1)
        model = train.prepare(stack(family, 5, 4, 2), "w3a3", method="lsq+")
        torch.manual_seed(seed * 17)  # the state of the global generator does not matter
        before = torch.get_rng_state()
        train.train(model, x, y, epochs=2, seed=seed, progress=False)
        assert torch.equal(before, torch.get_rng_state())
        results.append(model(torch.tensor(x)).detach())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_weights_decay_and_quantizers_do_not():
    torch.manual_seed(0)
    model = train.prepare(stack("fast-kan", 5, 4, 2), "w4a4", method="dsq")
    decayed, plain = parameter_groups(model, 0.1)
    assert decayed["weight_decay"] == 0.1 and plain["weight_decay"] == 0.0
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)].split(".")[2] for p in decayed["params"]} == {"coefficients"}
    assert len(decayed["params"]) + len(plain["params"]) == len(names)
    assert sum("quantizer" in names[id(p)] for p in plain["params"]) > 8


def test_regression_and_losses_of_ones_own():
    torch.manual_seed(0)
    x, _ = problem()
    y = np.sin(2 * x[:, :1]) + x[:, 1:2]
    for target, loss in ((y, "auto"), (y[:, 0], "mse"), (y, torch.nn.functional.smooth_l1_loss)):
        model = train.prepare(stack("efficient-kan", 5, 1), "w4a6")
        target = target.astype(np.float32)
        history = train.train(model, x, target, epochs=6, lr=1e-2, loss=loss, progress=False)
        assert history.losses[-1] < history.losses[0]


def test_progress_says_step_and_loss(capsys):
    torch.manual_seed(0)
    x, y = problem(64)
    said = []
    model = train.prepare(stack("efficient-kan", 5, 2), "w4a4")
    train.train(model, x, y, epochs=2, batch_size=32, progress=lambda *what: said.append(what))
    assert [what[:2] for what in said] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert all(np.isfinite(what[2]) for what in said)
    train.train(model, x, y, epochs=1)  # no terminal: nothing
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_quantizers_that_are_calibrated_are_not_started_anew():
    torch.manual_seed(0)
    x, y = problem(64)
    model = train.prepare(stack("efficient-kan", 5, 2), "w4a4", method="dorefa")
    train.calibrate(model, x * 0.5)
    low = train.kan_layers(model)[0].input_quantizer.low.item()
    train.train(model, x, y, epochs=1, progress=False)
    assert train.kan_layers(model)[0].input_quantizer.low.item() == low
    train.train(model, x, y, epochs=1, progress=False, calibration=x)
    assert train.kan_layers(model)[0].input_quantizer.low.item() != low


def test_bad_calls_are_refused():
    torch.manual_seed(0)
    x, y = problem(64)
    model = train.prepare(stack("efficient-kan", 5, 2), "w4a4")
    with pytest.raises(SpecError, match="epochs = 0"):
        train.train(model, x, y, epochs=0)
    with pytest.raises(SpecError, match="lr"):
        train.train(model, x, y, lr=-1.0)
    with pytest.raises(SpecError, match="hinge"):
        train.train(model, x, y, loss="hinge")
    with pytest.raises(InputError, match="one target for each of the 64"):
        train.train(model, x, y[:5])
    with pytest.raises(InputError, match="cross_entropy"):
        train.train(model, x, y.astype(np.float32), loss="cross_entropy")
    with pytest.raises(InputError, match="finite"):
        train.train(model, x, np.full(64, np.nan))
    with pytest.raises(InputError, match="5"):
        train.train(model, x[:, :3], y)
    with pytest.raises(InputError, match="smaller lr"):
        train.train(model, x, y, loss=lambda output, target: output.sum() * float("nan"), progress=False)


def test_targets_that_do_not_fit_the_outputs():
    model, (X, _) = train.prepare(stack("efficient-kan", 5, 4, 2), "w4a4"), problem(20)
    for y, found in ((np.full(20, 9), "classes from 9 to 9"), (np.zeros((20, 3)), "targets of 3 numbers")):
        with pytest.raises(InputError, match=found):
            train.train(model, X, y, epochs=1)


def test_simulated_rows_with_nan_are_refused_as_everywhere():
    model, (X, _) = train.prepare(stack("efficient-kan", 5, 4, 2), "w4a4"), problem(20)
    train.calibrate(model, X)
    X[3, 1] = np.nan
    with pytest.raises(InputError, match=r"X\[3\] holds NaN"):
        train.simulate(model, X)
