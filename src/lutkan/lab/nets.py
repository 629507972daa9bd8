"""Seeded networks for timing: tensors as the libraries save them, and their float64 meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lutkan.adapters import import_model
from lutkan.errors import InputError
from lutkan.ir import Network
from lutkan.numerics import bspline

__all__ = [
    "Drawn",
    "edge_count",
    "efficient_kan",
    "fast_kan",
    "input_rows",
    "kanditioned",
    "perceptron",
    "untrained_pykan",
]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
State = dict[str, F32]

#: Span of KANditioned's control points.
KANDITIONED_WIDTH = 4.0


@dataclass(frozen=True, eq=False)
class Drawn:
    """A network drawn at random.

    Attributes
    ----------
    family : str
        "efficient-kan", "fast-kan", "kanditioned" or "perceptron".
    widths : tuple of int
    state : dict of float32 arrays
        As the library's state_dict.
    """

    family: str
    widths: tuple[int, ...]
    state: State

    @property
    def edges(self) -> int:
        """Number of edges; of multiplications for a perceptron."""
        return edge_count(self.widths)

    @cached_property
    def network(self) -> Network:
        """The imported network; what the tensors lack is given as it was meant when they were drawn.

        Raises
        ------
        ImportModelError
            A perceptron is no KAN.
        """
        lacking = {"spline_width": KANDITIONED_WIDTH} if self.family == "kanditioned" else {"base_activation": "silu"}
        return import_model(dict(self.state), family=self.family, config=lacking)

    def evaluate(self, X: F32) -> F64:
        """Evaluate in float64: [N, in] -> [N, out]. The last answer is kept, since several arms ask for the same."""
        key = X.tobytes()
        last: tuple[bytes, F64] | None = self.__dict__.get("_last")
        if last is None or last[0] != key:
            values = _perceptron_values(self.state, X) if self.family == "perceptron" else self.network.evaluate(X)
            last = self.__dict__["_last"] = (key, values)
        return last[1]

    @cached_property
    def checkpoint_bytes(self) -> int:
        """Size of the state_dict as a safetensors file."""
        from safetensors.numpy import save

        return len(save(dict(self.state)))

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(array.nbytes for array in self.state.values())


def _pairs(widths: Sequence[int]) -> list[tuple[int, int]]:
    if len(widths) < 2 or min(widths) < 1:
        raise InputError(f"widths {list(widths)}", "two or more positive integers")
    return list(pairwise(widths))


def edge_count(widths: Sequence[int]) -> int:
    """Count the edges of a network.

    Examples
    --------
    >>> edge_count((64, 64, 10))
    4736
    """
    return sum(n_in * n_out for n_in, n_out in _pairs(widths))


def input_rows(n_in: int, rows: int, seed: int = 1) -> F32:
    """Draw rows uniformly from [-1, 1]: float32 [rows, n_in]."""
    return np.random.default_rng(seed).uniform(-1.0, 1.0, size=(rows, n_in)).astype(np.float32)


def efficient_kan(widths: Sequence[int], seed: int = 0, *, intervals: int = 5, degree: int = 3) -> Drawn:
    """Draw an efficient-kan state_dict on the library's default grid [-1, 1].

    Weights are scaled so that hidden activations spread by about 1: a third of them lie outside the grid, as in
    networks trained on digits.

    Parameters
    ----------
    widths : sequence of int
    seed, intervals, degree : int

    Returns
    -------
    Drawn
        `layers.N.base_weight` [out, in], `.spline_weight` [out, in, C], `.spline_scaler` [out, in], `.grid` [in, T].

    Examples
    --------
    >>> efficient_kan((3, 2)).state["layers.0.grid"].shape
    (3, 12)
    """
    rng = np.random.default_rng(seed)
    knots = -1.0 + (2.0 / intervals) * np.arange(-degree, intervals + degree + 1)
    state: State = {}
    for layer, (n_in, n_out) in enumerate(_pairs(widths)):
        bound = 2.3 / np.sqrt(n_in)
        drawn = {
            "base_weight": rng.uniform(-bound, bound, size=(n_out, n_in)),
            "spline_weight": rng.standard_normal((n_out, n_in, intervals + degree)),
            "spline_scaler": rng.uniform(-bound, bound, size=(n_out, n_in)),
            "grid": np.tile(knots, (n_in, 1)),
        }
        state |= {f"layers.{layer}.{name}": array.astype(np.float32) for name, array in drawn.items()}
    return Drawn("efficient-kan", tuple(widths), state)


def untrained_pykan(widths: Sequence[int], seed: int = 0, *, intervals: int = 5, degree: int = 3) -> Drawn:
    """Draw a network as pykan initialises one, with efficient-kan's names for the same tensors.

    Splines pass through noise of `0.3 / G` at the grid points, base weights are uniform within `1 / sqrt(in)`, spline
    weights are `1 / sqrt(in)`: what LUT-KAN's controlled experiments run on (arXiv 2601.03332).

    Examples
    --------
    >>> untrained_pykan((10, 8), intervals=8).state["layers.0.spline_weight"].shape
    (8, 10, 11)
    """
    rng = np.random.default_rng(seed)
    knots = np.asarray(-1.0 + (2.0 / intervals) * np.arange(-degree, intervals + degree + 1), dtype=np.float64)
    points = np.nextafter(knots[degree : degree + intervals + 1], knots[degree : degree + intervals + 1] - 1)
    fit = np.linalg.pinv(bspline.basis(points[:, None], knots[None], degree)[:, 0])
    state: State = {}
    for layer, (n_in, n_out) in enumerate(_pairs(widths)):
        noise = (rng.uniform(size=(n_out, n_in, intervals + 1)) - 0.5) * 0.3 / intervals
        drawn = {
            "base_weight": rng.uniform(-1.0, 1.0, size=(n_out, n_in)) / np.sqrt(n_in),
            "spline_weight": noise @ fit.T,
            "spline_scaler": np.full((n_out, n_in), 1.0 / np.sqrt(n_in)),
            "grid": np.tile(knots, (n_in, 1)),
        }
        state |= {f"layers.{layer}.{name}": array.astype(np.float32) for name, array in drawn.items()}
    return Drawn("efficient-kan", tuple(widths), state)


def fast_kan(widths: Sequence[int], seed: int = 0, *, centres: int = 8) -> Drawn:
    """Draw a fast-kan state_dict with the library's default centres on [-2, 2].

    Examples
    --------
    >>> fast_kan((3, 2)).state["layers.0.spline_linear.weight"].shape
    (2, 24)
    """
    rng = np.random.default_rng(seed)
    state: State = {}
    for layer, (n_in, n_out) in enumerate(_pairs(widths)):
        bound = 1.0 / np.sqrt(n_in)
        drawn = {
            "layernorm.weight": rng.uniform(0.8, 1.2, size=n_in),
            "layernorm.bias": rng.uniform(-0.1, 0.1, size=n_in),
            "rbf.grid": np.linspace(-2.0, 2.0, centres),
            "spline_linear.weight": rng.standard_normal((n_out, n_in * centres)) * bound / 2,
            "base_linear.weight": rng.uniform(-bound, bound, size=(n_out, n_in)),
            "base_linear.bias": rng.uniform(-bound, bound, size=n_out),
        }
        state |= {f"layers.{layer}.{name}": array.astype(np.float32) for name, array in drawn.items()}
    return Drawn("fast-kan", tuple(widths), state)


def kanditioned(widths: Sequence[int], seed: int = 0, *, points: int = 8) -> Drawn:
    """Draw a KANditioned state_dict: values at control points that span `KANDITIONED_WIDTH`.

    Examples
    --------
    >>> kanditioned((3, 2)).state["layers.0.kan_weight"].shape
    (3, 8, 2)
    """
    rng = np.random.default_rng(seed)
    state: State = {}
    for layer, (n_in, n_out) in enumerate(_pairs(widths)):
        state[f"layers.{layer}.kan_weight"] = (rng.standard_normal((n_in, points, n_out)) / np.sqrt(n_in)).astype(
            np.float32
        )
        state[f"layers.{layer}.feature_offset"] = (np.arange(n_in) * points).astype(np.float32)[None]
    return Drawn("kanditioned", tuple(widths), state)


def perceptron(widths: Sequence[int], seed: int = 0) -> Drawn:
    """Draw the dense network of the same shape: `layers.N.weight` [out, in] and `.bias` [out], SiLU between.

    Examples
    --------
    >>> sorted(perceptron((3, 2)).state)
    ['layers.0.bias', 'layers.0.weight']
    """
    rng = np.random.default_rng(seed)
    state: State = {}
    for layer, (n_in, n_out) in enumerate(_pairs(widths)):
        bound = 1.0 / np.sqrt(n_in)
        state[f"layers.{layer}.weight"] = rng.uniform(-bound, bound, size=(n_out, n_in)).astype(np.float32)
        state[f"layers.{layer}.bias"] = rng.uniform(-bound, bound, size=n_out).astype(np.float32)
    return Drawn("perceptron", tuple(widths), state)


def _perceptron_values(state: Mapping[str, F32], X: F32) -> F64:
    x = X.astype(np.float64)
    for layer in range(len(state) // 2):
        if layer:
            x = x / (1.0 + np.exp(-x))
        weight, bias = (state[f"layers.{layer}.{name}"].astype(np.float64) for name in ("weight", "bias"))
        x = x @ weight.T + bias
    return x
