"""A report: sections of plots and tables, written as one self-contained HTML page or as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lutkan._version import __version__
from lutkan.errors import RuntimeUnavailableError
from lutkan.report.plots import Key, Plot
from lutkan.report.tables import Table, divided, markdown

__all__ = ["Part", "Report", "Section", "html", "manifest_lines", "markdown_page"]

_TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True)
class Part:
    """One question and its answer: plots, and the tables that they were drawn from.

    Attributes
    ----------
    title : str
    text : str
        A sentence or two for the reader.
    plots : tuple of Plot
    tables : tuple of Table
    missing : str
        Why a plot that belongs here is not there; empty if all are.
    """

    title: str
    text: str = ""
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    missing: str = ""


@dataclass(frozen=True)
class Section:
    """One result file.

    Attributes
    ----------
    name : str
        Unique within a report; links lead there.
    title : str
    source : str
        File that the section shows.
    parts : tuple of Part
    notes : tuple of str
    manifest : tuple of (str, str)
        How it was measured, a line each.
    """

    name: str
    title: str
    source: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()
    manifest: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Report:
    """All sections, and what no file told.

    Attributes
    ----------
    title : str
    sections : tuple of Section
    absent : tuple of (str, str)
        Experiment without a result file, and the command that makes one.
    """

    title: str
    sections: tuple[Section, ...]
    absent: tuple[tuple[str, str], ...] = ()

    @property
    def plots(self) -> tuple[Plot, ...]:
        """All plots, in order."""
        return tuple(plot for section in self.sections for part in section.parts for plot in part.plots)

    @property
    def tables(self) -> tuple[Table, ...]:
        """All tables, in order."""
        return tuple(table for section in self.sections for part in section.parts for table in part.tables)

    @property
    def missing(self) -> tuple[str, ...]:
        """What belongs into a report and is not in this one, a line each."""
        found = [
            f"{section.title}: {part.title}: {part.missing}"
            for section in self.sections
            for part in section.parts
            if part.missing
        ]
        return tuple(found + [f"{title}: no result file; {command} makes one" for title, command in self.absent])


def html(report: Report) -> str:
    """Write a report as one HTML page that needs nothing beside it.

    Raises
    ------
    RuntimeUnavailableError
        Jinja2 is not installed.

    Examples
    --------
    >>> "<h1>Results</h1>" in html(Report("Results", ()))
    True
    """
    try:
        import jinja2
    except ImportError as error:
        raise RuntimeUnavailableError(
            "HTML pages need jinja2", fix="pip install 'lutkan[report]', or write .md or .csv"
        ) from error
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(report=report, version=__version__, key_path=_key_path, divided=divided)


# Shapes of a legend, on a field of 14 by 14.
_KEY_PATHS = {
    "o": "M7 3.5a3.5 3.5 0 1 0 .01 0z",
    "s": "M4 4h6v6H4z",
    "^": "M7 3 11 10.5H3z",
    "D": "M7 2.5 11.5 7 7 11.5 2.5 7z",
    "v": "M7 11 3 3.5h8z",
    "P": "M5.5 3h3v2.5H11v3H8.5V11h-3V8.5H3v-3h2.5z",
    "X": "M3 5 5 3l2 2 2-2 2 2-2 2 2 2-2 2-2-2-2 2-2-2 2-2z",
    "*": "M7 2l1.3 3.3 3.5.2-2.7 2.2.9 3.5-3-1.9-3 1.9.9-3.5L2.2 5.5l3.5-.2z",
    "line": "M0 6h14v2.4H0z",
    "patch": "M1 2h12v10H1z",
}


def _key_path(key: Key) -> str:
    return _KEY_PATHS[key.shape]


def markdown_page(report: Report) -> str:
    """Write the tables of a report as Markdown; plots are left to HTML.

    Examples
    --------
    >>> print(markdown_page(Report("Results", ())), end="")
    # Results
    """
    blocks = [f"# {report.title}"]
    for section in report.sections:
        blocks.append(f"## {section.title}")
        blocks += [f"{note}" for note in section.notes]
        for part in section.parts:
            if not (part.tables or part.missing or part.text):
                continue
            blocks.append(f"### {part.title}")
            if part.text:
                blocks.append(part.text)
            for table in (narrow for wide in part.tables for narrow in divided(wide)):
                if table.title and table.title != part.title:
                    blocks.append(f"{table.title}:")
                blocks.append(markdown(table))
                if table.note:
                    blocks.append(table.note)
            if part.missing:
                blocks.append(f"Not here: {part.missing}.")
        if section.manifest:
            blocks.append("### How this was measured")
            blocks.append("\n".join(f"- {name}: {text}" for name, text in section.manifest))
    if report.absent:
        blocks.append("## Not in this report")
        blocks.append(
            "\n".join(f"- {title}: no result file; `{command}` makes one" for title, command in report.absent)
        )
    return "\n\n".join(blocks) + "\n"


def manifest_lines(source: str, manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Describe how something was measured: machine, versions, seeds, command; what the file does not tell is named.

    Examples
    --------
    >>> manifest_lines("a.jsonl", {"command": "lutkan lab memory", "seeds": [0, 1]})[1]
    ('command', 'lutkan lab memory')
    """
    machine = manifest.get("machine") or manifest.get("made_with")
    machine = machine if isinstance(machine, Mapping) else {}
    lines: list[tuple[str, str]] = [("file", source)]
    silent = []

    def tell(name: str, text: object) -> None:
        if text is None or text == "":
            silent.append(name)
        else:
            lines.append((name, str(text)))

    tell("command", manifest.get("command"))
    tell("date", manifest.get("date"))
    tell("seeds", _listed(manifest.get("seeds")))
    tell("processor", _processor(machine))
    tell("system", machine.get("platform"))
    tell("versions", _versions(machine))
    tell("code", _code(machine))
    if manifest.get("pinned") or manifest.get("workers"):
        lines.append(("placed", _placed(manifest)))
    parameters = manifest.get("parameters")
    if isinstance(parameters, Mapping) and parameters:
        lines.append(("parameters", ", ".join(f"{key} {_listed(value)}" for key, value in parameters.items())))
    if silent:
        lines.append(("not told by the file", ", ".join(silent)))
    return tuple(lines)


