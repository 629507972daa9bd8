"""Which features a compiled network has to compute."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lutkan.ir import Activation, Affine, KANLayer, Network, Select

__all__ = ["live_features"]

Mask = NDArray[np.bool_]


def live_features(net: Network, keep_masked: dict[int, bool]) -> dict[int, tuple[Mask, Mask]]:
    """Find the inputs and outputs of every KAN layer that matter.

    An input is live when one of its edges can be non-zero; an output is live when one of its edges can be non-zero and
    a later step reads it. Steps that couple features read all of them.

    Parameters
    ----------
    net : Network
    keep_masked : dict of int to bool
        For each KAN layer (by number of its step) whether everything is kept.

    Returns
    -------
    dict of int to (bool [in], bool [out])
        By number of the step.
    """
    found: dict[int, tuple[Mask, Mask]] = {}
    inputs: Mask
    outputs: Mask
    read = np.ones(net.out_features, dtype=bool)
    for index in range(len(net.steps) - 1, -1, -1):
        step = net.steps[index]
        if isinstance(step, KANLayer):
            if keep_masked[index]:
                inputs, outputs = np.ones(step.shape[0], dtype=bool), np.ones(step.shape[1], dtype=bool)
            else:
                live = step.live()
                outputs = np.any(live, axis=0) & read
                inputs = np.any(live[:, outputs], axis=1)
                if not inputs.any():  # every output is a constant; keep one edge so that the layer has a table
                    inputs[0] = outputs[0] = True
            found[index] = inputs, outputs
            coupled = any(not branch.elementwise for branch in step.branches)
            read = np.ones(step.shape[0], dtype=bool) if coupled else inputs
        elif isinstance(step, Select):
            before = np.zeros(step.in_features, dtype=bool)
            before[step.indices[read]] = True
            read = before
        elif not isinstance(step, (Affine, Activation)):
            read = np.ones(_in_features(net, index), dtype=bool)
    return found


def _in_features(net: Network, index: int) -> int:
    width = net.in_features
    for step in net.steps[:index]:
        width = step.out_features(width)
    return width
