"""`lutkan lab quant`: quantization methods compared on trained networks."""

from __future__ import annotations

from typing import Annotated

import typer

from lutkan.cli.lab import Again, Output, OverRay, Quick, Workers, advancing, result_file
from lutkan.cli.options import AsJson, split_names
from lutkan.cli.terminal import note, print_json

__all__ = ["quant"]


def quant(
    output: Output = None,
    data: Annotated[
        str, typer.Option("--data", metavar="NAMES", help="digits, mnist, or both, separated by commas.")
    ] = "digits",
    families: Annotated[
        str | None,
        typer.Option("--families", metavar="NAMES", help="Some of the families, separated by commas."),
    ] = None,
    rows: Annotated[
        str | None, typer.Option("--rows", metavar="NAMES", help="Some of w8a8, w4a4, w3a3, w2a8, w2a2.")
    ] = None,
    methods: Annotated[str | None, typer.Option("--methods", metavar="NAMES", help="Some of the methods.")] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=100, help="Seeds of digits: 0, 1, ...")] = 5,
    workers: Workers = 1,
    ray: OverRay = False,
    quick: Quick = False,
    again: Again = False,
    as_json: AsJson = False,
) -> None:
    """Compare methods of quantization, with and without training.

    Networks of four families are trained once and kept; every method quantizes them, and the integer artifact answers
    the test rows. Prints the page, with what was asked of the figures, met or missed. Needs torch and scikit-learn;
    digits take about 25 minutes on one core.

    \b
    Example:
      lutkan lab quant -o quant.jsonl --families gram --rows w2a2 --methods auto,quantkan-gptq,dsq
    """  # noqa: D301
    from lutkan.lab import quant as experiment
    from lutkan.lab.pages import page

    target = result_file(output, "quant")
    chosen = [
        cell
        for name in split_names(data)
        for cell in experiment.cells(
            name,
            split_names(families) or (("gram",) if quick else None),
            range(1 if quick else seeds) if name == "digits" else None,
            split_names(rows) or (("w3a3",) if quick else None),
            split_names(methods) or (("auto", "quantkan-uniform", "dsq") if quick else None),
        )
    ]
    with advancing("quantizing", len(chosen)) as on_cell:
        run = experiment.run_quant(target, chosen, quick=quick, workers=workers, ray=ray, again=again, on_cell=on_cell)
    if as_json:
        print_json({**run.manifest, "results": run.cells})
    else:
        print(page(run))
    note(f"wrote {target}")
