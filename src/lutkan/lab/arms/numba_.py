"""Numba arms: B-splines with local support and edge by edge, and the segment look-up in LUT-KAN's memory layout.

One thread, as the LUT-KAN project's kernels are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lutkan.artifact import Artifact
from lutkan.artifact.program import BaseTable, SegmentTable
from lutkan.lab.arms.contender import Contender
from lutkan.lab.arms.numpy_ import segment_layers, uniform_layers
from lutkan.lab.nets import Drawn

__all__ = ["bspline", "edge_bspline", "edge_lut"]

F32 = NDArray[np.float32]


@njit(cache=True, fastmath=True, error_model="numpy")
def _bspline_layer(x, coefficients, base, low, inverse, segments, out):
    one, sixth = np.float32(1.0), np.float32(1.0 / 6.0)
    three, four, six = np.float32(3.0), np.float32(4.0), np.float32(6.0)
    n_out = out.shape[1]
    for n in range(x.shape[0]):
        row = out[n]
        row[:] = np.float32(0.0)
        for i in range(x.shape[1]):
            value = x[n, i]
            b = value / (one + np.exp(-value))
            position = (value - low) * inverse
            if position >= np.float32(0.0) and position < np.float32(segments):
                k = int(position)
                u = position - np.float32(k)
                v = one - u
                w0 = v * v * v * sixth
                w3 = u * u * u * sixth
                w1 = (three * u * u * u - six * u * u + four) * sixth
                w2 = one - w0 - w1 - w3
                c0, c1, c2, c3 = (
                    coefficients[i, k],
                    coefficients[i, k + 1],
                    coefficients[i, k + 2],
                    coefficients[i, k + 3],
                )
                weight = base[i]
                for o in range(n_out):
                    row[o] += w0 * c0[o] + w1 * c1[o] + w2 * c2[o] + w3 * c3[o] + b * weight[o]
            else:
                weight = base[i]
                for o in range(n_out):
                    row[o] += b * weight[o]


def bspline(model: Drawn) -> Contender:
    """Evaluate four local cubic bases once an input, coefficients [in, C, out], the base branch in the same loop."""
    layers = []
    for spline, base, low, inverse in uniform_layers(model.state):
        # Three zero rows each side stand for the bases that do not exist.
        padded = np.pad(spline, ((0, 0), (3, 3), (0, 0)))
        layers.append((padded, base, np.float32(low), np.float32(inverse), spline.shape[1] + 3))

    def prepare(x: F32) -> Callable[[], object]:
        x = np.array(x, order="C")
        outputs = [np.empty((len(x), base.shape[1]), np.float32) for _, base, _, _, _ in layers]

        def call() -> object:
            value = x
            for (padded, base, low, inverse, segments), out in zip(layers, outputs, strict=True):
                _bspline_layer(value, padded, base, low, inverse, segments, out)
                value = out
            return value

        return call

    return Contender(
        name="numba B-spline",
        kind="numba",
        prepare=prepare,
        oracle=model.evaluate,
        edges=model.edges,
        nbytes=sum(padded.nbytes + base.nbytes for padded, base, _, _, _ in layers),
        bytes_a_row=4 * max(base.shape[1] for _, base, _, _, _ in layers),
        file_bytes=model.checkpoint_bytes,
    )


@njit(cache=True, error_model="numpy")
def _edge_bspline_layer(x, knots, coefficients, scaler, base, out):
    count = knots.shape[1] - 1
    n_coefficients = coefficients.shape[2]
    bases = np.empty(count, np.float32)
    activated = np.empty(x.shape[1], np.float32)
    for n in range(x.shape[0]):
        for i in range(x.shape[1]):
            activated[i] = x[n, i] / (np.float32(1.0) + np.exp(-x[n, i]))
        for o in range(out.shape[1]):
            total = np.float32(0.0)
            for i in range(x.shape[1]):
                value = x[n, i]
                t = knots[i]
                for c in range(count):
                    bases[c] = np.float32(1.0) if t[c] <= value < t[c + 1] else np.float32(0.0)
                for p in range(1, count - n_coefficients + 1):
                    for c in range(count - p):
                        bases[c] = (value - t[c]) / (t[c + p] - t[c]) * bases[c] + (t[c + p + 1] - value) / (
                            t[c + p + 1] - t[c + 1]
                        ) * bases[c + 1]
                curve = np.float32(0.0)
                for c in range(n_coefficients):
                    curve += bases[c] * coefficients[o, i, c]
                total += base[o, i] * activated[i] + scaler[o, i] * curve
            out[n, o] = total


def edge_bspline(model: Drawn) -> Contender:
    """Evaluate the whole Cox-de Boor recursion anew for every edge: the baseline of LUT-KAN's published speed-ups."""
    layers = []
    for layer in range(sum(name.endswith("base_weight") for name in model.state)):
        names = ("grid", "spline_weight", "spline_scaler", "base_weight")
        # Numba compiles for arrays it may write to, as it does for those of the other arms.
        layers.append(tuple(np.array(model.state[f"layers.{layer}.{name}"], order="C") for name in names))

    def prepare(x: F32) -> Callable[[], object]:
        x = np.array(x, order="C")
        outputs = [np.empty((len(x), len(layer[3])), np.float32) for layer in layers]

        def call() -> object:
            value = x
            for (grid, spline, scaler, base), out in zip(layers, outputs, strict=True):
                _edge_bspline_layer(value, grid, spline, scaler, base, out)
                value = out
            return value

        return call

    return Contender(
        name="numba Cox-de Boor an edge",
        kind="numba",
        prepare=prepare,
        oracle=model.evaluate,
        edges=model.edges,
        nbytes=model.nbytes,
        bytes_a_row=4 * max(len(layer[3]) for layer in layers),
        file_bytes=model.checkpoint_bytes,
    )


