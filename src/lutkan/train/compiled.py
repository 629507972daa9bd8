"""The functions of `lutkan.train.portable` in C: float32 on a processor, every matrix read once.

Steps, levels and look-ups are the same bits; a tanh or a power differs in its last place, and so do sums over rows.
`LUTKAN_ISA` chooses the instruction set, which changes no bit. The kernels get addresses and check nothing: `takes`
says which tensors they may be called with, and `_sized` that a tensor is one of them and as large as what they read.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from lutkan.numerics import compiled
from lutkan.train.portable import stair_constants

__all__ = [
    "available",
    "bent",
    "bent_back",
    "interval",
    "interval_back",
    "levels",
    "levels_back",
    "look_up",
    "look_up_back",
    "stairs_back",
    "steps",
    "steps_back",
]


@cache
def available() -> bool:
    """Tell whether the compiled kernels are installed."""
    return not compiled.missing()


def takes(tensor: Tensor) -> bool:
    """Tell whether a tensor is what the kernels read: float32 numbers in main memory, with an address of their own."""
    kind = type(tensor)  # other kinds may have no memory at all
    return (
        (kind is Tensor or kind is Parameter)
        and tensor.dtype is torch.float32
        and tensor.is_cpu
        and tensor.layout is torch.strided
    )


@cache
def _kernels() -> Any:
    return compiled.extension().Training(compiled.wanted_isa())


def _new(*shape: int) -> Tensor:
    """Return memory for results, whatever torch's defaults for dtype and device are."""
    return torch.empty(shape, dtype=torch.float32, device="cpu")


def steps(w: Tensor, raw: Tensor, low: Any, high: Any) -> Tensor:
    """Return `step * clip(round(w / step), low, high)`."""
    (rows, n), w, raw = w.shape, _checked(w), _sized(raw, len(w))
    low, high, stride = _ends(low, high, rows)
    found = _new(rows, n)
    _kernels().steps(rows, n, stride, w.data_ptr(), raw.data_ptr(), low.data_ptr(), high.data_ptr(), found.data_ptr())
    return found


