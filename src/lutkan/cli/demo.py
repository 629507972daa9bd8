"""`lutkan demo`: the whole way, from the shipped checkpoint to checked predictions."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.adapters.inspection import Inspection
from lutkan.artifact import Artifact
from lutkan.cli.compile import DEFAULT_SPEC
from lutkan.cli.examples import example_path
from lutkan.cli.options import AsJson
from lutkan.cli.rows import require_place
from lutkan.cli.terminal import count, figure, print_json, table, working, wrapped
from lutkan.errors import InputError, VerificationError
from lutkan.ir import Network
from lutkan.runtimes import Model, load
from lutkan.runtimes.model import RUNTIMES, available_runtimes
from lutkan.tables.spec import NAMED_SPECS
from lutkan.verify import ErrorFigures, VerifyReport

__all__ = ["FOLDER", "Outcome", "demo", "demo_specs", "time_a_row"]

FOLDER = Path("demo-out")
# The columns of the table, where this version has them.
_SPECS = ("segment-int8-L64", "int8")
_SECONDS_A_TIMING = 0.15


@dataclass(frozen=True)
class Outcome:
    """What one spec makes of the example network.

    Attributes
    ----------
    spec : str
    artifact : Artifact
    report : VerifyReport
    accuracy : float
    seconds : dict
        Runtime -> (seconds a row one at a time, seconds a row in bulk).
    memory : dict
        Runtime -> bytes of its tables in memory.
    same_bits : bool
        Whether all runtimes gave the same bits.
    """

    spec: str
    artifact: Artifact
    report: VerifyReport
    accuracy: float
    seconds: dict[str, tuple[float, float]]
    memory: dict[str, int]
    same_bits: bool


@dataclass(frozen=True, eq=False)
class _Data:
    """The shipped data: bytes of the checkpoint, rows to calibrate on, test rows and their labels."""

    checkpoint_bytes: int
    calibration: NDArray[Any]
    X: NDArray[Any]
    labels: NDArray[Any]


def demo(as_json: AsJson = False) -> None:
    """Compile, verify and run the example network.

    It ships with lutkan: a KAN of 64, 32 and 10 nodes that reads handwritten digits. The artifact is written to
    demo-out/ in the current folder.

    \b
    Example:
      lutkan demo
    """  # noqa: D301
    from lutkan.adapters import import_model
    from lutkan.adapters.inspection import inspect_source

    checkpoint = example_path("digits.safetensors")
    data = _read(checkpoint)
    path = _place()
    net = import_model(checkpoint)
    before = float(np.mean(net.evaluate(data.X).argmax(axis=1) == data.labels))
    outcomes = []
    for spec in demo_specs():
        with working(f"compiling, verifying and running {spec}"):
            outcomes.append(_try(spec, net, data))
    _kept(outcomes).artifact.save(path)
    if as_json:
        print_json(_result(net, data, before, path, outcomes))
    else:
        print(_text(net, inspect_source(checkpoint), data, before, path, outcomes))
    different = [outcome.spec for outcome in outcomes if not outcome.same_bits]
    if different:
        raise VerificationError(
            f"the runtimes give different answers for {', '.join(different)} on this machine",
            "the same bits",
            "use --runtime reference, and report this with the output of lutkan doctor",
        )


def _read(checkpoint: Path) -> _Data:
    with np.load(example_path("digits_calibration.npz")) as file:
        calibration = file["X"]
    with np.load(example_path("digits_test.npz")) as file:
        return _Data(checkpoint.stat().st_size, calibration, file["X"], file["y"])


def _kept(outcomes: list[Outcome]) -> Outcome:
    """Return the outcome whose artifact is written: that of the default spec."""
    return next((outcome for outcome in outcomes if outcome.spec == DEFAULT_SPEC), outcomes[0])


def demo_specs() -> list[str]:
    """Return the specs that the demo compares: those of its list that this version knows."""
    return [spec for spec in _SPECS if spec in NAMED_SPECS]


def _place() -> Path:
    path = FOLDER / "digits.lutkan"
    try:
        FOLDER.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{FOLDER}: cannot be made here ({error.strerror})", fix="run it in another folder") from error
    require_place(path)
    return path


def _try(spec: str, net: Network, data: _Data) -> Outcome:
    from lutkan.api import compile
    from lutkan.verify import verify

    artifact = compile(net, spec, calibration=data.calibration)
    report = verify(artifact, net, data.X)
    missing = available_runtimes()
    models = {name: load(artifact, runtime=name) for name in RUNTIMES if not missing[name]}
    answers = [model.predict(data.X) for model in models.values()]
    return Outcome(
        spec=spec,
        artifact=artifact,
        report=report,
        accuracy=float(np.mean(answers[0].argmax(axis=1) == data.labels)),
        seconds={name: (time_a_row(model, data.X[:1]), time_a_row(model, data.X)) for name, model in models.items()},
        memory={name: model.info()["memory_bytes"] for name, model in models.items()},
        same_bits=all(np.array_equal(answer, answers[0]) for answer in answers[1:]),
    )


def time_a_row(model: Model, X: NDArray[Any]) -> float:
    """Return the median time of a call, in seconds a row; the first call is not counted."""
    model.predict(X)
    taken = []
    end = time.perf_counter() + _SECONDS_A_TIMING
    while len(taken) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        model.predict(X)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) / len(X)


def _result(net: Network, data: _Data, before: float, path: Path, outcomes: list[Outcome]) -> dict[str, Any]:
    return {
        "model": {
            "family": net.source.family,
            "in_features": net.in_features,
            "out_features": net.out_features,
            "edges": net.edges,
            "bytes": data.checkpoint_bytes,
            "accuracy": before,
        },
        "artifact": str(path),
        "specs": [
            {
                "spec": outcome.spec,
                "bytes": outcome.artifact.nbytes,
                "memory_bytes": outcome.memory,
                "rows": outcome.report.rows,
                "max_abs": outcome.report.max_abs,
                "mae": outcome.report.mae,
                "approximation": vars(outcome.report.approximation),
                "quantization": vars(outcome.report.quantization),
                "agreement": outcome.report.agreement,
                "accuracy": outcome.accuracy,
                "same_bits": outcome.same_bits,
                "seconds_a_row": {
                    name: {"one_at_a_time": one, "bulk": bulk} for name, (one, bulk) in outcome.seconds.items()
                },
            }
            for outcome in outcomes
        ],
    }


def _text(net: Network, found: Inspection, data: _Data, before: float, path: Path, outcomes: list[Outcome]) -> str:
    kept = _kept(outcomes)
    widths = " -> ".join(map(str, [net.in_features, *(layer.shape[1] for layer in net.layers)]))
    lines = [
        f"model      {found.origin}: {found.family}, {widths},",
        f"           {count(net.edges)} edges, {count(found.parameters)} parameters",
        f"layers     {found.layers[0].branches[0]}",
        f"compiled   to {' and '.join(outcome.spec for outcome in outcomes)},",
        f"           calibrated on {len(data.calibration)} training rows",
        f"checked    on {len(data.X)} test rows that neither training nor calibration saw",
        f"written    {path} ({kept.spec})",
        "",
        table(_rows(before, data.checkpoint_bytes, outcomes)),
        "",
    ]
    for outcome in outcomes:
        ratio = outcome.artifact.nbytes / data.checkpoint_bytes
        size = f"{ratio:.1f} times the bytes of" if ratio > 1 else f"{100 * ratio:.0f} % of the bytes of"
        lines.append(wrapped(f"{outcome.spec} takes {size} the checkpoint{_why(outcome.spec) if ratio > 1 else ''}."))
    lines.append(
        wrapped(
            f"Errors are differences of outputs that spread by {figure(kept.report.spread)}. "
            "Times are medians on this machine, one thread, first call not counted."
        )
    )
    lines += [
        "",
        f"Look inside it:   lutkan inspect {path}",
        "Your own model:   lutkan compile MODEL -o m.lutkan --calib X.npy",
    ]
    return "\n".join(lines)


def _why(spec: str) -> str:
    return ": it holds samples of the edge functions" if spec.startswith("segment") else ""


def _rows(before: float, checkpoint_bytes: int, outcomes: list[Outcome]) -> list[tuple[str, ...]]:
    """Return the table: a column for the checkpoint and one a spec."""
    reports = [outcome.report for outcome in outcomes]

    def errors(name: str, of: Callable[[ErrorFigures | VerifyReport], float]) -> list[tuple[str, ...]]:
        return [
            (name, "", *(figure(of(report)) for report in reports)),
            ("  by approximation", "", *(figure(of(report.approximation)) for report in reports)),
            ("  by quantization", "", *(figure(of(report.quantization)) for report in reports)),
        ]

    rows = [
        ("", "checkpoint", *(outcome.spec for outcome in outcomes)),
        ("bytes of the file", count(checkpoint_bytes), *(count(outcome.artifact.nbytes) for outcome in outcomes)),
        ("accuracy", f"{100 * before:.2f} %", *(f"{100 * outcome.accuracy:.2f} %" for outcome in outcomes)),
        ("same decision as the model", "", *(f"{100 * report.agreement:.2f} %" for report in reports)),
        *errors("error, largest", lambda of: of.max_abs),
        *errors("error, mean", lambda of: of.mae),
    ]
    batches = ("one at a time", f"{reports[0].rows} at once")
    for name in outcomes[0].seconds:
        rows.append((f"runtime {name}", "", *("" for _ in outcomes)))
        rows.append(("  bytes in memory", "", *(count(outcome.memory[name]) for outcome in outcomes)))
        for index, batch in enumerate(batches):
            times = (f"{figure_of_time(outcome.seconds[name][index])} us" for outcome in outcomes)
            rows.append((f"  time a row, {batch}", "", *times))
    if len(outcomes[0].seconds) > 1:
        rows.append(("same bits on all runtimes", "", *("yes" if outcome.same_bits else "NO" for outcome in outcomes)))
    return rows


def figure_of_time(seconds: float) -> str:
    """Write a time in microseconds, with two digits or more.

    Examples
    --------
    >>> figure_of_time(1.1598e-3), figure_of_time(13.41e-6), figure_of_time(0.134e-6)
    ('1,160', '13.4', '0.13')
    """
    micro = 1e6 * seconds
    return f"{micro:,.{0 if micro >= 100 else 1 if micro >= 10 else 2}f}"
