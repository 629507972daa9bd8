"""Quantized KANs, with and without training, and the integers that come out. `quantize` of a Network needs no torch."""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lutkan.errors import RuntimeUnavailableError

if TYPE_CHECKING:
    from lutkan.train.convert import coded_layers, convert, to_network
    from lutkan.train.integer import DecisionReport, Simulation, compare_decisions, simulate
    from lutkan.train.layer import QuantKANLayer, float_mode, kan_layers
    from lutkan.train.prepare import calibrate, from_network, prepare
    from lutkan.train.ptq import Quantized, quantize
    from lutkan.train.qat import History, train
    from lutkan.train.sensitivity import MixedPrecision, Sensitivity, search_bits, sensitivity

__all__ = [
    "DecisionReport",
    "History",
    "MixedPrecision",
    "QuantKANLayer",
    "Quantized",
    "Sensitivity",
    "Simulation",
    "calibrate",
    "coded_layers",
    "compare_decisions",
    "convert",
    "float_mode",
    "from_network",
    "kan_layers",
    "prepare",
    "quantize",
    "search_bits",
    "sensitivity",
    "simulate",
    "to_network",
    "train",
]

# Names are fetched when first used: `lutkan.train` itself does not load torch.
_HOMES = {
    "DecisionReport": "lutkan.train.integer",
    "History": "lutkan.train.qat",
    "MixedPrecision": "lutkan.train.sensitivity",
    "QuantKANLayer": "lutkan.train.layer",
    "Quantized": "lutkan.train.ptq",
    "Sensitivity": "lutkan.train.sensitivity",
    "Simulation": "lutkan.train.integer",
    "calibrate": "lutkan.train.prepare",
    "coded_layers": "lutkan.train.convert",
    "compare_decisions": "lutkan.train.integer",
    "convert": "lutkan.train.convert",
    "float_mode": "lutkan.train.layer",
    "from_network": "lutkan.train.prepare",
    "kan_layers": "lutkan.train.layer",
    "prepare": "lutkan.train.prepare",
    "quantize": "lutkan.train.ptq",
    "search_bits": "lutkan.train.sensitivity",
    "sensitivity": "lutkan.train.sensitivity",
    "simulate": "lutkan.train.integer",
    "to_network": "lutkan.train.convert",
    "train": "lutkan.train.qat",
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


class _Package(ModuleType):
    """Keeps `prepare` and `convert` the functions: importing the modules of these names would replace them."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _HOMES and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
