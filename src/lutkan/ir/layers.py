"""The steps a network is made of: KAN layers and the glue between them.

Every step maps float64 [N, n] to float64 [N, m] with `evaluate`. `elementwise` steps act on each feature alone, so
that they may be folded into a table or applied to a selection of features.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import ImportModelError
from lutkan.ir.banks import EdgeBank, FunctionBank
from lutkan.numerics import functions

__all__ = [
    "Activation",
    "Affine",
    "Branch",
    "Edge",
    "KANLayer",
    "LayerNorm",
    "Linear",
    "Product",
    "Select",
    "Step",
]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


def _vector(values: object, what: str) -> F64:
    array = np.ascontiguousarray(values, dtype=np.float64).reshape(-1)
    if not np.isfinite(array).all():
        raise ImportModelError(f"{what} holds NaN or infinity", "finite numbers")
    return array


@dataclass(frozen=True, eq=False)
class Select:
    """Keep some features, in the given order (pykan's `input_id`)."""

    indices: I64
    in_features: int
    kind: ClassVar[str] = "select"
    elementwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        indices = np.asarray(self.indices, dtype=np.int64)
        object.__setattr__(self, "indices", indices)
        if indices.size == 0 or indices.min() < 0 or indices.max() >= self.in_features:
            raise ImportModelError(
                f"selected features {indices.tolist()}", f"0 to {self.in_features - 1}, at least one"
            )

    def evaluate(self, x: F64) -> F64:
        return x[:, self.indices]

    def out_features(self, n: int) -> int:
        return self.indices.size if n == self.in_features else -1

    def describe(self) -> str:
        return f"select {self.indices.size} of {self.in_features} features"


@dataclass(frozen=True, eq=False)
class Affine:
    """`y = scale * x + bias`, a factor and an offset a feature.

    Attributes
    ----------
    scale, bias : float64 [n]
    origin : str
        What this was in the source: "BatchNorm1d", "node affine", "min-max normalisation", ...
    """

    scale: F64
    bias: F64
    origin: str = "affine"
    kind: ClassVar[str] = "affine"
    elementwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _vector(self.scale, f"{self.origin} scale"))
        object.__setattr__(self, "bias", _vector(self.bias, f"{self.origin} bias"))
        if self.scale.size != self.bias.size:
            raise ImportModelError(f"{self.origin}: scale {self.scale.size}, bias {self.bias.size} entries", "as many")

    @property
    def is_identity(self) -> bool:
        """Whether this changes nothing."""
        return bool((self.scale == 1.0).all() and (self.bias == 0.0).all())

    def evaluate(self, x: F64) -> F64:
        return self.scale * x + self.bias

    def take(self, features: I64) -> Affine:
        """Return the affine map of a selection of features."""
        return Affine(self.scale[features], self.bias[features], self.origin)

    def out_features(self, n: int) -> int:
        return n if n == self.scale.size else -1

    def describe(self) -> str:
        return self.origin


@dataclass(frozen=True, eq=False)
class LayerNorm:
    """Normalise each row to mean 0 and variance 1 (biased variance), then scale and shift each feature.

    Attributes
    ----------
    features : int
    eps : float
    weight, bias : float64 [features] or None
    """

    features: int
    eps: float = 1e-5
    weight: F64 | None = None
    bias: F64 | None = None
    kind: ClassVar[str] = "layer_norm"
    elementwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("weight", "bias"):
            value = getattr(self, name)
            if value is not None:
                value = _vector(value, f"LayerNorm {name}")
                object.__setattr__(self, name, value)
                if value.size != self.features:
                    raise ImportModelError(f"LayerNorm {name} has {value.size} entries", str(self.features))

    def evaluate(self, x: F64) -> F64:
        with np.errstate(invalid="ignore", over="ignore"):
            centred = x - x.mean(axis=1, keepdims=True)
            y = centred / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + self.eps)
            y = y if self.weight is None else y * self.weight
            return y if self.bias is None else y + self.bias

    def out_features(self, n: int) -> int:
        return n if n == self.features else -1

    def describe(self) -> str:
        return f"LayerNorm({self.features}, eps={self.eps:g})"


