"""The compiled kernels, where they are installed, and the instruction set they are to use."""

from __future__ import annotations

import importlib
import os
from typing import Any

from lutkan.errors import RuntimeUnavailableError

__all__ = ["extension", "missing", "wanted_isa"]


def extension() -> Any:
    """Import the compiled module, by name, so that nothing seems to import the package from below.

    Raises
    ------
    ImportError
        It is not there, or does not load; `missing` says which.
    """
    return importlib.import_module("lutkan._native")


def missing() -> str:
    """Return what keeps the compiled kernels from working here, or an empty string."""
    try:
        extension()
    except ModuleNotFoundError:
        return "the compiled kernels (a pure-Python install: get a C and C++ compiler and install lutkan again)"
    except ImportError as error:
        return f"the compiled kernels anew (those here do not load: {error})"
    return ""


def wanted_isa() -> str:
    """Return the instruction set that the environment variable LUTKAN_ISA names, or an empty string for the best.

    Raises
    ------
    RuntimeUnavailableError
        It is unknown, or not available here.
    """
    wanted = os.environ.get("LUTKAN_ISA", "")
    available = extension().available()
    if wanted and wanted not in available:
        raise RuntimeUnavailableError(
            f"LUTKAN_ISA={wanted!r} is not available here", ", ".join(available), "unset LUTKAN_ISA"
        )
    return wanted
