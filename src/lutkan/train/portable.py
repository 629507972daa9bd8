"""The arithmetic of fake quantization in torch, for any device and dtype; `lutkan.train.compiled` is the same in C.

Matrices are `[rows, n]`. A parameter is `[rows, 1]`, one a row, or has no dimensions and serves all. A step is the
magnitude of its parameter `raw`, but no smaller than `TINY`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "TINY",
    "bent",
    "bent_back",
    "interval",
    "interval_back",
    "levels",
    "levels_back",
    "look_up",
    "look_up_back",
    "stair_constants",
    "stairs_back",
    "steps",
    "steps_back",
]

#: No step or range is smaller.
TINY = 1e-12
# Numbers that are worked on at a time: about a quarter of a megabyte, which stays in the cache.
_BLOCK = 65536


def steps(w: Tensor, raw: Tensor, low: Any, high: Any) -> Tensor:
    """Return `step * clip(round(w / step), low, high)`; halves go to the even integer."""
    step, inverse = _step(raw)
    found = torch.empty_like(w)
    for rows in _blocks(w):
        block = torch.mul(w[rows], inverse[rows], out=found[rows])
        block.clamp_(_part(low, rows), _part(high, rows)).round_().mul_(step[rows])
    return found


def steps_back(
    w: Tensor, grad: Tensor, raw: Tensor, low: Any, high: Any, *, factor: float, felt: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the gradient inside the range, and that of `raw`, times `factor`.

    The step feels `code - w / step` inside the range and the codes outside.
    """
    _, inverse = _step(raw)
    passed = torch.empty_like(w)
    sums = torch.empty_like(raw) if felt else None
    for rows in _blocks(w):
        given, bottom, top = grad[rows], _part(low, rows), _part(high, rows)
        scaled = w[rows] * inverse[rows]
        through = _inside(given, scaled, bottom, top, passed[rows])
        if sums is not None:
            codes = scaled.clamp(bottom, top).round_().mul_(given)
            torch.sum(codes.addcmul_(through, scaled, value=-1.0), dim=1, keepdim=True, out=sums[rows])
    return passed, None if sums is None else sums.mul_(raw.sign() * factor)


def bent(w: Tensor, largest: Tensor, count: float) -> Tensor:
    """Return `m (2 round(count (tanh(w) / (2 tanh m) + 1/2)) / count - 1)`, m the largest |w| of a row.

    Halves go up.
    """
    spread = count / (2.0 * torch.tanh(largest))
    found = torch.empty_like(w)
    for rows in _blocks(w):
        block = torch.tanh(w[rows], out=found[rows]).mul_(spread[rows])
        block.add_(0.5 * count + 0.5).floor_().clamp_(0, count)
        block.mul_(2.0 / count).sub_(1.0).mul_(largest[rows])
    return found


def bent_back(w: Tensor, grad: Tensor, largest: Tensor) -> Tensor:
    """Return the gradient times the slope of the bend, `m (1 - tanh(w)^2) / tanh m`."""
    slope = largest / torch.tanh(largest)
    passed = torch.empty_like(w)
    for rows in _blocks(w):
        block = torch.tanh(w[rows], out=passed[rows])
        block.mul_(block).sub_(1.0).mul_(grad[rows]).mul_(-slope[rows])
    return passed


def interval(w: Tensor, centre: Tensor, width: Tensor, gamma: Tensor, count: float) -> Tensor:
    """Return `sign(w) round(count t^gamma) / count (centre + width)`, t where |w| lies in `centre -+ width`, 0 to 1."""
    found = torch.empty_like(w)
    for rows in _blocks(w):
        size = width[rows].abs().clamp_min(TINY)
        share = (w[rows].abs() - centre[rows]).mul_(0.5 / size).add_(0.5).clamp_(0.0, 1.0)
        bent = share.clamp_min(TINY).pow_(gamma[rows] - 1.0).mul_(share)
        bent.mul_(count).round_().mul_(1.0 / count).mul_((centre[rows] + size).clamp_min_(TINY))
        torch.mul(bent, w[rows].sign(), out=found[rows])
    return found


