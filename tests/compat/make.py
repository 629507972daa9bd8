"""Make the first artifact of format 1.0. Ran once: later versions have to read the file that is committed.

python tests/compat/make.py tests/compat/segment-1.0.lutkan
"""

import sys

import numpy as np

import lutkan
from lutkan.ir import (
    Activation,
    Affine,
    Branch,
    BSpline,
    EdgeBank,
    GaussianRBF,
    KANLayer,
    LayerNorm,
    Linear,
    NamedFunction,
    Network,
    Product,
    Select,
    Source,
)


def network() -> Network:
    """Return a small network that needs nearly every kind of table and glue."""
    rng = np.random.default_rng(20261122)

    def bank(basis: object, n_in: int, n_out: int, role: str = "spline") -> EdgeBank:
        return EdgeBank(basis, rng.normal(size=(n_in, basis.size, n_out)) * 0.4, role=role)

    even = BSpline((-1 + 0.4 * np.arange(-3, 9))[None], degree=3)
    adapted = BSpline(np.sort(rng.uniform(-2, 2, size=(5, 12)), axis=1), degree=3)
    bumps = GaussianRBF(np.linspace(-2, 2, 8), 4 / 7)
    steps = (
        Select(np.array([3, 0, 1, 2]), 5),
        KANLayer("first", (Branch(bank(even, 4, 6)), Branch(bank(NamedFunction("silu"), 4, 6, "base")))),
        Product(((0,), (1, 2), (3,), (4,), (5,)), 6),
        Affine(rng.normal(size=5), rng.normal(size=5), "node affine"),
        KANLayer("second", (Branch(bank(adapted, 5, 7)), Branch(bank(NamedFunction("gelu"), 5, 7, "base")))),
        Activation("prelu", np.full(1, 0.25)),
        Linear(rng.normal(size=(7, 6)) * 0.3, rng.normal(size=6)),
        KANLayer(
            "third",
            (Branch(bank(bumps, 6, 4), (LayerNorm(6),)), Branch(bank(NamedFunction("silu"), 6, 4, "base"))),
            rng.normal(size=4),
        ),
        KANLayer("fourth", (Branch(bank(even, 4, 3)),)),
        KANLayer("fifth", (Branch(bank(even, 3, 2)), Branch(bank(NamedFunction("identity"), 3, 2, "base")))),
    )
    return Network(steps, 5, Source("handmade"))


def spec() -> lutkan.Spec:
    """Return a spec of its own for each layer."""
    return lutkan.Spec(
        lutkan.BasisSpec(),
        overrides=(
            ("first", lutkan.SegmentSpec(samples=8)),
            ("second", lutkan.BasisSpec(coefficient_bits=16)),
            ("fourth", lutkan.SegmentSpec(samples=5, dtype="uint8", oob_policy="clip_x", boundary_mode="closed")),
            ("fifth", lutkan.BasisSpec(coefficient_bits=4)),
        ),
    )


if __name__ == "__main__":
    rows = np.random.default_rng(1).normal(size=(300, 5))
    lutkan.compile(network(), spec(), calibration=rows).save(sys.argv[1])
