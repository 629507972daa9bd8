"""From a float model to a trainable quantized one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lutkan.adapters.importer import families_named
from lutkan.adapters.live import is_live_module, unwrap
from lutkan.adapters.module import import_module
from lutkan.errors import InputError, SpecError
from lutkan.ir import KANLayer, Network, Step
from lutkan.numerics.rows import real_rows
from lutkan.tables.spec import CodeSpec, LayerSpec, Spec, resolve_spec
from lutkan.train.features import GlueModule
from lutkan.train.layer import QuantKANLayer, kan_layers

__all__ = ["QuantSteps", "calibrate", "from_network", "prepare"]


class QuantSteps(nn.Sequential):
    """Steps of a network as torch modules, one after the other.

    Parameters
    ----------
    modules : sequence of QuantKANLayer and GlueModule
    family : str
        Where they came from.
    """

    def __init__(self, modules: Sequence[nn.Module], family: str = "lutkan") -> None:
        super().__init__(*modules)
        self.family = family

    def lutkan_steps(self) -> tuple[Step, ...]:
        """Tell the importer what these steps are without quantizers."""
        steps: list[Step] = []
        for part in self:
            if isinstance(part, QuantKANLayer):
                steps += part.lutkan_steps()
            elif isinstance(part, GlueModule):
                steps.append(part.to_step())
        return tuple(steps)


def prepare(
    model: nn.Module,
    spec: Spec | LayerSpec | str | Mapping[str, Any] = "w4a8",
    *,
    method: str = "lsq+",
    config: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Replace the KAN layers of a live torch model by trainable layers with quantizers.

    The quantizers do not take part until `calibrate` (or `train`, which calls it) has given them their first
    parameters: what comes back computes what `model` computes.

    Parameters
    ----------
    model : torch.nn.Module
        Of any family that `lutkan.import_model` reads; unchanged. Ordinary layers between the KAN layers stay.
    spec : Spec, CodeSpec, str or mapping
        "w4a8", ...; overrides go by the layer's path in the model or its number.
    method : str
        "lsq", "lsq+", "pact", "dorefa", "qil", "dsq", or "uniform"; see `lutkan.train.quantizers`.
    config : mapping, optional
        As for `lutkan.import_model`.

    Returns
    -------
    torch.nn.Module
        A copy, in float32.

    Raises
    ------
    ImportModelError
        A layer is not recognised, or the model is not a chain of known layers: nothing could be compiled from it.
    SpecError
        A spec that is no `CodeSpec`, a pattern that matches nothing, an unknown method, a layer that cannot be trained.

    Examples
    --------
    >>> import torch, lutkan.train
    >>> class ChebyKANLayer(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.cheby_coeffs = torch.nn.Parameter(torch.ones(2, 3, 4))
    ...         self.register_buffer("arange", torch.arange(4))
    ...     def forward(self, x):
    ...         angle = torch.tanh(x).unsqueeze(-1).acos() * self.arange
    ...         return torch.einsum("bid,iod->bo", angle.cos(), self.cheby_coeffs)
    >>> quantized = lutkan.train.prepare(torch.nn.Sequential(ChebyKANLayer(), torch.nn.Linear(3, 1)), "w4a8")
    >>> [type(part).__name__ for part in quantized]
    ['QuantKANLayer', 'Linear']
    """
    if not is_live_module(model):
        raise InputError(
            f"model is a {type(model).__name__}",
            "a live torch module",
            "lutkan.train.from_network(lutkan.import_model(source), spec) takes checkpoints",
        )
    imported = import_module(model, families_named(None), config)
    names = tuple(layer.name for layer in imported.network.layers)
    make = _maker(names, _code_spec(spec, names), method)
    prepared = copy.deepcopy(unwrap(model))
    by_path = dict(prepared.named_modules())
    for path, steps in imported.steps.items():
        parts = [make(step) if isinstance(step, KANLayer) else GlueModule(step) for step in steps]
        new = parts[0] if len(parts) == 1 else QuantSteps(parts)
        new.family = imported.network.source.family  # type: ignore[assignment]
        if by_path[path] is prepared:
            prepared = new
            break
        _replace(prepared, by_path[path], new)
    return prepared.train(model.training)


