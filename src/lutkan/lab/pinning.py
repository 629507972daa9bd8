"""One thread, one core: what makes timings of different libraries comparable."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

__all__ = ["UNPINNED", "one_thread", "single_threaded_children"]

#: What `one_thread` tells of a process that it was not used in.
UNPINNED: dict[str, Any] = {"core": None, "torch_threads": None, "blas_threads": None}
# Read when a library is loaded, so they help only the libraries that are loaded later.
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def one_thread(core: int | None = None, *, torch: bool = False) -> Iterator[dict[str, Any]]:
    """Keep this process to one core, and the numeric libraries to one thread each; all as before afterwards.

    Parameters
    ----------
    core : int, optional
        The core to stay on; by default the last one that the process may use, which has the fewest interrupts.
    torch : bool
        Whether to load PyTorch for this if it is not loaded yet.

    Yields
    ------
    dict
        `core` (None where the system does not pin processes), `torch_threads`, `blas_threads` (None where unknown).

    Examples
    --------
    >>> with one_thread() as pinned:
    ...     sorted(pinned)
    ['blas_threads', 'core', 'torch_threads']
    """
    done = dict(UNPINNED)
    with ExitStack() as after:
        after.enter_context(single_threaded_children())
        if hasattr(os, "sched_setaffinity"):
            allowed = os.sched_getaffinity(0)
            done["core"] = core if core in allowed else max(allowed)
            after.callback(os.sched_setaffinity, 0, allowed)
            os.sched_setaffinity(0, {done["core"]})
        if "torch" in sys.modules or (torch and importlib.util.find_spec("torch") is not None):
            import torch as pytorch

            after.callback(pytorch.set_num_threads, pytorch.get_num_threads())
            pytorch.set_num_threads(1)
            done["torch_threads"] = pytorch.get_num_threads()
        if importlib.util.find_spec("threadpoolctl") is not None:
            import threadpoolctl

            after.enter_context(threadpoolctl.threadpool_limits(1, user_api="blas"))
            pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
            done["blas_threads"] = max(pools, default=None)
        yield done


@contextmanager
def single_threaded_children() -> Iterator[None]:
    """Let processes that are started meanwhile load their numeric libraries with one thread each.

    Examples
    --------
    >>> with single_threaded_children():
    ...     os.environ["OMP_NUM_THREADS"]
    '1'
    """
    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(dict.fromkeys(_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
