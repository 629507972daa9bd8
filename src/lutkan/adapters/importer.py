"""`import_model`: one entry for live modules, state_dicts, files and pykan checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lutkan.adapters.checkpoint import Checkpoint, read_checkpoint
from lutkan.adapters.family import Family
from lutkan.adapters.generic import GENERIC, network_from_callable
from lutkan.adapters.live import is_live_module
from lutkan.adapters.module import network_from_module
from lutkan.adapters.pykan_checkpoint import read_saved_checkpoint, saved_checkpoint_prefix
from lutkan.adapters.registry import FAMILIES, family_named
from lutkan.adapters.state_dict import network_from_state_dict
from lutkan.errors import ImportModelError
from lutkan.ir import Network

__all__ = ["families_named", "import_model", "read_source"]


def import_model(source: object, *, family: str | None = None, config: Mapping[str, Any] | None = None) -> Network:
    """Import a trained KAN.

    Parameters
    ----------
    source : torch.nn.Module, mapping of tensors, path, or callable
        A live module, a state_dict, a `.safetensors`, `.pt` or `.pth` file of one, or the prefix of a pykan
        checkpoint (`model.saveckpt(prefix)`). A live module is run on seeded rows to check the result.
    family : str, optional
        Say the family instead of recognising it; see the support matrix in the README. With "generic", `source` is any
        callable or module whose outputs are sums of functions of the single inputs, and its edge functions are sampled.
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
    if family == GENERIC:
        return network_from_callable(source, config)
    families = families_named(family)
    if is_live_module(source):
        return network_from_module(source, families, config)
    checkpoint, config = read_source(source, config)
    return network_from_state_dict(checkpoint, families, config)


def families_named(family: str | None) -> tuple[Family, ...]:
    """Return the families to look for: all, or the one that the caller names."""
    if family is None:
        return FAMILIES
    chosen = family_named(family)
    if chosen is None:
        raise ImportModelError(f"family {family!r}", ", ".join((*(f.name for f in FAMILIES), GENERIC)))
    return (chosen,)


def read_source(source: object, config: Mapping[str, Any] | None) -> tuple[Checkpoint, Mapping[str, Any] | None]:
    """Read the tensors of a mapping, a file or a pykan checkpoint, and what its files add to `config`."""
    if isinstance(source, (str, Path)):
        path = Path(source)
        prefix = saved_checkpoint_prefix(path)
        return (read_checkpoint(path), config) if prefix is None else read_saved_checkpoint(prefix, config)
    if isinstance(source, Mapping):
        return read_checkpoint(source), config
    raise ImportModelError(
        f"a {type(source).__name__} as the source of a model",
        "a torch module, a mapping of tensors, a path, or any callable with family='generic'",
    )
