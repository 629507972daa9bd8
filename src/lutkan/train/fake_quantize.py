"""What fake quantization computes forward, and each method's own gradient backward, as torch functions."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["TINY", "Levels", "Stairs", "Stepped", "blocks", "intervals"]

#: No step or range is smaller.
TINY = 1e-12
# Numbers of a weight matrix that are quantized at a time.
_BLOCK = 65536


def intervals(bits: int) -> int:
    """Return the intervals between levels that lie evenly about zero: 8 bits are -127 to 127, as the kernels take."""
    return 254 if bits == 8 else (1 << bits) - 1


def _passed(grad: Tensor, scaled: Tensor, bottom: Any, top: Any, out: Tensor | None = None) -> Tensor:
    """Return the gradient where `bottom < scaled < top`, else 0."""
    if isinstance(bottom, Tensor):
        return torch.mul(grad, ((scaled > bottom) & (scaled < top)).to(grad.dtype), out=out)
    # One pass of vector instructions; a mask and a selection take ten times as long.
    out = torch.empty_like(grad) if out is None else out
    return torch.ops.aten.hardtanh_backward.grad_input(grad, scaled, bottom, top, grad_input=out)


class Stepped(torch.autograd.Function):
    """`step * clip(round(w / step), bottom, top)`, rows of `w` sharing a step; LSQ's gradients.

    `raw` is a step before its sign is dropped; `factor` multiplies its gradient. Only the weights are kept for the
    backward pass, and rows go through in blocks that stay in the cache: memory is what these few operations wait for.
    """

    @staticmethod
    def forward(ctx: Any, w: Tensor, raw: Tensor, bottom: Any, top: Any, factor: float) -> Tensor:
        step = raw.abs().clamp_min_(TINY)
        inverse = step.reciprocal()
        ctx.ends, ctx.factor = (bottom, top), factor
        found = torch.empty_like(w)
        for rows in blocks(w):
            block = torch.mul(w[rows], inverse[rows], out=found[rows])
            block.clamp_(_rows_of(bottom, rows), _rows_of(top, rows)).round_().mul_(step[rows])
        ctx.save_for_backward(w, raw, inverse, found)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:  # type: ignore[override]
        w, raw, inverse, found = ctx.saved_tensors
        grad = grads[0]
        passed = torch.empty_like(w)
        d_step = torch.empty_like(raw) if ctx.needs_input_grad[1] else None
        for rows in blocks(w):
            given, own, through = grad[rows], w[rows], passed[rows]
            low, high = (_rows_of(end, rows) for end in ctx.ends)
            _passed(given, own * inverse[rows], low, high, through)
            if d_step is not None:  # codes - scaled inside, codes outside; all of it times the step
                felt = (given * found[rows]).addcmul_(through, own, value=-1.0)
                torch.sum(felt, dim=1, keepdim=True, out=d_step[rows])
        if d_step is not None:
            d_step.mul_(raw.sign().mul_(inverse).mul_(ctx.factor))
        return passed, d_step, None, None, None


def blocks(w: Tensor) -> list[slice]:
    """Return the rows of a matrix in blocks of about a quarter of a megabyte."""
    size = max(1, _BLOCK // max(1, w.shape[1]))
    return [slice(start, start + size) for start in range(0, len(w), size)]


def _rows_of(end: Any, rows: slice) -> Any:
    return end[rows] if isinstance(end, Tensor) else end


class Levels(torch.autograd.Function):
    """`low + step * clip(round((x - low) / step), 0, top)`, rounding halves up; gradients of LSQ+, or of PACT.

    With `rounding` the rounding error inside the range counts for the step (LSQ+); without, the range is felt by what
    it clips alone (PACT). `factor` multiplies the gradients of `low` and `step`.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, low: Tensor, step: Tensor, top: int, rounding: bool, factor: float
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        scaled = (x - low) * step.reciprocal()
        codes = (scaled + 0.5).floor_().clamp_(0, top)
        ctx.save_for_backward(scaled, codes)
        ctx.top, ctx.rounding, ctx.factor = top, rounding, factor
        ctx.mark_non_differentiable(codes)
        return codes * step + low, codes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> Any:  # type: ignore[override]
        grad = grads[0]
        if grad is None:
            return None, None, None, None, None, None
        scaled, codes = ctx.saved_tensors
        passed = _passed(grad, scaled, 0.0, float(ctx.top))
        d_low = d_step = None
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            clipped = grad - passed
            d_low = clipped.sum() * ctx.factor
            felt = (grad * codes).addcmul_(passed, scaled, value=-1.0) if ctx.rounding else clipped.mul_(codes)
            d_step = felt.sum() * ctx.factor
        return passed, d_low, d_step, None, None, None


