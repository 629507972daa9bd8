"""`Network`: a trained KAN as plain arrays, and its float64 meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import ImportModelError
from lutkan.ir.banks import EdgeBank
from lutkan.ir.layers import KANLayer, Step
from lutkan.numerics.rows import real_rows

__all__ = ["Network", "Source"]

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """Where a network came from.

    Attributes
    ----------
    family : str
        The source family: "efficient-kan", "pykan", ...
    checkpoint_sha256 : str
        Hash of the checkpoint's tensors, or empty.
    defaults_taken : tuple of str
        What the checkpoint lacked and the importer filled in with the family's default, a sentence each.
    notes : tuple of str
        What else a reader should know.
    """

    family: str
    checkpoint_sha256: str = ""
    defaults_taken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Network:
    """A trained KAN: its steps in order, and where it came from.

    Attributes
    ----------
    steps : tuple of Step
    in_features : int
    source : Source

    Examples
    --------
    >>> import numpy as np
    >>> from lutkan.ir import BSpline, Branch, EdgeBank, KANLayer, Network, Source
    >>> hats = BSpline(np.array([[-1.0, 0.0, 1.0, 2.0]]), degree=1)
    >>> edges = EdgeBank(hats, np.array([[[4.0], [0.0]], [[0.0], [1.0]]]))
    >>> Network((KANLayer("a", (Branch(edges),)),), 2, Source("handmade")).evaluate(np.array([[0.25, 0.5]]))
    array([[3.5]])
    """

    steps: tuple[Step, ...]
    in_features: int
    source: Source

    def __post_init__(self) -> None:
        width = self.in_features
        for index, step in enumerate(self.steps):
            after = step.out_features(width)
            if after < 0:
                raise ImportModelError(
                    f"step {index} ({step.describe()}) does not take the {width} features that come before it",
                    "steps whose widths fit",
                )
            width = after
        if not self.layers:
            raise ImportModelError("a network without a KAN layer", "at least one KAN layer")

    @property
    def layers(self) -> tuple[KANLayer, ...]:
        """The KAN layers, in order."""
        return tuple(step for step in self.steps if isinstance(step, KANLayer))

    @property
    def out_features(self) -> int:
        """Number of outputs."""
        width = self.in_features
        for step in self.steps:
            width = step.out_features(width)
        return width

    @property
    def edges(self) -> int:
        """Number of edges of all KAN layers, masked ones included."""
        return sum(layer.shape[0] * layer.shape[1] for layer in self.layers)

    def evaluate(self, X: object) -> F64:
        """Evaluate the model in float64: the first of the three truths.

        Parameters
        ----------
        X : array [N, in]

        Returns
        -------
        float64 [N, out]

        Raises
        ------
        InputError
            Wrong width or dtype.
        """
        x = self._rows(X)
        size = self._chunk_rows()
        parts = [self._run(x[start : start + size]) for start in range(0, max(len(x), 1), size)]
        return np.concatenate(parts)

    def trace(self, X: object) -> list[F64]:
        """Evaluate the model and keep what goes into each step and what comes out at the end.

        Returns
        -------
        list of float64 arrays
            `len(steps) + 1` arrays: entry `s` is the input of step `s`, the last one the output.
        """
        values = [self._rows(X)]
        size = self._chunk_rows()
        with np.errstate(over="ignore", invalid="ignore"):  # infinite inputs are no surprise
            for step in self.steps:
                x = values[-1]
                parts = [step.evaluate(x[start : start + size]) for start in range(0, max(len(x), 1), size)]
                values.append(np.concatenate(parts))
        return values

    def _run(self, x: F64) -> F64:
        with np.errstate(over="ignore", invalid="ignore"):
            for step in self.steps:
                x = step.evaluate(x)
        return x

    def _rows(self, X: object) -> F64:
        return real_rows("X", X, self.in_features).astype(np.float64)

    def _chunk_rows(self) -> int:
        """Rows at a time, so that the basis values of the widest layer stay below about 64 MB."""
        widest = max(
            layer.shape[0] * max((b.bank.basis.size for b in layer.branches if isinstance(b.bank, EdgeBank)), default=1)
            for layer in self.layers
        )
        return max(16, 8_000_000 // widest)

    def __repr__(self) -> str:
        return f"Network({self.source.family}: {self.in_features} -> {self.out_features}, {self.edges} edges)"

    def summary(self) -> str:
        """Describe the network, a line a step, and every default the importer took."""
        lines = [f"{self.source.family}: {self.in_features} -> {self.out_features}, {self.edges} edges"]
        for index, step in enumerate(self.steps):
            if not isinstance(step, KANLayer):
                lines.append(f"  {index}: {step.describe()}")
                continue
            masked = int(step.live().size - step.live().sum())
            name = f" {step.name}" if step.name else ""
            bias = ", bias" if step.bias is not None else ""
            dead = f", {masked} masked edges" if masked else ""
            lines.append(f"  {index}:{name} {step.describe()}{bias}{dead}")
            for branch in step.branches:
                pre = "".join(f"{s.describe()} then " for s in branch.pre)
                lines.append(f"       {branch.bank.role}: {pre}{branch.bank.describe()}")
        lines += [f"  default taken: {text}" for text in self.source.defaults_taken]
        lines += [f"  note: {text}" for text in self.source.notes]
        return "\n".join(lines)


def without_identity(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Drop affine steps that change nothing."""
    return tuple(s for s in steps if not (s.kind == "affine" and s.is_identity))  # type: ignore[union-attr]
