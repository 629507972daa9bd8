"""A pykan-style network for two classes."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

import lutkan  # noqa: E402
from lutkan.lab.dos import network  # noqa: E402
from lutkan.lab.dos.network import RECIPES, Recipe, as_efficient_kan, forward, save, train  # noqa: E402
from lutkan.numerics.bspline import basis  # noqa: E402

QUICK = Recipe(epochs=8, steps=0, batch=16, learning_rate=1e-2, weight_decay=0.0, cosine=True)


@pytest.fixture
def rows():
    """Two classes that one threshold on the first of 4 features tells apart."""
    X = np.random.default_rng(0).uniform(-1, 1, size=(120, 4)).astype(np.float32)
    return X, (X[:, 0] > 0.1).astype(np.int64)


@pytest.fixture
def state(rows):
    return train((4, 3, 1), rows[0], rows[1], QUICK)[0]


def test_training_learns_and_follows_the_seed(rows):
    told = []
    first, losses = train(
        (4, 3, 1), rows[0], rows[1], QUICK, 0, on_epoch=lambda epoch, loss: told.append((epoch, loss))
    )
    again, _ = train((4, 3, 1), rows[0], rows[1], QUICK, 0)
    other, _ = train((4, 3, 1), rows[0], rows[1], QUICK, 1)
    assert told == list(enumerate(losses, start=1))
    assert len(losses) == 8
    assert losses[-1] < 0.8 * losses[0]
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["act_fun.0.coef"], other["act_fun.0.coef"])
    logits = lutkan.import_model(first).evaluate(rows[0])[:, 0]
    assert ((logits > 0) == rows[1]).mean() > 0.85


def test_threads_are_as_before(rows):
    before = torch.get_num_threads()
    train((4, 3, 1), rows[0], rows[1], QUICK)
    assert torch.get_num_threads() == before


def test_a_step_of_all_rows_does_not_depend_on_the_blocks(rows, monkeypatch):
    recipe = Recipe(epochs=3, steps=0, batch=None, learning_rate=1e-2, weight_decay=0.0, cosine=False)
    whole, losses = train((4, 3, 1), rows[0], rows[1], recipe)
    monkeypatch.setattr(network, "_BLOCK", 17)
    parts, same = train((4, 3, 1), rows[0], rows[1], recipe)
    assert losses == pytest.approx(same, rel=1e-6)
    for name, tensor in whole.items():
        assert parts[name] == pytest.approx(tensor, abs=2e-4), name


def test_the_splines_are_those_of_the_knots(state):
    x = np.linspace(-2.5, 2.5, 41, dtype=np.float32)
    knots = network.extended_knots()
    layer = {name: state[f"act_fun.1.{name}"].astype(np.float64) for name in ("coef", "scale_base", "scale_sp")}
    X = np.stack([x, x[::-1], 0.5 * x], axis=1)
    wanted = np.zeros(len(x))
    for i in range(3):
        value = X[:, i].astype(np.float64)
        spline = basis(value[:, None], knots[None], 3)[:, 0] @ layer["coef"][i, 0]
        wanted += layer["scale_base"][i, 0] * value / (1 + np.exp(-value)) + layer["scale_sp"][i, 0] * spline
    tensors = {f"act_fun.0.{name}": torch.from_numpy(state[f"act_fun.1.{name}"]) for name in layer}
    assert forward(tensors, torch.from_numpy(X))[:, 0].numpy() == pytest.approx(wanted, abs=1e-5)


def test_the_state_imports_and_its_twin_for_the_rivals_is_the_same_function(state, rows, tmp_path):
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    single = forward(tensors, torch.from_numpy(rows[0])).numpy()
    save(state, tmp_path / "deep" / "net.safetensors")
    net = lutkan.import_model(tmp_path / "deep" / "net.safetensors")
    assert net.source.family == "pykan"
    assert net.edges == 15
    assert net.evaluate(rows[0]) == pytest.approx(single, abs=1e-5)
    twin = as_efficient_kan(state)
    assert twin.widths == (4, 3, 1)
    assert twin.evaluate(rows[0]) == pytest.approx(net.evaluate(rows[0]), abs=1e-6)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["net.safetensors"]


def test_small_tables_are_gone_through_more_often():
    assert RECIPES["clean"].epochs_of(257) == 1250
    assert RECIPES["clean"].epochs_of(100_000) == 30
    assert RECIPES["paper"].epochs_of(100_000) == 200
