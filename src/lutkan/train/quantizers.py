"""Quantizers for training: fake-quantized numbers forward, each method's own gradient backward.

Two kinds. A weight quantizer sees a matrix [rows, n] whose rows have a scale each: one row a tensor, an output, an
edge or a group of weights. An input quantizer has one grid `low + step * code` for the whole tensor, as an artifact's
tables need it. Every method is written for signed numbers, and gives back numbers of the size it took: KAN layers have
no normalisation behind them that would repair a lost scale.

============  ===========================================================  ======================================
method        weights                                                      layer inputs
============  ===========================================================  ======================================
`uniform`     largest value over the top code, straight-through            range of least squared error, fixed
`lsq`         learned step (Esser et al., ICLR 2020)                       learned step, no offset
`lsq+`        the same from the 3-sigma range (Bhalgat et al., 2020)       learned step and offset
`pact`        as `dorefa`                                                  learned clipping (Choi et al., 2018)
`dorefa`      tanh onto levels without a zero, times max|w| (Zhou, 2016)   fixed range
`qil`         learned interval and exponent (Jung et al., CVPR 2019)       learned interval
`dsq`         learned range, soft stairs backward (Gong, ICCV 2019)        the same
============  ===========================================================  ======================================
"""

from __future__ import annotations

from lutkan.errors import SpecError
from lutkan.train.input_quantizers import (
    DoReFaInput,
    DSQInput,
    InputQuantizer,
    LSQInput,
    LSQPlusInput,
    PACTInput,
    QILInput,
    UniformInput,
)
from lutkan.train.ranges import search_range
from lutkan.train.weight_quantizers import (
    DoReFaWeight,
    DSQWeight,
    LSQPlusWeight,
    LSQWeight,
    QILWeight,
    UniformWeight,
    WeightQuantizer,
)

__all__ = [
    "METHODS",
    "DSQInput",
    "DSQWeight",
    "DoReFaInput",
    "DoReFaWeight",
    "InputQuantizer",
    "LSQInput",
    "LSQPlusInput",
    "LSQPlusWeight",
    "LSQWeight",
    "PACTInput",
    "QILInput",
    "QILWeight",
    "UniformInput",
    "UniformWeight",
    "WeightQuantizer",
    "input_quantizer",
    "search_range",
    "weight_quantizer",
]

#: Every method: its weight quantizer and its input quantizer.
METHODS: dict[str, tuple[type[WeightQuantizer], type[InputQuantizer]]] = {
    "uniform": (UniformWeight, UniformInput),
    "lsq": (LSQWeight, LSQInput),
    "lsq+": (LSQPlusWeight, LSQPlusInput),
    "pact": (DoReFaWeight, PACTInput),
    "dorefa": (DoReFaWeight, DoReFaInput),
    "qil": (QILWeight, QILInput),
    "dsq": (DSQWeight, DSQInput),
}


def _method(name: str) -> tuple[type[WeightQuantizer], type[InputQuantizer]]:
    if name not in METHODS:
        raise SpecError(f"method {name!r}", ", ".join(METHODS))
    return METHODS[name]


def weight_quantizer(method: str, rows: int, bits: int, *, symmetric: bool = True) -> WeightQuantizer:
    """Make the weight quantizer of a method for `rows` scales.

    Raises
    ------
    SpecError
        The method is not known.

    Examples
    --------
    >>> import torch
    >>> quantizer = weight_quantizer("uniform", 1, 4)
    >>> weights = torch.tensor([[0.7, -0.26, 0.04]])
    >>> quantizer.init_from(weights)
    >>> quantizer.codes(weights), quantizer(weights)
    (tensor([[ 7, -3,  0]]), tensor([[ 0.7000, -0.3000,  0.0000]]))
    """
    return _method(method)[0](rows, bits, symmetric)


def input_quantizer(method: str, bits: int, *, symmetric: bool = False) -> InputQuantizer:
    """Make the input quantizer of a method.

    Raises
    ------
    SpecError
        The method is not known.

    Examples
    --------
    >>> import torch
    >>> quantizer = input_quantizer("lsq+", 2)
    >>> quantizer.set_range(-1.0, 0.5)
    >>> quantizer.codes(torch.tensor([-3.0, -0.8, 0.1, 2.0]))
    tensor([0, 0, 2, 3])
    """
    return _method(method)[1](bits, symmetric)
