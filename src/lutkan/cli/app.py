"""The typer application: its verbs, and how a failure ends."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any

import typer

from lutkan._version import __version__
from lutkan.cli import bench, demo, doctor, inspect, lab, lab_dos, lab_quant, predict, quantize, verify
from lutkan.cli import compile as compile_verb
from lutkan.cli import report as report_verb
from lutkan.cli.terminal import complain
from lutkan.errors import LutkanError

__all__ = ["app"]

# Plain help (no markup mode): the same text on a terminal, in a pipe and in docs/reference/cli.md.
app = typer.Typer(name="lutkan", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"lutkan {__version__}")
        raise typer.Exit()


@app.callback()
def lutkan(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Turn a trained KAN into a small table artifact that gives the same answer, bit for bit, everywhere.

    \b
    First steps:
      lutkan doctor                                what works on this machine
      lutkan demo                                  the whole way on a shipped model
      lutkan inspect model.safetensors             what a checkpoint holds
      lutkan compile model.safetensors -o m.lutkan --calib X.npy
      lutkan predict m.lutkan X.npy -o y.npy
    """  # noqa: D301 - click's \b keeps the lines below it as they are


def _reporting(verb: Callable[..., None]) -> Callable[..., None]:
    """Let a verb end with one message and exit code 1 on bad input, 130 when interrupted; never with a traceback."""

    @functools.wraps(verb)
    def run(*args: Any, **options: Any) -> None:
        try:
            verb(*args, **options)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except LutkanError as error:
            complain(error)
            raise typer.Exit(1) from None
        except BrokenPipeError:
            raise  # the reader of a pipe has gone; click ends quietly
        except OSError as error:
            name = f"{error.filename}: " if error.filename else ""
            complain(LutkanError(f"{name}{error.strerror or error}"))
            raise typer.Exit(1) from None
        except MemoryError as error:
            complain(LutkanError(f"out of memory ({error})" if str(error) else "out of memory"))
            raise typer.Exit(1) from None

    return run


for _verb in (
    doctor.doctor,
    demo.demo,
    inspect.inspect,
    compile_verb.compile,
    quantize.quantize,
    verify.verify,
    predict.predict,
    bench.bench,
    report_verb.report,
):
    app.command()(_reporting(_verb))

lab_group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
for _verb in (*lab.VERBS, lab_dos.dos, lab_quant.quant):
    lab_group.command()(_reporting(_verb))
app.add_typer(lab_group, name="lab", help="Run an experiment: sweeps, policies, memory, start-up, case studies.")
