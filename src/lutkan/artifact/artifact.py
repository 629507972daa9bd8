"""`Artifact`: one compiled network, as a file and as an object."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact import checks
from lutkan.artifact.codec import decode_program, encode_program
from lutkan.artifact.container import pack, unpack
from lutkan.artifact.layout import lay_out, take_up
from lutkan.artifact.limits import MAX_FILE_BYTES
from lutkan.artifact.program import CodeTable, KANOp, Program, Table
from lutkan.errors import ArtifactError

__all__ = ["Artifact"]

F32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Artifact:
    """A compiled network, immutable.

    Make one with `lutkan.compile` or `Artifact.open`; run it with `lutkan.load`.

    Attributes
    ----------
    program : Program
        The operations and their arrays.
    info : mapping
        Everything else in the manifest: `spec`, `source`, `calibration`, `verification`, ... plain JSON values.
    golden_x, golden_y : float32 [n, in], [n, out]
        Inputs and the reference runtime's outputs for them, kept in the file for self-tests.
    """

    program: Program
    info: Mapping[str, Any] = field(default_factory=dict)
    golden_x: F32 | None = None
    golden_y: F32 | None = None

    def __post_init__(self) -> None:
        for array in (*encode_program(self.program)[1].values(), self.golden_x, self.golden_y):
            if array is not None:
                array.flags.writeable = False

    @cached_property
    def _packed(self) -> bytes:
        body, arrays = encode_program(self.program)
        parts: dict[str, Any] = {"program": body}
        if self.golden_x is not None and self.golden_y is not None:
            parts["golden"] = {"rows": len(self.golden_x), "x": "golden.x", "y": "golden.y"}
            arrays = {**arrays, "golden.x": self.golden_x, "golden.y": self.golden_y}
        placed, members = lay_out(parts, arrays)
        return pack({**self.info, **placed}, members)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest as it stands in the file."""
        return unpack(self._packed)[0]

    @property
    def nbytes(self) -> int:
        """Size of the file in bytes."""
        return len(self._packed)

    @property
    def table_nbytes(self) -> int:
        """Bytes of all arrays the runtimes need, without manifest, padding and golden vectors."""
        return sum(array.nbytes for array in encode_program(self.program)[1].values())

    @property
    def content_id(self) -> str:
        """sha256 of the canonical manifest, which holds the hash of every array."""
        return str(self.manifest["content_id"])

    def to_bytes(self) -> bytes:
        """Return the content of the file; equal artifacts give equal bytes."""
        return self._packed

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file, at once or not at all.

        Examples
        --------
        >>> import lutkan, tempfile, pathlib
        >>> net = lutkan.import_model({"cheby_coeffs": np.ones((2, 1, 3), dtype=np.float32)})
        >>> art = lutkan.compile(net, spec="segment-int8-L64")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = art.save(pathlib.Path(folder) / "m.lutkan")
        ...     lutkan.Artifact.open(path).content_id == art.content_id
        True
        """
        target = Path(path)
        partial = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            partial.write_bytes(self._packed)
            partial.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise ArtifactError(f"{target}: cannot be written ({error.strerror})", fix="choose another path") from error
        return target

    @staticmethod
    def open(source: str | os.PathLike[str] | bytes) -> Artifact:
        """Read and check an artifact.

        Parameters
        ----------
        source : path or bytes

        Raises
        ------
        ArtifactError
            The file is absent, damaged, hostile, or of an unknown major version.
        """
        data = _read(source)
        manifest, members = unpack(data)
        body, golden, arrays = take_up(manifest.get("program"), manifest.get("golden"), members)
        golden_x, golden_y = arrays.pop("golden.x", None), arrays.pop("golden.y", None)
        program = decode_program(body, arrays)
        _require_golden(golden, golden_x, golden_y, program)
        reserved = ("program", "golden", "format", "format_version", "arrays", "content_id")
        info = {key: value for key, value in manifest.items() if key not in reserved}
        artifact = Artifact(program, info, golden_x, golden_y)
        artifact.__dict__["_packed"] = data  # the file is canonical, so these are the bytes that save() would write
        artifact.__dict__["manifest"] = manifest
        return artifact

    def summary(self) -> str:
        """Describe the artifact for people."""
        source = self.info.get("source", {})
        lines = [
            f"artifact {self.content_id[:12]}: {self.program.in_features} -> {self.program.out_features}, "
            f"{self.program.edges} edges, {self.nbytes} bytes"
            + (f", from {source['family']}" if isinstance(source, dict) and "family" in source else "")
        ]
        for index, step in enumerate(self.program.steps):
            text = f"  {index}: {step.op} {step.shape[0]} -> {step.shape[1]}"
            if isinstance(step, KANOp):
                text += f" {step.name} [{', '.join(_table_text(branch.table) for branch in step.branches)}]"
                if step.requantize is not None:
                    text += f", answers with codes of {step.requantize.bits} bits"
            lines.append(text)
        calibration = self.info.get("calibration", {})
        if isinstance(calibration, dict) and calibration.get("rows", 0) == 0:
            lines.append("  uncalibrated")
        return "\n".join(lines)

    def __reduce__(self):
        return (Artifact.open, (self._packed,))

    def __repr__(self) -> str:
        program = self.program
        return f"Artifact({program.in_features} -> {program.out_features}, {program.edges} edges, {self.nbytes} bytes)"


def _table_text(table: Table) -> str:
    return f"code w{table.coefficient_bits}a{table.bits}" if isinstance(table, CodeTable) else table.op


def _read(source: object) -> bytes:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    try:
        path = Path(source)  # type: ignore[arg-type]
    except TypeError as error:
        raise ArtifactError(f"an artifact of type {type(source).__name__}", "a path, bytes or an Artifact") from error
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a device or a pipe could be read for ever
            raise ArtifactError(f"{path}: not a regular file", "a .lutkan file")
        if status.st_size > MAX_FILE_BYTES:
            raise ArtifactError(f"{path}: {status.st_size} bytes", f"at most {MAX_FILE_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})", "a .lutkan file") from error
    except ValueError as error:  # a path with a null character
        raise ArtifactError(f"{str(path)!r}: cannot be read ({error})", "a .lutkan file") from error


def _require_golden(entry: object, x: F32 | None, y: F32 | None, program: Program) -> None:
    """Check the golden vectors: all of `golden` in the manifest and its two arrays, or nothing of it."""
    if entry is None and x is None and y is None:
        return
    whole = isinstance(entry, dict) and set(entry) == {"rows", "x", "y"} and type(entry["rows"]) is int
    if x is None or y is None or not whole or entry != {"rows": len(x), "x": "golden.x", "y": "golden.y"}:
        raise ArtifactError(
            "manifest.golden and its arrays golden.x and golden.y do not go together",
            "rows: their number, x and y: their places; or nothing of it",
        )
    checks.array("golden.x", x, "float32", (None, program.in_features))
    checks.array("golden.y", y, "float32", (len(x), program.out_features))
