"""How long a training step takes: quantized layers of lutkan against efficient-kan's own layers in float.

    python benchmarks/qat_speed.py                 # 784-64-10, batches of 64 and 256 rows, one thread
    python benchmarks/qat_speed.py --rounds 9      # more rounds
    python benchmarks/qat_speed.py --dry           # print, and write nothing

The float arm is efficient-kan's `KANLinear` from its formulas: the Cox-de Boor recursion over all basis functions, the
scaler multiplied in at every call, two products. It only computes forward and backward passes; the quantized arms also
quantize inputs and weights. Both are then timed with the optimizer's step added, the same fused AdamW. Arms take turns,
a few batches each round; printed are the medians of the rounds in processor time of the training thread, and the ratio
of the medians.
Written is `benchmarks/results/qat_speed.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lutkan import train
from lutkan.lab.fingerprint import fingerprint
from lutkan.train.qat import parameter_groups

RESULTS = Path(__file__).resolve().parent / "results" / "qat_speed.json"
WIDTHS = (784, 64, 10)
BATCHES = (64, 256)
ASKED = 2.0
FLOAT = "efficient-kan, float"
METHODS = ("lsq", "lsq+", "pact", "dorefa", "qil", "dsq")


class KANLinear(nn.Module):
    """efficient-kan's layer: dense recursion, scaler apart."""

    def __init__(self, n_in: int, n_out: int, size: int = 5, degree: int = 3) -> None:
        super().__init__()
        self.degree = degree
        step = 2.0 / size
        self.register_buffer("grid", (torch.arange(-degree, size + degree + 1) * step - 1.0).repeat(n_in, 1))
        self.base_weight = nn.Parameter(torch.randn(n_out, n_in) / n_in**0.5)
        self.spline_weight = nn.Parameter(0.1 * torch.randn(n_out, n_in, size + degree))
        self.spline_scaler = nn.Parameter(torch.randn(n_out, n_in) / n_in**0.5)
        self.base_activation = nn.SiLU()

    def bases(self, x: Tensor) -> Tensor:
        """Evaluate all basis functions: [N, in] -> [N, in, C]."""
        grid = self.get_buffer("grid")
        x = x.unsqueeze(-1)
        values = ((x >= grid[:, :-1]) & (x < grid[:, 1:])).to(x.dtype)
        for k in range(1, self.degree + 1):
            left = (x - grid[:, : -(k + 1)]) / (grid[:, k:-1] - grid[:, : -(k + 1)]) * values[:, :, :-1]
            right = (grid[:, k + 1 :] - x) / (grid[:, k + 1 :] - grid[:, 1:(-k)]) * values[:, :, 1:]
            values = left + right
        return values.contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in] to [N, out]."""
        base = F.linear(self.base_activation(x), self.base_weight)
        scaled = self.spline_weight * self.spline_scaler.unsqueeze(-1)
        return base + F.linear(self.bases(x).view(len(x), -1), scaled.view(len(scaled), -1))


class EfficientKAN(nn.Module):
    """A stack of such layers."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(KANLinear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, widths[0]] to [N, widths[-1]]."""
        for layer in self.layers:
            x = layer(x)
        return x


def stepper(model: nn.Module, X: Tensor, y: Tensor, *, size: int = 64, update: bool) -> Callable[[int], None]:
    """Return what trains a model on one batch: forward, backward, and the optimizer's step if asked for."""
    optimizer = torch.optim.AdamW(parameter_groups(model, 1e-4), lr=1e-4, fused=True)
    model.train()

    def step(batch: int) -> None:
        rows = slice(batch * size % len(X), batch * size % len(X) + size)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(X[rows]), y[rows]).backward()
        if update:
            optimizer.step()

    return step


def measure(size: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time all arms in turns at one batch size."""
    torch.manual_seed(0)
    X = torch.rand(8 * size, WIDTHS[0]) * 2 - 1
    y = torch.randint(0, WIDTHS[-1], (len(X),))
    model = EfficientKAN(WIDTHS)
    arms: dict[str, Callable[[int], None]] = {}
    for update in (False, True):
        suffix = " + AdamW" if update else ""
        arms[FLOAT + suffix] = stepper(EfficientKAN(WIDTHS), X, y, size=size, update=update)
        for method in METHODS:
            prepared = train.prepare(model, options.spec, method=method)
            train.calibrate(prepared, X[:512])
            arms[f"lutkan {options.spec} {method}{suffix}"] = stepper(prepared, X, y, size=size, update=update)
    times: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(options.rounds + 1):
        for name, step in arms.items():
            started = time.thread_time()
            for batch in range(options.batches):
                step(batch)
            if number:  # the first round warms up
                times[name].append((time.thread_time() - started) / options.batches)
    records = []
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        own = statistics.median(times[FLOAT + (" + AdamW" if "AdamW" in name else "")])
        plain = statistics.median(times[FLOAT])
        record = {
            "batch": size,
            "arm": name,
            "ms_a_batch": 1e3 * middle,
            "spread": float(np.ptp(seconds) / middle),
            "faster_than_float": own / middle,
            "faster_than_float_without_optimizer": plain / middle,
        }
        records.append(record)
        print(f"{size:4} rows  {name:32} {1e3 * middle:8.2f} ms   {own / middle:5.2f}x   {record['spread']:.0%} spread")
    return records


def main() -> None:
    """Time the arms in turns and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=8, help="batches an arm and round")
    parser.add_argument("--spec", default="w4a4")
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    records = [record for size in BATCHES for record in measure(size, options)]
    if not options.dry:
        content = {"widths": WIDTHS, "threads": 1, "asked": ASKED, "arms": records, "machine": fingerprint()}
        RESULTS.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
