"""Dense cubic bases and one matrix product a layer, in numpy: the float baseline that needs no compiler at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from lutkan.lab.arms.contender import Contender
from lutkan.lab.nets import Drawn

__all__ = ["UniformLayer", "gemm", "uniform_layers"]

F32 = NDArray[np.float32]
#: Spline weights [in, C, out] with the scaler in them, base weights [in, out], first knot, 1 / distance of the knots.
UniformLayer = tuple[F32, F32, float, float]


def uniform_layers(state: Mapping[str, F32]) -> list[UniformLayer]:
    """Read an efficient-kan state_dict whose cubic splines lie on uniform knots that all inputs share."""
    found = []
    for layer in range(sum(name.endswith("base_weight") for name in state)):
        tensors = {name: state[f"layers.{layer}.{name}"] for name in ("spline_weight", "spline_scaler", "base_weight")}
        knots = state[f"layers.{layer}.grid"][0].astype(np.float64)
        spline = (tensors["spline_weight"] * tensors["spline_scaler"][:, :, None]).transpose(1, 2, 0)
        step = (knots[-1] - knots[0]) / (len(knots) - 1)
        base = np.ascontiguousarray(tensors["base_weight"].T)
        found.append((np.ascontiguousarray(spline), base, float(knots[0]), float(1.0 / step)))
    return found


def gemm(model: Drawn) -> Contender:
    """Multiply closed-form cubic bases beside SiLU, [N, (C + 1) * in], with the weights."""
    layers = []
    for spline, base, low, inverse in uniform_layers(model.state):
        n_in, count, n_out = spline.shape
        weight = np.concatenate([spline.transpose(1, 0, 2), base[None]]).reshape((count + 1) * n_in, n_out)
        centres = (low * inverse + 2.0 + np.arange(count)).astype(np.float32)[:, None]
        layers.append((weight, centres, np.float32(inverse), n_in, count))

    def prepare(x: F32) -> Callable[[], object]:
        def empty(count: int, n_in: int) -> F32:
            return np.empty((len(x), count, n_in), np.float32)

        buffers = [(empty(count + 1, n_in), empty(count, n_in), empty(count, n_in)) for _, _, _, n_in, count in layers]

        def call() -> object:
            value = x
            for (weight, centres, inverse, _, count), (features, near, cube) in zip(layers, buffers, strict=True):
                # B(d) = (max(2 - |d|, 0)^3 - 4 max(1 - |d|, 0)^3) / 6, the cardinal cubic spline.
                np.subtract((value * inverse)[:, None, :], centres, out=near)
                np.abs(near, out=near)
                np.subtract(np.float32(2.0), near, out=near)
                np.maximum(near, np.float32(0.0), out=near)
                bases = features[:, :count]
                np.multiply(near, near, out=cube)
                np.multiply(cube, near, out=bases)
                np.subtract(near, np.float32(1.0), out=near)
                np.maximum(near, np.float32(0.0), out=near)
                np.multiply(near, near, out=cube)
                np.multiply(cube, near, out=cube)
                np.multiply(cube, np.float32(4.0), out=cube)
                np.subtract(bases, cube, out=bases)
                np.multiply(bases, np.float32(1.0 / 6.0), out=bases)
                features[:, count] = value / (np.float32(1.0) + np.exp(-value))
                value = features.reshape(len(x), -1) @ weight
            return value

        return call

    widest = max(len(weight) for weight, _, _, _, _ in layers)
    return Contender(
        name="numpy basis + GEMM",
        kind="numpy",
        prepare=prepare,
        oracle=model.evaluate,
        edges=model.edges,
        nbytes=sum(weight.nbytes for weight, _, _, _, _ in layers),
        bytes_a_row=12 * widest,
        file_bytes=model.checkpoint_bytes,
    )
