"""What an importer of a layer family provides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lutkan.adapters.checkpoint import LayerTensors
from lutkan.adapters.options import LayerOptions
from lutkan.ir import Step

__all__ = ["Family"]


@dataclass(frozen=True)
class Family:
    """A family of KAN layers, recognised by the names of a layer's tensors.

    Attributes
    ----------
    name : str
        As in `import_model(family=...)` and `summary()`.
    anchor : str
        A tensor name that every layer of the family has; what stands before it is the layer's prefix.
    claims : callable
        Whether the local tensor names of a layer are this family's. Asked in the order of the registry.
    fits : callable
        Whether the shapes of the local tensors are this family's, asked after `claims`; for families that share
        their names with another one.
    read_layer : callable
        Turn the tensors and options of one layer into steps. It reads every tensor it knows; the caller refuses
        the layer if one is left over.
    keys : mapping of str to str
        What the checkpoint lacks and `config=` may hold, at the top or by layer: key -> "what it is; what happens
        when it is absent". The reference table in docs/ is made from it, split at the first semicolon.
    layer_keys : tuple of str
        Further keys in an entry of `config["layers"]`: constructor arguments, checked where the tensors tell them.
    attributes : callable
        Read from a live module what its state_dict lacks, as a config of one layer.
    """

    name: str
    anchor: str
    claims: Callable[[frozenset[str]], bool]
    read_layer: Callable[[LayerTensors, LayerOptions], tuple[Step, ...]]
    keys: Mapping[str, str] = field(default_factory=dict)
    layer_keys: tuple[str, ...] = ()
    attributes: Callable[[Any], dict[str, Any]] = field(default=lambda module: {})
    fits: Callable[[Mapping[str, tuple[int, ...]]], bool] = field(default=lambda shapes: True)
