"""The artifact container: a manifest and named arrays in one file, in exactly one possible sequence of bytes.

The file is a ZIP that `unzip` and `numpy.load` read. It has a *canonical form*: `pack` is a function of the content
alone, and `unpack` accepts a file only if every byte is the one that `pack` would have written for what was read from
it. A damaged, edited or hostile file is therefore an `ArtifactError`, never a different answer. docs/spec/artifact.md
is the normative description.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lutkan.artifact import limits
from lutkan.artifact.canonical import (
    FIX_DAMAGED,
    canonical_json,
    first_difference,
    parse_bounded,
    require_canonical,
    shorten,
)
from lutkan.errors import ArtifactError

__all__ = ["DTYPES", "FORMAT", "FORMAT_VERSION", "canonical_json", "content_id", "pack", "unpack"]

FORMAT = "lutkan"
FORMAT_VERSION = (1, 0)

DTYPES: Mapping[str, str] = {
    "int8": "|i1",
    "uint8": "|u1",
    "int16": "<i2",
    "uint16": "<u2",
    "int32": "<i4",
    "int64": "<i8",
    "float32": "<f4",
    "float64": "<f8",
}
"""The dtypes an artifact may hold, with their spelling in an npy header."""

_MANIFEST_NAME = b"manifest.json"
_ALIGNMENT = 64
_NPY_HEADER_BYTES = 128  # fixed: four dimensions of ten digits still fit, and the data stays 64-byte aligned
_PAD_ID = 0xD935  # the ZIP extra field that zipalign uses: u16 alignment, then zeros
_PAD_FIXED = struct.Struct("<3H")
_DOS_EPOCH_DATE = 0x0021  # 1980-01-01; the time is 0
_ZIP_VERSION = 20
_UNIX = 3 << 8
_FILE_MODE = 0o100644 << 16
_UINT32_MAX = 0xFFFFFFFF
_UINT16_MAX = 0xFFFF

_ARRAY_NAME = re.compile(r"[a-z0-9_][a-z0-9_.]*")
_RESERVED_KEYS = ("arrays", "content_id")  # recomputed by pack
_ENTRY_KEYS = {"dtype", "shape", "sha256"}

_FIX_REZIPPED = "do not re-zip or edit an artifact; save it again with lutkan"
_FIX_COMPILE = "make an artifact from the model first: lutkan compile MODEL -o OUT.lutkan"
_FIX_SMALLER = "split the model, or ask for fewer segments, samples or bits"


# --------------------------------------------------------------------------------------------------------- manifest


def content_id(manifest: Mapping[str, Any]) -> str:
    """Identify the content of an artifact.

    The manifest holds the sha256 of every array, so this one hash covers everything.

    Parameters
    ----------
    manifest
        A manifest; its own `content_id`, if any, is left out of the hash.

    Returns
    -------
    str
        The sha256, in hex, of the canonical JSON of the manifest without the key `content_id`.

    Raises
    ------
    ArtifactError
        The manifest is not a mapping, or has no canonical JSON.

    Examples
    --------
    >>> content_id({"a": 1}) == content_id({"content_id": "whatever", "a": 1})
    True
    """
    _require_mapping(manifest)
    return hashlib.sha256(canonical_json({k: v for k, v in manifest.items() if k != "content_id"})).hexdigest()


def _parse_manifest(text: bytes) -> dict[str, Any]:
    """Parse the bytes of manifest.json, check format and version, and require the canonical spelling."""
    manifest = parse_bounded(text, "manifest.json")
    if not isinstance(manifest, dict):
        raise ArtifactError(f"manifest.json holds a {type(manifest).__name__}", "a JSON object", FIX_DAMAGED)
    # Before the spelling: another major version may spell differently, and should be told apart from damage.
    _require_version(manifest)
    require_canonical(text, manifest, "manifest.json")
    return manifest


def _require_version(manifest: Mapping[str, Any]) -> None:
    found = manifest.get("format")
    if found != FORMAT:
        raise ArtifactError(
            f"manifest['format'] = {shorten(found)}: not a lutkan artifact", f"{FORMAT!r}", _FIX_COMPILE
        )
    version = manifest.get("format_version")
    if not (isinstance(version, list) and len(version) == 2 and all(type(v) is int and v >= 0 for v in version)):
        raise ArtifactError(
            f"manifest['format_version'] = {shorten(version)}", "[major, minor], two integers >= 0", FIX_DAMAGED
        )
    if version[0] != FORMAT_VERSION[0]:
        raise ArtifactError(
            f"manifest['format_version'] = {version}: an artifact of another major version",
            f"major version {FORMAT_VERSION[0]} (this build reads 1.x and writes 1.0)",
            "upgrade lutkan (pip install -U lutkan), or save the artifact again with this version",
        )


# ------------------------------------------------------------------------------------------------------ ZIP records


@dataclass(frozen=True)
class _Record:
    """A fixed ZIP structure with the names of its fields, so that a message can name the one that differs."""

    layout: struct.Struct
    fields: tuple[str, ...]


_LOCAL = _Record(
    struct.Struct("<4s5H3I2H"),
    (
        "signature",
        "version needed",
        "flags",
        "compression method",
        "time",
        "date",
        "CRC-32",
        "compressed size",
        "size",
        "name length",
        "extra length",
    ),
)
_CENTRAL = _Record(
    struct.Struct("<4s6H3I5H2I"),
    (
        "signature",
        "version made by",
        "version needed",
        "flags",
        "compression method",
        "time",
        "date",
        "CRC-32",
        "compressed size",
        "size",
        "name length",
        "extra length",
        "comment length",
        "disk",
        "internal attributes",
        "external attributes",
        "local header offset",
    ),
)
_END = _Record(
    struct.Struct("<4s4H2IH"),
    (
        "signature",
        "disk",
        "directory disk",
        "entries on this disk",
        "entries",
        "directory size",
        "directory offset",
        "comment length",
    ),
)

_FIELD_NOTES = {
    "compression method": "members are stored, not compressed",
    "compressed size": "a stored member has one size",
    "local header offset": "members follow one another without gap or overlap",
    "size": "the two size records of the member disagree",
    "CRC-32": "the two checksum records of the member disagree",
    "directory size": "the directory ends where the end record starts",
    "directory offset": "the directory follows the last member",
    "comment length": "comments are not part of the format",
    "disk": "multi-part archives are not part of the format",
}


def _pad_field(offset: int, name: bytes) -> bytes:
    """Return the extra field that aligns the data of a member whose local header stands at `offset`."""
    pad = -(offset + _LOCAL.layout.size + len(name) + _PAD_FIXED.size) % _ALIGNMENT
    return _PAD_FIXED.pack(_PAD_ID, 2 + pad, _ALIGNMENT) + bytes(pad)


def _data_offset(offset: int, name: bytes) -> int:
    return offset + _LOCAL.layout.size + len(name) + len(_pad_field(offset, name))


def _local_header(offset: int, name: bytes, crc: int, size: int) -> bytes:
    pad = _pad_field(offset, name)
    fixed = _LOCAL.layout.pack(
        b"PK\x03\x04", _ZIP_VERSION, 0, 0, 0, _DOS_EPOCH_DATE, crc, size, size, len(name), len(pad)
    )
    return fixed + name + pad


def _central_entry(offset: int, name: bytes, crc: int, size: int) -> bytes:
    fixed = _CENTRAL.layout.pack(
        b"PK\x01\x02",
        _UNIX | _ZIP_VERSION,
        _ZIP_VERSION,
        0,
        0,
        0,
        _DOS_EPOCH_DATE,
        crc,
        size,
        size,
        len(name),
        0,
        0,
        0,
        0,
        _FILE_MODE,
        offset,
    )
    return fixed + name


def _end_record(entries: int, directory_size: int, directory_offset: int) -> bytes:
    return _END.layout.pack(b"PK\x05\x06", 0, 0, entries, entries, directory_size, directory_offset, 0)


def _npy_header(descr: str, shape: Iterable[int]) -> bytes:
    """Return magic, version 1.0, length and dictionary of an npy file, `_NPY_HEADER_BYTES` long."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    length = _NPY_HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", length) + text.encode("ascii").ljust(length - 1) + b"\n"


