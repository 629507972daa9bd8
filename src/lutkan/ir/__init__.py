"""What a KAN is: networks, layers, edge banks, bases; and what it means, in float64."""

from lutkan.ir.banks import EdgeBank, FunctionBank
from lutkan.ir.bases import (
    RSWAF,
    Basis,
    BSpline,
    Fourier,
    GaussianRBF,
    NamedFunction,
    PiecewiseLinear,
    Polynomial,
    ReluProduct,
)
from lutkan.ir.layers import (
    Activation,
    Affine,
    Branch,
    Edge,
    KANLayer,
    LayerNorm,
    Linear,
    Product,
    Select,
    Step,
)
from lutkan.ir.network import Network, Source, without_identity

__all__ = [
    "RSWAF",
    "Activation",
    "Affine",
    "BSpline",
    "Basis",
    "Branch",
    "Edge",
    "EdgeBank",
    "Fourier",
    "FunctionBank",
    "GaussianRBF",
    "KANLayer",
    "LayerNorm",
    "Linear",
    "NamedFunction",
    "Network",
    "PiecewiseLinear",
    "Polynomial",
    "Product",
    "ReluProduct",
    "Select",
    "Source",
    "Step",
    "without_identity",
]
