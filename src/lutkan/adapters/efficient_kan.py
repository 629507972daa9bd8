"""efficient-kan: `KANLinear` of github.com/Blealtan/efficient-kan, the layout most often copied.

`y_j = sum_i base_weight[j,i] * act(x_i) + spline_scaler[j,i] * sum_m spline_weight[j,i,m] * B_m(x_i; grid[i])`.
The grid is the extended knot vector, so degree and G follow from the shapes. Tensors are copied, never recomputed:
upstream's `update_grid` leaves the scaler applied twice, and the model means what its tensors say.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lutkan.adapters.checkpoint import LayerTensors
from lutkan.adapters.family import Family
from lutkan.adapters.options import LayerOptions
from lutkan.errors import ImportModelError
from lutkan.ir import Branch, BSpline, EdgeBank, KANLayer, NamedFunction, Step
from lutkan.numerics import bspline

__all__ = ["EFFICIENT_KAN", "activation_name", "spline_layer"]

BASE_ACTIVATION = "activation of the base branch; 'silu' is taken when absent, and said so"


def activation_name(function: Any) -> str | None:
    """Name a torch activation, module or function, or return None when it is not known.

    Parameters
    ----------
    function : object
        `torch.nn.SiLU()`, `torch.nn.functional.gelu`, a class such as `torch.nn.SiLU`, ...
    """
    name = getattr(function, "__name__", None) or type(function).__name__
    name = {"swish": "silu", "zero": "zero"}.get(name.lower(), name.lower())
    if name == "gelu" and getattr(function, "approximate", "none") == "tanh":
        return "gelu_tanh"
    return name if name in ("silu", "gelu", "relu", "tanh", "sigmoid", "identity", "softplus", "mish") else None


def spline_layer(
    path: str,
    knots: np.ndarray,
    degree: int,
    spline_weight: np.ndarray,
    base_weight: np.ndarray,
    scaler: np.ndarray | None,
    base_activation: str,
    bias: np.ndarray | None = None,
) -> KANLayer:
    """Build a layer from efficient-kan's arrays: weights [out, in(, C)], knots [in or 1, T]."""
    repeated = bspline.has_repeated_knots(np.asarray(knots, dtype=np.float64))
    if repeated.any():
        raise ImportModelError(
            f"layer {path!r}: the grid of input {int(np.argmax(repeated))} repeats a knot",
            "strictly ascending knots: this library divides by their distance and answers NaN",
            "retrain, or update the grid with data that vary",
        )
    spline = EdgeBank(
        BSpline(knots, degree), spline_weight.transpose(1, 2, 0), None if scaler is None else scaler.T, role="spline"
    )
    base = EdgeBank(NamedFunction(base_activation), base_weight.T[:, None, :], role="base")
    return KANLayer(path, (Branch(spline), Branch(base)), bias)


def _read(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    base_weight = tensors.take("base_weight", None, None)
    n_out, n_in = base_weight.shape
    grid = tensors.take("grid", n_in, None)
    spline_weight = tensors.take("spline_weight", n_out, n_in, None)
    degree = grid.shape[1] - 1 - spline_weight.shape[2]
    intervals = spline_weight.shape[2] - degree
    if degree < 1 or intervals < 1:
        raise ImportModelError(
            f"tensor {tensors.full_name('grid')!r} has {grid.shape[1]} knots for {spline_weight.shape[2]} coefficients",
            "G + 2k + 1 knots for G + k coefficients with k >= 1 and G >= 1",
        )
    scaler = tensors.take("spline_scaler", n_out, n_in) if "spline_scaler" in tensors else None
    for key, actual in (
        ("in_features", n_in),
        ("out_features", n_out),
        ("grid_size", intervals),
        ("spline_order", degree),
        ("enable_standalone_scale_spline", scaler is not None),
    ):
        options.check(key, actual)
    activation = options.get("base_activation", "silu", why="efficient-kan's default; not stored in a state_dict")
    return (spline_layer(tensors.path, grid, degree, spline_weight, base_weight, scaler, activation),)


def _attributes(module: Any) -> dict[str, Any]:
    function = getattr(module, "base_activation", None)
    if function is None:
        return {}
    name = activation_name(function)
    if name is None:
        raise ImportModelError(
            f"base_activation {function!r} of {type(module).__name__}",
            "silu, gelu, relu, tanh, sigmoid, identity, softplus, mish",
            "pass config={'base_activation': ...} if it equals one of them, or use family='generic'",
        )
    return {"base_activation": name}


EFFICIENT_KAN = Family(
    name="efficient-kan",
    anchor="spline_weight",
    claims=lambda names: {"base_weight", "spline_weight", "grid"} <= names,
    read_layer=_read,
    keys={
        "base_activation": BASE_ACTIVATION,
        "spline_order": "cross-checked with the shapes",
        "grid_size": "cross-checked with the shapes",
    },
    layer_keys=("in_features", "out_features", "enable_standalone_scale_spline"),
    attributes=_attributes,
)
