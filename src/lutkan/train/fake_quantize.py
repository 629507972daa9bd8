"""What fake quantization computes forward, and each method's own gradient backward, as torch functions.

The arithmetic is that of `lutkan.train.compiled` for float32 on a processor, where the compiled kernels are installed,
and otherwise that of `lutkan.train.portable`.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lutkan.train import compiled, portable
from lutkan.train.portable import TINY

__all__ = ["TINY", "Bent", "Interval", "Levels", "Stairs", "Steps", "arithmetic", "intervals"]


#: How hard and how soft DSQ's staircase may be.
LEAST_ALPHA, MOST_ALPHA = 0.05, 0.495


def arithmetic(*tensors: Tensor | None) -> ModuleType:
    """Return the module that computes with such tensors: the compiled one takes plain float32 ones in main memory."""
    if torch.compiler.is_compiling():
        return portable
    return compiled if compiled.available() and all(t is None or compiled.takes(t) for t in tensors) else portable


def _matrix(x: Tensor) -> Tensor:
    """Return inputs of any shape as rows."""
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1] if x.ndim else 1)


def intervals(bits: int) -> int:
    """Return the intervals between levels that lie evenly about zero: 8 bits are -127 to 127, as the kernels take."""
    return 254 if bits == 8 else (1 << bits) - 1


class Steps(torch.autograd.Function):
    """`step * clip(round(w / step), bottom, top)`, rows of `w` sharing a step; LSQ's gradients.

    A step is the magnitude of `raw`; `factor` multiplies its gradient. Only the weights are kept for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, w: Tensor, raw: Tensor, bottom: Any, top: Any, factor: float) -> Tensor:
        ctx.ends, ctx.factor = (bottom, top), factor
        ctx.save_for_backward(w, raw)
        return arithmetic(w, raw).steps(w, raw, bottom, top)  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:  # type: ignore[override]
        w, raw = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1]
        back = arithmetic(w, grads[0], raw).steps_back(w, grads[0], raw, *ctx.ends, factor=ctx.factor, felt=wanted)
        return *back, None, None, None


class Bent(torch.autograd.Function):
    """`m (2 round(n (tanh(w) / (2 tanh m) + 1/2)) / n - 1)` with `m` the largest |w| of a row; straight-through."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, largest: Tensor, count: float) -> Tensor:
        ctx.save_for_backward(w, largest.clone())  # it is updated in place with the weights of the next step
        return arithmetic(w, largest).bent(w, largest, count)  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:  # type: ignore[override]
        w, largest = ctx.saved_tensors
        return arithmetic(w, grads[0], largest).bent_back(w, grads[0], largest), None, None


class Interval(torch.autograd.Function):
    """QIL: magnitudes within `centre -+ width` go from 0 to 1, are bent by a power, and put on `count` levels.

    The gradient is that of the power; widths are magnitudes.
    """

    @staticmethod
    def forward(ctx: Any, w: Tensor, centre: Tensor, width: Tensor, gamma: Tensor, count: float) -> Tensor:
        ctx.save_for_backward(w, centre, width, gamma)
        ctx.count = count
        return arithmetic(w, centre, width, gamma).interval(w, centre, width, gamma, count)  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:  # type: ignore[override]
        w, *parameters = ctx.saved_tensors
        return *arithmetic(w, grads[0], *parameters).interval_back(w, grads[0], *parameters, ctx.count), None


class Levels(torch.autograd.Function):
    """`low + step * clip(round((x - low) / step), 0, top)`, rounding halves up; gradients of LSQ+, or of PACT.

    A step is the magnitude of `raw`. With `rounding` the rounding error inside the range counts for it (LSQ+); without,
    the range is felt by what it clips alone (PACT). `factor` multiplies the gradients of `low` and `raw`. Also returned
    are the codes, int32.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, low: Tensor, raw: Tensor, top: int, rounding: bool, factor: float
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        found, codes = arithmetic(x, low, raw).levels(_matrix(x), low, raw, float(top), coded=True)
        ctx.save_for_backward(x, low, raw)
        ctx.top, ctx.rounding, ctx.factor = float(top), rounding, factor
        codes = codes.view(x.shape)
        ctx.mark_non_differentiable(codes)
        return found.view(x.shape), codes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> Any:  # type: ignore[override]
        grad = grads[0]
        if grad is None:
            return None, None, None, None, None, None
        x, low, raw = ctx.saved_tensors
        back = arithmetic(x, grad, low, raw).levels_back
        passed, d_low, d_raw = back(_matrix(x), _matrix(grad), low, raw, ctx.top, rounding=ctx.rounding)
        return passed.view(x.shape), d_low.mul_(ctx.factor), d_raw.mul_(ctx.factor), None, None, None


class Stairs(torch.autograd.Function):
    """`low + step * clip(round((x - low) / step), 0, top)` forward, DSQ's staircase of tanh backward.

    In units of a step, within cell `i`: `i + 1/2 + tanh(k (z - i - 1/2)) / (2 (1 - alpha))`, `k = ln(2 / alpha - 1)`.
    A step is the magnitude of `raw`; `low` is a tensor, or given as the code of zero: `low = -zero * step`. Where the
    rows of `x` have a step each, all these are [rows, 1], else numbers. alpha is held between `LEAST_ALPHA` and
    `MOST_ALPHA`, beyond which it has no gradient. Also returned are the codes, int32, where they are asked for.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        low: Tensor | None,
        zero: Tensor | None,
        raw: Tensor,
        alpha: Tensor,
        top: float,
        coded: bool,
    ) -> tuple[Tensor, Tensor | None]:
        ctx.set_materialize_grads(False)
        start = low if zero is None else raw.abs().clamp_min_(TINY).mul_(zero).neg_()
        found, codes = arithmetic(x, start, raw).levels(_matrix(x), start, raw, top, coded=coded)
        ctx.save_for_backward(x, start, zero, raw, alpha)
        ctx.top = top
        if codes is not None:
            codes = codes.view(x.shape)
            ctx.mark_non_differentiable(codes)
        return found.view(x.shape), codes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> Any:  # type: ignore[override]
        grad = grads[0]
        if grad is None:
            return None, None, None, None, None, None, None
        x, start, zero, raw, alpha = ctx.saved_tensors
        given = float(alpha.detach())
        held = min(max(given, LEAST_ALPHA), MOST_ALPHA)
        back = arithmetic(x, grad, start, raw).stairs_back
        passed, d_low, d_raw, soft = back(_matrix(x), _matrix(grad), start, raw, ctx.top, held)
        d_alpha = soft.sum().reshape(alpha.shape) if held == given else torch.zeros_like(alpha)
        if zero is not None:
            d_raw = d_raw - d_low.mul_(zero).mul_(raw.sign())
        return passed.view(x.shape), None if zero is not None else d_low, None, d_raw, d_alpha, None, None
