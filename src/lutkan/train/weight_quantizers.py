"""Quantizers of weight matrices whose rows have a scale each; `lutkan.train.quantizers` names the papers."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lutkan.train.fake_quantize import TINY, Bent, Interval, Stairs, Steps, intervals
from lutkan.train.ranges import row_range

__all__ = [
    "DSQWeight",
    "DoReFaWeight",
    "LSQPlusWeight",
    "LSQWeight",
    "QILWeight",
    "UniformWeight",
    "WeightQuantizer",
]


class WeightQuantizer(nn.Module):
    """Base of all weight quantizers.

    Parameters
    ----------
    rows : int
        Number of scales.
    bits : int
        2 to 8.
    symmetric : bool
        Whether the levels lie evenly about zero. Otherwise an integer zero point a row is taken from the first
        weights, where the method has one.

    Attributes
    ----------
    ready : bool
        Whether `init_from` has seen weights.
    """

    method: ClassVar[str]
    ready: Tensor

    def __init__(self, rows: int, bits: int, symmetric: bool = True) -> None:
        super().__init__()
        self.rows, self.bits, self.symmetric = rows, bits, symmetric
        self.register_buffer("ready", torch.tensor(False))

    def init_from(self, w: Tensor) -> None:
        """Take the starting parameters from weights [rows, n]."""
        with torch.no_grad():
            self._start(w.detach())
            self.ready.fill_(True)

    def _start(self, w: Tensor) -> None:
        raise TypeError(f"{type(self).__name__} does not define _start")

    def forward(self, w: Tensor) -> Tensor:
        """Return the weights that the codes stand for: [rows, n] -> [rows, n]."""
        raise TypeError(f"{type(self).__name__} does not define forward")

    def codes(self, w: Tensor) -> Tensor:
        """Return the integers, int64 [rows, n]: `forward(w) == scale * codes(w)`."""
        with torch.no_grad():
            return torch.round(self(w) / self.scale).to(torch.int64)

    @property
    def scale(self) -> Tensor:
        """What a code of 1 stands for, [rows, 1], positive."""
        raise TypeError(f"{type(self).__name__} does not define scale")


class UniformWeight(WeightQuantizer):
    """Fixed steps: the largest value of a row over the top code; straight-through inside the range.

    With `symmetric` the codes are `-(2^(b-1) - 1) .. 2^(b-1) - 1`, so that 2 bits are -1, 0, 1.
    """

    method = "uniform"
    step: Tensor
    bottom: Tensor
    top: Tensor

    def __init__(self, rows: int, bits: int, symmetric: bool = True) -> None:
        super().__init__(rows, bits, symmetric)
        self._make_step(rows)
        high = (1 << (bits - 1)) - 1
        self.register_buffer("bottom", torch.full((rows, 1), float(self._lowest(high))))
        self.register_buffer("top", torch.full((rows, 1), float(high)))

    def _make_step(self, rows: int) -> None:
        self.register_buffer("step", torch.ones(rows, 1))

    def _lowest(self, high: int) -> int:
        return -high

    def _start(self, w: Tensor) -> None:
        if not self.symmetric:
            least, most = w.amin(dim=1, keepdim=True).clamp_max(0), w.amax(dim=1, keepdim=True).clamp_min(0)
            levels = (1 << self.bits) - 1
            step = ((most - least) / levels).clamp_min(TINY)
            zero = (-least / step).round()
            if self.bits == 8:  # the integer kernels take -127 to 127
                zero, levels = torch.full_like(zero, 127.0), 254
            self.bottom.copy_(-zero)
            self.top.copy_(levels - zero)
        self.step.copy_(self._first_step(w))

    def _first_step(self, w: Tensor) -> Tensor:
        if self.symmetric:
            return (w.abs().amax(dim=1, keepdim=True) / self.top).clamp_min(TINY)
        least, most = w.amin(dim=1, keepdim=True).clamp_max(0), w.amax(dim=1, keepdim=True).clamp_min(0)
        # Both ends have to be within reach of the rounded zero point.
        return torch.maximum(most / self.top.clamp_min(1), least / self.bottom.clamp_max(-1)).clamp_min(TINY)

    def set_scale(self, scale: Tensor) -> None:
        """Fix the steps: what post-training methods do that search them. [rows] or [rows, 1]."""
        with torch.no_grad():
            self.step.copy_(scale.reshape(self.rows, 1))
            self.ready.fill_(True)

    def forward(self, w: Tensor) -> Tensor:
        return Steps.apply(w, self.step, *self._ends(), 1.0)  # type: ignore[no-any-return]

    def _ends(self) -> tuple[Any, Any]:
        """Return the lowest and the highest code: numbers where all rows have the same."""
        if not self.symmetric:
            return self.bottom, self.top
        high = (1 << (self.bits - 1)) - 1
        return float(self._lowest(high)), float(high)

    @property
    def scale(self) -> Tensor:
        return self.step.abs().clamp_min(TINY)


class LSQWeight(UniformWeight):
    """LSQ: the step is learned, its gradient scaled by `1 / sqrt(n * top)` (arXiv 1902.08153).

    Codes `-2^(b-1) .. 2^(b-1) - 1` (8 bits: -127 to 127).
    """

    method = "lsq"

    def _make_step(self, rows: int) -> None:
        self.step = nn.Parameter(torch.ones(rows, 1))

    def _lowest(self, high: int) -> int:
        return -high if high == 127 else -high - 1

    def _first_step(self, w: Tensor) -> Tensor:
        return (2.0 * w.abs().mean(dim=1, keepdim=True) / self.top.clamp_min(1).sqrt()).clamp_min(TINY)

    def forward(self, w: Tensor) -> Tensor:
        top = max(float((1 << (self.bits - 1)) - 1), 1.0)
        factor = 1.0 / math.sqrt(w.shape[1] * top)
        return Steps.apply(w, self.step, *self._ends(), factor)  # type: ignore[no-any-return]


class LSQPlusWeight(LSQWeight):
    """LSQ+ weights: LSQ, started at `max(|mean - 3 sigma|, |mean + 3 sigma|) / 2^(b-1)` (arXiv 2004.09576)."""

    method = "lsq+"

    def _first_step(self, w: Tensor) -> Tensor:
        mean, sigma = w.mean(dim=1, keepdim=True), w.std(dim=1, keepdim=True, unbiased=False)
        reach = torch.maximum((mean - 3 * sigma).abs(), (mean + 3 * sigma).abs())
        return (reach / (1 << (self.bits - 1))).clamp_min(TINY)


class DoReFaWeight(WeightQuantizer):
    """DoReFa: `max|w| * (2 quantize(tanh(w) / (2 max|tanh w|) + 1/2) - 1)`, no level at zero (arXiv 1606.06160).

    The maxima are those of the weights of the moment, and count as constants in the gradient. Codes are the odd
    integers `-(2^b - 1) .. 2^b - 1`; with 8 bits all integers from -127 to 127.
    """

    method = "dorefa"
    largest: Tensor

    def __init__(self, rows: int, bits: int, symmetric: bool = True) -> None:
        super().__init__(rows, bits, symmetric)
        self.register_buffer("largest", torch.ones(rows, 1))

    def _start(self, w: Tensor) -> None:
        self.largest.copy_(w.abs().amax(dim=1, keepdim=True).clamp_min(TINY))

    def forward(self, w: Tensor) -> Tensor:
        with torch.no_grad():
            torch.maximum(w.amax(dim=1, keepdim=True), -w.amin(dim=1, keepdim=True), out=self.largest)
            self.largest.clamp_min_(TINY)
        return Bent.apply(w, self.largest, float(intervals(self.bits)))  # type: ignore[no-any-return]

    @property
    def scale(self) -> Tensor:
        levels = intervals(self.bits)
        return self.largest / float(levels if levels % 2 else levels // 2)


class QILWeight(WeightQuantizer):
    """QIL: weights within a learned interval of magnitudes are mapped onto the levels (arXiv 1808.05779).

    Magnitudes below `centre - width` become 0, those above `centre + width` the top level `centre + width`; between
    them `((|w| - centre + width) / (2 width))^gamma` is rounded. It starts with `centre = width`: nothing is pruned,
    for small spline coefficients would not come back.
    """

    method = "qil"

    def __init__(self, rows: int, bits: int, symmetric: bool = True) -> None:
        super().__init__(rows, bits, symmetric)
        self.centre = nn.Parameter(torch.full((rows, 1), 0.5))
        self.width = nn.Parameter(torch.full((rows, 1), 0.5))
        self.gamma = nn.Parameter(torch.ones(rows, 1))

    def _start(self, w: Tensor) -> None:
        half = row_range(w, float((1 << (self.bits - 1)) - 1)) / 2
        self.centre.copy_(half)
        self.width.copy_(half)
        self.gamma.fill_(1.0)

    def forward(self, w: Tensor) -> Tensor:
        levels = float((1 << (self.bits - 1)) - 1)
        return Interval.apply(w, self.centre, self.width, self.gamma, levels)  # type: ignore[no-any-return]

    @property
    def scale(self) -> Tensor:
        reach = (self.centre + self.width.abs().clamp_min(TINY)).clamp_min(TINY)
        return reach / float((1 << (self.bits - 1)) - 1)


class DSQWeight(WeightQuantizer):
    """DSQ: `2^b` even levels over a learned range, no level at zero; backward a staircase of tanh (arXiv 1908.05033).

    `alpha` in (0, 0.5), learned too, says how soft the staircase is. Codes are the odd integers
    `-(2^b - 1) .. 2^b - 1`, with 8 bits all integers from -127 to 127; with a free offset, integers about a zero
    point of the row.
    """

    method = "dsq"
    zero: Tensor

    def __init__(self, rows: int, bits: int, symmetric: bool = True) -> None:
        super().__init__(rows, bits, symmetric)
        self.step = nn.Parameter(torch.ones(rows, 1))
        self.alpha = nn.Parameter(torch.full((1,), 0.4))
        self.levels = float(intervals(bits))
        self.register_buffer("zero", torch.full((rows, 1), self.levels / 2))

    def _start(self, w: Tensor) -> None:
        if self.symmetric:
            self.step.copy_(2.0 * row_range(w, self.levels / 2) / self.levels)
            return
        least, most = w.amin(dim=1, keepdim=True).clamp_max(0), w.amax(dim=1, keepdim=True).clamp_min(0)
        self.step.copy_(((most - least) / self.levels).clamp_min(TINY))
        self.zero.copy_((-least / self.step).round())
        if self.bits == 8:  # the integer kernels take -127 to 127
            self.zero.fill_(127.0)
            self.step.copy_((torch.maximum(most, -least) / 127.0).clamp_min(TINY))

    def forward(self, w: Tensor) -> Tensor:
        return Stairs.apply(w, None, self.zero, self.step, self.alpha, self.levels, False)[0]  # type: ignore

    @property
    def scale(self) -> Tensor:
        step = self.step.abs().clamp_min(TINY)
        return step / 2 if self.symmetric and self.levels % 2 else step
