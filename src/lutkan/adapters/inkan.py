"""inkan and flashkan (PyPI): cubic B-splines on one uniform grid that all inputs share, and a base branch.

Basis `j` is the cubic B-spline of spacing `1 / inv_h` that starts at `grid_starts[0] + j / inv_h`. inkan packs its
weights, `weight[o] = [spline coefficients, input-major | base weights]`; flashkan keeps `spline_weight` [out, in, C]
and `base_weight` [out, in]. flashkan's float32 truncated powers cancel badly far outside the grid, where the spline
is 0: the model means 0 there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lutkan.adapters.activations import activation_attribute
from lutkan.adapters.checkpoint import LayerTensors
from lutkan.adapters.efficient_kan import BASE_ACTIVATION, spline_layer
from lutkan.adapters.family import Family
from lutkan.adapters.options import LayerOptions
from lutkan.errors import ImportModelError
from lutkan.ir import Step

__all__ = ["FLASHKAN", "INKAN"]

_KEYS = {
    "base_activation": BASE_ACTIVATION,
    "inv_h": "one over the knot spacing, as the module's float64; taken from the float32 grid_starts, and said so",
}


def _cubic_layer(
    tensors: LayerTensors,
    options: LayerOptions,
    starts: np.ndarray,
    spline_weight: np.ndarray,
    base_weight: np.ndarray,
) -> tuple[Step, ...]:
    size = starts.size
    where = tensors.full_name("grid_starts")
    if size < 4 or not starts[0] < starts[-1]:
        raise ImportModelError(f"tensor {where!r} holds {starts.tolist()}", "at least 4 ascending starts")
    measured = float((size - 1) / (starts[-1] - starts[0]))
    why = "from the float32 grid_starts, up to 1e-6 off the module's own float64"
    inverse = options.number("inv_h", measured, why=why, above=0)
    if not np.allclose((starts - starts[0]) * inverse, np.arange(size), rtol=0, atol=1e-3):
        raise ImportModelError(
            f"layer {options.index}: inv_h = {inverse:g} and tensor {where!r} = {starts.tolist()}",
            f"uniform starts whose distance is 1 / inv_h, here about {1 / measured:g}",
        )
    n_out, n_in = base_weight.shape
    for key, actual in (("in_features", n_in), ("out_features", n_out), ("grid_size", size - 3), ("spline_order", 3)):
        options.check(key, actual)
    knots = starts[0] + np.arange(size + 4) / inverse
    options.check("grid_range", [float(knots[3]), float(knots[-4])])
    activation = options.activation("base_activation", "silu", why="the library's default; not stored in a state_dict")
    return (spline_layer(tensors.path, knots[None], 3, spline_weight, base_weight, None, activation),)


def _read_inkan(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    if options.given("dim") and options.get("dim") != 1:
        raise ImportModelError(
            f"layer {options.index}: dim = {options.get('dim')!r}",
            "dim = 1: a surface over two inputs is not a sum of functions of one",
        )
    starts = tensors.take("grid_starts", None)
    weight = tensors.take("weight", None, None)
    n_in, rest = divmod(weight.shape[1], starts.size + 1)
    if rest:
        surface = " (a layer of dim = 2 has such a one)" if weight.shape[1] == starts.size**2 + 2 else ""
        raise ImportModelError(
            f"tensor {tensors.full_name('weight')!r} has {weight.shape[1]} columns{surface}",
            f"a multiple of {starts.size + 1}: {starts.size} bases and one base weight an input",
        )
    spline, base = np.split(weight, [n_in * starts.size], axis=1)
    return _cubic_layer(tensors, options, starts, spline.reshape(len(weight), n_in, starts.size), base)


def _read_flashkan(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    starts = tensors.take("grid_starts", None)
    base_weight = tensors.take("base_weight", None, None)
    spline_weight = tensors.take("spline_weight", *base_weight.shape, starts.size)
    return _cubic_layer(tensors, options, starts, spline_weight, base_weight)


def _attributes(module: Any) -> dict[str, Any]:
    config = activation_attribute(module, "base_activation", "base_activation")
    if hasattr(module, "inv_h"):
        config["inv_h"] = float(module.inv_h)
    if hasattr(module, "dim"):
        config["dim"] = int(module.dim)
    return config


_LAYER_KEYS = ("in_features", "out_features", "grid_size", "grid_range", "spline_order")

INKAN = Family(
    name="inkan",
    anchor="grid_starts",
    claims=lambda names: "weight" in names,
    read_layer=_read_inkan,
    keys={**_KEYS, "dim": "1, or 2 for surfaces, which are refused; 1, as the columns of weight tell"},
    layer_keys=_LAYER_KEYS,
    attributes=_attributes,
)

FLASHKAN = Family(
    name="flashkan",
    anchor="grid_starts",
    claims=lambda names: bool({"spline_weight", "base_weight"} & names),
    read_layer=_read_flashkan,
    keys=_KEYS,
    layer_keys=_LAYER_KEYS,
    attributes=_attributes,
)
