"""Run a live torch module on rows of numbers, and leave it as it was."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.errors import ImportModelError

__all__ = ["Call", "ModuleRun", "ModuleRunner", "is_live_module", "unwrap"]

F64 = NDArray[np.float64]

#: What a forward pass raises when it does not like its input, its dtype or being copied.
FORWARD_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    ArithmeticError,
)


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a watched submodule during a forward pass.

    Attributes
    ----------
    path : str
        The submodule.
    taken, given : float64 arrays or None
        Its first argument and what it returned, None where that was no tensor.
    """

    path: str
    taken: F64 | None
    given: F64 | None


@dataclass(frozen=True, eq=False)
class ModuleRun:
    """What a module answered.

    Attributes
    ----------
    y : float64 [N, out]
    eps : float
        Machine epsilon of the dtype that it computed in.
    calls : tuple of Call
        In the order in which they happened.
    """

    y: F64
    eps: float
    calls: tuple[Call, ...]

    @property
    def dtype(self) -> str:
        """Name of the dtype that the module computed in."""
        return {52: "float64", 23: "float32", 10: "float16", 7: "bfloat16"}.get(
            round(-math.log2(self.eps)), "low precision"
        )


def is_live_module(source: object) -> bool:
    """Tell whether `source` is a torch module, without importing torch.

    Examples
    --------
    >>> is_live_module({"weight": 1}), is_live_module(len)
    (False, False)
    """
    return callable(source) and all(callable(getattr(source, name, None)) for name in ("state_dict", "named_modules"))


def unwrap(module: Any) -> Any:
    """Return the module inside `torch.compile`, `DataParallel` and `DistributedDataParallel`."""
    while True:
        inner = getattr(module, "_modules", {})
        if "_orig_mod" in inner:
            module = inner["_orig_mod"]
        elif type(module).__name__ in ("DataParallel", "DistributedDataParallel") and "module" in inner:
            module = inner["module"]
        else:
            return module


class ModuleRunner:
    """Runs a module in evaluation mode: in float64 on a copy where it can be copied, else as it is.

    Parameters
    ----------
    module : torch.nn.Module
        Left as it was: training flags, buffers and plain attributes are put back after every run.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self._double = _double_copy(module)

    def run(self, X: F64, watch: Sequence[str] = ()) -> ModuleRun:
        """Run the module on rows.

        Parameters
        ----------
        X : float64 [N, in]
        watch : sequence of str
            Paths of the submodules whose calls to record.

        Raises
        ------
        ImportModelError
            The forward pass fails on rows of this width, or does not return one row of numbers a row.
        """
        if self._double is not None:
            try:
                return _run(self._double, X, watch, double=True)
            except FORWARD_ERRORS:
                pass  # a wrong width, or float32 constants mixed in: the module itself tells which
        try:
            with _untouched(self.module):
                result = _run(self.module, X, watch)
        except FORWARD_ERRORS as error:
            reason = str(error).split("\n")[0]
            raise ImportModelError(
                f"the forward pass of {type(self.module).__name__} fails on {X.shape[0]} rows of {X.shape[1]} numbers "
                f"({type(error).__name__}: {reason})",
                "a module that takes [N, in] and returns [N, out]",
                "pass the inner network that takes rows of numbers",
            ) from error
        self._double = None
        return result


def _run(module: Any, X: F64, watch: Sequence[str], *, double: bool = False) -> ModuleRun:
    import torch

    reference = next((t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()), None)
    without = torch.float64 if double else torch.float32
    dtype = without if reference is None else reference.dtype
    device = torch.device("cpu") if reference is None else reference.device
    calls: list[Call] = []
    watched = dict(module.named_modules())

    def recorder(path: str) -> Any:
        def record(called: Any, arguments: Any, result: Any) -> None:
            del called
            calls.append(Call(path, _array(arguments[0]) if arguments else None, _array(result)))

        return record

    handles = [watched[path].register_forward_hook(recorder(path)) for path in watch if path in watched]
    try:
        module.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]), _eager():
            y = module(torch.tensor(X, device=device, dtype=dtype))
    finally:
        for handle in handles:
            handle.remove()
    array = _array(y)
    if array is None:
        raise TypeError(f"it returns a {type(y).__name__}, not a tensor")
    if array.ndim == 1 and len(array) == len(X):
        array = array[:, None]
    if array.ndim != 2 or len(array) != len(X):
        raise ValueError(f"it returns shape {tuple(array.shape)} for {len(X)} rows")
    return ModuleRun(array, float(torch.finfo(dtype).eps), tuple(calls))


def _array(value: Any) -> F64 | None:
    import torch

    if not isinstance(value, torch.Tensor):
        return None
    return value.detach().to(device="cpu", dtype=torch.float64).numpy().copy()


@contextmanager
def _eager() -> Iterator[None]:
    """Keep compiled submodules from being compiled again for these rows."""
    import torch

    compiles = "torch._dynamo" in sys.modules  # else nothing was ever compiled, and looking would load the compiler
    if not compiles or not hasattr(torch.compiler, "set_stance"):
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def _double_copy(module: Any) -> Any:
    """Return a float64 copy, plain tensor attributes included, or None where the module cannot be copied."""
    import torch

    if isinstance(module, torch.jit.ScriptModule):  # its copy does not own its parameters
        return None
    try:
        twin = copy.deepcopy(module).double()
    except FORWARD_ERRORS:
        return None
    for part in list(twin.modules()):
        for name, value in list(vars(part).items()):
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                setattr(part, name, value.detach().double())
    return twin


@contextmanager
def _untouched(module: Any) -> Iterator[None]:
    """Put every attribute, buffer and training flag back afterwards."""
    import torch

    saved, scripted = [], []
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule):  # its attributes live in compiled code
            scripted.append((part, part.training))
            continue
        registries = {name: dict(vars(part)[name]) for name in ("_parameters", "_buffers", "_modules")}
        saved.append((part, dict(vars(part)), registries))
    try:
        yield
    finally:
        for part, training in scripted:
            part.train(training)
        for part, attributes, registries in saved:
            vars(part).clear()
            vars(part).update(attributes)
            for name, content in registries.items():
                registry = vars(part)[name]
                registry.clear()
                registry.update(content)
