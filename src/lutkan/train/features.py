"""The features of a KAN layer in torch: `[N, in] -> [N, in, C]`, with the values of `lutkan.ir`'s bases.

A B-spline has `degree + 1` values other than zero at any place. They alone are computed (de Boor's triangle) and
written into the row of all features; the derivative is the same computation one order up, so gradients cost no
recorded graph, and gradients of gradients are exact too. An input of A bits has 2^A values, so that features of a
quantized input are rows of a small table, looked up by code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lutkan.errors import ImportModelError
from lutkan.ir import (
    RSWAF,
    Activation,
    Affine,
    Basis,
    BSpline,
    Fourier,
    GaussianRBF,
    LayerNorm,
    NamedFunction,
    PiecewiseLinear,
    Polynomial,
    ReluProduct,
)
from lutkan.numerics import bspline

__all__ = ["ACTIVATIONS", "BasisFeatures", "GlueModule", "sum_of_products"]


def _zero(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


#: The activations of `lutkan.numerics.functions`, in torch.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "zero": _zero,
    "identity": lambda x: x,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "sin": torch.sin,
    "cos": torch.cos,
    "exp": torch.exp,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "elu": F.elu,
    "mish": F.mish,
}


class BasisFeatures(nn.Module):
    """All functions of a basis at the inputs of a layer.

    Parameters
    ----------
    basis : Basis
    where : str
        Path of the layer, for messages.
    """

    knots: Tensor
    _exponents: Tensor

    def __init__(self, basis: Basis, where: str = "") -> None:
        super().__init__()
        self.basis = basis
        self.size = basis.size
        #: Whether all inputs share the basis, so that one table serves them all.
        self.shared = basis.rows == 1
        if isinstance(basis, BSpline):
            knots = basis.extended_knots
            if basis.rows > 1 and bool((knots == knots[:1]).all()):
                knots, self.shared = knots[:1], True
            self.register_buffer("knots", torch.tensor(knots, dtype=torch.float64), persistent=False)
            self._repeated = bool(bspline.has_repeated_knots(knots).any())
            if self.shared and not self._repeated:
                self.register_buffer("pieces", torch.tensor(_pieces(knots, basis.degree)), persistent=False)
                self.register_buffer("_exponents", torch.arange(basis.degree + 1.0), persistent=False)
                self._cast: dict[Any, tuple[Tensor, Tensor, Tensor]] = {}
        elif isinstance(basis, (GaussianRBF, RSWAF)):
            self.register_buffer("centres", torch.tensor(basis.centres), persistent=False)
        elif isinstance(basis, PiecewiseLinear):
            self.register_buffer("points", torch.tensor(basis.points), persistent=False)
        elif isinstance(basis, ReluProduct):
            self.register_buffer("low", torch.tensor(basis.low), persistent=False)
            self.register_buffer("high", torch.tensor(basis.high), persistent=False)
        elif not isinstance(basis, (Polynomial, Fourier, NamedFunction)):
            raise ImportModelError(
                f"layer {where!r}: edges of {type(basis).__name__} cannot be trained", "the bases of lutkan.ir"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate all functions: [N, in] -> [N, in, C]."""
        basis = self.basis
        if isinstance(basis, BSpline):
            if self._repeated:
                return _recursive(x, self.knots.to(x.dtype), basis.degree)
            return _Spline.apply(x, self.knots, basis.degree, 0)  # type: ignore[no-any-return]
        if isinstance(basis, NamedFunction):
            return ACTIVATIONS[basis.name](x).unsqueeze(-1)
        at = x.unsqueeze(-1)
        if isinstance(basis, GaussianRBF):
            return torch.exp(-(((at - self._at("centres", x)) / basis.width) ** 2))
        if isinstance(basis, RSWAF):
            return 1.0 - torch.tanh((at - self._at("centres", x)) * basis.inverse_width) ** 2
        if isinstance(basis, ReluProduct):
            product = F.relu(at - self._at("low", x)) * F.relu(self._at("high", x) - at) * basis.gain
            return product * product
        if isinstance(basis, Fourier):
            angles = at * torch.arange(1, basis.frequencies + 1, dtype=x.dtype, device=x.device)
            return torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)
        if isinstance(basis, Polynomial):
            values = _polynomials(x, basis)
            return ACTIVATIONS[basis.activation](values)
        return self._hats(x)

    def _at(self, name: str, x: Tensor) -> Tensor:
        return self.get_buffer(name).to(x.dtype)

    def _hats(self, x: Tensor) -> Tensor:
        points = self._at("points", x)
        cell = (torch.searchsorted(points, x.detach().contiguous(), right=True) - 1).clamp(0, len(points) - 2)
        weight = (x - points[cell]) / (points[cell + 1] - points[cell])
        dense = torch.zeros((*x.shape, self.size), dtype=x.dtype, device=x.device)
        return dense.scatter(-1, torch.stack([cell, cell + 1], -1), torch.stack([1.0 - weight, weight], -1))

    def table(self, points: Tensor, order: int) -> Tensor:
        """Evaluate the derivative of that order of functions that all inputs share at some points: [S] -> [S, C]."""
        if not isinstance(self.basis, BSpline) or self._repeated:
            return self.derivative(points.unsqueeze(-1), order)[:, 0]
        return self._from_pieces(points, (order,))[:, 0]

    def tables(self, points: Tensor) -> tuple[Tensor, Tensor | None]:
        """Evaluate the functions, and their slopes where these cost next to nothing more: [S] -> two of [S, C]."""
        if isinstance(self.basis, NamedFunction) and self.basis.name == "silu":
            s, values = torch.sigmoid(points), F.silu(points)
            return values.unsqueeze(-1), torch.addcmul(s, values, 1.0 - s).unsqueeze(-1)
        if not isinstance(self.basis, BSpline) or self._repeated:
            return self.table(points, 0), None
        values, slopes = self._from_pieces(points, (0, 1)).unbind(1)
        return values, slopes

    def _from_pieces(self, points: Tensor, orders: tuple[int, ...]) -> Tensor:
        """Evaluate derivatives of B-splines: every function is a polynomial between two knots, and zero beyond all."""
        knots, left, pieces = self._pieces_at(points, orders)
        span = torch.bucketize(points, knots, right=True)
        offset = (points - left.index_select(0, span)).unsqueeze(-1)
        powers = (offset ** self._exponents.to(offset.dtype)).unsqueeze(-1)
        found = torch.bmm(pieces.index_select(0, span), powers)
        return found.view(len(points), len(orders), self.size)

    def _pieces_at(self, points: Tensor, orders: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the knots, what lies left of each interval, and the derivatives' polynomials, in the points' dtype."""
        key = (points.dtype, points.device, orders)
        if key not in self._cast:
            knots, given = self.knots[0], self.get_buffer("pieces")
            pieces = torch.zeros(len(given), len(orders), *given.shape[1:], dtype=given.dtype, device=given.device)
            for place, order in enumerate(orders):
                for k in range(order, given.shape[2]):
                    pieces[:, place, :, k - order] = given[:, :, k] * math.perm(k, order)
            left = torch.cat([knots[:1], knots])
            self._cast[key] = knots.to(points.dtype), left.to(points.dtype), pieces.flatten(1, 2).to(points.dtype)
        return self._cast[key]

    def derivative(self, x: Tensor, order: int) -> Tensor:
        """Evaluate the derivative of that order of all functions, as constants: [N, in] -> [N, in, C]."""
        if order == 0:
            return self(x)
        if isinstance(self.basis, BSpline) and not self._repeated:
            return _Spline.apply(x, self.knots, self.basis.degree, order)  # type: ignore[no-any-return]
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            values = self(point)
            for _ in range(order):
                # The derivative of each function, all at once: the gradient by v of the gradient with weights v.
                v = torch.ones_like(values, requires_grad=True)
                (weighted,) = torch.autograd.grad(values, point, v, create_graph=True)
                (values,) = torch.autograd.grad(weighted, v, torch.ones_like(point), create_graph=True)
        return values.detach()


def _pieces(knots: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    """Return the coefficients of all functions between two knots: float64 [T + 1, C, degree + 1].

    Entry `s` is the interval that ends at knot `s`, so the first and the last one, beyond all knots, are zero; powers
    are those of the distance from the interval's left knot, lowest first.
    """
    t = knots[0]
    count = len(t)
    found = np.zeros((count + 1, count - 1, degree + 1))
    found[np.arange(1, count), np.arange(count - 1), 0] = 1.0
    for p in range(1, degree + 1):
        grown = np.zeros((count + 1, count - 1 - p, degree + 1))
        for j in range(count - 1 - p):
            for s in range(1 + j, 2 + j + p):
                left, rise, fall = t[s - 1], t[j + p] - t[j], t[j + p + 1] - t[j + 1]
                grown[s, j] += (left - t[j]) / rise * found[s, j] + (t[j + p + 1] - left) / fall * found[s, j + 1]
                grown[s, j, 1:] += found[s, j, :-1] / rise - found[s, j + 1, :-1] / fall
        found = grown
    return found


def _polynomials(x: Tensor, basis: Polynomial) -> Tensor:
    """Run the recurrences of `lutkan.numerics.polynomials`."""
    one = torch.ones_like(x)
    if basis.family == "bernstein":
        values = [one]
        for _ in range(basis.degree):
            low = [value * (1.0 - x) for value in values] + [torch.zeros_like(x)]
            high = [torch.zeros_like(x)] + [value * x for value in values]
            values = [a + b for a, b in zip(low, high, strict=True)]
        return torch.stack(values, -1)
    a, b = basis.parameters[:2] if basis.family == "jacobi" else (0.0, 0.0)
    first = ((a + b + 2) / 2 * x + (a - b) / 2) if basis.family == "jacobi" else x
    values = [one, first][: basis.degree + 1]
    for n in range(1, basis.degree):
        rise, shift, fall = _terms(basis, n)
        values.append((rise * x + shift) * values[n] - fall * values[n - 1])
    return torch.stack(values, -1)


def _terms(basis: Polynomial, n: int) -> tuple[float, float, float]:
    m = n + 1
    if basis.family == "chebyshev":
        return 2.0, 0.0, 1.0
    if basis.family == "legendre":
        return (2 * n + 1) / m, 0.0, n / m
    if basis.family == "gram":
        return 1.0, 0.0, (m + n) * (m - n) * n**2 / (m**2 / (4.0 * n**2 - 1.0)) * float(basis.parameters[n])
    a, b = basis.parameters[:2]
    s = 2 * m + a + b
    scale = 2 * m * (m + a + b) * (s - 2)
    return (
        (s - 1) * s * (s - 2) / scale,
        (s - 1) * (a * a - b * b) / scale,
        2 * (m + a - 1) * (m + b - 1) * s / scale,
    )


class _Spline(torch.autograd.Function):
    """B-splines, or a derivative of them, at [N, in]: [N, in, C]; its gradient is itself, one order up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, knots: Tensor, degree: int, order: int) -> Tensor:
        ctx.save_for_backward(x, knots)
        ctx.degree, ctx.order = degree, order
        return _local(x, knots, degree, order)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None]:
        x, knots = ctx.saved_tensors
        slope = _Spline.apply(x, knots, ctx.degree, ctx.order + 1)
        return sum_of_products(grads[0], slope), None, None, None  # type: ignore[arg-type]


