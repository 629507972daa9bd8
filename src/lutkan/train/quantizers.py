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

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lutkan.errors import InputError, SpecError

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

_TINY = 1e-12
# Numbers of a weight matrix that are quantized at a time.
_BLOCK = 65536
# Numbers of an input that its range is searched on.
_SEARCHED = 65536


def _intervals(bits: int) -> int:
    """Return the intervals between levels that lie evenly about zero: 8 bits are -127 to 127, as the kernels take."""
    return 254 if bits == 8 else (1 << bits) - 1


def _passed(grad: Tensor, scaled: Tensor, bottom: Any, top: Any, out: Tensor | None = None) -> Tensor:
    """Return the gradient where `bottom < scaled < top`, else 0."""
    if isinstance(bottom, Tensor):
        return torch.mul(grad, ((scaled > bottom) & (scaled < top)).to(grad.dtype), out=out)
    # One pass of vector instructions; a mask and a selection take ten times as long.
    out = torch.empty_like(grad) if out is None else out
    return torch.ops.aten.hardtanh_backward.grad_input(grad, scaled, bottom, top, grad_input=out)


class _Stepped(torch.autograd.Function):
    """`step * clip(round(w / step), bottom, top)`, rows of `w` sharing a step; LSQ's gradients.

    `raw` is a step before its sign is dropped; `factor` multiplies its gradient. Only the weights are kept for the
    backward pass, and rows go through in blocks that stay in the cache: memory is what these few operations wait for.
    """

    @staticmethod
    def forward(ctx: Any, w: Tensor, raw: Tensor, bottom: Any, top: Any, factor: float) -> Tensor:
        step = raw.abs().clamp_min_(_TINY)
        inverse = step.reciprocal()
        ctx.ends, ctx.factor = (bottom, top), factor
        found = torch.empty_like(w)
        for rows in _blocks(w):
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
        for rows in _blocks(w):
            given, own, through = grad[rows], w[rows], passed[rows]
            low, high = (_rows_of(end, rows) for end in ctx.ends)
            _passed(given, own * inverse[rows], low, high, through)
            if d_step is not None:  # codes - scaled inside, codes outside; all of it times the step
                felt = (given * found[rows]).addcmul_(through, own, value=-1.0)
                torch.sum(felt, dim=1, keepdim=True, out=d_step[rows])
        if d_step is not None:
            d_step.mul_(raw.sign().mul_(inverse).mul_(ctx.factor))
        return passed, d_step, None, None, None


