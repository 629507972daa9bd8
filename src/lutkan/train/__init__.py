"""Quantized KANs: training with quantizers in place, and the integers that come out of it. Needs PyTorch."""

import importlib
from typing import TYPE_CHECKING, Any

from lutkan.errors import RuntimeUnavailableError

if TYPE_CHECKING:
    from lutkan.train.layer import QuantKANLayer, float_mode, kan_layers

__all__ = ["QuantKANLayer", "float_mode", "kan_layers"]

# Names are fetched when first used: `lutkan.train` itself does not load torch.
_HOMES = {
    "QuantKANLayer": "lutkan.train.layer",
    "float_mode": "lutkan.train.layer",
    "kan_layers": "lutkan.train.layer",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(home)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise RuntimeUnavailableError(
            f"lutkan.train.{name} needs PyTorch, and it is not installed",
            "an environment with torch",
            'pip install "lutkan[torch]"',
        ) from error
    value = getattr(module, name)
    globals()[name] = value
    return value
