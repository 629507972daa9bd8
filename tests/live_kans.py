"""Small live modules of the four families that training supports, written anew from their formulas."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F


def recursion(x, knots, degree):
    """Cox-de Boor over all functions, half-open intervals: [N, in] -> [N, in, C]."""
    x = x[..., None]
    values = ((x >= knots[:, :-1]) & (x < knots[:, 1:])).to(x.dtype)
    for p in range(1, degree + 1):
        rising = (x - knots[:, : -(p + 1)]) / (knots[:, p:-1] - knots[:, : -(p + 1)])
        falling = (knots[:, p + 1 :] - x) / (knots[:, p + 1 :] - knots[:, 1:-p])
        values = rising * values[..., :-1] + falling * values[..., 1:]
    return values


def uniform_knots(n_in, size=5, degree=3):
    return (torch.arange(-degree, size + degree + 1) * (2.0 / size) - 1.0).repeat(n_in, 1)


class EfficientLayer(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.base_weight = nn.Parameter(0.3 * torch.randn(n_out, n_in))
        self.spline_weight = nn.Parameter(0.3 * torch.randn(n_out, n_in, 8))
        self.spline_scaler = nn.Parameter(torch.rand(n_out, n_in) + 0.5)
        self.register_buffer("grid", uniform_knots(n_in))

    def forward(self, x):
        weight = self.spline_weight * self.spline_scaler[..., None]
        spline = F.linear(recursion(x, self.grid, 3).flatten(1), weight.flatten(1))
        return F.linear(F.silu(x), self.base_weight) + spline


class Centres(nn.Module):
    def __init__(self):
        super().__init__()
        self.grid = nn.Parameter(torch.linspace(-2, 2, 8), requires_grad=False)
        self.denominator = 4.0 / 7

    def forward(self, x):
        return torch.exp(-(((x[..., None] - self.grid) / self.denominator) ** 2))


class FastLayer(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.layernorm, self.rbf = nn.LayerNorm(n_in), Centres()
        self.spline_linear = nn.Linear(n_in * 8, n_out, bias=False)
        self.base_linear = nn.Linear(n_in, n_out)
        self.base_activation = F.silu

    def forward(self, x):
        bumps = self.rbf(self.layernorm(x)).flatten(1)
        return self.spline_linear(bumps) + self.base_linear(self.base_activation(x))


class GramLayer(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.grams_basis_weights = nn.Parameter(0.3 * torch.randn(n_in, n_out, 4))
        self.beta_weights = nn.Parameter(0.1 * torch.randn(4))
        self.base_weights = nn.Parameter(0.3 * torch.randn(n_out, n_in))
        self.norm, self.act = nn.LayerNorm(n_out), nn.SiLU()

    def forward(self, x):
        t = torch.tanh(x)
        second = t * t - 2.25 * self.beta_weights[1]
        third = t * second - 100 / 3 * self.beta_weights[2] * t
        basis = self.act(torch.stack([torch.ones_like(t), t, second, third], -1))
        y = torch.einsum("bid,iod->bo", basis, self.grams_basis_weights) + F.linear(self.act(x), self.base_weights)
        return self.act(self.norm(y))


class PyLayer(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        grid = uniform_knots(n_in)
        self.register_buffer("grid", grid + 0.05 * torch.sin(7 * grid + torch.arange(n_in)[:, None]))
        self.coef = nn.Parameter(0.3 * torch.randn(n_in, n_out, 8))
        mask = torch.ones(n_in, n_out)
        mask[0, 0] = 0.0
        self.mask = nn.Parameter(mask, requires_grad=False)
        self.scale_base = nn.Parameter(0.5 * torch.randn(n_in, n_out))
        self.scale_sp = nn.Parameter(torch.rand(n_in, n_out) + 0.5)
        self.base_fun = nn.SiLU()

    def forward(self, x):
        spline = torch.einsum("nic,ioc->nio", recursion(x, self.grid, 3), self.coef)
        edges = self.mask * (self.scale_base * F.silu(x)[..., None] + self.scale_sp * spline)
        return edges.sum(1)


class Symbolic(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.mask = nn.Parameter(torch.zeros(n_out, n_in), requires_grad=False)
        self.affine = nn.Parameter(torch.zeros(n_out, n_in, 4))
        self.funs_name = [["0"] * n_in for _ in range(n_out)]


class PyKAN(nn.Module):
    """pykan's MultKAN without multiplication nodes."""

    def __init__(self, *widths):
        super().__init__()
        pairs = list(pairwise(widths))
        self.width, self.mult_arity = [[width, 0] for width in widths], 2
        self.input_id, self.symbolic_enabled = torch.arange(widths[0]), False
        self.act_fun = nn.ModuleList(PyLayer(a, b) for a, b in pairs)
        self.symbolic_fun = nn.ModuleList(Symbolic(a, b) for a, b in pairs)
        for layer, (_, width) in enumerate(pairs):
            for kind in ("node", "subnode"):
                self.register_parameter(f"{kind}_bias_{layer}", nn.Parameter(0.1 * torch.randn(width)))
                self.register_parameter(f"{kind}_scale_{layer}", nn.Parameter(1 + 0.1 * torch.randn(width)))

    def forward(self, x):
        for index, layer in enumerate(self.act_fun):
            x = getattr(self, f"subnode_scale_{index}") * layer(x) + getattr(self, f"subnode_bias_{index}")
            x = getattr(self, f"node_scale_{index}") * x + getattr(self, f"node_bias_{index}")
        return x


class Stack(nn.Module):
    def __init__(self, layer, *widths):
        super().__init__()
        self.layers = nn.ModuleList(layer(a, b) for a, b in pairwise(widths))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def stack(family, *widths):
    """A model of a family, in evaluation mode."""
    if family == "pykan":
        return PyKAN(*widths).eval()
    return Stack({"efficient-kan": EfficientLayer, "fast-kan": FastLayer, "gram": GramLayer}[family], *widths).eval()


FAMILIES = ("efficient-kan", "fast-kan", "pykan", "gram")
