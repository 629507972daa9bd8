"""`lutkan report`: result files in; a page, Markdown or CSV out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from lutkan.cli.options import AsJson, Config, Family, Settings, import_checkpoint, open_artifact
from lutkan.cli.rows import require_place
from lutkan.cli.terminal import count, print_json, working, wrapped
from lutkan.errors import InputError
from lutkan.report.load import Result, read_results
from lutkan.report.page import Report, html, markdown_page
from lutkan.report.parts import plural
from lutkan.report.sections import edge_section, make_report
from lutkan.report.tables import csv_text

__all__ = ["report"]

_FORMS = (".html", ".md", ".csv")


def report(
    results: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RESULTS...", help="Result files of `lutkan lab` and of benchmarks/.", show_default=False
        ),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="What to write: .html (plots and tables, one file), .md (tables) or .csv (every cell). "
            "May be repeated.",
            show_default=False,
        ),
    ] = None,
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="Title of the page.")] = "Results",
    artifact: Annotated[
        str | None,
        typer.Option("--artifact", metavar="ART", help="Show edge functions of this artifact.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="The checkpoint it was compiled from.", show_default=False),
    ] = None,
    edges: Annotated[
        str | None,
        typer.Option(
            "--edges",
            metavar="L:I:J,...",
            help="Edges to show: KAN layer, input, output, each from 0. Default: the two of every layer that differ "
            "most from the model.",
            show_default=False,
        ),
    ] = None,
    family: Family = None,
    config: Config = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Turn result files into a page, tables or CSV.

    The page needs nothing beside it: plots are part of it. Experiments that no file tells of are named in it, and so
    are plots that a file has no figures for.

    \b
    Example:
      lutkan report sweep.jsonl memory.jsonl -o report.html -o report.csv
      lutkan report --artifact m.lutkan --model model.safetensors \\
          --edges 0:3:5 -o edges.html
    """  # noqa: D301
    outputs = _outputs(output)
    read = [read_results(path) for path in dict.fromkeys(results or ())]
    sections = []
    if artifact is None:
        if model is not None or edges is not None or family is not None or config is not None or settings:
            raise InputError(
                "--model, --edges, --family, --config or --set without --artifact", fix="pass --artifact too"
            )
        if not read:
            raise InputError("no result file and no --artifact", "at least one of them", "lutkan report --help")
    else:
        if model is None:
            raise InputError("--artifact without --model", fix="pass the checkpoint that it was compiled from")
        with working("comparing edges"):
            net = import_checkpoint(model, family, config, settings)
            found, section = edge_section(open_artifact(artifact), net, edges, Path(artifact).name)
        read.append(found)
        sections.append(section)
    with working("drawing"):
        page = make_report(read, sections, title)
        written = [(path, _write(path, _text(path, page, read))) for path in outputs]
    if as_json:
        print_json(_told(page, written))
        return
    for path, size in written:
        shown = f"{plural(len(page.plots), 'plot')}, " if path.suffix == ".html" else ""
        cells = sum(len(one.cells) for one in read)
        what = plural(cells, "cell") if path.suffix == ".csv" else plural(len(page.tables), "table")
        print(f"{path}: {shown}{what}, {count(size)} bytes")
    if page.missing and any(path.suffix != ".csv" for path in outputs):
        print("not in it")
        for line in page.missing:
            print(wrapped(line, "  "))


def _outputs(output: Sequence[Path] | None) -> list[Path]:
    if not output:
        raise InputError("no -o FILE", f"a file that ends in {', '.join(_FORMS)}", "such as -o report.html")
    for path in output:
        if path.suffix not in _FORMS:
            raise InputError(f"-o {path}: unknown kind of file {path.suffix!r}", ", ".join(_FORMS))
        require_place(path)
    return list(dict.fromkeys(output))


def _text(path: Path, page: Report, results: Sequence[Result]) -> str:
    writers: dict[str, Callable[[], str]] = {
        ".html": lambda: html(page),
        ".md": lambda: markdown_page(page),
        ".csv": lambda: csv_text(results),
    }
    return writers[path.suffix]()


def _write(path: Path, text: str) -> int:
    """Write a file, at once or not at all; return its size."""
    data = text.encode("utf-8")
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error})", fix="choose another place"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return len(data)


def _told(page: Report, written: Sequence[tuple[Path, int]]) -> dict[str, object]:
    return {
        "files": [{"path": str(path), "bytes": size} for path, size in written],
        "plots": [plot.name for plot in page.plots],
        "tables": len(page.tables),
        "missing": list(page.missing),
    }
