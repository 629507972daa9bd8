"""The frame around the verbs: help, version, exit codes, one message for a failure, and a light start."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from lutkan import __version__
from lutkan.adapters.options import ConfigNeededError
from lutkan.cli.app import _reporting, app
from lutkan.errors import InputError

VERBS = tuple(command.name or command.callback.__name__ for command in app.registered_commands)


def ending(error: BaseException):
    """Run a verb that ends with this error."""
    frame = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

    @_reporting
    def verb() -> None:
        raise error

    frame.command()(verb)
    return CliRunner().invoke(frame, [])


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_within_80_columns(run, verb):
    result = run(verb, "--help")
    assert result.exit_code == 0
    assert f"Example:\n    lutkan {verb}" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_help_lists_the_verbs_with_whole_sentences(run):
    text = run("--help").stdout
    for verb in VERBS:
        (line,) = (line for line in text.splitlines() if line.startswith(f"  {verb} "))
        assert line.endswith("."), line
        assert not line.endswith("..."), line


def test_version(run):
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"lutkan {__version__}\n")


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["predict"], ["demo", "--what"], ["predict", "a", "b", "--threads", "0"]]
)
def test_wrong_usage_exits_2(run, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert "Usage: " in result.stderr


def test_an_error_is_one_message_on_stderr():
    result = ending(InputError("x.csv: 3 columns", "4", "drop one"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: x.csv: 3 columns\n  allowed: 4\n  fix: drop one\n"


def test_a_missing_setting_is_explained_in_the_words_of_the_command_line():
    error = ConfigNeededError("layer 0: 'a' is not in config= (why)", fix="pass config={'a': ...}", key="a")
    result = ending(error)
    assert result.exit_code == 1
    assert result.stderr == (
        "error: layer 0: 'a' is not in --set or --config (why)\n  fix: pass --set a=VALUE (or --config FILE)\n"
    )


def test_an_interrupt_exits_130():
    result = ending(KeyboardInterrupt())
    assert (result.exit_code, result.stderr) == (130, "")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied", "x.csv"), "error: x.csv: Permission denied\n"),
        (OSError(5, "Input/output error"), "error: Input/output error\n"),
        (MemoryError(), "error: out of memory\n"),
    ],
)
def test_failures_of_the_system_are_one_message_too(error, message):
    result = ending(error)
    assert (result.exit_code, result.stderr) == (1, message)


def test_a_bug_is_not_hidden():
    assert isinstance(ending(ZeroDivisionError("bug")).exception, ZeroDivisionError)


def test_verbs_of_the_application_report_errors():
    assert {"doctor", "demo", "inspect", "compile", "verify", "predict"} <= set(VERBS)
    for command in app.registered_commands:
        assert command.callback.__wrapped__ is not None


def test_help_and_light_verbs_import_nothing_heavy():
    heavy = ("torch", "numba", "pyarrow", "yaml", "matplotlib", "pandas", "safetensors")
    code = (
        "import sys, json, contextlib, io\n"
        "from lutkan.cli import main\n"
        "sys.argv = ['lutkan', '--help']\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main()\n"
        f"print(json.dumps([name for name in {heavy!r} if name in sys.modules]))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == []


def test_importing_the_cli_package_does_not_import_typer():
    code = "import sys, lutkan.cli, lutkan.cli.examples; print([n for n in ('typer', 'rich') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
