"""PyTorch arms: efficient-kan, fast-kan, pykan in speed mode, inkan and KANditioned, and the dense network.

Forward passes only, in inference mode, from the tensors that the libraries save.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.lab.arms.contender import Contender
from lutkan.lab.nets import KANDITIONED_WIDTH, Drawn

__all__ = [
    "dense",
    "efficient_kan",
    "fast_kan",
    "fast_kan_compiled",
    "inkan",
    "inkan_compiled",
    "kanditioned",
    "pykan",
]

F32 = NDArray[np.float32]
Tensor = Any
Forward = Callable[[Tensor], Tensor]

# Shapes that one function may be compiled for: layers times batches.
_COMPILED_SHAPES = 64


def _layers(model: Drawn) -> list[dict[str, Tensor]]:
    """Return the tensors of each layer by name."""
    import torch

    layers: dict[int, dict[str, Tensor]] = {}
    for key, array in model.state.items():
        _, number, name = key.split(".", 2)
        layers.setdefault(int(number), {})[name] = torch.from_numpy(np.ascontiguousarray(array))
    return [layers[number] for number in sorted(layers)]


def _contender(name: str, kind: str, forward: Forward, model: Drawn, bytes_a_row: int) -> Contender:
    import torch

    def prepare(x: F32) -> Callable[[], object]:
        rows = torch.from_numpy(np.ascontiguousarray(x))

        def call() -> object:
            with torch.inference_mode():
                return forward(rows)

        return call

    return Contender(
        name, kind, prepare, model.evaluate, model.edges, model.nbytes, bytes_a_row, model.checkpoint_bytes
    )


def _recursion(x: Tensor, grid: Tensor, degree: int) -> Tensor:
    """Evaluate all bases of [N, in] by the Cox-de Boor recursion on knots [in, T]: [N, in, T - 1 - degree]."""
    x = x.unsqueeze(-1)
    bases = ((x >= grid[:, :-1]) & (x < grid[:, 1:])).to(x.dtype)
    for p in range(1, degree + 1):
        rising = (x - grid[:, : -(p + 1)]) / (grid[:, p:-1] - grid[:, : -(p + 1)])
        falling = (grid[:, p + 1 :] - x) / (grid[:, p + 1 :] - grid[:, 1:-p])
        bases = rising * bases[..., :-1] + falling * bases[..., 1:]
    return bases


def efficient_kan(model: Drawn) -> Contender:
    """Run efficient-kan: the dense recursion, then two products.

    The scaler is multiplied into the weights on every call, as upstream's property does.
    """
    from torch.nn import functional

    layers = _layers(model)

    def forward(x: Tensor) -> Tensor:
        for layer in layers:
            weight, grid = layer["spline_weight"], layer["grid"]
            degree = grid.shape[1] - 1 - weight.shape[2]
            base = functional.linear(functional.silu(x), layer["base_weight"])
            bases = _recursion(x, grid, degree).contiguous()
            scaled = weight * layer["spline_scaler"].unsqueeze(-1)
            x = base + functional.linear(bases.view(len(x), -1), scaled.view(len(scaled), -1))
        return x

    widest = max(layer["grid"].numel() for layer in layers)
    return _contender("efficient-kan", "eager", forward, model, 24 * widest)


def _fast_forward(model: Drawn) -> tuple[Forward, int]:
    import torch
    from torch.nn import functional

    layers = _layers(model)
    for layer in layers:
        grid = layer["rbf.grid"]
        layer["spread"] = (grid[-1] - grid[0]) / (len(grid) - 1)

    def forward(x: Tensor) -> Tensor:
        for layer in layers:
            seen = functional.layer_norm(x, x.shape[1:], layer["layernorm.weight"], layer["layernorm.bias"])
            bumps = torch.exp(-(((seen[..., None] - layer["rbf.grid"]) / layer["spread"]) ** 2))
            spline = functional.linear(bumps.view(len(x), -1), layer["spline_linear.weight"])
            x = spline + functional.linear(functional.silu(x), layer["base_linear.weight"], layer["base_linear.bias"])
        return x

    widest = max(layer["spline_linear.weight"].shape[1] for layer in layers)
    return forward, 16 * widest


def fast_kan(model: Drawn) -> Contender:
    """Run fast-kan: LayerNorm, Gaussians, one product, and the base product."""
    forward, bytes_a_row = _fast_forward(model)
    return _contender("fast-kan", "eager", forward, model, bytes_a_row)


def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compile for each shape apart: the fastest code that torch.compile makes."""
    import torch
    import torch._dynamo

    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _COMPILED_SHAPES)
    return torch.compile(function, dynamic=False)


def fast_kan_compiled(model: Drawn) -> Contender:
    """Run fast-kan with its whole forward pass under torch.compile."""
    forward, bytes_a_row = _fast_forward(model)
    return _contender("fast-kan compiled", "compiled", _compiled(forward), model, bytes_a_row)


