"""The compiled network: a list of operations on float32 rows, as frozen arrays.

This is what an artifact holds and what every runtime executes; the meaning of each operation is written down in
docs/spec/semantics.md. Every constructor checks what it is given and raises ArtifactError, because these objects are
also made from files that nobody vouches for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Union

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import ArtifactError

__all__ = [
    "ACTIVATIONS",
    "MAX_FEATURES",
    "MAX_STEPS",
    "ActivationOp",
    "AffineOp",
    "BaseTable",
    "BranchOp",
    "GlueOp",
    "KANOp",
    "LayerNormOp",
    "LinearOp",
    "Op",
    "ProductOp",
    "Program",
    "SegmentTable",
    "SelectOp",
    "Table",
]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

MAX_FEATURES = 1 << 20
MAX_STEPS = 1024
#: Functions that the runtimes compute in float32 (docs/spec/float32.md); the position is the id in native code.
ACTIVATIONS = ("identity", "silu", "gelu", "relu", "tanh", "sigmoid")


def _fail(where: str, found: str, allowed: str) -> None:
    raise ArtifactError(f"{where}: {found}", allowed, "the artifact is damaged or was not written by lutkan")


def _array(where: str, value: object, dtype: str | tuple[str, ...], shape: tuple[int | None, ...]) -> None:
    dtypes = (dtype,) if isinstance(dtype, str) else dtype
    if not isinstance(value, np.ndarray) or value.dtype.name not in dtypes:
        found = value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__
        _fail(where, f"is of type {found}", " or ".join(dtypes))
        return
    if len(shape) != value.ndim or any(s is not None and s != n for s, n in zip(shape, value.shape, strict=True)):
        want = [("any" if s is None else s) for s in shape]
        _fail(where, f"has shape {list(value.shape)}", str(want))
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        _fail(where, "holds NaN or infinity", "finite numbers")
    if not value.flags.c_contiguous:
        _fail(where, "is not contiguous", "C order")


def _integer(where: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        _fail(where, f"is {value!r}", f"an integer from {low} to {high}")


def _choice(where: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        _fail(where, f"is {value!r}", ", ".join(allowed))


def _indices(where: str, value: object, count: int, *, distinct: bool) -> None:
    _array(where, value, "int32", (None,))
    indices = np.asarray(value)
    if indices.size == 0 or indices.min() < 0 or indices.max() >= count:
        _fail(where, "is empty or out of range", f"indices from 0 to {count - 1}")
    if distinct and (np.diff(indices) <= 0).any():
        _fail(where, "is not ascending", "ascending distinct indices")


@dataclass(frozen=True, eq=False)
class SelectOp:
    """`y[:, j] = x[:, indices[j]]`."""

    in_features: int
    indices: I32
    op: ClassVar[str] = "select"

    def __post_init__(self) -> None:
        _integer("select.in_features", self.in_features, 1, MAX_FEATURES)
        _indices("select.indices", self.indices, self.in_features, distinct=False)

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
        _array("affine.scale", self.scale, "float32", (None,))
        _array("affine.bias", self.bias, "float32", self.scale.shape)

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
        _integer("layer_norm.features", self.features, 1, MAX_FEATURES)
        if not isinstance(self.eps, float) or not 0.0 <= self.eps < 1e30:
            _fail("layer_norm.eps", f"is {self.eps!r}", "a number >= 0")
        for name in ("weight", "bias"):
            if getattr(self, name) is not None:
                _array(f"layer_norm.{name}", getattr(self, name), "float32", (self.features,))

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
        _integer("activation.features", self.features, 1, MAX_FEATURES)
        _choice("activation.function", self.function, (*ACTIVATIONS, "prelu"))
        if (self.slope is None) == (self.function == "prelu"):
            _fail("activation.slope", "is absent for prelu or present for another function", "a slope for prelu only")
        if self.slope is not None:
            _array("activation.slope", self.slope, "float32", (self.features,))

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
        _array("linear.weight", self.weight, "float32", (None, None))
        if self.bias is not None:
            _array("linear.bias", self.bias, "float32", (self.weight.shape[1],))

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
        _integer("product.in_features", self.in_features, 1, MAX_FEATURES)
        _indices("product.indices", self.indices, self.in_features, distinct=False)
        _array("product.offsets", self.offsets, "int32", (None,))
        offsets = self.offsets
        if offsets.size < 2 or offsets[0] != 0 or offsets[-1] != self.indices.size or (np.diff(offsets) <= 0).any():
            _fail("product.offsets", "does not divide the indices into groups", "0 < ... < number of indices")

    @property
    def shape(self) -> tuple[int, int]:
        return self.in_features, self.offsets.size - 1


GlueOp = Union[AffineOp, LayerNormOp, ActivationOp]


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
        Beyond the knots: the value at the border; nothing; `base_weight * base(x)`; the end segment goes on.
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
        _integer("segment.samples", self.samples, 2, 65536)
        _choice("segment.interpolation", self.interpolation, ("linear", "nearest"))
        _choice("segment.boundary", self.boundary, ("half_open", "closed"))
        _choice("segment.outside", self.outside, ("clip", "zero", "base", "linear"))
        _array("segment.knots", self.knots, "float32", (None, None))
        _array("segment.q", self.q, ("int8", "uint8"), (None, None, None))
        n_in, rows, n_out = self.q.shape
        segments = self.knots.shape[1] - 1
        if segments < 1 or self.knots.shape[0] not in (1, n_in) or rows != segments * self.samples or n_in < 1:
            _fail(
                "segment",
                f"knots {list(self.knots.shape)} and q {list(self.q.shape)} with {self.samples} samples do not fit",
                "knots [in or 1, K + 1], q [in, K * samples, out]",
            )
        with np.errstate(over="ignore"):
            spans = np.diff(self.knots, axis=1), self.knots[:, -1] - self.knots[:, 0]
        if (spans[0] < 0).any() or not np.isfinite(spans[1]).all():
            _fail("segment.knots", "are not ascending, or their span exceeds float32", "ascending knots")
        _array("segment.scale", self.scale, "float32", (n_in, segments, n_out))
        if (self.offset is None) != (self.q.dtype == np.int8):
            _fail("segment.offset", "does not go with the dtype of q", "none for int8, one for uint8")
        if self.offset is not None:
            _array("segment.offset", self.offset, "float32", (n_in, segments, n_out))
        elif self.q.size and self.q.min() < -127:
            _fail("segment.q", "holds -128", "-127 to 127")
        if self.edge_scale is not None:
            _array("segment.edge_scale", self.edge_scale, "float32", (n_in, n_out))
        if (self.base is None) != (self.outside != "base") or (self.base_weight is None) != (self.base is None):
            _fail("segment.base", "does not go with outside", 'base and base_weight for outside = "base" only')
        if self.base_weight is not None:
            _choice("segment.base", self.base, ACTIVATIONS)
            _array("segment.base_weight", self.base_weight, "float32", (n_in, n_out))
        if self.outside == "linear" and self.interpolation != "linear":
            _fail("segment.outside", "is linear with nearest samples", "linear interpolation")

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
        _choice("base.function", self.function, ACTIVATIONS)
        _array("base.weight", self.weight, "float32", (None, None))

    @property
    def shape(self) -> tuple[int, int]:
        return self.weight.shape[0], self.weight.shape[1]


Table = Union[SegmentTable, BaseTable]


@dataclass(frozen=True, eq=False)
class BranchOp:
    """A table and the steps its input goes through, on all features of the layer's input."""

    pre: tuple[GlueOp, ...]
    table: Table
    op: ClassVar[str] = "branch"

    def __post_init__(self) -> None:
        if not isinstance(self.pre, tuple) or not all(
            isinstance(step, (AffineOp, LayerNormOp, ActivationOp)) for step in self.pre
        ):
            _fail("branch.pre", "holds something else than glue", "affine, layer_norm, activation")
        if not isinstance(self.table, (SegmentTable, BaseTable)):
            _fail("branch.table", f"is a {type(self.table).__name__}", "segment, base")


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
    """

    name: str
    in_features: int
    out_features: int
    inputs: I32 | None
    outputs: I32 | None
    bias: F32 | None
    branches: tuple[BranchOp, ...]
    op: ClassVar[str] = "kan"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or len(self.name) > 256:
            _fail("kan.name", "is not a short text", "at most 256 characters")
        _integer("kan.in_features", self.in_features, 1, MAX_FEATURES)
        _integer("kan.out_features", self.out_features, 1, MAX_FEATURES)
        n_in, n_out = self.in_features, self.out_features
        if self.inputs is not None:
            _indices("kan.inputs", self.inputs, n_in, distinct=True)
            n_in = self.inputs.size
        if self.outputs is not None:
            _indices("kan.outputs", self.outputs, n_out, distinct=True)
            n_out = self.outputs.size
            if self.bias is None:
                _fail("kan.bias", "is absent", "a bias where outputs are selected")
        if self.bias is not None:
            _array("kan.bias", self.bias, "float32", (self.out_features,))
        if not isinstance(self.branches, tuple) or not 1 <= len(self.branches) <= 16:
            _fail("kan.branches", "is not a list of 1 to 16 branches", "1 to 16 branches")
        for branch in self.branches:
            if not isinstance(branch, BranchOp):
                _fail("kan.branches", f"holds a {type(branch).__name__}", "branches")
            if branch.table.shape != (n_in, n_out):
                _fail("kan.branches", f"table of shape {branch.table.shape}", f"{(n_in, n_out)}")
            for step in branch.pre:
                if step.shape[0] != self.in_features:
                    _fail("kan.branches.pre", f"a step for {step.shape[0]} features", str(self.in_features))

    @property
    def shape(self) -> tuple[int, int]:
        return self.in_features, self.out_features


Op = Union[SelectOp, AffineOp, LayerNormOp, ActivationOp, LinearOp, ProductOp, KANOp]
OPS: dict[str, type[Any]] = {
    cls.op: cls
    for cls in (
        SelectOp,
        AffineOp,
        LayerNormOp,
        ActivationOp,
        LinearOp,
        ProductOp,
        SegmentTable,
        BaseTable,
        BranchOp,
        KANOp,
    )
}
_STEPS = (SelectOp, AffineOp, LayerNormOp, ActivationOp, LinearOp, ProductOp, KANOp)


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
        _integer("in_features", self.in_features, 1, MAX_FEATURES)
        if not isinstance(self.steps, tuple) or not 1 <= len(self.steps) <= MAX_STEPS:
            _fail("steps", "is not a list of steps", f"1 to {MAX_STEPS} steps")
        width = self.in_features
        for index, step in enumerate(self.steps):
            if not isinstance(step, _STEPS):
                _fail(f"steps[{index}]", f"is a {type(step).__name__}", ", ".join(cls.op for cls in _STEPS))
            if step.shape[0] != width:
                _fail(f"steps[{index}] ({step.op})", f"takes {step.shape[0]} features", f"{width}, what comes before")
            width = step.shape[1]

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
