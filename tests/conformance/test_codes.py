"""Networks of all four families in integers from code to code: the same bits on every runtime and instruction set."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import lutkan
from conformance import networks
from conformance.cases import same_bits
from lutkan.ir import KANLayer, Network
from lutkan.runtimes import available_runtimes, native

RUNTIMES = [name for name, missing in available_runtimes().items() if not missing and name != "reference"]
ISAS = native.available_isas() if "native" in RUNTIMES else []


def efficient(seed: int = 30) -> Network:
    """Three layers of uniform B-splines and silu, wide enough for whole vectors and their rests."""
    rng = np.random.default_rng(seed)
    widths = (37, 67, 35, 10)
    layers = []
    for number, (n_in, n_out) in enumerate(pairwise(widths)):
        branches = networks.spline(rng, n_in, n_out, amplitude=0.2), networks.base(rng, n_in, n_out)
        layers.append(KANLayer(f"layers.{number}", branches))
    return networks.network(*layers)


def chebyshevs(seed: int = 31) -> Network:
    """Two layers of Chebyshev polynomials of tanh(x)."""
    rng = np.random.default_rng(seed)
    first, second = networks.polynomial(rng, 6, 20, 3), networks.polynomial(rng, 20, 4, 5)
    return networks.network(KANLayer("layers.0", (first,)), KANLayer("layers.1", (second,), rng.normal(size=4)))


FAMILIES = {
    "efficient-kan": efficient,
    "fast-kan": networks.fast_kans,
    "pykan, knots of each input": networks.pykans,
    "gram": networks.gram,
    "chebyshev": chebyshevs,
    "masked": networks.masked,
}
BITS = [(8, 8), (7, 2), (6, 7), (5, 3), (4, 8), (4, 4), (3, 6), (2, 5), (2, 2)]


def rows_of(net: Network, count: int) -> np.ndarray:
    """float32 [count, in]: ordinary rows, rows far beyond the codes, infinities."""
    rng = np.random.default_rng(count)
    x = rng.normal(0, 1.2, (count, net.in_features)).astype(np.float32)
    x[:: count // 50 or 1] *= 30
    x[3 % count, 0], x[5 % count, -1] = np.inf, -np.inf
    return x


def assert_same_everywhere(artifact: lutkan.Artifact, x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = lutkan.load(artifact, runtime="reference").predict(x)
    places = [("native", isa) for isa in ISAS] + [(name, "") for name in RUNTIMES if name != "native"]
    for runtime, isa in places:
        monkeypatch.setenv("LUTKAN_ISA", isa)
        model = lutkan.load(artifact, runtime=runtime)
        wrong = ~same_bits(model.predict(x), expected)
        assert not wrong.any(), f"{runtime} {isa}: {int(wrong.any(axis=1).sum())} of {len(x)} rows differ"
        for row in (0, 5):
            assert same_bits(model.predict(x[row]), expected[row]).all(), f"{runtime} {isa}: row {row} alone"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("bits", BITS, ids=lambda bits: "w{}a{}".format(*bits))
def test_every_runtime_gives_the_same_bits(family, bits, monkeypatch):
    net = FAMILIES[family]()
    artifact = lutkan.compile(net, "w{}a{}".format(*bits), calibration=rows_of(net, 300)[6:])
    assert_same_everywhere(artifact, rows_of(net, 700), monkeypatch)


@pytest.mark.parametrize("family", FAMILIES)
def test_12_000_rows(family, monkeypatch):
    net = FAMILIES[family]()
    artifact = lutkan.compile(net, "w4a8", calibration=rows_of(net, 300)[6:])
    assert_same_everywhere(artifact, rows_of(net, 12_000), monkeypatch)
