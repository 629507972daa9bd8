"""Golden vectors: inputs and expected outputs that an artifact carries, for self-tests on any target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import Artifact
from lutkan.artifact.program import KANOp, SegmentTable
from lutkan.runtimes import load

__all__ = ["golden_inputs", "with_golden"]

F32 = NDArray[np.float32]
# Of the 16 rows those that wide networks keep first: data, on and beside knots, far, and so on in turn.
_KEEP_FIRST = (0, 8, 11, 12, 1, 10, 9, 13, 2, 3, 14, 4, 5, 15, 6, 7)
_FEWEST = 4
_BYTES = 1024
_SHARE = 64


def golden_inputs(artifact: Artifact, rows: NDArray[np.float64]) -> F32:
    """Choose 16 rows: eight of `rows`, four on knots of the first table and beside them, four far outside.

    Of a wide network fewer are kept, down to 4: as many as take, with their answers, 1 KiB or a 64th of the tables.

    Parameters
    ----------
    artifact : Artifact
    rows : float64 [N, in]
        Calibration rows, or what stands in for them.

    Returns
    -------
    float32 [4 to 16, in]
    """
    rng = np.random.default_rng(20260103)
    data = rows[rng.integers(0, len(rows), 8)].astype(np.float32)
    n = artifact.program.in_features
    knots = next(
        (
            branch.table.knots.ravel()
            for step in artifact.program.steps
            if isinstance(step, KANOp)
            for branch in step.branches
            if isinstance(branch.table, SegmentTable)
        ),
        np.linspace(-1, 1, 5, dtype=np.float32),
    )
    on = rng.choice(knots, size=(2, n)).astype(np.float32)
    below, above = np.nextafter(on[:1], np.float32(-np.inf)), np.nextafter(on[1:], np.float32(np.inf))
    far = (rng.standard_normal((4, n)) * 5.0).astype(np.float32)
    every = np.concatenate([data, on, below, above, far])
    row_bytes = 4 * (n + artifact.program.out_features)
    kept = max(_FEWEST, min(len(every), max(_BYTES, artifact.table_nbytes // _SHARE) // row_bytes))
    return every[sorted(_KEEP_FIRST[:kept])]


def with_golden(artifact: Artifact, rows: NDArray[np.float64]) -> Artifact:
    """Return the artifact with golden vectors: the reference runtime's answers to `golden_inputs`."""
    x = golden_inputs(artifact, rows)
    y = load(artifact, runtime="reference").predict(x)
    finite = np.isfinite(y).all(axis=1)  # an artifact holds finite numbers only
    return replace(artifact, golden_x=np.ascontiguousarray(x[finite]), golden_y=np.ascontiguousarray(y[finite]))
