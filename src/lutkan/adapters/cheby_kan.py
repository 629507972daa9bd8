"""ChebyKAN (github.com/SynodicMonth/ChebyKAN): `y_j = sum_i sum_d c[i, j, d] * T_d(tanh x_i)`, no base, no bias.

torch-conv-kan's dense ChebyKANLayer is the same layer. Upstream evaluates `cos(d * acos(t))`, which is `T_d(t)`.
"""

from __future__ import annotations

import numpy as np

from lutkan.adapters.checkpoint import LayerTensors
from lutkan.adapters.family import Family
from lutkan.adapters.options import LayerOptions
from lutkan.errors import ImportModelError
from lutkan.ir import Activation, Branch, EdgeBank, KANLayer, Polynomial, Step

__all__ = ["CHEBY_KAN"]


def _read(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    coefficients = tensors.take("cheby_coeffs", None, None, None)
    n_in, n_out, size = coefficients.shape
    if "arange" in tensors and not np.array_equal(tensors.take("arange", size), np.arange(size)):
        raise ImportModelError(f"tensor {tensors.full_name('arange')!r} is not 0, 1, ...", f"0 to {size - 1}")
    for key, actual in (("in", n_in), ("out", n_out), ("degree", size - 1)):
        options.check(key, actual)
    bank = EdgeBank(Polynomial("chebyshev", size - 1), coefficients.transpose(0, 2, 1), role="spline")
    return (KANLayer(tensors.path, (Branch(bank, (Activation("tanh"),)),)),)


CHEBY_KAN = Family(
    name="cheby-kan",
    anchor="cheby_coeffs",
    claims=lambda names: True,
    read_layer=_read,
    keys={"degree": "degree of the polynomials; taken from the shapes"},
    layer_keys=("in", "out"),
)