def _inkan(model: Drawn, name: str, kind: str, compile_basis: Callable[..., Any]) -> Contender:
    """Run inkan: closed-form cubic bases on shared uniform knots, bases and base values side by side, one product.

    Features lie as [basis][input], which torch.compile vectorises better than upstream's [input][basis].
    """
    import torch
    from torch.nn import functional

    packed = []
    for layer in _layers(model):
        n_out, n_in, count = layer["spline_weight"].shape
        scaled = layer["spline_weight"] * layer["spline_scaler"].unsqueeze(-1)
        flat = scaled.transpose(1, 2).reshape(n_out, count * n_in)
        step = float((layer["grid"][0, -1] - layer["grid"][0, 0]) / (layer["grid"].shape[1] - 1))
        # B_c(x) is the cardinal cubic spline at distance |x - centre_c| / step.
        centres = (layer["grid"][0, :count] + 2 * step).unsqueeze(-1)
        packed.append((torch.cat([flat, layer["base_weight"]], dim=1).contiguous(), centres, 1.0 / step))

    def features(x: Tensor, centres: Tensor, inverse: float) -> Tensor:
        distance = (x.unsqueeze(1) - centres).abs() * inverse
        outer, inner = (2.0 - distance).clamp(min=0.0), (1.0 - distance).clamp(min=0.0)
        bases = (outer * outer * outer - 4.0 * (inner * inner * inner)) * (1.0 / 6.0)
        return torch.cat([bases, functional.silu(x).unsqueeze(1)], dim=1).reshape(x.shape[0], -1)

    basis = compile_basis(features)

    def forward(x: Tensor) -> Tensor:
        for weight, centres, inverse in packed:
            x = functional.linear(basis(x, centres, inverse), weight)
        return x

    return _contender(name, kind, forward, model, 16 * max(weight.shape[1] for weight, _, _ in packed))


def inkan(model: Drawn) -> Contender:
    """Run inkan without torch.compile."""
    return _inkan(model, "inkan", "eager", lambda function: function)


def inkan_compiled(model: Drawn) -> Contender:
    """Run inkan as it comes, with the basis under torch.compile."""
    return _inkan(model, "inkan compiled", "compiled", _compiled)


def kanditioned(model: Drawn) -> Contender:
    """Run KANditioned's embedding_bag: two rows of a float32 table an input, with the weights of a straight line."""
    import torch
    from torch.nn import functional

    tables = []
    for layer in _layers(model):
        n_in, points, n_out = layer["kan_weight"].shape
        offset = (torch.arange(n_in) * points).to(torch.int32)
        tables.append((layer["kan_weight"].reshape(n_in * points, n_out).contiguous(), offset, points))

    def forward(x: Tensor) -> Tensor:
        for table, offset, points in tables:
            position = x * ((points - 1) / KANDITIONED_WIDTH) + (points - 1) / 2
            cell = position.floor().clamp(0, points - 2)
            right = position - cell
            index = cell.to(torch.int32) + offset
            indices = torch.stack([index, index + 1], dim=2).view(len(x), -1)
            weights = torch.stack([1.0 - right, right], dim=2).view(len(x), -1)
            x = functional.embedding_bag(indices, table, mode="sum", per_sample_weights=weights)
        return x

    widest = max(len(offset) for _, offset, _ in tables)
    return _contender("KANditioned embedding_bag", "eager", forward, model, 48 * widest)


def pykan(model: Drawn) -> Contender:
    """Run pykan after `.speed()`: the recursion, and a value for every row and edge [N, in, out].

    Upstream copies these values twice, for plots and pruning, even in this mode; so does this.
    """
    import torch
    from torch.nn import functional

    layers = []
    for layer in _layers(model):
        coef = layer["spline_weight"].permute(1, 0, 2).contiguous()
        base, scale = layer["base_weight"].T.contiguous(), layer["spline_scaler"].T.contiguous()
        n_out = base.shape[1]
        affine = [torch.ones(n_out), torch.zeros(n_out), torch.ones(n_out), torch.zeros(n_out)]
        layers.append((layer["grid"], coef, base, scale, torch.ones_like(base), affine))

    def forward(x: Tensor) -> Tensor:
        for grid, coef, scale_base, scale_sp, mask, (sub_scale, sub_bias, scale, bias) in layers:
            base = functional.silu(x)
            bases = torch.nan_to_num(_recursion(x, grid, grid.shape[1] - 1 - coef.shape[2]))
            spline = torch.einsum("ijk,jlk->ijl", bases, coef)
            spline.clone().permute(0, 2, 1)
            edges = scale_base.unsqueeze(0) * base.unsqueeze(2) + scale_sp.unsqueeze(0) * spline
            edges = mask.unsqueeze(0) * edges
            edges.clone().permute(0, 2, 1)
            x = scale * (sub_scale * edges.sum(dim=1) + sub_bias) + bias
        return x

    widest = max(base.numel() for _, _, base, _, _, _ in layers)
    return _contender("pykan speed", "eager", forward, model, 20 * widest)


def dense(model: Drawn) -> Contender:
    """Run nn.Linear of the same shape, in float32, with SiLU between layers."""
    import torch

    modules: list[Any] = []
    for layer in _layers(model):
        linear = torch.nn.Linear(layer["weight"].shape[1], layer["weight"].shape[0])
        linear.load_state_dict(layer)
        modules += [torch.nn.SiLU(), linear] if modules else [linear]
    forward = modules[0] if len(modules) == 1 else torch.nn.Sequential(*modules)
    widest = max(int(layer["weight"].shape[0]) for layer in _layers(model))
    return _contender("nn.Linear", "dense", forward, model, 8 * widest)
