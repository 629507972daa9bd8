"""Layers of every family as live modules of our own: the same tensor names and attributes, the same function."""

from __future__ import annotations

import math

import numpy as np
import pytest

from checkpoints import close
from lutkan.adapters import import_model

torch = pytest.importorskip("torch", reason="needs torch")
nn, F = torch.nn, torch.nn.functional

N_IN, N_OUT = 4, 4


def parameter(*shape):
    return nn.Parameter(torch.randn(*shape))


def bsplines(x, knots, degree):
    x = x[..., None]
    values = ((x >= knots[..., :-1]) & (x < knots[..., 1:])).to(x.dtype)
    for p in range(1, degree + 1):
        rising = (x - knots[..., : -(p + 1)]) / (knots[..., p:-1] - knots[..., : -(p + 1)])
        falling = (knots[..., p + 1 :] - x) / (knots[..., p + 1 :] - knots[..., 1:-p])
        values = rising * values[..., :-1] + falling * values[..., 1:]
    return values


def knots(low=-1.0, high=1.0, size=5, degree=3):
    h = (high - low) / size
    return (torch.arange(-degree, size + degree + 1) * h + low).expand(N_IN, -1).contiguous()


class EfficientKAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.base_weight, self.spline_weight = parameter(N_OUT, N_IN), parameter(N_OUT, N_IN, 8)
        self.spline_scaler = parameter(N_OUT, N_IN)
        self.register_buffer("grid", knots())
        self.base_activation = nn.GELU()

    def forward(self, x):
        weight = self.spline_weight * self.spline_scaler[..., None]
        spline = torch.einsum("bic,oic->bo", bsplines(x, self.grid, 3), weight)
        return F.linear(self.base_activation(x), self.base_weight) + spline


class LKAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.coeff, self.scale_base, self.bias = parameter(N_OUT, N_IN, 8), parameter(N_OUT, N_IN), parameter(N_OUT)
        self.register_buffer("scale_spline", torch.tensor([0.7]))
        self.register_buffer("grid", knots())
        self.base_fun = nn.Tanh()

    def forward(self, x):
        weight = self.coeff * self.scale_spline[..., None]
        return (
            F.linear(self.base_fun(x), self.scale_base)
            + torch.einsum("bic,oic->bo", bsplines(x, self.grid, 3), weight)
            + self.bias
        )


class KANXLinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.base_weight, self.spline_weight = parameter(N_IN, N_OUT), parameter(N_IN, N_OUT, 8)
        self.register_buffer("grid", torch.linspace(-1, 1, 6).expand(N_IN, -1).contiguous())
        self.base_activation_name = "gelu"

    def forward(self, x):
        h = (self.grid[:, -1:] - self.grid[:, :1]) / 5
        ahead = torch.arange(1, 4)
        grid = torch.cat([self.grid[:, :1] - ahead.flip(0) * h, self.grid, self.grid[:, -1:] + ahead * h], 1)
        return F.gelu(x) @ self.base_weight + torch.einsum("bic,ioc->bo", bsplines(x, grid, 3), self.spline_weight)


class InKAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = parameter(N_OUT, N_IN * 8 + N_IN)
        self.inv_h, self.dim = 5 / 3.1, 1
        self.register_buffer("grid_starts", torch.arange(8) * (3.1 / 5) - 1.2)
        self.base_activation = nn.SiLU()

    def forward(self, x):
        grid = self.grid_starts[0] + torch.arange(12, dtype=x.dtype) / self.inv_h
        spline = bsplines(x, grid.expand(N_IN, -1), 3).flatten(1)
        return F.linear(torch.cat([spline, self.base_activation(x)], 1), self.weight)


class FasterRBF(nn.Module):
    def __init__(self):
        super().__init__()
        self.grid = nn.Parameter(torch.linspace(-1.2, 0.2, 8), requires_grad=False)
        self.inv_denominator = nn.Parameter(torch.tensor(0.5), requires_grad=False)

    def forward(self, x):
        return 1 - torch.tanh(x[..., None] - self.grid) ** 2


class FasterKAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.layernorm, self.rbf = nn.LayerNorm(N_IN, eps=1e-4), FasterRBF()
        self.spline_linear = nn.Linear(N_IN * 8, N_OUT, bias=False)

    def forward(self, x):
        return self.spline_linear(self.rbf(self.layernorm(x)).flatten(1))


class Cheby(nn.Module):
    def __init__(self):
        super().__init__()
        self.cheby_coeffs = parameter(N_IN, N_OUT, 5)
        self.register_buffer("arange", torch.arange(5))

    def forward(self, x):
        basis = (torch.tanh(x)[..., None].acos() * self.arange).cos()
        return torch.einsum("bid,iod->bo", basis, self.cheby_coeffs)


class Jacobi(nn.Module):
    def __init__(self):
        super().__init__()
        self.jacobi_coeffs = parameter(N_IN, N_OUT, 2)
        self.a, self.b = 0.5, 2.0

    def forward(self, x):
        first = ((self.a - self.b) + (self.a + self.b + 2) * torch.tanh(x)) / 2
        return torch.einsum("bid,iod->bo", torch.stack([torch.ones_like(x), first], -1), self.jacobi_coeffs)


class NormedJacobi(Jacobi):
    def __init__(self):
        super().__init__()
        self.base_weights, self.norm, self.act = parameter(N_OUT, N_IN), nn.LayerNorm(N_OUT, eps=1e-4), nn.GELU()

    def forward(self, x):
        return self.act(self.norm(super().forward(x) + F.linear(self.act(x), self.base_weights)))


class Fourier(nn.Module):
    def __init__(self):
        super().__init__()
        self.fouriercoeffs, self.bias = parameter(2, N_OUT, N_IN, 3), parameter(1, N_OUT)

    def forward(self, x):
        angle = x[..., None] * torch.arange(1, 4)
        basis = torch.stack([angle.cos(), angle.sin()])
        return torch.einsum("tbik,toik->bo", basis, self.fouriercoeffs) + self.bias


class Conditioned(nn.Module):
    def __init__(self):
        super().__init__()
        self.kan_weight = parameter(N_IN, 9, N_OUT)
        self.spline_width, self.impl, self.variant = 3.0, "embedding", "B-spline"
        self.register_buffer("local_bias", torch.arange(9).view(1, -1, 1))
        self.register_buffer("feature_offset", torch.arange(N_IN).view(1, -1) * 9)

    def forward(self, x):
        u = (x + 1.5) * 8 / 3.0
        low = u.floor().clamp(0, 7)
        rows = self.kan_weight.reshape(-1, N_OUT)
        at = low.long() + self.feature_offset
        return torch.lerp(rows[at], rows[at + 1], (u - low)[..., None]).sum(1)


class PlainGridKAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.base_weight, self.spline_weight = parameter(N_OUT, N_IN), parameter(N_OUT, N_IN, 8)
        self.layer_norm, self.prelu = nn.LayerNorm(N_OUT), nn.PReLU()
        self.grid = knots(-2.0, 2.0)
        self.base_activation = nn.SiLU()

    def forward(self, x):
        spline = torch.einsum("bic,oic->bo", bsplines(x, self.grid.to(x), 3), self.spline_weight)
        return self.prelu(self.layer_norm(F.linear(self.base_activation(x), self.base_weight) + spline))


class Gram(nn.Module):
    def __init__(self):
        super().__init__()
        self.grams_basis_weights, self.beta_weights = parameter(N_IN, N_OUT, 4), parameter(4)
        self.base_weights, self.norm, self.act = parameter(N_OUT, N_IN), nn.LayerNorm(N_OUT), nn.GELU()

    def forward(self, x):
        t = torch.tanh(x)
        second = t * t - 2.25 * self.beta_weights[1]
        third = t * second - 100 / 3 * self.beta_weights[2] * t
        basis = self.act(torch.stack([torch.ones_like(t), t, second, third], -1))
        y = torch.einsum("bid,iod->bo", basis, self.grams_basis_weights) + F.linear(self.act(x), self.base_weights)
        return self.act(self.norm(y))


