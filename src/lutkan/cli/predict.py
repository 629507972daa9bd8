"""`lutkan predict`: a file of rows in, a file of predictions out."""

from __future__ import annotations

import time
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lutkan.cli.options import AsJson, Drop, Header, Runtime, open_artifact, split_names
from lutkan.cli.rows import open_rows, write_rows
from lutkan.cli.terminal import count, note, print_json, progress
from lutkan.errors import InputError

__all__ = ["NanPolicy", "predict"]


class NanPolicy(str, Enum):
    """What a NaN in the input does."""

    error = "error"
    propagate = "propagate"


def predict(
    artifact: Annotated[str, typer.Argument(metavar="ART", help="The artifact.", show_default=False)],
    rows: Annotated[
        Path, typer.Argument(metavar="IN", help="Rows: .npy, .npz, .csv, .tsv or .parquet.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Where the predictions go: .npy, .csv, .tsv or .parquet. Default: to stdout, as CSV.",
            show_default=False,
        ),
    ] = None,
    runtime: Runtime = "auto",
    threads: Annotated[
        int, typer.Option("--threads", metavar="N", min=1, max=256, help="Threads that share the rows.")
    ] = 1,
    nan: Annotated[
        NanPolicy,
        typer.Option(
            "--nan",
            metavar="error|propagate",
            help="What a NaN or an empty cell does: end with an error, or answer NaN.",
        ),
    ] = NanPolicy.error,
    header: Header = None,
    drop: Drop = None,
    as_json: AsJson = False,
) -> None:
    """Predict the rows of a file with an artifact.

    Files are read and written in chunks, so they may be larger than the memory (.npz is read whole). The output
    appears whole or not at all. Text and Parquet output has the columns y0, y1, ...; nine digits of text give the
    float32 value back.

    \b
    Example:
      lutkan predict m.lutkan rows.csv -o predictions.parquet --drop id,label
    """  # noqa: D301
    from lutkan.runtimes import load

    if as_json and output is None:
        raise InputError("--json without -o: predictions and JSON cannot share stdout", fix="pass -o OUT")
    started = time.perf_counter()
    model = load(open_artifact(artifact), runtime=runtime, threads=threads, nan=nan.value)
    file = open_rows(rows, width=model.in_features, header=header, drop=split_names(drop))
    done = 0
    fix = "clean the rows, or pass --nan propagate to answer NaN for them"
    bar = progress("predicting", file.count, shown=output is not None)  # a bar would run through rows on stdout
    with write_rows(output, model.out_features) as write, bar as advance:
        for chunk in file.chunks(allow_nan=nan is NanPolicy.propagate, fix=fix):
            write(model.predict(chunk.values))
            done += len(chunk.values)
            advance(len(chunk.values))
    seconds = time.perf_counter() - started
    info = model.info()
    if as_json:
        print_json(
            {
                "rows": done,
                "outputs": model.out_features,
                "output": str(output),
                "runtime": info["runtime"],
                "threads": info["threads"],
                "seconds": round(seconds, 6),
            }
        )
    elif output is not None:
        note(f"{output}: {count(done)} rows of {model.out_features} outputs ({info['runtime']}, {seconds:.2f} s)")
