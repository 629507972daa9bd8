"""Features of quantized inputs: an input of A bits has 2^A rows of them at most."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lutkan.train.fake_quantize import arithmetic
from lutkan.train.features import BasisFeatures, sum_of_products

__all__ = ["look_up"]


class _LookUp(torch.autograd.Function):
    """Features of quantized inputs, from a table of all codes; the gradient is a second table."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, points: Tensor, features: BasisFeatures, order: int) -> Tensor:
        ctx.save_for_backward(x, codes, points)
        ctx.features, ctx.order = features, order
        table, ctx.slopes = features.tables(points) if order == 0 else (features.table(points, order), None)
        return arithmetic(table).look_up(table, codes)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        x, codes, points = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient may be asked for
            slope = _LookUp.apply(x, codes, points, ctx.features, ctx.order + 1)
            return sum_of_products(grads[0], slope), None, None, None, None  # type: ignore[arg-type]
        table = ctx.features.table(points, ctx.order + 1) if ctx.slopes is None else ctx.slopes
        return arithmetic(table, grads[0]).look_up_back(table, codes, grads[0]), None, None, None, None


def look_up(features: BasisFeatures, x: Tensor, codes: Tensor, points: Tensor) -> Tensor:
    """Evaluate features that all inputs share at quantized inputs.

    Parameters
    ----------
    features : BasisFeatures
        With `features.shared`.
    x : float [N, in]
        The quantized inputs, `points[codes]`; gradients flow to them.
    codes : int32 [N, in]
    points : float [2^A + 1]
        The value of every code; the one after the last is that of NaN.

    Returns
    -------
    float [N, in, C]
    """
    return _LookUp.apply(x, codes, points, features, 0)  # type: ignore[no-any-return]
