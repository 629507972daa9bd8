"""Golden vectors: which inputs, whose answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import lutkan
from conformance import networks
from lutkan.tables import SegmentSpec, Spec, calibration_rows, compile_network
from lutkan.verify import with_golden


def test_sixteen_rows_with_knots_neighbours_and_far_values():
    net = networks.splines()
    artifact = lutkan.compile(net, SegmentSpec(8))
    x = artifact.golden_x
    assert x.shape == (16, 3) and x.dtype == np.float32
    knots = artifact.program.steps[0].branches[0].table.knots.ravel()
    assert np.isin(x[8:10], knots).all()
    np.testing.assert_array_equal(np.nextafter(x[8], np.float32(-np.inf)), x[10])
    np.testing.assert_array_equal(np.nextafter(x[9], np.float32(np.inf)), x[11])
    assert np.abs(x[12:]).max() > 2.2
    assert len(np.unique(x[:8], axis=0)) > 4


def test_the_answers_are_the_reference_runtimes():
    artifact = lutkan.compile(networks.fast_kan(), SegmentSpec(8))
    expected = lutkan.load(artifact, runtime="reference").predict(artifact.golden_x)
    np.testing.assert_array_equal(artifact.golden_y.view(np.uint32), expected.view(np.uint32))


def test_rows_whose_answer_is_not_finite_are_left_out():
    rng = np.random.default_rng(0)
    net = networks.one_layer(networks.spline(rng, 2, 2), networks.base(rng, 2, 2, "identity"))
    huge = networks.network(net.steps[0], networks.Affine(np.full(2, 1e38), np.zeros(2)))
    rows, calibrated = calibration_rows(huge, None, None)
    artifact = with_golden(compile_network(huge, Spec(SegmentSpec(8)), rows, calibrated), rows)
    assert 0 < len(artifact.golden_x) < 16 and np.isfinite(artifact.golden_y).all()
    assert lutkan.Artifact.open(artifact.to_bytes()).golden_x.shape == artifact.golden_x.shape


def test_they_do_not_depend_on_chance():
    net = networks.masked()
    a, b = (lutkan.compile(net, SegmentSpec(8)) for _ in range(2))
    np.testing.assert_array_equal(a.golden_x, b.golden_x)
    other = replace(a, golden_x=None, golden_y=None)
    rows, _ = calibration_rows(net, None, None)
    np.testing.assert_array_equal(with_golden(other, rows).golden_y, a.golden_y)