def _replace(root: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put `new` wherever the model holds `old`."""
    for part in root.modules():
        for name, child in part._modules.items():
            if child is old:
                part._modules[name] = new


def from_network(
    net: Network, spec: Spec | LayerSpec | str | Mapping[str, Any] = "w4a8", *, method: str = "lsq+"
) -> nn.Module:
    """Make a trainable model with quantizers from an imported network; its library is not needed.

    Parameters
    ----------
    net : Network
    spec, method
        As for `prepare`.

    Returns
    -------
    torch.nn.Module
        Computes what `net` computes, in float32, until it is calibrated.

    Raises
    ------
    SpecError
        As for `prepare`.

    Examples
    --------
    >>> import lutkan, lutkan.train
    >>> net = lutkan.import_model({"cheby_coeffs": np.ones((2, 3, 4), dtype=np.float32)})
    >>> [type(part).__name__ for part in lutkan.train.from_network(net, "w4a8")]
    ['QuantKANLayer']
    """
    if not isinstance(net, Network):
        raise InputError(f"net is a {type(net).__name__}", "a Network", "pass lutkan.import_model(source)")
    names = tuple(layer.name for layer in net.layers)
    make = _maker(names, _code_spec(spec, names), method)
    parts = [make(step) if isinstance(step, KANLayer) else GlueModule(step) for step in net.steps]
    return QuantSteps(parts, net.source.family)


def _code_spec(spec: Spec | LayerSpec | str | Mapping[str, Any], names: tuple[str, ...]) -> Spec:
    resolved = resolve_spec(spec)
    resolved.require_matches(names)
    for index, name in enumerate(names):
        found = resolved.for_layer(index, name)
        if not isinstance(found, CodeSpec):
            raise SpecError(
                f"layer {name!r}: a {type(found).__name__} for training", "a CodeSpec", 'spec="w4a8", or CodeSpec(...)'
            )
    return resolved


def _maker(names: tuple[str, ...], spec: Spec, method: str) -> Callable[[KANLayer], QuantKANLayer]:
    """Return what makes the trainable layer of each KAN layer of the network."""

    def make(layer: KANLayer) -> QuantKANLayer:
        found = spec.for_layer(names.index(layer.name), layer.name)
        assert isinstance(found, CodeSpec)
        return QuantKANLayer(layer, found, method=method)

    return make


def calibrate(model: nn.Module, X: object) -> None:
    """Give all quantizers of a model their first parameters, layer after layer, and switch them on.

    Every layer sees what the quantized layers before it give. Parameters exist from the beginning, so an optimizer may
    be made before or after.

    Parameters
    ----------
    model : torch.nn.Module
        From `prepare` or `from_network`.
    X : array or tensor [N, in]
        Rows that look like the inputs to come; a few hundred do.

    Raises
    ------
    InputError
        No rows, the wrong width, NaN or infinity, or a model without quantized layers.
    """
    layers = kan_layers(model)
    if not layers:
        raise InputError(f"{type(model).__name__} holds no quantized KAN layer", "what lutkan.train.prepare returned")
    rows = as_rows(model, X)
    training, handles = model.training, []

    def before(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if isinstance(layer, QuantKANLayer) and not layer.quantizing:
            layer.calibrate(arguments[0])

    model.eval()
    try:
        for layer in layers:
            layer.quantizing = False
            handles.append(layer.register_forward_pre_hook(before))
        with torch.no_grad():
            model(rows)
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)


def as_rows(model: nn.Module, X: object) -> Tensor:
    """Check rows of inputs and bring them to the dtype and device of a model."""
    first = kan_layers(model)[0]
    like = next(first.parameters())
    if isinstance(X, Tensor):
        X = X.detach().cpu().numpy()
    array = np.asarray(X)
    width = _input_width(model)
    rows = real_rows("X", array, array.shape[1] if array.ndim == 2 and width is None else (width or first.in_features))
    if len(rows) == 0 or not bool(np.isfinite(rows).all()):
        raise InputError("X: no rows, or NaN or infinity in them", "at least one row of finite numbers")
    return torch.tensor(rows, dtype=like.dtype, device=like.device)


def _input_width(model: nn.Module) -> int | None:
    """Return the width of the rows that a model takes, where its first layer tells it."""
    for part in model.modules():
        if isinstance(part, (QuantKANLayer, nn.Linear)):
            return part.in_features
        if isinstance(part, GlueModule):
            if part.kind == "select":
                return int(part.step.in_features)
            if part.kind == "linear":
                return int(part.step.weight.shape[0])
    return None
