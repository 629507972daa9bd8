"""Hostile and damaged files: every one gives ArtifactError, or is the canonical file of the content it gives.

The cases are seeded, so a failure repeats; its message holds the mutator's name and the case number.
"""

import base64
import hashlib
import json
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import zipcraft
from lutkan.artifact.container import DTYPES, canonical_json, content_id, pack, unpack
from lutkan.errors import ArtifactError
from zipcraft import CENTRAL_FIELDS, END_FIELDS, LOCAL_FIELDS, Member, describe, npy_header, spell, write_zip

# --------------------------------------------------------------------------------------------------------- two files


def example(seed: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    manifest = {
        "layers": [
            {"kind": "segment", "samples": 64, "low": -1.5, "name": "\u00e9\u4e2d"},
            {"kind": "glue", "on": True},
        ],
        "note": f"example {seed}",
        "scale": float(rng.normal()),
        "none": None,
    }
    arrays = {
        "layers.0.table": rng.integers(-127, 128, (4, 3, 5), dtype=np.int8),
        "layers.0.scale": rng.normal(size=(4, 3)).astype(np.float32),
        "layers.1.knots": rng.normal(size=9),
        "empty": np.zeros((0, 4), dtype=np.uint16),
        "one": np.array(seed, dtype=np.int64),
    }
    return manifest, arrays


FILES = tuple(pack(*example(seed)) for seed in (3, 4))
CONTENTS = {data: unpack(data) for data in FILES}


def same_content(a, b) -> bool:
    return (
        canonical_json(a[0]) == canonical_json(b[0])
        and list(a[1]) == list(b[1])
        and all(
            x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
            for x, y in zip(a[1].values(), b[1].values(), strict=True)
        )
    )


def accepted(data: bytes) -> bool:
    """Tell whether `data` is read; if so it must be the canonical file of what it gave."""
    try:
        manifest, arrays = unpack(data)
    except ArtifactError as error:
        assert error.found
        assert error.allowed
        assert error.fix
        assert len(str(error)) < 1000
        return False
    if manifest["format_version"] == [1, 0]:
        assert pack(manifest, arrays) == data
    else:  # a later minor version, whose extra keys pack does not write: the second writer does
        assert manifest["content_id"] == zipcraft.identify(manifest)
        members = [Member(b"manifest.json", spell(manifest)), *zipcraft.array_members(arrays)]
        assert write_zip(members) == data
    return True


# ------------------------------------------------------------------------------------------------------ blind damage

SPECIAL = (0, 1, 0x0A, 0x20, 0x22, 0x2C, 0x5B, 0x5C, 0x7B, 0x7D, 0x7F, 0x80, 0xFF)
INTERESTING = (0, 1, 2, 8, 20, 45, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def flip_bits(r: random.Random, data: bytearray) -> bytearray:
    for _ in range(r.choice((1, 1, 1, 2, 8))):
        data[r.randrange(len(data))] ^= 1 << r.randrange(8)
    return data


def set_bytes(r: random.Random, data: bytearray) -> bytearray:
    for _ in range(r.choice((1, 1, 2, 4))):
        data[r.randrange(len(data))] = r.choice(SPECIAL) if r.random() < 0.5 else r.randrange(256)
    return data


def set_words(r: random.Random, data: bytearray) -> bytearray:
    layout = r.choice(("<H", "<I", ">H", ">I", "<Q"))
    struct.pack_into(layout, data, r.randrange(len(data) - 8), r.choice(INTERESTING) % (256 ** struct.calcsize(layout)))
    return data


def insert_bytes(r: random.Random, data: bytearray) -> bytearray:
    at = r.choice((0, len(data), r.randrange(len(data))))
    data[at:at] = r.choice((bytes(r.choice((1, 2, 22, 64))), r.randbytes(r.randint(1, 100)), bytes(data[:at][-64:])))
    return data


def delete_bytes(r: random.Random, data: bytearray) -> bytearray:
    at = r.randrange(len(data))
    del data[at : at + r.choice((1, 1, 2, 4, 16, 64, 300))]
    return data


def truncate(r: random.Random, data: bytearray) -> bytearray:
    at = r.randrange(len(data))
    return data[:at] if r.random() < 0.7 else data[at:]


def swap_blocks(r: random.Random, data: bytearray) -> bytearray:
    size = r.choice((1, 2, 4, 16, 64, 128, 256))
    a, b = sorted(r.randrange(len(data) - size) for _ in range(2))
    block = bytes(data[a : a + size])
    data[a : a + size] = data[b : b + size]
    data[b : b + size] = block
    return data


def fill_blocks(r: random.Random, data: bytearray) -> bytearray:
    at, size = r.randrange(len(data)), r.choice((4, 16, 64, 512))
    data[at : at + size] = bytes([r.choice(SPECIAL)]) * len(data[at : at + size])
    return data


def splice(r: random.Random, data: bytearray) -> bytearray:
    other = r.choice(FILES)
    if len(other) == len(data) and r.random() < 0.5:  # a window of the other file, in place
        a, b = sorted(r.randrange(len(data) + 1) for _ in range(2))
        return data[:a] + other[a:b] + data[b:]
    a, b = r.randrange(len(data)), r.randrange(len(other))
    if r.random() < 0.3:
        a, b = a // 64 * 64, b // 64 * 64
    return data[:a] + other[b:]


BLIND: dict[Callable[[random.Random, bytearray], bytearray], int] = {
    flip_bits: 14_000,
    set_bytes: 10_000,
    set_words: 10_000,
    insert_bytes: 7_000,
    delete_bytes: 6_000,
    truncate: 5_000,
    swap_blocks: 6_000,
    fill_blocks: 5_000,
    splice: 9_000,
}


@pytest.mark.parametrize("mutate", BLIND, ids=lambda mutate: mutate.__name__)
def test_blind_damage(mutate):
    r = random.Random(mutate.__name__)
    unchanged = 0
    for case in range(BLIND[mutate]):
        data = bytes(mutate(r, bytearray(r.choice(FILES))))
        try:
            content = unpack(data)
        except ArtifactError as error:
            assert error.found, (mutate.__name__, case)
            continue
        # The mutation put back what stood there: anything else must be refused.
        assert data in CONTENTS, (mutate.__name__, case)
        assert same_content(content, CONTENTS[data]), (mutate.__name__, case)
        unchanged += 1
    assert unchanged < BLIND[mutate] / 3


# -------------------------------------------------------- damage that knows the format: checksums and offsets are right

LOCAL_NUMBERS = tuple(f for f in LOCAL_FIELDS if f != "sig")
CENTRAL_NUMBERS = tuple(f for f in CENTRAL_FIELDS if f != "sig")
END_NUMBERS = tuple(f for f in END_FIELDS if f != "sig")
WIDE = {"crc", "csize", "size", "eattr", "offset", "cd_size", "cd_offset"}


def number_for(r: random.Random, name: str) -> int:
    bits = 32 if name in WIDE else 16
    value = r.choice(INTERESTING) if r.random() < 0.6 else r.randrange(r.choice((200, 4000, 2**bits)))
    return value % 2**bits


def members_of(manifest: Any, arrays: dict[str, np.ndarray]) -> list[Member]:
    return [Member(b"manifest.json", spell(manifest)), *zipcraft.array_members(arrays)]


def edit_headers(r: random.Random, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    members = members_of(manifest, arrays)
    end: dict[str, int] = {}
    parts: dict[str, bytes] = {}
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        member = r.choice(members)
        kind = r.randrange(8)
        if kind == 0:
            name = r.choice(LOCAL_NUMBERS)
            member.local[name] = number_for(r, name)
        elif kind == 1:
            name = r.choice(CENTRAL_NUMBERS)
            member.central[name] = number_for(r, name)
        elif kind == 2:
            name = r.choice(sorted(set(LOCAL_NUMBERS) & set(CENTRAL_NUMBERS) - {"nlen", "xlen"}))
            member.local[name] = member.central[name] = number_for(r, name)
        elif kind == 3:
            name = r.choice(END_NUMBERS)
            end[name] = number_for(r, name)
        elif kind == 4:
            member.extra = r.choice((b"", bytes(6), struct.pack("<HH", 1, 16) + r.randbytes(16), r.randbytes(30)))
        elif kind == 5:
            member.tail = bytes(r.choice((1, 64, 128)))
        elif kind == 6:
            member.central_tail = r.randbytes(r.choice((1, 4, 46)))
        else:
            place = r.choice(("prefix", "gap", "before_end", "suffix"))
            parts[place] = r.choice((bytes(64), b"PK\x06\x07" + bytes(16), b"PK\x06\x06" + bytes(52), r.randbytes(9)))
    return write_zip(members, end, **parts)


NAMES = (
    *(b"", b"a", b".npy", b"../x.npy", b"/x.npy", b"a/b.npy", b"a\\b.npy", b"A.npy", b"\xff.npy", b"a\0.npy"),
    *(b"manifest.json", b"one.npy", b"empty.npy", b"zz.npy", b"x" * 104 + b".npy", b"x" * 105 + b".npy"),
)


def edit_members(r: random.Random, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    members = members_of(manifest, arrays)
    for _ in range(r.choice((1, 1, 2))):
        i, j = r.randrange(len(members)), r.randrange(len(members))
        kind = r.randrange(7)
        if kind == 0:
            members[i].name = r.choice(NAMES)
        elif kind == 1:
            members[i], members[j] = members[j], members[i]
        elif kind == 2:
            members.insert(i, members[j])
        elif kind == 3 and len(members) > 1:
            del members[i]
        elif kind == 4:
            members.insert(i, Member(r.choice(NAMES), r.choice((b"", members[j].data, r.randbytes(40)))))
        elif kind == 5:
            members[i].data = members[j].data
        else:
            data = bytearray(members[i].data)
            mutate = r.choice((flip_bits, set_bytes, delete_bytes, insert_bytes, swap_blocks, fill_blocks))
            if len(data) > 300 or mutate is not swap_blocks:
                members[i].data = bytes(mutate(r, data or bytearray(b"x")))
    return write_zip(members)


def scalar(r: random.Random) -> Any:
    return r.choice(
        (None, True, False, 0, -1, 1, 2, 2**31, 2**32, 2**63, -(2**63), 10**30, 1.0, -0.0, 1e308, 5e-324)
        + ("", "lutkan", "int8", "float64", "|O", "object", "\ud800", "\u00e9", "0" * 64, "../x", [], {}, [0], [1, 0])
        + (float("nan"), float("inf"), [[]] * 9, {"a": {}}, r.random(), r.randrange(10**6))
    )


def edit_tree(r: random.Random, tree: Any) -> None:
    """Change one place of a JSON tree."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not keys:
            break
        key = r.choice(keys)
        if isinstance(tree[key], (dict, list)) and r.random() < 0.75:
            tree = tree[key]
            continue
        kind = r.randrange(4)
        if kind == 0:
            del tree[key]
        elif kind == 1 and isinstance(tree[key], int) and not isinstance(tree[key], bool):
            tree[key] += r.choice((-1, 1, 2**32))
        else:
            tree[key] = scalar(r)
        return
    if isinstance(tree, dict):
        tree[r.choice(("", "x", "one", "dtype", "../x", "\ud800"))] = scalar(r)
    else:
        tree.append(scalar(r))


def edit_manifest(r: random.Random, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    for _ in range(r.choice((1, 1, 1, 2, 4))):
        edit_tree(r, manifest)
    if r.random() < 0.1:
        manifest["format_version"] = [1, r.choice((1, 2, 10**9))]
    if r.random() < 0.9:
        manifest["content_id"] = zipcraft.identify(manifest)
    return write_zip(members_of(manifest, arrays))


def edit_table(r: random.Random, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """Change entries of the array table and the npy headers with them, as a forger would."""
    members = members_of(manifest, arrays)
    index = r.randrange(1, len(members))
    name = members[index].name[:-4].decode()
    entry = manifest["arrays"][name]
    if r.random() < 0.5:
        entry["dtype"] = r.choice((*DTYPES, "float16", "bool", "object", "uint32", "complex64", "U4", "V8", ""))
    if r.random() < 0.5:
        entry["shape"] = r.choice(
            (
                *([], [0], [1], [60], [3, 4, 5], [5, 3, 4], [4, 3, 5, 1], [0, 2**31], [0, 2**62], [2**62, 2**62]),
                *([1] * 5, [-1], [1.0], [True], [None], "x", [240], [12], [4, 3], [3, 4], [9], [9, 1], [[9]], [10**30]),
            )
        )
    descr, shape = DTYPES.get(entry["dtype"], r.choice(("|O", "|V8", ">f4", "<f2"))), entry["shape"]
    shape = tuple(shape) if isinstance(shape, list) and len(repr(shape)) < 50 else (1,)
    head = npy_header(descr, shape, fortran=r.random() < 0.1, version=r.choice((1, 1, 1, 1, 2, 3)))
    body = r.choice((members[index].data[128:], members[index].data[128:], bytes(r.choice((0, 1, 8, 48, 64, 72)))))
    members[index].data = r.choice((head, head, members[index].data[:128])) + body
    if r.random() < 0.8:
        entry["sha256"] = hashlib.sha256(body).hexdigest()
    manifest["content_id"] = zipcraft.identify(manifest)
    return write_zip([Member(b"manifest.json", spell(manifest)), *members[1:]])


RESPELLINGS = (
    *(
        (b":", b": "),
        (b",", b", "),
        (b"{", b"{ "),
        (b"}", b"}\n"),
        (b"[", b"[\t"),
        (b"-1.5", b"-1.50"),
        (b"64", b"64.0"),
    ),
    *(
        (b"-1.5", b"-15e-1"),
        (b"64", b"064"),
        (b"64", b"6.4e1"),
        (b"64", b"1e999"),
        (b"64", b"-Infinity"),
        (b"64", b"NaN"),
    ),
    *((b"64", b"9" * 5000), (b"64", b"[" * 40 + b"]" * 40), (b"-1.5", b"-0"), (b"true", b"True"), (b"null", b"nul")),
    *(
        (b"e9", b"E9"),
        (b"kind", b"\\u006bind"),
        (b'"on":true', b'"on":true,"on":true'),
        (b"e", b"\xc3\xa9"),
        (b"/", b"\\/"),
    ),
    *(
        (b"\\u00e9", b"\\ud800"),
        (b"\\u00e9", b"\\udc00\\ud800"),
        (b"\\u00e9", b"\\n"),
        (b"\\u00e9", b"\\u000a"),
        (b'"', b"'"),
    ),
    *(
        (b"\\u00e9", b"\\x"),
        (b"glue", b'glue"'),
        (b"glue", b"glue\\"),
        (b"glue", b"glue\0"),
        (b"none", b"scale"),
        (b",", b",,"),
    ),
)


def respell_manifest(r: random.Random, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """Write the manifest in other words; where they still mean something, with the content id of the meaning."""
    text = spell(manifest)
    for _ in range(r.choice((1, 1, 2))):
        old, new = r.choice(RESPELLINGS)
        places = [i for i in range(len(text)) if text.startswith(old, i)]
        if places:
            at = r.choice(places)
            text = text[:at] + new + text[at + len(old) :]
    if r.random() < 0.1:
        items = list(manifest.items())
        r.shuffle(items)
        text = json.dumps(dict(items), separators=(",", ":")).encode()
    try:
        meant = json.loads(text)
        identified = zipcraft.identify(meant) if isinstance(meant, dict) else ""
    except ValueError:
        identified = ""
    if identified and r.random() < 0.8:
        text = text.replace(manifest["content_id"].encode(), identified.encode())
    return write_zip([Member(b"manifest.json", text), *zipcraft.array_members(arrays)])


def replace_arrays(r: random.Random, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """Write other arrays properly: these files are good, and must be read."""
    for name in r.sample(sorted(arrays), r.randrange(1, 4)):
        shape = tuple(r.randrange(4) for _ in range(r.randrange(5)))
        arrays[name] = np.frombuffer(r.randbytes(8 * 81), dtype=r.choice(tuple(DTYPES.values())))[
            : int(np.prod(shape))
        ].reshape(shape)
    full = describe({k: v for k, v in manifest.items() if k not in ("arrays", "content_id")}, arrays)
    return write_zip(members_of(full, arrays))


CRAFTED: dict[Callable[[random.Random, dict, dict], bytes], int] = {
    edit_headers: 10_000,
    edit_members: 7_000,
    edit_manifest: 6_000,
    edit_table: 4_000,
    respell_manifest: 4_000,
    replace_arrays: 1_000,
}
READABLE = {edit_manifest: 0.01, edit_table: 0.005, replace_arrays: 1.0}  # at least this share is good, and read


def fresh(r: random.Random) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    manifest, arrays = CONTENTS[r.choice(FILES)]
    return json.loads(canonical_json(manifest)), dict(arrays)


@pytest.mark.parametrize("craft", CRAFTED, ids=lambda craft: craft.__name__)
def test_crafted_files(craft):
    r = random.Random(craft.__name__)
    read = 0
    for case in range(CRAFTED[craft]):
        data = craft(r, *fresh(r))
        try:
            read += accepted(data)
        except Exception as error:
            error.args = (f"{craft.__name__}, case {case}: {error}", base64.b64encode(data))
            raise
    assert read >= READABLE.get(craft, 0) * CRAFTED[craft]
    assert craft is replace_arrays or read < 0.9 * CRAFTED[craft]


def test_number_of_cases():
    assert sum(BLIND.values()) + sum(CRAFTED.values()) >= 100_000


# ------------------------------------------------------------------------------------------------------- round trips

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)
MANIFESTS = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), JSON, max_size=5).map(
    lambda d: {k: v for k, v in d.items() if k not in ("format", "format_version", "arrays", "content_id")}
)
NAME = st.from_regex(r"[a-z0-9_][a-z0-9_.]{0,20}", fullmatch=True).filter(lambda n: not n.endswith((".npy", ".json")))
ARRAY = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
ARRAYS = st.dictionaries(NAME, ARRAY, max_size=4)


@given(MANIFESTS, ARRAYS)
def test_round_trip(manifest, arrays):
    data = pack(manifest, arrays)
    back, views = unpack(data)
    added = {key: back.pop(key) for key in ("format", "format_version", "arrays", "content_id")}
    assert canonical_json(back) == canonical_json(manifest)  # tells -0.0 from 0.0 and 1 from 1.0
    assert added["content_id"] == content_id({**back, **added})
    assert list(views) == sorted(arrays)
    for name, array in arrays.items():
        assert (views[name].dtype, views[name].shape) == (array.dtype, array.shape)
        assert views[name].tobytes() == array.tobytes()
    assert pack({**back, **added}, views) == data
    assert zipcraft.write_artifact(manifest, arrays) == data


@given(MANIFESTS, ARRAYS, st.data())
def test_any_changed_byte_is_refused(manifest, arrays, draw):
    data = bytearray(pack(manifest, arrays))
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] ^= draw.draw(st.integers(1, 255))
    with pytest.raises(ArtifactError):
        unpack(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data):
    with pytest.raises(ArtifactError):
        unpack(data)
    with pytest.raises(ArtifactError):
        unpack(b"PK\x03\x04" + data)
    with pytest.raises(ArtifactError):
        unpack(write_zip([Member(b"manifest.json", data)]))