class Stairs(torch.autograd.Function):
    """`low + step * clip(round((x - low) / step), 0, top)` forward, DSQ's staircase of tanh backward.

    In units of a step, within cell `i`: `i + 1/2 + tanh(k (z - i - 1/2)) / (2 (1 - alpha))`, `k = ln(2 / alpha - 1)`.
    Where `x` is a matrix whose rows share a step, `low` and `step` are [rows, 1], else numbers.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: Tensor, step: Tensor, alpha: Tensor, top: float) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        inverse = step.reciprocal()
        codes = torch.empty_like(x)
        found = torch.empty_like(x)
        for rows in blocks(x):
            start = _part(low, rows)
            block = torch.sub(x[rows], start, out=codes[rows]).mul_(_part(inverse, rows))
            block.add_(0.5).floor_().clamp_(0, top)
            torch.mul(block, _part(step, rows), out=found[rows]).add_(start)
        ctx.save_for_backward(x, low, step, inverse, alpha, codes)
        ctx.top = top
        ctx.mark_non_differentiable(codes)
        return found, codes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> Any:  # type: ignore[override]
        given = grads[0]
        if given is None:
            return None, None, None, None, None
        x, low, step, inverse, alpha, codes = ctx.saved_tensors
        share = float(alpha)
        steep, stretch = math.log(2.0 / share - 1.0), 0.5 / (1.0 - share)
        place_weight = 2.0 * stretch / (share * (2.0 - share))
        slope = torch.empty_like(x)
        d_low, d_step, d_alpha = torch.zeros_like(low), torch.zeros_like(step), torch.zeros_like(alpha)
        for rows in blocks(x):
            grad, own = given[rows], slope[rows]
            scaled = (x[rows] - _part(low, rows)).mul_(_part(inverse, rows))
            place = scaled.clamp(0, ctx.top)
            place.sub_(place.floor().clamp_(max=ctx.top - 1)).sub_(0.5)
            curve = (place * steep).tanh_()
            bell = (curve * curve).neg_().add_(1.0)
            passed = _passed(grad, scaled, 0.0, ctx.top)
            torch.mul(passed, bell, out=own).mul_(steep * stretch)  # the gradient to x
            felt = (grad * codes[rows]).addcmul_(own, scaled, value=-1.0)
            _part(d_low, rows).add_(_total(grad - own, step))
            _part(d_step, rows).add_(_total(felt, step))
            if ctx.needs_input_grad[3]:
                soft = curve.mul_(stretch / (1.0 - share)).sub_(place.mul_(bell), alpha=place_weight)
                d_alpha.add_((_total(soft.mul_(passed), step) * _part(step, rows)).sum())
        return slope, d_low, d_step, d_alpha, None


def _part(values: Tensor, rows: slice) -> Tensor:
    """Return what belongs to some rows: all of a number, the rows of a column."""
    return values if values.ndim == 0 else values[rows]


def _total(values: Tensor, like: Tensor) -> Tensor:
    """Sum over what shares an entry of `like`: a row each, or all."""
    return values.sum() if like.ndim == 0 else values.sum(dim=1, keepdim=True)
