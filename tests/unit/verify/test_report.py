"""`verify`: the split of the error, where it is worst, what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import lutkan
from conformance import networks
from lutkan.artifact.program import KANOp
from lutkan.errors import InputError, VerificationError
from lutkan.ir import Affine, Branch, EdgeBank, KANLayer, Network
from lutkan.runtimes import available_runtimes
from lutkan.tables import SegmentSpec


def corrupted(artifact: lutkan.Artifact, layer: int, i: int, o: int) -> lutkan.Artifact:
    """Negate the codes of one edge."""
    steps = list(artifact.program.steps)
    index = [n for n, step in enumerate(steps) if isinstance(step, KANOp)][layer]
    op = steps[index]
    table = op.branches[0].table
    q = table.q.copy()
    q[i, :, o] = -q[i, :, o]
    branch = replace(op.branches[0], table=replace(table, q=q))
    steps[index] = replace(op, branches=(branch, *op.branches[1:]))
    return replace(artifact, program=replace(artifact.program, steps=tuple(steps)), golden_x=None, golden_y=None)


def two_layers() -> Network:
    rng = np.random.default_rng(0)
    return networks.network(
        KANLayer("first", (networks.spline(rng, 4, 5), networks.base(rng, 4, 5))),
        KANLayer("last", (networks.spline(rng, 5, 3), networks.base(rng, 5, 3))),
    )


X = np.random.default_rng(1).uniform(-1, 1, (400, 4))


def test_figures_are_those_of_the_outputs():
    net = two_layers()
    artifact = lutkan.compile(net, SegmentSpec(16))
    report = lutkan.verify(artifact, net, X)
    x = X.astype(np.float32)
    difference = np.abs(lutkan.load(artifact).predict(x) - net.evaluate(x))
    assert report.rows == 400 and report.non_finite_rows == 0
    assert report.max_abs == pytest.approx(difference.max(), rel=1e-12)
    assert report.mae == pytest.approx(difference.mean(), rel=1e-12)
    assert (report.worst_row, report.worst_output) == np.unravel_index(difference.argmax(), difference.shape)
    for output, column in zip(report.outputs, difference.T, strict=True):
        assert output.max_abs == pytest.approx(column.max()) and output.mae == pytest.approx(column.mean())
    assert report.spread == pytest.approx(net.evaluate(x).std())


def test_all_runtimes_give_the_same_report():
    net = networks.splines()
    artifact = lutkan.compile(net, SegmentSpec(16))
    x = X[:, :3]
    reports = [lutkan.verify(artifact, net, x, runtime=n).to_json() for n, m in available_runtimes().items() if not m]
    assert all(report == reports[0] for report in reports)


def test_approximation_falls_with_samples_and_quantization_with_bits():
    net, x = networks.bare_splines(), X[:, :3]
    coarse, fine, better = (
        lutkan.verify(lutkan.compile(net, spec), net, x)
        for spec in (SegmentSpec(3), SegmentSpec(64), SegmentSpec(64, "uint8"))
    )
    # Linear interpolation: the error goes with the square of the distance of the samples, (63 / 2)^2.
    assert 600 < coarse.approximation.max_abs / fine.approximation.max_abs < 1500
    assert fine.approximation.max_abs < 0.1 * fine.quantization.max_abs
    assert better.quantization.mae < 0.6 * fine.quantization.mae
    assert better.approximation.max_abs == pytest.approx(fine.approximation.max_abs, rel=1e-9)
    for report in (coarse, fine, better):
        assert report.max_abs <= report.approximation.max_abs + report.quantization.max_abs


def test_a_model_that_tables_hold_exactly_has_no_approximation_error():
    net = networks.straight()
    x = np.random.default_rng(0).uniform(-3, 3, (300, 2))
    report = lutkan.verify(lutkan.compile(net, SegmentSpec(4, "uint8")), net, x)
    assert report.approximation.max_abs < 1e-6
    assert report.max_abs == pytest.approx(report.quantization.max_abs, rel=1e-3)


def test_layers_are_fed_the_models_own_inputs_so_a_later_layer_is_not_blamed():
    net = two_layers()
    artifact = lutkan.compile(net, SegmentSpec())
    clean = lutkan.verify(artifact, net, X)
    broken = lutkan.verify(corrupted(artifact, 0, 2, 3), net, X)
    assert [layer.name for layer in broken.layers] == ["first", "last"]
    assert broken.layers[0].total.max_abs > 10 * clean.layers[0].total.max_abs
    assert broken.layers[1] == clean.layers[1]
    assert broken.max_abs > 5 * clean.max_abs


@pytest.mark.parametrize(("layer", "i", "o"), [(0, 2, 3), (0, 0, 0), (0, 3, 4), (1, 4, 2), (1, 0, 1)])
def test_the_worst_edge_is_the_one_that_was_broken(layer, i, o):
    net = two_layers()
    report = lutkan.verify(corrupted(lutkan.compile(net, SegmentSpec()), layer, i, o), net, X)
    edge = report.worst_edge
    assert (edge.layer, edge.source, edge.target) == (layer, i, o)
    assert edge.artifact == pytest.approx(-edge.model, abs=0.02)
    inputs = net.trace(X.astype(np.float32))[layer]
    assert edge.x == pytest.approx(inputs[edge.row, i], rel=1e-6)
    bank = net.layers[layer].branches[0].bank
    assert edge.model == pytest.approx(bank.edge_values(np.full((bank.in_features, 1), edge.x))[i, 0, o], rel=1e-6)


def test_the_worst_edge_is_named_by_the_features_of_the_model_not_of_the_table():
    net = networks.masked()
    artifact = lutkan.compile(net, SegmentSpec())
    report = lutkan.verify(corrupted(artifact, 0, 1, 2), net, X)  # the second live input, the third live output
    assert (report.worst_edge.source, report.worst_edge.target) == (2, 3)


def test_agreement_is_the_share_of_equal_decisions():
    net = two_layers()
    report = lutkan.verify(lutkan.compile(net, SegmentSpec(2)), net, X)
    x = X.astype(np.float32)
    y = lutkan.load(lutkan.compile(net, SegmentSpec(2))).predict(x)
    assert report.agreement == np.mean(y.argmax(axis=1) == net.evaluate(x).argmax(axis=1))
    assert 0.5 < report.agreement < 1.0


def test_with_one_output_a_decision_is_its_sign():
    net = networks.bare_splines(3, 1)
    artifact = lutkan.compile(net, SegmentSpec(2))
    x = X[:, :3].astype(np.float32)
    equal = (lutkan.load(artifact).predict(x) > 0) == (net.evaluate(x) > 0)
    assert lutkan.verify(artifact, net, x).agreement == equal.mean() < 1.0


def test_outside_share_counts_inputs_beyond_the_knots():
    net = networks.bare_splines()
    x = np.array([[0.0, 0.0, 0.0], [3.0, -3.0, 0.0], [0.0, 2.3, 0.0], [0.0, 0.0, 2.1]])
    report = lutkan.verify(lutkan.compile(net, SegmentSpec(16)), net, x)
    assert report.layers[0].outside_share == pytest.approx(3 / 12)


# ----------------------------------------------------------------------------------------------------- raise, print


def test_raise_if():
    net = two_layers()
    report = lutkan.verify(lutkan.compile(net, SegmentSpec(4)), net, X)
    assert report.raise_if(max_abs=10, mae=1, agreement=0.1) is report
    assert report.raise_if() is report
    with pytest.raises(VerificationError, match=rf"max_abs is .* worst at row {report.worst_row}, .*at most 1e-09"):
        report.raise_if(max_abs=1e-9)
    with pytest.raises(VerificationError, match="mae is"):
        report.raise_if(mae=1e-9)
    with pytest.raises(VerificationError, match=r"agreement is .*at least 1\.1"):
        report.raise_if(agreement=1.1)
    with pytest.raises(VerificationError, match="max_abs is nan"):
        replace(report, max_abs=float("nan")).raise_if(max_abs=1e9)


def test_json_and_text():
    net = two_layers()
    report = lutkan.verify(lutkan.compile(net, SegmentSpec(4)), net, X)
    body = json.loads(json.dumps(report.to_json()))
    assert body["max_abs"] == report.max_abs and len(body["layers"]) == 2
    assert body["worst_edge"]["source"] == report.worst_edge.source
    text = report.to_text()
    for words in ("400 rows, 3 outputs", "approximation", "quantization", "equal decisions", "first", "worst edge"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 120


# --------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.zeros((3, 2)), "X has shape"),
        (np.zeros((0, 3)), "X has no rows"),
        (np.array([[0, 0, np.nan]]), r"X\[0, 2\] is NaN"),
        ("abc", "X has dtype"),
    ],
)
def test_bad_rows(X, words):
    net = networks.splines()
    with pytest.raises(InputError, match=words):
        lutkan.verify(lutkan.compile(net, SegmentSpec(4)), net, X)


def test_swapped_arguments():
    net = networks.splines()
    artifact = lutkan.compile(net, SegmentSpec(4))
    with pytest.raises(InputError, match="artifact is a Network"):
        lutkan.verify(net, artifact, X[:, :3])
    with pytest.raises(InputError, match="net is a Artifact"):
        lutkan.verify(artifact, artifact, X[:, :3])


def with_step(net: Network) -> Network:
    return replace(net, steps=(*net.steps, Affine(np.ones(4), np.ones(4))))


def other_mask(net: Network) -> Network:
    spline, base = net.layers[0].branches
    live = np.ones((3, 1, 1))
    live[1] = 0.0
    return networks.one_layer(
        Branch(EdgeBank(spline.bank.basis, spline.bank.coefficients * live)),
        Branch(EdgeBank(base.bank.basis, base.bank.coefficients * live, role="base")),
    )


OTHER = {
    "inputs": networks.splines(2, 4),
    "outputs": networks.splines(3, 5),
    "one step more": with_step(networks.splines()),
    "no base branch": networks.bare_splines(),
    "other grid": networks.splines(knots=networks.uniform_knots(6)),
    "other knots": networks.splines(knots=networks.uniform_knots(5, 3, -1.0, 1.5)),
    "other live features": other_mask(networks.splines()),
    "other family": networks.chebyshev(),
}


@pytest.mark.parametrize("name", OTHER)
def test_a_network_of_another_structure_is_refused(name):
    artifact = lutkan.compile(networks.splines(), SegmentSpec(4))
    with pytest.raises(VerificationError, match="network"):
        lutkan.verify(artifact, OTHER[name], np.zeros((2, OTHER[name].in_features)) if name != "inputs" else X[:, :3])


def test_an_artifact_without_a_spec_cannot_be_verified():
    net = networks.splines()
    artifact = replace(lutkan.compile(net, SegmentSpec(4)), info={})
    with pytest.raises(VerificationError, match="does not belong to this network"):
        lutkan.verify(artifact, net, X[:, :3])


# ------------------------------------------------------------------------------------------------------- infinities


def test_rows_that_are_infinite_in_both_are_left_out():
    net = networks.splines()
    x = np.concatenate([X[:20, :3], [[np.inf, 0, 0], [0, 0, -np.inf]]])
    report = lutkan.verify(lutkan.compile(net, SegmentSpec()), net, x)
    assert report.non_finite_rows == 1  # silu(inf); silu(-inf) is -0
    assert report.max_abs == lutkan.verify(lutkan.compile(net, SegmentSpec()), net, x[[*range(20), 21]]).max_abs
    assert "1 rows are not finite" in report.to_text()


def test_rows_that_are_infinite_in_one_alone_are_an_error():
    net = networks.splines()
    clipped = lutkan.compile(net, SegmentSpec(value="phi", oob_policy="clip_x"))
    with pytest.raises(VerificationError, match=r"row 1: model \[.*inf.*artifact"):
        lutkan.verify(clipped, net, np.array([[0, 0, 0], [np.inf, 0, 0]]))


def test_no_finite_row_at_all_is_an_error():
    net = networks.splines()
    with pytest.raises(VerificationError, match="not finite on any row"):
        lutkan.verify(lutkan.compile(net, SegmentSpec()), net, np.full((2, 3), np.inf))
