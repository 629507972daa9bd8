"""Polynomial and trigonometric bases in float64, with the conventions of the KAN libraries that use them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["bernstein", "chebyshev", "fourier", "gram", "jacobi", "legendre"]

F64 = NDArray[np.float64]


def chebyshev(x: F64, degree: int) -> F64:
    """Evaluate the Chebyshev polynomials of the first kind `T_0..T_degree`.

    Parameters
    ----------
    x : float64 array
        Any shape; |x| <= 1 in every KAN library, because a tanh comes first.
    degree : int

    Returns
    -------
    float64 array, shape `x.shape + (degree + 1,)`

    Examples
    --------
    >>> chebyshev(np.array([0.5]), 2)
    array([[ 1. ,  0.5, -0.5]])
    """
    return _three_terms(x, degree, lambda n: (2.0, 0.0, 1.0), first=(1.0, 0.0))


def legendre(x: F64, degree: int) -> F64:
    """Evaluate the Legendre polynomials `P_0..P_degree`; shapes as in `chebyshev`."""
    return _three_terms(x, degree, lambda n: ((2 * n + 1) / (n + 1), 0.0, n / (n + 1)), first=(1.0, 0.0))


def jacobi(x: F64, degree: int, a: float, b: float) -> F64:
    """Evaluate the (unnormalised) Jacobi polynomials `P_n^(a,b)`, `n = 0..degree`; shapes as in `chebyshev`.

    `(a, b) = (0, 0)` is Legendre, `(-.5, -.5)` is proportional to Chebyshev of the first kind.
    """

    def terms(n: int) -> tuple[float, float, float]:
        m = n + 1
        s = 2 * m + a + b
        scale = 2 * m * (m + a + b) * (s - 2)
        return (
            (s - 1) * s * (s - 2) / scale,
            (s - 1) * (a * a - b * b) / scale,
            2 * (m + a - 1) * (m + b - 1) * s / scale,
        )

    return _three_terms(x, degree, terms, first=((a + b + 2) / 2, (a - b) / 2))


def gram(x: F64, degree: int, beta_weights: F64) -> F64:
    """Evaluate the Gram polynomials of KAGN: `p_n = x p_{n-1} - beta_n p_{n-2}`; shapes as in `chebyshev`.

    Parameters
    ----------
    beta_weights : float64 [degree + 1]
        The trained factors; entry `n - 1` belongs to `p_n`, entries 0 and `degree` are never used.
    """

    def terms(n: int) -> tuple[float, float, float]:
        m = n + 1
        factor = (m + n) * (m - n) * n**2 / (m**2 / (4.0 * n**2 - 1.0))
        return 1.0, 0.0, factor * float(beta_weights[n])

    return _three_terms(x, degree, terms, first=(1.0, 0.0))


def bernstein(x: F64, degree: int) -> F64:
    """Evaluate the Bernstein polynomials of the given degree on [0, 1]; shapes as in `chebyshev`."""
    values = np.ones((*x.shape, 1))
    for _ in range(degree):
        grown = np.zeros((*x.shape, values.shape[-1] + 1))
        grown[..., :-1] += values * (1.0 - x[..., None])
        grown[..., 1:] += values * x[..., None]
        values = grown
    return values


def fourier(x: F64, frequencies: int) -> F64:
    """Evaluate `cos(kx)`, then `sin(kx)`, for `k = 1..frequencies`.

    Returns
    -------
    float64 array, shape `x.shape + (2 * frequencies,)`
    """
    angles = x[..., None] * np.arange(1, frequencies + 1)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=-1)


def _three_terms(x: F64, degree: int, terms, first: tuple[float, float]) -> F64:
    """Run `p_{n+1} = (A_n x + B_n) p_n - C_n p_{n-1}` from `p_0 = 1`, `p_1 = first[0] x + first[1]`."""
    values = np.empty((*x.shape, degree + 1))
    values[..., 0] = 1.0
    if degree >= 1:
        values[..., 1] = first[0] * x + first[1]
    for n in range(1, degree):
        a, b, c = terms(n)
        values[..., n + 1] = (a * x + b) * values[..., n] - c * values[..., n - 1]
    return values
