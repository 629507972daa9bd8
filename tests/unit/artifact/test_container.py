import hashlib
import io
import itertools
import pickle
import shutil
import struct
import subprocess
import tracemalloc
import zipfile

import numpy as np
import pytest
import safetensors.numpy

import zipcraft
from lutkan.artifact import container, limits
from lutkan.artifact.container import DTYPES, canonical_json, content_id, pack, unpack
from lutkan.errors import ArtifactError
from zipcraft import Member, array_members, describe, npy_header, spell, write_artifact, write_zip

MANIFEST = {"layers": [{"kind": "segment", "samples": 64, "low": -1.5}], "note": "é"}


def example_arrays():
    rng = np.random.default_rng(7)
    return {
        "layers.0.table": rng.integers(-127, 128, (4, 3, 5), dtype=np.int8),
        "layers.0.scale": rng.normal(size=(4, 3)).astype(np.float32),
        "layers.1.knots": np.linspace(-1, 1, 9),
        "empty": np.zeros((0, 4), dtype=np.uint16),
        "one": np.array(-3, dtype=np.int64),
    }


@pytest.fixture(scope="module")
def data():
    return pack(MANIFEST, example_arrays())


# ---------------------------------------------------------------------------------------------------- what is written


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(), (1,), (0,), (7,), (2, 3), (3, 0, 2), (2, 1, 3, 4)])
def test_round_trip(dtype, shape):
    array = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    manifest, arrays = unpack(pack({"a": [1, 2.5, None]}, {"x": array}))
    assert manifest["a"] == [1, 2.5, None]
    assert list(arrays) == ["x"]
    assert arrays["x"].dtype == array.dtype
    assert arrays["x"].shape == shape
    assert arrays["x"].tobytes() == array.tobytes()


def test_float_bits_survive():
    bits = np.array([0, 1, 0x7FC00001, 0xFFC12345, 0x7F800000, 0x80000000], dtype=np.uint32)
    _, arrays = unpack(pack({}, {"x": bits.view(np.float32)}))
    assert arrays["x"].view(np.uint32).tolist() == bits.tolist()


def test_added_keys(data):
    manifest, arrays = unpack(data)
    assert manifest["format"] == "lutkan"
    assert manifest["format_version"] == [1, 0]
    assert manifest["arrays"]["layers.0.scale"] == {
        "dtype": "float32",
        "shape": [4, 3],
        "sha256": hashlib.sha256(arrays["layers.0.scale"].tobytes()).hexdigest(),
    }
    assert manifest["content_id"] == content_id(manifest) == zipcraft.identify(manifest)
    assert {k: manifest[k] for k in MANIFEST} == MANIFEST


def test_an_independent_writer_gives_the_same_bytes(data):
    assert data == write_artifact(MANIFEST, example_arrays())
    assert write_artifact({}, {}) == pack({}, {})


def test_bytes_are_those_of_format_1_0():
    # A change here is a change of the format: every artifact in the world would stop loading.
    data = pack({"note": "fixed"}, {"t": np.arange(6, dtype=np.int8).reshape(2, 3), "s": np.array([0.5, -2.0])})
    assert len(data) == 1021
    assert hashlib.sha256(data).hexdigest() == "f4c247d723dc1e3e65d5e91eb6ab9acaa0f228681394dd4cd5fd53eb83805eaa"


def test_equal_bytes_whatever_the_order(data):
    arrays = example_arrays()
    assert pack(dict(reversed(MANIFEST.items())), dict(reversed(arrays.items()))) == data
    assert pack(*unpack(data)) == data
    assert pack({**MANIFEST, "content_id": "stale", "arrays": {"gone": 1}}, arrays) == data
    assert pack({**MANIFEST, "format": "lutkan", "format_version": (1, 0)}, arrays) == data


