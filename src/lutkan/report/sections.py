"""What a report shows of each experiment: which plots, over which tables, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lutkan.artifact import Artifact
from lutkan.ir import Network
from lutkan.report import benchmarks, experiments
from lutkan.report.dos import dos_parts
from lutkan.report.edges import EdgeCurve, asked_edges, edge_curve
from lutkan.report.load import EDGES, EXPERIMENTS, Cell, Result
from lutkan.report.page import Part, Report, Section, manifest_lines
from lutkan.report.parts import in_words, mapping, plural
from lutkan.report.plots import edge_plot
from lutkan.report.quant import quant_parts
from lutkan.report.tables import Table, number

__all__ = ["edge_section", "make_report"]

# In the order of a report.
_BUILDERS: dict[str, Callable[[Result], Sequence[Part | None]]] = {
    **experiments.BUILDERS,
    "dos": dos_parts,
    "quant": quant_parts,
    **benchmarks.BUILDERS,
}
_EDGES_COMMAND = "lutkan report --artifact ART --model MODEL --edges 0:0:0 -o edges.html"


def make_report(results: Sequence[Result], further: Sequence[Section] = (), title: str = "Results") -> Report:
    """Build a report from result files.

    Parameters
    ----------
    results : sequence of Result
    further : sequence of Section
        Sections that are there already, such as that of `edge_section`.
    title : str

    Examples
    --------
    >>> make_report([]).absent[1]
    ('Inputs beyond the grid', 'lutkan lab oob')
    """
    order = list(_BUILDERS)
    shown = sorted((one for one in results if one.experiment in order), key=lambda one: order.index(one.experiment))
    sections = []
    for place, result in enumerate(shown):
        several = sum(other.experiment == result.experiment for other in shown) > 1
        name = f"{result.experiment}-{place}" if several else result.experiment
        heading = f"{result.title} ({result.source})" if several else result.title
        parts = tuple(_of_section(part, name) for part in _BUILDERS[result.experiment](result) if part is not None)
        lines = manifest_lines(result.source, result.manifest)
        sections.append(Section(name, heading, result.source, parts, result.notes, lines))
    there = {one.experiment for one in results} | {section.name for section in further}
    absent = [(about, f"lutkan lab {name}") for name, about in EXPERIMENTS.items() if name not in there]
    absent += [(about, _EDGES_COMMAND) for name, about in EDGES.items() if name not in there]
    return Report(title, (*sections, *further), tuple(absent))


def _of_section(part: Part, section: str) -> Part:
    """Make the names of a part's plots unique within the report; a part that shows nothing says so."""
    if not (part.plots or part.tables or part.missing):
        return replace(part, text="", missing="no cell tells of it")
    return replace(part, plots=tuple(replace(plot, name=f"{section}-{plot.name}") for plot in part.plots))


def edge_section(artifact: Artifact, net: Network, edges: str | None, source: str) -> tuple[Result, Section]:
    """Build the section of edge functions, and the same as a result for CSV.

    Parameters
    ----------
    artifact : Artifact
    net : Network
        The network that the artifact was compiled from.
    edges : str or None
        "layer:source:target", separated by commas; without, the two of every layer that differ most from the model.
    source : str
        Name of the artifact's file.

    Raises
    ------
    InputError
        No such edge.
    VerificationError
        The artifact does not belong to the network.

    Examples
    --------
    >>> import lutkan
    >>> net = lutkan.import_model({"cheby_coeffs": np.ones((2, 1, 3), dtype=np.float32)})
    >>> result, section = edge_section(lutkan.compile(net, "segment-int8-L64"), net, "0:1:0", "m.lutkan")
    >>> section.parts[0].plots[0].name
    'edges-0-1-0'
    """
    found = [edge_curve(artifact, net, edge) for edge in asked_edges(edges, artifact, net)]
    cells = tuple(_edge_cell(curve) for curve in found)
    plots = []
    for curve in found:
        edge = curve.edge
        plots.append(
            edge_plot(
                f"edges-{edge.layer}-{edge.source}-{edge.target}",
                f"Layer {edge.layer} ({curve.name}), input {edge.source} to output {edge.target}",
                curve.x,
                curve.model,
                curve.artifact,
                curve.inside,
                caption="A LayerNorm stands before this edge: its input is what comes out of it."
                if curve.after_norm
                else "",
            )
        )
    head = ("edge", "layer", "covers", "largest error", "mean error", "largest beyond", "largest value")
    rows = tuple(
        (
            str(curve.edge),
            curve.name,
            f"{curve.inside[0]:.4g} to {curve.inside[1]:.4g}",
            *(number(cell.values[name]) for name in ("max_error", "mean_error", "max_error_beyond", "max_value")),
        )
        for curve, cell in zip(found, cells, strict=True)
    )
    chosen = "The two edges of every layer that differ most from the model. " if edges is None else ""
    text = f"{chosen}The model in float64, the artifact by its reference runtime. Shaded: beyond the tables."
    part = Part("Model and artifact", text, tuple(plots), (Table("Model and artifact", head, rows, 2),))
    rows_seen = mapping(artifact.info.get("calibration")).get("rows")
    lines = (
        ("file", source),
        ("content id", artifact.content_id),
        ("from", f"{net.source.family}, {net.edges:,} edges"),
        ("spec", _spec_text(artifact.info.get("spec"))),
        ("calibration", plural(rows_seen, "row") if isinstance(rows_seen, int) else "unknown"),
        ("bytes", f"{artifact.nbytes:,}"),
    )
    result = Result(source, "edges", dict(lines), cells)
    return result, Section("edges", EDGES["edges"], source, (part,), (), lines)


def _spec_text(spec: Any) -> str:
    """Write what layers were compiled to: the settings that were made, and how many layers differ."""
    data = mapping(mapping(spec).get("data"))
    default = mapping(data.get("default"))
    settings = mapping(default.get("data")).items()
    told = [f"{in_words(name)} {value}" for name, value in settings if isinstance(value, int | float | str)]
    overrides = data.get("overrides")
    told += [plural(len(overrides), "override")] if isinstance(overrides, list) and overrides else []
    return f"{default.get('type', 'unknown')}: {', '.join(told)}"


def _edge_cell(curve: EdgeCurve) -> Cell:
    inside = (curve.x >= curve.inside[0]) & (curve.x <= curve.inside[1])
    size = np.abs(curve.error)
    edge = curve.edge
    return Cell(
        {"layer": edge.layer, "source": edge.source, "target": edge.target},
        {
            "low": curve.inside[0],
            "high": curve.inside[1],
            "max_error": float(size[inside].max()),
            "mean_error": float(size[inside].mean()),
            "max_error_beyond": float(size[~inside].max()),
            "max_value": float(np.abs(curve.model[inside]).max()),
        },
    )
