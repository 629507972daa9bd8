"""Edge functions: what is drawn of the artifact is what its layer answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lutkan
from lutkan.errors import InputError, VerificationError
from lutkan.lab import nets
from lutkan.report.edges import Edge, _artifact_edges, asked_edges, chosen_edges, edge_curve, parse_edges
from lutkan.runtimes import reference

FAMILIES = {
    "efficient-kan": nets.efficient_kan((3, 4, 2), 5).network,
    "fast-kan": nets.fast_kan((3, 4, 2), 5).network,
    "kanditioned": nets.kanditioned((3, 4, 2), 5).network,
    "chebyshev": lutkan.import_model({"cheby_coeffs": np.random.default_rng(1).normal(size=(3, 2, 4))}),
}
SPECS = ("float32", "int16", "int8", "int4", "w8a8", "w4a8", "segment-int8-L16", "segment-uint8-L64")
PAIRS = [(family, spec) for family in FAMILIES for spec in SPECS]


def compiled(family, spec):
    net = FAMILIES[family]
    X = np.random.default_rng(3).uniform(-1, 1, (200, net.in_features))
    try:
        return lutkan.compile(net, spec, calibration=X), net
    except lutkan.SpecError as error:
        pytest.skip(f"{family} has no {spec}: {error}")


@pytest.mark.parametrize(("family", "spec"), PAIRS)
def test_the_edges_of_a_layer_add_up_to_what_the_layer_answers(family, spec):
    artifact, net = compiled(family, spec)
    op = next(step for step in artifact.program.steps if step.op == "kan")
    normed = any(step.op == "layer_norm" for branch in op.branches for step in branch.pre)
    x = np.random.default_rng(4).uniform(-1.5, 1.5, (40, net.in_features)).astype(np.float32)
    if normed:  # edges are functions of what comes out of the LayerNorm
        op = _without_norms(op)
    op = replace(op, requantize=None)  # codes for the next layer are rounded sums
    coded = replace(op, branches=tuple(_uncoded(branch) for branch in op.branches))
    whole = reference.run_kan(coded, x)
    bias = np.zeros(op.out_features) if op.bias is None else op.bias
    parts = sum(_artifact_edges(op, i, x[:, i]).astype(np.float64) for i in range(net.in_features))
    assert np.abs(parts + bias - whole).max() < 1e-5 * max(1.0, np.abs(whole).max())


def _uncoded(branch):
    return replace(branch, table=replace(branch.table, coded=False)) if branch.table.op == "code" else branch


def _without_norms(op):
    cut = tuple(
        replace(branch, pre=tuple(step for step in branch.pre if step.op != "layer_norm")) for branch in op.branches
    )
    return replace(op, branches=cut)


@pytest.mark.parametrize("spec", SPECS)
def test_a_curve_is_near_the_model_where_the_tables_cover_it(spec):
    artifact, net = compiled("efficient-kan", spec)
    curve = edge_curve(artifact, net, Edge(1, 3, 1), points=101)
    assert curve.x.shape == curve.model.shape == curve.artifact.shape == (101,)
    low, high = curve.inside
    assert curve.x[0] < low < high < curve.x[-1]
    inside = (curve.x >= low) & (curve.x <= high)
    assert 0 < np.abs(curve.error[inside]).max() < (0.5 if "4" in spec[:4] else 0.05) * np.ptp(curve.model)
    # Another edge is another function.
    other = edge_curve(artifact, net, Edge(1, 2, 1), points=101)
    assert np.abs(other.model - curve.model).max() > 0.1 * np.ptp(curve.model)


def test_an_input_without_live_edges_answers_zero():
    state = nets.efficient_kan((3, 2), 1).state
    state = {key: array.copy() for key, array in state.items()}
    for name in ("base_weight", "spline_weight"):
        state[f"layers.0.{name}"][:, 1] = 0.0
    net = lutkan.import_model(state)
    artifact = lutkan.compile(net, "int8", calibration=np.random.default_rng(0).uniform(-1, 1, (50, 3)))
    curve = edge_curve(artifact, net, Edge(0, 1, 1))
    assert not curve.artifact.any() and not curve.model.any()
    kept = edge_curve(artifact, net, Edge(0, 2, 1))  # its place in the tables is another than its number
    assert np.abs(kept.error).max() < 0.05 * np.ptp(kept.model)


def test_the_chosen_edges_differ_most():
    artifact, net = compiled("efficient-kan", "int4")
    chosen = chosen_edges(artifact, net, 1)
    assert [edge.layer for edge in chosen] == [0, 1]
    sizes = {}
    for source in range(3):
        for target in range(4):
            curve = edge_curve(artifact, net, Edge(0, source, target))
            inside = (curve.x >= curve.inside[0]) & (curve.x <= curve.inside[1])
            sizes[source, target] = np.abs(curve.error[inside]).max()
    assert sizes[chosen[0].source, chosen[0].target] > 0.9 * max(sizes.values())


def test_fast_kan_says_that_a_norm_stands_before():
    artifact, net = compiled("fast-kan", "int8")
    assert edge_curve(artifact, net, Edge(0, 0, 0)).after_norm
    artifact, net = compiled("efficient-kan", "int8")
    assert not edge_curve(artifact, net, Edge(0, 0, 0)).after_norm


@pytest.mark.parametrize("text", ["", "0:1", "0:1:2:3", "a:b:c", "0:-1:2", "0;1;2", "0:1:2,", "0:1:²"])
def test_edges_that_cannot_be_read(text):
    with pytest.raises(InputError, match="LAYER:SOURCE:TARGET"):
        parse_edges(text)


def test_edges_that_are_not_there():
    artifact, net = compiled("efficient-kan", "int8")
    assert asked_edges("0:0:0, 0:0:0", artifact, net) == (Edge(0, 0, 0),)
    with pytest.raises(InputError, match="no KAN layer 2; allowed: 0 to 1"):
        edge_curve(artifact, net, Edge(2, 0, 0))
    with pytest.raises(InputError, match=r"3 inputs and 4 outputs; allowed: 0:0:0 to 0:2:3"):
        edge_curve(artifact, net, Edge(0, 3, 0))
    with pytest.raises(VerificationError):
        edge_curve(artifact, FAMILIES["chebyshev"], Edge(0, 0, 0))
