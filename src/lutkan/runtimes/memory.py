"""Bytes of memory that are left here, so that an artifact that is too large is refused before it is laid out."""

from __future__ import annotations

from pathlib import Path

from lutkan.errors import RuntimeUnavailableError

__all__ = ["free_bytes", "require"]

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
# A small artifact needs no question; reading two files would double the time that loading it takes.
_UNASKED = 1 << 28


def free_bytes() -> int | None:
    """Return what the machine, or the container, has left; None where it does not tell (Linux only).

    Examples
    --------
    >>> free = free_bytes()
    >>> free is None or free > 0
    True
    """
    found: list[int] = []
    try:
        for line in _MEMINFO.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
        limit, used = ((_CGROUP / name).read_text(encoding="ascii") for name in ("memory.max", "memory.current"))
        if limit.strip() != "max":
            found.append(max(int(limit) - int(used), 0))
    except (OSError, ValueError, IndexError):
        pass  # another system, or a container that hides them
    return min(found, default=None)


def require(what: str, needed: int) -> None:
    """Refuse what takes more memory than there is.

    Raises
    ------
    RuntimeUnavailableError
        `needed` bytes are more than are free. Linux would grant them, and kill the process when it uses them.
    """
    if needed <= _UNASKED:
        return
    free = free_bytes()
    if free is not None and needed > free:
        raise RuntimeUnavailableError(
            f"{what} takes {needed:,} bytes of memory",
            f"at most {free:,}, which are free here",
            "compile the model to smaller tables, or load it on a larger machine",
        )
