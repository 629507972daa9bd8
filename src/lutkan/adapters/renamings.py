"""Layers that mean what efficient-kan's mean, under other tensor names or in another order of axes.

* LKAN (github.com/Indoxer/LKAN, KANLinear): `coeff`, `scale_base`, `scale_spline` (one number or [out, in]), `grid`.
* KANLib (github.com/julianhoever/KANLib, LinearBase with a B-spline basis): `coefficients`, `weight_spline`,
  `weight_residual`, `bias_output`, `basis.grid`; a LayerNorm, if any, stands before the spline branch alone.
* kanx (PyPI, `kanx.torch`): the names of efficient-kan, but [in, out] order and a grid of G + 1 knots, extended in
  the forward pass by the mean spacing. Told from efficient-kan by the number of knots.
* convkan (PyPI): its KANLinear alone, as [groups, ...] with one group. Inside a ConvKAN it is a convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lutkan.adapters.activations import activation_attribute
from lutkan.adapters.checkpoint import LayerTensors
from lutkan.adapters.efficient_kan import BASE_ACTIVATION, extended_knots, spline_layer
from lutkan.adapters.family import Family
from lutkan.adapters.norms import LAYERNORM_EPS, eps_attribute, layer_norm
from lutkan.adapters.options import LayerOptions
from lutkan.errors import ImportModelError
from lutkan.ir import Step

__all__ = ["CONVKAN", "KANLIB", "KANX", "LKAN"]

_DEFAULT = "the library's default; not stored in a state_dict"


def _check_sizes(options: LayerOptions, n_in: int, n_out: int, intervals: int, degree: int) -> None:
    for names, actual in (
        (("in_features", "in_dim"), n_in),
        (("out_features", "out_dim"), n_out),
        (("grid_size",), intervals),
        (("spline_order", "k"), degree),
    ):
        for name in names:
            options.check(name, actual)


_SIZES = ("in_features", "out_features", "grid_size", "spline_order")


# ---- LKAN


def _read_lkan(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    coefficients = tensors.take("coeff", None, None, None)
    n_out, n_in, size = coefficients.shape
    base_weight = tensors.take("scale_base", n_out, n_in)
    scaler = tensors.take("scale_spline")
    if scaler.size == 1:
        scaler = np.full((n_out, n_in), scaler.reshape(-1)[0])
    elif scaler.shape != (n_out, n_in):
        where = tensors.full_name("scale_spline")
        raise ImportModelError(f"tensor {where!r} has shape {list(scaler.shape)}", f"[1] or [{n_out}, {n_in}]")
    knots, degree = extended_knots(tensors, "grid", n_in, size)
    bias = None
    if "bias" in tensors:
        bias = tensors.take("bias").reshape(-1)
        if bias.size != n_out:
            where = tensors.full_name("bias")
            raise ImportModelError(f"tensor {where!r} has {bias.size} entries", str(n_out))
    _check_sizes(options, n_in, n_out, size - degree, degree)
    activation = options.activation("base_activation", "silu", why=_DEFAULT, entry_keys=("base_fun", "base_activation"))
    return (spline_layer(tensors.path, knots, degree, coefficients, base_weight, scaler, activation, bias),)


LKAN = Family(
    name="lkan",
    anchor="coeff",
    claims=lambda names: "scale_base" in names,
    read_layer=_read_lkan,
    keys={
        "base_activation": "activation of the base branch (in `layers` also `base_fun`); 'silu' is taken, and said so"
    },
    layer_keys=("base_fun", "in_dim", "out_dim", "grid_size", "k"),
    attributes=lambda module: activation_attribute(module, "base_fun", "base_activation"),
)


# ---- KANLib


def _read_kanlib(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    coefficients = tensors.take("coefficients", None, None, None)
    n_out, n_in, size = coefficients.shape
    grid = tensors.take("basis.grid", None, None)
    if grid.shape[1] == size:
        raise ImportModelError(
            f"tensor {tensors.full_name('basis.grid')!r} has {size} entries for {size} coefficients",
            "the knots of a B-spline basis: KANLib's Gaussian basis is not part of this version",
            "import the live module with family='generic'",
        )
    knots, degree = extended_knots(tensors, "basis.grid", None if len(grid) == 1 else n_in, size)
    scaler = tensors.take("weight_spline", n_out, n_in) if "weight_spline" in tensors else None
    base_weight = tensors.take("weight_residual", n_out, n_in) if "weight_residual" in tensors else None
    bias = tensors.take("bias_output", n_out) if "bias_output" in tensors else None
    norm = ()
    if "layer_norm.weight" in tensors or "layer_norm.bias" in tensors:
        norm = (layer_norm(tensors, "layer_norm", n_in, options),)
    _check_sizes(options, n_in, n_out, size - degree, degree)
    # The residual branch is SiLU in the source, not an option.
    return (spline_layer(tensors.path, knots, degree, coefficients, base_weight, scaler, "silu", bias, pre=norm),)


KANLIB = Family(
    name="kanlib",
    anchor="coefficients",
    claims=lambda names: "basis.grid" in names,
    read_layer=_read_kanlib,
    keys={"layernorm_eps": LAYERNORM_EPS},
    layer_keys=_SIZES,
    attributes=lambda module: eps_attribute(module, "layer_norm"),
)


# ---- kanx


def _kanx_fits(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    base, spline, grid = (shapes[name] for name in ("base_weight", "spline_weight", "grid"))
    if len(spline) != 3 or len(grid) != 2:
        return False
    # G + k coefficients: kanx has G + 1 <= G + k knots, efficient-kan G + 2k + 1 >= G + k + 2.
    return base == spline[:2] and 2 <= grid[1] <= spline[2] and grid[0] == spline[0]


def _read_kanx(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    base_weight = tensors.take("base_weight", None, None)
    n_in, n_out = base_weight.shape
    spline_weight = tensors.take("spline_weight", n_in, n_out, None)
    grid = tensors.take("grid", n_in, None)
    intervals = grid.shape[1] - 1
    degree = spline_weight.shape[2] - intervals
    if intervals < 1 or degree < 1:
        raise ImportModelError(
            f"tensor {tensors.full_name('grid')!r} has {grid.shape[1]} knots for {spline_weight.shape[2]} coefficients",
            "G + 1 knots for G + k coefficients with k >= 1 and G >= 1",
            "for a grid that is stored extended pass family='efficient-kan'",
        )
    step = (grid[:, -1:] - grid[:, :1]) / intervals
    ahead = np.arange(1, degree + 1)
    knots = np.concatenate([grid[:, :1] - ahead[::-1] * step, grid, grid[:, -1:] + ahead * step], axis=1)
    _check_sizes(options, n_in, n_out, intervals, degree)
    activation = options.activation("base_activation", "silu", why=_DEFAULT)
    coefficients = spline_weight.transpose(1, 0, 2)
    return (spline_layer(tensors.path, knots, degree, coefficients, base_weight.T, None, activation),)


def _kanx_attributes(module: Any) -> dict[str, Any]:
    name = getattr(module, "base_activation_name", None)
    if name is None:
        return activation_attribute(module, "base_activation", "base_activation")
    return {"base_activation": {"swish": "silu", "linear": "identity"}.get(str(name).lower(), str(name).lower())}


KANX = Family(
    name="kanx",
    anchor="spline_weight",
    claims=lambda names: {"base_weight", "grid"} <= names and "spline_scaler" not in names,
    fits=_kanx_fits,
    read_layer=_read_kanx,
    keys={"base_activation": BASE_ACTIVATION},
    layer_keys=_SIZES,
    attributes=_kanx_attributes,
)


# ---- convkan's KANLinear


def _read_convkan(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    base_weight = tensors.take("base_weight", None, None, None)
    groups, n_out, n_in = base_weight.shape
    if groups != 1:
        raise ImportModelError(
            f"tensor {tensors.full_name('base_weight')!r} has {groups} groups", "1: groups take inputs of their own"
        )
    spline_weight = tensors.take("spline_weight", 1, n_out, n_in, None)[0]
    scaler = tensors.take("spline_scaler", 1, n_out, n_in)[0] if "spline_scaler" in tensors else None
    grid = tensors.take("grid", 1, n_in, None)[0]
    size = spline_weight.shape[2]
    degree = grid.shape[1] - 1 - size
    if degree < 1 or size - degree < 1:
        raise ImportModelError(
            f"tensor {tensors.full_name('grid')!r} has {grid.shape[1]} knots for {size} coefficients",
            "G + 2k + 1 knots for G + k coefficients with k >= 1 and G >= 1",
        )
    _check_sizes(options, n_in, n_out, size - degree, degree)
    options.check("groups", groups)
    activation = options.activation("base_activation", "silu", why=_DEFAULT)
    return (spline_layer(tensors.path, grid, degree, spline_weight, base_weight[0], scaler, activation),)


CONVKAN = Family(
    name="convkan",
    anchor="spline_weight",
    claims=lambda names: {"base_weight", "grid"} <= names,
    fits=lambda shapes: len(shapes["base_weight"]) == 3,
    read_layer=_read_convkan,
    keys={"base_activation": BASE_ACTIVATION},
    layer_keys=(*_SIZES, "groups"),
    attributes=lambda module: activation_attribute(module, "base_activation", "base_activation"),
)
