"""BRECQ: rounding learned for a whole layer at once, its errors weighed by what they do to the loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lutkan.train.ptq.rounding import RoundingChoice, WeightGrid

__all__ = ["brecq"]

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]


def brecq(
    W: F64,
    F: F32,
    target: F64,
    grid: WeightGrid,
    importance: F64,
    *,
    iterations: int = 300,
    lr: float = 0.1,
    regularization: float = 1.0,
    warm: float = 0.2,
    batch: int = 256,
    seed: int = 0,
) -> NDArray[np.int16]:
    """Learn the rounding of a block against its outputs, weighed by the diagonal Fisher information.

    The block is one KAN layer: base and spline branch side by side (BRECQ, arXiv 2102.05426). Minimises
    `sum importance * (y - W~ f)^2` with AdaRound's choices, on batches of rows.

    Parameters
    ----------
    W : float64 [O, R]
    F : float32 [N, R]
        Features of the quantized inputs.
    target : float64 [N, O]
        Outputs of the real layer on real inputs, without bias.
    grid : WeightGrid
    importance : float64 [N, O]
        Squared gradients of the loss by the outputs.
    iterations, lr, regularization, warm
        As in `adaround`.
    batch : int
    seed : int
        Of the order of the rows.

    Returns
    -------
    int16 [O, R]
    """
    rng = np.random.default_rng(seed)
    scale = np.broadcast_to(grid.scale, W.shape).astype(np.float32)
    # Rows that the model is sure of have hardly any gradient; a floor keeps them in the picture.
    weight = (importance / max(float(importance.mean()), 1e-30) + 0.1).astype(np.float32)
    goal = target.astype(np.float32)
    nearest = grid.values(grid.nearest(W)).astype(np.float32)
    start = np.maximum(np.mean(weight * (F @ nearest.T - goal) ** 2, axis=0), 1e-20)
    weight *= (2.0 * W.shape[1] / start).astype(np.float32)
    choice = RoundingChoice(W, grid)
    for step in range(iterations):
        rows = rng.integers(0, len(F), size=min(batch, len(F)))
        f = F[rows]
        error = f @ (choice.soft() * scale).T - goal[rows]
        gradient = (weight[rows] * error).T @ f / np.float32(len(rows))
        choice.descend(gradient * scale, step, iterations, lr, regularization, warm)
    return choice.hard()
