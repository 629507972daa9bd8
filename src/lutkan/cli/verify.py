"""`lutkan verify`: an artifact against its model, or against its own golden vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lutkan.artifact import Artifact
from lutkan.cli.options import (
    AsJson,
    Config,
    Drop,
    Family,
    Header,
    Runtime,
    Settings,
    import_checkpoint,
    open_artifact,
    split_names,
)
from lutkan.cli.rows import read_rows
from lutkan.cli.terminal import count, figure, print_json, table, working, wrapped
from lutkan.errors import InputError, VerificationError
from lutkan.runtimes import load
from lutkan.runtimes.model import RUNTIMES, available_runtimes
from lutkan.verify import VerifyReport

__all__ = ["error_table", "verify"]


def verify(
    artifact: Annotated[str, typer.Argument(metavar="ART", help="The artifact.", show_default=False)],
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="The checkpoint it was compiled from.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Rows to compare on: .npy, .npz, .csv, .tsv or .parquet.",
            show_default=False,
        ),
    ] = None,
    max_abs: Annotated[
        float | None, typer.Option("--max-abs", metavar="E", help="Fail if an error is larger.", min=0.0)
    ] = None,
    mae: Annotated[
        float | None, typer.Option("--mae", metavar="E", help="Fail if the mean error is larger.", min=0.0)
    ] = None,
    agreement: Annotated[
        float | None,
        typer.Option("--agreement", metavar="S", help="Fail if fewer decisions are equal (0..1).", min=0.0, max=1.0),
    ] = None,
    runtime: Runtime = "auto",
    family: Family = None,
    config: Config = None,
    settings: Settings = None,
    header: Header = None,
    drop: Drop = None,
    as_json: AsJson = False,
) -> None:
    """Measure how far an artifact is from its model, and where.

    The error is split: approximation is what the tables would do without rounding, quantization is what rounding
    adds. Without --model and --data the artifact's own golden vectors are replayed on every runtime, bit for bit.
    The exit code is 1 if a limit is exceeded or a bit differs.

    \b
    Example:
      lutkan verify m.lutkan --model model.safetensors --data test.npy \\
          --max-abs 0.05
    """  # noqa: D301
    from lutkan.verify import verify as measure

    opened = open_artifact(artifact)
    if model is None and data is None:
        if any(limit is not None for limit in (max_abs, mae, agreement)):
            raise InputError(
                "--max-abs, --mae or --agreement without --model and --data",
                fix="pass both: they say what to compare with",
            )
        _replay(opened, runtime, as_json)
        return
    if model is None or data is None:
        given, absent = ("--model", "--data") if data is None else ("--data", "--model")
        raise InputError(f"{given} without {absent}", fix="pass both, or neither to replay the golden vectors")
    net = import_checkpoint(model, family, config, settings)
    rows = read_rows(data, width=net.in_features, what="verification", header=header, drop=split_names(drop))
    with working("comparing"):
        report = measure(opened, net, rows, runtime=runtime)
    if as_json:
        print_json(report.to_json())
    else:
        print(_text(report))
    try:
        report.raise_if(max_abs=max_abs, mae=mae, agreement=agreement)
    except VerificationError as error:
        fix = "compile with another --spec; the layers above show which one to blame"
        raise VerificationError(error.found, error.allowed, fix) from error


def _replay(artifact: Artifact, runtime: str, as_json: bool) -> None:
    """Replay the golden vectors on one runtime, or on all that work here."""
    missing = available_runtimes()
    names = [name for name in RUNTIMES if not missing[name]] if runtime == "auto" else [runtime]
    with working("replaying the golden vectors"):
        for name in names:
            load(artifact, runtime=name, self_test=True)
    rows = 0 if artifact.golden_x is None else len(artifact.golden_x)
    if as_json:
        print_json({"golden_rows": rows, "mismatches": 0, "runtimes": names})
    else:
        print(f"verified {rows} golden rows: 0 mismatches on {', '.join(names)}")


def error_table(report: VerifyReport) -> list[tuple[str, str, str]]:
    """Return name, largest and mean of the error and of its two parts."""
    return [
        ("error against the model", figure(report.max_abs), figure(report.mae)),
        ("  approximation", figure(report.approximation.max_abs), figure(report.approximation.mae)),
        ("  quantization", figure(report.quantization.max_abs), figure(report.quantization.mae)),
    ]


def _text(report: VerifyReport) -> str:
    lines = [table([("", "max", "mean"), *error_table(report)])]
    lines.append(
        wrapped(
            f"the model's outputs spread by {figure(report.spread)}; the largest error is at row {report.worst_row}, "
            f"output {report.worst_output}"
        )
    )
    rows = [("layer, fed the model's own inputs", "max", "approx.", "quant.", "outside")]
    rows += [
        (
            f"  {layer.name or f'step {layer.step}'}",
            figure(layer.total.max_abs),
            figure(layer.approximation.max_abs),
            figure(layer.quantization.max_abs),
            f"{100 * layer.outside_share:.1f} %",
        )
        for layer in report.layers
    ]
    lines += ["", table(rows)]
    if report.worst_edge is not None:
        edge = report.worst_edge
        lines.append(
            wrapped(
                f"worst edge: step {edge.layer}, {edge.source} -> {edge.target} at x = {figure(edge.x)}: "
                f"model {edge.model:.6g}, artifact {edge.artifact:.6g}"
            )
        )
    if report.non_finite_rows:
        lines.append(wrapped(f"{report.non_finite_rows} rows are not finite in the model and were left out"))
    lines += [
        "",
        f"verified {count(report.rows)} rows: max error {figure(report.max_abs)}, mean {figure(report.mae)}, "
        f"equal decisions {100 * report.agreement:.2f} %",
    ]
    return "\n".join(lines)
