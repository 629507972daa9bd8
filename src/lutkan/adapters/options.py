"""What a checkpoint lacks: reading `config=`.

A key's value holds for every layer when it is a scalar, or goes layer by layer when it is a list; `layers` is a list
with a mapping a layer. Where a key stands in both, they have to agree. An unknown key is refused. A value that is
absent is either a family default, which is then recorded and shown by `summary()`, or an error: never a guess.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lutkan.errors import ImportModelError
from lutkan.numerics.functions import ACTIVATIONS

__all__ = ["ConfigNeededError", "LayerOptions", "Options"]

_MISSING: Any = object()


class ConfigNeededError(ImportModelError):
    """The checkpoint lacks a value that `config=` has to give.

    Attributes
    ----------
    key : str
        The key of `config=`.
    """

    def __init__(self, found: str, allowed: str = "", fix: str = "", key: str = "") -> None:
        super().__init__(found, allowed, fix)
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.found, self.allowed, self.fix, self.key))


class Options:
    """The configuration of one import.

    Parameters
    ----------
    config : mapping or None
    family : str
        For messages.
    keys : iterable of str
        Keys allowed at the top.
    layer_keys : iterable of str
        Keys allowed in an entry of `layers`, besides those of `keys`.
    n_layers : int
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None,
        family: str,
        keys: Iterable[str],
        layer_keys: Iterable[str],
        n_layers: int,
    ) -> None:
        if config is not None and not isinstance(config, Mapping):
            raise ImportModelError(f"config is a {type(config).__name__}", "a mapping of settings, or None")
        self.config = {key: _plain(value) for key, value in (config or {}).items()}
        self.family = family
        self.n_layers = n_layers
        self.defaults_taken: list[str] = []
        self.notes: list[str] = []
        top = {*keys, "layers"}
        self._refuse_unknown(self.config, top, "config")
        self.layers = self.config.get("layers")
        if self.layers is not None:
            if not isinstance(self.layers, list) or len(self.layers) != n_layers:
                found = len(self.layers) if isinstance(self.layers, list) else type(self.layers).__name__
                raise ImportModelError(
                    f"config['layers'] has {found} entries", f"a list of {n_layers}, one a layer of the checkpoint"
                )
            for index, entry in enumerate(self.layers):
                if not isinstance(entry, Mapping):
                    raise ImportModelError(f"config['layers'][{index}] is a {type(entry).__name__}", "a mapping")
                self._refuse_unknown(entry, {*keys, *layer_keys, "type"}, f"config['layers'][{index}]")

    def _refuse_unknown(self, mapping: Mapping[str, Any], known: set[str], where: str) -> None:
        unknown = [str(key) for key in mapping if key not in known]
        if unknown:
            raise ImportModelError(
                f"{where} has the unknown key {unknown[0]!r}", f"{', '.join(sorted(known))} for {self.family}"
            )

    def layer(self, index: int) -> LayerOptions:
        """Return the options of layer `index`."""
        return LayerOptions(self, index)


