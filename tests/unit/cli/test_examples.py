"""The shipped example files are found, complete, and belong together."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from lutkan.cli.examples import EXAMPLES, example_path
from lutkan.errors import InputError

ROOT = Path(__file__).resolve().parents[3]


def layer_float64(x: np.ndarray, tensors: dict[str, np.ndarray], prefix: str) -> np.ndarray:
    """Evaluate one layer from its published formula, edge by edge of the recursion, in float64."""
    t = {name: tensors[prefix + name].astype(np.float64) for name in ("base_weight", "spline_weight", "spline_scaler")}
    knots = tensors[prefix + "grid"].astype(np.float64)
    n_basis = t["spline_weight"].shape[2]
    values = [(knots[:, m] <= x) & (x < knots[:, m + 1]) for m in range(knots.shape[1] - 1)]
    for d in range(1, knots.shape[1] - n_basis):
        values = [
            (x - knots[:, m]) / (knots[:, m + d] - knots[:, m]) * values[m]
            + (knots[:, m + d + 1] - x) / (knots[:, m + d + 1] - knots[:, m + 1]) * values[m + 1]
            for m in range(len(values) - 1)
        ]
    spline = np.einsum("mni,oim,oi->no", np.array(values), t["spline_weight"], t["spline_scaler"])
    return spline + (x / (1 + np.exp(-x))) @ t["base_weight"].T


def test_every_example_is_found_and_small():
    for name in EXAMPLES:
        path = example_path(name)
        assert path.is_file()
        assert path.stat().st_size < 400_000


def test_unknown_example_is_refused_with_the_known_names():
    with pytest.raises(InputError, match=r"example 'mnist\.npz'; allowed: digits\.safetensors"):
        example_path("mnist.npz")


def test_checkpoint_gives_the_stored_logits_and_accuracy():
    tensors = load_file(example_path("digits.safetensors"))
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "layers.0.base_weight": (32, 64),
        "layers.0.spline_weight": (32, 64, 8),
        "layers.0.spline_scaler": (32, 64),
        "layers.0.grid": (64, 12),
        "layers.1.base_weight": (10, 32),
        "layers.1.spline_weight": (10, 32, 8),
        "layers.1.spline_scaler": (10, 32),
        "layers.1.grid": (32, 12),
    }
    with np.load(example_path("digits_test.npz")) as test:
        X, y, logits = test["X"], test["y"], test["logits"]
    assert (X.shape, X.dtype, y.shape, y.dtype) == ((450, 64), np.float32, (450,), np.int64)
    hidden = layer_float64(X.astype(np.float64), tensors, "layers.0.")
    expected = layer_float64(hidden, tensors, "layers.1.")
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5)
    assert np.mean(logits.argmax(1) == y) >= 0.97
    assert np.mean(np.abs(hidden) > 1) > 0.1  # the example shows what happens outside the grid


def test_calibration_rows_are_training_rows():
    with (
        np.load(example_path("digits_calibration.npz")) as calibration,
        np.load(example_path("digits_test.npz")) as test,
    ):
        X, X_test = calibration["X"], test["X"]
    assert (X.shape, X.dtype) == ((512, 64), np.float32)
    assert np.abs(X).max() == 1.0
    test_rows = {row.tobytes() for row in X_test}
    assert not any(row.tobytes() in test_rows for row in X)


def test_script_trains_the_layer_that_the_checkpoint_holds():
    torch = pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    spec = importlib.util.spec_from_file_location("train_digits", ROOT / "examples" / "train_digits.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    model = script.KAN((64, 32, 10))
    state = {name: torch.from_numpy(array) for name, array in load_file(example_path("digits.safetensors")).items()}
    assert torch.equal(state["layers.0.grid"], model.layers[0].grid)
    model.load_state_dict(state)
    X_train, X_test, _, y_test = script.digits_split()
    with np.load(example_path("digits_test.npz")) as test:
        np.testing.assert_array_equal(X_test, test["X"])
        np.testing.assert_array_equal(y_test, test["y"])
        with torch.no_grad():
            np.testing.assert_allclose(model(torch.from_numpy(X_test)).numpy(), test["logits"], rtol=0, atol=2e-5)
    with np.load(example_path("digits_calibration.npz")) as calibration:
        train_rows = {row.tobytes() for row in X_train}
        assert all(row.tobytes() in train_rows for row in calibration["X"])
