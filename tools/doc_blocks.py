"""Run the code blocks of a Markdown page, and write what they print into the page.

Usage: python tools/doc_blocks.py PAGE... [--check]

A ``console`` block holds commands, each in a line that starts with ``$``, and what they print. A ``python`` block is
executed, all of a page in one namespace; a ``text`` block right behind it holds what it prints. Both run in an empty
folder with the project's ``examples/`` in it. Blocks of other languages are left alone.

With ``--check`` nothing is written: every line of the page has to come up in the real output, in order. Numbers are not
compared, since times and last digits differ from machine to machine, and the real output may have more lines (a machine
may have more runtimes).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md",
    "docs/tutorial.md",
    *(f"docs/how-to/{p.name}" for p in sorted((ROOT / "docs/how-to").glob("*.md"))),
)
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"\d[\d,]*(\.\d+)?(e[+-]?\d+)?")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and where that text stands in the page."""

    language: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Output:
    """What a page says is printed, what is printed, and where the page says it."""

    where: str
    said: str
    printed: str
    start: int
    end: int


def blocks(page: str) -> list[Block]:
    """Find the fenced blocks of a page."""
    return [Block(found[1], found[2], found.start(2), found.end(2)) for found in _FENCE.finditer(page)]


def run_page(page: str) -> Iterator[Output]:
    """Run the blocks of a page in order.

    Raises
    ------
    RuntimeError
        A command or a Python block fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "examples").symlink_to(ROOT / "examples")
        namespace: dict[str, Any] = {"__name__": "page"}
        found = blocks(page)
        for index, block in enumerate(found):
            if block.language == "console":
                yield from _run_console(block, here)
            elif block.language == "python":
                printed = _run_python(block, here, namespace)
                after = found[index + 1] if index + 1 < len(found) else None
                if after is not None and after.language == "text" and page[block.end : after.start].count("\n") <= 3:
                    yield Output(block.text, after.text, printed, after.start, after.end)


def _run_console(block: Block, folder: Path) -> Iterator[Output]:
    lines = block.text.splitlines(keepends=True)
    position, index = block.start, 0
    while index < len(lines):
        command = lines[index]
        position += len(command)
        index += 1
        if not command.startswith("$ "):
            raise RuntimeError(f"a line of output without a command: {command!r}")
        while command.endswith("\\\n"):
            command += lines[index]
            position += len(lines[index])
            index += 1
        said = ""
        while index < len(lines) and not lines[index].startswith("$ "):
            said += lines[index]
            index += 1
        yield Output(
            command[2:].strip(), said, _run_command(command[2:].strip(), folder), position, position + len(said)
        )
        position += len(said)


def _run_command(command: str, folder: Path) -> str:
    """Run a command in a shell that finds this interpreter's `lutkan`; `make demo` is `lutkan demo`."""
    tools = folder / ".tools"
    if not tools.is_dir():
        tools.mkdir()
        script = tools / "lutkan"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lutkan "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    script = "lutkan demo" if command == "make demo" else command
    result = subprocess.run(
        ["sh", "-c", script], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    # A page may show how an error looks: its commands then end with "|| true".
    if result.returncode != 0:
        raise RuntimeError(f"{command} ends with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result.stdout + result.stderr


def _run_python(block: Block, folder: Path, namespace: dict[str, Any]) -> str:
    printed = io.StringIO()
    before = Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(printed):
            # A block is a program of its own: the future imports of this file do not apply to it.
            exec(compile(block.text, "<page>", "exec", dont_inherit=True), namespace)
    finally:
        os.chdir(before)
    return printed.getvalue()


def missing_line(said: str, printed: str) -> str | None:
    """Return the first line of the page that does not come up in the real output, or None."""
    lines = iter([_masked(line) for line in printed.splitlines()])
    for line in said.splitlines():
        if line.strip() and _masked(line) not in lines:
            return line
    return None


def _masked(line: str) -> str:
    return " ".join(_NUMBER.sub("#", line).split())


def rewritten(page: str) -> str:
    """Return the page with the real output in it."""
    for output in reversed(list(run_page(page))):
        printed = output.printed if output.printed.endswith("\n") or not output.printed else output.printed + "\n"
        page = page[: output.start] + printed + page[output.end :]
    return page


def main() -> int:
    """Rewrite or check the pages named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", default=PAGES)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    options = parser.parse_args()
    stale = 0
    for name in options.pages:
        path = ROOT / name
        page = path.read_text(encoding="utf-8")
        if not options.check:
            path.write_text(rewritten(page), encoding="utf-8")
            continue
        for output in run_page(page):
            line = missing_line(output.said, output.printed)
            if line is not None:
                stale = 1
                sys.stdout.write(f"{name}: {output.where!r} does not print {line!r}\n")
    return stale


if __name__ == "__main__":
    sys.exit(main())
