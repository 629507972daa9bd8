"""Repairs around the rounding: least-squares refit of coefficients before it, bias correction after it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["bias_correction", "refit"]

F64 = NDArray[np.float64]


def refit(W: F64, H: F64, cross: F64, *, strength: float = 0.1) -> F64:
    """Refit weights so that quantized inputs give what real inputs gave: ridge regression around the old weights.

    Minimises `mean ||y - W' f||^2 + strength * mean(diag H) * ||W' - W||^2`.

    Parameters
    ----------
    W : float64 [O, R]
    H : float64 [R, R]
        Second moments of the features f of quantized inputs.
    cross : float64 [O, R]
        `mean y f'`, y being the outputs on real inputs.
    strength : float

    Returns
    -------
    float64 [O, R]

    Examples
    --------
    >>> refit(np.array([[1.0]]), np.array([[2.0]]), np.array([[3.0]]), strength=0.0)
    array([[1.5]])
    """
    ridge = strength * float(np.mean(np.diag(H)))
    system = H.copy()
    system[np.diag_indices(len(H))] += max(ridge, 1e-12 * float(np.trace(H)))
    return W + np.linalg.solve(system, (cross - W @ H).T).T


def bias_correction(target: F64, answer: F64) -> F64:
    """Return what to add to the bias so that the mean output stays: the mean of `target - answer` over rows.

    Parameters
    ----------
    target, answer : float64 [N, O]
        Outputs of the real and of the quantized layer.

    Returns
    -------
    float64 [O]
    """
    return (target - answer).mean(axis=0)
