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
from lutkan.errors import ArtifactError

__all__ = ["OWN_MEMBER_BYTES", "lay_out", "take_up"]

Arrays = dict[str, NDArray[Any]]
Place = list[str | int]
_GOLDEN = ("golden.x", "golden.y")
#: Arrays of so many bytes have a member of their own.
OWN_MEMBER_BYTES = 1 << 16
# Fields that follow from the spec alone: layers whose arrays are equal share one.
_SHARED_FIELDS = ("weights", "profile_steps")


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
    places, members = _place(arrays)
    return {key: _with_places(value, places) for key, value in parts.items()}, members


def _place(arrays: Mapping[str, NDArray[Any]]) -> tuple[dict[str, Place], Arrays]:
    """Return the place of every array, and the members, both in order of the arrays' paths."""
    places: dict[str, Place] = {}
    members: Arrays = {}
    pools: dict[str, list[NDArray[Any]]] = {}
    known: dict[tuple[str, tuple[int, ...], bytes], Place] = {}
    for path in sorted(arrays):
        array = arrays[path]
        if array.nbytes >= OWN_MEMBER_BYTES:
            members[path] = array
            places[path] = [path, 0, *array.shape]
            continue
        pool = pools.setdefault(array.dtype.name, [])
        place: Place = [array.dtype.name, sum(part.size for part in pool), *array.shape]
        if path.rsplit(".", 1)[-1] in _SHARED_FIELDS:
            first = known.setdefault((array.dtype.name, array.shape, array.tobytes()), place)
            if first is not place:
                places[path] = first
                continue
        places[path] = place
        pool.append(array.reshape(-1))
    return places, members | {name: np.concatenate(parts) for name, parts in pools.items()}


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
    member, start, shape = members[name], numbers[0], numbers[1:]
    if name not in DTYPES and start == 0 and list(member.shape) == shape:
        return member
    end = start + math.prod(shape)  # type: ignore[operator,arg-type]
    if name not in DTYPES or member.ndim != 1 or end > member.size:
        raise ArtifactError(f"{where}: array place {place}", f"within the member, of shape {list(member.shape)}")
    return member[start:end].reshape(shape)


def _require_layout(
    arrays: Mapping[str, NDArray[Any]], places: Mapping[str, Place], members: Mapping[str, NDArray[Any]]
) -> None:
    """Require that every byte is used, and that arrays lie where saving puts them."""
    expected_places, expected = _place(arrays)
    for name in sorted({*members, *expected}):
        found, should = (_outline(each.get(name)) for each in (members, expected))
        if found != should:
            raise ArtifactError(f"array {name!r} is {found}", f"{should}, what the operations name")
    wrong = sorted(path for path in places if places[path] != expected_places[path])
    if wrong:
        path = wrong[0]
        raise ArtifactError(f"{path}: array place {places[path]}", f"{expected_places[path]}, where saving puts it")


def _outline(member: NDArray[Any] | None) -> str:
    return "absent" if member is None else f"{member.dtype} {list(member.shape)}"
