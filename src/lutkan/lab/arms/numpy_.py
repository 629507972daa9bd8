"""Numpy arms, which need no compiler: B-splines as one matrix product or edge by edge, and the segment look-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import Artifact
from lutkan.artifact.program import BaseTable, KANOp, SegmentTable
from lutkan.errors import InputError
from lutkan.lab.arms.contender import Contender
from lutkan.lab.nets import Drawn

__all__ = ["UniformLayer", "edge_bspline", "gemm", "look_up", "segment_layers", "uniform_layers"]

F32 = NDArray[np.float32]
#: Spline weights [in, C, out] with the scaler in them, base weights [in, out], first knot, 1 / distance of the knots.
UniformLayer = tuple[F32, F32, float, float]
# Edge values that the look-up works on at a time: 1 MB of float32, half of a second-level cache.
_CHUNK = 1 << 18


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


def edge_bspline(model: Drawn) -> Contender:
    """Evaluate the whole Cox-de Boor recursion anew for every edge, in a Python loop over inputs and outputs.

    This is the baseline that LUT-KAN's published speed-ups are formed with (arXiv 2601.03332, version 2.2.0 of its
    code): all bases on all knots, with divisions, for every pair of input and output.
    """
    layers = []
    for layer in range(sum(name.endswith("base_weight") for name in model.state)):
        names = ("grid", "spline_weight", "spline_scaler", "base_weight")
        layers.append(tuple(model.state[f"layers.{layer}.{name}"] for name in names))

    def edge(x: F32, knots: F32, coefficients: F32) -> F32:
        column = x[:, None]
        bases = ((column >= knots[:-1]) & (column < knots[1:])).astype(np.float32)
        for p in range(1, len(knots) - len(coefficients)):
            rising = (column - knots[: -p - 1]) / (knots[p:-1] - knots[: -p - 1])
            falling = (knots[p + 1 :] - column) / (knots[p + 1 :] - knots[1:-p])
            bases = rising * bases[:, :-1] + falling * bases[:, 1:]
        return bases @ coefficients

    def prepare(x: F32) -> Callable[[], object]:
        def call() -> object:
            value = x
            for grid, spline, scaler, base in layers:
                out = np.empty((len(value), len(spline)), np.float32)
                activated = value / (np.float32(1.0) + np.exp(-value))
                for o in range(len(spline)):
                    total = np.zeros(len(value), np.float32)
                    for i in range(len(grid)):
                        curve = edge(value[:, i], grid[i], spline[o, i])
                        total += base[o, i] * activated[:, i] + scaler[o, i] * curve
                    out[:, o] = total
                value = out
            return value

        return call

    return Contender(
        name="numpy Cox-de Boor an edge",
        kind="numpy",
        prepare=prepare,
        oracle=model.evaluate,
        edges=model.edges,
        nbytes=model.nbytes,
        bytes_a_row=16 * layers[0][0].shape[1],
        file_bytes=model.checkpoint_bytes,
    )


def segment_layers(artifact: Artifact) -> list[tuple[SegmentTable, BaseTable]]:
    """Return the tables of an artifact that the LUT-KAN project can express.

    Raises
    ------
    InputError
        It has something else than KAN layers of one segment table and one SiLU base table on shared knots.
    """
    layers = []
    for step in artifact.program.steps:
        tables = [branch.table for branch in step.branches] if isinstance(step, KANOp) else []
        segments = [table for table in tables if isinstance(table, SegmentTable)]
        bases = [table for table in tables if isinstance(table, BaseTable) and table.function == "silu"]
        plain = isinstance(step, KANOp) and step.inputs is None and step.outputs is None and step.bias is None
        if not (plain and len(segments) == len(bases) == 1 and len(tables) == 2):
            raise InputError(
                f"step {step.op} of shape {step.shape}",
                "KAN layers of one segment table and one SiLU base table, without bias or dead inputs",
            )
        table = segments[0]
        if table.knots.shape[0] != 1 or table.interpolation != "linear" or table.outside == "base":
            raise InputError(
                f"a segment table with {table.knots.shape[0]} knot vectors, {table.interpolation}, "
                f"outside {table.outside}",
                "one shared knot vector, linear interpolation, and splines that end in zero or are clipped",
            )
        layers.append((table, bases[0]))
    return layers


def look_up(artifact: Artifact, model: Drawn, spec: str) -> Contender:
    """Look segments up in numpy, vectorised over rows, inputs and outputs, in blocks that stay in the cache.

    Tables lie as `[in][segment, sample][out]`, so that every gather takes whole rows.
    """
    layers = []
    for table, base in segment_layers(artifact):
        factor = np.float32(1.0) if table.edge_scale is None else table.edge_scale[:, None, :]
        offset = None if table.offset is None else table.offset * factor
        layers.append((table.knots[0], table.q, table.scale * factor, offset, base.weight, table.samples))

    def prepare(x: F32) -> Callable[[], object]:
        def call() -> object:
            value = x
            for knots, q, scale, offset, base, samples in layers:
                clipped = np.clip(value, knots[0], knots[-1])
                k = np.clip(np.searchsorted(knots, clipped, side="right") - 1, 0, len(knots) - 2)
                position = (clipped - knots[k]) / (knots[k + 1] - knots[k]) * np.float32(samples - 1)
                r = np.minimum(position.astype(np.int64), samples - 2)
                weight = (position - r).astype(np.float32)[:, :, None]
                rows, inputs = k * samples + r, np.arange(len(q))
                out = (value / (np.float32(1.0) + np.exp(-value))) @ base
                step = max(1, _CHUNK // (len(q) * q.shape[2]))
                for start in range(0, len(value), step):
                    part = slice(start, start + step)
                    below = q[inputs, rows[part]].astype(np.float32)
                    above = q[inputs, rows[part] + 1].astype(np.float32)
                    above -= below
                    above *= weight[part]
                    above += below
                    above *= scale[inputs, k[part]]
                    if offset is not None:
                        above += offset[inputs, k[part]]
                    out[part] += above.sum(axis=1)
                value = out
            return value

        return call

    return Contender(
        name=f"numpy {spec}",
        kind="look-up",
        prepare=prepare,
        oracle=model.evaluate,
        edges=model.edges,
        nbytes=sum(part.nbytes for layer in layers for part in layer if isinstance(part, np.ndarray)),
        bytes_a_row=64 * max(max(base.shape) for _, _, _, _, base, _ in layers),
        file_bytes=artifact.nbytes,
    )
