"""Read tensors from where people keep them: a mapping, a safetensors file, a torch file, a live module's state."""

from __future__ import annotations

import hashlib
import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import ImportModelError, RuntimeUnavailableError

__all__ = ["Checkpoint", "LayerTensors", "natural_key", "read_checkpoint", "read_torch_file"]


# Where training loops keep the state_dict in a checkpoint that holds more.
_WRAPPED = ("state_dict", "model_state_dict", "model")
# What torch.load raises on bytes that are no checkpoint.
_TORCH_ERRORS = (
    pickle.UnpicklingError,
    struct.error,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The tensors of a state_dict, by name.

    Attributes
    ----------
    tensors : mapping of str to array
        Original names, shapes and dtypes (bfloat16 and float16 widened to float32).
    origin : str
        Where they come from, for messages.
    """

    tensors: Mapping[str, NDArray[Any]]
    origin: str

    @property
    def sha256(self) -> str:
        """Hash over names, shapes and bytes, independent of the file format."""
        digest = hashlib.sha256()
        for name in sorted(self.tensors):
            array = np.ascontiguousarray(self.tensors[name])
            digest.update(f"{name}:{array.dtype.str}:{array.shape}:".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()


class LayerTensors:
    """The tensors of one layer, by their names below its prefix; it remembers which ones were read."""

    def __init__(self, path: str, tensors: Mapping[str, NDArray[Any]]) -> None:
        self.path = path
        self.tensors = tensors
        self.read: set[str] = set()

    def full_name(self, name: str) -> str:
        """Return the name of a tensor in the whole checkpoint."""
        return f"{self.path}.{name}" if self.path else name

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def take(self, name: str, *shape: int | None) -> NDArray[np.float64]:
        """Return a tensor in float64 and check its shape (None lets an axis be anything).

        Raises
        ------
        ImportModelError
            The tensor is missing, of another shape, or holds NaN or infinity; the message names it.
        """
        if name not in self.tensors:
            raise ImportModelError(
                f"tensor {self.full_name(name)!r} is missing",
                fix=f"the layer holds {', '.join(sorted(self.tensors))}; check that the checkpoint is whole",
            )
        array = np.asarray(self.tensors[name])
        fits = len(shape) == array.ndim and all(s in (None, n) for s, n in zip(shape, array.shape, strict=True))
        if shape and not fits:
            want = "[" + ", ".join("any" if s is None else str(s) for s in shape) + "]"
            raise ImportModelError(
                f"tensor {self.full_name(name)!r} has shape {list(array.shape)}",
                f"{want}, from the shapes of the other tensors of the layer",
                "check for a transposed or damaged tensor",
            )
        self.read.add(name)
        finite = np.isfinite(array)
        if not finite.all():
            where = tuple(int(v) for v in np.argwhere(~finite)[0])
            raise ImportModelError(
                f"tensor {self.full_name(name)!r} holds {array[where]} at index {list(where)}",
                "finite numbers",
                "the model itself would answer NaN: retrain it, or repair that entry",
            )
        return np.ascontiguousarray(array, dtype=np.float64)

    def skip(self, name: str) -> None:
        """Mark a tensor as known and of no effect on the forward pass."""
        if name in self.tensors:
            self.read.add(name)

    def unread(self) -> list[str]:
        """Return the full names of the tensors that nobody read."""
        return [self.full_name(name) for name in sorted(self.tensors) if name not in self.read]


def natural_key(path: str) -> list[tuple[int, int, str]]:
    """Sort key that puts `layers.10` behind `layers.9`."""
    parts = re.split(r"(\d+)", path)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts if part]


def read_checkpoint(source: object) -> Checkpoint:
    """Read tensors from a state_dict mapping or a `.safetensors`, `.pt` or `.pth` file.

    Raises
    ------
    ImportModelError
        The file is absent or damaged, of an unknown kind, or holds something else than tensors.
    RuntimeUnavailableError
        A torch file, and torch is not installed.
    """
    if isinstance(source, Mapping):
        return Checkpoint({str(name): _to_numpy(str(name), value) for name, value in source.items()}, "state_dict")
    path = Path(str(source))
    if not path.is_file():
        allowed = "a .safetensors, .pt or .pth file, or a pykan checkpoint prefix"
        if path.is_dir():
            raise ImportModelError(f"{path}: is a folder", allowed, "name the file in it")
        raise ImportModelError(f"{path}: no such file", allowed)
    if path.suffix == ".safetensors":
        return Checkpoint(_read_safetensors(path), path.name)
    if path.suffix in (".pt", ".pth"):
        return read_torch_file(path)
    raise ImportModelError(f"{path}: unknown kind of file {path.suffix!r}", ".safetensors, .pt, .pth")


def read_torch_file(path: Path) -> Checkpoint:
    """Read a file of `torch.save(state_dict)`, whatever its name, with weights only; raises as `read_checkpoint`."""
    state = _read_torch(path)
    return Checkpoint({str(name): _to_numpy(str(name), value) for name, value in state.items()}, path.name)


def _read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ImportModelError(f"{path}: not a readable safetensors file ({error})", fix="save it again") from error
    except TypeError as error:  # safetensors.numpy on a dtype that numpy lacks
        raise ImportModelError(
            f"{path}: holds a dtype that numpy lacks ({error})", "float16, float32, float64", "save it as float32"
        ) from error


def _read_torch(path: Path) -> Mapping[str, Any]:
    try:
        import torch
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"{path}: reading a torch file needs torch", fix="pip install torch, or save the state_dict as .safetensors"
        ) from error
    allowed = "a file written by torch.save(model.state_dict(), path)"
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise ImportModelError(f"{path}: cannot be read ({error.strerror})", allowed) from error
    if empty:
        raise ImportModelError(f"{path}: is empty, 0 bytes", allowed, "save or copy it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except _TORCH_ERRORS as error:
        refused = re.search(r"(?:GLOBAL|Unsupported class) ([\w.]+)", str(error))  # torch's own text goes on for a page
        if refused is None:
            raise ImportModelError(
                f"{path}: damaged, or not written by torch.save", allowed, "save or copy it again"
            ) from error
        raise ImportModelError(
            f"{path}: not a state_dict: it holds a pickled {refused[1]}, and unpickling runs code",
            allowed,
            "where you trust it, load it and save model.state_dict() instead, or pass the live module to import_model",
        ) from error
    for key in _WRAPPED:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
            break
    if not isinstance(state, Mapping):
        raise ImportModelError(
            f"{path}: holds a {type(state).__name__}, not a state_dict", allowed, "save model.state_dict() instead"
        )
    return state


def _to_numpy(name: str, value: Any) -> NDArray[Any]:
    """Bring a numpy array or torch tensor to numpy."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if "float16" in str(value.dtype) else value  # bfloat16 has no numpy twin
        value = value.numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ImportModelError(f"entry {name!r} of the state_dict is a {type(value).__name__}", "numeric tensors")
    return array
