"""Layers that are recognised, so that they can be refused by name instead of with a remark about leftover tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lutkan.errors import ImportModelError

__all__ = ["refuse_unsupported"]


@dataclass(frozen=True)
class _Signature:
    """A tensor that gives a layer away: the end of its name, and how many axes it has at least."""

    name: str
    axes: int
    what: str
    reason: str
    sibling: str = ""


_CONVOLUTION = "convolution import is not part of this version"
_GENERIC = "it is not one sum of edge functions a layer"
_SIGNATURES = (
    _Signature(r"kan_layer\.spline_weight", 4, "a convkan convolution (ConvKAN)", _CONVOLUTION),
    _Signature(r"poly_weights", 4, "a torch-conv-kan convolution (KAGN, KALN, ...)", _CONVOLUTION),
    _Signature(r"poly_conv(\.\d+)?\.weight", 3, "a torch-conv-kan convolution (KAGN V2, KACN, ...)", _CONVOLUTION),
    _Signature(r"spline_conv(\.\d+)?\.weight", 3, "a torch-conv-kan convolution (KANConv, FastKANConv)", _CONVOLUTION),
    _Signature(r"relukan_conv(\.\d+)?\.weight", 3, "a torch-conv-kan convolution (ReLUKANConv)", _CONVOLUTION),
    _Signature(r"base_conv(\.\d+)?\.weight", 3, "a torch-conv-kan convolution", _CONVOLUTION),
    _Signature(r"func_parameter", 4, "an lmKAN layer (LMKAN2DLayer)", "lmKAN import is not part of this version"),
    _Signature(r"inner_proj\.weight", 2, "torch-conv-kan's BottleNeckGRAMLayer", _GENERIC, "grams_basis_weights"),
    _Signature(r"rbf\.grid", 1, "a BSRBF-KAN layer", "its import is not part of this version", "spline_weight"),
)


def refuse_unsupported(tensors: Mapping[str, Any]) -> None:
    """Refuse a state_dict that holds layers which lutkan knows and cannot import.

    Parameters
    ----------
    tensors : mapping of str to array
        A whole state_dict, or that of one module.

    Raises
    ------
    ImportModelError
        A layer is a convolution, an lmKAN layer, or another one that is not a sum of edge functions; the message
        names the tensor and the class.

    Examples
    --------
    >>> refuse_unsupported({"layers.0.cheby_coeffs": np.ones((2, 1, 3))})
    """
    for signature in _SIGNATURES:
        pattern = re.compile(rf"(?:^|\.)({signature.name})$")
        for name, value in tensors.items():
            match = pattern.search(name)
            if match is None or np.ndim(value) < signature.axes:
                continue
            if signature.sibling and name[: match.start(1)] + signature.sibling not in tensors:
                continue
            raise ImportModelError(
                f"tensor {name!r} of shape {list(np.shape(value))} belongs to {signature.what}: {signature.reason}",
                "dense layers of one-dimensional edge functions",
                "import the dense part alone, or a live module that is additive with family='generic'",
            )
