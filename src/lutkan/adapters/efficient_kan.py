"""efficient-kan: `KANLinear` of github.com/Blealtan/efficient-kan, the layout most often copied.

`y_j = sum_i base_weight[j,i] * act(x_i) + spline_scaler[j,i] * sum_m spline_weight[j,i,m] * B_m(x_i; grid[i])`.
The grid is the extended knot vector, so degree and G follow from the shapes. Tensors are copied, never recomputed:
upstream's `update_grid` leaves the scaler applied twice, and the model means what its tensors say.
"""

from __future__ import annotations

import numpy as np

from lutkan.adapters.activations import activation_attribute, activation_name
from lutkan.adapters.checkpoint import LayerTensors
from lutkan.adapters.family import Family
from lutkan.adapters.options import LayerOptions
from lutkan.errors import ImportModelError
from lutkan.ir import Activation, Affine, Branch, BSpline, EdgeBank, KANLayer, LayerNorm, NamedFunction, Step
from lutkan.numerics import bspline

__all__ = ["BASE_ACTIVATION", "EFFICIENT_KAN", "activation_name", "extended_knots", "spline_layer"]

BASE_ACTIVATION = "activation of the base branch; 'silu' is taken, and said so"


def spline_layer(
    path: str,
    knots: np.ndarray,
    degree: int,
    spline_weight: np.ndarray,
    base_weight: np.ndarray | None,
    scaler: np.ndarray | None,
    base_activation: str,
    bias: np.ndarray | None = None,
    *,
    pre: tuple[Affine | LayerNorm | Activation, ...] = (),
) -> KANLayer:
    """Build a layer from efficient-kan's arrays: weights [out, in(, C)], knots [in or 1, T].

    Parameters
    ----------
    path : str
        Name of the layer, for messages.
    knots, spline_weight, base_weight, scaler, bias : float64 arrays
        `base_weight`, `scaler` and `bias` may be None.
    degree : int
    base_activation : str
    pre : tuple of steps
        What the spline branch's input goes through first; the base branch sees the raw input.

    Raises
    ------
    ImportModelError
        Knots repeat: these libraries divide by their distance, or replace it, and no B-spline results.
    """
    repeated = bspline.has_repeated_knots(np.asarray(knots, dtype=np.float64))
    if repeated.any():
        raise ImportModelError(
            f"layer {path!r}: the grid of input {int(np.argmax(repeated))} repeats a knot",
            "strictly ascending knots: the library divides by their distance",
            "retrain, or update the grid with data that vary",
        )
    spline = EdgeBank(
        BSpline(knots, degree), spline_weight.transpose(1, 2, 0), None if scaler is None else scaler.T, role="spline"
    )
    branches = [Branch(spline, pre)]
    if base_weight is not None:
        branches.append(Branch(EdgeBank(NamedFunction(base_activation), base_weight.T[:, None, :], role="base")))
    return KANLayer(path, tuple(branches), bias)


def extended_knots(tensors: LayerTensors, name: str, rows: int | None, size: int) -> tuple[np.ndarray, int]:
    """Take the extended knots [rows, T] from tensor `name`, and tell the degree from the number of coefficients.

    Raises
    ------
    ImportModelError
        The knots are not `G + 2k + 1` for `G + k` coefficients.
    """
    grid = tensors.take(name, rows, None)
    degree = grid.shape[1] - 1 - size
    if degree < 1 or size - degree < 1:
        raise ImportModelError(
            f"tensor {tensors.full_name(name)!r} has {grid.shape[1]} knots for {size} coefficients",
            "G + 2k + 1 knots for G + k coefficients with k >= 1 and G >= 1",
        )
    return grid, degree


def _read(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    base_weight = tensors.take("base_weight", None, None)
    n_out, n_in = base_weight.shape
    spline_weight = tensors.take("spline_weight", n_out, n_in, None)
    grid, degree = extended_knots(tensors, "grid", n_in, spline_weight.shape[2])
    intervals = spline_weight.shape[2] - degree
    scaler = tensors.take("spline_scaler", n_out, n_in) if "spline_scaler" in tensors else None
    for key, actual in (
        ("in_features", n_in),
        ("out_features", n_out),
        ("grid_size", intervals),
        ("spline_order", degree),
        ("enable_standalone_scale_spline", scaler is not None),
    ):
        options.check(key, actual)
    activation = options.activation(
        "base_activation", "silu", why="efficient-kan's default; not stored in a state_dict"
    )
    return (spline_layer(tensors.path, grid, degree, spline_weight, base_weight, scaler, activation),)


EFFICIENT_KAN = Family(
    name="efficient-kan",
    anchor="spline_weight",
    claims=lambda names: bool({"base_weight", "grid"} & names),
    read_layer=_read,
    keys={
        "base_activation": BASE_ACTIVATION,
        "spline_order": "degree; taken from the shapes",
        "grid_size": "number of intervals; taken from the shapes",
    },
    layer_keys=("in_features", "out_features", "enable_standalone_scale_spline"),
    attributes=lambda module: activation_attribute(module, "base_activation", "base_activation"),
)
