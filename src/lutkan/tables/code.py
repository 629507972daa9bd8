"""The way from quantized layers to integer tables, for training and post-training quantization."""

from lutkan.tables.code_features import CodeGrid, IntegerFeatures, code_features, integer_features
from lutkan.tables.coded import CodedBranch, CodedLayer, range_grid, requantization, round_layer
from lutkan.tables.compile import compile_codes

__all__ = [
    "CodeGrid",
    "CodedBranch",
    "CodedLayer",
    "IntegerFeatures",
    "code_features",
    "compile_codes",
    "integer_features",
    "range_grid",
    "requantization",
    "round_layer",
]