def _name_problem(name: str) -> str:
    """Return why `name` cannot be an array name, or an empty string."""
    if len(name) > limits.MAX_NAME_CHARS:
        return f"it has {len(name)} characters"
    if "/" in name or "\\" in name or ":" in name:
        return "it is a path"
    if not _ARRAY_NAME.fullmatch(name):
        return "it has other characters, or starts with a dot"
    if name.endswith((".npy", ".json")):
        return "numpy.load could not tell it from another member"
    return ""


_NAMES_ALLOWED = (
    f"1 to {limits.MAX_NAME_CHARS} characters of a-z, 0-9, '_' and '.', no leading dot, not ending in .npy or .json"
)


def _itemsize(dtype: str) -> int:
    return int(DTYPES[dtype][2:])


def _shape_problem(shape: Iterable[int], dtype: str) -> str:
    """Return why an array of this shape cannot be stored, or an empty string."""
    dims = tuple(shape)
    if len(dims) > limits.MAX_NDIM:
        return f"{len(dims)} dimensions"
    # Zeros count as ones: numpy itself refuses an empty array whose other dimensions overflow.
    if math.prod(max(d, 1) for d in dims) * _itemsize(dtype) > limits.MAX_FILE_BYTES:
        return f"shape {dims} of {dtype}"
    return ""


