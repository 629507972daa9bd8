"""Edge banks: all edge functions of one branch of a layer, as arrays.

A KAN layer of `in` inputs and `out` outputs has `in * out` functions of one variable. They are never objects here:
a bank holds their coefficients as one array, and `layer.edge(i, j)` makes a view of a single one for people and plots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import ImportModelError
from lutkan.ir.bases import Basis
from lutkan.numerics import functions

__all__ = ["EdgeBank", "FunctionBank"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Role = Literal["spline", "base"]


def _require_finite(array: F64, what: str) -> None:
    if not np.isfinite(array).all():
        where = tuple(int(v) for v in np.argwhere(~np.isfinite(array))[0])
        raise ImportModelError(
            f"{what} holds {array[where]} at index {list(where)}",
            "finite numbers",
            "the model itself would answer NaN: retrain it, or repair that edge",
        )


@dataclass(frozen=True, eq=False)
class EdgeBank:
    """`phi[i, j](x) = scale[i, j] * sum_c coefficients[i, c, j] * basis_c(x)`.

    Attributes
    ----------
    basis : Basis
    coefficients : float64 [in, C, out]
    scale : float64 [in, out] or None
        Factor an edge that the family keeps apart (pykan's `mask * scale_sp`, efficient-kan's scaler); None is 1.
    role : {"spline", "base"}
        "base" marks the analytic branch that the LUT-KAN value `spline_component` keeps out of the tables.
    """

    basis: Basis
    coefficients: F64
    scale: F64 | None = None
    role: Role = "spline"

    def __post_init__(self) -> None:
        coefficients = np.ascontiguousarray(self.coefficients, dtype=np.float64)
        object.__setattr__(self, "coefficients", coefficients)
        if coefficients.ndim != 3 or coefficients.shape[1] != self.basis.size:
            raise ImportModelError(
                f"coefficients of shape {coefficients.shape}", f"[in, {self.basis.size}, out] for this basis"
            )
        if self.basis.rows not in (1, self.in_features):
            raise ImportModelError(
                f"a basis for {self.basis.rows} inputs beside coefficients for {self.in_features} inputs",
                "as many, or one shared basis",
            )
        _require_finite(coefficients, f"the {self.role} coefficients [in, basis, out]")
        if self.scale is not None:
            scale = np.ascontiguousarray(self.scale, dtype=np.float64)
            object.__setattr__(self, "scale", scale)
            if scale.shape != (self.in_features, self.out_features):
                raise ImportModelError(f"edge scale of shape {scale.shape}", f"{(self.in_features, self.out_features)}")
            _require_finite(scale, f"the {self.role} edge scale [in, out]")

    @property
    def in_features(self) -> int:
        return self.coefficients.shape[0]

    @property
    def out_features(self) -> int:
        return self.coefficients.shape[2]

    @property
    def weights(self) -> F64:
        """Coefficients with the edge scale folded in, float64 [in, C, out]."""
        return self.coefficients if self.scale is None else self.coefficients * self.scale[:, None, :]

    def live(self) -> NDArray[np.bool_]:
        """Tell which edges can be non-zero, bool [in, out]."""
        return np.any(self.weights != 0.0, axis=1)

    def evaluate(self, x: F64) -> F64:
        """Sum the edge functions: float64 [N, in] -> float64 [N, out]."""
        features = self.basis.evaluate(x).reshape(len(x), self.in_features * self.basis.size)
        return features @ self.weights.reshape(features.shape[1], -1)

    def edge_values(self, x: F64, *, scaled: bool = True) -> F64:
        """Evaluate every edge function at points of its own input.

        Parameters
        ----------
        x : float64 [in, S]
            `S` points an input.
        scaled : bool
            Whether to multiply by the edge scale.

        Returns
        -------
        float64 [in, S, out]
        """
        features = self.basis.evaluate(np.ascontiguousarray(x.T))
        return np.matmul(features.transpose(1, 0, 2), self.weights if scaled else self.coefficients)

    def take(self, inputs: I64, outputs: I64) -> EdgeBank:
        """Return the bank of a selection of inputs and outputs."""
        scale = None if self.scale is None else self.scale[np.ix_(inputs, outputs)]
        coefficients = self.coefficients[inputs][:, :, outputs]
        return EdgeBank(self.basis.take(inputs), coefficients, scale, self.role)

    def describe(self) -> str:
        """Say in a few words what the edges are."""
        return self.basis.describe()


@dataclass(frozen=True, eq=False)
class FunctionBank:
    """Edges that carry a named function each: `phi(x) = c * f(a * x + b) + d` (pykan's symbolic edges, wavelets).

    Attributes
    ----------
    in_features, out_features : int
    names : tuple of str
        Functions in use, keys of `lutkan.numerics.functions.FUNCTIONS`.
    function : int64 [E]
        Index into `names`.
    source, target : int64 [E]
        Input and output of the edge; several entries may share an edge.
    affine : float64 [E, 4]
        `a, b, c, d`.
    """

    in_features: int
    out_features: int
    names: tuple[str, ...]
    function: I64
    source: I64
    target: I64
    affine: F64
    role: Role = "spline"

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in functions.FUNCTIONS]
        if unknown:
            raise ImportModelError(f"unknown function {unknown[0]!r}", ", ".join(functions.FUNCTIONS))
        _require_finite(self.affine, "the affine parameters of the symbolic edges [edge, (a, b, c, d)]")

    def live(self) -> NDArray[np.bool_]:
        """Tell which edges can be non-zero, bool [in, out]."""
        alive = np.zeros((self.in_features, self.out_features), dtype=bool)
        used = (self.affine[:, 2] != 0.0) | (self.affine[:, 3] != 0.0)
        alive[self.source[used], self.target[used]] = True
        return alive

    def _values(self, points: F64, edge: I64) -> F64:
        """Evaluate edges `edge` [e] at `points` [N, e]."""
        a, b, c, d = self.affine[edge].T
        values = np.empty(points.shape)
        for index, name in enumerate(self.names):
            mine = self.function[edge] == index
            values[:, mine] = functions.apply(name, a[mine] * points[:, mine] + b[mine])
        return c * values + d

    def evaluate(self, x: F64) -> F64:
        """Sum the edge functions: float64 [N, in] -> float64 [N, out]."""
        total = np.zeros((len(x), self.out_features))
        step = max(1, 4_000_000 // max(1, len(x)))
        for start in range(0, len(self.source), step):
            edge = np.arange(start, min(start + step, len(self.source)))
            with np.errstate(invalid="ignore", over="ignore"):
                values = self._values(x[:, self.source[edge]], edge)
                np.add.at(total.T, self.target[edge], values.T)
        return total

    def edge_values(self, x: F64, *, scaled: bool = True) -> F64:
        """Evaluate every edge function at points of its own input: float64 [in, S] -> float64 [in, S, out]."""
        del scaled  # these edges have no separate scale
        total = np.zeros((self.in_features, x.shape[1], self.out_features))
        for start in range(0, len(self.source), 4096):
            edge = np.arange(start, min(start + 4096, len(self.source)))
            values = self._values(x.T[:, self.source[edge]], edge)
            np.add.at(total.transpose(0, 2, 1), (self.source[edge], self.target[edge]), values.T)
        return total

    def take(self, inputs: I64, outputs: I64) -> FunctionBank:
        """Return the bank of a selection of inputs and outputs."""
        source = np.full(self.in_features, -1, dtype=np.int64)
        source[inputs] = np.arange(len(inputs))
        target = np.full(self.out_features, -1, dtype=np.int64)
        target[outputs] = np.arange(len(outputs))
        keep = (source[self.source] >= 0) & (target[self.target] >= 0)
        return FunctionBank(
            len(inputs),
            len(outputs),
            self.names,
            self.function[keep],
            source[self.source[keep]],
            target[self.target[keep]],
            self.affine[keep],
            self.role,
        )

    def describe(self) -> str:
        """Say in a few words what the edges are."""
        return f"{len(self.source)} edges of named functions ({', '.join(self.names)})"
