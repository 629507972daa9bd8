"""Options that several verbs share, and how their values are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lutkan.artifact import Artifact
from lutkan.errors import ArtifactError, InputError, RuntimeUnavailableError
from lutkan.ir import Network

__all__ = [
    "ArtifactOutput",
    "AsJson",
    "Checkpoint",
    "Config",
    "Drop",
    "Family",
    "Header",
    "Runtime",
    "Settings",
    "import_checkpoint",
    "open_artifact",
    "read_config",
    "split_names",
]

Checkpoint = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="The checkpoint: .safetensors, .pt, .pth, or the prefix of a pykan checkpoint.",
        show_default=False,
    ),
]
ArtifactOutput = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="OUT", help="The artifact to write.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Family = Annotated[
    str | None, typer.Option("--family", metavar="NAME", help="Say the family instead of recognising it.")
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="What the checkpoint lacks, as .json, .yaml or .yml (see --set)."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="What the checkpoint lacks, a setting at a time, such as base_activation=gelu; a value is read as JSON "
        "and otherwise taken as text; wins over --config. May be repeated.",
    ),
]
Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Whether the first line of a .csv or .tsv names the columns. Default: it does if no cell is a number.",
        show_default=False,
    ),
]
Drop = Annotated[
    str | None,
    typer.Option("--drop", metavar="NAMES", help="Columns to leave out, by name, separated by commas."),
]
Runtime = Annotated[
    str,
    typer.Option("--runtime", metavar="NAME", help="All runtimes give the same bits; auto takes the fastest one here."),
]


def split_names(names: str | None) -> list[str]:
    """Split names at commas."""
    return [name.strip() for name in names.split(",")] if names else []


def read_config(path: Path | None, settings: Sequence[str] | None) -> dict[str, Any] | None:
    """Read `--config` and `--set` into what `import_model(config=...)` takes.

    Raises
    ------
    InputError
        The file is absent, damaged or no mapping; a setting is not KEY=VALUE.
    RuntimeUnavailableError
        A YAML file, and pyyaml is not installed.
    """
    config: dict[str, Any] = {} if path is None else _read_mapping(path)
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {setting}", "KEY=VALUE", "such as --set base_activation=gelu")
        try:
            config[key.strip()] = json.loads(value)
        except json.JSONDecodeError:
            config[key.strip()] = value.strip()
    return config or None


def _read_mapping(path: Path) -> dict[str, Any]:
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise InputError(f"{path}: unknown kind of file {path.suffix!r}", ".json, .yaml, .yml")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text", "a UTF-8 file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", "a .json or .yaml file") from error
    if path.suffix == ".json":
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {error.lineno}: {error.msg}", "JSON") from error
    else:
        value = _parse_yaml(path, text)
    if not isinstance(value, Mapping):
        raise InputError(f"{path}: holds a {type(value).__name__}", "a mapping of setting to value")
    return {str(key): inner for key, inner in value.items()}


def _parse_yaml(path: Path, text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"{path}: YAML files need pyyaml", fix="pip install 'lutkan[yaml]', or write it as .json"
        ) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}", "YAML") from error


def open_artifact(path: str) -> Artifact:
    """Open the artifact that a verb was given; an error names the file.

    Raises
    ------
    ArtifactError
    """
    try:
        return Artifact.open(path)
    except ArtifactError as error:
        if path in error.found:
            raise
        raise ArtifactError(f"{path}: {error.found}", error.allowed, error.fix) from error


def import_checkpoint(model: str, family: str | None, config: Path | None, settings: Sequence[str] | None) -> Network:
    """Import the model that a verb was given."""
    from lutkan.adapters import import_model

    return import_model(model, family=family, config=read_config(config, settings))
