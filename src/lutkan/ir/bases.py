"""What an edge function is built from: the one-dimensional bases of all KAN families.

A basis maps the inputs of a layer to `C` values an input, `evaluate: [N, in] -> [N, in, C]`. It also says where its
functions live: `core` is the interval the family trains on, `support` the interval outside of which every basis
function is zero (None where there is no such interval), `knots` the natural segment borders of a table (None where
the family has none), `outside` what happens beyond the natural domain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import ImportModelError
from lutkan.numerics import bspline, functions, polynomials

__all__ = [
    "RSWAF",
    "BSpline",
    "Basis",
    "Fourier",
    "GaussianRBF",
    "NamedFunction",
    "PiecewiseLinear",
    "Polynomial",
    "ReluProduct",
]

F64 = NDArray[np.float64]
#: What a basis does beyond its natural domain: all functions are zero, go on as straight lines, or nothing simple.
Outside = Literal["zero", "linear", "none"]


def _f64(array: object) -> F64:
    return np.ascontiguousarray(array, dtype=np.float64)


class Basis:
    """Common face of all bases; see the module's docstring for the meaning of the members."""

    kind: ClassVar[str]
    outside: ClassVar[Outside] = "none"

    @property
    def size(self) -> int:
        """Number of basis functions an input, `C`."""
        raise TypeError(f"{type(self).__name__} does not define size")

    @property
    def rows(self) -> int:
        """Number of inputs that have parameters of their own; 1 when all inputs share them."""
        return 1

    @property
    def knots(self) -> F64 | None:
        """Natural segment borders, float64 [in or 1, K + 1], or None."""
        return None

    def core(self) -> tuple[F64, F64] | None:
        """Return the trained interval as (low, high), float64 [in or 1] each, or None where there is none."""
        return None

    def support(self) -> tuple[F64, F64] | None:
        """Return the interval outside of which every function is zero in float32, or None."""
        return None

    def evaluate(self, x: F64) -> F64:
        """Evaluate all functions: float64 [N, in] -> float64 [N, in, C]."""
        raise TypeError(f"{type(self).__name__} does not define evaluate")

    def take(self, inputs: NDArray[np.int64]) -> Basis:
        """Return the basis of a selection of inputs."""
        del inputs
        return self

    def describe(self) -> str:
        """Say in a few words what this basis is."""
        return self.kind


@dataclass(frozen=True, eq=False)
class BSpline(Basis):
    """B-splines on extended knots; half-open intervals, zero outside the knots (pykan, efficient-kan).

    Attributes
    ----------
    extended_knots : float64 [in or 1, G + 2 degree + 1]
    degree : int
    """

    extended_knots: F64
    degree: int
    kind: ClassVar[str] = "bspline"
    outside: ClassVar[Outside] = "zero"

    def __post_init__(self) -> None:
        knots = _f64(self.extended_knots)
        object.__setattr__(self, "extended_knots", knots)
        if not 0 <= self.degree <= 8:
            raise ImportModelError(f"spline degree {self.degree}", "0 to 8")
        if knots.ndim != 2 or knots.shape[1] < 2 * self.degree + 2:
            raise ImportModelError(
                f"knots of shape {knots.shape} for degree {self.degree}",
                f"[inputs or 1, at least {2 * self.degree + 2}]: the vector extended by `degree` knots on both sides",
            )
        if not np.isfinite(knots).all():
            raise ImportModelError("knots hold NaN or infinity", "finite numbers", "retrain or repair the grid")
        if (np.diff(knots, axis=1) < 0).any():
            row = int(np.argmax((np.diff(knots, axis=1) < 0).any(axis=1)))
            raise ImportModelError(f"knots of input {row} are not ascending: {knots[row]}", "ascending knots")

    @property
    def size(self) -> int:
        return self.extended_knots.shape[1] - 1 - self.degree

    @property
    def intervals(self) -> int:
        """Number of intervals of the core grid, `G`."""
        return self.extended_knots.shape[1] - 1 - 2 * self.degree

    @property
    def rows(self) -> int:
        return self.extended_knots.shape[0]

    @property
    def knots(self) -> F64:
        return self.extended_knots

    def core(self) -> tuple[F64, F64]:
        return self.extended_knots[:, self.degree], self.extended_knots[:, -1 - self.degree]

    def support(self) -> tuple[F64, F64]:
        return self.extended_knots[:, 0], self.extended_knots[:, -1]

    def evaluate(self, x: F64) -> F64:
        return bspline.basis(x, self.extended_knots, self.degree)

    def take(self, inputs: NDArray[np.int64]) -> BSpline:
        return self if self.rows == 1 else BSpline(self.extended_knots[inputs], self.degree)

    def describe(self) -> str:
        low, high = self.core()
        uniform = bool(np.ptp(np.diff(self.extended_knots, axis=1), axis=1).max() <= 1e-5 * (high - low).max())
        shared = "shared" if self.rows == 1 or bool(np.ptp(self.extended_knots, axis=0).max() == 0.0) else "per input"
        return (
            f"B-spline degree {self.degree}, G={self.intervals}, [{low.min():.4g}, {high.max():.4g}], "
            f"{'uniform' if uniform else 'non-uniform'} knots, {shared}"
        )


