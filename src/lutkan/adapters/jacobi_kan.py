"""JacobiKAN (github.com/SpaceLearner/JacobiKAN): `y_j = sum_i sum_d c[i, j, d] * P_d^(a,b)(tanh x_i)`.

`a` and `b` are constructor arguments that no tensor holds. torch-conv-kan's layer of the same tensor name has a base
branch and a LayerNorm besides: see `torch_conv_kan`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lutkan.adapters.checkpoint import LayerTensors
from lutkan.adapters.family import Family
from lutkan.adapters.options import LayerOptions
from lutkan.ir import Activation, Branch, EdgeBank, KANLayer, Polynomial, Step

__all__ = ["JACOBI_KAN", "JACOBI_KEYS", "jacobi_attributes", "jacobi_branch"]

JACOBI_KEYS = {
    "a": "Jacobi parameter a; refused",
    "b": "Jacobi parameter b; refused",
    "degree": "degree of the polynomials; taken from the shapes",
}


def jacobi_branch(coefficients: np.ndarray, options: LayerOptions) -> Branch:
    """Build the polynomial branch from `jacobi_coeffs` [in, out, degree + 1] and the configured `a` and `b`."""
    n_in, n_out, size = coefficients.shape
    for key, actual in (("in", n_in), ("out", n_out), ("degree", size - 1)):
        options.check(key, actual)
    why = "the polynomials P^(a,b) are defined by it, and no tensor holds it"
    a = options.number("a", why=why, above=-1)
    b = options.number("b", why=why, above=-1)
    bank = EdgeBank(Polynomial("jacobi", size - 1, (a, b)), coefficients.transpose(0, 2, 1), role="spline")
    return Branch(bank, (Activation("tanh"),))


def jacobi_attributes(module: Any) -> dict[str, Any]:
    """Read `a` and `b` from a live layer."""
    return {key: float(getattr(module, key)) for key in ("a", "b") if hasattr(module, key)}


def _read(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    branch = jacobi_branch(tensors.take("jacobi_coeffs", None, None, None), options)
    return (KANLayer(tensors.path, (branch,)),)


JACOBI_KAN = Family(
    name="jacobi-kan",
    anchor="jacobi_coeffs",
    claims=lambda names: "base_weights" not in names,
    read_layer=_read,
    keys=JACOBI_KEYS,
    layer_keys=("in", "out"),
    attributes=jacobi_attributes,
)
