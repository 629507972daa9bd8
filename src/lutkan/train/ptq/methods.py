"""What the methods of post-training quantization are made of, and their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lutkan.errors import SpecError

__all__ = ["METHODS", "Method", "resolve_method"]


@dataclass(frozen=True)
class Method:
    """How inputs, scales and codes are chosen.

    Attributes
    ----------
    inputs : {"batch-max", "minmax", "percentile", "mse", "output-error", "prediction"}
        Range of a layer's input codes: the largest of the batches' 0.999 percentiles of |x| (QuantKAN's code),
        minimum and maximum, percentiles, the least squared error of the inputs, of the layer's outputs, or the least
        difference of the network's predictions.
    signed_inputs : bool
        Whether zero is the middle code, whatever the spec says; QuantKAN's code has it so.
    scales : {"peak", "mse", "hessian"}
        Weight scales: from the largest weight, or searched, plainly or weighed by the features' mean squares.
    rounding : {"nearest", "gptq", "adaround", "brecq"}
    joint : bool
        Whether base and spline branch are rounded together, with one Hessian.
    dead : {"zero", "nearest"}
        Coefficients that no calibration row asks for, under GPTQ.
    balance : {"none", "awq", "smooth"}
        Scales moved between features and weights.
    smooth_side : {"features", "inputs"}
        Whether SmoothQuant divides the features, or the layer's inputs as published; the latter is refused where that
        changes the functions.
    refit : float
        Strength that holds a least-squares refit of the weights to quantized inputs near the old weights; 0 leaves the
        refit out.
    bias_correction : bool
    mixed : bool
        Whether HAWQ-V2 spreads the spec's bytes over layers and branches.
    synthetic : bool
        Whether calibration rows are made up from the grid's domain even where there are some.
    summary : str
        A line for lists.

    Raises
    ------
    SpecError
        A field has a value that is not allowed.
    """

    inputs: Literal["batch-max", "minmax", "percentile", "mse", "output-error", "prediction"] = "output-error"
    signed_inputs: bool = False
    scales: Literal["peak", "mse", "hessian"] = "mse"
    rounding: Literal["nearest", "gptq", "adaround", "brecq"] = "nearest"
    joint: bool = False
    dead: Literal["zero", "nearest"] = "nearest"
    balance: Literal["none", "awq", "smooth"] = "none"
    smooth_side: Literal["features", "inputs"] = "features"
    refit: float = 0.0
    bias_correction: bool = True
    mixed: bool = False
    synthetic: bool = False
    summary: str = ""

    def __post_init__(self) -> None:
        allowed = {
            "inputs": ("batch-max", "minmax", "percentile", "mse", "output-error", "prediction"),
            "scales": ("peak", "mse", "hessian"),
            "rounding": ("nearest", "gptq", "adaround", "brecq"),
            "dead": ("zero", "nearest"),
            "balance": ("none", "awq", "smooth"),
            "smooth_side": ("features", "inputs"),
        }
        for name, choices in allowed.items():
            if getattr(self, name) not in choices:
                raise SpecError(f"Method.{name} = {getattr(self, name)!r}", ", ".join(choices))
        if self.balance != "none" and (self.rounding != "nearest" or self.joint):
            raise SpecError(
                f"Method.balance = {self.balance!r} with rounding {self.rounding!r}", "rounding to nearest, by branch"
            )
        if not self.refit >= 0:
            raise SpecError(f"Method.refit = {self.refit!r}", "0, or a positive strength")


_QUANTKAN = {"inputs": "batch-max", "signed_inputs": True, "scales": "peak", "bias_correction": False}

#: Methods by name.
METHODS: Mapping[str, Method] = {
    "auto": Method(
        rounding="gptq",
        joint=True,
        refit=0.1,
        summary="input ranges by output error, GPTQ over base and spline together",
    ),
    "quantkan-uniform": Method(
        **_QUANTKAN,  # type: ignore[arg-type]
        summary="the preset: QuantKAN's uniform recipe, re-implemented",
    ),
    "quantkan-gptq": Method(
        **_QUANTKAN,  # type: ignore[arg-type]
        rounding="gptq",
        dead="zero",
        summary="the preset with GPTQ a branch",
    ),
    "uniform": Method(summary="rounding to nearest, searched scales"),
    "gptq": Method(rounding="gptq", summary="each column makes good the errors of those before it, a branch at a time"),
    "adaround": Method(rounding="adaround", refit=0.1, summary="learned rounding, a branch at a time"),
    "brecq": Method(
        rounding="brecq", joint=True, refit=0.1, summary="learned rounding of a layer, weighed by the loss"
    ),
    "awq": Method(balance="awq", summary="strong features get finer weights; the table of features carries the factor"),
    "smoothquant": Method(balance="smooth", scales="peak", summary="balance of features and weights"),
    "hawq-v2": Method(
        rounding="gptq", mixed=True, summary="mixed bits at the size of the flat ones, by Hessian traces"
    ),
    "zeroq": Method(rounding="gptq", joint=True, synthetic=True, summary="no data: rows from the grid's domain"),
    "pd-quant": Method(
        inputs="prediction",
        rounding="brecq",
        joint=True,
        refit=0.1,
        summary="input ranges by prediction difference",
    ),
}


def resolve_method(method: str | Method) -> Method:
    """Return the method of a name, or the method itself.

    Raises
    ------
    SpecError
        An unknown name.

    Examples
    --------
    >>> resolve_method("gptq").rounding
    'gptq'
    """
    if isinstance(method, Method):
        return method
    if method not in METHODS:
        raise SpecError(f"method {method!r}", ", ".join(METHODS))
    return METHODS[method]