@pytest.mark.parametrize(
    "make",
    [
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=0)[::2],
        lambda a: a[::-1].copy()[::-1],
        lambda a: a.astype(a.dtype.newbyteorder(">")),
        lambda a: np.ascontiguousarray(a.T).T,
    ],
)
def test_layout_in_memory_does_not_matter(make):
    array = np.arange(24, dtype=np.int32).reshape(4, 6)
    assert pack({}, {"x": make(array)}) == pack({}, {"x": array})


def test_zip_structure(data, tmp_path):
    path = tmp_path / "a.lutkan"
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        infos = archive.infolist()
        assert [info.filename for info in infos] == [
            "manifest.json",
            "empty.npy",
            "layers.0.scale.npy",
            "layers.0.table.npy",
            "layers.1.knots.npy",
            "one.npy",
        ]
        for info in infos:
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert (info.flag_bits, info.comment, info.extra) == (0, b"", b"")
            name_length, extra_length = struct.unpack_from("<HH", data, info.header_offset + 26)
            assert (info.header_offset + 30 + name_length + extra_length) % 64 == 0
        assert archive.read("manifest.json") == canonical_json(unpack(data)[0])


def test_members_are_sorted_by_array_name():
    # By member name it would be the other way round: "a.b.npy" < "a.npy".
    names = zipfile.ZipFile(io.BytesIO(pack({}, {n: np.zeros(1) for n in ("a.b", "a", "a_b")}))).namelist()
    assert names == ["manifest.json", "a.npy", "a.b.npy", "a_b.npy"]
    assert list(unpack(pack({}, {n: np.zeros(1) for n in ("a.b", "a", "a_b")}))[1]) == ["a", "a.b", "a_b"]


def test_numpy_reads_it(data, tmp_path):
    path = tmp_path / "a.lutkan"
    path.write_bytes(data)
    with np.load(path, allow_pickle=False) as loaded:
        assert loaded["manifest.json"] == canonical_json(unpack(data)[0])
        for name, array in example_arrays().items():
            assert loaded[name].dtype == array.dtype
            np.testing.assert_array_equal(loaded[name], array)


def test_members_are_what_numpy_writes(data):
    archive = zipfile.ZipFile(io.BytesIO(data))
    for name, array in example_arrays().items():
        stream = io.BytesIO()
        np.lib.format.write_array(stream, array, version=(1, 0))
        assert archive.read(name + ".npy") == stream.getvalue()