def sum_of_products(a: Tensor, b: Tensor) -> Tensor:
    """Sum `a * b` over the last axis; by a product with ones, which is quicker than a sum over few entries."""
    product = a * b
    if product.shape[-1] == 1:
        return product.squeeze(-1)
    return product @ product.new_ones(product.shape[-1])


def _local(x: Tensor, knots: Tensor, degree: int, order: int) -> Tensor:
    """Compute the `degree + 1` values that are not zero, and write them into the row of all."""
    count = knots.shape[1]
    size = count - 1 - degree
    if order > degree:
        return torch.zeros((*x.shape, size), dtype=x.dtype, device=x.device)
    inner = knots.to(x.dtype)
    if len(inner) == 1:
        span = torch.bucketize(x, inner[0], right=True) - 1
    else:
        span = torch.searchsorted(inner, x.T.contiguous(), right=True).T - 1
    outside = (span < 0) | (span >= count - 1) | torch.isnan(x)
    span = span.masked_fill(outside, degree)
    at = torch.where(outside, inner[:, degree].expand_as(x), x)
    # Knots that do not exist only feed functions that do not exist; any distinct values serve.
    ahead = torch.arange(1, degree + 1, dtype=x.dtype, device=x.device)
    padded = torch.cat([inner[:, :1] - ahead.flip(0), inner, inner[:, -1:] + ahead], dim=1)
    flat = padded.reshape(-1)
    start = span + degree
    if len(inner) > 1:
        start = start + torch.arange(len(inner), device=x.device) * padded.shape[1]

    left = [at - flat[start + (1 - r)] for r in range(1, degree + 1)]
    right = [flat[start + r] - at for r in range(1, degree + 1)]
    values = [torch.ones_like(at)]
    for p in range(1, degree + 1):
        parts = [values[r] / (right[r] + left[p - r - 1]) for r in range(p)]
        zero = torch.zeros_like(at)
        if p <= degree - order:
            up = [right[r] * parts[r] for r in range(p)] + [zero]
            down = [zero] + [left[p - r - 1] * parts[r] for r in range(p)]
            values = [a + b for a, b in zip(up, down, strict=True)]
        else:
            falls, rises = [*parts, zero], [zero, *parts]
            values = [p * (b - a) for a, b in zip(falls, rises, strict=True)]
    taps = torch.stack(values, -1).masked_fill(outside.unsqueeze(-1), 0.0)
    dense = torch.zeros((*x.shape, size + 2 * degree), dtype=x.dtype, device=x.device)
    dense.scatter_(-1, span.unsqueeze(-1) + torch.arange(degree + 1, device=x.device), taps)
    dense = dense[..., degree : degree + size]
    return torch.where(torch.isnan(x).unsqueeze(-1), x.unsqueeze(-1), dense)


