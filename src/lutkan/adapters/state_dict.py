"""Turn the tensors of a state_dict into a network: find the layers, ask each one's family, refuse what is left over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lutkan.adapters.checkpoint import Checkpoint, LayerTensors, natural_key
from lutkan.adapters.family import Family
from lutkan.adapters.options import Options
from lutkan.adapters.unsupported import refuse_unsupported
from lutkan.errors import ImportModelError
from lutkan.ir import Affine, KANLayer, LayerNorm, Linear, Network, Product, Select, Source, Step

__all__ = ["find_layers", "input_width", "network_from_state_dict", "refuse_unread"]


def find_layers(tensors: Mapping[str, Any], families: Sequence[Family]) -> list[tuple[str, Family]]:
    """Find the prefixes of KAN layers and the family of each, in natural order of the prefixes."""
    found: dict[str, Family] = {}
    for family in families:
        for name in tensors:
            if name != family.anchor and not name.endswith("." + family.anchor):
                continue
            prefix = name[: -len(family.anchor)].rstrip(".")
            if prefix in found:
                continue
            shapes = {local: tuple(np.shape(value)) for local, value in _local(tensors, prefix).items()}
            if family.claims(frozenset(shapes)) and family.fits(shapes):
                found[prefix] = family
    return sorted(found.items(), key=lambda item: natural_key(item[0]))


def network_from_state_dict(
    checkpoint: Checkpoint, families: Sequence[Family], config: Mapping[str, Any] | None
) -> Network:
    """Import a stack of layers of one family from tensors alone.

    Raises
    ------
    ImportModelError
        No layer is recognised, several families are mixed, tensors are left over, or a layer is faulty.
    """
    refuse_unsupported(checkpoint.tensors)
    layers = find_layers(checkpoint.tensors, families)
    if not layers:
        names = sorted(checkpoint.tensors)
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        raise ImportModelError(
            f"{checkpoint.origin}: no KAN layer is recognised among the tensors {shown}",
            f"a state_dict of {', '.join(sorted({f.name for f in families}))}",
            "check the names, pass family= to see what a family misses, or import the live module, "
            "with family='generic' if need be",
        )
    kinds = {family.name: family for _, family in layers}
    if len(kinds) > 1:
        raise ImportModelError(
            f"{checkpoint.origin}: layers of several families ({', '.join(sorted(kinds))})",
            "one family a state_dict",
            "import the live module: its order of layers is known",
        )
    family = next(iter(kinds.values()))
    options = Options(config, family.name, family.keys, family.layer_keys, len(layers))
    steps: list[Step] = []
    claimed: set[str] = set()
    for index, (prefix, _) in enumerate(layers):
        tensors = LayerTensors(prefix, _local(checkpoint.tensors, prefix))
        steps += family.read_layer(tensors, options.layer(index))
        refuse_unread(tensors.unread(), family.name)
        claimed |= {tensors.full_name(name) for name in tensors.tensors}
    refuse_unread(sorted(set(checkpoint.tensors) - claimed), family.name)
    source = Source(family.name, checkpoint.sha256, tuple(options.defaults_taken), tuple(options.notes))
    return Network(tuple(steps), input_width(steps), source)


def input_width(steps: Sequence[Step]) -> int:
    """Return the width of what goes into the first step that states one."""
    for step in steps:
        if isinstance(step, KANLayer):
            return step.shape[0]
        if isinstance(step, (Select, Product)):
            return step.in_features
        if isinstance(step, Linear):
            return step.weight.shape[0]
        if isinstance(step, Affine):
            return step.scale.size
        if isinstance(step, LayerNorm):
            return step.features
    raise ImportModelError("steps none of which states a width", "at least one KAN layer")


def refuse_unread(names: Sequence[str], family: str) -> None:
    """Raise if tensors are left over: dropping one silently would change the function."""
    if names:
        more = f" (nor are {len(names) - 1} more)" if names[1:] else ""
        raise ImportModelError(
            f"tensor {names[0]!r} is not a tensor of {family}{more}",
            f"only tensors that {family} layers have",
            "import the live module, so that its other modules are seen, or remove what the forward pass does not use",
        )


def _local(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the tensors below `prefix`, by their local names."""
    start = prefix + "." if prefix else ""
    return {name[len(start) :]: value for name, value in tensors.items() if name.startswith(start)}
