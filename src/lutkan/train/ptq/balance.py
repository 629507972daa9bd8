"""Scales moved between features and weights before rounding: AWQ and SmoothQuant on KAN layers.

Both multiply weights by t and divide what they meet by t. On a KAN layer only the features can be divided: `x / t`
does not pass through a basis. Features of an input code are a table, so the division costs nothing there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import SpecError
from lutkan.ir import Branch, EdgeBank, NamedFunction
from lutkan.tables.read_coded import ScaledBasis
from lutkan.train.ptq.rounding import WeightGrid, peak_grid

__all__ = ["ScaledBasis", "awq", "require_preserving", "smooth"]

F64 = NDArray[np.float64]
# Factors beyond this would leave features no digits in their eight bits.
_LARGEST = 16.0


def _bounded(t: F64) -> F64:
    """Bring factors to a geometric mean of 1 and into reach."""
    logs = np.log(np.maximum(t, 1e-30))
    return np.exp(np.clip(logs - logs.mean(), -np.log(_LARGEST), np.log(_LARGEST)))


def awq(W: F64, H: F64, bits: int, *, steps: int = 20) -> tuple[F64, WeightGrid]:
    """Search how far weights of strong features are scaled up before rounding (AWQ, arXiv 2306.00978).

    `t = (mean |f|)^a` with a from 0 to 1, each tried with rounding to nearest; the mean magnitude is taken as the root
    of the mean square, which H holds. Then the clipping of the scale is searched.

    Parameters
    ----------
    W : float64 [O, R]
    H : float64 [R, R]
        Second moments of the features.
    bits : int
    steps : int
        Values of a.

    Returns
    -------
    t : float64 [R]
    grid : WeightGrid
        For the weights `W * t`.
    """
    size = np.sqrt(np.diag(H))
    size = np.maximum(size, 1e-3 * max(float(size.max()), 1e-30))

    def cost(t: F64, grid: WeightGrid) -> float:
        error = grid.values(grid.nearest(W * t)) / t - W
        return float(np.einsum("or,or->", error @ H, error))

    tried = [_bounded(size**a) for a in np.linspace(0.0, 1.0, steps, endpoint=False)]
    best = min(tried, key=lambda t: cost(t, peak_grid(W * t, bits)))
    peak = peak_grid(W * best, bits)
    clipped = [WeightGrid(peak.scale * share, peak.low, peak.high) for share in np.linspace(0.5, 1.0, 11)]
    return best, min(clipped, key=lambda grid: cost(best, grid))


def smooth(W: F64, largest: F64, *, alpha: float = 0.5) -> F64:
    """Return SmoothQuant's factors on the feature side: `t = max|f|^a / max|w|^(1 - a)` (arXiv 2211.10438).

    Parameters
    ----------
    W : float64 [O, R]
    largest : float64 [R]
        Largest magnitude of each feature.
    alpha : float

    Returns
    -------
    float64 [R]
        The weights are to be multiplied by it, the features divided.
    """
    f = np.maximum(largest, 1e-3 * max(float(largest.max()), 1e-30))
    w = np.abs(W).max(axis=0)
    w = np.maximum(w, 1e-3 * max(float(w.max()), 1e-30))
    return _bounded(f**alpha / w ** (1 - alpha))


def require_preserving(branch: Branch, layer: str) -> None:
    """Refuse to divide the inputs of a branch, unless its edges are straight lines through zero.

    Raises
    ------
    SpecError
        With the reason.
    """
    bank = branch.bank
    straight = isinstance(bank, EdgeBank) and isinstance(bank.basis, NamedFunction) and bank.basis.name == "identity"
    if not straight or branch.pre:
        raise SpecError(
            f"layer {layer}: SmoothQuant on the inputs of {bank.describe()}",
            "edges that are multiples of x: only there is f(x / t) * t = f(x)",
            'balance features and weights instead: smooth_side="features"',
        )
