"""Certified bounds are never below an error, whatever the network, the tables and the domain: 100 000 rows in all."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lutkan
from conformance import networks
from lutkan.errors import SpecError
from lutkan.ir import Activation, Affine, Branch, EdgeBank, GaussianRBF, KANLayer, Linear, Network
from lutkan.runtimes import reference
from lutkan.tables import BasisSpec, SegmentSpec
from lutkan.verify import certify

EXAMPLES = 50
ROWS = 1000  # of the network, and as many of every layer

specs = st.builds(
    BasisSpec,
    coefficient_bits=st.sampled_from([16, 8, 4, 2]),
    position_bits=st.sampled_from([None, 0, 3, 6, 12]),
    base=st.sampled_from(["auto", "apart"]),
    cover=st.sampled_from([0.3, 0.9, 1.0]),
    segments=st.sampled_from([None, 5, 40]),
    rounding=st.sampled_from(["nearest", "auto"]),
) | st.builds(
    SegmentSpec,
    samples=st.sampled_from([2, 3, 16, 64]),
    dtype=st.sampled_from(["int8", "uint8"]),
    interpolation=st.sampled_from(["linear", "nearest"]),
    oob_policy=st.sampled_from(["clip_x", "zero_spline"]),
)


def edges(rng: np.random.Generator, kind: str, n_in: int, n_out: int) -> tuple[Branch, ...]:
    """Branches of a layer of one family."""
    if kind == "splines":
        knots = networks.uniform_knots(int(rng.integers(1, 9)), degree := int(rng.integers(1, 4)))
        return networks.spline(rng, n_in, n_out, knots, degree), networks.base(rng, n_in, n_out)
    if kind == "adapted":
        return networks.spline(rng, n_in, n_out, networks.adapted_knots(rng, n_in)), networks.base(
            rng, n_in, n_out, "relu"
        )
    if kind == "polynomial":
        return (networks.polynomial(rng, n_in, n_out, int(rng.integers(1, 6))),)
    bank = EdgeBank(GaussianRBF(np.linspace(-2, 2, 6), float(rng.uniform(0.3, 1.2))), rng.normal(size=(n_in, 6, n_out)))
    return Branch(bank), networks.base(rng, n_in, n_out, "gelu")


@st.composite
def random_networks(draw) -> Network:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    widths = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    steps = []
    for index, (n_in, n_out) in enumerate(pairwise(widths)):
        kind = draw(st.sampled_from(["splines", "adapted", "polynomial", "radial"]))
        steps.append(KANLayer(f"layers.{index}", edges(rng, kind, n_in, n_out), rng.normal(size=n_out)))
        glue = draw(st.sampled_from(["none", "none", "affine", "tanh", "prelu", "linear"]))
        if glue == "affine":
            steps.append(Affine(rng.normal(size=n_out), rng.normal(size=n_out)))
        elif glue == "linear":
            steps.append(Linear(rng.normal(size=(n_out, n_out)), rng.normal(size=n_out)))
        elif glue != "none":
            steps.append(Activation(glue, np.array([0.2]) if glue == "prelu" else None))
    return networks.network(*steps)


def rows_in(low: np.ndarray, high: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of a box, some with entries on its border."""
    x = rng.uniform(low, high, (ROWS, len(low)))
    border = rng.random(x.shape) < 0.1
    return np.clip(np.where(border, np.where(rng.random(x.shape) < 0.5, low, high), x), low, high).astype(np.float32)


@settings(max_examples=EXAMPLES)
@given(random_networks(), specs, st.floats(-4, 3), st.floats(0, 5), st.integers(0, 2**32 - 1))
@example(networks.splines(), BasisSpec(cover=0.3), -3.0, 6.0, 0)
@example(networks.fast_kan(), BasisSpec(), -1.0, 2.0, 0)
@example(networks.glued(), BasisSpec(), -1.0, 2.0, 0)
@example(networks.even_straight(), BasisSpec(16), -4.0, 7.0, 0)
def test_no_error_is_above_its_bound(net, spec, start, width, seed):
    rng = np.random.default_rng(seed)
    try:
        artifact = lutkan.compile(net, spec, calibration=rng.normal(size=(64, net.in_features)), certificate=False)
    except SpecError:  # segments do not take every family
        artifact = lutkan.compile(net, "int8", calibration=rng.normal(size=(64, net.in_features)), certificate=False)
    certificate = certify(artifact, net, (start, start + width))
    with np.errstate(all="ignore"):
        if certificate.error is not None:
            x = rows_in(certificate.low, certificate.high, rng)
            error = np.abs(reference.run(artifact.program, x) - net.evaluate(x.astype(np.float64)))
            assert (error <= certificate.error).all()
        for layer in certificate.layers:
            if layer.error is None:
                continue
            x = rows_in(layer.low, layer.high, rng)
            op = artifact.program.steps[layer.step]
            outputs = slice(None) if op.outputs is None else op.outputs
            error = np.abs(reference.run_kan(op, x) - net.steps[layer.step].evaluate(x.astype(np.float64)))[:, outputs]
            assert (error <= layer.error[outputs]).all()
