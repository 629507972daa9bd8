"""Post-training quantization: written once over "a KAN layer is linear in its features", in numpy."""

from lutkan.train.ptq.apply import quantize
from lutkan.train.ptq.methods import METHODS, Method, resolve_method
from lutkan.train.ptq.network import Quantized, QuantizedBranch, QuantizedLayer, quantize_network

__all__ = [
    "METHODS",
    "Method",
    "Quantized",
    "QuantizedBranch",
    "QuantizedLayer",
    "quantize",
    "quantize_network",
    "resolve_method",
]
