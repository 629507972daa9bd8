"""Networks trained for the quantization tables: four kinds of KAN, with the tensors that their libraries save.

Written from the formulas, as functions of a dictionary of tensors, for speed of training on one core:

* "efficient-kan": `y = base_weight silu(x) + sum_m (spline_scaler * spline_weight[m]) B_m(x)`, G = 5, k = 3;
* "fast-kan": `y = spline_linear(exp(-((LayerNorm(x) - grid) / width)^2)) + base_linear(silu(x))`, 8 Gaussians;
* "gram": `y = silu(LayerNorm(silu(Gram(tanh x)) W + base_weights silu(x)))`, degree 3;
* "pykan": `y = sum_i mask (scale_base silu(x) + scale_sp sum_m coef[m] B_m(x))`, G = 5, k = 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.adapters import import_model
from lutkan.errors import InputError
from lutkan.ir import Network

__all__ = ["FAMILIES", "Recipe", "Split", "digits_split", "feature_share", "import_trained", "train_network"]

Tensor = Any
Tensors = dict[str, Tensor]
FAMILIES = ("efficient-kan", "fast-kan", "gram", "pykan")

_INTERVALS, _DEGREE, _CENTRES, _POLYNOMIAL = 5, 3, 8, 3


@dataclass(frozen=True, eq=False)
class Split:
    """Rows in float32 and labels in int64, for training and for testing."""

    X_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    X_test: NDArray[np.float32]
    y_test: NDArray[np.int64]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: AdamW under a cosine schedule.

    Examples
    --------
    >>> Recipe().epochs
    40
    """

    epochs: int = 40
    batch: int = 64
    lr: float = 2e-3
    weight_decay: float = 1e-4