_SHAPES_ALLOWED = f"at most {limits.MAX_NDIM} dimensions and {limits.MAX_FILE_BYTES} bytes"


def _require_mapping(manifest: object) -> None:
    if not isinstance(manifest, Mapping):
        raise ArtifactError(
            f"the manifest is of type {type(manifest).__name__}", "a mapping with str keys", "pass a dict"
        )


# ------------------------------------------------------------------------------------------------------------- pack


def pack(manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Write a manifest and named arrays as the bytes of one artifact file.

    The bytes depend on the content alone: packing twice, on any machine and in any order of keys, gives equal bytes.
    The keys `format`, `format_version`, `arrays` (dtype, shape and sha256 of each array) and `content_id` are added;
    `arrays` and `content_id` replace what the manifest had, so that `pack(*unpack(data))` gives `data` again.

    Parameters
    ----------
    manifest
        JSON values only, see `canonical_json`.
    arrays
        Name to array, of any shape up to four dimensions (empty and 0-d too), of a dtype in `DTYPES`. An array that
        is not contiguous, or in the other byte order, is copied.

    Returns
    -------
    bytes
        A ZIP of stored members: `manifest.json`, then one `<name>.npy` an array in order of name, with the data of
        every array at an offset divisible by 64.

    Raises
    ------
    ArtifactError
        A manifest without canonical JSON, another format or version in it, a bad name, a dtype outside the list,
        more than four dimensions, or more than a limit of `lutkan.artifact.limits`.

    Examples
    --------
    >>> data = pack({"note": "tiny"}, {"table": np.arange(6, dtype=np.int8).reshape(2, 3)})
    >>> manifest, arrays = unpack(data)
    >>> manifest["note"], arrays["table"].tolist()
    ('tiny', [[0, 1, 2], [3, 4, 5]])
    """
    _require_mapping(manifest)
    for key, value in (("format", FORMAT), ("format_version", list(FORMAT_VERSION))):
        found = canonical_json(manifest.get(key, value))
        if found != canonical_json(value):
            raise ArtifactError(
                f"manifest[{key!r}] = {shorten(found.decode('ascii'))}",
                f"{value!r}, which this build writes",
                f"leave {key!r} out of the manifest, or upgrade lutkan if it came from a newer file",
            )
    if not isinstance(arrays, Mapping):
        raise ArtifactError(f"arrays is of type {type(arrays).__name__}", "a mapping of name to array", "pass a dict")
    if 1 + len(arrays) > limits.MAX_MEMBERS:
        raise ArtifactError(f"{len(arrays)} arrays", f"at most {limits.MAX_MEMBERS - 1}", "join arrays of one kind")
    for name, array in arrays.items():
        _require_storable(name, array)
    array_bytes = sum(array.nbytes for array in arrays.values())
    if array_bytes > limits.MAX_FILE_BYTES:
        raise ArtifactError(f"arrays of {array_bytes} bytes in all", f"at most {limits.MAX_FILE_BYTES}", _FIX_SMALLER)

    table: dict[str, Any] = {}
    payloads: list[tuple[bytes, bytes, Any]] = []  # member name, npy header, data as uint8
    for name in sorted(arrays):
        dtype = arrays[name].dtype.name
        stored = np.asarray(arrays[name], dtype=DTYPES[dtype], order="C")
        flat = stored.reshape(-1).view(np.uint8)
        table[name] = {"dtype": dtype, "shape": list(stored.shape), "sha256": hashlib.sha256(flat.data).hexdigest()}
        payloads.append((name.encode("ascii") + b".npy", _npy_header(DTYPES[dtype], stored.shape), flat.data))
    full = {key: value for key, value in manifest.items() if key not in _RESERVED_KEYS}
    full.update(format=FORMAT, format_version=list(FORMAT_VERSION), arrays=table)
    full["content_id"] = content_id(full)
    text = canonical_json(full)
    if len(text) > limits.MAX_MANIFEST_BYTES:
        raise ArtifactError(
            f"a manifest of {len(text)} bytes",
            f"at most {limits.MAX_MANIFEST_BYTES}",
            "store bulk numbers as arrays, not in the manifest",
        )
    payloads.insert(0, (_MANIFEST_NAME, text, b""))

    parts: list[Any] = []
    directory: list[bytes] = []
    offset = 0
    for name, head, data in payloads:
        size = len(head) + len(data)
        crc = zlib.crc32(data, zlib.crc32(head))
        parts += (_local_header(offset, name, crc, size), head, data)
        directory.append(_central_entry(offset, name, crc, size))
        offset = _data_offset(offset, name) + size
    directory_size = sum(map(len, directory))
    total = offset + directory_size + _END.layout.size
    if total > limits.MAX_FILE_BYTES:
        raise ArtifactError(f"an artifact of {total} bytes", f"at most {limits.MAX_FILE_BYTES}", _FIX_SMALLER)
    return b"".join([*parts, *directory, _end_record(len(directory), directory_size, offset)])


def _require_storable(name: object, array: object) -> None:
    if not isinstance(name, str):
        raise ArtifactError(f"the array name {shorten(name)} is of type {type(name).__name__}", "str", "pass a str")
    if problem := _name_problem(name):
        raise ArtifactError(f"the array name {shorten(name)}: {problem}", _NAMES_ALLOWED, "rename the array")
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise ArtifactError(
            f"array {name!r} is of type {type(array).__name__}", "numpy.ndarray", "convert it with numpy.asarray"
        )
    if array.dtype.name not in DTYPES:
        raise ArtifactError(
            f"array {name!r} has dtype {array.dtype}", ", ".join(DTYPES), "convert it with .astype(), bool to uint8"
        )
    if problem := _shape_problem(array.shape, array.dtype.name):
        raise ArtifactError(f"array {name!r} has {problem}", _SHAPES_ALLOWED, "reshape or split the array")


# ----------------------------------------------------------------------------------------------------------- unpack


@dataclass(frozen=True)
class _Member:
    name: bytes
    crc: int
    size: int
    offset: int  # of the local header
    data: int  # of the content

    @property
    def where(self) -> str:
        return f"member {self.name.decode('ascii')!a}"


def unpack(data: bytes | bytearray | memoryview) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read the bytes of an artifact file, accepting only the exact bytes that `pack` writes for this content.

    Structure, sizes, checksums (CRC-32 and sha256), the manifest's spelling and its content id are all checked.
    Sizes are checked before anything is allocated. An unknown minor version of a known major version is accepted
    and its manifest returned as it is.

    Parameters
    ----------
    data
        The whole file, as any contiguous buffer.

    Returns
    -------
    manifest : dict
        The parsed manifest, with all its keys.
    arrays : dict of str to numpy.ndarray
        Read-only views into `data`, which they keep alive; do not change `data` while they are in use. Should the
        buffer itself lie at an odd address, an array of larger items is a read-only copy, so that it is aligned.

    Raises
    ------
    ArtifactError
        Whatever else the bytes are: truncated, damaged, edited, re-zipped, of an unknown major version, of another
        file type, or hostile. No other exception is raised for any content.

    Examples
    --------
    >>> manifest, arrays = unpack(pack({}, {"y": np.ones(2, dtype=np.float32)}))
    >>> arrays["y"].flags.writeable, manifest["format_version"]
    (False, [1, 0])
    >>> unpack(b"hello")
    Traceback (most recent call last):
    ...
    lutkan.errors.ArtifactError: the file starts with b'hello': not a lutkan artifact; allowed: a file written by \
lutkan (a ZIP with manifest.json first); fix: make an artifact from the model first: lutkan compile MODEL -o OUT.lutkan
    """
    view = _readonly_bytes(data)
    _require_artifact_start(view)
    members = _read_directory(view)
    for member in members:
        expected = _local_header(member.offset, member.name, member.crc, member.size)
        found = bytes(view[member.offset : member.data])
        _require_record(found, expected, _LOCAL, f"{member.where}, local header", member.offset)
        if zlib.crc32(view[member.data : member.data + member.size]) != member.crc:
            raise ArtifactError(
                f"{member.where}: its bytes do not match their CRC-32", f"CRC-32 {member.crc:08x}", FIX_DAMAGED
            )
    head = members[0]
    manifest = _parse_manifest(bytes(view[head.data : head.data + head.size]))
    table = _array_table(manifest)
    expected_id = content_id(manifest)
    if manifest.get("content_id") != expected_id:
        raise ArtifactError(
            f"manifest['content_id'] = {shorten(manifest.get('content_id'))}",
            f"{expected_id}, the sha256 of this manifest",
            FIX_DAMAGED,
        )
    stored = [member.name[:-4].decode("ascii") for member in members[1:]]
    if stored != sorted(table):
        different = sorted(set(stored) ^ set(table))[0]
        if different in table:
            problem = "is in the manifest and not in the file"
        else:
            problem = "is in the file and not in the manifest"
        raise ArtifactError(f"array {shorten(different)} {problem}", "the same arrays in both", FIX_DAMAGED)
    arrays = {name: _read_array(view, m, name, table[name]) for name, m in zip(stored, members[1:], strict=True)}
    return manifest, arrays


def _readonly_bytes(data: object) -> memoryview:
    """Return `data` as a flat read-only view of bytes."""
    try:
        view = memoryview(data)  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError):
        raise ArtifactError(
            f"data is of type {type(data).__name__}",
            "the bytes of a file (bytes, bytearray, memoryview)",
            "read the file first: pathlib.Path(path).read_bytes()",
        ) from None
    if not view.c_contiguous:
        raise ArtifactError("data is a strided memoryview", "contiguous bytes", "pass bytes(data)")
    if view.nbytes == 0:
        raise ArtifactError("the file is empty (0 bytes)", "a lutkan artifact", "copy or save the file again")
    if view.nbytes > limits.MAX_FILE_BYTES:
        raise ArtifactError(
            f"the file has {view.nbytes} bytes", f"at most {limits.MAX_FILE_BYTES}", "this is no lutkan artifact"
        )
    return view.cast("B").toreadonly()


