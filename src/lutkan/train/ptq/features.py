"""A KAN layer as PTQ sees it: features of codes, matrices of weights, and glue steps, all in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import SpecError
from lutkan.ir import Branch, EdgeBank, KANLayer
from lutkan.tables import CodeGrid, integer_features
from lutkan.tables.code_features import code_features

__all__ = ["BranchView", "LayerView", "lookup"]

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]


def lookup(table: NDArray[np.floating], codes: NDArray[np.integer]) -> NDArray[np.floating]:
    """Look features up by code: table [1 or in, 2^A, C], codes [N, in] -> [N, in * C], inputs slowest."""
    if len(table) == 1:
        return table[0][codes].reshape(len(codes), -1)
    return table[np.arange(codes.shape[1]), codes].reshape(len(codes), -1)


@dataclass(frozen=True, eq=False)
class BranchView:
    """One branch: its features and its weights W [O, R], R = in * C, inputs slowest.

    Attributes
    ----------
    branch : Branch
    layer : str
        The layer's name, for messages.
    """

    branch: Branch
    layer: str

    def __post_init__(self) -> None:
        if not isinstance(self.branch.bank, EdgeBank):
            raise SpecError(
                f"layer {self.layer}: {self.branch.bank.describe()}",
                "edges that are linear in a shared basis",
                "project symbolic edges first: lutkan.compile with a basis spec does, or retrain them as splines",
            )

    @property
    def bank(self) -> EdgeBank:
        """The edges."""
        return self.branch.bank  # type: ignore[return-value]

    @property
    def role(self) -> str:
        """The part that the branch plays: "base" or "spline"."""
        return self.bank.role

    @property
    def coupled(self) -> bool:
        """Whether what comes before the edges mixes inputs, so that the branch needs codes of its own."""
        return not self.branch.elementwise

    def matrix(self, weights: F64) -> F64:
        """Bring weights [in, C, out] into the form [O, in * C]."""
        return np.ascontiguousarray(weights.reshape(-1, weights.shape[2]).T)

    def cube(self, matrix: NDArray[np.generic]) -> NDArray[np.generic]:
        """Bring a matrix [O, in * C] into the form [in, C, out]."""
        return np.ascontiguousarray(matrix.T.reshape(self.bank.coefficients.shape))

    @cached_property
    def weights(self) -> F64:
        """Weights with the edge scale folded in, float64 [O, R]."""
        return self.matrix(self.bank.weights)

    def exact(self, x: F64) -> F64:
        """Return the features of real inputs: [N, in] -> [N, R]."""
        with np.errstate(under="ignore", over="ignore"):
            return self.bank.basis.evaluate(self.branch.prepare(x)).reshape(len(x), self.weights.shape[1])

    def table(self, grid: CodeGrid, *, bits: int | None = None) -> F32:
        """Return the features by code, float32 [1 or in, 2^A, C].

        Parameters
        ----------
        grid : CodeGrid
            The layer's, or the branch's own where it is coupled.
        bits : int, optional
            Round to the integers that the artifact's tables hold beside coefficients of so many bits.
        """
        pre = () if self.coupled else self.branch.pre
        if bits is not None:
            return integer_features(self.bank, grid, pre, bits=bits).decoded().astype(np.float32)
        return code_features(self.bank, grid, pre).astype(np.float32)

    def seen(self, x: F64) -> F64:
        """Return what the branch's own codes stand for, given real inputs of the layer: [N, in] -> [N, in]."""
        return self.branch.prepare(x) if self.coupled else x


@dataclass(frozen=True, eq=False)
class LayerView:
    """One KAN layer and its branches.

    Attributes
    ----------
    layer : KANLayer
    step : int
        Where it stands in the network's steps.
    """

    layer: KANLayer
    step: int

    @cached_property
    def branches(self) -> tuple[BranchView, ...]:
        """The branches, in the order of the layer."""
        return tuple(BranchView(branch, self.layer.name) for branch in self.layer.branches)

    @cached_property
    def bias(self) -> F64:
        """The bias, zeros where there is none: float64 [O]."""
        return np.zeros(self.layer.shape[1]) if self.layer.bias is None else self.layer.bias

    def codes(self, x: F64, grid: CodeGrid, inner: tuple[CodeGrid | None, ...]) -> list[NDArray[np.integer]]:
        """Return the codes that each branch sees: [N, in] -> a list of [N, in]."""
        own = grid.encode(x)
        decoded = grid.decode(own) if any(g is not None for g in inner) else x
        return [
            own if g is None else g.encode(branch.seen(decoded)) for branch, g in zip(self.branches, inner, strict=True)
        ]