def digits_split(seed: int = 0) -> Split:
    """Return the 8x8 digits of scikit-learn, pixels scaled to [-1, 1]: a fifth of every class, 355 rows, for testing.

    Raises
    ------
    InputError
        scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError(
            "the digits come with scikit-learn, which is absent", fix="pip install scikit-learn"
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    X, y = (np.asarray(pixels) / 8 - 1).astype(np.float32), np.asarray(labels).astype(np.int64)
    rng = np.random.RandomState(seed)  # the protocol of the published comparison names this generator
    test = np.zeros(len(y), dtype=bool)
    for label in range(10):
        rows = rng.permutation(np.flatnonzero(y == label))
        test[rows[: len(rows) // 5]] = True
    order = rng.permutation(np.flatnonzero(~test))
    return Split(X[order], y[order], X[test], y[test])


def train_network(
    family: str,
    widths: tuple[int, ...],
    X: NDArray[np.float32],
    y: NDArray[np.int64],
    *,
    recipe: Recipe | None = None,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Train a classifier and return its state_dict as arrays.

    Parameters
    ----------
    family : str
        One of `FAMILIES`.
    widths : tuple of int
    X : float32 [N, widths[0]]
    y : int64 [N]
    recipe : Recipe, optional
    seed : int
        Of the initial weights and of the order of the rows.
    progress : callable, optional
        Called with epoch and mean loss.

    Raises
    ------
    InputError
        An unknown family.
    """
    import torch

    if family not in FAMILIES:
        raise InputError(f"family {family!r}", ", ".join(FAMILIES))
    recipe = recipe or Recipe()
    generator = torch.Generator().manual_seed(seed)
    fixed, trained = _initial(family, widths, generator)
    for tensor in trained.values():
        tensor.requires_grad_(True)
    tensors = fixed | trained
    optimizer = torch.optim.AdamW(list(trained.values()), lr=recipe.lr, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs)
    rows, labels = torch.from_numpy(X), torch.from_numpy(y)
    for epoch in range(recipe.epochs):
        total = 0.0
        for chosen in torch.randperm(len(rows), generator=generator).split(recipe.batch):
            loss = torch.nn.functional.cross_entropy(_forward(family, tensors, rows[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        schedule.step()
        if progress is not None:
            progress(epoch + 1, total / len(rows))
    return {name: tensor.detach().numpy().astype(np.float32) for name, tensor in tensors.items()}


def import_trained(family: str, state: dict[str, NDArray[np.float32]] | Path) -> Network:
    """Import what `train_network` returned, as arrays or as a safetensors file."""
    config: dict[str, Any] | None = {"act": "silu"} if family == "gram" else None
    return import_model(state, config=config)


def feature_share(family: str, state: dict[str, NDArray[np.float32]], X: NDArray[np.float32]) -> tuple[float, float]:
    """Return the part of a float forward pass in torch that basis functions and activations take, and its seconds.

    Splines are computed from the closed form here, which is kinder to the float network than the usual recursion.
    """
    import time

    import torch

    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in state.items()}
    x = torch.from_numpy(X)

    def timed(weighted: bool) -> float:
        times = []
        with torch.inference_mode():
            for _ in range(6):
                started = time.process_time()
                _forward(family, tensors, x, weighted=weighted)
                times.append(time.process_time() - started)
        return max(min(times), 1e-9)

    whole = timed(True)
    return min(timed(False) / whole, 1.0), whole


def _initial(family: str, widths: tuple[int, ...], generator: Any) -> tuple[Tensors, Tensors]:
    """Return the tensors that stay and those that are trained."""
    import torch

    def uniform(bound: float, *shape: int) -> Tensor:
        return (2 * torch.rand(*shape, generator=generator) - 1) * bound

    fixed: Tensors = {}
    trained: Tensors = {}
    for number, (n_in, n_out) in enumerate(pairwise(widths)):
        bound = 1 / math.sqrt(n_in)
        at = f"layers.{number}."
        if family == "efficient-kan":
            fixed[at + "grid"] = _knots(n_in)
            trained[at + "base_weight"] = uniform(bound, n_out, n_in)
            trained[at + "spline_weight"] = uniform(0.05 / _INTERVALS, n_out, n_in, _INTERVALS + _DEGREE)
            trained[at + "spline_scaler"] = uniform(bound, n_out, n_in)
        elif family == "fast-kan":
            fixed[at + "rbf.grid"] = torch.linspace(-2.0, 2.0, _CENTRES)
            trained[at + "layernorm.weight"] = torch.ones(n_in)
            trained[at + "layernorm.bias"] = torch.zeros(n_in)
            normal = torch.randn(n_out, n_in * _CENTRES, generator=generator)
            trained[at + "spline_linear.weight"] = 0.1 * normal.clamp(-2, 2)
            trained[at + "base_linear.weight"] = uniform(bound, n_out, n_in)
            trained[at + "base_linear.bias"] = uniform(bound, n_out)
        elif family == "gram":
            xavier = math.sqrt(6 / (n_in + n_out))
            trained[at + "grams_basis_weights"] = uniform(
                xavier / math.sqrt(_POLYNOMIAL + 1), n_in, n_out, _POLYNOMIAL + 1
            )
            trained[at + "base_weights"] = uniform(xavier, n_out, n_in)
            betas = torch.randn(_POLYNOMIAL + 1, generator=generator)
            trained[at + "beta_weights"] = betas / ((_POLYNOMIAL + 1) * n_in * (_POLYNOMIAL + 1))
            trained[at + "norm.weight"] = torch.ones(n_out)
            trained[at + "norm.bias"] = torch.zeros(n_out)
        else:
            at = f"act_fun.{number}."
            fixed[at + "grid"] = _knots(n_in)
            fixed[at + "mask"] = torch.ones(n_in, n_out)
            trained[at + "coef"] = uniform(0.15 / _INTERVALS, n_in, n_out, _INTERVALS + _DEGREE)
            trained[at + "scale_base"] = uniform(bound, n_in, n_out)
            trained[at + "scale_sp"] = torch.full((n_in, n_out), bound)
            fixed[f"symbolic_fun.{number}.mask"] = torch.zeros(n_out, n_in)
            fixed[f"symbolic_fun.{number}.affine"] = torch.zeros(n_out, n_in, 4)
            for kind in ("node", "subnode"):
                fixed[f"{kind}_bias_{number}"] = torch.zeros(n_out)
                fixed[f"{kind}_scale_{number}"] = torch.ones(n_out)
    return fixed, trained


def _knots(n_in: int) -> Tensor:
    import torch

    step = 2.0 / _INTERVALS
    knots = -1.0 + step * torch.arange(-_DEGREE, _INTERVALS + _DEGREE + 1, dtype=torch.float64)
    return knots.float().repeat(n_in, 1)


def _cubic(x: Tensor) -> Tensor:
    """All cubic B-splines on the uniform core grid: with `t` the distance from the middle in intervals,
    `(max(2 - t, 0)^3 - 4 max(1 - t, 0)^3) / 6`.
    """  # noqa: D205
    import torch

    step = 2.0 / _INTERVALS
    middles = -1.0 + step * (torch.arange(_INTERVALS + _DEGREE) - 1)
    t = ((x.unsqueeze(-1) - middles) / step).abs()
    outer, inner = (2 - t).clamp_min(0), (1 - t).clamp_min(0)
    return (outer * outer * outer - 4 * (inner * inner * inner)) / 6


def _gram(x: Tensor, betas: Tensor) -> Tensor:
    """Gram polynomials `p_n = x p_{n-1} - beta_n p_{n-2}`: [N, in] -> [N, in, degree + 1]."""
    import torch

    values = [torch.ones_like(x), x]
    for n in range(1, _POLYNOMIAL):
        m = n + 1
        factor = (m + n) * (m - n) * n**2 / (m**2 / (4.0 * n**2 - 1.0))
        values.append(x * values[-1] - factor * betas[n] * values[-2])
    return torch.stack(values, dim=-1)


def _forward(family: str, tensors: Tensors, x: Tensor, *, weighted: bool = True) -> Tensor:
    """Evaluate a network. Without `weighted` only the features are computed, on inputs of the right width."""
    import torch
    from torch.nn import functional as F

    number = 0
    while True:
        at = f"act_fun.{number}." if family == "pykan" else f"layers.{number}."
        part = {name[len(at) :]: tensor for name, tensor in tensors.items() if name.startswith(at)}
        if not part:
            return x
        base = F.silu(x)
        if family in ("efficient-kan", "pykan"):
            features = _cubic(x)
        elif family == "fast-kan":
            normed = F.layer_norm(x, x.shape[1:], part["layernorm.weight"], part["layernorm.bias"])
            width = 4.0 / (_CENTRES - 1)
            features = torch.exp(-(((normed.unsqueeze(-1) - part["rbf.grid"]) / width) ** 2))
        else:
            features = F.silu(_gram(torch.tanh(x), part["beta_weights"]))
        features = features.flatten(1)
        if not weighted:
            n_out = {"efficient-kan": "base_weight", "fast-kan": "base_linear.weight", "gram": "base_weights"}
            width_out = part["scale_base"].shape[1] if family == "pykan" else part[n_out[family]].shape[0]
            x = base[:, :width_out]
        elif family == "efficient-kan":
            weights = (part["spline_scaler"].unsqueeze(-1) * part["spline_weight"]).flatten(1)
            x = base @ part["base_weight"].T + features @ weights.T
        elif family == "pykan":
            weights = (part["mask"] * part["scale_sp"]).unsqueeze(-1) * part["coef"]
            x = base @ (part["mask"] * part["scale_base"]) + features @ weights.transpose(1, 2).flatten(0, 1)
        elif family == "fast-kan":
            x = features @ part["spline_linear.weight"].T
            x = x + F.linear(base, part["base_linear.weight"], part["base_linear.bias"])
        else:
            weights = part["grams_basis_weights"].transpose(1, 2).flatten(0, 1)
            x = features @ weights + base @ part["base_weights"].T
            x = F.silu(F.layer_norm(x, x.shape[1:], part["norm.weight"], part["norm.bias"]))
        number += 1
