"""Name the activation functions of live torch modules."""

from __future__ import annotations

from typing import Any

from lutkan.errors import ImportModelError

__all__ = ["activation_attribute", "activation_name"]

_KNOWN = ("silu", "gelu", "relu", "tanh", "sigmoid", "identity", "softplus", "mish")


def activation_name(function: Any) -> str | None:
    """Name a torch activation, module or function, or return None when it is not known.

    Parameters
    ----------
    function : object
        `torch.nn.SiLU()`, `torch.nn.functional.gelu`, a class such as `torch.nn.SiLU`, ...
    """
    name = (getattr(function, "__name__", None) or type(function).__name__).lower()
    name = "silu" if name == "swish" else name
    if name == "gelu" and getattr(function, "approximate", "none") == "tanh":
        return "gelu_tanh"
    if name == "softplus" and (getattr(function, "beta", 1), getattr(function, "threshold", 20)) != (1, 20):
        return None
    return name if name in _KNOWN else None


def activation_attribute(module: Any, attribute: str, key: str) -> dict[str, Any]:
    """Read an activation that a live module holds, as a config of one layer.

    Parameters
    ----------
    module : torch.nn.Module
    attribute : str
        Where the module keeps it; an empty config results where it has none.
    key : str
        The family's config key.

    Raises
    ------
    ImportModelError
        It is a function that lutkan does not know by name.
    """
    function = getattr(module, attribute, None)
    if function is None:
        return {}
    name = activation_name(function)
    if name is None:
        raise ImportModelError(
            f"{attribute} {function!r} of {type(module).__name__}",
            ", ".join((*_KNOWN, "gelu_tanh")),
            f"pass config={{{key!r}: ...}} if it equals one of them, or use family='generic'",
        )
    return {key: name}
