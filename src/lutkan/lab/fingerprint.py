"""What a timing was taken on: processor, caches, versions, commit."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from lutkan._version import __version__

__all__ = ["caches", "cpu", "fingerprint", "slug"]

_PROC = Path("/proc/cpuinfo")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
# Instruction sets that decide how fast integer tables and dense products are.
_ISA_FLAGS = (
    "sse4_2", "avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "amx_int8", "amx_tile", "asimd", "asimddp", "i8mm", "sve", "sve2",
)  # fmt: skip
_PACKAGES = ("numpy", "torch", "numba", "onnxruntime", "onnx")


def cpu(path: Path = _PROC) -> tuple[str, list[str]]:
    """Return the processor's name, and those of its instruction sets that matter here.

    Parameters
    ----------
    path : Path
        A file like Linux's /proc/cpuinfo; without it the name is what Python knows, and no instruction sets are.

    Examples
    --------
    >>> cpu(Path("absent"))[1]
    []
    """
    name, flags, numbers = platform.processor() or platform.machine(), set[str](), {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = (part.strip() for part in line.partition(":"))
            if key in ("model name", "Model"):
                name = value
            elif key in ("flags", "Features"):
                flags = set(value.split())
            elif key in ("cpu family", "model", "stepping"):
                numbers[key] = value
    # Virtual machines hide the name behind "Intel(R) Xeon(R) Processor"; the numbers still tell.
    tail = " ".join(f"{key.removeprefix('cpu ')} {value}" for key, value in numbers.items())
    return f"{name} ({tail})" if tail else name, [flag for flag in _ISA_FLAGS if flag in flags]


def caches(folder: Path = _CACHES) -> dict[str, int]:
    """Return the bytes of a core's caches, such as `{"L1d": 49152, "L2": 2097152}`; empty where the system hides them.

    Examples
    --------
    >>> caches(Path("absent"))
    {}
    """
    found: dict[str, int] = {}
    for index in sorted(folder.glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        match = re.fullmatch(r"(\d+)([KM]?)", size)
        if match:
            suffix = {"Data": "d", "Instruction": "i"}.get(kind, "")
            found[f"L{level}{suffix}"] = int(match[1]) * {"": 1, "K": 1 << 10, "M": 1 << 20}[match[2]]
    return found


def slug(name: str) -> str:
    """Turn a processor's name into a part of a file name.

    Examples
    --------
    >>> slug("Intel(R) Xeon(R) Gold 6448Y CPU @ 2.10GHz")
    'intel-xeon-gold-6448y'
    """
    name = re.sub(r"\((?:R|TM|r|tm)\)| CPU| Processor|@.*", " ", name)
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unknown"


def fingerprint() -> dict[str, Any]:
    """Tell what this process runs on.

    Returns
    -------
    dict
        `cpu`, `isa_flags`, `caches`, `cores`, `affinity`, `memory_bytes`, `load_average`, `platform`, `python`,
        `packages`, `lutkan`, `commit`, `dirty`, `thread_variables`; None or empty where the system does not tell.

    Examples
    --------
    >>> fingerprint()["python"].startswith("3.")
    True
    """
    name, flags = cpu()
    commit, dirty = _commit(Path(__file__).resolve().parent)
    return {
        "cpu": name,
        "isa_flags": flags,
        "caches": caches(),
        "cores": os.cpu_count(),
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_bytes": _memory(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "platform": platform.platform(),
        "python": f"{platform.python_version()} ({sys.implementation.name})",
        "packages": {package: _version(package) for package in _PACKAGES},
        "lutkan": __version__,
        "commit": commit,
        "dirty": dirty,
        "thread_variables": {key: value for key, value in os.environ.items() if key.endswith("_NUM_THREADS")},
        "lutkan_isa": os.environ.get("LUTKAN_ISA"),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _commit(folder: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the checkout that holds the folder, and whether tracked files differ from it."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    tracked = git("ls-files", "--error-unmatch", Path(__file__).name)
    if tracked is None:  # installed inside somebody else's checkout, or in none
        return None, None
    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    return commit, None if changes is None else bool(changes)
