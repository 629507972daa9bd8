"""`import_model`: one entry for live modules, state_dicts, files and pykan checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lutkan.adapters.checkpoint import read_checkpoint
from lutkan.adapters.registry import FAMILIES, family_named
from lutkan.adapters.state_dict import network_from_state_dict
from lutkan.errors import ImportModelError
from lutkan.ir import Network

__all__ = ["import_model"]


def import_model(source: object, *, family: str | None = None, config: Mapping[str, Any] | None = None) -> Network:
    """Import a trained KAN.

    Parameters
    ----------
    source : torch.nn.Module, mapping of tensors, or path
        A live module, a state_dict, a `.safetensors`, `.pt` or `.pth` file of one, or the prefix of a pykan
        checkpoint (`model.saveckpt(prefix)`).
    family : str, optional
        Say the family instead of recognising it; see the support matrix in the README.
    config : mapping, optional
        What the checkpoint lacks (base activation, RBF denominator, ...); the keys of each family are in
        docs/reference/config.md. A scalar holds for every layer, a list goes layer by layer.

    Returns
    -------
    Network

    Raises
    ------
    ImportModelError
        Something is missing, unknown or contradictory; nothing is guessed in silence.

    Examples
    --------
    >>> import numpy as np, lutkan
    >>> state = {"cheby_coeffs": np.ones((2, 1, 3), dtype=np.float32), "arange": np.arange(3)}
    >>> lutkan.import_model(state).evaluate(np.zeros((1, 2)))
    array([[0.]])
    """
    families = FAMILIES
    if family is not None:
        chosen = family_named(family)
        if chosen is None:
            raise ImportModelError(f"family {family!r}", ", ".join(f.name for f in FAMILIES))
        families = (chosen,)
    checkpoint = read_checkpoint(Path(source) if isinstance(source, (str, Path)) else source)
    return network_from_state_dict(checkpoint, families, config)