@dataclass(frozen=True, eq=False)
class GaussianRBF(Basis):
    """Gaussians `exp(-((x - centre) / width)^2)` (fast-kan).

    Attributes
    ----------
    centres : float64 [C]
    width : float
        fast-kan's `denominator`.
    """

    centres: F64
    width: float
    kind: ClassVar[str] = "gaussian_rbf"
    outside: ClassVar[Outside] = "zero"

    def __post_init__(self) -> None:
        object.__setattr__(self, "centres", _f64(self.centres))
        if not np.isfinite(self.width) or self.width <= 0:
            raise ImportModelError(f"RBF width (denominator) {self.width}", "a positive number")

    @property
    def size(self) -> int:
        return self.centres.size

    def core(self) -> tuple[F64, F64]:
        return self.centres.min(keepdims=True), self.centres.max(keepdims=True)

    def support(self) -> tuple[F64, F64]:
        # exp(-t^2) rounds to zero in float32 from t^2 > 150 ln 2 on, the smallest subnormal being 2^-149.
        reach = self.width * float(np.sqrt(150.0 * np.log(2.0)))
        low, high = self.core()
        return low - reach, high + reach

    def evaluate(self, x: F64) -> F64:
        with np.errstate(under="ignore"):
            return np.exp(-(((x[..., None] - self.centres) / self.width) ** 2))

    def describe(self) -> str:
        low, high = self.core()
        return f"{self.size} Gaussians on [{low[0]:.4g}, {high[0]:.4g}], width {self.width:.4g}"


@dataclass(frozen=True, eq=False)
class RSWAF(Basis):
    """Reflectional switch functions `1 - tanh((x - centre) * inverse_width)^2` (faster-kan).

    Attributes
    ----------
    centres : float64 [C]
    inverse_width : float
    """

    centres: F64
    inverse_width: float
    kind: ClassVar[str] = "rswaf"
    outside: ClassVar[Outside] = "zero"

    def __post_init__(self) -> None:
        object.__setattr__(self, "centres", _f64(self.centres))
        if not np.isfinite(self.inverse_width) or self.inverse_width == 0:
            raise ImportModelError(f"RSWAF inverse width {self.inverse_width}", "a finite number other than 0")

    @property
    def size(self) -> int:
        return self.centres.size

    def core(self) -> tuple[F64, F64]:
        return self.centres.min(keepdims=True), self.centres.max(keepdims=True)

    def support(self) -> tuple[F64, F64]:
        # 1 - tanh(t)^2 is about 4 exp(-2t); a float32 tanh is exactly 1 from t > 9.02 on, and the function exactly 0.
        low, high = self.core()
        reach = 9.02 / abs(self.inverse_width)
        return low - reach, high + reach

    def evaluate(self, x: F64) -> F64:
        t = np.tanh((x[..., None] - self.centres) * self.inverse_width)
        return 1.0 - t * t

    def describe(self) -> str:
        low, high = self.core()
        return f"{self.size} RSWAF on [{low[0]:.4g}, {high[0]:.4g}]"


@dataclass(frozen=True, eq=False)
class Polynomial(Basis):
    """A polynomial family up to `degree`, an activation on every polynomial if the family has one.

    Squashing (tanh, sigmoid) is not part of the basis: it is a step of the branch's `pre`.

    Attributes
    ----------
    family : {"chebyshev", "legendre", "jacobi", "gram", "bernstein"}
    degree : int
    parameters : tuple of float
        `(a, b)` for Jacobi, the beta weights for Gram, empty otherwise.
    activation : str
        Applied to every polynomial (GRAM layers); "identity" otherwise.
    """

    family: Literal["chebyshev", "legendre", "jacobi", "gram", "bernstein"]
    degree: int
    parameters: tuple[float, ...] = ()
    activation: str = "identity"
    kind: ClassVar[str] = "polynomial"

    @property
    def size(self) -> int:
        return self.degree + 1

    def core(self) -> tuple[F64, F64]:
        low = 0.0 if self.family == "bernstein" else -1.0
        return np.array([low]), np.array([1.0])

    def evaluate(self, x: F64) -> F64:
        if self.family == "jacobi":
            values = polynomials.jacobi(x, self.degree, *self.parameters)
        elif self.family == "gram":
            values = polynomials.gram(x, self.degree, np.asarray(self.parameters))
        else:
            values = getattr(polynomials, self.family)(x, self.degree)
        return values if self.activation == "identity" else functions.apply(self.activation, values)

    def describe(self) -> str:
        inner = "" if self.activation == "identity" else f", {self.activation} on each"
        return f"{self.family} polynomials of degree {self.degree}{inner}"


