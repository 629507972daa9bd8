"""From real coefficients to integer codes with a scale an output: to the nearest code, or fitted to calibration rows.

Rounding to nearest treats every coefficient alone, and its errors add up: with 4 bits and hundreds of inputs that look
much the same on every row, to a large constant. The fit goes input by input and moves what is to be rounded so that
the next input makes good what the ones before it broke on the calibration rows (Lybrand and Saab, "A greedy algorithm
for quantizing neural networks", JMLR 2021; within one input, the update of Frantar et al., GPTQ, ICLR 2023). A code
stays within one step of its coefficient, so that the table remains sound where no calibration row has been.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FIT_ROWS", "Rounded", "fit_codes", "round_nearest"]

F64 = NDArray[np.float64]
#: Calibration rows that codes are fitted to.
FIT_ROWS = 2048
# Part of an input's mean squared weight that is added to each, so that rarely seen coefficients stay where they are.
_DAMPING = 0.02
# The largest shift before rounding, in steps: with rounding itself, a code is at most one step off.
_REACH = 0.5
# Weight of coefficients that no calibration row asks for when a scale is chosen by weight.
_UNSEEN = 1e-2
# Beyond this the squares of weights are no longer worth summing up.
_HUGE = 1e30
_SHRINKS = np.linspace(0.3, 1.0, 29)


@dataclass(frozen=True, eq=False)
class Rounded:
    """Codes and what they cost.

    Attributes
    ----------
    codes : int8 or int16, shape of the coefficients
    scale : float64 [out]
    residual : float64 [N, out] or None
        Error of the sums on the calibration rows, where the codes were fitted.
    """

    codes: NDArray[Any]
    scale: F64
    residual: F64 | None = None


def round_nearest(values: F64, bits: int) -> Rounded:
    """Round to symmetric codes with a scale an output; below 8 bits the scale clips where that lowers the error.

    Parameters
    ----------
    values : float64 [..., out]
    bits : int

    Examples
    --------
    >>> round_nearest(np.array([[1.0], [-0.5]]), 8).codes.ravel()
    array([127, -64], dtype=int8)
    """
    flat = values.reshape(-1, values.shape[-1])
    scale = _clipped_scale(flat, np.ones((len(flat), 1)), bits) if bits < 8 else _peak_scale(flat, bits)
    return Rounded(_codes(values / scale, bits), scale)


def fit_codes(coefficients: F64, weights: Callable[[int], F64], bits: int, residual: F64 | None = None) -> Rounded:
    """Round coefficients one input after the other, each making good the error so far on the calibration rows.

    Parameters
    ----------
    coefficients : float64 [in, rows, out]
    weights : callable
        Input -> float64 [N, rows], what multiplies its rows on every calibration row. What is huge or not finite
        counts as 0.
    bits : int
    residual : float64 [N, out], optional
        Error that is there already.
    """
    n_in, _, n_out = coefficients.shape
    flat = coefficients.reshape(-1, n_out)
    scales = [_peak_scale(flat, bits)]
    if bits < 8:  # by coefficients alone, and by what the rows ask for: the fit tells which one is better
        asked = np.concatenate([np.square(_usable(weights(i))).mean(axis=0) for i in range(n_in)])
        by_rows = asked[:, None] + _UNSEEN * max(float(asked.max()), 1e-30)
        scales = [_clipped_scale(flat, np.ones_like(by_rows), bits), _clipped_scale(flat, by_rows, bits)]
    scale = np.concatenate(scales)
    exact = np.tile(coefficients, len(scales)) / scale
    codes = np.empty(exact.shape)
    start = 0.0 if residual is None else np.tile(residual, len(scales)) / scale
    error = np.zeros((len(weights(0)), scale.size)) + start
    for i in range(n_in):
        seen = _usable(weights(i))
        codes[i] = _fit_input(exact[i], seen, error, bits)
        error += seen @ (codes[i] - exact[i])
    error *= scale
    size = np.square(error).sum(axis=0).reshape(len(scales), n_out)
    best = size.argmin(axis=0) * n_out + np.arange(n_out)
    return Rounded(_codes(codes[..., best], bits), scale[best], error[:, best])


def _usable(weights: F64) -> F64:
    return np.where(np.abs(weights) < _HUGE, weights, 0.0)


def _fit_input(exact: F64, seen: F64, error: F64, bits: int) -> F64:
    """Choose the codes of one input: float64 [rows, columns], in steps."""
    gram = seen.T @ seen
    damped = gram + (_DAMPING * np.trace(gram) / len(gram) + 1e-9) * np.eye(len(gram))
    wanted = exact - np.linalg.solve(damped, seen.T @ error)
    onward = np.linalg.cholesky(np.linalg.inv(damped)).T
    codes = np.empty_like(wanted)
    for row in range(len(wanted)):
        near = np.clip(wanted[row], exact[row] - _REACH, exact[row] + _REACH)
        codes[row] = _nearest(near, bits)
        wanted[row + 1 :] -= np.outer(onward[row, row + 1 :] / onward[row, row], wanted[row] - codes[row])
    return codes


def _nearest(steps: F64, bits: int) -> F64:
    top = (1 << (bits - 1)) - 1
    return np.clip(np.rint(steps), -top, top)


def _codes(steps: F64, bits: int) -> NDArray[Any]:
    return np.ascontiguousarray(_nearest(steps, bits), dtype=np.int16 if bits == 16 else np.int8)


def _peak_scale(values: F64, bits: int) -> F64:
    """Return the scale of each column at which the largest value has the largest code."""
    peak = np.abs(values).max(axis=0)
    return np.where(peak > 0, peak / ((1 << (bits - 1)) - 1), 1.0)


def _clipped_scale(values: F64, importance: F64, bits: int) -> F64:
    """Shrink the scale of each column to what gives the smallest weighted squared rounding error."""
    scale = _peak_scale(values, bits)
    best, error = scale, np.full(scale.shape, np.inf)
    for shrink in _SHRINKS:
        trial = scale * shrink
        found = (importance * (_nearest(values / trial, bits) * trial - values) ** 2).sum(axis=0)
        best = np.where(found < error, trial, best)
        error = np.minimum(found, error)
    return best
