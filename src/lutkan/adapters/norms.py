"""Normalisations that KAN layers carry inside: LayerNorm and, in evaluation mode, BatchNorm."""

from __future__ import annotations

from typing import Any

import numpy as np

from lutkan.adapters.checkpoint import LayerTensors
from lutkan.adapters.options import LayerOptions
from lutkan.ir import Affine, LayerNorm

__all__ = ["LAYERNORM_EPS", "batch_norm", "eps_attribute", "layer_norm"]

#: The table entry of the key that `layer_norm` reads.
LAYERNORM_EPS = "eps of the LayerNorm; 1e-5 (torch's default) is taken, and said so"


def layer_norm(tensors: LayerTensors, name: str, features: int, options: LayerOptions) -> LayerNorm:
    """Read `name.weight` and `name.bias` of a torch LayerNorm; eps comes from `layernorm_eps`."""
    weight = tensors.take(f"{name}.weight", features)
    bias = tensors.take(f"{name}.bias", features)
    eps = options.number("layernorm_eps", 1e-5, why="torch.nn.LayerNorm's default; not stored in a state_dict", above=0)
    return LayerNorm(features, eps, weight, bias)


def batch_norm(tensors: LayerTensors, name: str, features: int, options: LayerOptions) -> Affine:
    """Read a torch BatchNorm in evaluation mode as the affine map that it is; eps comes from `batchnorm_eps`."""
    weight = tensors.take(f"{name}.weight", features)
    bias = tensors.take(f"{name}.bias", features)
    mean = tensors.take(f"{name}.running_mean", features)
    variance = tensors.take(f"{name}.running_var", features)
    tensors.skip(f"{name}.num_batches_tracked")
    eps = options.number("batchnorm_eps", 1e-5, why="torch.nn.BatchNorm1d's default; not stored", above=0)
    scale = weight / np.sqrt(variance + eps)
    return Affine(scale, bias - mean * scale, origin="BatchNorm1d")


def eps_attribute(module: Any, attribute: str, key: str = "layernorm_eps") -> dict[str, Any]:
    """Read the eps of a normalisation inside a live module, as a config of one layer."""
    norm = getattr(module, attribute, None)
    return {} if norm is None else {key: float(norm.eps)}