_OTHER_FILES = (
    (b"\x93NUMPY", "a single .npy array", _FIX_COMPILE),
    (b"\x89HDF\r\n", "an HDF5 file", _FIX_COMPILE),
    (b"\x1f\x8b", "a gzip file", "unpack it with gunzip first"),
    (b"PK\x05\x06", "an empty ZIP", "copy or save the file again"),
    (b"\x80\x02", "a pickle (perhaps an old torch checkpoint)", _FIX_COMPILE),
    (b"\x80\x03", "a pickle", _FIX_COMPILE),
    (b"\x80\x04", "a pickle", _FIX_COMPILE),
    (b"\x80\x05", "a pickle", _FIX_COMPILE),
)
_ALLOWED_FILE = "a file written by lutkan (a ZIP with manifest.json first)"


def _require_artifact_start(view: memoryview) -> None:
    """Refuse, by name where it can be named, a file that does not start as an artifact does."""
    start = bytes(view[:64])
    if start[:4] != b"PK\x03\x04":
        # safetensors has no magic: the u64 length of a JSON header, then the header
        if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= len(view) - 8:
            raise ArtifactError("the file is a safetensors file, not a lutkan artifact", _ALLOWED_FILE, _FIX_COMPILE)
        for magic, kind, fix in _OTHER_FILES:
            if start.startswith(magic):
                raise ArtifactError(f"the file is {kind}, not a lutkan artifact", _ALLOWED_FILE, fix)
        at = bytes(view[:65536]).find(b"PK\x03\x04")
        if at > 0:
            raise ArtifactError(
                f"the file has {at} bytes before its first ZIP member ({start[:12]!r}...)",
                "the first member at byte 0",
                FIX_DAMAGED,
            )
        raise ArtifactError(f"the file starts with {start[:12]!r}: not a lutkan artifact", _ALLOWED_FILE, _FIX_COMPILE)
    if len(view) < _LOCAL.layout.size:
        raise _truncated(view)
    name_length = _LOCAL.layout.unpack_from(view)[9]
    name = bytes(view[30 : 30 + min(name_length, 512)])
    if name == _MANIFEST_NAME:
        return
    if len(view) < 30 + name_length:
        raise _truncated(view)
    if name.endswith(b"data.pkl") or b"data.pkl" in bytes(view[-65536:]):
        raise ArtifactError("the file is a torch checkpoint (it contains data.pkl)", _ALLOWED_FILE, _FIX_COMPILE)
    if name.endswith(b".npy"):
        raise ArtifactError(
            f"the file is a plain .npz (its first member is {shorten(name.decode('latin-1'))})",
            _ALLOWED_FILE,
            _FIX_COMPILE,
        )
    raise ArtifactError(
        f"the first member of the ZIP is {shorten(name.decode('latin-1'))}: not a lutkan artifact, or a damaged one",
        _ALLOWED_FILE,
        FIX_DAMAGED,
    )


