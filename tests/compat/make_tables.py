"""Make tables-1.0.lutkan, which uses segment tables in every way, and its answers to difficult rows.

python tests/compat/make_tables.py

Ran once, and refuses to overwrite: later versions have to read the file that is committed and give the same bits.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import lutkan
from conformance import networks
from lutkan.ir import Activation, Affine, Branch, EdgeBank, KANLayer, LayerNorm, Linear, Network, Product, Select
from lutkan.tables import SegmentSpec, Spec

FOLDER = Path(__file__).resolve().parent


def segment_network() -> Network:
    """Every step between layers, and a KAN layer for each way beyond the knots."""
    rng = np.random.default_rng(10)
    scaling = Affine(rng.uniform(0.5, 1.5, 5), rng.normal(0.0, 0.2, 5), "normalisation")
    norm = LayerNorm(4, 1e-6, rng.normal(1.0, 0.1, 4), rng.normal(0.0, 0.1, 4))
    live = np.ones((6, 1, 4))
    live[2] = live[:, :, 3] = 0.0
    masked = networks.spline(rng, 6, 4).bank
    return networks.network(
        Select(np.array([5, 0, 2, 2, 4]), 6),
        KANLayer(
            "clip",
            (networks.spline(rng, 5, 4, pre=(scaling,)), networks.base(rng, 5, 4, "gelu", (scaling,))),
            rng.normal(size=4),
        ),
        LayerNorm(4, 1e-5),
        norm,
        Activation("prelu", np.array([0.25, 0.5, -0.125, 1.0])),
        KANLayer(
            "zero",
            (networks.spline(rng, 4, 6, networks.adapted_knots(rng, 4), scaled=True), networks.base(rng, 4, 6, "tanh")),
        ),
        Affine(rng.normal(size=6), rng.normal(size=6)),
        KANLayer("masked", (Branch(EdgeBank(masked.basis, masked.coefficients * live)),), rng.normal(size=4)),
        KANLayer("base", (networks.spline(rng, 4, 6), networks.base(rng, 4, 6, "silu"))),
        Product(((0, 1), (2,), (3, 4, 5)), 6),
        Linear(rng.normal(size=(3, 4)), rng.normal(size=4)),
        Activation("sigmoid"),
        Linear(rng.normal(size=(4, 2))),
        KANLayer("linear", networks.straight(2, 3).layers[0].branches),
        Activation("relu"),
        KANLayer("squashed", (networks.polynomial(rng, 3, 3),)),
        in_features=6,
    )


SEGMENT_SPEC = Spec(
    SegmentSpec(8),
    (
        ("clip", SegmentSpec(5, "uint8", oob_policy="clip_x", boundary_mode="closed")),
        ("zero", SegmentSpec(6, "uint8")),
        ("masked", SegmentSpec(4, "int8", percentile=(5, 95))),
        ("base", SegmentSpec(7, "int8", value="phi", interpolation="nearest")),
        ("linear", SegmentSpec(3, "uint8")),
        ("squashed", SegmentSpec(4, "int8", segments=9, boundary_mode="closed")),
    ),
)


def rows(width: int) -> np.ndarray:
    """float32 [96, width]: knots, signed zeros, subnormal and huge numbers, infinities, NaN, ordinary rows."""
    rng = np.random.default_rng(11)
    special = np.array([0.0, -0.0, 1e-45, -1e-40, 1.0, -1.0, 2.2, -2.2, 50.0, 3e38, -3e38, np.inf, -np.inf, np.nan])
    every = np.repeat(special[:, None], width, axis=1)
    single = rng.uniform(-1, 1, (28, width))
    single[np.arange(28), rng.integers(0, width, 28)] = np.tile(special, 2)
    ordinary = np.concatenate([rng.uniform(-1, 1, (27, width)), rng.normal(0, 2, (27, width))])
    return np.concatenate([every, single, ordinary]).astype(np.float32)


def make(name: str, net: Network, spec: Spec) -> None:
    """Write `name`.lutkan, and the rows and answers to `name`.npz."""
    artifact, answers = FOLDER / f"{name}.lutkan", FOLDER / f"{name}.npz"
    if artifact.exists() or answers.exists():
        sys.exit(f"{artifact.name} exists and is kept: give a new format version a new name")
    lutkan.compile(net, spec).save(artifact)
    x = rows(net.in_features)
    np.savez_compressed(answers, x=x, y=lutkan.load(artifact, runtime="reference", nan="propagate").predict(x))


if __name__ == "__main__":
    make("tables-1.0", segment_network(), SEGMENT_SPEC)
