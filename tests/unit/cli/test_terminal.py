"""Printing helpers: notes, bars and spinners on a terminal only."""

from __future__ import annotations

import io

import pytest

from lutkan.cli import terminal
from lutkan.cli.terminal import WIDTH, in_options, note, progress, table, working, wrapped


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stderr", [Terminal(), io.StringIO()], ids=["terminal", "pipe"])
def test_notes_bars_and_spinners_are_for_terminals(stderr, monkeypatch):
    monkeypatch.setattr(terminal.sys, "stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    note("done")
    with working("working"):
        pass
    with progress("counting", 10) as advance:
        advance(4)
        advance(6)
    seen = stderr.getvalue()
    if stderr.isatty():
        assert "done" in seen and "counting" in seen and "10/10" in seen
    else:
        assert seen == ""


def test_a_bar_that_is_not_shown(monkeypatch):
    monkeypatch.setattr(terminal.sys, "stderr", Terminal())
    with progress("counting", 10, shown=False) as advance:
        advance(10)
    assert terminal.sys.stderr.getvalue() == ""


def test_progress_without_a_total(monkeypatch):
    monkeypatch.setattr(terminal.sys, "stderr", Terminal())
    with progress("counting", None) as advance:
        advance(3)


def test_table_aligns_numbers_right_and_words_left():
    rows = [("", "a", "bb"), ("first", "1", "2"), ("x", "10", "200")]
    assert table(rows) == "         a    bb\nfirst    1     2\nx       10   200"
    assert table([("a", "b", "c"), ("aaa", "bbb", "ccc")], "  ", right=False) == "  a     b     c\n  aaa   bbb   ccc"


def test_wrapped_keeps_within_the_width_and_never_breaks_a_word():
    text = wrapped("word " * 40 + "x" * 100, "  ")
    assert all(len(line) <= WIDTH or "x" * 100 in line for line in text.splitlines())
    assert text.splitlines()[1].startswith("    word")


@pytest.mark.parametrize(
    ("python", "options"),
    [
        ("pass config={'a': ...} if it is", "pass --set a=VALUE (or --config FILE) if it is"),
        (
            "pass config={'width': [[n_sum, n_mult], ...], 'mult_arity': ...}",
            "pass --set 'width=[[n_sum, n_mult], ...]' --set mult_arity=VALUE (or --config FILE)",
        ),
        ("leave 'a' out of config=", "leave 'a' out of --set or --config"),
        ("pass family= to see", "pass --family to see"),
        ("import it with family='generic'", "import it with family='generic'"),
        ("config['a'] has 2 entries", "config['a'] has 2 entries"),
        ("run/config=3/family=7/m.pt: no such file", "run/config=3/family=7/m.pt: no such file"),
    ],
)
def test_arguments_of_the_import_are_said_as_options(python, options):
    assert in_options(python) == options
