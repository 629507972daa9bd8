"""Make functions-1.0.lutkan, whose code tables have fine features and features of functions, and its answers.

python tests/compat/make_functions.py

Ran once, and refuses to overwrite: later versions have to read the file that is committed and give the same bits.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from compat.make_tables import make
from conformance import networks
from lutkan.ir import Affine, KANLayer, Network
from lutkan.tables import BranchSpec, CodeSpec, Spec


def function_network() -> Network:
    """Splines beside a function, one layer behind the other; the base of the last sees inputs scaled one by one."""
    rng = np.random.default_rng(21)
    scaling = Affine(rng.uniform(0.5, 1.5, 4), rng.normal(0.0, 0.2, 4), "normalisation")
    layers = []
    for name in ("silu", "tanh", "gelu", "identity", "relu"):
        n_in = 4 if layers else 5
        branches = networks.spline(rng, n_in, 4), networks.base(rng, n_in, 4, name)
        layers.append(KANLayer(name, branches, rng.normal(size=4)))
    last = KANLayer("scaled", (networks.spline(rng, 4, 3), networks.base(rng, 4, 3, pre=(scaling,))))
    return networks.network(*layers, last, in_features=5)


def bits(base: int, inputs: int) -> CodeSpec:
    return CodeSpec(inputs, base=BranchSpec(base), spline=BranchSpec(4))


FUNCTION_SPEC = Spec(
    bits(4, 8),
    (
        ("tanh", bits(2, 4)),
        ("gelu", bits(3, 6)),
        ("identity", bits(6, 5)),
        ("relu", bits(8, 8)),
        ("scaled", bits(5, 7)),
    ),
)

if __name__ == "__main__":
    make("functions-1.0", function_network(), FUNCTION_SPEC)
