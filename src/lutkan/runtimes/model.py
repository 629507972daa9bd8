"""`load` and `Model`: predicting with an artifact on any runtime."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import Artifact, Program
from lutkan.errors import InputError, RuntimeUnavailableError, VerificationError
from lutkan.numerics.rows import real_rows
from lutkan.runtimes import native

__all__ = ["RUNTIMES", "Model", "available_runtimes", "load"]

F32 = NDArray[np.float32]
NanPolicy = Literal["error", "propagate"]
# Fills float32 [N, out] from [N, in], both C-contiguous; returns the first row that holds NaN, or -1.
Runner = Callable[[F32, F32], int]
_FLOAT32 = np.dtype(np.float32)
#: Runtimes by preference; "auto" takes the first one that is available.
RUNTIMES = ("native", "numba", "reference")
# Rows below which a second thread costs more than it saves.
_ROWS_A_THREAD = 64


def available_runtimes() -> dict[str, str]:
    """Tell which runtimes work here: name -> "" if available, else what is missing.

    Examples
    --------
    >>> available_runtimes()["reference"]
    ''
    """
    found = importlib.util.find_spec("numba") is not None
    return {
        "native": native.missing(),
        "numba": "" if found else "package numba (pip install 'lutkan[numba]')",
        "reference": "",
    }


class Model:
    """An artifact made ready to predict; immutable, picklable, safe to call from several threads.

    Made by `lutkan.load`.
    """

    def __init__(self, artifact: Artifact, runtime: str, threads: int, nan: NanPolicy) -> None:
        self._artifact = artifact
        self._runtime = runtime
        self._threads = threads
        self._nan: NanPolicy = nan
        self._run, self._memory, self._isa = _prepare(artifact.program, runtime)
        self._in, self._out = artifact.program.in_features, artifact.program.out_features

    @property
    def artifact(self) -> Artifact:
        """The artifact this was loaded from."""
        return self._artifact

    @property
    def in_features(self) -> int:
        """Number of inputs."""
        return self._in

    @property
    def out_features(self) -> int:
        """Number of outputs."""
        return self._out

    def predict(self, X: object, out: F32 | None = None) -> F32:
        """Predict.

        Parameters
        ----------
        X : array [N, in] or [in]
            Any real dtype; converted to float32. Infinities follow the tables' policy.
        out : float32 [N, out] or [out], optional
            Written and returned instead of a new array.

        Returns
        -------
        float32 [N, out], or [out] for a single row

        Raises
        ------
        InputError
            Wrong width or dtype, NaN (unless loaded with `nan="propagate"`: then those rows are NaN), or an `out`
            that does not fit.

        Examples
        --------
        >>> import lutkan
        >>> net = lutkan.import_model({"cheby_coeffs": np.ones((2, 1, 3), dtype=np.float32)})
        >>> lutkan.load(lutkan.compile(net, spec="segment-int8-L64")).predict(np.zeros((4, 2))).shape
        (4, 1)
        """
        x = self._rows(X)
        shape = (*x.shape[:-1], self._out)
        if out is None:
            y = np.empty(shape, dtype=np.float32)
        else:
            y = self._target(out, shape, x)
        nan = self._fill(x, y)
        if nan >= 0 and self._nan == "error":
            column = int(np.argmax(np.isnan(x.reshape(-1, self._in)[nan])))
            raise InputError(
                f"X[{nan}, {column}] is NaN", "numbers", "clean the rows, or load(..., nan='propagate') for NaN answers"
            )
        if out is not None and y is not out:
            out[...] = y
            return out
        return y

    __call__ = predict

    def info(self) -> dict[str, Any]:
        """Tell what runs where: runtime, isa, threads, bytes in file and in memory, shape.

        Returns
        -------
        dict
        """
        return {
            "runtime": self._runtime,
            "isa": self._isa,
            "threads": self._threads,
            "nan": self._nan,
            "in_features": self._in,
            "out_features": self._out,
            "edges": self._artifact.program.edges,
            "file_bytes": self._artifact.nbytes,
            "memory_bytes": self._memory,
            "content_id": self._artifact.content_id,
        }

    def _rows(self, X: object) -> F32:
        """Return float32 rows, C-contiguous, [N, in] or [in]; as they are where possible, for that is the hot path."""
        if type(X) is np.ndarray and X.dtype is _FLOAT32 and X.flags.c_contiguous:
            x: F32 = X
            if x.shape[-1:] == (self._in,) and x.ndim <= 2:
                return x
        array = real_rows("X", X, self._in, single=True)
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array, dtype=np.float32)

    def _target(self, out: F32, shape: tuple[int, ...], x: F32) -> F32:
        """Check `out`; return it, or a stand-in where it cannot be written directly."""
        if not isinstance(out, np.ndarray) or out.dtype != np.float32 or out.shape != shape or not out.flags.writeable:
            found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
            raise InputError(f"out is {found}", f"a writeable float32 array of shape {shape}")
        direct = out.dtype is _FLOAT32 and out.flags.c_contiguous and not np.may_share_memory(out, x)
        return out if direct else np.empty(shape, dtype=np.float32)

    def _fill(self, x: F32, y: F32) -> int:
        """Run rows into `y`; return the first row of `x` that holds NaN, or -1."""
        if self._threads == 1 or x.ndim == 1:
            return self._run(x, y)
        parts = min(self._threads, len(x) // _ROWS_A_THREAD)
        if parts < 2:
            return self._run(x, y)
        from concurrent.futures import ThreadPoolExecutor

        bounds = [len(x) * part // parts for part in range(parts + 1)]
        with ThreadPoolExecutor(parts) as pool:
            found = pool.map(lambda a, b: self._run(x[a:b], y[a:b]), bounds[:-1], bounds[1:])
            return next((start + nan for start, nan in zip(bounds, found, strict=False) if nan >= 0), -1)

    def __reduce__(self):
        return (load, (self._artifact.to_bytes(), self._runtime, self._threads, self._nan))

    def __repr__(self) -> str:
        return f"Model({self._in} -> {self._out}, runtime={self._runtime!r}, threads={self._threads})"


def _prepare(program: Program, runtime: str) -> tuple[Runner, int, str]:
    """Return what runs rows, its resident bytes and its instruction set."""
    if runtime == "native":
        return native.prepare(program)
    if runtime == "numba":
        from lutkan.runtimes import numba_

        run, nbytes = numba_.prepare(program)
        return _filling(run, program.in_features), nbytes, "llvm"
    from lutkan.artifact.codec import encode_program
    from lutkan.runtimes import reference

    nbytes = sum(array.nbytes for array in encode_program(program)[1].values())
    return _filling(lambda x: reference.run(program, x), program.in_features), nbytes, "numpy"


def _filling(run: Callable[[F32], F32], width: int) -> Runner:
    """Give a runtime that returns its answers the face of one that fills an array."""

    def fill(x: F32, y: F32) -> int:
        rows = x.reshape(-1, width)
        y[...] = run(rows).reshape(y.shape)
        nan = np.isnan(rows).any(axis=1)
        return int(np.argmax(nan)) if nan.any() else -1

    return fill


def load(
    source: str | os.PathLike[str] | bytes | Artifact,
    runtime: str = "auto",
    threads: int = 1,
    nan: NanPolicy = "error",
    self_test: bool = False,
) -> Model:
    """Make an artifact ready to predict.

    Parameters
    ----------
    source : path, bytes or Artifact
    runtime : {"auto", "native", "numba", "reference"}
        All give the same bits. "auto" takes the fastest one available.
    threads : int
        Threads that share the rows of one call; 1 by default.
    nan : {"error", "propagate"}
        What a NaN in the input does.
    self_test : bool
        Replay the golden vectors that the artifact carries and compare bit for bit.

    Returns
    -------
    Model

    Raises
    ------
    ArtifactError
        The file is damaged or not an artifact.
    RuntimeUnavailableError
        The runtime is unknown or not installed.
    InputError
        `threads` or `nan` is out of range.
    VerificationError
        The self-test found a difference, or there are no golden vectors to replay.
    """
    artifact = source if isinstance(source, Artifact) else Artifact.open(source)
    missing = available_runtimes()
    if runtime == "auto":
        runtime = next(name for name in RUNTIMES if not missing[name])
    if runtime not in missing:
        raise RuntimeUnavailableError(f"runtime {runtime!r}", "auto, " + ", ".join(RUNTIMES))
    if missing[runtime]:
        raise RuntimeUnavailableError(f"runtime {runtime!r} is not available here", fix=f"install {missing[runtime]}")
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 256:
        raise InputError(f"threads = {threads!r}", "an integer from 1 to 256")
    if nan not in ("error", "propagate"):
        raise InputError(f"nan = {nan!r}", "'error' or 'propagate'")
    model = Model(artifact, runtime, threads, nan)
    if self_test:
        _self_test(model)
    return model


def _self_test(model: Model) -> None:
    artifact = model.artifact
    if artifact.golden_x is None or artifact.golden_y is None:
        raise VerificationError(
            "the artifact carries no golden vectors", fix="compile it again, or load without self_test"
        )
    y = np.empty_like(artifact.golden_y)
    model._fill(np.ascontiguousarray(artifact.golden_x), y)
    same = (y.view(np.uint32) == artifact.golden_y.view(np.uint32)) | (np.isnan(y) & np.isnan(artifact.golden_y))
    if not same.all():
        row, column = (int(v) for v in np.argwhere(~same)[0])
        raise VerificationError(
            f"golden row {row}, output {column}: runtime {model.info()['runtime']} gives {y[row, column]!r}, "
            f"the artifact expects {artifact.golden_y[row, column]!r} ({int((~same).any(axis=1).sum())} rows differ)",
            "equal bits",
            "report this: the runtime does not conform on this machine",
        )