def _truncated(view: memoryview) -> ArtifactError:
    return ArtifactError(
        f"the file ends after {len(view)} bytes without the ZIP end record: it is cut short or damaged",
        "a whole artifact, with the end record in its last 22 bytes",
        "copy the file again, whole",
    )


def _zip64(where: str) -> ArtifactError:
    return ArtifactError(
        f"{where} uses zip64", f"32-bit ZIP fields (a file has at most {limits.MAX_FILE_BYTES} bytes)", _FIX_REZIPPED
    )


def _read_directory(view: memoryview) -> list[_Member]:
    """Walk the central directory; every field must be the one `pack` writes after the members before it."""
    end_at = len(view) - _END.layout.size
    if end_at < 0:
        raise _truncated(view)
    end = bytes(view[end_at:])
    if end[:4] != b"PK\x05\x06":
        tail = bytes(view[max(0, end_at - _UINT16_MAX) : end_at + 3])
        at = tail.rfind(b"PK\x05\x06")
        if at < 0:
            raise _truncated(view)
        raise ArtifactError(
            f"the file has {len(tail) - 3 - at} bytes after the ZIP end record",
            "no bytes after it, and no comment",
            FIX_DAMAGED,
        )
    entries, directory_size, directory_offset = _END.layout.unpack(end)[4:7]
    if (
        _UINT16_MAX == entries
        or _UINT32_MAX in (directory_size, directory_offset)
        or bytes(view[max(0, end_at - 20) : end_at][:4]) == b"PK\x06\x07"
    ):
        raise _zip64("the ZIP end record")
    if not 1 <= entries <= limits.MAX_MEMBERS:
        raise ArtifactError(f"the ZIP end record counts {entries} members", f"1 to {limits.MAX_MEMBERS}", FIX_DAMAGED)
    if directory_offset + directory_size != end_at:
        raise ArtifactError(
            f"the ZIP directory is said to cover bytes {directory_offset} to {directory_offset + directory_size}",
            f"a directory that ends at byte {end_at}, where the end record starts",
            FIX_DAMAGED,
        )
    members: list[_Member] = []
    at, offset = directory_offset, 0
    for i in range(entries):
        where = f"directory entry {i}"
        if at + _CENTRAL.layout.size > end_at:
            raise ArtifactError(f"{where} does not fit in the directory", f"{entries} whole entries", FIX_DAMAGED)
        fields = _CENTRAL.layout.unpack_from(view, at)
        if fields[0] != b"PK\x01\x02":
            raise ArtifactError(
                f"{where} (byte {at}) starts with {fields[0]!r}, not with its signature", "b'PK\\x01\\x02'", FIX_DAMAGED
            )
        crc, compressed, size, name_length, local_offset = fields[7], fields[8], fields[9], fields[10], fields[16]
        name = bytes(view[at + _CENTRAL.layout.size : min(at + _CENTRAL.layout.size + name_length, end_at)])
        if len(name) != name_length:
            raise ArtifactError(f"{where} does not fit in the directory", f"{entries} whole entries", FIX_DAMAGED)
        if _UINT32_MAX in (compressed, size, local_offset):
            raise _zip64(f"{where} ({shorten(name.decode('latin-1'))})")
        _require_member_name(name, i, members)
        expected = _central_entry(offset, name, crc, size)
        found = bytes(view[at : at + len(expected)])
        _require_record(found, expected, _CENTRAL, f"{where} ({name.decode('ascii')!a})", at)
        start = _data_offset(offset, name)
        if start + size > directory_offset:
            raise ArtifactError(
                f"{where} ({name.decode('ascii')!a}) claims {size} bytes from byte {start} on",
                f"at most {max(0, directory_offset - start)} bytes, up to the directory",
                FIX_DAMAGED,
            )
        members.append(_Member(name, crc, size, offset, start))
        at += len(expected)
        offset = start + size
    if at != end_at:
        raise ArtifactError(
            f"the ZIP directory has {end_at - at} bytes after its {entries} entries", "no other bytes", FIX_DAMAGED
        )
    if offset != directory_offset:
        raise ArtifactError(
            f"the last member ends at byte {offset}, and the directory starts at byte {directory_offset}",
            "no bytes between them",
            FIX_DAMAGED,
        )
    _require_record(end, _end_record(entries, directory_size, directory_offset), _END, "the ZIP end record", end_at)
    if members[0].size > limits.MAX_MANIFEST_BYTES:
        raise ArtifactError(
            f"manifest.json has {members[0].size} bytes", f"at most {limits.MAX_MANIFEST_BYTES}", FIX_DAMAGED
        )
    return members