def test_unzip_reads_it(data, tmp_path):
    unzip = shutil.which("unzip")
    if unzip is None:
        pytest.skip("needs unzip")
    path = tmp_path / "a.lutkan"
    path.write_bytes(data)
    done = subprocess.run([unzip, "-t", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "No errors detected" in done.stdout


# -------------------------------------------------------------------------------------------------- what is given back


def test_arrays_are_read_only_views(data):
    _, arrays = unpack(data)
    raw = np.frombuffer(data, dtype=np.uint8)
    for name, array in arrays.items():
        assert not array.flags.writeable
        assert array.flags.c_contiguous
        if array.size:
            assert np.shares_memory(array, raw), name
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True


@pytest.mark.parametrize(
    "wrap", [bytes, bytearray, memoryview, lambda d: memoryview(d).cast("c"), lambda d: np.frombuffer(d, "V1")[:, None]]
)
def test_any_buffer_is_read(data, wrap):
    manifest, arrays = unpack(wrap(data))
    assert manifest == unpack(data)[0]
    assert not any(array.flags.writeable for array in arrays.values())


def test_arrays_in_an_odd_buffer_are_aligned_copies(data):
    for shift in range(1, 8):
        raw = bytearray(shift) + data
        _, arrays = unpack(memoryview(raw)[shift:])
        for name, array in example_arrays().items():
            np.testing.assert_array_equal(arrays[name], array)
            assert arrays[name].flags.aligned
            assert not arrays[name].flags.writeable


def test_unpack_allocates_no_array_memory():
    data = pack({}, {"x": np.zeros(8_000_000, dtype=np.uint8), "y": np.zeros(1_000_000)})
    tracemalloc.start()
    try:
        unpack(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300_000


def test_many_small_arrays():
    arrays = {f"a{i}": np.array([i], dtype=np.int32) for i in range(limits.MAX_MEMBERS - 1)}
    _, back = unpack(pack({}, arrays))
    assert {name: int(a[0]) for name, a in back.items()} == {name: int(a[0]) for name, a in arrays.items()}


# ------------------------------------------------------------------------------------------------- what pack refuses

A = np.zeros(2, dtype=np.float32)


@pytest.mark.parametrize(
    ("manifest", "arrays", "message"),
    [
        ([], {}, "manifest is of type list"),
        ({}, [A], "arrays is of type list"),
        ({"x": float("nan")}, {}, r"manifest\['x'\] = nan"),
        ({"x": {2: 1}}, {}, "key 2 of type int"),
        ({"x": object()}, {}, "of type object"),
        ({"format": "npz"}, {}, r"manifest\['format'\] = '\"npz\"'"),
        ({"format": A}, {}, "of type ndarray"),
        ({"format_version": [1, 1]}, {}, "format_version"),
        ({"format_version": [True, 0]}, {}, "format_version"),
        ({"format_version": [A, 0]}, {}, "of type ndarray"),
        ({"x": "y" * limits.MAX_MANIFEST_BYTES}, {}, "manifest of 16777"),
        ({}, {"x": [1.0]}, "array 'x' is of type list"),
        ({}, {"x": np.float32(1)}, "array 'x' is of type float32"),
        ({}, {"x": np.ma.masked_array([1.0], [True])}, "MaskedArray"),
        ({}, {"x": np.zeros(1, dtype=bool)}, "array 'x' has dtype bool"),
        ({}, {"x": np.zeros(1, dtype=np.float16)}, "dtype float16"),
        ({}, {"x": np.zeros(1, dtype=np.uint32)}, "dtype uint32"),
        ({}, {"x": np.zeros(1, dtype=np.complex64)}, "dtype complex64"),
        ({}, {"x": np.array(["a"])}, "dtype <U1"),
        ({}, {"x": np.array([None])}, "dtype object"),
        ({}, {"x": np.zeros(1, dtype="i4,f4")}, "has dtype"),
        ({}, {"x": np.zeros((1, 1, 1, 1, 1))}, "5 dimensions"),
        ({}, {"x": np.zeros((0, 2**40))}, "has shape"),
        ({}, {"x": np.broadcast_to(np.float64(0), (2**29,))}, "has shape"),
        ({}, {f"x{i}": np.broadcast_to(np.int8(0), (2**30,)) for i in range(3)}, "arrays of 3221225472 bytes"),
        ({}, {f"x{i}": A for i in range(limits.MAX_MEMBERS)}, "4096 arrays"),
        ({}, {1: A}, "array name 1 is of type int"),
    ],
)
def test_pack_refuses(manifest, arrays, message):
    with pytest.raises(ArtifactError, match=message) as caught:
        pack(manifest, arrays)
    assert caught.value.allowed
    assert caught.value.fix


BAD_NAMES = {
    "": "starts with a dot",
    ".hidden": "starts with a dot",
    "Upper": "other characters",
    "a-b": "other characters",
    "a b": "other characters",
    "a\n": "other characters",
    "é": "other characters",
    "a\u0661": "other characters",
    "a\0": "other characters",
    "\ud800": "other characters",
    "../x": "it is a path",
    "a/b": "it is a path",
    "a\\b": "it is a path",
    "c:x": "it is a path",
    "x.npy": "numpy.load",
    "manifest.json": "numpy.load",
    "x" * 101: "101 characters",
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_pack_refuses_names(name):
    with pytest.raises(ArtifactError, match=BAD_NAMES[name]):
        pack({}, {name: A})


@pytest.mark.parametrize("name", ["x", "_", "0", "a..b", "a.", "x" * 100, "layers.0.table_9"])
def test_pack_accepts_names(name):
    assert list(unpack(pack({}, {name: A}))[1]) == [name]


# ------------------------------------------------------------------------------------------------ what unpack refuses


def refuse(data, message="."):
    with pytest.raises(ArtifactError, match=message) as caught:
        unpack(data)
    assert caught.value.allowed
    assert caught.value.fix
    assert str(caught.value).isascii()


def npz():
    stream = io.BytesIO()
    np.savez(stream, a=A)
    return stream.getvalue()


def torch_zip(name="archive/data.pkl"):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, pickle.dumps({"w": 1}))
        archive.writestr("archive/data/0", bytes(64))
        archive.writestr("archive/data.pkl2" if name.endswith("data.pkl") else "archive/data.pkl", b"")
    return stream.getvalue()


def npy():
    stream = io.BytesIO()
    np.save(stream, A)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"P", "starts with"),
        (b"hello, world", "starts with b'hello, world': not a lutkan artifact"),
        (b"\x00" * 4096, "not a lutkan artifact"),
        (b"PK\x03\x04", "cut short"),
        (b"PK\x05\x06" + bytes(18), "empty ZIP"),
        (npz(), "plain .npz"),
        (npy(), r"single \.npy"),
        (torch_zip(), "torch checkpoint"),
        (torch_zip("archive/.format_version"), "torch checkpoint"),
        (safetensors.numpy.save({"w": A}), "safetensors"),
        (safetensors.numpy.save({"w" * 561: A}), "safetensors"),  # its length starts like a pickle
        *((pickle.dumps([1], protocol=protocol), "a pickle") for protocol in range(2, 6)),
        (b"\x1f\x8b\x08" + bytes(50), "gzip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
        (write_zip([Member(b"readme.txt", b"hi")]), "first member of the ZIP is 'readme.txt'"),
        (write_zip([Member(b"x" * 600, b"hi")]), "first member of the ZIP is 'xxx"),
    ],
)
def test_other_files_are_named(content, message):
    refuse(content, message)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("a.lutkan", "data is of type str"),
        (None, "data is of type NoneType"),
        (7, "data is of type int"),
        (memoryview(b"abcdef")[::2], "strided"),
        (np.zeros(3, dtype="M8[s]"), "data is of type ndarray"),
        (np.zeros((2, 3)).T, "strided"),
        (np.zeros((0, 3)), "empty"),
        (np.zeros(3, dtype="i4,f4"), "not a lutkan artifact"),
    ],
)
def test_other_arguments_are_refused(argument, message):
    refuse(argument, message)


