"""`lutkan.compile`: what it checks and what it leaves in the artifact."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import lutkan
from conformance import networks
from lutkan.errors import InputError, SpecError
from lutkan.tables import BasisSpec, SegmentSpec


def test_the_manifest_holds_the_figures_of_verify():
    net = networks.splines()
    X = np.random.default_rng(0).uniform(-1, 1, (100, 3))
    artifact = lutkan.compile(net, SegmentSpec(16), calibration=X)
    report = lutkan.verify(artifact, net, X)
    assert artifact.manifest["verification"] == {
        "rows": 100,
        "max_abs": report.max_abs,
        "mae": report.mae,
        "approximation_max_abs": report.approximation.max_abs,
        "quantization_max_abs": report.quantization.max_abs,
        "agreement": report.agreement,
    }


def test_the_manifest_holds_decisions_that_changed():
    net = networks.splines()
    X = np.random.default_rng(0).uniform(-1, 1, (100, 3))
    artifact = lutkan.compile(net, BasisSpec(2), calibration=X)
    report = lutkan.verify(artifact, net, X)
    assert artifact.manifest["verification"]["agreement"] == report.agreement < 1.0


def test_golden_vectors_are_added_and_pass():
    lutkan.load(lutkan.compile(networks.glued(), "int8").to_bytes(), self_test=True)


def test_max_error_and_target_bytes():
    net = networks.splines()
    artifact = lutkan.compile(net, SegmentSpec(16), max_error=1.0, target_bytes=10**6)
    error = artifact.info["verification"]["max_abs"]
    assert lutkan.compile(net, SegmentSpec(16), max_error=error).to_bytes() == artifact.to_bytes()
    with pytest.raises(SpecError, match=r"max_error = .*: this spec reaches"):
        lutkan.compile(net, SegmentSpec(16), max_error=0.99 * error)
    assert lutkan.compile(net, SegmentSpec(16), target_bytes=artifact.nbytes).nbytes == artifact.nbytes
    with pytest.raises(SpecError, match=rf"this spec needs {artifact.nbytes} bytes"):
        lutkan.compile(net, SegmentSpec(16), target_bytes=artifact.nbytes - 1)


@pytest.mark.parametrize("limit", [0, -1, float("nan"), "1", True, [1]])
def test_limits_are_positive_numbers(limit):
    with pytest.raises(SpecError, match="max_error = "):
        lutkan.compile(networks.splines(), SegmentSpec(4), max_error=limit)
    with pytest.raises(SpecError, match="target_bytes = "):
        lutkan.compile(networks.splines(), SegmentSpec(4), target_bytes=limit)


def test_target_bytes_is_an_integer():
    with pytest.raises(SpecError, match=r"target_bytes = 1000000\.0"):
        lutkan.compile(networks.splines(), SegmentSpec(4), target_bytes=1e6)


@pytest.mark.parametrize("net", [None, "model.safetensors", {"cheby_coeffs": np.ones((2, 1, 3))}])
def test_the_first_argument_is_a_network(net):
    with pytest.raises(InputError, match=r"net is a .*; fix: pass lutkan\.import_model\(source\)"):
        lutkan.compile(net, SegmentSpec(4))


def test_a_spec_may_be_a_name_an_object_or_json():
    net = networks.bare_splines()
    data = {
        lutkan.compile(net, spec).to_bytes() for spec in ("segment-int8-L64", SegmentSpec(), SegmentSpec().to_json())
    }
    assert len(data) == 1


def test_errors_survive_pickling():
    error = SpecError("found", "allowed", "fix")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.found, again.allowed, again.fix) == (str(error), "found", "allowed", "fix")
