"""What a checkpoint lacks: reading `config=`.

A key's value holds for every layer when it is a scalar, or goes layer by layer when it is a list; `layers` is a list
with a mapping a layer. Where a key stands in both, they have to agree. An unknown key is refused. A value that is
absent is either a family default, which is then recorded and shown by `summary()`, or an error: never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lutkan.errors import ImportModelError

__all__ = ["LayerOptions", "Options"]

_MISSING: Any = object()


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
        self.config = dict(config or {})
        self.family = family
        self.n_layers = n_layers
        self.defaults_taken: list[str] = []
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

    def get(self, key: str, default: Any = _MISSING, *, why: str = "", sequence: bool = False) -> Any:
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

        Raises
        ------
        ImportModelError
            The value is absent and has no default, or stands twice and differs.
        """
        found = self._find(key, sequence)
        if found is not None:
            return found
        if default is _MISSING:
            raise ImportModelError(
                f"layer {self.index}: {key!r} is neither in the checkpoint nor in config=" + (f" ({why})" if why else ""),
                fix=f"pass config={{{key!r}: ...}}",
            )
        text = f"{key} = {default!r}" + (f" ({why})" if why else "")
        if text not in self.options.defaults_taken:
            self.options.defaults_taken.append(text)
        return default

    def given(self, key: str) -> bool:
        """Tell whether `key` is set for this layer."""
        return self._find(key, sequence=False) is not None

    def check(self, key: str, actual: Any) -> None:
        """Compare a configured value with what the tensors say.

        Raises
        ------
        ImportModelError
            `key` is configured and differs.
        """
        found = self._find(key, sequence=isinstance(actual, (list, tuple)))
        if found is not None and not _same(found, actual):
            raise ImportModelError(
                f"layer {self.index}: config says {key} = {found!r}, the tensors say {actual!r}", fix="correct config="
            )

    def _find(self, key: str, sequence: bool) -> Any:
        """Return the configured value or None."""
        top = self.options.config.get(key)
        layered = isinstance(top, (list, tuple)) and (not sequence or any(isinstance(v, (list, tuple)) for v in top))
        if layered:
            if len(top) != self.options.n_layers:
                raise ImportModelError(
                    f"config[{key!r}] has {len(top)} entries", f"{self.options.n_layers}, one a layer, or a scalar"
                )
            top = top[self.index]
        inner = self.options.layers[self.index].get(key) if self.options.layers is not None else None
        if top is not None and inner is not None and not _same(top, inner):
            raise ImportModelError(
                f"config[{key!r}] = {top!r} for layer {self.index}, but its entry in config['layers'] says {inner!r}",
                "the same value in both places",
            )
        return inner if top is None else top


def _same(a: Any, b: Any) -> bool:
    """Compare two configured values; numbers up to float32 rounding."""
    if isinstance(a, str) or isinstance(b, str) or isinstance(a, bool) or isinstance(b, bool):
        return a == b
    try:
        return bool(np.allclose(np.asarray(a, dtype=float), np.asarray(b, dtype=float), rtol=1e-6, atol=0.0))
    except (TypeError, ValueError):
        return a == b
