"""The compiled network: a list of operations on float32 rows, as frozen arrays.

This is what an artifact holds and what every runtime executes; the meaning of each operation is written down in
docs/spec/semantics.md. Every constructor checks what it is given and raises ArtifactError, because these objects are
also made from files that nobody vouches for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import checks
from lutkan.artifact.basis import BasisTable, IntegerRows, KnotTable, ProductTable, RadialTable
from lutkan.artifact.checks import ACTIVATIONS, MAX_FEATURES
from lutkan.artifact.code import MAX_CODE_FEATURES, CodeTable, QuantizeOp, Requantization
from lutkan.artifact.spline import SplineTable

__all__ = [
    "ACTIVATIONS",
    "MAX_FEATURES",
    "MAX_STEPS",
    "ActivationOp",
    "AffineOp",
    "BaseTable",
    "BasisTable",
    "BranchOp",
    "CodeTable",
    "GlueOp",
    "IntegerRows",
    "KANOp",
    "KnotTable",
    "LayerNormOp",
    "LinearOp",
    "Op",
    "ProductOp",
    "ProductTable",
    "Program",
    "QuantizeOp",
    "RadialTable",
    "Requantization",
    "SegmentTable",
    "SelectOp",
    "SplineTable",
    "Table",
]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

MAX_STEPS = 1024
#: Weights that the radial tables of a program unfold to: far more than networks have, and little memory.
MAX_RADIAL_WEIGHTS = 1 << 25


@dataclass(frozen=True, eq=False)
class SelectOp:
    """`y[:, j] = x[:, indices[j]]`."""

    in_features: int
    indices: I32
    op: ClassVar[str] = "select"

    def __post_init__(self) -> None:
        checks.integer("select.in_features", self.in_features, 1, MAX_FEATURES)
        checks.indices("select.indices", self.indices, self.in_features, distinct=False)

    @property
    def shape(self) -> tuple[int, int]:
        return self.in_features, self.indices.size


@dataclass(frozen=True, eq=False)
class AffineOp:
    """`y = scale * x + bias`."""

    scale: F32
    bias: F32
    op: ClassVar[str] = "affine"

    def __post_init__(self) -> None:
        checks.array("affine.scale", self.scale, "float32", (None,))
        checks.array("affine.bias", self.bias, "float32", self.scale.shape)

    @property
    def shape(self) -> tuple[int, int]:
        return self.scale.size, self.scale.size


@dataclass(frozen=True, eq=False)
class LayerNormOp:
    """Normalise each row; `weight` and `bias` may be absent."""

    features: int
    eps: float
    weight: F32 | None
    bias: F32 | None
    op: ClassVar[str] = "layer_norm"

    def __post_init__(self) -> None:
        checks.integer("layer_norm.features", self.features, 1, MAX_FEATURES)
        if not isinstance(self.eps, float) or not 0.0 <= self.eps < 1e30:
            checks.fail("layer_norm.eps", f"is {self.eps!r}", "a number >= 0")
        for name in ("weight", "bias"):
            if getattr(self, name) is not None:
                checks.array(f"layer_norm.{name}", getattr(self, name), "float32", (self.features,))

    @property
    def shape(self) -> tuple[int, int]:
        return self.features, self.features


@dataclass(frozen=True, eq=False)
class ActivationOp:
    """Apply one of `ACTIVATIONS`, or "prelu" with a slope a feature, to every feature."""

    features: int
    function: str
    slope: F32 | None = None
    op: ClassVar[str] = "activation"

    def __post_init__(self) -> None:
        checks.integer("activation.features", self.features, 1, MAX_FEATURES)
        checks.choice("activation.function", self.function, (*ACTIVATIONS, "prelu"))
        if (self.slope is None) == (self.function == "prelu"):
            checks.fail(
                "activation.slope", "is absent for prelu or present for another function", "a slope for prelu only"
            )
        if self.slope is not None:
            checks.array("activation.slope", self.slope, "float32", (self.features,))

    @property
    def shape(self) -> tuple[int, int]:
        return self.features, self.features


@dataclass(frozen=True, eq=False)
class LinearOp:
    """`y[:, o] = sum_i x[:, i] * weight[i, o] + bias[o]`, inputs in ascending order."""

    weight: F32
    bias: F32 | None
    op: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        checks.array("linear.weight", self.weight, "float32", (None, None))
        if self.weight.size == 0:
            checks.fail("linear.weight", f"has shape {list(self.weight.shape)}", "at least one input and one output")
        if self.bias is not None:
            checks.array("linear.bias", self.bias, "float32", (self.weight.shape[1],))

    @property
    def shape(self) -> tuple[int, int]:
        return self.weight.shape[0], self.weight.shape[1]


@dataclass(frozen=True, eq=False)
class ProductOp:
    """Output `j` is the product of the features `indices[offsets[j]:offsets[j + 1]]`, in that order."""

    in_features: int
    indices: I32
    offsets: I32
    op: ClassVar[str] = "product"

    def __post_init__(self) -> None:
        checks.integer("product.in_features", self.in_features, 1, MAX_FEATURES)
        checks.indices("product.indices", self.indices, self.in_features, distinct=False)
        checks.array("product.offsets", self.offsets, "int32", (None,))
        offsets = self.offsets.astype(np.int64)  # differences of int32 could wrap around
        if offsets.size < 2 or offsets[0] != 0 or offsets[-1] != self.indices.size or (np.diff(offsets) <= 0).any():
            checks.fail("product.offsets", "does not divide the indices into groups", "0 < ... < number of indices")

    @property
    def shape(self) -> tuple[int, int]:
        return self.in_features, self.offsets.size - 1


GlueOp = AffineOp | LayerNormOp | ActivationOp | QuantizeOp
_GLUE = (AffineOp, LayerNormOp, ActivationOp, QuantizeOp)


@dataclass(frozen=True, eq=False)
class SegmentTable:
    """Segment look-up tables of `in * out` edges, an entry a sample: the LUT-KAN contract.

    Attributes
    ----------
    samples : int
        Samples a segment, L.
    interpolation : {"linear", "nearest"}
    boundary : {"half_open", "closed"}
    outside : {"clip", "zero", "base", "linear"}
        Beyond the knots: the value at the border; nothing; `base_weight * base(x)`; the end segment goes on as the
        straight line through its first and last sample.
    knots : float32 [in or 1, K + 1], ascending
    q : int8 or uint8 [in, K * L, out]
    scale : float32 [in, K, out]
    offset : float32 [in, K, out] or None
        The contract's `y_min`; None for the symmetric int8 scheme, where it is 0.
    edge_scale : float32 [in, out] or None
    base, base_weight : str, float32 [in, out], or None
        For `outside = "base"` only.
    """

    samples: int
    interpolation: str
    boundary: str
    outside: str
    knots: F32
    q: NDArray[np.int8] | NDArray[np.uint8]
    scale: F32
    offset: F32 | None
    edge_scale: F32 | None
    base: str | None
    base_weight: F32 | None
    op: ClassVar[str] = "segment"

    def __post_init__(self) -> None:
        checks.integer("segment.samples", self.samples, 2, 65536)
        checks.choice("segment.interpolation", self.interpolation, ("linear", "nearest"))
        checks.choice("segment.boundary", self.boundary, ("half_open", "closed"))
        checks.choice("segment.outside", self.outside, ("clip", "zero", "base", "linear"))
        checks.array("segment.knots", self.knots, "float32", (None, None))
        checks.array("segment.q", self.q, ("int8", "uint8"), (None, None, None))
        n_in, rows, n_out = self.q.shape
        segments = self.knots.shape[1] - 1
        if segments < 1 or self.knots.shape[0] not in (1, n_in) or rows != segments * self.samples or n_in < 1:
            checks.fail(
                "segment",
                f"knots {list(self.knots.shape)} and q {list(self.q.shape)} with {self.samples} samples do not fit",
                "knots [in or 1, K + 1], q [in, K * samples, out]",
            )
        with np.errstate(over="ignore"):
            spans = np.diff(self.knots, axis=1), self.knots[:, -1] - self.knots[:, 0]
        if (spans[0] < 0).any() or not np.isfinite(spans[1]).all():
            checks.fail("segment.knots", "are not ascending, or their span exceeds float32", "ascending knots")
        checks.array("segment.scale", self.scale, "float32", (n_in, segments, n_out))
        if (self.offset is None) != (self.q.dtype == np.int8):
            checks.fail("segment.offset", "does not go with the dtype of q", "none for int8, one for uint8")
        if self.offset is not None:
            checks.array("segment.offset", self.offset, "float32", (n_in, segments, n_out))
        elif self.q.size and self.q.min() < -127:
            checks.fail("segment.q", "holds -128", "-127 to 127")
        if self.edge_scale is not None:
            checks.array("segment.edge_scale", self.edge_scale, "float32", (n_in, n_out))
        if (self.base is None) != (self.outside != "base") or (self.base_weight is None) != (self.base is None):
            checks.fail("segment.base", "does not go with outside", 'base and base_weight for outside = "base" only')
        if self.base_weight is not None:
            checks.choice("segment.base", self.base, ACTIVATIONS)
            checks.array("segment.base_weight", self.base_weight, "float32", (n_in, n_out))
        if self.outside == "linear" and self.interpolation != "linear":
            checks.fail("segment.outside", "is linear with nearest samples", "linear interpolation")

    @property
    def shape(self) -> tuple[int, int]:
        return self.q.shape[0], self.q.shape[2]

    @property
    def segments(self) -> int:
        """Number of segments, K."""
        return self.knots.shape[1] - 1


@dataclass(frozen=True, eq=False)
class BaseTable:
    """An analytic branch: `sum_i weight[i, o] * function(x_i)`, inputs in ascending order."""

    function: str
    weight: F32
    op: ClassVar[str] = "base"

    def __post_init__(self) -> None:
        checks.choice("base.function", self.function, ACTIVATIONS)
        checks.array("base.weight", self.weight, "float32", (None, None))

    @property
    def shape(self) -> tuple[int, int]:
        return self.weight.shape[0], self.weight.shape[1]


Table = SegmentTable | BaseTable | BasisTable | KnotTable | RadialTable | ProductTable | SplineTable | CodeTable
_TABLES = (SegmentTable, BaseTable, BasisTable, KnotTable, RadialTable, ProductTable, SplineTable, CodeTable)


@dataclass(frozen=True, eq=False)
class BranchOp:
    """A table and the steps its input goes through, on all features of the layer's input."""

    pre: tuple[GlueOp, ...]
    table: Table
    op: ClassVar[str] = "branch"

    def __post_init__(self) -> None:
        if not isinstance(self.pre, tuple) or not all(isinstance(step, _GLUE) for step in self.pre):
            checks.fail("branch.pre", "holds something else than glue", ", ".join(cls.op for cls in _GLUE))
        if not isinstance(self.table, _TABLES):
            checks.fail("branch.table", f"is a {type(self.table).__name__}", ", ".join(cls.op for cls in _TABLES))


