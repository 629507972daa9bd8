"""`compile`: the one call from a network to an artifact that has been checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import Artifact
from lutkan.errors import InputError, SpecError
from lutkan.ir import Network
from lutkan.search import figures_bytes, search_spec
from lutkan.tables import LayerSpec, Spec, calibration_rows, compile_network, resolve_spec
from lutkan.verify import certificate_work, certify, measured_rows, verify, with_golden

__all__ = ["compile"]

F64 = NDArray[np.float64]
# Edge values that a certificate may compare unasked: about half a second.
_CERTIFIED_UNASKED = 50_000_000


def compile(
    net: Network,
    spec: Spec | LayerSpec | str | Mapping[str, Any] = "int8",
    *,
    calibration: object = None,
    domain: object = None,
    max_error: float | None = None,
    target_bytes: int | None = None,
    certificate: bool | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Artifact:
    """Compile a network to tables, verify it, and put the figures and golden vectors into the artifact.

    Parameters
    ----------
    net : Network
    spec : Spec, layer spec or str
        "int8", "int16", "int4" (integer basis tables), "float32" (spline rows as they are), "segment-int8-L64",
        "segment-uint8-L16", ... (the LUT-KAN contract), "w4a8", ... (weights and inputs of so many bits, 2 to 8:
        integers from code to code), a spec object, or "auto": bits, folding and intervals are then chosen layer by
        layer, and the table of what was tried stands in the manifest under `search`.
    calibration : array [N, in], optional
        Rows that look like the inputs to come; hidden ranges and the manifest's figures are measured on them.
    domain : (low, high), optional
        The declared input domain: numbers or arrays [in]. The certified bound holds on it, and without calibration
        4096 seeded rows are drawn from it. The default is the box of the calibration rows, or the core grid.
    max_error : float, optional
        With "auto", take the smallest file within it; with any other spec, raise when the largest
        |artifact - model| on the calibration rows (512 of them at most, evenly spread) exceeds it.
    target_bytes : int, optional
        With "auto", take the most exact file within it; with any other spec, raise when the file is larger.
    certificate : bool, optional
        Whether to compute the certified bound on |artifact - model| over the domain and put it into the manifest; by
        default where it takes less than about half a second. `lutkan.certify` computes it any time.
    on_progress : callable, optional
        Called with a short text while "auto" searches.

    Returns
    -------
    Artifact

    Raises
    ------
    SpecError
        The spec is unknown, cannot be honoured for this network, or misses `max_error` or `target_bytes`; with "auto"
        the message names the best that can be reached.
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
    rows, calibrated = calibration_rows(net, calibration, domain)
    box = domain if domain is not None or not calibrated else (rows.min(axis=0), rows.max(axis=0))

    def finish(artifact: Artifact, more: Mapping[str, Any]) -> Artifact:
        return _with_figures(artifact, net, rows, box, certificate, more)

    if isinstance(spec, str) and spec == "auto":
        found = search_spec(
            net,
            rows,
            calibrated,
            max_error=max_error,
            target_bytes=target_bytes,
            reserve=figures_bytes(net),
            on_progress=on_progress,
        )
        more = {"search": found.to_json()}
        smallest = None
        for candidate in found.ranked():
            artifact = finish(found.artifacts[candidate.spec], more)
            if target_bytes is None or artifact.nbytes <= target_bytes:
                return artifact
            smallest = min(artifact.nbytes, smallest or artifact.nbytes)
        raise SpecError(f"target_bytes = {target_bytes}: {smallest} bytes are needed with all figures", "more bytes")
    artifact = finish(with_golden(compile_network(net, resolve_spec(spec), rows, calibrated), rows), {})
    error = artifact.info["verification"]["max_abs"]
    if max_error is not None and error > max_error:
        raise SpecError(
            f"max_error = {max_error:g}: this spec reaches {error:.3g} on {len(measured_rows(rows))} rows",
            "a larger error",
            'more bits or samples a segment, or spec="auto"',
        )
    if target_bytes is not None and artifact.nbytes > target_bytes:
        raise SpecError(
            f"target_bytes = {target_bytes}: this spec needs {artifact.nbytes} bytes",
            "more bytes",
            'fewer bits or samples a segment, or spec="auto"',
        )
    return artifact


def _with_figures(
    artifact: Artifact, net: Network, rows: F64, box: object, certificate: bool | None, more: Mapping[str, Any]
) -> Artifact:
    """Put what was measured and what is certified into the manifest."""
    report = verify(artifact, net, measured_rows(rows), runtime="reference")
    work = certificate_work(artifact)
    if certificate is None and work > _CERTIFIED_UNASKED:
        certified: dict[str, Any] = {
            "max_abs": None,
            "reason": f"not computed: {work} edge values to compare; certificate=True or lutkan.certify computes it",
        }
    elif certificate is False:
        certified = {"max_abs": None, "reason": "not asked for"}
    else:
        certified = certify(artifact, net, box).summary()
    return replace(artifact, info={**artifact.info, "verification": report.summary(), "certificate": certified, **more})


def _require_limit(name: str, value: object, kind: type) -> None:
    number = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
    if value is not None and not (number and value > 0):  # type: ignore[operator]
        raise SpecError(f"{name} = {value!r}", f"None, or {'a number' if kind is float else 'an integer'} above 0")
