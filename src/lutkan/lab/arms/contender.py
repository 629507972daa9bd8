"""What an arm is before a batch is chosen for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import InputError

__all__ = ["Contender", "Skipped", "errors"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Contender:
    """An implementation of one network, ready for batches of any size.

    Attributes
    ----------
    name : str
    kind : str
        "lutkan", "look-up", "eager", "compiled", "numba", "numpy" or "dense".
    prepare : callable
        float32 [N, in] -> a call without arguments that returns the outputs, float32 [N, out].
    oracle : callable
        float32 [N, in] -> what the outputs should be, float64 [N, out].
    edges : int
        Edges a row; multiplications for a dense product.
    nbytes : int
        Bytes of parameters or tables in memory.
    bytes_a_row : int
        Working memory that a call takes for each row, roughly.
    file_bytes : int or None
        Bytes on disk, where there is a file.
    isa : str
        Instruction set, where it is known.
    """

    name: str
    kind: str
    prepare: Callable[[F32], Callable[[], object]]
    oracle: Callable[[F32], F64]
    edges: int
    nbytes: int
    bytes_a_row: int = 0
    file_bytes: int | None = None
    isa: str = ""


@dataclass(frozen=True)
class Skipped:
    """An arm that does not take part, and why."""

    name: str
    reason: str


def errors(contender: Contender, x: F32) -> tuple[float, float, float]:
    """Return the largest and the mean |output - oracle| of an arm on some rows, and how far the outputs spread.

    The spread is the standard deviation of the oracle's outputs.

    Raises
    ------
    InputError
        The arm answers with another shape.
    """
    found = np.asarray(contender.prepare(x)(), dtype=np.float64)
    wanted = contender.oracle(x)
    if found.shape != wanted.shape:
        raise InputError(f"arm {contender.name!r} answers with shape {found.shape}", f"{wanted.shape}")
    gap = np.abs(found - wanted)
    return float(gap.max()), float(gap.mean()), float(wanted.std())
