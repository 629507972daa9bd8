"""`load` and `Model`: options, refusals, self-test, what `info` tells."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

import lutkan
from conformance import networks
from lutkan.errors import ArtifactError, InputError, RuntimeUnavailableError, VerificationError
from lutkan.runtimes import available_runtimes
from lutkan.runtimes import model as model_module
from lutkan.tables import SegmentSpec


@pytest.fixture(scope="module")
def artifact() -> lutkan.Artifact:
    return lutkan.compile(networks.splines(), SegmentSpec(8))


def test_load_takes_a_path_bytes_or_an_artifact(artifact, tmp_path):
    path = artifact.save(tmp_path / "m.lutkan")
    x = np.random.default_rng(0).normal(size=(9, 3))
    expected = lutkan.load(artifact).predict(x)
    for source in (path, str(path), artifact.to_bytes(), bytearray(artifact.to_bytes()), memoryview(path.read_bytes())):
        np.testing.assert_array_equal(lutkan.load(source).predict(x), expected)


@pytest.mark.parametrize("source", [None, 3, 1.5, ["m.lutkan"], networks.splines()])
def test_other_sources_are_refused(source):
    with pytest.raises(ArtifactError, match=r"an artifact of type .*; allowed: a path, bytes or an Artifact"):
        lutkan.load(source)


@pytest.mark.parametrize("runtime", ["", "cuda", "Reference", None, 1])
def test_unknown_runtimes_are_refused_with_those_there_are(artifact, runtime):
    with pytest.raises(RuntimeUnavailableError, match=r"runtime .*; allowed: auto, .*reference"):
        lutkan.load(artifact, runtime=runtime)


@pytest.mark.parametrize("threads", [0, -1, 257, 1.0, "2", True, None])
def test_threads_out_of_range(artifact, threads):
    with pytest.raises(InputError, match=r"threads = .*; allowed: an integer from 1 to 256"):
        lutkan.load(artifact, threads=threads)


@pytest.mark.parametrize("nan", ["ignore", None, False])
def test_unknown_nan_policy(artifact, nan):
    with pytest.raises(InputError, match="nan = "):
        lutkan.load(artifact, nan=nan)


def test_a_runtime_that_is_not_installed_says_what_to_install(artifact, monkeypatch):
    monkeypatch.setattr(model_module.importlib.util, "find_spec", lambda name: None)
    assert "pip install" in available_runtimes()["numba"]
    with pytest.raises(RuntimeUnavailableError, match=r"'numba' is not available here; fix: install package numba"):
        lutkan.load(artifact, runtime="numba")
    assert lutkan.load(artifact).info()["runtime"] != "numba"


def test_info(artifact):
    info = lutkan.load(artifact, runtime="reference", threads=3, nan="propagate").info()
    assert info["runtime"] == "reference" and info["threads"] == 3 and info["nan"] == "propagate"
    assert (info["in_features"], info["out_features"], info["edges"]) == (3, 4, 12)
    assert info["file_bytes"] == artifact.nbytes and info["memory_bytes"] == artifact.table_nbytes
    assert info["content_id"] == artifact.content_id


def test_model_is_callable_and_describes_itself(artifact):
    model = lutkan.load(artifact, runtime="reference")
    x = np.zeros((2, 3))
    np.testing.assert_array_equal(model(x), model.predict(x))
    assert repr(model) == "Model(3 -> 4, runtime='reference', threads=1)"
    assert (model.in_features, model.out_features, model.artifact) == (3, 4, artifact)


def test_pickling_keeps_the_options(artifact):
    copy = pickle.loads(pickle.dumps(lutkan.load(artifact, runtime="reference", threads=2, nan="propagate")))
    assert copy.info()["threads"] == 2 and copy.info()["nan"] == "propagate"
    assert pickle.loads(pickle.dumps(artifact)).to_bytes() == artifact.to_bytes()


# --------------------------------------------------------------------------------------------------------- self-test


def test_self_test_passes_on_every_runtime(artifact):
    for name, missing in available_runtimes().items():
        if not missing:
            lutkan.load(artifact, runtime=name, self_test=True)


def test_self_test_finds_one_wrong_bit(artifact):
    y = artifact.golden_y.copy()
    y[3, 2] = np.nextafter(y[3, 2], np.float32(np.inf))
    wrong = lutkan.Artifact.open(replace(artifact, golden_y=y).to_bytes())
    with pytest.raises(VerificationError, match=r"golden row 3, output 2: runtime reference gives .*\(1 rows differ\)"):
        lutkan.load(wrong, runtime="reference", self_test=True)
    lutkan.load(wrong, runtime="reference")


def test_self_test_tells_signed_zeros_apart(artifact):
    y = np.zeros_like(artifact.golden_y)
    zero = replace(artifact, golden_x=np.full_like(artifact.golden_x, 1e9), golden_y=y)
    net = networks.bare_splines()
    zero = replace(zero, program=lutkan.compile(net, SegmentSpec(8)).program)
    lutkan.load(zero, runtime="reference", self_test=True)
    with pytest.raises(VerificationError):
        lutkan.load(replace(zero, golden_y=-y), runtime="reference", self_test=True)


def test_self_test_needs_golden_vectors(artifact):
    with pytest.raises(VerificationError, match="carries no golden vectors"):
        lutkan.load(replace(artifact, golden_x=None, golden_y=None), self_test=True)
