"""Checkpoints made on the spot for tests of the importers, and the plain per-edge loops that say what they mean."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def weights(seed: int, *shape: int) -> np.ndarray:
    """Return float32 numbers as a trained tensor has them."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def rows(n_in: int, n: int = 41) -> np.ndarray:
    """Return inputs in and around [-1, 1], far ones and zeros among them."""
    x = np.random.default_rng(7).uniform(-2.5, 2.5, size=(n, n_in))
    x[:2] = 0.0
    x[2] *= 3.0
    return x


def sum_of_edges(x: np.ndarray, n_out: int, edge: Callable[[int, int, np.ndarray], np.ndarray]) -> np.ndarray:
    """Return `y[:, j] = sum_i edge(i, j, x[:, i])`, one edge at a time."""
    y = np.zeros((len(x), n_out))
    for i in range(x.shape[1]):
        for j in range(n_out):
            y[:, j] += edge(i, j, x[:, i])
    return y


def bspline(x: np.ndarray, knots: np.ndarray, degree: int, index: int) -> np.ndarray:
    """Return one B-spline by the Cox-de Boor recursion, half-open intervals."""
    t = np.asarray(knots, dtype=np.float64)
    if degree == 0:
        return ((x >= t[index]) & (x < t[index + 1])).astype(np.float64)
    rising = (x - t[index]) / (t[index + degree] - t[index]) * bspline(x, t, degree - 1, index)
    falling = t[index + degree + 1] - x
    return rising + falling / (t[index + degree + 1] - t[index + 1]) * bspline(x, t, degree - 1, index + 1)


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """Return torch's LayerNorm over the last axis."""
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + eps) * weight + bias


def silu(x: np.ndarray) -> np.ndarray:
    """Return `x * sigmoid(x)`."""
    return x / (1.0 + np.exp(-x))


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-12) -> bool:
    """Tell whether two outputs agree relative to 1 + |y|."""
    return found.shape == expected.shape and bool(
        np.all(np.abs(found - expected) <= tolerance * (1 + np.abs(expected)))
    )


def prefixed(state: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Return the state_dict of a module that holds this one at `prefix`."""
    return {f"{prefix}.{name}": value for name, value in state.items()}