def test_a_released_memoryview_is_refused(data):
    view = memoryview(data)
    view.release()
    refuse(view, "of type memoryview")


def test_every_truncation_is_refused(data):
    for length in range(len(data)):
        refuse(data[:length])
    refuse(data[:-1], "cut short")
    refuse(data[: len(data) // 2], "cut short")


def test_bytes_around_the_file_are_refused(data):
    refuse(data + b"\0", "1 bytes after the ZIP end record")
    refuse(data + data)
    refuse(b"\n" + data, "1 bytes before its first ZIP member")
    refuse(b"#!/bin/sh\n" + data, "10 bytes before")
    refuse(data + bytes(70_000), "cut short or damaged")


def test_every_changed_byte_is_refused(data):
    for i in range(len(data)):
        changed = bytearray(data)
        changed[i] ^= 1 << i % 8
        refuse(changed)


def members_of(manifest=None, arrays=None):
    arrays = example_arrays() if arrays is None else arrays
    return [Member(b"manifest.json", spell(describe(MANIFEST if manifest is None else manifest, arrays)))] + (
        array_members(arrays)
    )


def crafted(edit, **parts):
    members = members_of()
    replaced = edit(members)
    return write_zip(members if replaced is None else replaced, **parts)


def override(index, *, both=None, local=None, central=None):
    def edit(members):
        members[index].local.update(both or {}, **(local or {}))
        members[index].central.update(both or {}, **(central or {}))

    return edit


BIG = 2**32 - 1


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (override(1, both={"flags": 1}), "encrypted"),
        (override(1, both={"flags": 0x41}), "encrypted"),
        (override(1, both={"flags": 8}), "data descriptor"),
        (override(1, both={"flags": 0x800}), "UTF-8"),
        (override(1, local={"flags": 1}), "local header.*encrypted"),
        (override(1, both={"flags": 4}), "no flag is part"),
        (override(0, both={"method": 8}), "'manifest.json'.*stored, not compressed"),
        (override(1, local={"method": 8}), "local header.*stored, not compressed"),
        (override(1, both={"version": 45}), "version needed = 45"),
        (override(1, central={"made_by": 20}), "version made by"),
        (override(1, both={"time": 1}), "time = 1"),
        (override(1, both={"date": 34}), "date = 34"),
        (override(1, central={"eattr": 0}), "external attributes"),
        (override(1, central={"iattr": 1}), "internal attributes"),
        (override(1, central={"disk": 1}), "disk = 1"),
        (override(1, local={"crc": 0}), "local header.*CRC-32 = 0"),
        (override(1, both={"crc": 0}), "do not match their CRC-32"),
        (override(0, both={"crc": 0}), "'manifest.json': its bytes do not match"),
        (override(2, local={"size": 1}), "size = 1 "),
        (override(2, both={"csize": 1}), "compressed size = 1"),
        (override(2, both={"size": BIG, "csize": BIG}), "zip64"),
        (override(2, both={"csize": BIG}), "zip64"),
        (override(2, central={"offset": BIG}), "zip64"),
        (override(2, both={"size": BIG - 1, "csize": BIG - 1}), "claims 4294967294 bytes"),
        (override(5, both={"size": 137, "csize": 137}), "claims 137 bytes"),
        (override(2, both={"size": 0, "csize": 0}), "local header offset"),
        (override(2, central={"offset": 0}), "local header offset = 0 .*without gap or overlap"),
        (override(2, local={"nlen": 3}), "name length = 3"),
        (override(2, local={"xlen": 3}), "extra length = 3"),
        (override(5, central={"nlen": 60000}), "does not fit in the directory"),
        (override(5, central={"nlen": 6}), "directory entry 5"),
        (override(2, central={"sig": b"PK\x03\x04"}), "signature"),
        (override(2, local={"sig": b"PK\x01\x02"}), "signature"),
    ],
)
def test_header_fields(edit, message):
    assert crafted(lambda members: None) == pack(MANIFEST, example_arrays())
    refuse(crafted(edit), message)