@dataclass(frozen=True, eq=False)
class KANOp:
    """A KAN layer: the tables of all branches added up.

    Attributes
    ----------
    name : str
    in_features, out_features : int
    inputs : int32 [live inputs] or None
        Features that the tables see; None is all of them.
    outputs : int32 [live outputs] or None
        Where the sums go; the other outputs are the bias alone. None is all of them.
    bias : float32 [out_features] or None
        Required where `outputs` is given.
    branches : tuple of BranchOp
    requantize : Requantization or None
        The layer answers with the codes of the next one's inputs; all its tables are code tables.
    """

    name: str
    in_features: int
    out_features: int
    inputs: I32 | None
    outputs: I32 | None
    bias: F32 | None
    branches: tuple[BranchOp, ...]
    requantize: Requantization | None = None
    op: ClassVar[str] = "kan"
    #: Fields that a file leaves out where they are None: they came after format 1.0 was first written.
    added: ClassVar[tuple[str, ...]] = ("requantize",)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or len(self.name) > 256:
            checks.fail("kan.name", "is not a short text", "at most 256 characters")
        checks.integer("kan.in_features", self.in_features, 1, MAX_FEATURES)
        checks.integer("kan.out_features", self.out_features, 1, MAX_FEATURES)
        n_in, n_out = self.in_features, self.out_features
        if self.inputs is not None:
            checks.indices("kan.inputs", self.inputs, n_in, distinct=True)
            n_in = self.inputs.size
        if self.outputs is not None:
            checks.indices("kan.outputs", self.outputs, n_out, distinct=True)
            n_out = self.outputs.size
            if self.bias is None:
                checks.fail("kan.bias", "is absent", "a bias where outputs are selected")
        if self.bias is not None:
            checks.array("kan.bias", self.bias, "float32", (self.out_features,))
        if not isinstance(self.branches, tuple) or not 1 <= len(self.branches) <= 16:
            checks.fail("kan.branches", "is not a list of 1 to 16 branches", "1 to 16 branches")
        for branch in self.branches:
            if not isinstance(branch, BranchOp):
                checks.fail("kan.branches", f"holds a {type(branch).__name__}", "branches")
            if branch.table.shape != (n_in, n_out):
                checks.fail("kan.branches", f"table of shape {branch.table.shape}", f"{(n_in, n_out)}")
            for step in branch.pre:
                if step.shape[0] != self.in_features:
                    checks.fail("kan.branches.pre", f"a step for {step.shape[0]} features", str(self.in_features))
        if self.requantize is not None:
            if not isinstance(self.requantize, Requantization):
                checks.fail("kan.requantize", f"is a {type(self.requantize).__name__}", "a requantize object")
            if len(self.code_tables) != len(self.branches):
                checks.fail("kan.requantize", "of a layer with other tables than code tables", "code tables")
            _ = self.requantizing

    @property
    def code_tables(self) -> tuple[CodeTable, ...]:
        """The tables that are addressed by codes."""
        return tuple(branch.table for branch in self.branches if isinstance(branch.table, CodeTable))

    @cached_property
    def requantizing(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Multipliers [branches, live outputs] and offset [out_features] of a requantized layer."""
        if self.requantize is None:
            return None
        return self.requantize.integers(self.code_tables, self.bias, self.outputs, self.out_features)

    @property
    def shape(self) -> tuple[int, int]:
        return self.in_features, self.out_features


Op = SelectOp | AffineOp | LayerNormOp | ActivationOp | QuantizeOp | LinearOp | ProductOp | KANOp
OPS: dict[str, type[Any]] = {
    cls.op: cls
    for cls in (
        SelectOp,
        AffineOp,
        LayerNormOp,
        ActivationOp,
        QuantizeOp,
        LinearOp,
        ProductOp,
        SegmentTable,
        BaseTable,
        BasisTable,
        KnotTable,
        RadialTable,
        ProductTable,
        SplineTable,
        CodeTable,
        Requantization,
        BranchOp,
        KANOp,
    )
}
_STEPS = (SelectOp, AffineOp, LayerNormOp, ActivationOp, QuantizeOp, LinearOp, ProductOp, KANOp)


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled network.

    Attributes
    ----------
    in_features : int
    steps : tuple of Op
    """

    in_features: int
    steps: tuple[Op, ...]

    def __post_init__(self) -> None:
        checks.integer("in_features", self.in_features, 1, MAX_FEATURES)
        if not isinstance(self.steps, tuple) or not 1 <= len(self.steps) <= MAX_STEPS:
            checks.fail("steps", "is not a list of steps", f"1 to {MAX_STEPS} steps")
        width = self.in_features
        for index, step in enumerate(self.steps):
            if not isinstance(step, _STEPS):
                checks.fail(f"steps[{index}]", f"is a {type(step).__name__}", ", ".join(cls.op for cls in _STEPS))
            if step.shape[0] != width:
                checks.fail(
                    f"steps[{index}] ({step.op})", f"takes {step.shape[0]} features", f"{width}, what comes before"
                )
            width = step.shape[1]
        tables = [branch.table for step in self.steps if isinstance(step, KANOp) for branch in step.branches]
        weights = sum(table.positions * table.taps for table in tables if isinstance(table, RadialTable))
        if weights > MAX_RADIAL_WEIGHTS:
            checks.fail("radial tables", f"unfold to {weights} weights", f"at most {MAX_RADIAL_WEIGHTS}")
        features = sum(math.prod(table.unfolded_shape) for table in tables if isinstance(table, CodeTable))
        if features > MAX_CODE_FEATURES:
            checks.fail("code tables", f"unfold to {features} features", f"at most {MAX_CODE_FEATURES}")

    @property
    def out_features(self) -> int:
        """Number of outputs."""
        return self.steps[-1].shape[1]

    @property
    def edges(self) -> int:
        """Number of edges kept in tables."""
        return sum(
            step.branches[0].table.shape[0] * step.branches[0].table.shape[1]
            for step in self.steps
            if isinstance(step, KANOp)
        )
