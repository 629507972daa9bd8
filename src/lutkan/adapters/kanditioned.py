"""KANditioned (PyPI `kanditioned`, KANLayer): piecewise linear edges on shared, uniform control points.

The points span `[-spline_width / 2, spline_width / 2]`; outside, the first and the last segment go on as straight
lines. Two parametrisations: "B-spline" stores the value at each point (`kan_weight`), "parallel_scan" stores bends,
`value[p] = sum_{q <= p} r[q] * (p - q) + sum_{q > p} l[q] * (q - p)`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lutkan.adapters.checkpoint import LayerTensors
from lutkan.adapters.family import Family
from lutkan.adapters.options import LayerOptions
from lutkan.errors import ImportModelError
from lutkan.ir import Branch, EdgeBank, KANLayer, PiecewiseLinear, Step

__all__ = ["KANDITIONED"]

_IMPLEMENTATIONS = ("embedding", "embedding_bag", "sparse_matmul_csr")


def _read(tensors: LayerTensors, options: LayerOptions) -> tuple[Step, ...]:
    scan = "r_weight" in tensors or "l_weight" in tensors
    if scan:
        right = tensors.take("r_weight", None, None, None)
        left = tensors.take("l_weight", *right.shape)
        points = np.arange(right.shape[1])
        ahead = points[:, None] - points[None, :]
        # values[i, p, o] = sum over q of max(p - q, 0) * r[i, q, o] + max(q - p, 0) * l[i, q, o]
        values = np.einsum("pq,iqo->ipo", np.maximum(ahead, 0), right)
        values += np.einsum("pq,iqo->ipo", np.maximum(-ahead, 0), left)
    else:
        values = tensors.take("kan_weight", None, None, None)
    n_in, count, n_out = values.shape
    if count < 2:
        raise ImportModelError(f"layer {tensors.path!r} has {count} control points", "at least 2")
    for name, shape, expected in (
        ("local_bias", (1, count, 1), np.arange(count)),
        ("feature_offset", (1, n_in), np.arange(n_in) * count),
    ):
        if name in tensors and not np.array_equal(tensors.take(name, *shape).reshape(-1), expected):
            raise ImportModelError(f"tensor {tensors.full_name(name)!r} is not the index table upstream builds")
    for key, actual in (
        ("in_features", n_in),
        ("out_features", n_out),
        ("num_control_points", count),
        ("variant", "parallel_scan" if scan else "B-spline"),
    ):
        options.check(key, actual)
    if options.given("impl") and options.get("impl") not in _IMPLEMENTATIONS:
        # The early "sparse_matmul" maps x to the points twice, which is another function.
        raise ImportModelError(f"layer {options.index}: impl = {options.get('impl')!r}", ", ".join(_IMPLEMENTATIONS))
    width = options.number("spline_width", why="the span of the control points, which no tensor holds", above=0)
    basis = PiecewiseLinear(np.linspace(-width / 2, width / 2, count))
    return (KANLayer(tensors.path, (Branch(EdgeBank(basis, values, role="spline")),)),)


def _attributes(module: Any) -> dict[str, Any]:
    config = {key: getattr(module, key) for key in ("impl", "variant") if hasattr(module, key)}
    return config | ({"spline_width": float(module.spline_width)} if hasattr(module, "spline_width") else {})


KANDITIONED = Family(
    name="kanditioned",
    anchor="feature_offset",
    claims=lambda names: bool({"kan_weight", "r_weight", "l_weight"} & names),
    read_layer=_read,
    keys={"spline_width": "span of the control points; refused"},
    layer_keys=("in_features", "out_features", "num_control_points", "variant", "impl"),
    attributes=_attributes,
)