def rename(index, name):
    def edit(members):
        members[index].name = name

    return edit


def attribute(index, name, value):
    return lambda members: setattr(members[index], name, value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (rename(1, b"../../etc/passwd.npy"), "it is a path"),
        (rename(1, b"/abs.npy"), "it is a path"),
        (rename(1, b"C:\\x.npy"), "it is a path"),
        (rename(1, b"empty.txt"), "not a .npy"),
        (rename(1, b"Empty.npy"), "other characters"),
        (rename(1, b".npy"), "other characters"),
        (rename(1, b""), "other characters"),
        (rename(1, b"\xff\xfe.npy"), "other characters"),
        (rename(1, b"x" * 101 + b".npy"), "101 characters"),
        (rename(1, b"x" * 60_000 + b".npy"), "60000 characters"),
        (rename(1, b"emptx.npy"), "array 'emptx' is in the file and not in the manifest"),
        (rename(2, b"empty.npy"), "member 'empty.npy' occurs twice"),
        (rename(3, b"manifest.json"), "member 'manifest.json' occurs twice"),
        (lambda m: [*m, m[-1]], "'one.npy' occurs twice"),
        (lambda m: [*m, m[0]], "'manifest.json' occurs twice"),
        (lambda m: [*m, m[2]], "'layers.0.scale.npy' occurs twice"),
        (lambda m: [m[0], m[2], m[1], *m[3:]], "'empty.npy' is out of order"),
        (lambda m: m[1:], "plain .npz"),
        (lambda m: [m[1], m[0], *m[2:]], "plain .npz"),
        (lambda m: m[:-1], "array 'one' is in the manifest and not in the file"),
        (lambda m: m[:1], "is in the manifest and not in the file"),
        (lambda m: [*m, Member(b"zzz.npy", npy())], "array 'zzz' is in the file and not in the manifest"),
        (attribute(1, "extra", b""), "local header offset"),
        (attribute(1, "tail", b"\0" * 64), "local header offset"),
        (attribute(5, "tail", b"\0" * 64), "the last member ends at byte .*no bytes between them"),
        (attribute(1, "central_tail", b"x"), "directory entry 2.*signature"),
        (attribute(5, "central_tail", b"x"), "1 bytes after its 6 entries"),
    ],
)
def test_members(edit, message):
    refuse(crafted(edit), message)


