"""`QuantKANLayer`: the one trainable layer that every family of KAN layers becomes.

Whatever the family, the output is linear in its features: `y = sum over branches of features @ weights.T, + bias`.
The features of a branch are the values of its basis functions at the inputs, `[N, in * C]`; its weights are the
coefficients, `[out, in * C]`. Training, post-training methods and the integer compiler work on these two alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lutkan.errors import InputError, SpecError
from lutkan.ir import Branch, EdgeBank, KANLayer
from lutkan.tables.spec import BranchSpec, CodeSpec
from lutkan.train.features import BasisFeatures, GlueModule
from lutkan.train.look_up import look_up
from lutkan.train.quantizers import InputQuantizer, WeightQuantizer, input_quantizer, weight_quantizer

__all__ = ["QuantKANLayer", "branch_names", "float_mode", "kan_layers"]


def branch_names(layer: KANLayer) -> tuple[str, ...]:
    """Name the branches of a layer: their roles, numbered from the second of a role on.

    Examples
    --------
    >>> from lutkan.ir import BSpline, Branch, EdgeBank, KANLayer, NamedFunction
    >>> hats = EdgeBank(BSpline(np.array([[-1.0, 0.0, 1.0, 2.0]]), degree=1), np.ones((1, 2, 1)))
    >>> base = EdgeBank(NamedFunction("silu"), np.ones((1, 1, 1)), role="base")
    >>> branch_names(KANLayer("a", (Branch(hats), Branch(base))))
    ('spline', 'base')
    """
    names: list[str] = []
    for branch in layer.branches:
        role = branch.bank.role
        before = sum(name.rstrip("0123456789") == role for name in names)
        names.append(f"{role}{before + 1}" if before else role)
    return tuple(names)


class QuantKANLayer(nn.Module):
    """A KAN layer with quantizers on its input and on the weights of its branches.

    Until `calibrate` has switched them on, no quantizer takes part, and the layer computes what it was made from.

    Parameters
    ----------
    layer : KANLayer
        Copied; numbers become float32 parameters.
    spec : CodeSpec
    method : str
        Quantizers, a key of `lutkan.train.quantizers.METHODS`.

    Attributes
    ----------
    names : tuple of str
        The branches: "spline", "base", ... in the order of the layer's.
    coefficients : ParameterDict
        `[out, in * C]` by branch, input-major; the edge scale is folded in unless `spec.scaler` keeps it apart.
    scalers : ParameterDict
        `[out, in]` by branch, where edge scales are kept apart.
    bias : Parameter [out] or None
    input_quantizer : InputQuantizer
        Of the layer's input.
    branch_quantizers : ModuleDict
        Input quantizers of branches behind steps that couple inputs (fast-kan's LayerNorm), by branch.
    weight_quantizers : ModuleDict
        By branch; `<branch>_scaler` for edge scales that are kept apart. None for branches without bits.
    quantizing : bool
        Whether the quantizers take part.

    Raises
    ------
    SpecError
        The layer has edges of named functions, which are no features times weights; a group size that does not divide
        a row of weights; a `scaler` where the layer has none.
    """

    bias: nn.Parameter | None
    active: Tensor

    def __init__(self, layer: KANLayer, spec: CodeSpec, *, method: str = "lsq+") -> None:
        super().__init__()
        self.name, self.spec, self.method = layer.name, spec, method
        self.told = layer  # the last answer of `lutkan_steps`
        self.in_features, self.out_features = layer.shape
        self.names = branch_names(layer)
        self.roles: dict[str, str] = {}
        self.banks: dict[str, EdgeBank] = {}
        self.register_buffer("active", torch.tensor(False))
        self.bases = nn.ModuleDict()
        self.pre = nn.ModuleDict()
        self.coefficients = nn.ParameterDict()
        self.scalers = nn.ParameterDict()
        self.weight_quantizers = nn.ModuleDict()
        self.branch_quantizers = nn.ModuleDict()
        self.input_quantizer: InputQuantizer = input_quantizer(method, spec.input_bits, symmetric=spec.input_symmetric)
        for name, branch in zip(self.names, layer.branches, strict=True):
            self._add(name, branch)
        if spec.scaler is not None and not self.scalers:
            raise SpecError(
                f"layer {layer.name!r}: scaler = {spec.scaler}, and it keeps no edge scale apart",
                "scaler=None",
                "override the spec of this layer",
            )
        bias = None if layer.bias is None else nn.Parameter(torch.tensor(layer.bias, dtype=torch.float32))
        self.register_parameter("bias", bias)

    def _add(self, name: str, branch: Branch) -> None:
        bank = branch.bank
        if not isinstance(bank, EdgeBank):
            raise SpecError(
                f"layer {self.name!r}: {bank.describe()}, a function of its own on every edge",
                "branches whose edges share their basis functions",
                'lutkan.compile(net, "int8") compiles it without training',
            )
        self.banks[name], self.roles[name] = bank, bank.role
        self.bases[name] = BasisFeatures(bank.basis, self.name)
        self.pre[name] = nn.ModuleList(GlueModule(step) for step in branch.pre)
        apart = self.spec.scaler is not None and bank.scale is not None
        values = bank.coefficients if apart else bank.weights
        self.coefficients[name] = nn.Parameter(_float32(values.transpose(2, 0, 1).reshape(self.out_features, -1)))
        if bank.scale is not None and bool((bank.scale == 0).any()):
            # Pruned edges stay pruned.
            self.register_buffer(f"mask_{name}", _float32(bank.scale.T != 0))
        spec = self.branch_spec(name)
        if apart and bank.scale is not None:
            self.scalers[name] = nn.Parameter(_float32(bank.scale.T))
            assert self.spec.scaler is not None
            self._add_weight_quantizer(f"{name}_scaler", self.spec.scaler, 1)
        self._add_weight_quantizer(name, spec, bank.basis.size)
        if not branch.elementwise:
            self.branch_quantizers[name] = input_quantizer(
                self.method, self.spec.input_bits, symmetric=self.spec.input_symmetric
            )

    def _add_weight_quantizer(self, key: str, spec: BranchSpec, size: int) -> None:
        if spec.bits is None:
            return
        per_output = self.in_features * size
        if spec.granularity == "group":
            assert spec.group_size is not None
            if per_output % spec.group_size:
                raise SpecError(
                    f"layer {self.name!r}, {key}: group_size = {spec.group_size} with {per_output} weights an output",
                    f"a divisor of {per_output}",
                )
            rows = self.out_features * (per_output // spec.group_size)
        else:
            rows = {"tensor": 1, "output": self.out_features, "edge": self.out_features * self.in_features}[
                spec.granularity
            ]
        self.weight_quantizers[key] = weight_quantizer(self.method, rows, spec.bits, symmetric=spec.symmetric)

    @property
    def quantizing(self) -> bool:
        """Whether the quantizers take part; kept in the state_dict."""
        return bool(self.active)

    @quantizing.setter
    def quantizing(self, value: bool) -> None:
        self.active.fill_(value)

    def branch_spec(self, name: str) -> BranchSpec:
        """Return what the spec says of a branch."""
        return self.spec.base if self.roles[name] == "base" else self.spec.spline

    def seen(self, x: Tensor) -> dict[str, Tensor]:
        """Return what every branch sees before its own quantizer: inputs `[N, in]` after the branch's steps.

        The input quantizer comes first, where it takes part.
        """
        x = self.input_quantizer(x) if self.quantizing else x
        return {name: self._before_basis(name, x) for name in self.names}

    def _before_basis(self, name: str, x: Tensor) -> Tensor:
        steps = self.pre[name]
        assert isinstance(steps, nn.ModuleList)
        for step in steps:
            x = step(x)
        return x

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return the features that the weights multiply.

        Parameters
        ----------
        x : float [N, in]
            Inputs of the layer, not quantized yet.

        Returns
        -------
        dict of float [N, in * C]
            By branch, input-major.
        """
        codes = None
        if self.quantizing:
            x, codes = self._quantized(self.input_quantizer, x)
        result = {}
        for name in self.names:
            basis, steps = self.bases[name], self.pre[name]
            assert isinstance(basis, BasisFeatures) and isinstance(steps, nn.ModuleList)
            at, known, quantizer = x, codes, self.input_quantizer
            if len(steps):
                at, known = self._before_basis(name, x), None
                if self.quantizing and name in self.branch_quantizers:
                    quantizer = self.branch_quantizers[name]
                    assert isinstance(quantizer, InputQuantizer)
                    at, known = self._quantized(quantizer, at)
            # One table serves all inputs that share a basis.
            found = basis(at) if known is None or not basis.shared else look_up(basis, at, known, quantizer.points())
            result[name] = found.flatten(1)
        return result

    def _quantized(self, quantizer: InputQuantizer, x: Tensor) -> tuple[Tensor, Tensor]:
        if not quantizer.ready:
            raise _not_calibrated(self.name)
        return quantizer.quantize(x)

    def weights(self) -> dict[str, Tensor]:
        """Return the weights that multiply the features, quantized where quantizers take part.

        Returns
        -------
        dict of float [out, in * C]
            By branch; edge scales are folded in.
        """
        result = {}
        for name in self.names:
            weight = self._weight(name, self.coefficients[name])
            if name in self.scalers:
                scaler = self._weight(f"{name}_scaler", self.scalers[name])
                weight = (weight.view(*scaler.shape, -1) * scaler.unsqueeze(-1)).flatten(1)
            mask = getattr(self, f"mask_{name}", None)
            if mask is not None:
                weight = (weight.view(*mask.shape, -1) * mask.unsqueeze(-1)).flatten(1)
            result[name] = weight
        return result

    def float_weights(self) -> dict[str, Tensor]:
        """Return the folded weights as they would be without quantizers."""
        with self._switched(False):
            return self.weights()

    def _weight(self, key: str, weight: Tensor) -> Tensor:
        if not self.quantizing or key not in self.weight_quantizers:
            return weight
        quantizer = self.weight_quantizers[key]
        assert isinstance(quantizer, WeightQuantizer)
        if not quantizer.ready:
            raise _not_calibrated(self.name)
        if quantizer.rows == len(weight):
            return quantizer(weight)
        return quantizer(weight.view(quantizer.rows, -1)).view(weight.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in] to [N, out]."""
        weights = self.weights()
        features = self.features(x)
        y = None
        for name in self.names:
            part = F.linear(features[name], weights[name], self.bias if y is None else None)
            y = part if y is None else y + part
        assert y is not None
        return y

    def calibrate(self, x: Tensor) -> None:
        """Give every quantizer its first parameters, from the weights and from inputs of this layer; switch them on.

        Parameters
        ----------
        x : float [N, in]
            Raises InputError where it is empty or not finite.
        """
        if x.ndim != 2 or x.shape[1] != self.in_features or len(x) == 0:
            raise InputError(
                f"layer {self.name!r}: calibration inputs of shape {tuple(x.shape)}", f"[N, {self.in_features}], N > 0"
            )
        if not bool(torch.isfinite(x).all()):
            raise InputError(f"layer {self.name!r}: calibration inputs with NaN or infinity", "finite numbers")
        with torch.no_grad():
            for key, weight in self._quantized_parameters():
                quantizer = self.weight_quantizers[key]
                assert isinstance(quantizer, WeightQuantizer)
                quantizer.init_from(weight.view(quantizer.rows, -1))
            self._calibrate_input(self.input_quantizer, x)
            quantized = self.input_quantizer(x)
            for name, quantizer in self.branch_quantizers.items():
                assert isinstance(quantizer, InputQuantizer)
                self._calibrate_input(quantizer, self._before_basis(name, quantized))
        self.quantizing = True

    def _calibrate_input(self, quantizer: InputQuantizer, x: Tensor) -> None:
        if self.spec.percentile is None:
            quantizer.init_from(x)
            return
        low, high = np.percentile(x.detach().cpu().numpy(), self.spec.percentile)
        if quantizer.symmetric:
            high = max(abs(low), abs(high))
            low = -high
        quantizer.set_range(float(low), float(high) if high > low else float(low) + 1.0)

    def _quantized_parameters(self) -> Iterator[tuple[str, Tensor]]:
        for name in self.names:
            if name in self.weight_quantizers:
                yield name, self.coefficients[name]
            if f"{name}_scaler" in self.weight_quantizers:
                yield f"{name}_scaler", self.scalers[name]

    def quantizer_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of the quantizers, which take no weight decay."""
        yield from self.input_quantizer.parameters()
        yield from self.branch_quantizers.parameters()
        yield from self.weight_quantizers.parameters()

    def set_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Replace the folded weights, `[out, in * C]` by branch; scalers that were kept apart become ones.

        Weights on the grid of their quantizer come back from it as they are, so this is how methods that choose the
        rounding themselves hand over their result.
        """
        with torch.no_grad():
            for name, weight in weights.items():
                self.coefficients[name].copy_(weight)
                if name in self.scalers:
                    self.scalers[name].fill_(1.0)

    def to_layer(self, *, quantized: bool = False) -> KANLayer:
        """Return the layer as arrays, its weights quantized or as they are."""
        with self._switched(quantized), torch.no_grad():
            weights = self.weights()
        branches = []
        for name in self.names:
            bank, steps = self.banks[name], self.pre[name]
            assert isinstance(steps, nn.ModuleList)
            weight = _float64(weights[name]).reshape(self.out_features, self.in_features, -1).transpose(1, 2, 0)
            pre = tuple(step.to_step() for step in steps)  # type: ignore[operator]
            branches.append(Branch(EdgeBank(bank.basis, weight, None, bank.role), pre))
        return KANLayer(self.name, tuple(branches), None if self.bias is None else _float64(self.bias))

    def lutkan_steps(self) -> tuple[KANLayer, ...]:
        """Tell the importer what this layer is without quantizers."""
        self.told = self.to_layer()
        return (self.told,)

    @contextmanager
    def _switched(self, quantizing: bool) -> Iterator[None]:
        before, self.quantizing = self.quantizing, quantizing
        try:
            yield
        finally:
            self.quantizing = before

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`."""
        return f"{self.in_features}, {self.out_features}, method={self.method!r}, quantizing={self.quantizing}"


def _not_calibrated(name: str) -> InputError:
    return InputError(
        f"layer {name!r}: its quantizers have no parameters yet",
        "a calibrated layer",
        "call lutkan.train.calibrate(model, X), or lutkan.train.train, which does",
    )


def _float32(values: NDArray[np.generic]) -> Tensor:
    return torch.tensor(np.ascontiguousarray(values), dtype=torch.float32)


def _float64(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().cpu().double().numpy()


def kan_layers(model: nn.Module) -> tuple[QuantKANLayer, ...]:
    """Return the quantized KAN layers of a model, in the order of registration."""
    return tuple(part for part in model.modules() if isinstance(part, QuantKANLayer))


@contextmanager
def float_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Leave all quantizers out for a while.

    Parameters
    ----------
    model : torch.nn.Module
        Its layers of type `QuantKANLayer` are meant.
    """
    before = [(layer, layer.quantizing) for layer in kan_layers(model)]
    try:
        for layer, _ in before:
            layer.quantizing = False
        yield model
    finally:
        for layer, quantizing in before:
            layer.quantizing = quantizing
