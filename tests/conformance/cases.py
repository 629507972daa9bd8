"""The conformance list: artifacts and rows that every runtime and every export has to answer with the same bits.

`CASES` covers every operation and every flag of an artifact. `case.artifact` compiles on first use, `case.rows` holds
rows on knots and one ulp beside them, signed zeros, subnormal and huge numbers, infinities, and ordinary rows. What is
expected is the reference runtime's answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

import lutkan
from conformance import networks
from lutkan.artifact.program import KANOp, SegmentTable
from lutkan.ir import Network
from lutkan.tables import BasisSpec, BranchSpec, CodeSpec, SegmentSpec, Spec

__all__ = ["CASES", "Case", "same_bits"]

SPECIAL = np.array(
    [0.0, -0.0, 1e-45, -1e-45, 1.1754942e-38, -1e-40, 1.0, -1.0, 9.02, -17.4, 100.0, -88.5, 3e38, -3e38]
    + [np.finfo(np.float32).max, -np.finfo(np.float32).max, np.inf, -np.inf],
    dtype=np.float32,
)


@dataclass(frozen=True)
class Case:
    """A network, the spec it is compiled with, and the rows to answer."""

    name: str
    network: Callable[[], Network]
    spec: SegmentSpec | BasisSpec | CodeSpec | Spec | str

    @cached_property
    def net(self) -> Network:
        return self.network()

    @cached_property
    def artifact(self) -> lutkan.Artifact:
        return lutkan.compile(self.net, self.spec)

    @cached_property
    def rows(self) -> np.ndarray:
        """float32 [N, in], without NaN."""
        n, rng = self.artifact.program.in_features, np.random.default_rng(len(self.name))
        values = np.concatenate([SPECIAL, _beside_knots(self.artifact)])
        everywhere = np.repeat(values[:, None], n, axis=1)
        mixed = rng.choice(values, (64, n))
        single = rng.uniform(-1, 1, (64, n)).astype(np.float32)
        single[np.arange(64), rng.integers(0, n, 64)] = rng.choice(values, 64)
        ordinary = np.concatenate([rng.uniform(-1, 1, (64, n)), rng.normal(0, 2, (64, n))])
        return np.concatenate([everywhere, mixed, single, ordinary]).astype(np.float32)


def _beside_knots(artifact: lutkan.Artifact) -> np.ndarray:
    """Knots of all segment tables, and the numbers one ulp beside them."""
    tables = [b.table for step in artifact.program.steps if isinstance(step, KANOp) for b in step.branches]
    found = [table.knots.ravel() for table in tables if isinstance(table, SegmentTable)]
    knots = np.unique(np.concatenate([*found, np.linspace(-1, 1, 6, dtype=np.float32)]))[:120]
    infinity = np.float32(np.inf)
    return np.concatenate([knots, np.nextafter(knots, infinity), np.nextafter(knots, -infinity)])


def same_bits(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Tell where two float32 arrays hold the same bits; a NaN equals any NaN."""
    return (a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))


def _flags(samples: int, dtype: str, interpolation: str, boundary: str, policy: str, value: str) -> Case:
    spec = SegmentSpec(
        samples, dtype, interpolation=interpolation, boundary_mode=boundary, oob_policy=policy, value=value
    )
    name = f"splines-{dtype}-L{samples}-{interpolation}-{boundary}-{policy}-{value}"
    return Case(name, cache(networks.splines), spec)


def _clip(**fields) -> SegmentSpec:
    return SegmentSpec(oob_policy="clip_x", **fields)


