"""Between a `Program` and its JSON plus named arrays.

An operation becomes `{"op": name, field: value, ...}`; an array field becomes `{"array": name}` where the name is the
path of the field (`s0.b1.table.q`), which is checked on the way back. Everything else that is found is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutkan.artifact.program import OPS, Program
from lutkan.errors import ArtifactError

__all__ = ["LIST_PARTS", "decode_program", "encode_program"]

Arrays = dict[str, NDArray[Any]]
#: Short path parts for the tuples of operations, so that array names stay readable.
LIST_PARTS = {"steps": "s", "branches": "b", "pre": "p"}


def encode_program(program: Program) -> tuple[dict[str, Any], Arrays]:
    """Return the JSON form of a program and its arrays by name."""
    arrays: Arrays = {}
    steps = [_encode(step, f"s{index}", arrays) for index, step in enumerate(program.steps)]
    return {"in_features": program.in_features, "out_features": program.out_features, "steps": steps}, arrays


def _encode(op: Any, path: str, arrays: Arrays) -> dict[str, Any]:
    body: dict[str, Any] = {"op": op.op}
    for field in fields(op):
        value = getattr(op, field.name)
        if value is None and field.name in _added(op):
            continue
        where = f"{path}.{field.name}"
        if isinstance(value, np.ndarray):
            arrays[where] = value
            value = {"array": where}
        elif isinstance(value, tuple):
            part = LIST_PARTS[field.name]
            value = [_encode(item, f"{path}.{part}{index}", arrays) for index, item in enumerate(value)]
        elif hasattr(value, "op"):
            value = _encode(value, where, arrays)
        body[field.name] = value
    return body


def _added(kind: Any) -> tuple[str, ...]:
    """Return the fields that a file leaves out where they are None."""
    return getattr(kind, "added", ())


def decode_program(body: object, arrays: Mapping[str, NDArray[Any]]) -> Program:
    """Read what `encode_program` wrote, and check all of it.

    Raises
    ------
    ArtifactError
        Unknown operations or fields, arrays that are missing, left over or do not fit.
    """
    if not isinstance(body, Mapping) or set(body) != {"in_features", "out_features", "steps"}:
        raise ArtifactError("manifest.program is malformed", "in_features, out_features and steps")
    if not isinstance(body["steps"], list):
        raise ArtifactError("manifest.program.steps is not a list", "a list of operations")
    used: set[str] = set()
    steps = tuple(_decode(step, f"s{index}", arrays, used) for index, step in enumerate(body["steps"]))
    left = sorted(set(arrays) - used)
    if left:
        raise ArtifactError(f"array {left[0]!r} belongs to no operation", "only arrays that operations name")
    program = Program(body["in_features"], steps)
    if type(body["out_features"]) is not int or program.out_features != body["out_features"]:
        raise ArtifactError(
            f"manifest.program.out_features is {body['out_features']!r}", f"{program.out_features}, what the steps give"
        )
    return program


def _decode(body: object, path: str, arrays: Mapping[str, NDArray[Any]], used: set[str]) -> Any:
    if not isinstance(body, Mapping) or not isinstance(body.get("op"), str) or body["op"] not in OPS:
        raise ArtifactError(f"{path}: not a known operation", ", ".join(OPS), "upgrade lutkan if the file is newer")
    kind = OPS[body["op"]]
    names = [field.name for field in fields(kind)]
    added = {name for name in _added(kind) if name not in body}
    if {*body, *added} != {"op", *names} or any(body.get(name, 0) is None for name in _added(kind)):
        raise ArtifactError(f"{path} ({kind.op}): fields {sorted(body)}", ", ".join(["op", *names]))
    values: dict[str, Any] = {}
    for name in names:
        if name in added:
            continue
        value = body[name]
        where = f"{path}.{name}"
        if isinstance(value, Mapping) and "array" in value:
            if value != {"array": where} or where not in arrays:
                raise ArtifactError(
                    f"{where}: array reference {str(value)[:80]}", f"{{'array': {where!r}}}, and present"
                )
            used.add(where)
            value = arrays[where]
        elif isinstance(value, Mapping):
            value = _decode(value, where, arrays, used)
        elif isinstance(value, list):
            if name not in LIST_PARTS:
                raise ArtifactError(f"{where}: a list", "no list here")
            value = tuple(_decode(item, f"{path}.{LIST_PARTS[name]}{i}", arrays, used) for i, item in enumerate(value))
        values[name] = value
    return kind(**values)
