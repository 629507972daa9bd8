"""Quantizers of layer inputs, one grid a tensor; `lutkan.train.quantizers` names the papers."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from lutkan.errors import SpecError
from lutkan.train.fake_quantize import TINY, Levels, Stairs
from lutkan.train.ranges import search_range, zero_coded_step

__all__ = [
    "DSQInput",
    "DoReFaInput",
    "InputQuantizer",
    "LSQInput",
    "LSQPlusInput",
    "PACTInput",
    "QILInput",
    "UniformInput",
]


class InputQuantizer(nn.Module):
    """Base of all input quantizers: codes `0 .. 2^bits - 1`, code `c` standing for `low + step * c`.

    Parameters
    ----------
    bits : int
        2 to 8.
    symmetric : bool
        Whether the range has no offset: zero is the middle code, or (pact, qil, dsq) the codes lie evenly about it.
    """

    method: ClassVar[str]
    #: Whether zero is the middle code of a range without an offset; otherwise the codes lie evenly about it.
    zero_coded: ClassVar[bool] = True
    ready: Tensor
    numbers: Tensor

    def __init__(self, bits: int, symmetric: bool = False) -> None:
        super().__init__()
        self.bits, self.symmetric = bits, symmetric
        self.top = (1 << bits) - 1
        numbers = torch.arange(self.top + 2.0)
        numbers[-1] = math.nan
        self.register_buffer("numbers", numbers, persistent=False)
        self.register_buffer("ready", torch.tensor(False))

    def init_from(self, x: Tensor) -> None:
        """Take the range from the inputs of calibration rows: the one of least squared error."""
        if self.symmetric and self.zero_coded:
            step = zero_coded_step(x, self.bits)
            half = 1 << (self.bits - 1)
            self.set_range(-step * half, step * (half - 1))
        else:
            self.set_range(*search_range(x, self.bits, symmetric=self.symmetric))

    def set_range(self, low: float, high: float) -> None:
        """Take a range: what code 0 and the top code stand for.

        Raises
        ------
        SpecError
            Not finite, or `low >= high`.
        """
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise SpecError(f"an input range of ({low}, {high})", "two finite numbers, low < high")
        with torch.no_grad():
            self._start(low, high)
            self.ready.fill_(True)

    def _start(self, low: float, high: float) -> None:
        raise TypeError(f"{type(self).__name__} does not define _start")

    @property
    def low(self) -> Tensor:
        """What code 0 stands for."""
        raise TypeError(f"{type(self).__name__} does not define low")

    @property
    def step(self) -> Tensor:
        """The distance of two codes."""
        raise TypeError(f"{type(self).__name__} does not define step")

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers that the codes stand for, and the codes, int32; both shaped like x."""
        raise TypeError(f"{type(self).__name__} does not define quantize")

    def forward(self, x: Tensor) -> Tensor:
        """Return the numbers that the codes stand for."""
        return self.quantize(x)[0]

    def codes(self, x: Tensor) -> Tensor:
        """Return the codes, int64."""
        with torch.no_grad():
            return self.quantize(x)[1].to(torch.int64)

    def points(self) -> Tensor:
        """Return what every code stands for, [2^bits + 1]: the one after the last is that of NaN."""
        with torch.no_grad():
            return self.numbers * self.step + self.low


class UniformInput(InputQuantizer):
    """A fixed range; straight-through inside it."""

    method = "uniform"
    _low: Tensor
    _step: Tensor

    def __init__(self, bits: int, symmetric: bool = False) -> None:
        super().__init__(bits, symmetric)
        self.register_buffer("_low", torch.tensor(-1.0))
        self.register_buffer("_step", torch.tensor(2.0 / self.top))

    def _start(self, low: float, high: float) -> None:
        step = (high - low) / self.top
        self._low.fill_(-step * (1 << (self.bits - 1)) if self.symmetric else low)
        self._step.fill_(step)

    @property
    def low(self) -> Tensor:
        return self._low

    @property
    def step(self) -> Tensor:
        return self._step

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return Levels.apply(x, self.low, self.step, self.top, False, 1.0)  # type: ignore[return-value]


class DoReFaInput(UniformInput):
    """DoReFa's clipping to a fixed range, which a KAN takes from its calibration rows instead of [0, 1]."""

    method = "dorefa"


