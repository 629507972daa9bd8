"""Sensitivity of layers and branches, and bits under a budget."""

import numpy as np
import pytest

from lutkan.errors import InputError, SpecError
from lutkan.ir import Branch, EdgeBank, KANLayer, NamedFunction, Network, Source
from lutkan.lab.nets import efficient_kan, input_rows
from lutkan.train.sensitivity import search_bits, sensitivity

NET = efficient_kan((6, 8, 4)).network
X = input_rows(6, 400)


def test_errors_fall_with_bits_and_parts_are_all_there():
    y = NET.evaluate(X).argmax(axis=1)
    found = sensitivity(NET, X, y, bits=(2, 4, 8))
    layer = ["input", "base", "spline", "scaler"]
    assert found.parts == tuple((f"layers.{n}", part) for n in range(2) for part in layer)
    assert (np.diff(found.output_error, axis=1) < 0).all()
    assert (found.divergence[:, 0] > found.divergence[:, 2]).all()
    assert found.reference == 1.0
    assert (found.accuracy[:, 2] > 0.9).all()
    head, *rows = found.table()
    assert head == ("layer", "part", "2 bits", "4 bits", "8 bits")
    assert len(rows) == 8
    assert found.to_json()["bits"] == [2, 4, 8]


def test_it_finds_the_branch_that_matters():
    rng = np.random.default_rng(0)
    silu = NamedFunction("silu")
    strong = EdgeBank(silu, rng.normal(size=(6, 1, 3)), None, "base")
    weak = EdgeBank(NamedFunction("identity"), 1e-3 * rng.normal(size=(6, 1, 3)), None, "spline")
    net = Network((KANLayer("a", (Branch(weak), Branch(strong))),), 6, Source("handmade"))
    found = sensitivity(net, X, bits=(2,))
    error = dict(zip(found.parts, found.output_error[:, 0], strict=True))
    assert error["a", "base"] > 50 * error["a", "spline"]
    mixed = search_bits(net, "w4a8", calibration=X)
    assert mixed.bits[0, "base"] > mixed.bits[0, "spline"]
    assert mixed.divergence < mixed.flat_divergence


@pytest.mark.parametrize("bits", [3, 4])
def test_never_worse_than_flat_bits_of_the_same_size(bits):
    mixed = search_bits(NET, f"w{bits}a8", calibration=X)
    assert mixed.flat_bits == bits
    assert mixed.divergence <= mixed.flat_divergence
    flat = sum(b.bank.coefficients.size * bits / 8 for layer in NET.layers for b in layer.branches)
    assert mixed.size <= flat


def test_budgets():
    small = search_bits(NET, "w8a8", calibration=X, max_bytes=300)
    assert small.size <= 300
    operations = search_bits(NET, "w8a4", calibration=X, max_bitops=10_000)
    assert operations.size <= 10_000
    with pytest.raises(SpecError, match="a budget of 5 bytes; allowed: at least"):
        search_bits(NET, "w8a8", calibration=X, max_bytes=5)
    with pytest.raises(SpecError, match="one of them"):
        search_bits(NET, "w8a8", calibration=X, max_bytes=5, max_bitops=5)
    with pytest.raises(InputError, match="one row"):
        search_bits(NET, "w8a8", calibration=X[:1])


def test_heat_map():
    figure = pytest.importorskip("matplotlib.figure", reason="needs matplotlib").Figure()
    found = sensitivity(NET, X, bits=(2, 4))
    image = found.heat_map(figure.subplots(), "output_error")
    assert np.array_equal(image.get_array(), found.output_error)
