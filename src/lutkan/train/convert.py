"""From a trained quantized model to arrays, to integers, and to an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lutkan.adapters.importer import families_named
from lutkan.adapters.module import import_module
from lutkan.artifact import Artifact
from lutkan.errors import InputError, SpecError
from lutkan.ir import Branch, EdgeBank, KANLayer, Network
from lutkan.tables.code_features import CodeGrid
from lutkan.tables.coded import CodedBranch, CodedLayer
from lutkan.tables.compile import compile_codes
from lutkan.tables.spec import Spec
from lutkan.train.layer import QuantKANLayer, float_mode, kan_layers
from lutkan.train.prepare import as_rows
from lutkan.train.ptq.network import Quantized
from lutkan.train.quantizers import InputQuantizer, WeightQuantizer

__all__ = ["coded_layer", "coded_layers", "convert", "to_network"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


def to_network(model: nn.Module) -> Network:
    """Return a quantized model as a network whose coefficients are the quantized ones; inputs stay unquantized.

    Parameters
    ----------
    model : torch.nn.Module
        From `prepare` or `from_network`, calibrated or trained.

    Returns
    -------
    Network
        Without quantizers it is checked against the model on seeded rows.

    Raises
    ------
    ImportModelError
        The model is not a chain of known layers.
    InputError
        A layer is not calibrated.
    """
    return _network_and_layers(model)[0]


def _network_and_layers(model: nn.Module) -> tuple[Network, tuple[QuantKANLayer, ...]]:
    """Return the network, its KAN layers quantized, and the trainable layer of each of its KAN layers."""
    mine = kan_layers(model)
    if not mine:
        raise InputError(f"{type(model).__name__} holds no quantized KAN layer", "what lutkan.train.prepare returned")
    for layer in mine:
        if not layer.quantizing:
            raise InputError(
                f"layer {layer.name!r} is not calibrated", fix="call lutkan.train.calibrate(model, X) or train it first"
            )
    with float_mode(model):
        network = import_module(model, families_named(None), None).network
    steps, layers = [], []
    for step in network.steps:
        if isinstance(step, KANLayer):
            layer = next((layer for layer in mine if layer.told is step), None)
            if layer is None:
                raise SpecError(
                    f"layer {step.name!r} has no quantizers", "a model whose KAN layers are all quantized", "prepare it"
                )
            layers.append(layer)
            steps.append(layer.to_layer(quantized=True))
        else:
            steps.append(step)
    return replace(network, steps=tuple(steps)), tuple(layers)


def coded_layers(model: nn.Module) -> tuple[Network, tuple[CodedLayer, ...]]:
    """Return a quantized model as a network, and its KAN layers in integers, in the network's order.

    Raises
    ------
    InputError, ImportModelError
        As for `to_network`.
    SpecError
        A branch without bits.
    """
    network, layers = _network_and_layers(model)
    coded = tuple(coded_layer(layer, step) for layer, step in zip(layers, network.layers, strict=True))
    return network, coded


def convert(
    model: nn.Module | Quantized, *, calibration: object = None, info: Mapping[str, Any] | None = None
) -> Artifact:
    """Turn a quantized model into an artifact: integers from code to code.

    Parameters
    ----------
    model : torch.nn.Module or Quantized
        From `prepare` or `from_network`, calibrated or trained; or what `quantize` returned.
    calibration : array [N, in], optional
        Rows for the manifest's figures: the share of inputs beyond the codes.
    info : mapping, optional
        More entries for the manifest.

    Returns
    -------
    Artifact
        It answers what `lutkan.train.simulate` answers, bit for bit, on every runtime.

    Raises
    ------
    InputError, ImportModelError
        As for `to_network`.
    SpecError
        A branch without bits, or integers that do not fit the kernels.
    """
    if isinstance(model, Quantized):
        return model.artifact(info, rows=calibration)
    network, layers = coded_layers(model)
    mine = kan_layers(model)
    specs = {layer.name: layer.spec for layer in mine}
    numbered = [specs[layer.name] for layer in network.layers]
    spec = Spec(numbered[0], tuple((str(n), own) for n, own in enumerate(numbered) if own != numbered[0]))
    about = {"spec": spec.to_json(), "quantizers": "+".join(sorted({layer.method for layer in mine}))}
    rows = None if calibration is None else as_rows(model, calibration).double().cpu().numpy()
    keep = all(own.keep_masked for own in numbered)
    return compile_codes(network, layers, {**about, **dict(info or {})}, rows=rows, keep_masked=keep)


def coded_layer(layer: QuantKANLayer, step: KANLayer | None = None) -> CodedLayer:
    """Return a layer in integers.

    Weights with one scale a tensor or an output are their quantizer's codes. Scales that cannot leave an integer sum
    (an edge's, a group's, edge scales kept apart) are multiplied in, and the products stored as 8-bit codes of one
    scale an output: exactly where the product of the codes fits, else rounded once more.

    Parameters
    ----------
    layer : QuantKANLayer
    step : KANLayer, optional
        What `layer.to_layer(quantized=True)` gives, where it is at hand.
    """
    step = layer.to_layer(quantized=True) if step is None else step
    branches = []
    for name, branch in zip(layer.names, step.branches, strict=True):
        if not isinstance(branch.bank, EdgeBank):
            raise SpecError(f"layer {layer.name!r}: {branch.bank.describe()}", "branches that share basis functions")
        grid = layer.branch_quantizers[name] if name in layer.branch_quantizers else None
        codes, bits, scale = _branch_codes(layer, name, branch)
        branches.append(
            CodedBranch(branch.pre, None if grid is None else code_grid(grid), branch.bank, codes, bits, scale)
        )
    return CodedLayer(layer.name, code_grid(layer.input_quantizer), tuple(branches), step.bias)


def code_grid(quantizer: nn.Module) -> CodeGrid:
    """Return the grid of an input quantizer."""
    if not isinstance(quantizer, InputQuantizer):
        raise InputError(f"a {type(quantizer).__name__}", "an InputQuantizer")
    return CodeGrid(float(quantizer.low.detach()), float(quantizer.step.detach()), quantizer.bits)


def _branch_codes(layer: QuantKANLayer, name: str, branch: Branch) -> tuple[NDArray[Any], int, F64]:
    """Return the codes [in, rows, out] of a branch, the bits that hold them, and the scales [out]."""
    if name not in layer.weight_quantizers:
        raise SpecError(
            f"layer {layer.name!r}, branch {name!r}: bits = None", "2 to 8 bits for an integer table", "give it bits"
        )
    weights = branch.bank.weights if isinstance(branch.bank, EdgeBank) else np.zeros((0, 0, 0))
    codes, scale = _quantizer_codes(layer, name, layer.coefficients[name])
    if scale is not None and name in layer.scalers:
        edge_codes, edge_scale = _quantizer_codes(layer, f"{name}_scaler", layer.scalers[name])
        if edge_scale is None:
            scale = None
        else:
            codes, scale = codes.reshape(*edge_codes.shape, -1) * edge_codes[..., None], scale * edge_scale
            scale = scale if np.abs(codes).max() <= 127 else None
    if scale is None:
        most = np.abs(weights).max(axis=(0, 1))
        scale = np.where(most > 0, most, 1.0) / 127.0
        whole = np.rint(weights / scale).astype(np.int64)
    else:
        whole = codes.reshape(layer.out_features, layer.in_features, -1).transpose(1, 2, 0)
        mask = getattr(layer, f"mask_{name}", None)
        if mask is not None:
            whole = whole * mask.detach().cpu().numpy().T[:, None, :].astype(np.int64)
    return whole, _stored_bits(whole), scale


def _quantizer_codes(layer: QuantKANLayer, key: str, weight: torch.Tensor) -> tuple[I64, F64 | None]:
    """Return the codes [out, n] of a quantizer, and its scale [out], or None where it has no such scale."""
    if key not in layer.weight_quantizers:
        return np.ones(tuple(weight.shape), dtype=np.int64), None
    quantizer = layer.weight_quantizers[key]
    assert isinstance(quantizer, WeightQuantizer)
    if quantizer.rows not in (1, layer.out_features):
        return np.ones(tuple(weight.shape), dtype=np.int64), None
    codes = quantizer.codes(weight.detach().view(quantizer.rows, -1)).cpu().numpy().reshape(tuple(weight.shape))
    scale = quantizer.scale.detach().cpu().double().numpy().reshape(-1)
    return codes, np.broadcast_to(scale, (layer.out_features,)).copy()


def _stored_bits(codes: I64) -> int:
    """Return the fewest bits that hold the codes."""
    least, most = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
    for bits in range(2, 8):
        if -(1 << (bits - 1)) <= least and most < 1 << (bits - 1):
            return bits
    return 8 if max(-least, most) <= 127 else 16
