"""Three kinds of KAN as users train them, written from their formulas, with the tensors of the originals.

A state_dict of one of these imports with `lutkan.import_model` like a checkpoint of the library it is named after:

* `EfficientKAN`: `y = base_weight silu(x) + sum_m (spline_scaler * spline_weight[m]) B_m(x)`;
* `PyKAN`: `y = sum_i mask (scale_base silu(x) + scale_sp sum_m coef[m] B_m(x))`, node affines after every layer, and
  (adapted) knots of their own for every input, taken from the data;
* `FastKAN`: `y = spline_linear(exp(-((LayerNorm(x) - grid) / width)^2)) + base_linear(silu(x))`.

Layers are written for speed of training on one core: cubic B-splines on uniform knots come from a closed form, and
edges are summed in one matrix product.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FAMILIES", "EfficientKAN", "FastKAN", "PyKAN"]

INTERVALS = 5
DEGREE = 3
CORE = (-1.0, 1.0)
CENTRES = 8
# pykan's `grid_eps`: knots are this part uniform, the rest quantiles of the data.
UNIFORM_SHARE = 0.02


def uniform_knots(n_in: int) -> Tensor:
    """Return the extended knots of the core grid, the same for every input: [in, G + 2k + 1]."""
    step = (CORE[1] - CORE[0]) / INTERVALS
    knots = CORE[0] + step * torch.arange(-DEGREE, INTERVALS + DEGREE + 1, dtype=torch.float64)
    return knots.float().repeat(n_in, 1)


def uniform_cubic_basis(x: Tensor) -> Tensor:
    """Return all cubic B-splines on `uniform_knots`, [rows, in] -> [rows, in, G + k].

    With `t` the distance from the middle in intervals, a cubic B-spline is
    `(max(2 - t, 0)^3 - 4 max(1 - t, 0)^3) / 6`.
    """
    step = (CORE[1] - CORE[0]) / INTERVALS
    middles = CORE[0] + step * (torch.arange(INTERVALS + DEGREE) - 1)
    t = ((x.unsqueeze(-1) - middles) / step).abs()
    outer, inner = (2 - t).clamp_min(0), (1 - t).clamp_min(0)
    return (outer * outer * outer - 4 * (inner * inner * inner)) / 6


def bspline_basis(x: Tensor, knots: Tensor) -> Tensor:
    """Return all B-splines on knots of any spacing by the Cox-de Boor recursion: [rows, in] -> [rows, in, G + k].

    Where knots coincide a quotient 0 / 0 counts as 0, as in pykan.
    """
    at = x.unsqueeze(-1)
    values = ((knots[:, :-1] <= at) & (at < knots[:, 1:])).to(x.dtype)
    for d in range(1, DEGREE + 1):
        rise = _inverse(knots[:, d:-1] - knots[:, : -d - 1])
        fall = _inverse(knots[:, d + 1 :] - knots[:, 1:-d])
        values = (at - knots[:, : -d - 1]) * rise * values[..., :-1] + (knots[:, d + 1 :] - at) * fall * values[..., 1:]
    return values


def _inverse(width: Tensor) -> Tensor:
    return torch.where(width > 0, 1 / width.clamp_min(1e-30), torch.zeros_like(width))


class EfficientKANLayer(nn.Module):
    """efficient-kan's `KANLinear`."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.base_weight = nn.Parameter(torch.empty(n_out, n_in))
        self.spline_weight = nn.Parameter(0.1 / INTERVALS * (torch.rand(n_out, n_in, INTERVALS + DEGREE) - 0.5))
        self.spline_scaler = nn.Parameter(torch.empty(n_out, n_in))
        self.register_buffer("grid", uniform_knots(n_in))
        nn.init.kaiming_uniform_(self.base_weight, a=math.sqrt(5))
        nn.init.kaiming_uniform_(self.spline_scaler, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Map [rows, in] to [rows, out]."""
        coefficients = (self.spline_scaler.unsqueeze(-1) * self.spline_weight).flatten(1)
        return F.linear(F.silu(x), self.base_weight) + F.linear(uniform_cubic_basis(x).flatten(1), coefficients)


class EfficientKAN(nn.Module):
    """A stack of efficient-kan layers."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EfficientKANLayer(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """Map [rows, widths[0]] to [rows, widths[-1]]."""
        for layer in self.layers:
            x = layer(x)
        return x


class PyKANLayer(nn.Module):
    """pykan's `KANLayer`; tensors are [in, out, ...]."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.uniform = True
        self.register_buffer("grid", uniform_knots(n_in))
        self.register_buffer("mask", torch.ones(n_in, n_out))
        self.coef = nn.Parameter(0.3 / INTERVALS * (torch.rand(n_in, n_out, INTERVALS + DEGREE) - 0.5))
        self.scale_base = nn.Parameter((2 * torch.rand(n_in, n_out) - 1) / math.sqrt(n_in))
        self.scale_sp = nn.Parameter(torch.ones(n_in, n_out) / math.sqrt(n_in))

    def forward(self, x: Tensor) -> Tensor:
        """Map [rows, in] to [rows, out]."""
        basis = self.basis(x)
        coefficients = (self.mask * self.scale_sp).unsqueeze(-1) * self.coef
        return F.silu(x) @ (self.mask * self.scale_base) + basis.flatten(1) @ coefficients.transpose(1, 2).flatten(0, 1)

    def basis(self, x: Tensor) -> Tensor:
        """Return all B-splines at x: [rows, in, G + k]."""
        return uniform_cubic_basis(x) if self.uniform else bspline_basis(x, self.get_buffer("grid"))

    @torch.no_grad()
    def adapt(self, x: Tensor) -> None:
        """Move the knots to where the inputs are, and fit the splines anew, as pykan's grid update does."""
        curves = torch.einsum("nim,iom->nio", self.basis(x), self.coef)
        ordered = x.sort(dim=0).values
        at = [len(x) * i // INTERVALS for i in range(INTERVALS)] + [-1]
        quantiles = ordered[at].T
        share = torch.linspace(0, 1, INTERVALS + 1)
        even = quantiles[:, :1] + share * (quantiles[:, -1:] - quantiles[:, :1])
        core = UNIFORM_SHARE * even + (1 - UNIFORM_SHARE) * quantiles
        step = (core[:, -1:] - core[:, :1]) / INTERVALS
        reach = step * torch.arange(1, DEGREE + 1)
        self.uniform = False
        self.get_buffer("grid").copy_(torch.cat([core[:, :1] - reach.flip(1), core, core[:, -1:] + reach], dim=1))
        basis = self.basis(x).transpose(0, 1).double()
        gram = basis.transpose(1, 2) @ basis + 1e-8 * len(x) * torch.eye(INTERVALS + DEGREE, dtype=torch.float64)
        fitted = torch.linalg.solve(gram, basis.transpose(1, 2) @ curves.transpose(0, 1).double())
        self.coef.copy_(fitted.transpose(1, 2).float())


class Symbolic(nn.Module):
    """The tensors of pykan's symbolic edges, none of them in use."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.register_buffer("mask", torch.zeros(n_out, n_in))
        self.register_buffer("affine", torch.zeros(n_out, n_in, 4))


class PyKAN(nn.Module):
    """pykan's `MultKAN` without multiplication nodes and symbolic edges; node affines stay at identity."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.act_fun = nn.ModuleList(PyKANLayer(a, b) for a, b in pairwise(widths))
        self.symbolic_fun = nn.ModuleList(Symbolic(a, b) for a, b in pairwise(widths))
        for layer, width in enumerate(widths[1:]):
            for kind in ("node", "subnode"):
                self.register_buffer(f"{kind}_bias_{layer}", torch.zeros(width))
                self.register_buffer(f"{kind}_scale_{layer}", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map [rows, widths[0]] to [rows, widths[-1]]."""
        for layer in self.act_fun:
            x = layer(x)
        return x

    @torch.no_grad()
    def adapt(self, x: Tensor) -> None:
        """Move the knots of every layer to where its inputs are."""
        for layer in self.act_fun:
            layer.adapt(x)  # type: ignore[operator]
            x = layer(x)


class Centres(nn.Module):
    """The centres of fast-kan's Gaussians."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("grid", torch.linspace(-2.0, 2.0, CENTRES))

    def forward(self, x: Tensor) -> Tensor:
        """Return the Gaussians at x: [rows, in] -> [rows, in, centres]."""
        width = 4.0 / (CENTRES - 1)
        return torch.exp(-(((x.unsqueeze(-1) - self.get_buffer("grid")) / width) ** 2))


class FastKANLayer(nn.Module):
    """fast-kan's `FastKANLayer`."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(n_in)
        self.rbf = Centres()
        self.spline_linear = nn.Linear(n_in * CENTRES, n_out, bias=False)
        self.base_linear = nn.Linear(n_in, n_out)
        nn.init.trunc_normal_(self.spline_linear.weight, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [rows, in] to [rows, out]."""
        return self.spline_linear(self.rbf(self.layernorm(x)).flatten(1)) + self.base_linear(F.silu(x))


class FastKAN(nn.Module):
    """A stack of fast-kan layers."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FastKANLayer(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """Map [rows, widths[0]] to [rows, widths[-1]]."""
        for layer in self.layers:
            x = layer(x)
        return x


#: Networks by the name of the library whose tensors they have.
FAMILIES: dict[str, type[EfficientKAN] | type[PyKAN] | type[FastKAN]] = {
    "efficient-kan": EfficientKAN,
    "pykan": PyKAN,
    "pykan-adapted": PyKAN,
    "fast-kan": FastKAN,
}