def _recursive(x: Tensor, knots: Tensor, degree: int) -> Tensor:
    """Run Cox-de Boor over all functions; one of which a quotient has a zero-width interval is 0 (pykan's rule)."""
    at = x.unsqueeze(-1)
    values = ((at >= knots[:, :-1]) & (at < knots[:, 1:])).to(x.dtype)
    for p in range(1, degree + 1):
        left, right = knots[:, p:-1] - knots[:, : -(p + 1)], knots[:, p + 1 :] - knots[:, 1:-p]
        alive = (left > 0) & (right > 0)
        rise, fall = (1.0 / torch.where(alive, width, torch.ones_like(width)) for width in (left, right))
        rising, falling = (at - knots[:, : -(p + 1)]) * rise, (knots[:, p + 1 :] - at) * fall
        values = (rising * values[..., :-1] + falling * values[..., 1:]) * alive
    return torch.where(torch.isnan(at), at, values)


class GlueModule(nn.Module):
    """A step between KAN layers, or before the edges of a branch, as a trainable torch module.

    Parameters
    ----------
    step : Affine, LayerNorm, Activation, Linear, Select or Product
    """

    def __init__(self, step: Any) -> None:
        super().__init__()
        self.kind: str = step.kind
        self.elementwise: bool = step.elementwise
        self.step = step
        if isinstance(step, LayerNorm):
            for name in ("weight", "bias"):
                given = getattr(step, name)
                value = None if given is None else nn.Parameter(torch.tensor(given, dtype=torch.float32))
                self.register_parameter(name, value)
        elif isinstance(step, Affine):
            self.scale = nn.Parameter(torch.tensor(step.scale, dtype=torch.float32))
            self.bias = nn.Parameter(torch.tensor(step.bias, dtype=torch.float32))
        elif step.kind == "linear":
            self.weight = nn.Parameter(torch.tensor(step.weight.T.copy(), dtype=torch.float32))
            bias = None if step.bias is None else nn.Parameter(torch.tensor(step.bias, dtype=torch.float32))
            self.register_parameter("bias", bias)
        elif isinstance(step, Activation) and step.slope is not None:
            self.slope = nn.Parameter(torch.tensor(step.slope, dtype=torch.float32))
        elif step.kind == "select":
            self.register_buffer("indices", torch.tensor(step.indices))  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        """Apply the step: [N, n] -> [N, m]."""
        if self.kind == "layer_norm":
            return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.step.eps)  # type: ignore[arg-type]
        if self.kind == "affine":
            return x * self.scale + self.bias  # type: ignore[operator]
        if self.kind == "linear":
            return F.linear(x, self.weight, self.bias)  # type: ignore[arg-type]
        if self.kind == "select":
            return x[:, self.indices]  # type: ignore[index]
        if self.kind == "product":
            return torch.stack([x[:, list(group)].prod(dim=1) for group in self.step.groups], dim=1)
        if self.step.slope is not None:
            return torch.where(x >= 0, x, x * self.slope)  # type: ignore[operator]
        return ACTIVATIONS[self.step.name](x)

    def to_step(self) -> Any:
        """Return the step with the trained numbers."""
        from dataclasses import replace

        def numbers(name: str) -> Any:
            value = getattr(self, name)
            return None if value is None else value.detach().cpu().double().numpy()

        if self.kind == "layer_norm":
            return replace(self.step, weight=numbers("weight"), bias=numbers("bias"))
        if self.kind == "affine":
            return replace(self.step, scale=numbers("scale"), bias=numbers("bias"))
        if self.kind == "linear":
            return replace(self.step, weight=numbers("weight").T, bias=numbers("bias"))
        if self.kind == "activation" and self.step.slope is not None:
            return replace(self.step, slope=numbers("slope"))
        return self.step