@dataclass(frozen=True, eq=False)
class Fourier(Basis):
    """`cos(kx)`, then `sin(kx)`, for `k = 1..frequencies` (FourierKAN)."""

    frequencies: int
    kind: ClassVar[str] = "fourier"

    @property
    def size(self) -> int:
        return 2 * self.frequencies

    def core(self) -> tuple[F64, F64]:
        return np.array([-np.pi]), np.array([np.pi])

    def evaluate(self, x: F64) -> F64:
        return polynomials.fourier(x, self.frequencies)

    def describe(self) -> str:
        return f"Fourier series of {self.frequencies} frequencies"


@dataclass(frozen=True, eq=False)
class PiecewiseLinear(Basis):
    """Hat functions on shared points; the end segments go on as straight lines (KANditioned).

    Attributes
    ----------
    points : float64 [C], ascending
    """

    points: F64
    kind: ClassVar[str] = "piecewise_linear"
    outside: ClassVar[Outside] = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", _f64(self.points))

    @property
    def size(self) -> int:
        return self.points.size

    @property
    def knots(self) -> F64:
        return self.points[None]

    def core(self) -> tuple[F64, F64]:
        return self.points[:1], self.points[-1:]

    def evaluate(self, x: F64) -> F64:
        cell = np.clip(np.searchsorted(self.points, x, side="right") - 1, 0, self.size - 2)
        weight = (x - self.points[cell]) / (self.points[cell + 1] - self.points[cell])
        values = np.zeros((*x.shape, self.size))
        np.put_along_axis(values, cell[..., None], (1.0 - weight)[..., None], axis=-1)
        np.put_along_axis(values, cell[..., None] + 1, weight[..., None], axis=-1)
        return values

    def describe(self) -> str:
        return f"piecewise linear on {self.size} points over [{self.points[0]:.4g}, {self.points[-1]:.4g}]"


@dataclass(frozen=True, eq=False)
class ReluProduct(Basis):
    """`(relu(x - low) * relu(high - x) * gain)^2` with trained phases (ReLU-KAN).

    Attributes
    ----------
    low, high : float64 [in, C]
    gain : float
        `4 g^2 / (k + 1)^2` in the original.
    """

    low: F64
    high: F64
    gain: float
    kind: ClassVar[str] = "relu_product"
    outside: ClassVar[Outside] = "zero"

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", _f64(self.low))
        object.__setattr__(self, "high", _f64(self.high))

    @property
    def size(self) -> int:
        return self.low.shape[1]

    @property
    def rows(self) -> int:
        return self.low.shape[0]

    def core(self) -> tuple[F64, F64]:
        return self.support()

    def support(self) -> tuple[F64, F64]:
        return self.low.min(axis=1), self.high.max(axis=1)

    def evaluate(self, x: F64) -> F64:
        points = np.clip(x, -1e30, 1e30)[..., None]  # keeps inf * 0 out of the product
        values = np.maximum(points - self.low, 0.0) * np.maximum(self.high - points, 0.0) * self.gain
        return np.where(np.isnan(x)[..., None], np.nan, values * values)

    def take(self, inputs: NDArray[np.int64]) -> ReluProduct:
        return self if self.rows == 1 else ReluProduct(self.low[inputs], self.high[inputs], self.gain)

    def describe(self) -> str:
        return f"{self.size} squared ReLU products"


@dataclass(frozen=True, eq=False)
class NamedFunction(Basis):
    """One function for all edges, as base branches have: silu, gelu, identity, zero, ...

    Attributes
    ----------
    name : str
        A key of `lutkan.numerics.functions.ACTIVATIONS`.
    """

    name: str
    kind: ClassVar[str] = "function"

    def __post_init__(self) -> None:
        if self.name not in functions.ACTIVATIONS:
            raise ImportModelError(f"base function {self.name!r}", ", ".join(functions.ACTIVATIONS))

    @property
    def size(self) -> int:
        return 1

    def evaluate(self, x: F64) -> F64:
        return functions.apply(self.name, x)[..., None]

    def describe(self) -> str:
        return self.name