def _require_member_name(name: bytes, index: int, members: list[_Member]) -> None:
    shown = shorten(name.decode("latin-1"))
    if any(name == member.name for member in members[:1]) or (members and name == members[-1].name):
        raise ArtifactError(f"directory entry {index}: member {shown} occurs twice", "every member once", FIX_DAMAGED)
    if index == 0:
        if name != _MANIFEST_NAME:
            raise ArtifactError(f"directory entry 0 is {shown}", "'manifest.json' first", FIX_DAMAGED)
        return
    if not name.endswith(b".npy") or _name_problem(name[:-4].decode("latin-1")):
        raise ArtifactError(
            f"directory entry {index}: member {shown}: {_name_problem(name[:-4].decode('latin-1')) or 'not a .npy'}",
            f"manifest.json and <name>.npy, where a name has {_NAMES_ALLOWED}",
            "do not unpack or load this file; it was not written by lutkan",
        )
    if index > 1 and name[:-4] < members[-1].name[:-4]:
        known = any(name == member.name for member in members)
        raise ArtifactError(
            f"directory entry {index}: member {shown} " + ("occurs twice" if known else "is out of order"),
            "arrays in order of name, each once",
            FIX_DAMAGED,
        )


def _require_record(found: bytes, expected: bytes, record: _Record, where: str, offset: int) -> None:
    """Require a ZIP structure to be the regenerated one; otherwise name the field that differs."""
    if found == expected:
        return
    fixed = record.layout.size
    if found[:fixed] != expected[:fixed]:
        fields = zip(
            record.fields, record.layout.unpack(found[:fixed]), record.layout.unpack(expected[:fixed]), strict=True
        )
        differing = [(name, is_, should) for name, is_, should in fields if is_ != should]
        # The telling fields first: a re-zipped file also differs in versions, times and attributes.
        name, is_, should = min(differing, key=lambda field: (field[0] != "flags", field[0] not in _FIELD_NOTES))
        note = _flags_note(is_) if name == "flags" else _FIELD_NOTES.get(name, "")
        raise ArtifactError(
            f"{where} (byte {offset}): {name} = {is_!r}" + (f" ({note})" if note else ""), f"{should!r}", _FIX_REZIPPED
        )
    at = first_difference(found, expected)
    raise ArtifactError(
        f"{where}: byte {offset + at} (in the name or padding) is {found[at : at + 1].hex() or 'missing'}",
        f"{expected[at : at + 1].hex()}",
        FIX_DAMAGED,
    )