@dataclass(frozen=True, eq=False)
class Activation:
    """Apply a named function to each feature; "prelu" takes a slope (one, or one a feature).

    Attributes
    ----------
    name : str
        A key of `lutkan.numerics.functions.ACTIVATIONS`, or "prelu".
    slope : float64 [1] or [n] or None
        Factor of negative values, for "prelu" only.
    """

    name: str
    slope: F64 | None = None
    kind: ClassVar[str] = "activation"
    elementwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.name == "prelu":
            if self.slope is None:
                raise ImportModelError("PReLU without a slope", "a slope, one or one a feature")
            object.__setattr__(self, "slope", _vector(self.slope, "PReLU slope"))
        elif self.name not in functions.ACTIVATIONS:
            raise ImportModelError(f"activation {self.name!r}", ", ".join((*functions.ACTIVATIONS, "prelu")))

    def evaluate(self, x: F64) -> F64:
        if self.slope is not None:
            return np.where(x >= 0, x, x * self.slope)
        return functions.apply(self.name, x)

    def take(self, features: I64) -> Activation:
        """Return the activation of a selection of features."""
        if self.slope is None or self.slope.size == 1:
            return self
        return Activation(self.name, self.slope[features])

    def out_features(self, n: int) -> int:
        return n if self.slope is None or self.slope.size in (1, n) else -1

    def describe(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Linear:
    """`y = x @ weight + bias`: an ordinary dense layer between KAN layers.

    Attributes
    ----------
    weight : float64 [in, out]
        The transpose of `torch.nn.Linear.weight`.
    bias : float64 [out] or None
    """

    weight: F64
    bias: F64 | None = None
    name: str = "linear"
    kind: ClassVar[str] = "linear"
    elementwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        weight = np.ascontiguousarray(self.weight, dtype=np.float64)
        object.__setattr__(self, "weight", weight)
        if weight.ndim != 2 or not np.isfinite(weight).all():
            raise ImportModelError(f"{self.name}: weight of shape {weight.shape}", "a finite matrix [in, out]")
        if self.bias is not None:
            object.__setattr__(self, "bias", _vector(self.bias, f"{self.name} bias"))

    def evaluate(self, x: F64) -> F64:
        y = x @ self.weight
        return y if self.bias is None else y + self.bias

    def out_features(self, n: int) -> int:
        return self.weight.shape[1] if n == self.weight.shape[0] else -1

    def describe(self) -> str:
        return f"Linear({self.weight.shape[0]}, {self.weight.shape[1]})"


@dataclass(frozen=True, eq=False)
class Product:
    """Multiply groups of features (pykan's multiplication nodes); a group of one passes it through.

    Attributes
    ----------
    groups : tuple of tuple of int
        The features that output `j` multiplies, in ascending order.
    in_features : int
    """

    groups: tuple[tuple[int, ...], ...]
    in_features: int
    kind: ClassVar[str] = "product"
    elementwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        used = [i for group in self.groups for i in group]
        if not used or min(used) < 0 or max(used) >= self.in_features or not all(self.groups):
            raise ImportModelError(f"product groups {self.groups}", f"non-empty groups of 0 to {self.in_features - 1}")

    def evaluate(self, x: F64) -> F64:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.stack([np.prod(x[:, list(group)], axis=1) for group in self.groups], axis=1)

    def out_features(self, n: int) -> int:
        return len(self.groups) if n == self.in_features else -1

    def describe(self) -> str:
        return f"{sum(len(g) > 1 for g in self.groups)} multiplication nodes"


Glue = Select | Affine | LayerNorm | Activation | Linear | Product


@dataclass(frozen=True, eq=False)
class Branch:
    """One set of edges and what its input goes through first.

    fast-kan has two: Gaussians of `LayerNorm(x)`, and a base branch of the raw `x`.

    Attributes
    ----------
    bank : EdgeBank or FunctionBank
    pre : tuple of glue steps
        They keep the width: LayerNorm, Affine, Activation.
    """

    bank: EdgeBank | FunctionBank
    pre: tuple[Affine | LayerNorm | Activation, ...] = ()

    def prepare(self, x: F64) -> F64:
        """Apply the steps that come before the edges."""
        for step in self.pre:
            x = step.evaluate(x)
        return x

    @property
    def elementwise(self) -> bool:
        """Whether the branch is a plain sum of functions of the single inputs."""
        return all(step.elementwise for step in self.pre)


@dataclass(frozen=True, eq=False)
class Edge:
    """One edge function, for people and plots; call it on a 1-D array.

    Attributes
    ----------
    source, target : int
    branches : tuple of Branch
        The branches of the layer, cut down to this edge.
    """

    source: int
    target: int
    branches: tuple[Branch, ...]

    def __call__(self, x: object) -> F64:
        """Evaluate the edge: float64 [S] -> float64 [S]."""
        points = np.asarray(x, dtype=np.float64).reshape(-1, 1)
        return np.sum([branch.bank.evaluate(branch.prepare(points))[:, 0] for branch in self.branches], axis=0)


@dataclass(frozen=True, eq=False)
class KANLayer:
    """`y[j] = bias[j] + sum over branches, sum over inputs i of phi[i, j](pre(x)[i])`.

    Attributes
    ----------
    name : str
        Path of the layer in the source, for messages.
    branches : tuple of Branch
    bias : float64 [out] or None
    """

    name: str
    branches: tuple[Branch, ...]
    bias: F64 | None = None
    kind: ClassVar[str] = "kan"
    elementwise: ClassVar[bool] = False
    _shape: tuple[int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shapes = {(branch.bank.in_features, branch.bank.out_features) for branch in self.branches}
        if len(shapes) != 1:
            raise ImportModelError(f"{self.name}: branches of shapes {sorted(shapes)}", "one shape (in, out) for all")
        object.__setattr__(self, "_shape", shapes.pop())
        if self.bias is not None:
            object.__setattr__(self, "bias", _vector(self.bias, f"{self.name} bias"))
            if self.bias.size != self.shape[1]:
                raise ImportModelError(f"{self.name}: bias has {self.bias.size} entries", str(self.shape[1]))
        for branch in self.branches:
            for step in branch.pre:
                if step.out_features(self.shape[0]) != self.shape[0]:
                    raise ImportModelError(
                        f"{self.name}: {step.describe()} before {self.shape[0]} inputs", "a step of the same width"
                    )

    @property
    def shape(self) -> tuple[int, int]:
        """(inputs, outputs)."""
        return self._shape

    def evaluate(self, x: F64) -> F64:
        with np.errstate(invalid="ignore", over="ignore"):
            y = sum((branch.bank.evaluate(branch.prepare(x)) for branch in self.branches), start=np.zeros(1))
            return y if self.bias is None else y + self.bias

    def out_features(self, n: int) -> int:
        return self.shape[1] if n == self.shape[0] else -1

    def live(self) -> NDArray[np.bool_]:
        """Tell which edges can be non-zero in any branch, bool [in, out]."""
        return np.any([branch.bank.live() for branch in self.branches], axis=0)

    def core(self) -> tuple[F64, F64] | None:
        """Return the trained interval of the inputs of the spline branch as (low, high), or None."""
        for branch in self.branches:
            if isinstance(branch.bank, EdgeBank) and branch.bank.role == "spline":
                return branch.bank.basis.core()
        return None

    def edge(self, source: int, target: int) -> Edge:
        """Return a callable view of one edge (steps that couple inputs are left out).

        Examples
        --------
        >>> from lutkan.ir import BSpline, Branch, EdgeBank, KANLayer
        >>> hats = BSpline(np.array([[-1.0, 0.0, 1.0, 2.0]]), degree=1)
        >>> KANLayer("a", (Branch(EdgeBank(hats, np.array([[[4.0], [0.0]]]))),)).edge(0, 0)([0.25])
        array([3.])
        """
        n_in, n_out = self.shape
        if not (0 <= source < n_in and 0 <= target < n_out):
            raise IndexError(f"edge ({source}, {target}) of a layer with {n_in} inputs and {n_out} outputs")
        i, j = np.array([source]), np.array([target])
        cut = tuple(
            Branch(
                branch.bank.take(i, j),
                tuple(step.take(i) for step in branch.pre if not isinstance(step, LayerNorm)),
            )
            for branch in self.branches
        )
        return Edge(source, target, cut)

    def describe(self) -> str:
        return f"KAN {self.shape[0]} -> {self.shape[1]}"


Step = Glue | KANLayer
