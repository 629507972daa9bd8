"""The unquantized twin follows the artifact's rules, without its rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lutkan
from conformance.cases import CASES, Case
from lutkan.artifact.program import KANOp, SegmentTable
from lutkan.runtimes import reference
from lutkan.tables import BaseValues, SegmentSpec, SegmentValues, resolve_spec
from lutkan.verify.twin import plan_of, segment_edges, trace_twin


def layer_specs(case: Case) -> list[object]:
    spec = resolve_spec(case.spec)
    return [spec.default, *(other for _, other in spec.overrides)]


SEGMENTS = [case for case in CASES if all(isinstance(spec, SegmentSpec) for spec in layer_specs(case))]


def smooth(case: Case) -> bool:
    """Whether half a code bounds the difference: not for nearest (ties) and percentiles (saturated samples)."""
    return all(spec.interpolation == "linear" and spec.percentile is None for spec in layer_specs(case))


@pytest.mark.parametrize("case", [c for c in SEGMENTS if smooth(c)], ids=lambda case: case.name)
def test_the_artifact_is_within_its_quantization_steps_of_the_twin(case):
    """|artifact - twin| of the first layer is at most half a code an input, and float32 rounding."""
    artifact, net = case.artifact, case.net
    plans = plan_of(artifact, net)
    x = case.rows[np.isfinite(case.rows).all(axis=1) & (np.abs(case.rows) < 50).all(axis=1)]
    step = next(index for index, op in enumerate(artifact.program.steps) if isinstance(op, KANOp))
    seen = net.trace(x)[step].astype(np.float32)
    op, plan = artifact.program.steps[step], plans[step]
    for branch, planned in zip(op.branches, plan.branches, strict=True):
        table, values = branch.table, planned.values
        if not isinstance(table, SegmentTable):
            assert isinstance(values, BaseValues)
            continue
        assert isinstance(values, SegmentValues)
        inputs = seen
        for pre in branch.pre:
            inputs = reference.run_step(pre, inputs)
        inputs = inputs[:, plan.inputs]
        with np.errstate(all="ignore"):
            k, r, w, inside = reference.locate(table, inputs)
        for i in range(inputs.shape[1]):
            ours = reference.segment_edges(table, inputs[:, i], i, k[:, i], r[:, i], w[:, i], inside[:, i])
            twin = segment_edges(values, inputs[:, i].astype(np.float64), i)
            factor = 1.0 if table.edge_scale is None else np.abs(table.edge_scale[i])
            code = table.scale[i].max(axis=0) * factor
            # A straight tail repeats the half code of each end as often as the segment fits in.
            times = 1.0 if table.outside != "linear" else 1.0 + 2.0 * np.abs(inputs[:, i, None]) / 0.25
            allowed = 0.5 * code * times + 3e-6 * (np.abs(twin) + code * 255) + 1e-44
            if table.boundary == "closed" or table.outside in ("clip", "linear"):
                assert (np.abs(ours - twin) <= allowed).all()
            else:
                at_end = inputs[:, i] == table.knots[i if len(table.knots) > 1 else 0, -1]
                assert (np.abs(ours - twin) <= allowed)[~at_end].all()


@pytest.mark.parametrize("case", SEGMENTS, ids=lambda case: case.name)
def test_the_twin_propagates_nan_and_infinity_like_the_artifact(case):
    x = case.rows[:18].astype(np.float64).copy()
    with np.errstate(all="ignore"):
        twin = trace_twin(case.net, plan_of(case.artifact, case.net), x)[-1]
    y = lutkan.load(case.artifact, runtime="reference").predict(x)
    small = np.abs(x).max(axis=1) < 1e30
    np.testing.assert_array_equal(np.isfinite(twin[small]).all(axis=1), np.isfinite(y[small]).all(axis=1))


def test_the_trace_has_an_entry_a_step():
    case = next(case for case in CASES if case.name == "glued")
    x = np.random.default_rng(0).uniform(-1, 1, (5, 6))
    twin, model = trace_twin(case.net, plan_of(case.artifact, case.net), x), case.net.trace(x)
    assert [a.shape for a in twin] == [a.shape for a in model]
    np.testing.assert_array_equal(twin[1], model[1])


def test_the_twin_uses_the_compiled_domain_not_a_new_one():
    case = next(case for case in CASES if case.name == "chebyshev")
    artifact = lutkan.compile(case.net, SegmentSpec(8, segments=9, domain=(-20.0, 20.0)))
    values = plan_of(artifact, case.net)[0].branches[0].values
    np.testing.assert_array_equal(values.knots, artifact.program.steps[0].branches[0].table.knots)


def test_a_network_with_other_weights_shows_as_error_not_as_refusal():
    case = next(case for case in CASES if case.name == "chebyshev")
    layer = case.net.layers[0]
    bank = layer.branches[0].bank
    doubled = replace(
        layer, branches=(replace(layer.branches[0], bank=replace(bank, coefficients=2 * bank.coefficients)),)
    )
    report = lutkan.verify(
        case.artifact, replace(case.net, steps=(doubled,)), np.random.default_rng(0).normal(size=(50, 3))
    )
    assert report.quantization.max_abs > 1.0 and report.approximation.max_abs < 0.1 * report.quantization.max_abs
