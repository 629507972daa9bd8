"""Programs changed at random, packed again with valid hashes: an ArtifactError, or they load and predict.

A container that is whole says nothing about what is in it. Each case edits the JSON of a real program and its arrays,
and what the checks let through has to run on every runtime without a crash and with the same bits. The cases are
seeded; a failure names its number.
"""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest

import lutkan
from conformance import networks
from conformance.cases import same_bits
from lutkan.artifact.codec import encode_program
from lutkan.artifact.container import pack
from lutkan.artifact.layout import lay_out
from lutkan.artifact.program import OPS
from lutkan.errors import ArtifactError
from lutkan.runtimes import available_runtimes
from lutkan.tables import SegmentSpec, Spec

CASES, CHUNKS = 20_000, 8
RUNTIMES = [name for name, missing in available_runtimes().items() if not missing]

PROGRAMS = [
    lutkan.compile(net, spec).program
    for net, spec in (
        (networks.glued(), Spec(SegmentSpec(4, "uint8"), (("a", SegmentSpec(3, oob_policy="clip_x")),))),
        (networks.masked(), SegmentSpec(2)),
        (networks.splines(name="gelu"), SegmentSpec(3, value="phi", interpolation="nearest")),
        (networks.straight(), SegmentSpec(4, "uint8")),
        (networks.adapted(), SegmentSpec(3)),
        (networks.fast_kan(), SegmentSpec(3)),
        (networks.splines(), "int8"),
        (networks.adapted(), "int16"),
        (networks.fast_kan(), "int4"),
        (networks.straight(), "int8"),
        (networks.masked(), "w4a4"),
        (networks.fast_kans(), "w3a3"),
        (networks.pykans(), "w8a8"),
    )
]
ENCODED = [encode_program(program) for program in PROGRAMS]
DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "int64", "float32", "float64")
WORDS = ["silu", "prelu", "clip", "zero", "base", "linear", "hold", "closed", "half_open", "nearest", "", "kan", *OPS]
NUMBERS = [0, 1, -1, 2, 3, 4, 5, 6, 8, 127, 255, 2**20, 2**31, 2**62, -(2**62), 0.0, -0.0, 1.0, 0.5, 1e-300, 1e300]
VALUES = [0, 1, -1, 2, 127, -127, -128, 255, 2**31 - 1, -(2**31), 0.5, 1e-45, 3e38, -3e38, np.nan, np.inf, -np.inf]


def leaves(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found.append((value, key))
        found += leaves(inner)
    return found


def change_json(body: dict[str, Any], arrays: dict[str, np.ndarray], rng: random.Random) -> None:
    where, key = rng.choice(leaves(body))
    kind = rng.randrange(8)
    if kind == 0:
        where[key] = rng.choice(NUMBERS)
    elif kind == 1:
        where[key] = rng.choice(WORDS)
    elif kind == 2:
        where[key] = rng.choice([None, True, False, [], {}, [[]], {"array": "x"}])
    elif kind == 3:
        other, source = rng.choice(leaves(body))
        where[key] = copy.deepcopy(other[source])
    elif kind == 4 and isinstance(where[key], int):
        where[key] += rng.choice([-1, 1, 2, 7])
    elif kind == 5:
        where[key] = {"array": rng.choice(sorted(arrays))}
    elif kind == 6 and isinstance(where, list):
        where.insert(rng.randrange(len(where) + 1), copy.deepcopy(where[key]))
    elif isinstance(where, list):
        del where[key]
    else:
        del where[key]
        if rng.random() < 0.3:
            where[rng.choice(["op", "hint", "q", "scale"])] = rng.choice(NUMBERS)


def change_array(arrays: dict[str, np.ndarray], rng: random.Random) -> None:
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    kind = rng.randrange(10)
    with np.errstate(all="ignore"):
        if kind == 0:
            array = array.astype(rng.choice(DTYPES))
        elif kind == 1 and array.ndim:
            axis = rng.randrange(array.ndim)
            array = array.take(range(max(0, array.shape[axis] - rng.choice([1, 1, 2, 99]))), axis)
        elif kind == 2 and array.ndim:
            array = np.concatenate([array, array], axis=rng.randrange(array.ndim))
        elif kind == 3:
            array = array.T
        elif kind == 4:
            array = array.reshape(rng.choice([(-1,), (1, -1), (-1, 1), (1, -1, 1)]))
        elif kind in (5, 6, 7) and array.size:
            array = array.copy()
            for _ in range(rng.choice([1, 1, 2, array.size])):
                array.flat[rng.randrange(array.size)] = np.array(rng.choice(VALUES)).astype(array.dtype)
        elif kind == 8:
            array = np.sort(array, axis=None).reshape(array.shape)
        else:
            other = arrays[rng.choice(sorted(arrays))]
            array = other.astype(array.dtype) if rng.random() < 0.5 else other
    arrays[name] = np.ascontiguousarray(array)


def make(seed: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    rng = random.Random(seed)
    body, arrays = ENCODED[seed % len(ENCODED)]
    body, arrays = copy.deepcopy(body), dict(arrays)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if rng.random() < 0.5:
            change_json(body, arrays, rng)
        else:
            change_array(arrays, rng)
        if not (isinstance(body.get("steps"), list) and leaves(body)):
            break
    return body, arrays


def scramble(placed: dict[str, Any], seed: int) -> dict[str, Any]:
    """Change a number or name in the places of arrays."""
    rng = random.Random(-seed)
    placed = copy.deepcopy(placed)
    places = [where[key] for where, key in leaves(placed) if is_place(where[key])]
    for place in rng.sample(places, min(len(places), rng.choice([1, 1, 2]))):
        index = rng.randrange(len(place))
        place[index] = rng.choice([*NUMBERS, "float32", "int8", "", "x", None, True, place[-1], place[0]])
        if rng.random() < 0.2:
            place.append(rng.choice([0, 1, 2**62]))
    return placed


def is_place(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], str)


def rows(width: int) -> np.ndarray:
    rng = np.random.default_rng(width)
    special = np.array([0.0, -0.0, 2.2, -9.0, 1e-45, 3e38, np.inf, -np.inf], np.float32)
    return np.concatenate([np.repeat(special[:, None], width, axis=1), rng.normal(0, 1.5, (4, width))]).astype("f4")


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_changed_programs_are_refused_or_run(chunk):
    loaded = 0
    for seed in range(chunk, CASES, CHUNKS):
        body, arrays = make(seed)
        try:
            placed, members = lay_out({"program": body}, arrays)
            data = pack(placed if seed % 5 else scramble(placed, seed), members)
        except ArtifactError:
            continue  # not even a container
        try:
            artifact = lutkan.Artifact.open(data)
        except ArtifactError:
            continue
        loaded += 1
        x = rows(min(artifact.program.in_features, 4096))
        if x.shape[1] != artifact.program.in_features:
            continue
        answers = [lutkan.load(artifact, runtime=name).predict(x) for name in RUNTIMES]
        assert all(same_bits(answer, answers[-1]).all() for answer in answers), f"case {seed}: runtimes differ"
        assert artifact.to_bytes() == data
    # Changes that leave a valid program are part of the test: of a table's codes, say, or of a weight.
    assert loaded > 0.05 * CASES / CHUNKS