def test_pad_bytes(data):
    refuse(data.replace(struct.pack("<H", 0xD935), struct.pack("<H", 0xD936)), "in the name or padding")
    at = data.index(b"manifest.json") + len(b"manifest.json") + 6
    assert data[at : at + 4] == bytes(4)
    changed = bytearray(data)
    changed[at + 3] = 0x41
    refuse(changed, f"byte {at + 3} .in the name or padding. is 41")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"end": {"entries": 0, "disk_entries": 0}}, "counts 0 members"),
        ({"end": {"entries": 5}}, "after its 5 entries"),
        ({"end": {"entries": 7}}, "does not fit in the directory"),
        ({"end": {"entries": 4097}}, "counts 4097 members"),
        ({"end": {"entries": 65535}}, "zip64"),
        ({"end": {"cd_offset": BIG}}, "zip64"),
        ({"end": {"cd_size": BIG}}, "zip64"),
        ({"before_end": b"PK\x06\x07" + bytes(16)}, "zip64"),
        ({"end": {"disk_entries": 5}}, "entries on this disk = 5"),
        ({"end": {"disk": 1}}, "end record.*disk = 1"),
        ({"end": {"cd_disk": 1}}, "directory disk = 1"),
        ({"end": {"clen": 1}}, "comment length = 1"),
        ({"end": {"clen": 3}, "suffix": b"abc"}, "3 bytes after the ZIP end record"),
        ({"end": {"cd_size": 0}}, "a directory that ends at byte"),
        ({"end": {"cd_offset": 0}}, "a directory that ends at byte"),
        ({"before_end": b"x"}, "a directory that ends at byte"),
        ({"gap": b"x"}, "the last member ends at byte"),
        ({"prefix": bytes(64)}, "64 bytes before its first ZIP member"),
    ],
)
def test_end_record(parts, message):
    refuse(crafted(lambda members: None, **parts), message)


def test_the_directory_of_another_file_is_refused(data):
    other = pack(MANIFEST, {**example_arrays(), "one": np.array(4, dtype=np.int64)})
    assert len(other) == len(data)
    cut = zipfile.ZipFile(io.BytesIO(data)).start_dir
    refuse(data[:cut] + other[cut:], "CRC-32")


def test_rezipped_files_are_refused(data):
    source = zipfile.ZipFile(io.BytesIO(data))
    for method, message in ((zipfile.ZIP_STORED, "."), (zipfile.ZIP_DEFLATED, "stored, not compressed")):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            for name in source.namelist():
                archive.writestr(name, source.read(name))
        refuse(stream.getvalue(), message)
        refuse(stream.getvalue(), "do not re-zip")


# Below, all checksums and the content id are right: only the content is wrong.


def with_manifest(change, arrays=None, *, identify=True):
    arrays = example_arrays() if arrays is None else arrays
    manifest = describe(MANIFEST, arrays)
    change(manifest)
    if identify:
        manifest["content_id"] = zipcraft.identify(manifest)
    return write_zip([Member(b"manifest.json", spell(manifest)), *array_members(arrays)])


