"""Where the shipped example network and its data lie."""

from __future__ import annotations

from pathlib import Path

from lutkan.errors import InputError

__all__ = ["EXAMPLES", "example_path"]

EXAMPLES = ("digits.safetensors", "digits_calibration.npz", "digits_test.npz")


def example_path(name: str) -> Path:
    """Return the path of a shipped example file.

    A checkout keeps the files in ``examples/`` of the project, an installed package in ``examples/`` of its own folder.

    Parameters
    ----------
    name
        ``digits.safetensors`` (the checkpoint), ``digits_test.npz`` (X, y, logits) or ``digits_calibration.npz`` (X).

    Raises
    ------
    InputError
        When there is no example of that name, or its file is missing.

    Examples
    --------
    >>> example_path("digits.safetensors").name
    'digits.safetensors'
    """
    if name not in EXAMPLES:
        raise InputError(f"example {name!r}", ", ".join(EXAMPLES))
    package = Path(__file__).resolve().parent.parent
    folders = (package / "examples", package.parent.parent / "examples")  # installed, checkout
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"example {name!r} is missing",
        f"a file in {folders[0]} or {folders[1]}",
        "reinstall lutkan, or restore the file",
    )
