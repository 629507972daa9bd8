"""Canonical JSON: one spelling a value, written and read within fixed limits.

Written as bytes that depend on the value alone, so that a hash of them identifies it; read defensively, since a parser
recurses and allocates as its input tells it to.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from lutkan.artifact import limits
from lutkan.errors import ArtifactError

__all__ = ["FIX_DAMAGED", "canonical_json", "first_difference", "parse_bounded", "require_canonical", "shorten"]

FIX_DAMAGED = "the file is damaged or was edited; copy it again, or save it again with lutkan"

_PRINTABLE_ASCII = bytes(range(0x20, 0x7F))


def canonical_json(obj: Any) -> bytes:
    """Encode a JSON value in its one canonical spelling.

    Keys are sorted by code point, there is no white space, characters outside printable ASCII are escaped, floats are
    the shortest decimal that reads back the same (Python's `repr`), and integers stay integers. Tuples become lists.

    Parameters
    ----------
    obj
        Mappings with str keys, lists, tuples, str, int (64 bit), finite float, bool or None, within the limits of
        `lutkan.artifact.limits`.

    Returns
    -------
    bytes
        ASCII only.

    Raises
    ------
    ArtifactError
        A value that JSON lacks (NaN, infinity, another type, a lone surrogate), a key that is not a str, an integer
        outside 64 bits, or a value too deep or too large.

    Examples
    --------
    >>> canonical_json({"b": [1, 0.5], "a": None})
    b'{"a":null,"b":[1,0.5]}'
    """
    counter = [0]
    plain = _plain(obj, None, 1, counter)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def _plain(value: Any, path: tuple[Any, Any] | None, depth: int, counter: list[int]) -> Any:
    """Copy `value` with mappings as dicts and sequences as lists, refusing all that canonical JSON lacks.

    `path` is a linked list (parent path, key), turned into text only for a message.
    """
    counter[0] += 1
    if counter[0] > limits.MAX_JSON_NODES:
        raise ArtifactError(
            "the manifest has too many values", f"at most {limits.MAX_JSON_NODES}", "store bulk numbers as arrays"
        )
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        _require_unicode(value, path)
        return value
    if isinstance(value, int):
        if not limits.MIN_JSON_INT <= value <= limits.MAX_JSON_INT:
            raise ArtifactError(
                f"{_path_text(path)} is an integer of {value.bit_length()} bits",
                "integers that fit int64",
                "write it as a string",
            )
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ArtifactError(f"{_path_text(path)} = {value!r}", "finite numbers", "use null for a missing number")
        return value
    if isinstance(value, Mapping):
        _require_depth(depth, path)
        copy = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise ArtifactError(
                    f"{_path_text(path)} has the key {shorten(key)} of type {type(key).__name__}",
                    "keys of type str",
                    "convert the key with str()",
                )
            _require_unicode(key, (path, key))
            copy[key] = _plain(item, (path, key), depth + 1, counter)
        return copy
    if isinstance(value, (list, tuple)):
        _require_depth(depth, path)
        return [_plain(item, (path, i), depth + 1, counter) for i, item in enumerate(value)]
    raise ArtifactError(
        f"{_path_text(path)} is of type {type(value).__name__}",
        "mapping, list, tuple, str, int, float, bool or None",
        "convert numpy scalars with .item(); pass arrays in `arrays`",
    )


def _require_unicode(text: str, path: tuple[Any, Any] | None) -> None:
    if text.isascii():
        return
    for i, char in enumerate(text):
        if "\ud800" <= char <= "\udfff":
            raise ArtifactError(
                f"{_path_text(path)} has the lone surrogate U+{ord(char):04X} at character {i}",
                "Unicode text",
                "decode the text with its right encoding",
            )


def _require_depth(depth: int, path: tuple[Any, Any] | None) -> None:
    if depth > limits.MAX_JSON_DEPTH:
        raise ArtifactError(
            f"{_path_text(path)} is nested {depth} deep",
            f"at most {limits.MAX_JSON_DEPTH} objects and lists inside one another",
            "flatten the manifest (or break its reference to itself)",
        )


def _path_text(path: tuple[Any, Any] | None) -> str:
    keys: list[str] = []
    while path is not None:
        path, key = path
        keys.append(f"[{key}]" if isinstance(key, int) else f"[{shorten(key)}]")
    return "manifest" + "".join(reversed(keys))


def parse_bounded(text: bytes, where: str) -> Any:
    """Parse JSON of unknown origin in bounded time and memory.

    Parameters
    ----------
    text
        JSON in printable ASCII, as `canonical_json` writes it.
    where
        What the text is, for messages.

    Returns
    -------
    Any
        The value. That its spelling is the canonical one is left to `require_canonical`.

    Raises
    ------
    ArtifactError
        Bytes other than printable ASCII, no JSON, a key twice, a number that is not finite or does not fit, or a
        value beyond the limits of `lutkan.artifact.limits`.

    Examples
    --------
    >>> parse_bounded(b'{"a":[1,2.5]}', "example")
    {'a': [1, 2.5]}
    """
    strange = text.translate(None, delete=_PRINTABLE_ASCII)
    if strange:
        raise ArtifactError(
            f"{where} has the byte 0x{strange[0]:02x} at byte {text.index(strange[:1])}",
            "printable ASCII (other characters are escaped)",
            FIX_DAMAGED,
        )
    _require_bounded(text, where)
    try:
        return json.loads(
            text.decode("ascii"),
            object_pairs_hook=_unique_keys,
            parse_int=_parse_int,
            parse_float=_parse_float,
            parse_constant=_parse_constant,
        )
    except json.JSONDecodeError as error:
        raise ArtifactError(
            f"{where} is not JSON: {error.msg} at byte {error.pos}", "canonical JSON", FIX_DAMAGED
        ) from None


def require_canonical(text: bytes, value: Any, where: str) -> None:
    """Require `text` to be the canonical JSON of `value`.

    Raises
    ------
    ArtifactError
        With the first byte that differs.

    Examples
    --------
    >>> require_canonical(b"[1, 2]", [1, 2], "example")
    Traceback (most recent call last):
    ...
    lutkan.errors.ArtifactError: example, byte 3: ' 2]' where the canonical spelling has '2]'; allowed: ...
    """
    expected = canonical_json(value)
    if text != expected:
        at = first_difference(text, expected)
        raise ArtifactError(
            f"{where}, byte {at}: {shorten(text[at : at + 16].decode('ascii'))} where the canonical spelling has "
            f"{shorten(expected[at : at + 16].decode('ascii'))}",
            "canonical JSON (sorted keys, no white space, shortest numbers)",
            FIX_DAMAGED,
        )


_DEPTH_STEP = np.zeros(256, dtype=np.int8)
_DEPTH_STEP[list(b"[{")] = 1
_DEPTH_STEP[list(b"]}")] = -1
_SCAN_BLOCK = 1 << 16


def _require_bounded(text: bytes, where: str) -> None:
    """Bound depth and number of values of JSON `text` before the parser sees it (it recurses, and allocates)."""
    # Escapes occur in strings only; without them a quote always opens or closes one. Both replacements go from left
    # to right, so the pairs of a run of backslashes are found as a JSON parser finds them.
    flat = np.frombuffer(text.replace(b"\\\\", b"").replace(b'\\"', b""), dtype=np.uint8)
    depth, deepest, openings_and_commas, in_string = 0, 0, 0, False
    for start in range(0, flat.size, _SCAN_BLOCK):
        block = flat[start : start + _SCAN_BLOCK]
        inside = np.logical_xor.accumulate(block == ord('"')) ^ in_string
        in_string = bool(inside[-1])
        step = _DEPTH_STEP[block]
        step[inside] = 0
        depths = depth + np.cumsum(step, dtype=np.int64)
        depth = int(depths[-1])
        deepest = max(deepest, int(depths.max()))
        openings_and_commas += int(np.count_nonzero(step > 0)) + int(np.count_nonzero((block == ord(",")) & ~inside))
    if deepest > limits.MAX_JSON_DEPTH:
        raise ArtifactError(
            f"{where} is nested {deepest} deep",
            f"at most {limits.MAX_JSON_DEPTH} objects and lists inside one another",
            "do not load this file; it was not written by lutkan",
        )
    # Values = 1 + commas + openings of non-empty containers; empty ones are counted too here, hence the factor.
    # The exact count is taken once the value is parsed.
    if 1 + openings_and_commas > 2 * limits.MAX_JSON_NODES:
        raise ArtifactError(
            f"{where} has more than {limits.MAX_JSON_NODES} values",
            f"at most {limits.MAX_JSON_NODES}",
            "do not load this file; it was not written by lutkan",
        )


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise ArtifactError(f"manifest.json has the key {shorten(key)} twice", "every key once", FIX_DAMAGED)
        out[key] = value
    return out


def _parse_int(digits: str) -> int:
    if len(digits) > len(str(limits.MIN_JSON_INT)):
        raise ArtifactError(
            f"manifest.json has an integer of {len(digits)} characters", "integers that fit int64", FIX_DAMAGED
        )
    return int(digits)


def _parse_float(text: str) -> float:
    if len(text) > 32 or not math.isfinite(value := float(text)):
        raise ArtifactError(
            f"manifest.json has the number {shorten(text)}",
            "finite numbers in their shortest spelling",
            FIX_DAMAGED,
        )
    return value


def _parse_constant(text: str) -> NoReturn:
    raise ArtifactError(f"manifest.json has the number {text}", "finite numbers", FIX_DAMAGED)


def shorten(value: object) -> str:
    """Return `value` in ASCII, as Python writes it, at most 80 characters long."""
    try:
        text = ascii(value)
    except ValueError:  # an integer of more digits than Python prints
        text = f"a {type(value).__name__} too long to print"
    return text if len(text) <= 80 else text[:60] + "..." + text[-12:]


def first_difference(a: bytes, b: bytes) -> int:
    """Return the index of the first byte in which `a` and `b` differ (the shorter length if none does)."""
    low, high = 0, min(len(a), len(b))
    while low < high:  # a[:low] == b[:low] holds throughout
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
