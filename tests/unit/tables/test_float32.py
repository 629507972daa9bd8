"""float32 rows: exact where splines are uniform, projected or refused elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

import lutkan
from conformance import networks
from lutkan.artifact.program import BaseTable, SplineTable
from lutkan.errors import SpecError
from lutkan.tables import BasisSpec


def tables(artifact: lutkan.Artifact) -> list[object]:
    return [branch.table for step in artifact.program.steps for branch in step.branches]


def relative(net, spec, rows, part: str) -> float:
    """Largest error of a part, over 1 + |y|."""
    artifact = lutkan.compile(net, spec, calibration=rows, certificate=False)
    report = lutkan.verify(artifact, net, rows)
    error = report.approximation if part == "approximation" else report
    return error.max_abs / (1.0 + np.abs(net.evaluate(rows)).max())


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_uniform_splines_keep_their_coefficients(degree):
    net = networks.bare_splines(knots=networks.uniform_knots(5, degree), degree=degree)
    artifact = lutkan.compile(net, "float32")
    (table,) = tables(artifact)
    assert isinstance(table, SplineTable) and table.degree == degree
    np.testing.assert_array_equal(table.rows, net.layers[0].branches[0].bank.weights.astype(np.float32))
    rows = np.random.default_rng(degree).uniform(-2.5, 2.5, (2000, net.in_features))
    assert relative(net, "float32", rows, "approximation") < 1e-6
    assert relative(net, "float32", rows, "all") < 1e-6


def test_the_base_branch_stays_apart_as_it_is():
    net = networks.splines()
    spline, base = tables(lutkan.compile(net, "float32"))
    assert isinstance(spline, SplineTable) and isinstance(base, BaseTable)
    rows = np.random.default_rng(1).normal(0.0, 4.0, (2000, net.in_features))
    assert relative(net, "float32", rows, "all") < 1e-6


@pytest.mark.parametrize("bits", [32, 16])
def test_knots_that_are_uneven_by_1e_5_count_as_uniform(bits):
    rng = np.random.default_rng(2)
    knots = networks.uniform_knots(5, 3)
    knots = knots + rng.uniform(-2e-6, 2e-6, knots.shape) * np.diff(knots).mean()
    net = networks.bare_splines(knots=knots)
    rows = rng.uniform(-2.0, 2.0, (2000, net.in_features))
    assert relative(net, BasisSpec(bits), rows, "approximation") < (1e-6 if bits == 32 else 1e-5)


@pytest.mark.parametrize("bits", [16, 8])
def test_integer_rows_with_the_base_apart_approximate_to_1e_6(bits):
    """Everything but rounding: the unquantized twin is the model."""
    net = networks.splines()
    rows = np.random.default_rng(3).normal(0.0, 2.0, (2000, net.in_features))
    assert relative(net, BasisSpec(bits, base="apart"), rows, "approximation") < 1e-6


def test_uneven_knots_are_refused_with_what_would_do():
    knots = np.array([[-1.0, -0.999, -0.9985, -0.998, 0.3, 0.31, 0.9, 1.0, 1.3, 1.4]])
    net = networks.bare_splines(knots=np.sort(knots))
    with pytest.raises(SpecError, match=r"uniform intervals miss an edge by .*int16"):
        lutkan.compile(net, "float32")
    assert lutkan.compile(net, "int16").nbytes > 0


def test_a_spline_whose_knots_all_coincide_is_zero():
    basis = networks.adapted().layers[0].branches[0].bank
    knots = np.array(basis.basis.extended_knots)
    flat = networks.bare_splines(n_in=len(knots), knots=np.full_like(knots[:1], 0.5))
    artifact = lutkan.compile(flat, "float32", calibration=np.zeros((4, len(knots))))
    assert (lutkan.load(artifact, runtime="reference").predict(np.zeros((2, len(knots)), np.float32)) == 0).all()


@pytest.mark.parametrize("fields", [{"position_bits": 8}, {"base": "fold"}, {"rounding": "fit"}])
def test_fields_that_contradict_float32_rows(fields):
    with pytest.raises(SpecError, match="float32 rows have no positions and no codes"):
        BasisSpec(32, **fields)