class LayerOptions:
    """The configuration as one layer sees it."""

    def __init__(self, options: Options, index: int) -> None:
        self.options = options
        self.index = index

    def get(
        self,
        key: str,
        default: Any = _MISSING,
        *,
        why: str = "",
        sequence: bool = False,
        entry_keys: tuple[str, ...] = (),
    ) -> Any:
        """Return the value of `key` for this layer.

        Parameters
        ----------
        key : str
        default : object
            Taken, and recorded in `defaults_taken`, when the key is absent. Without it absence is an error.
        why : str
            Completes the error or the record: why the value matters, or where the default comes from.
        sequence : bool
            Whether a value is itself a list, so that a top-level list of lists goes layer by layer.
        entry_keys : tuple of str
            Names that the value has in an entry of `layers`, where they differ from `key`.

        Raises
        ------
        ImportModelError
            The value is absent and has no default, or stands twice and differs.
        """
        found = self._find(key, sequence, entry_keys)
        if found is not None:
            return found
        if default is _MISSING:
            reason = f" ({why})" if why else ""
            raise ConfigNeededError(
                f"layer {self.index}: {key!r} is neither in the checkpoint nor in config={reason}",
                fix=f"pass config={{{key!r}: ...}}",
                key=key,
            )
        self.took_default(f"{key} = {default!r}" + (f" ({why})" if why else ""))
        return default

    def whole(self, key: str) -> Any:
        """Return the value of a key that describes a whole model, never spread over layers, or None.

        Raises
        ------
        ImportModelError
            The value stands at the top and in `layers`, and differs.
        """
        top, inner = self.options.config.get(key), self._entry().get(key)
        if top is not None and inner is not None and not _same(top, inner):
            raise ImportModelError(
                f"config[{key!r}] = {reprlib.repr(top)}, but the model's own settings (config['layers'][{self.index}]) "
                f"say {reprlib.repr(inner)}",
                "the same value",
                f"leave {key!r} out of config=",
            )
        return inner if top is None else top

    def took_default(self, text: str) -> None:
        """Record, once, a default that was taken."""
        if text not in self.options.defaults_taken:
            self.options.defaults_taken.append(text)

    def note(self, text: str) -> None:
        """Record, once, what else a reader should know."""
        if text not in self.options.notes:
            self.options.notes.append(text)

    def number(
        self,
        key: str,
        default: Any = _MISSING,
        *,
        why: str = "",
        above: float = -math.inf,
        entry_keys: tuple[str, ...] = (),
    ) -> float:
        """Return the value of `key` as a finite number greater than `above`; otherwise as `get`."""
        value = self.get(key, default, why=why, entry_keys=entry_keys)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not above < value < math.inf:
            allowed = "a finite number" if above == -math.inf else f"a number greater than {above:g}"
            raise ImportModelError(f"layer {self.index}: config says {key} = {value!r}", allowed)
        return float(value)

    def flag(self, key: str, default: Any = _MISSING, *, why: str = "", entry_keys: tuple[str, ...] = ()) -> bool:
        """Return the value of `key` as true or false; otherwise as `get`."""
        value = self.get(key, default, why=why, entry_keys=entry_keys)
        if not isinstance(value, bool):
            raise ImportModelError(f"layer {self.index}: config says {key} = {value!r}", "true or false")
        return value

    def activation(self, key: str, default: Any = _MISSING, *, why: str = "", entry_keys: tuple[str, ...] = ()) -> str:
        """Return the value of `key` as the name of an activation; otherwise as `get`."""
        value = self.get(key, default, why=why, entry_keys=entry_keys)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise ImportModelError(f"layer {self.index}: config says {key} = {value!r}", ", ".join(ACTIVATIONS))
        return value

    def interval(self, key: str, *, why: str = "") -> tuple[float, float]:
        """Return the value of `key` as `(low, high)` with low < high; otherwise as `get`."""
        value = self.get(key, why=why, sequence=True)
        pair = value if isinstance(value, (list, tuple)) and len(value) == 2 else ()
        numbers = all(isinstance(v, (int, float)) and math.isfinite(v) for v in pair)
        if not pair or not numbers or not pair[0] < pair[1]:
            raise ImportModelError(f"layer {self.index}: config says {key} = {value!r}", "[low, high] with low < high")
        return float(pair[0]), float(pair[1])

    def given(self, key: str, *, sequence: bool = False) -> bool:
        """Tell whether `key` is set for this layer; `sequence` as in `get`."""
        return self._find(key, sequence) is not None

    def check(self, key: str, actual: Any, *, entry_only: bool = False) -> None:
        """Compare a configured value with what the tensors say.

        Parameters
        ----------
        key : str
        actual : object
        entry_only : bool
            Look at the layer's entry in `layers` alone, for a key that means something else at the top.

        Raises
        ------
        ImportModelError
            `key` is configured and differs.
        """
        if entry_only:
            found = self._entry().get(key)
        else:
            found = self._find(key, sequence=isinstance(actual, (list, tuple)))
        if found is not None and not _same(found, actual):
            raise ImportModelError(
                f"layer {self.index}: config says {key} = {found!r}, the tensors say {actual!r}", fix="correct config="
            )

    def _entry(self) -> Mapping[str, Any]:
        return {} if self.options.layers is None else self.options.layers[self.index]

    def _find(self, key: str, sequence: bool, entry_keys: tuple[str, ...] = ()) -> Any:
        """Return the configured value or None."""
        top = self.options.config.get(key)
        if isinstance(top, list) and (not sequence or any(isinstance(v, list) for v in top)):
            if len(top) != self.options.n_layers:
                raise ImportModelError(
                    f"config[{key!r}] has {len(top)} entries", f"{self.options.n_layers}, one a layer, or a scalar"
                )
            top = top[self.index]
        found, where = top, f"config[{key!r}]"
        for name in entry_keys or (key,):
            inner = self._entry().get(name)
            if inner is None:
                continue
            if found is not None and not _same(found, inner):
                raise ImportModelError(
                    f"{where} = {found!r} for layer {self.index}, "
                    f"but config['layers'][{self.index}][{name!r}] says {inner!r}",
                    "the same value in both places",
                )
            found, where = inner, f"config['layers'][{self.index}][{name!r}]"
        return top if top is not None else found


def _plain(value: Any) -> Any:
    """Bring arrays and numpy scalars in a configuration to lists and numbers."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _same(a: Any, b: Any) -> bool:
    """Compare two configured values; numbers up to float32 rounding."""
    if isinstance(a, str) or isinstance(b, str) or isinstance(a, bool) or isinstance(b, bool):
        return a == b
    try:
        first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    except (TypeError, ValueError):
        return a == b
    if first.shape != second.shape or first.size == 0:
        return first.shape == second.shape
    size = max(np.abs(first).max(), np.abs(second).max())
    return bool(np.abs(first - second).max() <= 1e-6 * size)