def put(*path_and_value):
    *path, key, value = path_and_value

    def change(manifest):
        for step in path:
            manifest = manifest[step]
        manifest[key] = value

    return change


def drop(*path):
    def change(manifest):
        for step in path[:-1]:
            manifest = manifest[step]
        del manifest[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("format", "other"), r"manifest\['format'\] = 'other': not a lutkan artifact"),
        (drop("format"), r"manifest\['format'\] = None"),
        (put("format_version", [2, 0]), "major version 1 .*upgrade lutkan"),
        (put("format_version", [0, 9]), "major version 1"),
        (put("format_version", [1]), "two integers"),
        (put("format_version", [1, -1]), "two integers"),
        (put("format_version", [1.0, 0]), "two integers"),
        (put("format_version", [True, False]), "two integers"),
        (put("format_version", "1.0"), "two integers"),
        (drop("format_version"), "two integers"),
        (put("arrays", []), r"manifest\['arrays'\] is of type list"),
        (drop("arrays"), r"manifest\['arrays'\] is of type NoneType"),
        (put("arrays", {}), "is in the file and not in the manifest"),
        (put("arrays", "one", 5), "an object of dtype, shape and sha256"),
        (put("arrays", "one", "more", 5), "an object of dtype, shape and sha256"),
        (drop("arrays", "one", "sha256"), "an object of dtype, shape and sha256"),
        (put("arrays", "../one", {}), "it is a path"),
        (put("arrays", "\ud83d\ude00", {}), "other characters"),
        (put("arrays", "one", "dtype", "object"), r"\['dtype'\] = 'object'"),
        (put("arrays", "one", "dtype", "|O"), r"\['dtype'\]"),
        (put("arrays", "one", "dtype", ["int8"]), r"\['dtype'\]"),
        (put("arrays", "one", "dtype", "uint8"), "member 'one.npy' has 136 bytes; allowed: 129"),
        (put("arrays", "one", "dtype", "float64"), "npy header"),
        (put("arrays", "one", "shape", [1]), "npy header"),
        (put("arrays", "one", "shape", [1, 1, 1, 1, 1]), "5 dimensions"),
        (put("arrays", "one", "shape", [-1]), "integers >= 0"),
        (put("arrays", "one", "shape", [1.0]), "integers >= 0"),
        (put("arrays", "one", "shape", [True]), "integers >= 0"),
        (put("arrays", "one", "shape", None), "integers >= 0"),
        (put("arrays", "one", "shape", [2**62]), "has 'shape"),
        (put("arrays", "one", "shape", [2**62] * 4), "has 'shape"),
        (put("arrays", "empty", "shape", [0, 2**62]), "has 'shape"),
        (put("arrays", "empty", "shape", [2**28]), r"has 128 bytes; allowed: 536871040"),
        (put("arrays", "one", "sha256", "0" * 64), "the sha256 of its data"),
        (put("arrays", "one", "sha256", None), "the sha256 of its data"),
        (put("x", "\ud800"), "lone surrogate"),
        (put("x", 2**64), "integer"),
        (put("x", float("inf")), "number Infinity"),
        (put("x", [[[]]] * 60_000), ""),
    ],
)
def test_manifest_content(change, message):
    if message:
        refuse(with_manifest(change), message)
    else:
        assert unpack(with_manifest(change))[0]["x"] == [[[]]] * 60_000