def steps_back(
    w: Tensor, grad: Tensor, raw: Tensor, low: Any, high: Any, *, factor: float, felt: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the gradient inside the range, and that of `raw`, times `factor`."""
    (rows, n), w, grad, raw = w.shape, _checked(w), _like(grad, w), _sized(raw, len(w))
    low, high, stride = _ends(low, high, rows)
    passed, sums = _new(rows, n), torch.empty_like(raw) if felt else None
    read = w.data_ptr(), grad.data_ptr(), raw.data_ptr(), low.data_ptr(), high.data_ptr()
    _kernels().steps_back(rows, n, stride, *read, factor, passed.data_ptr(), 0 if sums is None else sums.data_ptr())
    return passed, sums


def bent(w: Tensor, largest: Tensor, count: float) -> Tensor:
    """Return the levels of DoReFa."""
    (rows, n), w, largest = w.shape, _checked(w), _sized(largest, len(w))
    spread, found = count / (2.0 * torch.tanh(largest)), _new(rows, n)
    _kernels().bent(rows, n, w.data_ptr(), spread.data_ptr(), largest.data_ptr(), count, found.data_ptr())
    return found


def bent_back(w: Tensor, grad: Tensor, largest: Tensor) -> Tensor:
    """Return the gradient times the slope of the bend."""
    (rows, n), w, grad, largest = w.shape, _checked(w), _like(grad, w), _sized(largest, len(w))
    slope, passed = largest / torch.tanh(largest), _new(rows, n)
    _kernels().bent_back(rows, n, w.data_ptr(), grad.data_ptr(), slope.data_ptr(), passed.data_ptr())
    return passed


def interval(w: Tensor, centre: Tensor, width: Tensor, gamma: Tensor, count: float) -> Tensor:
    """Return the levels of QIL."""
    (rows, n), w = w.shape, _checked(w)
    centre, width, gamma = (_sized(p, rows) for p in (centre, width, gamma))
    found = _new(rows, n)
    read = w.data_ptr(), centre.data_ptr(), width.data_ptr(), gamma.data_ptr()
    _kernels().interval(rows, n, *read, count, found.data_ptr())
    return found


def interval_back(
    w: Tensor, grad: Tensor, centre: Tensor, width: Tensor, gamma: Tensor, count: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of w, centre, width and gamma."""
    (rows, n), w, grad = w.shape, _checked(w), _like(grad, w)
    centre, width, gamma = (_sized(p, rows) for p in (centre, width, gamma))
    found = _new(rows, n), torch.empty_like(centre), torch.empty_like(width), torch.empty_like(gamma)
    read = w.data_ptr(), grad.data_ptr(), centre.data_ptr(), width.data_ptr(), gamma.data_ptr()
    _kernels().interval_back(rows, n, *read, count, *(t.data_ptr() for t in found))
    return found


def levels(x: Tensor, low: Tensor, raw: Tensor, top: float, *, coded: bool) -> tuple[Tensor, Tensor | None]:
    """Return what the codes stand for, and the codes."""
    (rows, n), x = x.shape, _checked(x)
    low, raw, stride = _shared(low, raw, rows)
    found, codes = _new(rows, n), torch.empty((rows, n), dtype=torch.int32, device="cpu") if coded else None
    read = x.data_ptr(), low.data_ptr(), raw.data_ptr()
    _kernels().levels(rows, n, stride, *read, top, found.data_ptr(), 0 if codes is None else codes.data_ptr())
    return found, codes


def levels_back(
    x: Tensor, grad: Tensor, low: Tensor, raw: Tensor, top: float, *, rounding: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient inside the range, and those of low and `raw`."""
    (rows, n), x, grad = x.shape, _checked(x), _like(grad, x)
    low, raw, stride = _shared(low, raw, rows)
    passed, clipped, felt = _new(rows, n), torch.zeros_like(raw), torch.zeros_like(raw)
    read = x.data_ptr(), grad.data_ptr(), low.data_ptr(), raw.data_ptr()
    written = passed.data_ptr(), clipped.data_ptr(), felt.data_ptr()
    _kernels().levels_back(rows, n, stride, *read, top, rounding, *written)
    return passed, clipped, felt


def stairs_back(
    x: Tensor, grad: Tensor, low: Tensor, raw: Tensor, top: float, alpha: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradient to x along the staircase, those of low and `raw`, and what there is of alpha's."""
    (rows, n), x, grad = x.shape, _checked(x), _like(grad, x)
    low, raw, stride = _shared(low, raw, rows)
    passed = _new(rows, n)
    clipped, felt, soft = torch.zeros_like(raw), torch.zeros_like(raw), torch.zeros_like(raw)
    read = x.data_ptr(), grad.data_ptr(), low.data_ptr(), raw.data_ptr()
    written = passed.data_ptr(), clipped.data_ptr(), felt.data_ptr(), soft.data_ptr()
    _kernels().stairs_back(rows, n, stride, *read, top, *stair_constants(alpha), *written)
    return passed, clipped, felt, soft


def look_up(table: Tensor, codes: Tensor) -> Tensor:
    """Return the rows of a table [codes, C] at integer codes [N, in]: [N, in, C]."""
    table, codes = _checked(table), _codes(codes)
    found = _new(*codes.shape, table.shape[1])
    _kernels().look_up(*table.shape, codes.numel(), table.data_ptr(), codes.data_ptr(), found.data_ptr())
    return found


def look_up_back(table: Tensor, codes: Tensor, grad: Tensor) -> Tensor:
    """Return the products of gradients [N, in, C] with the rows of a table at codes, summed: [N, in]."""
    table, codes, grad = _checked(table), _codes(codes), _sized(grad, codes.numel() * table.shape[1])
    found = _new(*codes.shape)
    read = table.data_ptr(), codes.data_ptr(), grad.data_ptr()
    _kernels().look_up_back(*table.shape, codes.numel(), *read, found.data_ptr())
    return found


def _checked(tensor: Tensor) -> Tensor:
    """Return a tensor as the kernels read it, contiguous."""
    if not takes(tensor):
        raise ValueError(f"{type(tensor).__name__} of {tensor.dtype} on {tensor.device} where kernels read float32")
    return tensor if tensor.is_contiguous() else tensor.contiguous()


def _sized(tensor: Tensor, count: int) -> Tensor:
    if tensor.numel() != count:
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} where {count} numbers are read")
    return _checked(tensor)


def _codes(codes: Tensor) -> Tensor:
    if type(codes) is not Tensor or codes.dtype != torch.int32 or codes.device.type != "cpu":
        raise ValueError(f"codes of {codes.dtype} on {codes.device} where kernels read int32")
    return codes if codes.is_contiguous() else codes.contiguous()


def _like(tensor: Tensor, other: Tensor) -> Tensor:
    return _sized(tensor, other.numel())


def _ends(low: Any, high: Any, rows: int) -> tuple[Tensor, Tensor, int]:
    """Return the lowest and the highest codes, and how far apart those of two rows lie."""
    if not isinstance(low, Tensor):
        ends = torch.tensor([low, high], dtype=torch.float32, device="cpu")
        return ends[:1], ends[1:], 0
    return _sized(low, rows), _sized(high, rows), 1


def _shared(low: Tensor, raw: Tensor, rows: int) -> tuple[Tensor, Tensor, int]:
    count = rows if raw.ndim else 1
    return _sized(low, count), _sized(raw, count), int(raw.ndim > 0)
