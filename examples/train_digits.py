"""Train the small network that lutkan ships as its example.

A Kolmogorov-Arnold Network 64-32-10 learns the 8x8 digits of scikit-learn. The layer is written here from its formula
and stores what efficient-kan stores, under the same names, so the checkpoint imports like any efficient-kan model::

    y[o] = sum_i base_weight[o, i] * silu(x[i]) + spline_scaler[o, i] * sum_m spline_weight[o, i, m] * B_m(x[i])

with cubic B-splines ``B_m`` on the knots ``grid[i]``. Written beside this file:

``digits.safetensors``
    the state_dict: ``layers.0.*`` (64 to 32) and ``layers.1.*`` (32 to 10)
``digits_test.npz``
    ``X`` float32 [450, 64], ``y`` int64 [450], ``logits`` float32 [450, 10] as the trained torch model gives them
``digits_calibration.npz``
    ``X`` float32 [512, 64]: rows of the training split

Run with torch and scikit-learn installed; it takes about 15 seconds on one core::

    python examples/train_digits.py

The result depends on the seed only; another torch version or processor may change the last bits.

Data: "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, licence
CC BY 4.0, in the copy that scikit-learn ships.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F

SEED = 0
EPOCHS = 150
BATCH = 64
CALIBRATION_ROWS = 512
HERE = Path(__file__).resolve().parent


def bspline_basis(x: Tensor, knots: Tensor, degree: int) -> Tensor:
    """Return the values of all B-splines at x.

    Cox-de Boor recursion; every interval is half open, so the last knot belongs to none.

    Parameters
    ----------
    x
        Shape [rows, in].
    knots
        Shape [in, intervals + 2*degree + 1], strictly increasing along the last axis.
    degree
        Degree of the splines.

    Returns
    -------
    Tensor
        Shape [rows, in, intervals + degree].
    """
    at = x.unsqueeze(-1)
    values = ((knots[:, :-1] <= at) & (at < knots[:, 1:])).to(x.dtype)
    for d in range(1, degree + 1):
        rising = (at - knots[:, : -d - 1]) / (knots[:, d:-1] - knots[:, : -d - 1])
        falling = (knots[:, d + 1 :] - at) / (knots[:, d + 1 :] - knots[:, 1:-d])
        values = rising * values[..., :-1] + falling * values[..., 1:]
    return values


class KANLayer(nn.Module):
    """One layer of edge functions, with a SiLU base branch and a scaled spline on every edge."""

    def __init__(self, n_in: int, n_out: int, intervals: int = 5, degree: int = 3, core: tuple[float, float] = (-1, 1)):
        super().__init__()
        self.degree = degree
        self.base_weight = nn.Parameter(torch.empty(n_out, n_in))
        self.spline_weight = nn.Parameter(0.05 * torch.randn(n_out, n_in, intervals + degree) / math.sqrt(n_in))
        self.spline_scaler = nn.Parameter(torch.ones(n_out, n_in))
        nn.init.kaiming_uniform_(self.base_weight, a=math.sqrt(5))
        step = (core[1] - core[0]) / intervals
        knots = core[0] + step * torch.arange(-degree, intervals + degree + 1, dtype=torch.float64)
        self.register_buffer("grid", knots.float().repeat(n_in, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map [rows, in] to [rows, out]."""
        basis = bspline_basis(x, self.get_buffer("grid"), self.degree).flatten(1)
        coefficients = (self.spline_scaler.unsqueeze(-1) * self.spline_weight).flatten(1)
        return F.linear(F.silu(x), self.base_weight) + F.linear(basis, coefficients)


class KAN(nn.Module):
    """A stack of KAN layers, and nothing between them."""

    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        self.layers = nn.ModuleList(KANLayer(n_in, n_out) for n_in, n_out in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """Map [rows, widths[0]] to [rows, widths[-1]]."""
        for layer in self.layers:
            x = layer(x)
        return x


def digits_split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return X_train, X_test, y_train, y_test; pixels are scaled to [-1, 1]."""
    pixels, labels = load_digits(return_X_y=True)
    X = (pixels / 8 - 1).astype(np.float32)
    y = labels.astype(np.int64)
    rows = train_test_split(np.arange(len(y)), test_size=0.25, stratify=y, random_state=SEED)
    train_rows, test_rows = np.asarray(rows[0]), np.asarray(rows[1])
    return X[train_rows], X[test_rows], y[train_rows], y[test_rows]


def train(X: np.ndarray, y: np.ndarray, epochs: int = EPOCHS) -> KAN:
    """Train a 64-32-10 network; progress goes to the screen."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # sums in one order, whatever the machine has
    model = KAN((64, 32, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    inputs, labels = torch.from_numpy(X), torch.from_numpy(y)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(inputs)).split(BATCH):
            noisy = inputs[rows] + 0.15 * torch.randn(len(rows), inputs.shape[1])
            loss = F.cross_entropy(model(noisy), labels[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        schedule.step()
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1:3d} of {epochs}: loss {total / len(inputs):.4f}", flush=True)
    return model.eval()


def main() -> None:
    """Train, report the accuracy, write the three files."""
    X_train, X_test, y_train, y_test = digits_split()
    model = train(X_train, y_train)
    with torch.no_grad():
        logits = model(torch.from_numpy(X_test)).numpy()
        hidden = model.layers[0](torch.from_numpy(X_test))
    print(f"test accuracy {np.mean(logits.argmax(1) == y_test):.4f} on {len(y_test)} rows")
    print(f"hidden activations outside [-1, 1]: {(hidden.abs() > 1).float().mean().item():.1%}")

    state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, HERE / "digits.safetensors", metadata={"format": "pt", "source": "examples/train_digits.py"})
    np.savez_compressed(HERE / "digits_test.npz", X=X_test, y=y_test, logits=logits)
    chosen = np.random.default_rng(SEED).choice(len(X_train), CALIBRATION_ROWS, replace=False)
    np.savez_compressed(HERE / "digits_calibration.npz", X=X_train[np.sort(chosen)])


if __name__ == "__main__":
    main()