@pytest.mark.parametrize("value", ["0" * 64, None, 5, {"a": 1}])
def test_content_id_is_checked(value):
    refuse(with_manifest(put("content_id", value), identify=False), r"manifest\['content_id'\]")
    refuse(with_manifest(drop("content_id"), identify=False), r"manifest\['content_id'\] = None")
    refuse(with_manifest(put("note", "changed"), identify=False), r"manifest\['content_id'\]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "holds a list"),
        (b"null", "holds a NoneType"),
        (b"[" * 100_000, "nested"),
        (b'{"format":"lutkan","format":"lutkan"}', "twice"),
        (b'{"format":"lutkan","format_version":[1e999,0]}', "1e999"),
        (b'{"a":' + b"1" * 9999 + b"}", "integer of 9999"),
        (b'{"format":"lutkan","format_version":[3,0],"new":1.50}', "upgrade lutkan"),
        (b'{"format":"lutkan", "format_version":[1,0]}', "canonical spelling"),
        (b" " * (limits.MAX_MANIFEST_BYTES + 1), "manifest.json has 16777217 bytes"),
    ],
)
def test_manifest_text(text, message):
    refuse(write_zip([Member(b"manifest.json", text)]), message)


def test_a_later_minor_version_is_read_as_it_is():
    def later(manifest):
        manifest["format_version"] = [1, 7]
        manifest["arrays"]["one"]["role"] = "seed"
        manifest["new"] = {"key": [1, 2]}

    manifest, arrays = unpack(with_manifest(later))
    assert manifest["format_version"] == [1, 7]
    assert manifest["arrays"]["one"]["role"] == "seed"
    assert manifest["new"] == {"key": [1, 2]}
    np.testing.assert_array_equal(arrays["one"], -3)
    with pytest.raises(ArtifactError, match="upgrade lutkan"):
        pack(manifest, arrays)


@pytest.mark.parametrize(
    "head",
    [
        npy_header("<i8", (), fortran=True),
        npy_header("<i8", (), version=2),
        npy_header(">i8", ()),
        npy_header("<u8", ()),
        npy_header("|O", ()),
        npy_header("<i8", (), version=1).replace(b"'shape': ()", b"'shape':() "),
        npy_header("<i8", ())[:-2] + b"\n\n",
        b"\x93NUMPY\x01\x00\xff\xff" + bytes(118),
        b"\x80\x04" + bytes(126),
    ],
)
def test_npy_headers(head):
    members = members_of()
    assert members[5].name == b"one.npy"
    assert members[5].data[:128] == npy_header("<i8", ())
    members[5].data = head + members[5].data[128:]
    refuse(write_zip(members), "member 'one.npy', npy header: byte")


def test_wrong_data_with_a_right_crc():
    members = members_of()
    members[5].data = members[5].data[:-1] + b"\0"
    refuse(write_zip(members), "'one.npy': the sha256 of its data")
    members[5].data += b"\0"
    refuse(write_zip(members), "'one.npy' has 137 bytes; allowed: 136")
    members[5].data = b""
    refuse(write_zip(members), "'one.npy' has 0 bytes; allowed: 136")


def test_claimed_sizes_allocate_nothing():
    hostile = [
        with_manifest(put("arrays", "empty", "shape", [2**30])),
        crafted(override(2, both={"size": BIG - 1, "csize": BIG - 1})),
        crafted(override(0, both={"size": 2**31, "csize": 2**31})),
        crafted(lambda members: None, end={"entries": 4096, "disk_entries": 4096}),
        crafted(lambda members: None, end={"cd_size": BIG - 1}),
    ]
    for content in hostile:
        tracemalloc.start()
        try:
            refuse(content)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 200_000


def test_file_size_limit(monkeypatch, data):
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", len(data))
    unpack(data)
    assert pack(MANIFEST, example_arrays()) == data
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", len(data) - 1)
    refuse(data, f"the file has {len(data)} bytes")
    with pytest.raises(ArtifactError, match=f"an artifact of {len(data)} bytes"):
        pack(MANIFEST, example_arrays())


def test_no_name_or_shape_overflows_the_npy_header():
    longest = max(
        (npy_header(descr, shape) for descr, shape in itertools.product(DTYPES.values(), [(2**31,) * 4, ()])), key=len
    )
    assert len(longest) == 128
    for descr, shape in itertools.product(DTYPES.values(), [(2**31,) * 4, (1,), ()]):
        assert container._npy_header(descr, shape) == npy_header(descr, shape)
