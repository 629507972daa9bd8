"""lutkan's own arms: an artifact on a runtime, timed as a caller sees it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import Artifact
from lutkan.lab.arms.contender import Contender, Skipped
from lutkan.runtimes import load
from lutkan.runtimes.model import available_runtimes

__all__ = ["native_call", "on_runtime"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

# Working memory a row and feature: the reference keeps 64-bit positions and weights for every tap.
_WORKING = {"reference": 256, "numba": 64, "native": 8}


def on_runtime(
    artifact: Artifact, oracle: Callable[[F32], F64], runtime: str, spec: str, threads: int = 1
) -> Contender | Skipped:
    """Return an artifact on a runtime: `predict` of prepared float32 rows into a given array.

    Parameters
    ----------
    artifact : Artifact
    oracle : callable
        What the network that it was compiled from answers, in float64.
    runtime : str
    spec : str
        What to call the tables in the arm's name; may be empty.
    threads : int

    Returns
    -------
    Contender, or Skipped where the runtime is not available
    """
    name = f"{runtime} {spec}".rstrip()
    missing = available_runtimes().get(runtime, f"no runtime {runtime!r} in this version")
    if missing:
        return Skipped(name, f"missing: {missing}")
    model = load(artifact, runtime=runtime, threads=threads)
    info = model.info()

    def prepare(x: F32) -> Callable[[], object]:
        rows = np.ascontiguousarray(x, dtype=np.float32)
        out = np.empty((len(rows), model.out_features), np.float32)
        return lambda: model.predict(rows, out)

    widest = max(max(step.shape) for step in artifact.program.steps)
    return Contender(
        name=name,
        kind="lutkan",
        prepare=prepare,
        oracle=oracle,
        edges=artifact.program.edges,
        nbytes=info["memory_bytes"],
        bytes_a_row=_WORKING.get(runtime, 64) * widest,
        file_bytes=artifact.nbytes,
        isa=info["isa"],
    )


def native_call(artifact: Artifact, oracle: Callable[[F32], F64], spec: str) -> Contender | Skipped:
    """Return the native runtime's call into C alone, without the checks of `predict`: what Python adds is the rest."""
    name = f"native {spec}, call into C alone"
    missing = available_runtimes().get("native", "no native runtime in this version")
    if missing:
        return Skipped(name, f"missing: {missing}")
    from lutkan.runtimes import native

    run, nbytes, isa = native.prepare(artifact.program)

    def prepare(x: F32) -> Callable[[], object]:
        rows = np.ascontiguousarray(x, dtype=np.float32)
        out = np.empty((len(rows), artifact.program.out_features), np.float32)

        def call() -> object:
            run(rows, out)
            return out

        return call

    widest = max(max(step.shape) for step in artifact.program.steps)
    return Contender(
        name=name,
        kind="lutkan",
        prepare=prepare,
        oracle=oracle,
        edges=artifact.program.edges,
        nbytes=nbytes,
        bytes_a_row=_WORKING["native"] * widest,
        file_bytes=artifact.nbytes,
        isa=isa,
    )
