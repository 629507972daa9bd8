"""The way from quantized layers to integer tables, for training and post-training quantization."""

from lutkan.tables.coded import (
    CodedBranch,
    CodedLayer,
    CodeGrid,
    IntegerFeatures,
    code_features,
    integer_features,
    range_grid,
    requantization,
    round_layer,
)
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