class Bernstein(nn.Module):
    def __init__(self):
        super().__init__()
        self.bernstein_coeffs, self.base_weights = parameter(N_IN, N_OUT, 4), parameter(N_OUT, N_IN)
        self.norm, self.act = nn.LayerNorm(N_OUT), nn.SiLU()

    def forward(self, x):
        t = torch.sigmoid(x)
        basis = [torch.ones_like(t) for _ in range(4)]
        for j in range(1, 4):
            for k in range(4 - j):
                basis[k] = basis[k] * (1 - t) + basis[k + 1] * t
        y = torch.einsum("bid,iod->bo", torch.stack(basis, -1), self.bernstein_coeffs)
        return self.act(self.norm(y + F.linear(self.act(x), self.base_weights)))


class WavKAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.translation = nn.Parameter(torch.rand(N_OUT, N_IN) + 0.5), parameter(N_OUT, N_IN)
        self.wavelet_weights, self.weight1, self.bn = (
            parameter(N_OUT, N_IN),
            parameter(N_OUT, N_IN),
            nn.BatchNorm1d(N_OUT),
        )
        self.wavelet_type = "morlet"

    def forward(self, x):
        t = (x[:, None] - self.translation) / self.scale
        wavelets = (torch.exp(-0.5 * t * t) * torch.cos(5 * t) * self.wavelet_weights).sum(2)
        return self.bn(wavelets + F.linear(F.silu(x), self.weight1))


class ReLUKAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.g, self.k, self.r = 5, 3, 6.25
        low = (torch.arange(-3, 5) / 5).expand(N_IN, -1) + 0.05 * torch.randn(N_IN, 8)
        self.phase_low, self.phase_high = nn.Parameter(low), nn.Parameter(low + 0.8)
        self.equal_size_conv = nn.Conv2d(1, N_OUT, (8, N_IN))

    def forward(self, x):
        x = x[..., None]
        y = torch.relu(x - self.phase_low) * torch.relu(self.phase_high - x) * self.r
        return self.equal_size_conv((y * y).reshape(len(x), 1, 8, N_IN)).reshape(len(x), N_OUT)


LAYERS = {
    EfficientKAN: ("efficient-kan", None),
    LKAN: ("lkan", None),
    KANXLinear: ("kanx", None),
    InKAN: ("inkan", None),
    FasterKAN: ("faster-kan", None),
    Cheby: ("cheby-kan", None),
    Jacobi: ("jacobi-kan", None),
    NormedJacobi: ("torch-conv-kan-jacobi", None),
    Fourier: ("fourier-kan", None),
    Conditioned: ("kanditioned", None),
    PlainGridKAN: ("torch-conv-kan-kan", None),
    Gram: ("torch-conv-kan-gram", None),
    Bernstein: ("torch-conv-kan-bernstein", None),
    WavKAN: ("torch-conv-kan-wavkan", {"base_activation": "silu"}),
    ReLUKAN: ("torch-conv-kan-relukan", None),
}


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_a_live_stack_means_what_it_computes_and_needs_no_config(layer):
    torch.manual_seed(3)
    family, config = LAYERS[layer]
    model = nn.Sequential(layer(), layer()).eval()
    net = import_model(model, config=config)
    assert family in net.source.family
    assert len(net.layers) == 2
    double = model.double()
    for part in double:
        if isinstance(getattr(part, "grid", None), torch.Tensor) and "grid" not in dict(part.named_buffers()):
            part.grid = part.grid.double()
    x = np.random.default_rng(0).uniform(-2, 2, size=(64, N_IN))
    expected = double(torch.from_numpy(x)).detach().numpy()
    assert close(net.evaluate(x), expected, 1e-9)
    assert math.isfinite(float(np.abs(expected).max())) and np.ptp(expected) > 1e-3
