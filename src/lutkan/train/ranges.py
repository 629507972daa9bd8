"""First ranges and steps of quantizers, by search for the least squared error."""

from __future__ import annotations

import torch
from torch import Tensor

from lutkan.errors import InputError
from lutkan.train.fake_quantize import TINY

__all__ = ["row_range", "search_range", "zero_coded_step"]

# Numbers of an input that its range is searched on.
_SEARCHED = 65536


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
    if most - least < TINY:
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


def zero_coded_step(x: Tensor, bits: int) -> float:
    """Find the step with which levels `-2^(bits-1) .. 2^(bits-1) - 1` are nearest to the numbers."""
    flat = x.detach().reshape(-1).float()
    flat = flat[:: max(1, flat.numel() // _SEARCHED)]
    if flat.numel() == 0 or not bool(torch.isfinite(flat).all()):
        raise InputError("calibration values that are empty, NaN or infinite", "finite numbers")
    half = 1 << (bits - 1)
    most = max(float(flat.max()) / (half - 1), -float(flat.min()) / half)
    if most < TINY:
        return 1.0 / half

    def error(step: float) -> float:
        codes = (flat / step + 0.5).floor().clamp(-half, half - 1)
        return float((flat - codes * step).square().mean())

    best = min((error(most * k / 40), most * k / 40) for k in range(2, 41))[1]
    return min((error(best * k / 40), best * k / 40) for k in range(36, 45))[1]


def row_range(w: Tensor, top: float) -> Tensor:
    """Return, for every row, the clipping level of least squared error for levels `-1 .. 1` in steps of `1 / top`.

    Levels without a zero are asked for by a `top` of half an odd number.
    """
    most = w.abs().amax(dim=1, keepdim=True).clamp_min(TINY)
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
