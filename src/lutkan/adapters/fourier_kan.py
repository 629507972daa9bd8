"""FourierKAN (github.com/GistNoesis/FourierKAN): a Fourier series an edge, of period 2 pi.

`y_j = bias[j] + sum_i sum_k c[0, j, i, k-1] * cos(k x_i) + c[1, j, i, k-1] * sin(k x_i)`, `k = 1..gridsize`.
"""

from __future__ import annotations

import numpy as np

from lutkan.adapters.checkpoint import LayerTensors
from lutkan.adapters.family import Family
from lutkan.adapters.options import LayerOptions
from lutkan.ir import Branch, EdgeBank, Fourier, KANLayer, Step

__all__ = ["FOURIER_KAN"]


def _read(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    series = tensors.take("fouriercoeffs", 2, None, None, None)
    _, n_out, n_in, frequencies = series.shape
    bias = tensors.take("bias", 1, n_out)[0] if "bias" in tensors else None
    for key, actual in (("in", n_in), ("out", n_out), ("gridsize", frequencies), ("addbias", bias is not None)):
        options.check(key, actual)
    coefficients = np.concatenate([series[0], series[1]], axis=2).transpose(1, 2, 0)
    bank = EdgeBank(Fourier(frequencies), coefficients, role="spline")
    return (KANLayer(tensors.path, (Branch(bank),), bias),)


FOURIER_KAN = Family(
    name="fourier-kan",
    anchor="fouriercoeffs",
    claims=lambda names: True,
    read_layer=_read,
    keys={"gridsize": "number of frequencies; taken from the shapes"},
    layer_keys=("in", "out", "addbias"),
)