class LSQInput(InputQuantizer):
    """LSQ: a learned step, codes `-2^(b-1) .. 2^(b-1) - 1` about zero, never with an offset.

    It starts at the step of least squared error; the paper's `2 mean|x| / sqrt(top)` is made for inputs of one sign.
    """

    method = "lsq"

    def __init__(self, bits: int, symmetric: bool = False) -> None:
        super().__init__(bits, True)
        del symmetric
        self._step = nn.Parameter(torch.tensor(1.0))

    def _start(self, low: float, high: float) -> None:
        self._step.fill_((high - low) / self.top)

    @property
    def low(self) -> Tensor:
        return -float(1 << (self.bits - 1)) * self.step

    @property
    def step(self) -> Tensor:
        return self._step.abs().clamp_min(TINY)

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        half = max((1 << (self.bits - 1)) - 1, 1)
        factor = 1.0 / math.sqrt(x.shape[1:].numel() * half)
        return Levels.apply(x, self.low, self._step, self.top, True, factor)  # type: ignore[return-value]


class LSQPlusInput(InputQuantizer):
    """LSQ+: a learned step and a learned offset, the value of code 0; started at the range of least squared error."""

    method = "lsq+"

    def __init__(self, bits: int, symmetric: bool = False) -> None:
        super().__init__(bits, symmetric)
        self._step = nn.Parameter(torch.tensor(1.0))
        if not symmetric:
            self._low = nn.Parameter(torch.tensor(-1.0))

    def _start(self, low: float, high: float) -> None:
        self._step.fill_((high - low) / self.top)
        if not self.symmetric:
            self._low.fill_(low)

    @property
    def low(self) -> Tensor:
        return -float(1 << (self.bits - 1)) * self.step if self.symmetric else self._low

    @property
    def step(self) -> Tensor:
        return self._step.abs().clamp_min(TINY)

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        factor = 1.0 / math.sqrt(x.shape[1:].numel() * max((1 << (self.bits - 1)) - 1, 1))
        return Levels.apply(x, self.low, self._step, self.top, True, factor)  # type: ignore[return-value]


class _LearnedEnds(InputQuantizer):
    """A range whose ends are learned, or without an offset the one end of both signs."""

    zero_coded = False

    def __init__(self, bits: int, symmetric: bool = False) -> None:
        super().__init__(bits, symmetric)
        self.upper = nn.Parameter(torch.tensor(1.0))
        if not symmetric:
            self.lower = nn.Parameter(torch.tensor(-1.0))

    def _start(self, low: float, high: float) -> None:
        self.upper.fill_(high)
        if not self.symmetric:
            self.lower.fill_(low)

    @property
    def low(self) -> Tensor:
        return -self.upper.abs().clamp_min(TINY) if self.symmetric else self.lower

    @property
    def step(self) -> Tensor:
        return self._raw_step().abs().clamp_min(TINY)

    def _raw_step(self) -> Tensor:
        """Return what the magnitude of is a step: one operation less to go back through."""
        return self.upper * (2.0 / self.top) if self.symmetric else (self.upper - self.lower) * (1.0 / self.top)


class PACTInput(_LearnedEnds):
    """PACT: the clipping levels are learned from what they clip alone; one for both signs, or one for each."""

    method = "pact"

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return Levels.apply(x, self.low, self._raw_step(), self.top, False, 1.0)  # type: ignore[return-value]


class QILInput(InputQuantizer):
    """QIL: a learned interval, centre and half width, mapped linearly onto the levels and back to its own size."""

    method = "qil"
    zero_coded = False

    def __init__(self, bits: int, symmetric: bool = False) -> None:
        super().__init__(bits, symmetric)
        self.width = nn.Parameter(torch.tensor(1.0))
        if not symmetric:
            self.centre = nn.Parameter(torch.tensor(0.0))

    def _start(self, low: float, high: float) -> None:
        self.width.fill_((high - low) / 2)
        if not self.symmetric:
            self.centre.fill_((high + low) / 2)

    @property
    def low(self) -> Tensor:
        half = self.width.abs()
        return -half if self.symmetric else self.centre - half

    @property
    def step(self) -> Tensor:
        return (self.width * (2.0 / self.top)).abs().clamp_min(TINY)

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raw = self.width * (2.0 / self.top)
        return Levels.apply(x, self.low, raw, self.top, True, 1.0)  # type: ignore[return-value]


class DSQInput(_LearnedEnds):
    """DSQ: learned ends of the range and softness; hard forward, a staircase of tanh backward."""

    method = "dsq"

    def __init__(self, bits: int, symmetric: bool = False) -> None:
        super().__init__(bits, symmetric)
        self.alpha = nn.Parameter(torch.full((1,), 0.4))

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return Stairs.apply(x, self.low, None, self._raw_step(), self.alpha, float(self.top), True)  # type: ignore