def interval_back(
    w: Tensor, grad: Tensor, centre: Tensor, width: Tensor, gamma: Tensor, count: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of w, centre, width and gamma along the power, as if nothing was rounded."""
    passed = torch.empty_like(w)
    d_centre, d_width, d_gamma = (torch.empty_like(p) for p in (centre, width, gamma))
    for rows in _blocks(w):
        size = width[rows].abs().clamp_min(TINY)
        half, reach = 0.5 / size, centre[rows] + size
        sign, place = w[rows].sign(), (w[rows].abs() - centre[rows]).mul_(half).add_(0.5)
        share = place.clamp(0.0, 1.0)
        least = share.clamp_min(TINY)
        power = least ** (gamma[rows] - 1.0)
        bent, given = share * power, grad[rows] * sign
        onto = given * reach.clamp_min(TINY)
        slope = torch.where((place > 0) & (place <= 1), onto * (gamma[rows] * power), torch.zeros_like(onto))
        torch.mul(slope * half, sign, out=passed[rows])
        whole = _total(given * (bent * count).round_().mul_(1.0 / count), size) * (reach >= TINY)
        d_centre[rows] = whole - _total(slope, size) * half
        d_width[rows] = (whole - _total(slope * (place - 0.5), size) / size) * width[rows].sign()
        d_gamma[rows] = _total(onto * bent * least.log(), size)
    return passed, d_centre, d_width, d_gamma


def levels(x: Tensor, low: Tensor, raw: Tensor, top: float, *, coded: bool) -> tuple[Tensor, Tensor | None]:
    """Return `low + step * code`, and the codes: int32 `clip(floor((x - low) / step + 1/2), 0, top)`.

    What NaN has for a code is the one after the last.
    """
    step, inverse = _step(raw)
    found, codes = torch.empty_like(x), torch.empty_like(x, dtype=torch.int32) if coded else None
    for rows in _blocks(x):
        block = torch.sub(x[rows], _part(low, rows), out=found[rows]).mul_(_part(inverse, rows))
        block.add_(0.5).floor_().clamp_(0, top)
        if codes is not None:
            codes[rows] = block.nan_to_num(nan=top + 1.0)
        block.mul_(_part(step, rows)).add_(_part(low, rows))
    return found, codes


def levels_back(
    x: Tensor, grad: Tensor, low: Tensor, raw: Tensor, top: float, *, rounding: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient inside the range, that of low (the sum of what is clipped), and that of `raw`.

    With `rounding` the step feels `code - scaled` inside the range; without, nothing there. Outside it feels the codes.
    """
    _, inverse = _step(raw)
    passed, clipped, felt = torch.empty_like(x), torch.zeros_like(raw), torch.zeros_like(raw)
    for rows in _blocks(x):
        given = grad[rows]
        scaled = (x[rows] - _part(low, rows)).mul_(_part(inverse, rows))
        codes = (scaled + 0.5).floor_().clamp_(0, top)
        through = _inside(given, scaled, 0.0, top, passed[rows])
        rest = given - through
        _part(clipped, rows).add_(_total(rest, raw))
        share = codes.mul_(given).addcmul_(through, scaled, value=-1.0) if rounding else rest.mul_(codes)
        _part(felt, rows).add_(_total(share, raw))
    return passed, clipped, felt.mul_(raw.sign())


def stair_constants(alpha: float) -> tuple[float, float, float, float]:
    """Return what a staircase of softness alpha is made of: its steepness, its slope, and two of alpha's gradient.

    Within a cell, t from its middle: `1/2 + tanh(k t) / (2 (1 - alpha))` with `k = ln(2 / alpha - 1)`.
    """
    steep = math.log(2.0 / alpha - 1.0)
    return (
        steep,
        steep * 0.5 / (1.0 - alpha),
        0.5 / (1.0 - alpha) ** 2,
        1.0 / ((1.0 - alpha) * alpha * (2.0 - alpha)),
    )


def stairs_back(
    x: Tensor, grad: Tensor, low: Tensor, raw: Tensor, top: float, alpha: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradient to x along the staircase, those of low and `raw`, and what there is of alpha's."""
    steep, slope, soften, place = stair_constants(alpha)
    step, inverse = _step(raw)
    passed = torch.empty_like(x)
    clipped, felt, soft = torch.zeros_like(raw), torch.zeros_like(raw), torch.zeros_like(raw)
    for rows in _blocks(x):
        given, own = grad[rows], passed[rows]
        scaled = (x[rows] - _part(low, rows)).mul_(_part(inverse, rows))
        codes = (scaled + 0.5).floor_().clamp_(0, top)
        middle = scaled.clamp(0, top)
        middle.sub_(middle.floor().clamp_(max=top - 1)).sub_(0.5)
        curve = (middle * steep).tanh_()
        bell = (curve * curve).neg_().add_(1.0)
        through = _inside(given, scaled, 0.0, top)
        torch.mul(through, bell, out=own).mul_(slope)
        _part(clipped, rows).add_(_total(given - own, raw))
        _part(felt, rows).add_(_total(codes.mul_(given).addcmul_(own, scaled, value=-1.0), raw))
        bends = curve.mul_(soften).sub_(middle.mul_(bell), alpha=place)
        _part(soft, rows).add_(_total(bends.mul_(through), raw))
    return passed, clipped, felt.mul_(raw.sign()), soft.mul_(step)


def look_up(table: Tensor, codes: Tensor) -> Tensor:
    """Return the rows of a table [codes, C] at integer codes [N, in]: [N, in, C]."""
    if table.shape[1] == 1:
        return table[:, 0].index_select(0, codes.reshape(-1)).reshape(*codes.shape, 1)
    return F.embedding(codes, table)


def look_up_back(table: Tensor, codes: Tensor, grad: Tensor) -> Tensor:
    """Return the products of gradients [N, in, C] with the rows of a table at codes, summed: [N, in]."""
    if table.shape[1] == 1:
        return grad.squeeze(-1) * table[:, 0].index_select(0, codes.reshape(-1)).reshape(codes.shape)
    found = torch.empty(codes.shape, dtype=table.dtype, device=table.device)
    ones = torch.ones(table.shape[1], dtype=table.dtype, device=table.device)
    size = max(1, _BLOCK // max(1, codes.shape[1] * len(ones)))
    for start in range(0, len(codes), size):
        rows = slice(start, start + size)
        found[rows] = F.embedding(codes[rows], table).mul_(grad[rows]) @ ones
    return found


def _step(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Return the step that a parameter stands for, and one divided by it."""
    step = raw.abs().clamp_min_(TINY)
    return step, step.reciprocal()


def _inside(grad: Tensor, scaled: Tensor, bottom: Any, top: Any, out: Tensor | None = None) -> Tensor:
    """Return the gradient where `bottom < scaled < top`, else 0."""
    if isinstance(bottom, Tensor):
        return torch.mul(grad, ((scaled > bottom) & (scaled < top)).to(grad.dtype), out=out)
    # One pass of vector instructions; a mask and a selection take ten times as long.
    out = torch.empty_like(grad) if out is None else out
    return torch.ops.aten.hardtanh_backward.grad_input(grad, scaled, bottom, top, grad_input=out)


def _blocks(x: Tensor) -> list[slice]:
    size = max(1, _BLOCK // max(1, x.shape[1]))
    return [slice(start, start + size) for start in range(0, len(x), size)]


def _part(values: Any, rows: slice) -> Any:
    """Return what belongs to some rows: the rows of a column, or all of a number."""
    return values[rows] if isinstance(values, Tensor) and values.ndim else values


def _total(values: Tensor, like: Tensor) -> Tensor:
    """Sum over what shares an entry of `like`: a row each, or all."""
    return values.sum(dim=1, keepdim=True) if like.ndim else values.sum()
