"""A pykan-style network for two classes: training on one core, in the tensors that pykan saves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import RuntimeUnavailableError
from lutkan.lab.nets import Drawn

__all__ = ["CORE", "RECIPES", "Recipe", "as_efficient_kan", "extended_knots", "forward", "save", "train"]

F32 = NDArray[np.float32]
State = dict[str, F32]
Tensor = Any
Tensors = dict[str, Tensor]

CORE = (-1.0, 1.0)
_INTERVALS, _DEGREE = 5, 3
_STEP = (CORE[1] - CORE[0]) / _INTERVALS
# pykan's amplitude of the random splines that it starts from.
_NOISE = 0.3
# Rows that are evaluated at once in a full-batch step: 16 MB a basis of 78 inputs.
_BLOCK = 16_384


@dataclass(frozen=True)
class Recipe:
    """How a network is trained on binary cross-entropy.

    Attributes
    ----------
    epochs : int
    steps : int
        As many at least; small tables take more epochs for it.
    batch : int or None
        Rows a step; None takes all of them.
    learning_rate, weight_decay : float
    cosine : bool
        Whether the learning rate falls to zero along a cosine.
    """

    epochs: int
    steps: int
    batch: int | None
    learning_rate: float
    weight_decay: float
    cosine: bool

    def epochs_of(self, rows: int) -> int:
        """Return how often the rows are gone through.

        Examples
        --------
        >>> RECIPES["clean"].epochs_of(1_000_000), RECIPES["clean"].epochs_of(256)
        (30, 2500)
        """
        return max(self.epochs, -(-self.steps // -(-rows // (self.batch or rows))))


#: By protocol: ours, and that of the published study (Adam on all rows at once).
RECIPES = {
    "clean": Recipe(epochs=30, steps=2500, batch=256, learning_rate=2e-3, weight_decay=1e-4, cosine=True),
    "paper": Recipe(epochs=200, steps=0, batch=None, learning_rate=1e-3, weight_decay=0.0, cosine=False),
}


def extended_knots() -> NDArray[np.float64]:
    """Return the knots of G = 5 intervals on [-1, 1], with k = 3 more on each side.

    Examples
    --------
    >>> extended_knots()[[0, 3, -4, -1]].round(2).tolist()
    [-2.2, -1.0, 1.0, 2.2]
    """
    return CORE[0] + _STEP * np.arange(-_DEGREE, _INTERVALS + _DEGREE + 1, dtype=np.float64)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise RuntimeUnavailableError("training needs PyTorch, which is absent", fix="pip install torch") from error
    return torch


def train(
    widths: Sequence[int],
    X: F32,
    y: NDArray[np.int64],
    recipe: Recipe,
    seed: int = 0,
    on_epoch: Callable[[int, float], None] | None = None,
) -> tuple[State, list[float]]:
    """Train a network with one output, positive for class 1.

    Parameters
    ----------
    widths : sequence of int
    X : float32 [N, widths[0]]
    y : int64 [N]
    recipe : Recipe
    seed : int
        Of the initial weights and of the order of the rows.
    on_epoch : callable, optional
        Called with the number of the epoch and its mean loss.

    Returns
    -------
    dict of float32 arrays
        A state_dict with pykan's names.
    list of float
        The mean loss of every epoch.

    Raises
    ------
    RuntimeUnavailableError
        PyTorch is not installed.
    """
    torch = _torch()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order
    try:
        return _train(torch, widths, X, y, recipe, seed, on_epoch)
    finally:
        torch.set_num_threads(threads)


def _train(
    torch: Any,
    widths: Sequence[int],
    X: F32,
    y: NDArray[np.int64],
    recipe: Recipe,
    seed: int,
    on_epoch: Callable[[int, float], None] | None,
) -> tuple[State, list[float]]:
    epochs = recipe.epochs_of(len(X))
    generator = torch.Generator().manual_seed(seed)
    fixed, trained = _initial(torch, widths, generator)
    tensors = fixed | trained
    optimizer = torch.optim.AdamW(
        list(trained.values()), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, eps=1e-8
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs) if recipe.cosine else None
    rows, labels = torch.from_numpy(X), torch.from_numpy(y.astype(np.float32))
    losses = []
    for epoch in range(epochs):
        total = 0.0
        order = torch.arange(len(rows)) if recipe.batch is None else torch.randperm(len(rows), generator=generator)
        for step in order.split(recipe.batch or len(rows)):
            optimizer.zero_grad()
            # The gradient of a step is summed over blocks, so that a step of all rows fits into memory.
            for block in step.split(_BLOCK):
                logits = forward(tensors, rows[block])[:, 0]
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels[block], reduction="sum")
                (loss / len(step)).backward()
                total += loss.item()
            optimizer.step()
        if schedule is not None:
            schedule.step()
        losses.append(total / len(rows))
        if on_epoch is not None:
            on_epoch(epoch + 1, losses[-1])
    return {name: tensor.detach().numpy().astype(np.float32) for name, tensor in tensors.items()}, losses


def _initial(torch: Any, widths: Sequence[int], generator: Any) -> tuple[Tensors, Tensors]:
    """Return the tensors that stay and those that are trained, as pykan starts them."""
    fixed: Tensors = {}
    trained: Tensors = {}
    for number, (n_in, n_out) in enumerate(pairwise(widths)):
        bound = 1.0 / math.sqrt(n_in)
        at = f"act_fun.{number}."
        noise = torch.rand(n_in, n_out, _INTERVALS + _DEGREE, generator=generator) - 0.5
        trained[at + "coef"] = (_NOISE / _INTERVALS) * noise
        trained[at + "scale_base"] = (2 * torch.rand(n_in, n_out, generator=generator) - 1) * bound
        trained[at + "scale_sp"] = torch.full((n_in, n_out), bound)
        fixed[at + "grid"] = torch.from_numpy(extended_knots()).float().repeat(n_in, 1)
        fixed[at + "mask"] = torch.ones(n_in, n_out)
        fixed[f"symbolic_fun.{number}.mask"] = torch.zeros(n_out, n_in)
        fixed[f"symbolic_fun.{number}.affine"] = torch.zeros(n_out, n_in, 4)
        for kind in ("node", "subnode"):
            fixed[f"{kind}_bias_{number}"] = torch.zeros(n_out)
            fixed[f"{kind}_scale_{number}"] = torch.ones(n_out)
    for tensor in trained.values():
        tensor.requires_grad_(True)
    return fixed, trained


def forward(tensors: Tensors, x: Tensor) -> Tensor:
    """Map [N, in] to [N, out]: SiLU and splines, summed over the edges in two products a layer."""
    torch = _torch()
    middles = CORE[0] + _STEP * (torch.arange(_INTERVALS + _DEGREE) - 1)
    for number in range(sum(name.endswith(".coef") for name in tensors)):
        at = f"act_fun.{number}."
        coef, base, scale = (tensors[at + name] for name in ("coef", "scale_base", "scale_sp"))
        # With t the distance from the middle in intervals, a cubic B-spline is (max(2-t, 0)^3 - 4 max(1-t, 0)^3) / 6.
        t = ((x.unsqueeze(-1) - middles) / _STEP).abs()
        outer, inner = (2 - t).clamp_min(0), (1 - t).clamp_min(0)
        basis = (outer * outer * outer - 4 * (inner * inner * inner)) / 6
        weights = (scale.unsqueeze(-1) * coef).transpose(1, 2).flatten(0, 1)
        x = torch.nn.functional.silu(x) @ base + basis.flatten(1) @ weights
    return x


def as_efficient_kan(state: State) -> Drawn:
    """Return the same function in the tensors of efficient-kan, in which the rival implementations take networks."""
    layers = sum(name.endswith(".coef") for name in state)
    found: State = {}
    widths: list[int] = []
    for number in range(layers):
        coef, base, scale, grid = (
            state[f"act_fun.{number}.{name}"] for name in ("coef", "scale_base", "scale_sp", "grid")
        )
        widths.append(coef.shape[0])
        tensors = {
            "base_weight": base.T,
            "spline_weight": coef.transpose(1, 0, 2),
            "spline_scaler": scale.T,
            "grid": grid,
        }
        found |= {f"layers.{number}.{name}": np.ascontiguousarray(array) for name, array in tensors.items()}
    return Drawn("efficient-kan", (*widths, state[f"act_fun.{layers - 1}.coef"].shape[1]), found)


def save(state: State, path: Path) -> None:
    """Write a state_dict as safetensors, at once or not at all."""
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{np.random.default_rng().integers(1 << 32):08x}.part")
    save_file(state, partial, metadata={"format": "pt"})
    partial.replace(path)
