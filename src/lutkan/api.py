"""`compile`: the one call from a network to an artifact that has been checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lutkan.artifact import Artifact
from lutkan.errors import InputError, SpecError
from lutkan.ir import Network
from lutkan.tables import LayerSpec, Spec, calibration_rows, compile_network, resolve_spec
from lutkan.verify import verify, with_golden

__all__ = ["compile"]

# Rows on which the figures in the manifest are measured; more would make compiling slow, not the figures better.
_VERIFIED_ROWS = 256


def compile(
    net: Network,
    spec: Spec | LayerSpec | str | Mapping[str, Any] = "int8",
    *,
    calibration: object = None,
    domain: object = None,
    max_error: float | None = None,
    target_bytes: int | None = None,
) -> Artifact:
    """Compile a network to tables, verify it, and put the figures and golden vectors into the artifact.

    Parameters
    ----------
    net : Network
    spec : Spec, layer spec or str
        "int8", "int16", "int4" (integer basis tables), "segment-int8-L64", "segment-uint8-L16", ... (the LUT-KAN
        contract), or a spec object.
    calibration : array [N, in], optional
        Rows that look like the inputs to come; hidden ranges and the manifest's figures are measured on them.
    domain : (low, high), optional
        Input domain to draw 4096 seeded rows from when there is no calibration; the default is the core grid.
    max_error : float, optional
        Raise when |artifact - model| exceeds it on the calibration rows.
    target_bytes : int, optional
        Raise when the file is larger.

    Returns
    -------
    Artifact

    Raises
    ------
    SpecError
        The spec is unknown, cannot be honoured for this network, or misses `max_error` or `target_bytes`.
    InputError
        `net` is no Network; calibration data of the wrong width, empty, with NaN or infinities.
    VerificationError
        On the calibration rows the model answers with finite numbers and float32 tables cannot, or the model does not.

    Examples
    --------
    >>> import numpy as np, lutkan
    >>> net = lutkan.import_model({"cheby_coeffs": np.ones((2, 1, 3), dtype=np.float32)})
    >>> lutkan.compile(net, spec="segment-int8-L64").program.out_features
    1
    """
    if not isinstance(net, Network):
        raise InputError(f"net is a {type(net).__name__}", "a Network", "pass lutkan.import_model(source)")
    _require_limit("max_error", max_error, float)
    _require_limit("target_bytes", target_bytes, int)
    chosen = resolve_spec(spec)
    rows, calibrated = calibration_rows(net, calibration, domain)
    artifact = compile_network(net, chosen, rows, calibrated)
    artifact = with_golden(artifact, rows)
    report = verify(artifact, net, rows[:_VERIFIED_ROWS], runtime="reference")
    figures = {
        "rows": report.rows,
        "max_abs": report.max_abs,
        "mae": report.mae,
        "approximation_max_abs": report.approximation.max_abs,
        "quantization_max_abs": report.quantization.max_abs,
        "agreement": report.agreement,
    }
    artifact = replace(artifact, info={**artifact.info, "verification": figures})
    if max_error is not None and report.max_abs > max_error:
        raise SpecError(
            f"max_error = {max_error:g}: this spec reaches {report.max_abs:.3g} on {report.rows} rows",
            "a larger error",
            "more samples a segment, or uint8",
        )
    if target_bytes is not None and artifact.nbytes > target_bytes:
        raise SpecError(
            f"target_bytes = {target_bytes}: this spec needs {artifact.nbytes} bytes", "more bytes", "fewer samples"
        )
    return artifact


def _require_limit(name: str, value: object, kind: type) -> None:
    number = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
    if value is not None and not (number and value > 0):  # type: ignore[operator]
        raise SpecError(f"{name} = {value!r}", f"None, or {'a number' if kind is float else 'an integer'} above 0")
