"""fast-kan and faster-kan: bumps on shared centres, over inputs that a LayerNorm has normalised.

fast-kan (github.com/ZiyaoLi/fast-kan; also torch-conv-kan's dense FastKANLayer):
`y = spline_linear(exp(-((LN(x) - grid) / denominator)^2)) + base_linear(act(x))`. The Gaussians see `LN(x)`, the base
branch the raw `x`. faster-kan (github.com/AthanasiosDelis/faster-kan): `y = spline_linear(1 - tanh(LN(x) - grid)^2)`;
`rbf.inv_denominator` is stored and, at commit 3bcabc2, not part of the forward pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lutkan.adapters.activations import activation_attribute
from lutkan.adapters.checkpoint import LayerTensors
from lutkan.adapters.family import Family
from lutkan.adapters.norms import LAYERNORM_EPS, eps_attribute, layer_norm
from lutkan.adapters.options import LayerOptions
from lutkan.errors import ImportModelError
from lutkan.ir import RSWAF, Branch, EdgeBank, GaussianRBF, KANLayer, NamedFunction, Step

__all__ = ["FASTER_KAN", "FAST_KAN"]


def _bumps(tensors: LayerTensors, n_in: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres [C] and the coefficients [in, C, out] of `spline_linear.weight` [out, in * C]."""
    centres = tensors.take("rbf.grid", None)
    count = centres.size
    weight = tensors.take("spline_linear.weight", None, None if n_in is None else n_in * count)
    if weight.shape[1] % count:
        raise ImportModelError(
            f"tensor {tensors.full_name('spline_linear.weight')!r} has {weight.shape[1]} columns",
            f"a multiple of the {count} centres of {tensors.full_name('rbf.grid')!r}",
        )
    return centres, weight.reshape(weight.shape[0], -1, count).transpose(1, 2, 0)


def _width(tensors: LayerTensors, *vectors: str) -> int | None:
    """Return the number of inputs that one of the other tensors tells."""
    return next((tensors.take(name).shape[-1] for name in vectors if name in tensors), None)


def _read_fast(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    has_norm = "layernorm.weight" in tensors or "layernorm.bias" in tensors
    has_base = "base_linear.weight" in tensors or "base_linear.bias" in tensors
    centres, coefficients = _bumps(tensors, _width(tensors, "layernorm.weight", "base_linear.weight"))
    n_in, count, n_out = coefficients.shape
    for key, actual in (
        ("input_dim", n_in),
        ("output_dim", n_out),
        ("num_grids", count),
        ("grid_min", float(centres.min())),
        ("grid_max", float(centres.max())),
    ):
        options.check(key, actual)
    options.check("use_layernorm", has_norm, entry_only=True)

    norm = ()
    applied = False
    if has_norm:
        why = "the default of fast-kan's forward"
        applied = options.flag("use_layernorm", True, why=why, entry_keys=("layernorm_applied",))
        if applied:
            norm = (layer_norm(tensors, "layernorm", n_in, options),)
        else:
            tensors.skip("layernorm.weight")
            tensors.skip("layernorm.bias")
    else:
        options.check("use_layernorm", False)
        options.check("layernorm_applied", False)

    if count > 1:
        spread = float((centres.max() - centres.min()) / (count - 1))
        why = "fast-kan's default, (max - min) / (n - 1) of rbf.grid; a value given by hand is not stored"
        width = options.number("denominator", spread, why=why, above=0)
    else:
        width = options.number("denominator", why="one centre alone does not tell it", above=0)
    branches = [Branch(EdgeBank(GaussianRBF(centres, width), coefficients, role="spline"), norm)]

    bias = None
    if has_base:
        options.check("use_base_update", True)
        weight = tensors.take("base_linear.weight", n_out, n_in)
        bias = tensors.take("base_linear.bias", n_out)
        why = "fast-kan's default; not stored in a state_dict"
        activation = options.activation("base_activation", "silu", why=why)
        branches.append(Branch(EdgeBank(NamedFunction(activation), weight.T[:, None, :], role="base")))
    else:
        why = "no base_linear tensors; early faster-kan checkpoints look the same and mean something else"
        options.flag("use_base_update", False, why=why)
        options.check("use_base_update", False)
    return (KANLayer(tensors.path, tuple(branches), bias),)


def _fast_attributes(module: Any) -> dict[str, Any]:
    config: dict[str, Any] = {"use_base_update": getattr(module, "base_linear", None) is not None}
    config |= activation_attribute(module, "base_activation", "base_activation")
    config |= eps_attribute(module, "layernorm")
    rbf = getattr(module, "rbf", None)
    if hasattr(rbf, "inv_denominator"):
        raise ImportModelError(
            f"{type(module).__name__}.rbf is a {type(rbf).__name__} with a plain inv_denominator",
            "fast-kan's Gaussians: early faster-kan layers have the same tensors and another basis",
            "use family='generic'",
        )
    denominator = getattr(rbf, "denominator", None)
    return config if denominator is None else config | {"denominator": float(denominator)}


FAST_KAN = Family(
    name="fast-kan",
    anchor="spline_linear.weight",
    claims=lambda names: "rbf.inv_denominator" not in names,
    read_layer=_read_fast,
    keys={
        "base_activation": "activation of the base branch; 'silu' is taken, and said so",
        "denominator": "width of the Gaussians; (max - min) / (n - 1) of rbf.grid is taken, and said so",
        "use_layernorm": "whether the forward pass applies the LayerNorm; "
        "true is taken where its tensors exist, and said so",
        "layernorm_eps": LAYERNORM_EPS,
        "use_base_update": "whether there is a base branch; taken from the tensors, and said so where there is none",
    },
    layer_keys=("input_dim", "output_dim", "num_grids", "grid_min", "grid_max", "layernorm_applied"),
    attributes=_fast_attributes,
)


def _read_faster(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    centres, coefficients = _bumps(tensors, _width(tensors, "layernorm.weight"))
    n_in, count, n_out = coefficients.shape
    norm = layer_norm(tensors, "layernorm", n_in, options)
    inverse = tensors.take("rbf.inv_denominator")
    if inverse.size != 1:
        where = tensors.full_name("rbf.inv_denominator")
        raise ImportModelError(f"tensor {where!r} has shape {list(inverse.shape)}", "one number")
    for key, actual in (("input_dim", n_in), ("output_dim", n_out), ("num_grids", count), ("exponent_used", 2)):
        options.check(key, actual)
    why = "faster-kan at commit 3bcabc2 stores rbf.inv_denominator and leaves it out of its forward pass"
    used = options.flag("inv_denominator_used_in_forward", False, why=why)
    basis = RSWAF(centres, float(inverse.reshape(-1)[0]) if used else 1.0)
    return (KANLayer(tensors.path, (Branch(EdgeBank(basis, coefficients, role="spline"), (norm,)),)),)


FASTER_KAN = Family(
    name="faster-kan",
    anchor="spline_linear.weight",
    claims=lambda names: True,
    read_layer=_read_faster,
    keys={
        "layernorm_eps": LAYERNORM_EPS,
        "inv_denominator_used_in_forward": "whether the forward pass multiplies by rbf.inv_denominator; "
        "false (commit 3bcabc2) is taken, and said so",
    },
    layer_keys=("input_dim", "output_dim", "num_grids", "exponent_used"),
    attributes=lambda module: eps_attribute(module, "layernorm"),
)
