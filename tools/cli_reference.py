"""Write docs/reference/cli.md: the commands, from their own declarations.

Usage: python tools/cli_reference.py [--check]

The declarations are what ``--help`` prints from. The printed help is not copied: its form depends on typer's version.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from lutkan.cli.app import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"

HEAD = """\
# The command line

<!-- Written by tools/cli_reference.py from src/lutkan/cli: change that, not this page. -->

`lutkan VERB ...`, or `python -m lutkan VERB ...`. Every verb prints its options with `--help`.

* Results go to stdout. Progress and remarks go to stderr, and only if that is a terminal. `--json` prints the results
  for scripts.
* Exit code 0: done. 1: bad input or a limit that was missed, with one message on stderr that says what was found, what
  is allowed and what to do. 2: wrong usage. 130: interrupted.
* Output files appear whole or not at all.
"""


def page() -> str:
    """Return the whole page."""
    group: Any = typer.main.get_command(app)
    return "\n".join([HEAD, *(section(name, command) for name, command in verbs(group))])


def verbs(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the verbs by their whole names, those of a group after each other."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from verbs(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def section(name: str, command: Any) -> str:
    """Return the section of one verb: what it does, an example, its arguments and options."""
    text, _, example = inspect.cleandoc(command.help).partition("\b\nExample:\n")
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join(["lutkan", name, *(p.metavar for p in arguments), "[OPTIONS]"])
    lines = [
        f"## lutkan {name}",
        "",
        *text.strip().splitlines(),
        "",
        "```sh",
        textwrap.dedent(example).strip(),
        "```",
        "",
    ]
    lines += [f"Usage: `{usage}`", "", "| | |", "|---|---|"]
    for parameter in command.params:
        lines.append(f"| {_names(parameter)} | {_meaning(parameter)} |")
    return "\n".join(lines) + "\n"


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar}`"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts[::-1], *parameter.secondary_opts))
    return f"{names} `{parameter.metavar}`" if parameter.metavar else names


def _meaning(parameter: Any) -> str:
    text = parameter.help.replace("|", "\\|")
    default = getattr(parameter.default, "value", parameter.default)
    if default is None or isinstance(default, bool) or default is ... or parameter.required:
        return text
    return f"{text} Default: `{default}`."


def main() -> int:
    """Write the page, or with --check tell whether the committed one is current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is out of date")
    if parser.parse_args().check:
        return int(not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
