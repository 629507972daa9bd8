"""Checks on the fields of operations that may come from a hostile file; all raise ArtifactError."""

from __future__ import annotations

import numpy as np

from lutkan.errors import ArtifactError

__all__ = ["ACTIVATIONS", "MAX_FEATURES", "array", "choice", "fail", "indices", "integer"]

MAX_FEATURES = 1 << 20
#: Functions that the runtimes compute in float32 (docs/spec/float32.md); the position is the id in native code.
ACTIVATIONS = ("identity", "silu", "gelu", "relu", "tanh", "sigmoid")


def fail(where: str, found: str, allowed: str) -> None:
    """Raise ArtifactError."""
    raise ArtifactError(f"{where}: {found}", allowed, "the artifact is damaged or was not written by lutkan")


def array(where: str, value: object, dtype: str | tuple[str, ...], shape: tuple[int | None, ...]) -> None:
    """Check type, dtype, shape, finiteness and layout of an array."""
    dtypes = (dtype,) if isinstance(dtype, str) else dtype
    if not isinstance(value, np.ndarray) or value.dtype.name not in dtypes:
        found = value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__
        fail(where, f"is of type {found}", " or ".join(dtypes))
        return
    if len(shape) != value.ndim or any(s is not None and s != n for s, n in zip(shape, value.shape, strict=True)):
        want = [("any" if s is None else s) for s in shape]
        fail(where, f"has shape {list(value.shape)}", str(want))
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        fail(where, "holds NaN or infinity", "finite numbers")
    if not value.flags.c_contiguous:
        fail(where, "is not contiguous", "C order")


def integer(where: str, value: object, low: int, high: int) -> None:
    """Check an integer and its range."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        fail(where, f"is {value!r}", f"an integer from {low} to {high}")


def choice(where: str, value: object, allowed: tuple[str, ...]) -> None:
    """Check one of several words."""
    if not isinstance(value, str) or value not in allowed:  # an array would compare elementwise
        fail(where, f"is {value!r}", ", ".join(allowed))


def indices(where: str, value: object, count: int, *, distinct: bool) -> None:
    """Check an int32 vector of indices below `count`."""
    array(where, value, "int32", (None,))
    found = np.asarray(value)
    if found.size == 0 or found.min() < 0 or found.max() >= count:
        fail(where, "is empty or out of range", f"indices from 0 to {count - 1}")
    if distinct and (np.diff(found) <= 0).any():
        fail(where, "is not ascending", "ascending distinct indices")
