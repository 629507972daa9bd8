"""Where the arrays of a program lie in the members of a file.

An array of 64 KiB or more is a member of its own, named by its path (`s0.b1.table.q`). Smaller ones lie one after
another in one member a dtype, named after the dtype, so that a small network does not pay for dozens of headers. In the
file's JSON an array field is its place: `[member, first element, dimension, ...]`. The layout follows from the arrays
alone, and a file that is laid out differently is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact.codec import LIST_PARTS
from lutkan.artifact.container import DTYPES
from lutkan.artifact.limits import MAX_FILE_BYTES
from lutkan.errors import ArtifactError

__all__ = ["OWN_MEMBER_BYTES", "lay_out", "take_up"]

Arrays = dict[str, NDArray[Any]]
Place = list[str | int]
Outline = tuple[str, tuple[int, ...]]
_GOLDEN = ("golden.x", "golden.y")
#: Arrays of so many bytes have a member of their own.
OWN_MEMBER_BYTES = 1 << 16
# Fields that follow from the spec alone: layers whose arrays are equal share one.
_SHARED_FIELDS = ("weights", "profile_steps", "features")


def lay_out(parts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> tuple[dict[str, Any], Arrays]:
    """Lay arrays out in members, and put their places into the JSON that names them.

    Parameters
    ----------
    parts : mapping
        `program` and, optionally, `golden`: JSON in which `{"array": path}`, or for golden vectors the path, stands
        for an array.
    arrays : mapping of path to array

    Returns
    -------
    dict
        The parts with places.
    dict of str to array
        Members by name.

    Examples
    --------
    >>> arrays = {"s0.scale": np.ones(3, np.float32), "s0.bias": np.zeros(3, np.float32)}
    >>> lay_out({"program": {"scale": {"array": "s0.scale"}}}, arrays)[0]
    {'program': {'scale': ['float32', 3, 3]}}
    """
    places, _, pools = _place(arrays)
    members = {path: array for path, array in arrays.items() if array.nbytes >= OWN_MEMBER_BYTES}
    members |= {name: np.concatenate([part.reshape(-1) for part in parts]) for name, parts in pools.items()}
    return {key: _with_places(value, places) for key, value in parts.items()}, members


def _place(
    arrays: Mapping[str, NDArray[Any]],
) -> tuple[dict[str, Place], dict[str, Outline], dict[str, list[NDArray[Any]]]]:
    """Return the place of every array, dtype and shape of every member, and what the shared members hold in order.

    Copies nothing: a hostile file may name the same bytes many thousand times.
    """
    places: dict[str, Place] = {}
    outlines: dict[str, Outline] = {}
    pools: dict[str, list[NDArray[Any]]] = {}
    sizes: dict[str, int] = {}
    contents: dict[tuple[int, tuple[int, ...], str], bytes] = {}
    known: dict[tuple[str, tuple[int, ...], bytes], Place] = {}
    for path in sorted(arrays):
        array = arrays[path]
        name = array.dtype.name
        if array.nbytes >= OWN_MEMBER_BYTES:
            outlines[path] = (name, array.shape)
            places[path] = [path, 0, *array.shape]
            continue
        place: Place = [name, sizes.get(name, 0), *array.shape]
        if path.rsplit(".", 1)[-1] in _SHARED_FIELDS:
            memory = (array.__array_interface__["data"][0], array.shape, name)
            content = contents.get(memory)
            if content is None:
                content = contents[memory] = array.tobytes()
            first = known.setdefault((name, array.shape, content), place)
            if first is not place:
                places[path] = first
                continue
        places[path] = place
        sizes[name] = sizes.get(name, 0) + array.size
        pools.setdefault(name, []).append(array)
    return places, outlines | {name: (name, (size,)) for name, size in sizes.items()}, pools


def _with_places(value: Any, places: Mapping[str, Place]) -> Any:
    if isinstance(value, str) and value in _GOLDEN:
        return places.get(value, value)
    if isinstance(value, dict):
        path = value.get("array")
        if set(value) == {"array"} and isinstance(path, str) and path in places:
            return places[path]
        return {key: _with_places(item, places) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_places(item, places) for item in value]
    return value


def take_up(program: Any, golden: Any, members: Mapping[str, NDArray[Any]]) -> tuple[Any, Any, Arrays]:
    """Undo `lay_out`.

    Parameters
    ----------
    program, golden : JSON
        With places.
    members : mapping of name to array

    Returns
    -------
    program, golden : JSON
        As `lay_out` takes them.
    arrays : dict of path to array
        Views of the members.

    Raises
    ------
    ArtifactError
        A place that is malformed or lies outside of its member, or a layout that `lay_out` does not give.
    """
    arrays: Arrays = {}
    places: dict[str, Place] = {}

    def take(path: str, place: Place) -> None:
        arrays[path], places[path] = _take(path, place, members), place

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, dict):
            if "array" in value:
                raise ArtifactError(f"{path}: array reference {str(value)[:80]}", "[member, first element, shape ...]")
            return {key: walk_field(item, path, key) for key, item in value.items()}
        return value

    def walk_field(value: Any, path: str, key: str) -> Any:
        where = f"{path}.{key}" if path else key
        if not isinstance(value, list):
            return walk(value, where)
        if key in LIST_PARTS:
            before = f"{path}." if path else ""
            return [walk(item, f"{before}{LIST_PARTS[key]}{index}") for index, item in enumerate(value)]
        take(where, value)
        return {"array": where}

    body = walk(program, "")
    if isinstance(golden, dict):
        golden = dict(golden)
        for path in _GOLDEN:
            name = path.rpartition(".")[2]
            if isinstance(golden.get(name), list):
                take(path, golden[name])
                golden[name] = path
    _require_layout(arrays, places, members)
    return body, golden, arrays


def _take(where: str, place: Place, members: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    name, numbers = (place[0] if place else None), place[1:]
    if not (1 <= len(numbers) <= 5 and isinstance(name, str) and all(type(n) is int and n >= 0 for n in numbers)):
        raise ArtifactError(f"{where}: array place {str(place)[:80]}", "[member, first element, dimension, ...]")
    if name not in members:
        raise ArtifactError(f"{where}: array place {str(place)[:80]}", f"one of the members {', '.join(members)}")
    sizes = [int(n) for n in numbers]
    member, start, shape = members[name], sizes[0], sizes[1:]
    if name not in DTYPES and start == 0 and list(member.shape) == shape:
        return member
    end = start + math.prod(shape)
    # Beside a 0 the other dimensions could be of any size; numpy refuses a shape that overflows.
    large = math.prod(max(n, 1) for n in shape) > MAX_FILE_BYTES
    if name not in DTYPES or member.ndim != 1 or end > member.size or large:
        raise ArtifactError(f"{where}: array place {place}", f"within the member, of shape {list(member.shape)}")
    return member[start:end].reshape(shape)


def _require_layout(
    arrays: Mapping[str, NDArray[Any]], places: Mapping[str, Place], members: Mapping[str, NDArray[Any]]
) -> None:
    """Require that every byte is used, and that arrays lie where saving puts them."""
    expected_places, expected, _ = _place(arrays)
    found = {name: (member.dtype.name, member.shape) for name, member in members.items()}
    for name in sorted({*found, *expected}):
        if found.get(name) != expected.get(name):
            raise ArtifactError(
                f"array {name!r} is {_described(found.get(name))}",
                f"{_described(expected.get(name))}, what the operations name",
            )
    wrong = sorted(path for path in places if places[path] != expected_places[path])
    if wrong:
        path = wrong[0]
        raise ArtifactError(f"{path}: array place {places[path]}", f"{expected_places[path]}, where saving puts it")


def _described(outline: Outline | None) -> str:
    return "absent" if outline is None else f"{outline[0]} {list(outline[1])}"
