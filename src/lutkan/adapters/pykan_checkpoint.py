"""The files of pykan's `saveckpt`: `{prefix}_config.yml` (settings) and `{prefix}_state` (tensors).

pykan writes `!!python/object` tags into the YAML file after `prune_input` and other copies, and then cannot load it
itself. Here the file is read with a safe loader that turns every such tag into a plain record of its name: no Python
object is ever built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lutkan.adapters.checkpoint import Checkpoint, natural_key, read_torch_file
from lutkan.adapters.options import ConfigNeededError
from lutkan.errors import ImportModelError, RuntimeUnavailableError
from lutkan.numerics import functions

__all__ = ["read_saved_checkpoint", "saved_checkpoint_prefix"]

#: The YAML file of a 784-64-10 network has less than 1 MB: a line for every edge.
MAX_YAML_BYTES = 64 << 20


def saved_checkpoint_prefix(path: Path) -> Path | None:
    """Return the prefix of a `saveckpt` checkpoint, given it or one of its files, or None if this is none.

    Examples
    --------
    >>> saved_checkpoint_prefix(Path("no/such/model")) is None
    True
    """
    for end in ("_config.yml", "_state"):
        if path.name.endswith(end) and path.name != end and path.is_file():
            return path.with_name(path.name[: -len(end)])
    files = [path.with_name(path.name + end) for end in ("_config.yml", "_state")]
    return path if path.name and not path.is_file() and any(file.is_file() for file in files) else None


def read_saved_checkpoint(prefix: Path, config: Mapping[str, Any] | None) -> tuple[Checkpoint, dict[str, Any]]:
    """Read pykan's `saveckpt` files `{prefix}_config.yml` and `{prefix}_state`.

    The YAML file is read without ever building a Python object: pykan writes `!!python/object` tags into it after
    `prune_input` and other copies. `{prefix}_cache_data` (the last batch) is not needed.

    Parameters
    ----------
    prefix : Path
    config : mapping or None
        What the caller adds, `input_id` above all, which pykan saves nowhere.

    Returns
    -------
    Checkpoint, dict
        The tensors, and `config` with what the YAML file says as its entry in `layers`.

    Raises
    ------
    ImportModelError
        A file is missing or damaged, or says something else than `config`.
    RuntimeUnavailableError
        PyYAML or torch is not installed.
    """
    files = {end: prefix.with_name(prefix.name + end) for end in ("_config.yml", "_state")}
    for file in files.values():
        if not file.is_file():
            raise ImportModelError(
                f"{file}: no such file",
                f"both {' and '.join(f.name for f in files.values())}, as model.saveckpt({prefix.name!r}) writes them",
            )
    config = dict(config or {})
    layers = config.get("layers")
    entry = dict(layers[0]) if isinstance(layers, list) and len(layers) == 1 and isinstance(layers[0], Mapping) else {}
    settings = _settings(files["_config.yml"], frozenset({*config, *entry}))
    return read_torch_file(files["_state"]), {**config, "layers": [settings | entry]}


def _settings(path: Path, given: frozenset[str]) -> dict[str, Any]:
    """Read the settings that matter; one of `given` may be anything, because the caller knows better."""
    document = _parse_yaml(path)
    if not isinstance(document, dict):
        raise ImportModelError(f"{path}: not a mapping", "the configuration that pykan's saveckpt writes")
    found = {key: document[key] for key in ("width", "mult_arity", "symbolic_enabled", "grid", "k") if key in document}
    tables = [key for key in document if isinstance(key, str) and key.startswith("symbolic.funs_name.")]
    if tables:
        found["funs_name"] = [document[key] for key in sorted(tables, key=natural_key)]
    found["base_fun"] = document.get("base_fun_name")
    settings = {}
    for key, value in found.items():
        try:
            settings[key] = _base_function(path, value) if key == "base_fun" else _plain(path, key, value)
        except ConfigNeededError:
            if key not in given:
                raise
    if isinstance(found["base_fun"], _Tagged) and "input_id" not in given:
        raise ConfigNeededError(
            f"{path}: base_fun_name is a Python object, as prune_input leaves it, and which columns that kept is saved "
            "nowhere",
            "the columns of X that the model reads",
            "pass config={'input_id': [...]}, as in the live model: all columns in order if it was not pruned",
            key="input_id",
        )
    return settings


def _plain(path: Path, key: str, value: Any) -> Any:
    """Copy numbers, names and lists of them; refuse tagged objects, and lists that hold one another again and again."""
    left = MAX_YAML_BYTES  # no honest file has more values than bytes

    def copy(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if isinstance(value, list) and depth > 0 and left > 0:
            return [copy(item, depth - 1) for item in value]
        if isinstance(value, (int, float, str)):
            return value
        tagged = isinstance(value, _Tagged)
        raise ConfigNeededError(
            f"{path}: {key!r} holds "
            + (f"a Python object ({value.tag}), which is never built" if tagged else "a nested structure"),
            "plain numbers, names and lists",
            f"pass config={{{key!r}: ...}}",
            key=key,
        )

    return copy(value, 3)


@dataclass(frozen=True)
class _Tagged:
    """A YAML node with a tag that is not plain YAML: its tag and its scalar fields, never an object."""

    tag: str
    fields: tuple[tuple[str, str], ...] = ()


def _base_function(path: Path, value: Any) -> str:
    """Name the base function, also of a tag such as `!!python/object:torch.nn.modules.activation.SiLU`."""
    if isinstance(value, str):
        return value
    if isinstance(value, _Tagged):
        kind, _, dotted = value.tag.partition(":python/")[2].partition(":")
        name = dotted.rsplit(".", 1)[-1].lower()
        if name == "gelu" and dict(value.fields).get("approximate") == "tanh":
            name = "gelu_tanh"
        if (
            dotted.startswith("torch.nn.")
            and kind in ("object", "object/new", "name")
            and name in functions.ACTIVATIONS
        ):
            return name
        value = value.tag
    raise ConfigNeededError(
        f"{path}: base_fun_name {value} names no known function",
        ", ".join(functions.ACTIVATIONS),
        "pass config={'base_fun': ...}; pykan's own 'zero' loses its name in prune_input",
        key="base_fun",
    )


def _parse_yaml(path: Path) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"{path}: reading a pykan checkpoint needs PyYAML", fix="pip install 'lutkan[yaml]'"
        ) from error

    class TolerantLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """The safe loader, with every foreign tag turned into a `_Tagged`."""

    def tagged(loader: Any, suffix: str, node: Any) -> Any:
        del loader, suffix
        fields: list[tuple[str, str]] = []
        if isinstance(node, yaml.MappingNode):
            scalars = (pair for pair in node.value if all(isinstance(part, yaml.ScalarNode) for part in pair))
            fields = [(key.value, value.value) for key, value in scalars]
        return _Tagged(node.tag, tuple(fields))

    def as_list(loader: Any, node: Any) -> Any:
        return loader.construct_sequence(node, deep=True)

    TolerantLoader.add_constructor("tag:yaml.org,2002:python/tuple", as_list)
    TolerantLoader.add_multi_constructor("tag:yaml.org,2002:python/", tagged)
    TolerantLoader.add_multi_constructor("!", tagged)
    size = path.stat().st_size
    if size > MAX_YAML_BYTES:
        raise ImportModelError(f"{path}: {size} bytes", f"at most {MAX_YAML_BYTES} bytes of YAML")
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=TolerantLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError, TypeError) as error:
        reason = str(error).split("\n")[0]
        raise ImportModelError(f"{path}: not readable as YAML ({reason})", "what pykan's saveckpt writes") from error