def _flags_note(flags: int) -> str:
    if flags & 0x2041:
        return "the member is encrypted"
    if flags & 0x8:
        return "the member has a data descriptor"
    if flags & 0x800:
        return "the UTF-8 flag; names are ASCII here"
    return "no flag is part of the format"


def _array_table(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return manifest['arrays'] with every entry checked for form and limits."""
    table = manifest.get("arrays")
    if not isinstance(table, dict):
        raise ArtifactError(
            f"manifest['arrays'] is of type {type(table).__name__}", "an object of name: entry", FIX_DAMAGED
        )
    # A later minor version may add keys to an entry; this one writes exactly three.
    exact = manifest["format_version"][1] <= FORMAT_VERSION[1]
    for name, entry in table.items():
        where = f"manifest['arrays'][{shorten(name)}]"
        if problem := _name_problem(name):
            raise ArtifactError(f"{where}: {problem}", _NAMES_ALLOWED, FIX_DAMAGED)
        if not isinstance(entry, dict) or not entry.keys() >= _ENTRY_KEYS or (exact and entry.keys() != _ENTRY_KEYS):
            raise ArtifactError(f"{where} = {shorten(entry)}", "an object of dtype, shape and sha256", FIX_DAMAGED)
        dtype, shape = entry["dtype"], entry["shape"]
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise ArtifactError(f"{where}['dtype'] = {shorten(dtype)}", ", ".join(DTYPES), FIX_DAMAGED)
        if not isinstance(shape, list) or not all(type(d) is int and d >= 0 for d in shape):
            raise ArtifactError(f"{where}['shape'] = {shorten(shape)}", "a list of integers >= 0", FIX_DAMAGED)
        if problem := _shape_problem(shape, dtype):
            raise ArtifactError(f"{where} has {shorten(problem)}", _SHAPES_ALLOWED, FIX_DAMAGED)
    return table


def _read_array(view: memoryview, member: _Member, name: str, entry: Mapping[str, Any]) -> np.ndarray:
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    count = math.prod(shape)
    expected = _NPY_HEADER_BYTES + count * _itemsize(dtype)
    if member.size != expected:
        raise ArtifactError(
            f"{member.where} has {member.size} bytes", f"{expected}, for shape {shape} of {dtype}", FIX_DAMAGED
        )
    start = member.data + _NPY_HEADER_BYTES
    found, header = bytes(view[member.data : start]), _npy_header(DTYPES[dtype], shape)
    if found != header:
        at = first_difference(found, header)
        raise ArtifactError(
            f"{member.where}, npy header: byte {member.data + at} is {found[at]:02x}",
            f"{header[at]:02x}, for shape {shape} of {dtype}, C order, npy version 1.0",
            FIX_DAMAGED,
        )
    digest = hashlib.sha256(view[start : member.data + member.size]).hexdigest()
    if digest != entry["sha256"]:
        raise ArtifactError(
            f"{member.where}: the sha256 of its data is {digest}",
            f"{shorten(entry['sha256'])}, as manifest['arrays'][{name!r}] says",
            FIX_DAMAGED,
        )
    array = np.frombuffer(view, dtype=DTYPES[dtype], count=count, offset=start).reshape(shape)
    if not array.flags.aligned:
        array = array.copy()
        array.flags.writeable = False
    return array
