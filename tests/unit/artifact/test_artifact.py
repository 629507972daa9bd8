"""`Artifact`: saving, opening, what it tells, what it refuses."""

from __future__ import annotations

import copy
import os
import pickle
import stat
from dataclasses import replace

import numpy as np
import pytest

import lutkan
from conformance import networks
from lutkan.artifact.container import pack, unpack
from lutkan.errors import ArtifactError
from lutkan.tables import SegmentSpec


@pytest.fixture(scope="module")
def artifact() -> lutkan.Artifact:
    return lutkan.compile(networks.masked(), SegmentSpec(8))


def test_save_and_open(artifact, tmp_path):
    path = artifact.save(tmp_path / "m.lutkan")
    assert path.stat().st_size == artifact.nbytes
    again = lutkan.Artifact.open(path)
    assert again.content_id == artifact.content_id and again.manifest == artifact.manifest
    assert again.info == artifact.info
    np.testing.assert_array_equal(again.golden_y, artifact.golden_y)
    assert again.save(tmp_path / "again.lutkan").read_bytes() == path.read_bytes()
    x = np.random.default_rng(0).normal(0, 2, (50, 4))
    np.testing.assert_array_equal(lutkan.load(again).predict(x), lutkan.load(artifact).predict(x))


def test_saving_replaces_an_older_file_at_once_and_leaves_no_parts(artifact, tmp_path):
    path = tmp_path / "m.lutkan"
    path.write_bytes(b"old")
    artifact.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["m.lutkan"]
    assert path.read_bytes() == artifact.to_bytes()


@pytest.mark.parametrize("target", ["absent/m.lutkan", "file/m.lutkan", "folder"])
def test_a_place_that_cannot_be_written(artifact, tmp_path, target):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ArtifactError, match=r"cannot be written \(.*fix: choose another path"):
        artifact.save(tmp_path / target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    for name, words in (("absent", "cannot be read"), ("", "not a regular file"), ("empty/x", "cannot be read")):
        with pytest.raises(ArtifactError, match=words):
            lutkan.Artifact.open(tmp_path / name)
    with pytest.raises(ArtifactError):
        lutkan.Artifact.open(tmp_path / "empty")
    with pytest.raises(ArtifactError, match="null byte"):
        lutkan.Artifact.open("a\0b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    with pytest.raises(ArtifactError, match="not a regular file"):
        lutkan.Artifact.open(tmp_path / "pipe")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**31 + 1)  # sparse
    with pytest.raises(ArtifactError, match="2147483649 bytes; allowed: at most 2147483648"):
        lutkan.Artifact.open(tmp_path / "huge")


@pytest.mark.parametrize("data", [b"", b"PK", b"\x93NUMPY", b"x" * 1000])
def test_bytes_that_are_no_artifact(data):
    with pytest.raises(ArtifactError):
        lutkan.Artifact.open(data)


def test_every_byte_counts(artifact):
    data = artifact.to_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(data), 300):
        changed = bytearray(data)
        changed[position] ^= 1 << int(rng.integers(8))
        with pytest.raises(ArtifactError):
            lutkan.Artifact.open(changed)


def test_numpy_can_read_it(artifact, tmp_path):
    path = artifact.save(tmp_path / "m.lutkan")
    member, start, *shape = artifact.manifest["program"]["steps"][0]["branches"][0]["table"]["q"]
    q = artifact.program.steps[0].branches[0].table.q
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file[member].ravel()[start : start + q.size].reshape(shape), q)


def test_pickle_and_copy(artifact):
    for again in (pickle.loads(pickle.dumps(artifact)), copy.deepcopy(artifact)):
        assert again.to_bytes() == artifact.to_bytes()


def test_unknown_keys_of_the_manifest_are_kept(artifact):
    manifest, arrays = unpack(artifact.to_bytes())
    data = pack({**manifest, "note": {"by": "hand"}}, arrays)
    again = lutkan.Artifact.open(data)
    assert again.info["note"] == {"by": "hand"}
    assert replace(again, golden_x=again.golden_x).to_bytes() == data


def test_what_it_tells(artifact):
    assert repr(artifact) == f"Artifact(4 -> 3, {artifact.program.edges} edges, {artifact.nbytes} bytes)"
    text = artifact.summary()
    assert artifact.content_id[:12] in text and "4 -> 3" in text and "from handmade" in text
    assert "0: kan 4 -> 5 layers.0 [segment, base]" in text and "uncalibrated" in text
    assert 0 < artifact.table_nbytes < artifact.nbytes


def test_a_manifest_with_odd_facts_can_still_be_summarised(artifact):
    odd = replace(artifact, info={"source": 5, "calibration": [1]})
    assert "4 -> 3" in lutkan.Artifact.open(odd.to_bytes()).summary()