@njit(cache=True, error_model="numpy")
def _edge_lut_layer(x, knots, q, scale, offset, base_weight, spline_weight, edge_weight, samples, half_open, out):
    segments = knots.size - 1
    low, high = knots[0], knots[segments]
    top = np.nextafter(high, np.float32(-np.inf)) if half_open else high
    for n in range(x.shape[0]):
        for o in range(out.shape[1]):
            out[n, o] = 0.0
        for i in range(x.shape[1]):
            raw = np.float64(x[n, i])
            base = raw / (1.0 + np.exp(-raw))
            point = min(max(raw, np.float64(low)), np.float64(top))
            k, above = 0, segments
            while above - k > 1:
                middle = (k + above) // 2
                if point >= knots[middle]:
                    k = middle
                else:
                    above = middle
            left = np.float64(knots[k])
            u = (point - left) / max(np.float64(knots[k + 1]) - left, 1e-12)
            position = min(max(u, 0.0), 1.0) * (samples - 1)
            r0 = min(int(np.floor(position)), samples - 1)
            r1 = min(r0 + 1, samples - 1)
            w = position - r0
            start = k * samples
            for o in range(out.shape[1]):
                s, m = np.float64(scale[i, o, k]), np.float64(offset[i, o, k])
                y0 = m + s * q[i, o, start + r0]
                y1 = m + s * q[i, o, start + r1]
                value = (1.0 - w) * y0 + w * y1
                out[n, o] += edge_weight[i, o] * (base_weight[i, o] * base + spline_weight[i, o] * value)


def edge_lut(artifact: Artifact, model: Drawn, spec: str) -> Contender:
    """Run the tables of a segment artifact in the LUT-KAN project's layout, `[in][out][segment, sample]`.

    Segment and weight are found once an input by binary search; then every edge reads two codes, a scale and an offset
    of its own, in float64 (arXiv 2601.03332, version 2.2.0 of its code).

    Raises
    ------
    InputError
        The artifact is not what that project can express: KAN layers only, one shared knot vector, a SiLU base.
    """
    layers = [_edge_layer(table, base) for table, base in segment_layers(artifact)]

    def prepare(x: F32) -> Callable[[], object]:
        x = np.array(x, order="C")
        outputs = [np.empty((len(x), layer[1].shape[1]), np.float32) for layer in layers]

        def call() -> object:
            value = x
            for layer, out in zip(layers, outputs, strict=True):
                knots, q, scale, offset, base_weight, spline_weight, edge_weight, samples, half_open = layer
                _edge_lut_layer(
                    value, knots, q, scale, offset, base_weight, spline_weight, edge_weight, samples, half_open, out
                )
                value = out
            return value

        return call

    return Contender(
        name=f"LUT-KAN layout {spec}",
        kind="look-up",
        prepare=prepare,
        oracle=model.evaluate,
        edges=model.edges,
        nbytes=sum(part.nbytes for layer in layers for part in layer if isinstance(part, np.ndarray)),
        bytes_a_row=4 * max(layer[1].shape[1] for layer in layers),
        file_bytes=artifact.nbytes,
    )


def _edge_layer(table: SegmentTable, base: BaseTable) -> tuple[Any, ...]:
    n_in, n_out = table.shape

    def by_edge(array: NDArray) -> NDArray:
        return np.array(array.transpose(0, 2, 1), order="C")

    ones = np.ones((n_in, n_out), np.float32)
    scale = by_edge(table.scale)
    offset = np.zeros_like(scale) if table.offset is None else by_edge(table.offset)
    spline = ones if table.edge_scale is None else np.array(table.edge_scale, order="C")
    knots = np.array(table.knots[0], order="C")
    return (
        knots,
        by_edge(table.q),
        scale,
        offset,
        np.array(base.weight, order="C"),
        spline,
        ones,
        table.samples,
        table.boundary == "half_open",
    )
