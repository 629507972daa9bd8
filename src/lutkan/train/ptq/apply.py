"""`quantize`: PTQ of an imported network, or of a live torch model in place of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lutkan.errors import SpecError
from lutkan.ir import Network
from lutkan.tables import CodeGrid, LayerSpec, Spec
from lutkan.train.ptq.methods import Method
from lutkan.train.ptq.network import Progress, QuantizedLayer, code_spec, quantize_network

if TYPE_CHECKING:
    from lutkan.train.layer import QuantKANLayer

__all__ = ["quantize"]


def quantize(
    model: Any,
    spec: Spec | LayerSpec | str | Mapping[str, Any] = "w4a8",
    *,
    method: str | Method = "auto",
    calibration: object = None,
    seed: int = 0,
    progress: Progress | None = None,
    config: Mapping[str, Any] | None = None,
) -> Any:
    """Quantize a trained model without training it.

    Parameters
    ----------
    model : Network, or torch.nn.Module
        An imported network, for which torch is not needed; or a live model, prepared or not.
    spec : Spec, CodeSpec or str
        "w4a8" and the like, or a spec with bits a layer and a branch.
    method : str or Method
        A key of `lutkan.train.ptq.METHODS`: "auto", "gptq", "adaround", ...
    calibration : array [N, in]
        Rows like those to come; 512 to 2048 are enough. "zeroq" needs none.
    seed : int
    progress : callable, optional
        Called with layers done, layers in all, and the name of the layer at work.
    config : mapping, optional
        For a live model that is not prepared: what its tensors do not say, as for `lutkan.import_model`.

    Returns
    -------
    Quantized for a Network; for a torch model a prepared model with its quantizers set
        `lutkan.train.convert` turns either into an artifact. A torch model may be trained further.

    Raises
    ------
    SpecError
        A spec that is no CodeSpec, a pattern that matches no layer, an unknown method; AWQ or SmoothQuant on a torch
        model.
    InputError
        Calibration rows of the wrong width, none, or with NaN or infinities.
    RuntimeUnavailableError
        A torch model without torch.

    Examples
    --------
    >>> from lutkan.lab.nets import fast_kan, input_rows
    >>> quantize(fast_kan((4, 3)).network, "w3a4", method="gptq", calibration=input_rows(4, 99)).layers[0].grid.bits
    4
    """
    if isinstance(model, Network):
        return quantize_network(model, spec, method=method, calibration=calibration, seed=seed, progress=progress)
    return _quantize_module(model, spec, method, calibration, seed, progress, config)


def _quantize_module(
    model: Any,
    spec: Spec | LayerSpec | str | Mapping[str, Any],
    method: str | Method,
    calibration: object,
    seed: int,
    progress: Progress | None,
    config: Mapping[str, Any] | None,
) -> Any:
    import copy

    from lutkan.adapters.importer import families_named
    from lutkan.adapters.module import import_module
    from lutkan.train import float_mode, kan_layers, prepare

    model = copy.deepcopy(model) if kan_layers(model) else prepare(model, spec, method="uniform", config=config)
    mine = kan_layers(model)
    training = model.training
    model.eval()
    with float_mode(model):
        network = import_module(model, families_named(None), None).network
    done = quantize_network(network, spec, method=method, calibration=calibration, seed=seed, progress=progress)
    for index, quantized in enumerate(done.layers):
        if code_spec(done.spec, index, quantized.layer.name).scaler is not None:
            raise SpecError(
                f"layer {quantized.layer.name}: scaler = ... on a torch model, whose edge scales are folded in",
                "scaler=None",
                "pass lutkan.import_model(model)",
            )
        layer = next(layer for layer in mine if layer.told is quantized.layer)
        layer.method = str(done.info["method"])
        layer.spec = code_spec(done.spec, index, quantized.layer.name)
        _hand_over(layer, quantized)
    return model.train(training)


def _hand_over(layer: QuantKANLayer, quantized: QuantizedLayer) -> None:
    """Give a trainable layer the weights, grids and bias that PTQ chose."""
    import torch

    from lutkan.train.quantizers import UniformInput, UniformWeight, WeightQuantizer

    def fixed(grid: CodeGrid) -> UniformInput:
        quantizer = UniformInput(grid.bits)
        quantizer.set_range(grid.low, grid.low + grid.step * (grid.levels - 1))
        with torch.no_grad():
            quantizer._low.fill_(grid.low)
            quantizer._step.fill_(grid.step)
        return quantizer

    like = next(layer.parameters())
    layer.input_quantizer = fixed(quantized.grid)
    weights = {}
    for name, branch, old in zip(layer.names, quantized.branches, quantized.layer.branches, strict=True):
        if branch.bank.basis is not old.bank.basis:  # type: ignore[union-attr]
            raise SpecError(
                f"layer {layer.name}: AWQ or SmoothQuant on a torch model",
                "an imported network, whose tables of features carry the factors",
                "pass lutkan.import_model(model), or take another method",
            )
        if branch.grid is not None:
            layer.branch_quantizers[name] = fixed(branch.grid)
        weights[name] = torch.tensor(branch.weights, dtype=like.dtype)
        if branch.codes is None:
            if name in layer.weight_quantizers:
                layer.weight_quantizers.pop(name)
            continue
        old_quantizer = layer.weight_quantizers[name]
        if not isinstance(old_quantizer, WeightQuantizer):
            raise SpecError(f"layer {layer.name}: a {type(old_quantizer).__name__} on weights", "a WeightQuantizer")
        rows = old_quantizer.rows
        scale = np.broadcast_to(branch.scale, branch.codes.shape).reshape(rows, -1)[:, 0]
        quantizer = UniformWeight(rows, branch.bits, symmetric=False)  # its ends are then what is set here
        most = 1 << (branch.bits - 1)
        quantizer.bottom.fill_(float(-most if branch.bits < 8 else 1 - most))
        quantizer.top.fill_(float(most - 1))
        quantizer.set_scale(torch.tensor(scale, dtype=quantizer.step.dtype))
        layer.weight_quantizers[name] = quantizer
    layer.set_weights(weights)
    if quantized.bias is not None:
        layer.bias = torch.nn.Parameter(torch.tensor(quantized.bias, dtype=like.dtype))
    layer.quantizing = True
    layer.to(like.device)
