"""torch-conv-kan (github.com/IvanDrokin/torch-conv-kan): its dense layers, facts as of commit 7a0e83c.

Most of them sum their edges and then normalise and activate the sum, so a layer becomes a KAN layer and glue:

* KANLayer: `prelu(LN(spline(x) + base(act(x))))`; its knots are a plain attribute, not a tensor.
* KALNLayer: `act(LN(legendre(minmax(x)) + base(act(x))))`, with the minimum and maximum of the whole batch.
* GRAMLayer: `act(LN(act(gram(tanh x)) + base(act(x))))`; the activation acts on every polynomial too.
* JacobiKANLayer: `act(LN(jacobi(tanh x) + base(act(x))))`.
* BernsteinKANLayer: `act(LN(constants + base(act(x))))`: its polynomials all come out as 1.
* WavKANLayer: `BN(wavelets(x) + base(silu(x)))`, a wavelet of its own an edge.
* ReLUKANLayer: `conv((relu(x - low) * relu(high - x) * r)^2)`, no norm, no activation.

FastKANLayer and ChebyKANLayer are those of fast-kan and ChebyKAN and are read by their importers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lutkan.adapters.activations import activation_attribute
from lutkan.adapters.checkpoint import LayerTensors
from lutkan.adapters.efficient_kan import spline_layer
from lutkan.adapters.family import Family
from lutkan.adapters.jacobi_kan import JACOBI_KEYS, jacobi_attributes, jacobi_branch
from lutkan.adapters.norms import LAYERNORM_EPS, batch_norm, eps_attribute, layer_norm
from lutkan.adapters.options import LayerOptions
from lutkan.errors import ImportModelError
from lutkan.ir import (
    Activation,
    Affine,
    Branch,
    EdgeBank,
    FunctionBank,
    KANLayer,
    NamedFunction,
    Polynomial,
    ReluProduct,
    Step,
)
from lutkan.numerics import functions

__all__ = ["TORCH_CONV_KAN"]

_ACT_VARIES = (
    "the activation is not stored, and upstream's own defaults differ: its classes take SiLU, its mlp_* builders GELU"
)
_ACT_KEY = "activation of the base branch and of the output; refused, because upstream's defaults differ"


def _shapes(options: LayerOptions, n_in: int, n_out: int, degree: int | None = None) -> None:
    """Compare what the configuration says about the sizes with the tensors."""
    for pair, actual in ((("in_features", "in_channels"), n_in), (("out_features", "out_channels"), n_out)):
        for key in pair:
            options.check(key, actual)
    if degree is not None:
        options.check("degree", degree)


_SIZE_KEYS = ("in_features", "out_features", "in_channels", "out_channels")


def _base(weight: np.ndarray, activation: str) -> Branch:
    """Build the branch `weight @ act(x)` from a weight [out, in]."""
    return Branch(EdgeBank(NamedFunction(activation), weight.T[:, None, :], role="base"))


# ---- KANLayer: B-splines, LayerNorm, PReLU


def _read_kan(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    base_weight = tensors.take("base_weight", None, None)
    n_out, n_in = base_weight.shape
    spline_weight = tensors.take("spline_weight", n_out, n_in, None)
    norm = layer_norm(tensors, "layer_norm", n_out, options)
    slope = tensors.take("prelu.weight", None)
    if slope.size not in (1, n_out):
        where = tensors.full_name("prelu.weight")
        raise ImportModelError(f"tensor {where!r} has {slope.size} entries", f"1 or {n_out}")
    knots, degree = _plain_knots(options, n_in, spline_weight.shape[2])
    _shapes(options, n_in, n_out)
    options.check("grid_size", spline_weight.shape[2] - degree)
    options.check("spline_order", degree)
    why = "the default of KANLayer and of its builders; not stored in a state_dict"
    activation = options.activation("base_activation", "gelu", why=why, entry_keys=("act", "base_activation"))
    layer = spline_layer(tensors.path, knots, degree, spline_weight, base_weight, None, activation)
    return (layer, norm, Activation("prelu", slope))


def _plain_knots(options: LayerOptions, n_in: int, size: int) -> tuple[np.ndarray, int]:
    """Take the knots [1 or in, T] from `grid`, or rebuild them from `grid_range`, and return them with the degree."""
    if options.given("grid", sequence=True):
        try:
            grid = np.atleast_2d(np.asarray(options.get("grid", sequence=True), dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise ImportModelError(f"layer {options.index}: config says grid = something else than numbers") from error
        degree = grid.shape[-1] - 1 - size
        if grid.ndim != 2 or grid.shape[0] not in (1, n_in) or not 1 <= degree < size or not np.isfinite(grid).all():
            raise ImportModelError(
                f"layer {options.index}: config says grid of shape {list(grid.shape)} for {size} coefficients",
                f"finite knots [G + 2k + 1] or [{n_in}, G + 2k + 1] with G + k = {size}, k >= 1",
            )
        if len(grid) == 1:
            options.check("grid_range", [float(grid[0, degree]), float(grid[0, -1 - degree])])
        return grid, degree
    why = "the knots are a plain attribute of the module: give them as 'grid', or the interval and the grid size"
    low, high = options.interval("grid_range", why=why)
    if options.given("grid_size"):
        intervals = options.number("grid_size")
        degree = size - intervals
    else:
        degree = options.number("spline_order", why="with grid_size absent, it tells the degree")
        intervals = size - degree
    if degree != int(degree) or degree < 1 or intervals < 1:
        raise ImportModelError(
            f"layer {options.index}: grid_size {intervals:g} and spline_order {degree:g} for {size} coefficients",
            f"whole numbers >= 1 with grid_size + spline_order = {size}",
        )
    step = (high - low) / intervals
    count = int(intervals + 2 * degree + 1)
    return _linspace32(low - step * degree, high + step * degree, count)[None], int(degree)


def _linspace32(low: float, high: float, count: int) -> np.ndarray:
    """Return the float32 knots that torch.linspace makes on a CPU with fused multiply-add.

    It counts up from `low` and, from the middle on, down from `high`, with one rounding a knot. Other roundings of the
    same knots cost about 1e-6 in the outputs.
    """
    start, end, index = np.float32(low), np.float32(high), np.arange(count)
    step = float((end - start) / np.float32(count - 1))
    knots = np.where(index < count // 2, float(start) + step * index, float(end) - step * (count - 1 - index))
    return knots.astype(np.float32).astype(np.float64)


def _kan_attributes(module: Any) -> dict[str, Any]:
    config = activation_attribute(module, "base_activation", "base_activation") | eps_attribute(module, "layer_norm")
    grid = getattr(module, "grid", None)
    if grid is None:
        return config
    rows = np.asarray(grid.detach().cpu(), dtype=np.float64)
    return config | {"grid": (rows[:1] if (rows == rows[:1]).all() else rows).tolist()}


_KAN = Family(
    name="torch-conv-kan-kan",
    anchor="spline_weight",
    claims=lambda names: "grid" not in names and bool({"layer_norm.weight", "prelu.weight"} & names),
    read_layer=_read_kan,
    keys={
        "base_activation": "activation of the base branch (in `layers` also `act`); 'gelu' is taken, and said so",
        "grid": "the module's knots, [T] for all layers or a list of them; "
        "rebuilt from grid_range when absent, in torch's float32 rounding",
        "grid_range": "[low, high] of the core grid; refused where there is no grid",
        "grid_size": "number of intervals; refused where there is neither grid nor spline_order",
        "spline_order": "degree; taken from grid or grid_size",
        "layernorm_eps": LAYERNORM_EPS,
    },
    layer_keys=("in_features", "out_features", "act"),
    attributes=_kan_attributes,
)


# ---- KALNLayer: Legendre polynomials of a frozen min-max normalisation


def _read_kaln(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    base_weight = tensors.take("base_weight", None, None)
    n_out, n_in = base_weight.shape
    poly_weight = tensors.take("poly_weight", n_out, None)
    if poly_weight.shape[1] % n_in:
        raise ImportModelError(
            f"tensor {tensors.full_name('poly_weight')!r} has {poly_weight.shape[1]} columns",
            f"a multiple of the {n_in} inputs",
        )
    size = poly_weight.shape[1] // n_in
    norm = layer_norm(tensors, "layer_norm", n_out, options)
    _shapes(options, n_in, n_out, size - 1)
    act = options.activation("act", why=_ACT_VARIES)
    low, high = options.interval(
        "minmax",
        why="KALN normalises by the minimum and maximum of the whole batch, so that only frozen ones make a function",
    )
    scale = np.full(n_in, 2.0 / (high - low))
    frozen = Affine(scale, -low * scale - 1.0, origin="min-max normalisation, frozen")
    coefficients = poly_weight.reshape(n_out, n_in, size).transpose(1, 2, 0)
    spline = Branch(EdgeBank(Polynomial("legendre", size - 1), coefficients, role="spline"), (frozen,))
    return (KANLayer(tensors.path, (spline, _base(base_weight, act))), norm, Activation(act))


_KALN = Family(
    name="torch-conv-kan-kaln",
    anchor="poly_weight",
    claims=lambda names: "base_weight" in names,
    read_layer=_read_kaln,
    keys={
        "act": _ACT_KEY,
        "minmax": "[min, max] that the normalisation is frozen at, a list of them for several layers; refused",
        "degree": "degree of the polynomials; taken from the shapes",
        "layernorm_eps": LAYERNORM_EPS,
    },
    layer_keys=_SIZE_KEYS,
    attributes=lambda module: (
        activation_attribute(module, "base_activation", "act") | eps_attribute(module, "layer_norm")
    ),
)


# ---- GRAMLayer: Gram polynomials with trained recurrence weights


def _read_gram(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    coefficients = tensors.take("grams_basis_weights", None, None, None)
    n_in, n_out, size = coefficients.shape
    betas = tensors.take("beta_weights", size)
    base_weight = tensors.take("base_weights", n_out, n_in)
    norm = layer_norm(tensors, "norm", n_out, options)
    _shapes(options, n_in, n_out, size - 1)
    act = options.activation("act", why=_ACT_VARIES)
    basis = Polynomial("gram", size - 1, tuple(betas.tolist()), activation=act)
    spline = Branch(EdgeBank(basis, coefficients.transpose(0, 2, 1), role="spline"), (Activation("tanh"),))
    return (KANLayer(tensors.path, (spline, _base(base_weight, act))), norm, Activation(act))


def _gram_attributes(module: Any) -> dict[str, Any]:
    if hasattr(module, "bias"):
        raise ImportModelError(
            f"{type(module).__name__} has an attribute 'bias'",
            "torch-conv-kan's GRAMLayer: GRAMKAN's has the same tensors and no activation on its polynomials",
            "use family='generic' on what comes before its LayerNorm",
        )
    return activation_attribute(module, "act", "act") | eps_attribute(module, "norm")


_GRAM = Family(
    name="torch-conv-kan-gram",
    anchor="grams_basis_weights",
    claims=lambda names: True,
    read_layer=_read_gram,
    keys={
        "act": "activation of the base branch, of every polynomial and of the output; "
        "refused, because upstream's defaults differ",
        "degree": "degree of the polynomials; taken from the shapes",
        "layernorm_eps": LAYERNORM_EPS,
    },
    layer_keys=_SIZE_KEYS,
    attributes=_gram_attributes,
)


# ---- JacobiKANLayer and BernsteinKANLayer


def _read_jacobi(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    branch = jacobi_branch(tensors.take("jacobi_coeffs", None, None, None), options)
    n_in, n_out = branch.bank.in_features, branch.bank.out_features
    base_weight = tensors.take("base_weights", n_out, n_in)
    norm = layer_norm(tensors, "norm", n_out, options)
    _shapes(options, n_in, n_out)
    act = options.activation("act", "silu", why="the default of JacobiKANLayer and of its builders; not stored")
    return (KANLayer(tensors.path, (branch, _base(base_weight, act))), norm, Activation(act))


_JACOBI = Family(
    name="torch-conv-kan-jacobi",
    anchor="jacobi_coeffs",
    claims=lambda names: "base_weights" in names,
    read_layer=_read_jacobi,
    keys={
        **JACOBI_KEYS,
        "act": "activation of the base branch and of the output; 'silu' is taken, and said so",
        "layernorm_eps": LAYERNORM_EPS,
    },
    layer_keys=("in", "out", *_SIZE_KEYS),
    attributes=lambda module: (
        jacobi_attributes(module) | activation_attribute(module, "act", "act") | eps_attribute(module, "norm")
    ),
)


def _read_bernstein(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    coefficients = tensors.take("bernstein_coeffs", None, None, None)
    n_in, n_out, size = coefficients.shape
    base_weight = tensors.take("base_weights", n_out, n_in)
    norm = layer_norm(tensors, "norm", n_out, options)
    _shapes(options, n_in, n_out, size - 1)
    act = options.activation("act", why=_ACT_VARIES)
    # Upstream runs de Casteljau's scheme on ones, so each of its "Bernstein polynomials" is the constant 1.
    options.note(f"{tensors.path or 'the layer'}: upstream's bernstein_poly is 1 everywhere, the edges are constants")
    constants = Branch(EdgeBank(Polynomial("bernstein", 0), coefficients.sum(axis=2)[:, None, :], role="spline"))
    return (KANLayer(tensors.path, (constants, _base(base_weight, act))), norm, Activation(act))


_BERNSTEIN = Family(
    name="torch-conv-kan-bernstein",
    anchor="bernstein_coeffs",
    claims=lambda names: True,
    read_layer=_read_bernstein,
    keys={
        "act": _ACT_KEY,
        "degree": "degree of the polynomials; taken from the shapes",
        "layernorm_eps": LAYERNORM_EPS,
    },
    layer_keys=_SIZE_KEYS,
    attributes=lambda module: activation_attribute(module, "act", "act") | eps_attribute(module, "norm"),
)


# ---- WavKANLayer: a wavelet of its own an edge


def _read_wavelets(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    weight = tensors.take("wavelet_weights", None, None)
    n_out, n_in = weight.shape
    scale = tensors.take("scale", n_out, n_in)
    translation = tensors.take("translation", n_out, n_in)
    if (scale == 0).any():
        where = tuple(int(v) for v in np.argwhere(scale == 0)[0])
        raise ImportModelError(
            f"tensor {tensors.full_name('scale')!r} is 0 at index {list(where)}",
            "scales other than 0: the layer divides by them",
        )
    kind = options.get("wavelet_type", why="which mother wavelet the edges are, and no tensor tells it")
    if not isinstance(kind, str) or kind not in functions.WAVELETS:
        raise ImportModelError(
            f"layer {options.index}: wavelet_type = {kind!r}",
            ", ".join(functions.WAVELETS),
            "import the live module with family='generic'",
        )
    if kind == "shannon":
        # A Hamming window, which upstream lays over the inputs of the layer, not over the wavelet's argument.
        weight = weight * _hamming(n_in)
    affine = np.stack([1.0 / scale, -translation / scale, weight, np.zeros_like(weight)], axis=-1)
    wavelets = FunctionBank(
        n_in,
        n_out,
        (kind,),
        np.zeros(n_in * n_out, dtype=np.int64),
        np.repeat(np.arange(n_in), n_out),
        np.tile(np.arange(n_out), n_in),
        affine.transpose(1, 0, 2).reshape(-1, 4),
    )
    branches = [Branch(wavelets)]
    why = "'silu' in torch-conv-kan; 'zero' in the original Wav-KAN, which stores weight1 and does not use it"
    activation = options.activation("base_activation", why=why)
    base_weight = tensors.take("weight1", n_out, n_in)
    if activation != "zero":
        branches.append(_base(base_weight, activation))
    norm = batch_norm(tensors, "bn", n_out, options)
    _shapes(options, n_in, n_out)
    return (KANLayer(tensors.path, tuple(branches)), norm)


def _hamming(count: int) -> np.ndarray:
    """Return the symmetric Hamming window of `count` points."""
    return np.hamming(count) if count > 1 else np.ones(1)


def _wavelet_attributes(module: Any) -> dict[str, Any]:
    # base_activation is no evidence: the original Wav-KAN holds one too, and does not use it.
    config = eps_attribute(module, "bn", "batchnorm_eps")
    return config | ({"wavelet_type": module.wavelet_type} if hasattr(module, "wavelet_type") else {})


_WAVELETS = Family(
    name="torch-conv-kan-wavkan",
    anchor="wavelet_weights",
    claims=lambda names: True,
    read_layer=_read_wavelets,
    keys={
        "wavelet_type": "mexican_hat, morlet, dog, meyer or shannon; refused",
        "base_activation": "'silu' for torch-conv-kan, 'zero' for the original Wav-KAN of the same tensors; refused",
        "batchnorm_eps": "eps of the BatchNorm; 1e-5 (torch's default) is taken, and said so",
    },
    layer_keys=("in_features", "out_features"),
    attributes=_wavelet_attributes,
)


# ---- ReLUKANLayer: squared products of two ReLUs


def _read_relu(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    kernel = tensors.take("equal_size_conv.weight", None, 1, None, None)
    n_out, _, size, n_in = kernel.shape
    bias = tensors.take("equal_size_conv.bias", n_out)
    low = tensors.take("phase_low", n_in, size)
    # The original ReLU-KAN (github.com/quiqi/relu_kan) spells it so.
    high = tensors.take("phase_height" if "phase_height" in tensors else "phase_high", n_in, size)
    for key, actual in (("input_size", n_in), ("output_size", n_out)):
        options.check(key, actual)
    if options.given("r") and not (options.given("g") or options.given("k")):
        gain = options.number("r", above=0)
    else:
        why = "r = 4 g^2 / (k + 1)^2 is a factor of every basis function, and the shapes tell only g + k"
        g, k = options.number("g", why=why, above=0), options.number("k", why=why, above=-1)
        if g + k != size:
            raise ImportModelError(
                f"layer {options.index}: config says g = {g:g} and k = {k:g}",
                f"g + k = {size}, from tensor {tensors.full_name('phase_low')!r}",
            )
        gain = 4.0 * g * g / ((k + 1.0) * (k + 1.0))
        options.check("r", gain)
    # Upstream brings [in, g + k] to [g + k, in] by a reshape, not a transpose: the same reshape undoes it.
    coefficients = kernel.reshape(n_out, n_in, size).transpose(1, 2, 0)
    bank = EdgeBank(ReluProduct(low, high, gain), coefficients, role="spline")
    return (KANLayer(tensors.path, (Branch(bank),), bias),)


_RELU = Family(
    name="torch-conv-kan-relukan",
    anchor="equal_size_conv.weight",
    claims=lambda names: "phase_low" in names,
    read_layer=_read_relu,
    keys={
        "g": "number of intervals; refused where there is no r",
        "k": "overlap of the basis functions; refused where there is no r",
        "r": "factor of the basis functions, 4 g^2 / (k + 1)^2; computed from g and k",
    },
    layer_keys=("input_size", "output_size"),
    attributes=lambda module: {key: float(getattr(module, key)) for key in ("g", "k", "r") if hasattr(module, key)},
)

#: The dense layers of torch-conv-kan that have tensors of their own.
TORCH_CONV_KAN = (_KAN, _KALN, _GRAM, _JACOBI, _BERNSTEIN, _WAVELETS, _RELU)
