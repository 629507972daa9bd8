"""The shipped example at all widths of codes: decisions, accuracy, bytes; benchmarks/accuracy.py has larger nets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lutkan
from lutkan.tables import BasisSpec

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CHECKPOINT = EXAMPLES / "digits.safetensors"
TEST = np.load(EXAMPLES / "digits_test.npz")
CALIBRATION = np.load(EXAMPLES / "digits_calibration.npz")["X"]


@pytest.fixture(scope="module")
def net() -> lutkan.Network:
    return lutkan.import_model(CHECKPOINT)


@pytest.fixture(scope="module")
def exact(net) -> np.ndarray:
    return net.evaluate(TEST["X"].astype(np.float64))


# The bars of the larger nets, except for bytes: with 2368 edges, what every file carries is twice the part of it.
@pytest.mark.parametrize(
    ("spec", "equal", "points", "error", "size"),
    [
        ("int16", 0.999, 0.0, 0.0005, 0.58),
        ("int8", 0.997, 0.1, 0.008, 0.30),
        ("int4", 0.990, 1.0, 0.08, 0.20),
    ],
)
def test_decisions_accuracy_and_bytes(net, exact, spec, equal, points, error, size):
    artifact = lutkan.compile(net, spec, calibration=CALIBRATION)
    y = lutkan.load(artifact, runtime="reference").predict(TEST["X"])
    decisions, labels = exact.argmax(axis=1), TEST["y"]
    assert np.mean(y.argmax(axis=1) == decisions) >= equal
    lost = 100 * (np.mean(decisions == labels) - np.mean(y.argmax(axis=1) == labels))
    assert lost <= points + 1e-9
    assert np.abs(y - exact).mean() <= error * exact.std()
    assert artifact.nbytes <= size * CHECKPOINT.stat().st_size


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_fitted_to_calibration_rows_are_closer_on_other_rows(net, exact, bits):
    errors = {}
    for rounding in ("nearest", "fit"):
        artifact = lutkan.compile(net, BasisSpec(bits, rounding=rounding), calibration=CALIBRATION)
        y = lutkan.load(artifact, runtime="reference").predict(TEST["X"])
        errors[rounding] = np.abs(y - exact).mean()
    assert errors["fit"] < 0.95 * errors["nearest"]
