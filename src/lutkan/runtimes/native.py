"""The native runtime: one call into C for a whole batch and network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact.program import Program
from lutkan.numerics import compiled
from lutkan.numerics.compiled import missing
from lutkan.runtimes import memory
from lutkan.runtimes.packing import pack_program, packed_bytes

__all__ = ["available_isas", "missing", "prepare"]

F32 = NDArray[np.float32]


def available_isas() -> list[str]:
    """Return the instruction sets that the native runtime can use here, best first."""
    return list(compiled.extension().available())


def prepare(program: Program) -> tuple[Callable[[F32, F32], int], int, str]:
    """Pack a program for this runtime.

    Returns
    -------
    run : callable
        `run(x, y)`: float32 [N, in] and [N, out], both C-contiguous; fills `y` and returns the first row of `x` that
        holds NaN, or -1. Releases the GIL; thread safe.
    nbytes : int
        Resident bytes of the packed tables.
    isa : str
        Instruction set in use: the best one, or that of the environment variable LUTKAN_ISA.

    Raises
    ------
    RuntimeUnavailableError
        LUTKAN_ISA names an instruction set that is unknown or not available here, or the tables take more memory than
        is free.
    """
    ops: list[dict[str, Any]] = pack_program(program)
    network = compiled.extension().Network(program.in_features, program.out_features, ops, compiled.wanted_isa())
    memory.require("a row's working memory in the native runtime", network.workspace)
    return network.run, packed_bytes(ops), network.isa