CASES: tuple[Case, ...] = (
    _flags(16, "int8", "linear", "half_open", "model", "auto"),
    _flags(16, "uint8", "linear", "closed", "model", "auto"),
    _flags(64, "int8", "linear", "closed", "model", "phi"),
    _flags(5, "uint8", "linear", "half_open", "model", "phi"),
    _flags(16, "int8", "nearest", "half_open", "model", "phi"),
    _flags(4, "uint8", "nearest", "closed", "model", "spline_component"),
    _flags(3, "int8", "linear", "half_open", "clip_x", "phi"),
    _flags(3, "uint8", "nearest", "closed", "clip_x", "phi"),
    _flags(2, "uint8", "linear", "closed", "clip_x", "spline_component"),
    _flags(2, "int8", "nearest", "half_open", "zero_spline", "phi"),
    _flags(8, "uint8", "linear", "closed", "zero_spline", "phi"),
    _flags(8, "int8", "linear", "half_open", "zero_spline", "spline_component"),
    Case("percentile", networks.bare_splines, SegmentSpec(16, percentile=(5, 95))),
    Case("scaled-edges", lambda: networks.bare_splines(scaled=True), SegmentSpec(16, "uint8")),
    Case("degree-1", lambda: networks.bare_splines(knots=networks.uniform_knots(4, 1), degree=1), SegmentSpec(8)),
    Case("per-input-knots", networks.adapted, SegmentSpec(16, "uint8")),
    Case("per-input-knots-closed", networks.adapted, _clip(samples=16, boundary_mode="closed", value="phi")),
    Case("repeated-knots", networks.clamped, SegmentSpec(7)),
    Case("repeated-knots-closed", networks.clamped, _clip(samples=7, boundary_mode="closed", dtype="uint8")),
    Case("tiny-values", lambda: networks.bare_splines(amplitude=1e-38), SegmentSpec(8)),
    Case("large-values", lambda: networks.bare_splines(amplitude=1e36), SegmentSpec(8, "uint8")),
    Case("base-gelu", lambda: networks.splines(name="gelu"), SegmentSpec(8)),
    Case("base-gelu-folded", lambda: networks.splines(name="gelu"), SegmentSpec(8, value="phi")),
    Case("base-relu", lambda: networks.splines(name="relu"), SegmentSpec(8)),
    Case("base-tanh-folded", lambda: networks.splines(name="tanh"), SegmentSpec(8, value="phi")),
    Case("base-sigmoid", lambda: networks.splines(name="sigmoid"), SegmentSpec(8)),
    Case("base-identity-folded", lambda: networks.splines(name="identity"), SegmentSpec(8, value="phi")),
    Case("fast-kan", networks.fast_kan, SegmentSpec(8)),
    Case("faster-kan", networks.switches, SegmentSpec(8, "uint8")),
    Case("chebyshev", networks.chebyshev, SegmentSpec(8, segments=9)),
    Case("fourier", networks.fourier, _clip(samples=8, segments=7, domain=(-3.0, 3.5))),
    Case("straight-tails", networks.straight, SegmentSpec(8, "uint8")),
    Case("straight-tails-closed", networks.straight, SegmentSpec(2, boundary_mode="closed")),
    Case("symbolic", networks.symbolic, _clip(samples=8, domain=(-2.0, 2.0), interpolation="nearest")),
    Case("masked", networks.masked, SegmentSpec(8)),
    Case("masked-kept", networks.masked, SegmentSpec(8, keep_masked=True)),
    Case("glued", networks.glued, Spec(SegmentSpec(16), (("a", _clip(samples=8)), ("b", SegmentSpec(4, "uint8"))))),
    Case("wide", lambda: networks.splines(37, 67, seed=12), SegmentSpec(4)),
    Case("int8", networks.splines, "int8"),
    Case("int16", networks.splines, "int16"),
    Case("int4", networks.bare_splines, "int4"),
    Case("int3-base-apart", networks.splines, BasisSpec(3, base="apart")),
    Case("int2-degree-1", lambda: networks.bare_splines(knots=networks.uniform_knots(4, 1), degree=1), BasisSpec(2)),
    Case("int8-base-folded", lambda: networks.splines(name="gelu"), BasisSpec(8, base="fold", position_bits=5)),
    Case("int16-base-folded", lambda: networks.splines(name="gelu"), BasisSpec(16, base="fold")),
    Case("int16-straight-tails", networks.straight, "int16"),
    Case("int8-even-straight-tails", networks.even_straight, "int8"),
    Case("int16-faster-kan", networks.switches, "int16"),
    Case("int16-per-input-knots", networks.adapted, "int16"),
    Case("int8-repeated-knots", networks.clamped, "int8"),
    Case("int8-symbolic", networks.symbolic, BasisSpec(8, domain=(-2.0, 2.0), segments=7)),
    Case("int8-masked", networks.masked, "int8"),
    Case("int8-per-input-knots", networks.adapted, "int8"),
    Case("int8-fast-kan", networks.fast_kan, "int8"),
    Case("int16-chebyshev", networks.chebyshev, "int16"),
    Case("int8-straight-tails", networks.straight, "int8"),
    Case("int8-glued", networks.glued, "int8"),
    Case("float32-splines", networks.splines, "float32"),
    Case("float32-degree-2", lambda: networks.bare_splines(knots=networks.uniform_knots(4, 2), degree=2), "float32"),
    Case("float32-straight-tails", networks.straight, BasisSpec(32, segments=9)),
    Case("float32-even-straight-tails", networks.even_straight, "float32"),
    Case("float32-fast-kan", networks.fast_kan, "float32"),
    Case("float32-glued", networks.glued, "float32"),
    Case("w8a8", networks.splines, "w8a8"),
    Case("w4a4-masked", networks.masked, "w4a4"),
    Case("w3a8-fast-kan", networks.fast_kans, "w3a8"),
    Case("w5a6-gram", networks.gram, "w5a6"),
    Case("w2a2-per-input-knots", networks.pykans, "w2a2"),
    Case("w7a3-repeated-knots", networks.clamped, "w7a3"),
    Case("w6a5-chebyshev", networks.chebyshev, CodeSpec(5, True, spline=BranchSpec(6, "tensor"))),
    Case("w8a7-faster-kan", networks.switches, CodeSpec(7, percentile=(1.0, 99.0))),
    Case("w8a4-free-offset", networks.pykans, CodeSpec(4, spline=BranchSpec(8, symmetric=False), scaler=BranchSpec(5))),
    Case("w4a8-glued", networks.glued, "w4a8"),
    Case("w8a8-int8", networks.pykans, Spec(CodeSpec(), (("1", BasisSpec(8)),))),
)