def _blocks(w: Tensor) -> list[slice]:
    """Return the rows of a matrix in blocks of about a quarter of a megabyte."""
    size = max(1, _BLOCK // max(1, w.shape[1]))
    return [slice(start, start + size) for start in range(0, len(w), size)]


def _rows_of(end: Any, rows: slice) -> Any:
    return end[rows] if isinstance(end, Tensor) else end


class _Affine(torch.autograd.Function):
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


class _Stairs(torch.autograd.Function):
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
        for rows in _blocks(x):
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
        for rows in _blocks(x):
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


def search_range(x: Tensor, bits: int, *, symmetric: bool = False) -> tuple[float, float]:
    """Find the range (low, high) whose `2^bits` even levels are nearest to the numbers, in the squared mean.

    Parameters
    ----------
    x : float tensor
        Any shape; a spread-out part of it is used where it is large.
    bits : int
    symmetric : bool
        Whether `low = -high`.

    Returns
    -------
    (float, float)

    Examples
    --------
    >>> import torch
    >>> low, high = search_range(torch.tensor([0.0, 1.0, 2.0, 3.0]), 2)
    >>> round(low, 3), round(high, 3)
    (0.0, 3.0)
    """
    flat = x.detach().reshape(-1).float()
    flat = flat[:: max(1, flat.numel() // _SEARCHED)]
    if flat.numel() == 0 or not bool(torch.isfinite(flat).all()):
        raise InputError("calibration values that are empty, NaN or infinite", "finite numbers")
    least, most = float(flat.min()), float(flat.max())
    if symmetric:
        most = max(abs(least), abs(most))
        least = -most
    if most - least < _TINY:
        reach = max(abs(most), 1.0) * 0.5
        return (-reach, reach) if symmetric else (least - reach, most + reach)
    top = (1 << bits) - 1

    def error(low: float, high: float) -> float:
        step = (high - low) / top
        codes = ((flat - low) / step + 0.5).floor().clamp(0, top)
        return float((flat - (low + step * codes)).square().mean())

    best = (error(least, most), least, most)
    span, share = most - least, 0.05
    for _ in range(3):  # coarse, then finer about the best
        _, low, high = best
        around = [share * k for k in range(-10, 11)]
        if symmetric:
            trials = [(-h, h) for d in around if 1e-3 * span < (h := high + d * span / 2) <= most]
        else:
            lows = [v for d in around if least <= (v := low + d * span) <= most]
            highs = [v for d in around if least <= (v := high + d * span) <= most]
            # One end at a time, twice: a full grid costs ten times as much and gains nothing.
            trials = []
            for _ in range(2):
                for v in lows:
                    if high - v > 1e-3 * span:
                        best = min(best, (error(v, best[2]), v, best[2])) if v < best[2] else best
                for v in highs:
                    if v - best[1] > 1e-3 * span:
                        best = min(best, (error(best[1], v), best[1], v))
        for pair in trials:
            best = min(best, (error(*pair), *pair))
        share /= 5
    return best[1], best[2]


def _zero_coded_step(x: Tensor, bits: int) -> float:
    """Find the step with which levels `-2^(bits-1) .. 2^(bits-1) - 1` are nearest to the numbers."""
    flat = x.detach().reshape(-1).float()
    flat = flat[:: max(1, flat.numel() // _SEARCHED)]
    if flat.numel() == 0 or not bool(torch.isfinite(flat).all()):
        raise InputError("calibration values that are empty, NaN or infinite", "finite numbers")
    half = 1 << (bits - 1)
    most = max(float(flat.max()) / (half - 1), -float(flat.min()) / half)
    if most < _TINY:
        return 1.0 / half

    def error(step: float) -> float:
        codes = (flat / step + 0.5).floor().clamp(-half, half - 1)
        return float((flat - codes * step).square().mean())

    best = min((error(most * k / 40), most * k / 40) for k in range(2, 41))[1]
    return min((error(best * k / 40), best * k / 40) for k in range(36, 45))[1]


def _row_range(w: Tensor, top: float) -> Tensor:
    """Return, for every row, the clipping level of least squared error for levels `-1 .. 1` in steps of `1 / top`.

    Levels without a zero are asked for by a `top` of half an odd number.
    """
    most = w.abs().amax(dim=1, keepdim=True).clamp_min(_TINY)
    shift = 0.5 if top % 1 else 0.0
    best, level = None, most
    for share in torch.linspace(0.2, 1.0, 33).tolist():
        step = most * share / top
        codes = ((w / step - shift).round() + shift).clamp(-top, top)
        error = (w - codes * step).square().sum(dim=1, keepdim=True)
        if best is None:
            best, level = error, most * share
        else:
            level = torch.where(error <= best, most * share, level)
            best = torch.minimum(best, error)
    return level


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
            step = ((most - least) / levels).clamp_min(_TINY)
            zero = (-least / step).round()
            if self.bits == 8:  # the integer kernels take -127 to 127
                zero, levels = torch.full_like(zero, 127.0), 254
            self.bottom.copy_(-zero)
            self.top.copy_(levels - zero)
        self.step.copy_(self._first_step(w))

    def _first_step(self, w: Tensor) -> Tensor:
        if self.symmetric:
            return (w.abs().amax(dim=1, keepdim=True) / self.top).clamp_min(_TINY)
        least, most = w.amin(dim=1, keepdim=True).clamp_max(0), w.amax(dim=1, keepdim=True).clamp_min(0)
        # Both ends have to be within reach of the rounded zero point.
        return torch.maximum(most / self.top.clamp_min(1), least / self.bottom.clamp_max(-1)).clamp_min(_TINY)

    def set_scale(self, scale: Tensor) -> None:
        """Fix the steps: what post-training methods do that search them. [rows] or [rows, 1]."""
        with torch.no_grad():
            self.step.copy_(scale.reshape(self.rows, 1))
            self.ready.fill_(True)

    def forward(self, w: Tensor) -> Tensor:
        return _Stepped.apply(w, self.step, *self._ends(), 1.0)  # type: ignore[no-any-return]

    def _ends(self) -> tuple[Any, Any]:
        """Return the lowest and the highest code: numbers where all rows have the same."""
        if not self.symmetric:
            return self.bottom, self.top
        high = (1 << (self.bits - 1)) - 1
        return float(self._lowest(high)), float(high)

    @property
    def scale(self) -> Tensor:
        return self.step.abs().clamp_min(_TINY)


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
        return (2.0 * w.abs().mean(dim=1, keepdim=True) / self.top.clamp_min(1).sqrt()).clamp_min(_TINY)

    def forward(self, w: Tensor) -> Tensor:
        top = max(float((1 << (self.bits - 1)) - 1), 1.0)
        factor = 1.0 / math.sqrt(w.shape[1] * top)
        return _Stepped.apply(w, self.step, *self._ends(), factor)  # type: ignore[no-any-return]


class LSQPlusWeight(LSQWeight):
    """LSQ+ weights: LSQ, started at `max(|mean - 3 sigma|, |mean + 3 sigma|) / 2^(b-1)` (arXiv 2004.09576)."""

    method = "lsq+"

    def _first_step(self, w: Tensor) -> Tensor:
        mean, sigma = w.mean(dim=1, keepdim=True), w.std(dim=1, keepdim=True, unbiased=False)
        reach = torch.maximum((mean - 3 * sigma).abs(), (mean + 3 * sigma).abs())
        return (reach / (1 << (self.bits - 1))).clamp_min(_TINY)


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
        self.largest.copy_(w.abs().amax(dim=1, keepdim=True).clamp_min(_TINY))

    def forward(self, w: Tensor) -> Tensor:
        with torch.no_grad():
            torch.maximum(w.amax(dim=1, keepdim=True), -w.amin(dim=1, keepdim=True), out=self.largest)
            self.largest.clamp_min_(_TINY)
        return _TanhLevels.apply(w, self.largest, float(_intervals(self.bits)))  # type: ignore[no-any-return]

    @property
    def scale(self) -> Tensor:
        levels = _intervals(self.bits)
        return self.largest / float(levels if levels % 2 else levels // 2)


class _TanhLevels(torch.autograd.Function):
    """`m (2 round(n (tanh(w) / (2 tanh m) + 1/2)) / n - 1)` with `m` the largest |w| of a row; straight-through."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, largest: Tensor, levels: float) -> Tensor:
        bend = torch.tanh(largest)
        found = torch.empty_like(w)
        for rows in _blocks(w):
            block = torch.tanh(w[rows], out=found[rows]).mul_(levels / (2.0 * bend[rows]))
            block.add_(0.5 * levels + 0.5).floor_().clamp_(0, levels)
            block.mul_(2.0 / levels).sub_(1.0).mul_(largest[rows])
        ctx.save_for_backward(w, largest / bend)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:  # type: ignore[override]
        w, factor = ctx.saved_tensors
        slope = torch.empty_like(w)
        for rows in _blocks(w):
            block = torch.tanh(w[rows], out=slope[rows])
            block.mul_(block).sub_(1.0).mul_(grads[0][rows]).mul_(-factor[rows])
        return slope, None, None


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
        half = _row_range(w, float((1 << (self.bits - 1)) - 1)) / 2
        self.centre.copy_(half)
        self.width.copy_(half)
        self.gamma.fill_(1.0)

    def forward(self, w: Tensor) -> Tensor:
        levels = float((1 << (self.bits - 1)) - 1)
        size = w.abs()
        width = self.width.abs().clamp_min(_TINY)
        share = ((size - self.centre) * (0.5 / width) + 0.5).clamp(0.0, 1.0)
        # 0^gamma has no gradient to gamma; the clamp keeps its logarithm finite
        bent = torch.where(share > 0, share.clamp_min(_TINY) ** self.gamma, torch.zeros_like(share))
        rounded = bent + ((bent * levels).round() / levels - bent).detach()
        return w.sign() * rounded * (self.centre + width).clamp_min(_TINY)

    @property
    def scale(self) -> Tensor:
        reach = (self.centre + self.width.abs().clamp_min(_TINY)).clamp_min(_TINY)
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
        self.levels = float(_intervals(bits))
        self.register_buffer("zero", torch.full((rows, 1), self.levels / 2))

    def _start(self, w: Tensor) -> None:
        if self.symmetric:
            self.step.copy_(2.0 * _row_range(w, self.levels / 2) / self.levels)
            return
        least, most = w.amin(dim=1, keepdim=True).clamp_max(0), w.amax(dim=1, keepdim=True).clamp_min(0)
        self.step.copy_(((most - least) / self.levels).clamp_min(_TINY))
        self.zero.copy_((-least / self.step).round())
        if self.bits == 8:  # the integer kernels take -127 to 127
            self.zero.fill_(127.0)
            self.step.copy_((torch.maximum(most, -least) / 127.0).clamp_min(_TINY))

    def forward(self, w: Tensor) -> Tensor:
        step = self.step.abs().clamp_min(_TINY)
        return _Stairs.apply(w, -self.zero * step, step, self.alpha.clamp(0.05, 0.495), self.levels)[0]  # type: ignore

    @property
    def scale(self) -> Tensor:
        step = self.step.abs().clamp_min(_TINY)
        return step / 2 if self.symmetric and self.levels % 2 else step


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
        self.register_buffer("numbers", torch.arange(self.top + 1.0), persistent=False)
        self.register_buffer("ready", torch.tensor(False))

    def init_from(self, x: Tensor) -> None:
        """Take the range from the inputs of calibration rows: the one of least squared error."""
        if self.symmetric and self.zero_coded:
            step = _zero_coded_step(x, self.bits)
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
        """Return the numbers that the codes stand for, and the codes as floats, both shaped like x."""
        raise TypeError(f"{type(self).__name__} does not define quantize")

    def forward(self, x: Tensor) -> Tensor:
        """Return the numbers that the codes stand for."""
        return self.quantize(x)[0]

    def codes(self, x: Tensor) -> Tensor:
        """Return the codes, int64."""
        with torch.no_grad():
            return self.quantize(x)[1].to(torch.int64)

    def points(self) -> Tensor:
        """Return what every code stands for, [2^bits]."""
        return self.numbers * self.step.detach() + self.low.detach()


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
        return _Affine.apply(x, self.low, self.step, self.top, False, 1.0)  # type: ignore[return-value]


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
        return self._step.abs().clamp_min(_TINY)

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        half = max((1 << (self.bits - 1)) - 1, 1)
        factor = 1.0 / math.sqrt(x[0].numel() * half)
        return _Affine.apply(x, self.low, self.step, self.top, True, factor)  # type: ignore[return-value]


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
        return self._step.abs().clamp_min(_TINY)

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        factor = 1.0 / math.sqrt(x[0].numel() * max((1 << (self.bits - 1)) - 1, 1))
        return _Affine.apply(x, self.low, self.step, self.top, True, factor)  # type: ignore[return-value]


class PACTInput(InputQuantizer):
    """PACT: the clipping levels are learned from what they clip alone; one for both signs, or one for each."""

    method = "pact"
    zero_coded = False

    def __init__(self, bits: int, symmetric: bool = False) -> None:
        super().__init__(bits, symmetric)
        self.alpha = nn.Parameter(torch.tensor(6.0))
        if not symmetric:
            self.floor = nn.Parameter(torch.tensor(-6.0))

    def _start(self, low: float, high: float) -> None:
        self.alpha.fill_(high)
        if not self.symmetric:
            self.floor.fill_(low)

    @property
    def low(self) -> Tensor:
        return -self.alpha.abs().clamp_min(_TINY) if self.symmetric else self.floor

    @property
    def step(self) -> Tensor:
        high = self.alpha.abs() if self.symmetric else self.alpha
        return ((high - self.low) / self.top).clamp_min(_TINY)

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _Affine.apply(x, self.low, self.step, self.top, False, 1.0)  # type: ignore[return-value]


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
        half = self.width.abs().clamp_min(_TINY)
        return -half if self.symmetric else self.centre - half

    @property
    def step(self) -> Tensor:
        return 2.0 * self.width.abs().clamp_min(_TINY) / self.top

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _Affine.apply(x, self.low, self.step, self.top, True, 1.0)  # type: ignore[return-value]


class DSQInput(InputQuantizer):
    """DSQ: learned ends of the range and softness; hard forward, a staircase of tanh backward."""

    method = "dsq"
    zero_coded = False

    def __init__(self, bits: int, symmetric: bool = False) -> None:
        super().__init__(bits, symmetric)
        self.upper = nn.Parameter(torch.tensor(1.0))
        if not symmetric:
            self.lower = nn.Parameter(torch.tensor(-1.0))
        self.alpha = nn.Parameter(torch.full((1,), 0.4))

    def _start(self, low: float, high: float) -> None:
        self.upper.fill_(high)
        if not self.symmetric:
            self.lower.fill_(low)

    @property
    def low(self) -> Tensor:
        return -self.upper.abs().clamp_min(_TINY) if self.symmetric else self.lower

    @property
    def step(self) -> Tensor:
        high = self.upper.abs() if self.symmetric else self.upper
        return ((high - self.low) / self.top).clamp_min(_TINY)

    def quantize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _Stairs.apply(x, self.low, self.step, self.alpha.clamp(0.05, 0.495), float(self.top))  # type: ignore


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
