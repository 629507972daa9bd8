"""A second writer of the artifact container, from docs/spec/artifact.md alone, that can also write it wrong.

Tests build hostile files with it: any ZIP field can be overridden while checksums and offsets stay consistent.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LOCAL = "<4sHHHHHIIIHH"
LOCAL_FIELDS = ("sig", "version", "flags", "method", "time", "date", "crc", "csize", "size", "nlen", "xlen")
CENTRAL = "<4sHHHHHHIIIHHHHHII"
CENTRAL_FIELDS = (
    *("sig", "made_by", "version", "flags", "method", "time", "date", "crc", "csize", "size", "nlen", "xlen"),
    *("clen", "disk", "iattr", "eattr", "offset"),
)
END = "<4sHHHHIIH"
END_FIELDS = ("sig", "disk", "cd_disk", "disk_entries", "entries", "cd_size", "cd_offset", "clen")


@dataclass
class Member:
    """One ZIP member; `local` and `central` override header fields, `extra` the pad field, `tail` adds bytes."""

    name: bytes
    data: bytes
    local: dict[str, Any] = field(default_factory=dict)
    central: dict[str, Any] = field(default_factory=dict)
    extra: bytes | None = None
    tail: bytes = b""  # bytes after the data
    central_tail: bytes = b""  # bytes after the name in the directory


def _record(layout: str, names: Sequence[str], values: Mapping[str, Any]) -> bytes:
    return struct.pack(layout, *(values[name] for name in names))


def write_zip(
    members: Sequence[Member],
    end: Mapping[str, Any] | None = None,
    *,
    prefix: bytes = b"",
    gap: bytes = b"",
    before_end: bytes = b"",
    suffix: bytes = b"",
) -> bytes:
    """Write members as a ZIP of stored, 64-byte aligned members."""
    out = bytearray(prefix)
    directory = bytearray()
    for m in members:
        crc, size, offset = zlib.crc32(m.data), len(m.data), len(out)
        extra = m.extra
        if extra is None:
            pad = -(offset + 30 + len(m.name) + 6) % 64
            extra = struct.pack("<HHH", 0xD935, pad + 2, 64) + b"\0" * pad
        common = {
            **{"flags": 0, "method": 0, "time": 0, "date": 33, "crc": crc, "csize": size, "size": size, "version": 20},
            **{"nlen": len(m.name)},
        }
        local = {**common, "sig": b"PK\x03\x04", "xlen": len(extra), **m.local}
        out += _record(LOCAL, LOCAL_FIELDS, local) + m.name + extra + m.data + m.tail
        central = {
            **common,
            **{"sig": b"PK\x01\x02", "made_by": 3 * 256 + 20, "xlen": 0, "clen": 0, "disk": 0, "iattr": 0},
            **{"eattr": 0o100644 << 16, "offset": offset},
            **m.central,
        }
        directory += _record(CENTRAL, CENTRAL_FIELDS, central) + m.name + m.central_tail
    out += gap
    fields = {
        **{"sig": b"PK\x05\x06", "disk": 0, "cd_disk": 0, "disk_entries": len(members), "entries": len(members)},
        **{"cd_size": len(directory), "cd_offset": len(out), "clen": 0},
        **(end or {}),
    }
    return bytes(out + directory + before_end + _record(END, END_FIELDS, fields) + suffix)


def npy_header(descr: str, shape: tuple[int, ...], *, fortran: bool = False, version: int = 1) -> bytes:
    """Return the 128 bytes before the data of an npy member."""
    text = repr({"descr": descr, "fortran_order": fortran, "shape": shape})[:-1] + ", }"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", 118) + text.encode().ljust(117) + b"\n"


def spell(value: Any) -> bytes:
    """Return the canonical JSON of `value`."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def identify(manifest: Mapping[str, Any]) -> str:
    """Return the content id of a manifest."""
    return hashlib.sha256(spell({k: v for k, v in manifest.items() if k != "content_id"})).hexdigest()


def describe(manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the manifest with the keys that the container adds."""
    table = {
        name: {
            "dtype": a.dtype.name,
            "shape": list(a.shape),
            "sha256": hashlib.sha256(a.tobytes()).hexdigest(),
        }
        for name, a in arrays.items()
    }
    full = {**manifest, "format": "lutkan", "format_version": [1, 0], "arrays": table}
    return {**full, "content_id": identify(full)}


def array_members(arrays: Mapping[str, np.ndarray]) -> list[Member]:
    """Return the members of the arrays, in order of name."""
    return [
        Member(name.encode() + b".npy", npy_header(arrays[name].dtype.str, arrays[name].shape) + arrays[name].tobytes())
        for name in sorted(arrays)
    ]


def write_artifact(manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Write an artifact as the specification says."""
    return write_zip([Member(b"manifest.json", spell(describe(manifest, arrays))), *array_members(arrays)])
