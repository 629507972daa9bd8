"""Printing: results to stdout; progress and notes to stderr, on a terminal only; complaints to stderr."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from lutkan.errors import LutkanError

__all__ = [
    "WIDTH",
    "complain",
    "count",
    "figure",
    "in_options",
    "note",
    "print_json",
    "progress",
    "table",
    "working",
    "wrapped",
]

#: Columns that every line of text keeps within.
WIDTH = 80


def complain(error: LutkanError) -> None:
    """Print an error to stderr: what was found, what is allowed, what to do, a line each."""
    lines = [f"error: {error.found}"]
    if error.allowed:
        lines.append(f"  allowed: {error.allowed}")
    if error.fix:
        lines.append(f"  fix: {error.fix}")
    print(in_options("\n".join(lines)), file=sys.stderr)


def in_options(text: str) -> str:
    """Say the arguments `config` and `family` of `import_model` as the options of the command line.

    Examples
    --------
    >>> in_options("pass config={'base_fun': ...}")
    'pass --set base_fun=VALUE (or --config FILE)'
    """
    text = re.sub(r"\bconfig=\{('[^{}]*)\}", _settings, text)
    text = re.sub(r"\bconfig=(?=[\s;]|$)", "--set or --config", text)
    return re.sub(r"\bfamily=(?=\s|$)", "--family", text)


def _settings(match: re.Match[str]) -> str:
    settings = []
    for pair in re.split(r", (?=')", match[1]):
        key, _, value = pair.partition(": ")
        name = key.strip("'")
        settings.append(f"--set {name}=VALUE" if value == "..." else f"--set '{name}={value}'")
    return f"{' '.join(settings)} (or --config FILE)"


def note(text: str) -> None:
    """Print a remark that is not a result to stderr, if someone is looking."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


def print_json(value: object) -> None:
    """Print a result for scripts."""
    print(json.dumps(value, indent=2))


def count(value: int) -> str:
    """Write an integer with separators.

    Examples
    --------
    >>> count(1802087)
    '1,802,087'
    """
    return f"{value:,}"


def figure(value: float) -> str:
    """Write a measured number with three digits.

    Examples
    --------
    >>> figure(0.0108154), figure(2.34e-5), figure(0.0)
    ('0.0108', '2.34e-05', '0')
    """
    return f"{value:.3g}"


def wrapped(text: str, indent: str = "") -> str:
    """Break a sentence into lines of at most `WIDTH` columns; further lines are indented two more."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(rows: Sequence[Sequence[str]], indent: str = "", *, right: bool = True) -> str:
    """Align cells in columns: the first to the left, the others to the right or, for words, to the left too.

    Examples
    --------
    >>> print(table([("", "max"), ("error", "0.01")]))
             max
    error   0.01
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        others = zip(row[1:], widths[1:], strict=True)
        cells = [row[0].ljust(widths[0]), *(f"{cell:{'>' if right else '<'}{width}}" for cell, width in others)]
        lines.append(indent + "   ".join(cells).rstrip())
    return "\n".join(lines)


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show that something goes on, while it does and if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


@contextmanager
def progress(text: str, total: int | None, *, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Show a bar of rows if stderr is a terminal; yields the function that takes the number of rows done since."""
    if not (shown and sys.stderr.isatty()):
        yield lambda rows: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=total)
        yield lambda rows: bar.update(task, advance=rows)
