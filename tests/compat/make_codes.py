"""Make codes-1.0.lutkan, which goes from code to code in every way, and its answers to difficult rows.

python tests/compat/make_codes.py

Ran once, and refuses to overwrite: later versions have to read the file that is committed and give the same bits.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from compat.make_tables import make
from conformance import networks
from lutkan.ir import (
    Activation,
    Affine,
    Branch,
    EdgeBank,
    GaussianRBF,
    KANLayer,
    LayerNorm,
    Linear,
    Network,
    Polynomial,
    Select,
)
from lutkan.tables import BasisSpec, BranchSpec, CodeSpec, Spec


def code_network() -> Network:
    """Splines with masked edges, Gaussians behind LayerNorm and splines on knots of their own, directly one behind the
    other; Gram polynomials between float steps; a layer of ordinary tables."""
    rng = np.random.default_rng(20)
    live = np.ones((5, 1, 6))
    live[1] = live[:, :, 2] = 0.0
    masked = networks.spline(rng, 5, 6).bank
    masked_base = networks.base(rng, 5, 6).bank
    norm = LayerNorm(6, 1e-5, rng.normal(1.0, 0.2, 6), rng.normal(0.0, 0.2, 6))
    radial = EdgeBank(GaussianRBF(np.linspace(-2, 2, 6), 0.8), rng.normal(size=(6, 6, 7)))
    gram = EdgeBank(Polynomial("gram", 3, tuple(rng.normal(0, 0.1, 4)), "silu"), rng.normal(size=(5, 4, 4)))
    scaling = Affine(rng.uniform(0.5, 1.5, 4), rng.normal(0.0, 0.2, 4), "normalisation")
    return networks.network(
        Select(np.array([4, 0, 1, 3, 2]), 5),
        KANLayer(
            "masked",
            (
                Branch(EdgeBank(masked.basis, masked.coefficients * live)),
                Branch(EdgeBank(masked_base.basis, masked_base.coefficients * live, role="base")),
            ),
            rng.normal(size=6),
        ),
        KANLayer("radial", (Branch(radial, (norm,)), networks.base(rng, 6, 7)), rng.normal(size=7)),
        KANLayer(
            "knots",
            (networks.spline(rng, 7, 5, networks.adapted_knots(rng, 7), scaled=True), networks.base(rng, 7, 5, "tanh")),
        ),
        Activation("tanh"),
        KANLayer("gram", (networks.base(rng, 5, 4), Branch(gram, (Activation("tanh"),)))),
        LayerNorm(4, 1e-5),
        Activation("silu"),
        KANLayer("scaled", (networks.spline(rng, 4, 4, pre=(scaling,)),), rng.normal(size=4)),
        Linear(rng.normal(size=(4, 3)), rng.normal(size=3)),
        KANLayer("rows", (networks.spline(rng, 3, 3),)),
        in_features=5,
    )


CODE_SPEC = Spec(
    CodeSpec(8, base=BranchSpec(4), spline=BranchSpec(4)),
    (
        ("masked", CodeSpec(6, base=BranchSpec(8), spline=BranchSpec(3))),
        ("radial", CodeSpec(8, base=BranchSpec(2), spline=BranchSpec(5))),
        ("knots", CodeSpec(4, True, base=BranchSpec(7), spline=BranchSpec(8, symmetric=False), scaler=BranchSpec(6))),
        ("gram", CodeSpec(5, base=BranchSpec(6, "tensor"), spline=BranchSpec(8), percentile=(1.0, 99.0))),
        ("rows", BasisSpec(8)),
    ),
)


if __name__ == "__main__":
    make("codes-1.0", code_network(), CODE_SPEC)