def _listed(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_listed(inner)}" for key, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_listed, value))
    return "" if value is None else str(value)


def _processor(machine: Mapping[str, Any]) -> str:
    if not machine.get("cpu"):
        return ""
    caches = machine.get("caches") or {}
    parts = [
        str(machine["cpu"]),
        " ".join(machine.get("isa_flags") or ()),
        ", ".join(f"{name} {size // 1024:,} KB" for name, size in caches.items() if isinstance(size, int)),
        f"{machine['cores']} cores" if machine.get("cores") else "",
    ]
    return "; ".join(part for part in parts if part)


def _versions(machine: Mapping[str, Any]) -> str:
    packages = machine.get("packages")
    found = dict(packages) if isinstance(packages, Mapping) else {}
    if not found:  # older files hold them beside the rest
        found = {name: machine[name] for name in ("numpy", "torch", "scikit-learn") if machine.get(name)}
    named = [f"{name} {version}" for name, version in found.items() if version]
    return ", ".join(([f"Python {machine['python']}"] if machine.get("python") else []) + named)


def _code(machine: Mapping[str, Any]) -> str:
    if not machine.get("lutkan"):
        return ""
    commit = machine.get("commit")
    at = f", commit {str(commit)[:12]}" if commit else ""
    return f"lutkan {machine['lutkan']}{at}{' with local changes' if machine.get('dirty') else ''}"


def _placed(manifest: Mapping[str, Any]) -> str:
    pinned = manifest.get("pinned")
    core = pinned.get("core") if isinstance(pinned, Mapping) else None
    workers = manifest.get("workers") or 1
    if workers == 1:
        return "one thread" + ("" if core is None else f" on core {core}")
    return f"{workers} processes of one thread"
