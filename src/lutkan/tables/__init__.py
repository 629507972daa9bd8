"""From the network IR to tables: specs, sampling, quantization, compilation."""

from lutkan.tables.basis import BasisValues
from lutkan.tables.code_features import CodeGrid, IntegerFeatures, integer_features
from lutkan.tables.coded import CodedBranch, CodedLayer, CodeValues
from lutkan.tables.compile import (
    assemble,
    calibration_rows,
    compile_codes,
    compile_layer,
    compile_network,
    input_domain,
    table_domain,
)
from lutkan.tables.plan import BaseValues, BranchPlan, LayerPlan, plan_network
from lutkan.tables.segment import SegmentValues
from lutkan.tables.spec import NAMED_SPECS, BasisSpec, BranchSpec, CodeSpec, LayerSpec, SegmentSpec, Spec, resolve_spec

__all__ = [
    "NAMED_SPECS",
    "BaseValues",
    "BasisSpec",
    "BasisValues",
    "BranchPlan",
    "BranchSpec",
    "CodeGrid",
    "CodeSpec",
    "CodeValues",
    "CodedBranch",
    "CodedLayer",
    "IntegerFeatures",
    "LayerPlan",
    "LayerSpec",
    "SegmentSpec",
    "SegmentValues",
    "Spec",
    "assemble",
    "calibration_rows",
    "compile_codes",
    "compile_layer",
    "compile_network",
    "input_domain",
    "integer_features",
    "plan_network",
    "resolve_spec",
    "table_domain",
]
