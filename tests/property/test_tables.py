"""Properties of tables and artifacts that hold for any network, table and row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lutkan
from conformance import networks, oracle
from conformance.cases import same_bits
from lutkan.artifact.program import ACTIVATIONS, BaseTable, BranchOp, KANOp, Program, SegmentTable
from lutkan.ir import Branch, BSpline, EdgeBank, KANLayer, NamedFunction, Network
from lutkan.numerics.affine import quantize_asymmetric, quantize_symmetric
from lutkan.runtimes import available_runtimes
from lutkan.tables import SegmentSpec, Spec

RUNTIMES = [name for name, missing in available_runtimes().items() if not missing]

# ------------------------------------------------------------------------------------------------- quantization

samples = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.floats(-1e30, 1e30, allow_subnormal=True) | st.floats(-1, 1),
)


def rounding(*parts: np.ndarray) -> np.ndarray:
    """What rounding scale and offset to float32 may cost."""
    return sum(np.abs(part) for part in parts) * 2.0**-23 + 1e-42


@given(samples)
def test_symmetric_codes_are_within_half_a_step(y):
    low, high = y.min(axis=0, keepdims=True), y.max(axis=0, keepdims=True)
    q, scale = quantize_symmetric(y, low, high)
    assert q.min() >= -127 and (scale >= 0).all()
    restored = q * scale.astype(np.float64)
    assert (np.abs(restored - y) <= scale / 2.0 + rounding(restored)).all()


@given(samples)
def test_asymmetric_codes_are_within_half_a_step(y):
    low, high = y.min(axis=0, keepdims=True), y.max(axis=0, keepdims=True)
    q, scale, offset = quantize_asymmetric(y, low, high)
    restored = offset + q * scale.astype(np.float64)
    assert (np.abs(restored - y) <= scale / 2.0 + rounding(q * scale.astype(np.float64), offset)).all()


@given(samples, st.floats(0, 100), st.floats(0, 100))
def test_what_lies_beyond_the_range_saturates(y, a, b):
    low, high = np.percentile(y, sorted((a, b)), axis=0, keepdims=True)
    q, scale, offset = quantize_asymmetric(y, low, high)
    restored = offset + q * scale.astype(np.float64)
    clipped = np.clip(y, low, high)
    flat = low == high  # scale 1: there is no range to keep to
    near = np.abs(restored - clipped) <= scale / 2.0 + rounding(q * scale.astype(np.float64), offset)
    assert (near | flat).all()


def test_ties_go_to_the_even_code():
    y = np.array([[127.0], [0.5], [1.5], [2.5], [-2.5], [-3.5], [-127.0]])
    q, scale = quantize_symmetric(y, y.min(axis=0, keepdims=True), y.max(axis=0, keepdims=True))
    assert scale == 1.0 and q.ravel().tolist() == [127, 0, 2, 2, -2, -4, -127]
    y = np.array([[0.0], [0.5], [1.5], [2.5], [254.5], [255.0]])
    q, scale, offset = quantize_asymmetric(y, y.min(axis=0, keepdims=True), y.max(axis=0, keepdims=True))
    assert scale == 1.0 and offset == 0.0 and q.ravel().tolist() == [0, 0, 2, 2, 254, 255]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@given(seed=st.integers(0, 10**6), samples=st.integers(2, 20), amplitude=st.sampled_from([1e-20, 1e-3, 1.0, 1e9]))
@settings(max_examples=25)
def test_every_sample_of_a_table_is_within_half_a_step(dtype, seed, samples, amplitude):
    net = networks.bare_splines(2, 3, seed, amplitude=amplitude)
    table = lutkan.compile(net, SegmentSpec(samples, dtype)).program.steps[0].branches[0].table
    knots = table.knots[0].astype(np.float64)
    alpha = np.linspace(0, 1, samples)
    x = (knots[:-1, None] + alpha * np.diff(knots)[:, None]).reshape(-1)
    exact = net.layers[0].branches[0].bank.edge_values(np.stack([x, x])).reshape(2, -1, samples, 3)
    scale = table.scale[:, :, None].astype(np.float64)
    coded = scale * table.q.reshape(2, -1, samples, 3)
    restored = coded if table.offset is None else coded + table.offset[:, :, None]
    offset = np.zeros(1) if table.offset is None else table.offset[:, :, None].astype(np.float64)
    assert (np.abs(restored - exact) <= scale / 2.0 + rounding(coded, offset)).all()


# -------------------------------------------------------------------------------------------------- random tables


@st.composite
def tables(draw) -> tuple[Program, np.ndarray]:
    """A layer of random segment and base tables, also such as no compiler makes, and rows beside its knots."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_in, n_out = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    segments, per_segment = draw(st.integers(1, 5)), draw(st.integers(2, 6))
    size = draw(st.sampled_from([1e-44, 1e-30, 1.0, 1e30, 1e37]))
    knots = np.sort(rng.normal(0, size, (draw(st.sampled_from([1, n_in])), segments + 1)), axis=1).astype(np.float32)
    if draw(st.booleans()):
        knots[:, draw(st.integers(0, segments - 1))] = knots[:, -1]  # some segments of width zero
        knots.sort(axis=1)
    unsigned = draw(st.booleans())
    shape = (n_in, segments, n_out)
    outside = draw(st.sampled_from(["clip", "zero", "base", "linear"]))
    interpolation = "linear" if outside == "linear" else draw(st.sampled_from(["linear", "nearest"]))
    low = 0 if unsigned else -127
    table = SegmentTable(
        samples=per_segment,
        interpolation=interpolation,
        boundary=draw(st.sampled_from(["half_open", "closed"])),
        outside=outside,
        knots=knots,
        q=rng.integers(low, low + 255, (n_in, segments * per_segment, n_out)).astype("u1" if unsigned else "i1"),
        scale=rng.normal(0, draw(st.sampled_from([1e-42, 1.0, 1e36])), shape).astype(np.float32),
        offset=rng.normal(0, 1, shape).astype(np.float32) if unsigned else None,
        edge_scale=rng.normal(0, 1, (n_in, n_out)).astype(np.float32) if draw(st.booleans()) else None,
        base=draw(st.sampled_from(ACTIVATIONS)) if outside == "base" else None,
        base_weight=rng.normal(0, 1, (n_in, n_out)).astype(np.float32) if outside == "base" else None,
    )
    branches = [BranchOp((), table)]
    if draw(st.booleans()):
        weight = rng.normal(0, 1, (n_in, n_out)).astype(np.float32)
        branches.insert(draw(st.integers(0, 1)), BranchOp((), BaseTable(draw(st.sampled_from(ACTIVATIONS)), weight)))
    bias = rng.normal(0, 1, n_out).astype(np.float32) if draw(st.booleans()) else None
    program = Program(n_in, (KANOp("l", n_in, n_out, None, None, bias, tuple(branches)),))
    beside = [np.nextafter(knots, np.float32(side)) for side in (np.inf, -np.inf)]
    between = (knots[:, :-1] + np.diff(knots, axis=1) * np.float32(0.3)).ravel()
    edge = np.array([0.0, -0.0, 1e-45, 3e38, -3e38, np.inf, -np.inf], np.float32)
    values = np.concatenate([knots.ravel(), *(b.ravel() for b in beside), between, edge])
    return program, rng.choice(values, (24, n_in))


@given(tables())
@settings(max_examples=150)
def test_runtimes_and_the_naive_reading_agree_on_any_table(case):
    program, x = case
    expected = oracle.predict(program, x)
    artifact = lutkan.Artifact(program)
    for name in RUNTIMES:
        found = lutkan.load(artifact, runtime=name).predict(x)
        assert same_bits(found, expected).all(), (name, x[~same_bits(found, expected).all(axis=1)])


@given(tables())
@settings(max_examples=40)
def test_any_program_comes_back_from_its_file(case):
    program, x = case
    artifact = lutkan.Artifact(program, {"note": "made by hand"})
    again = lutkan.Artifact.open(artifact.to_bytes())
    assert again.to_bytes() == artifact.to_bytes() == lutkan.Artifact(again.program, again.info).to_bytes()
    answers = [lutkan.load(a, runtime="reference").predict(x) for a in (artifact, again)]
    assert same_bits(*answers).all()


# ---------------------------------------------------------------------------------------------------- networks


def permuted(net: Network, inputs: np.ndarray, outputs: np.ndarray) -> Network:
    """The same layer with its inputs and outputs in another order."""
    layer = net.layers[0]
    branches = tuple(Branch(branch.bank.take(inputs, outputs), branch.pre) for branch in layer.branches)
    bias = None if layer.bias is None else layer.bias[outputs]
    return replace(net, steps=(KANLayer(layer.name, branches, bias),))


@given(seed=st.integers(0, 10**6), dtype=st.sampled_from(["int8", "uint8"]), value=st.sampled_from(["auto", "phi"]))
@settings(max_examples=20)
def test_permuting_the_outputs_permutes_the_answers(seed, dtype, value):
    rng = np.random.default_rng(seed)
    net = networks.one_layer(networks.spline(rng, 3, 5), networks.base(rng, 3, 5), bias=rng.normal(size=5))
    order = rng.permutation(5)
    spec = SegmentSpec(5, dtype, value=value)
    x = rng.normal(0, 2, (30, 3)).astype(np.float32)
    y = lutkan.load(lutkan.compile(net, spec)).predict(x)
    other = lutkan.load(lutkan.compile(permuted(net, np.arange(3), order), spec)).predict(x)
    assert same_bits(np.ascontiguousarray(y[:, order]), other).all()


@given(seed=st.integers(0, 10**6), per_input=st.booleans())
@settings(max_examples=20)
def test_permuting_the_inputs_permutes_the_columns_that_they_read(seed, per_input):
    rng = np.random.default_rng(seed)
    knots = networks.adapted_knots(rng, 4) if per_input else None
    net = networks.one_layer(networks.spline(rng, 4, 3, knots, scaled=True), networks.base(rng, 4, 3))
    order = rng.permutation(4)
    a, b = (lutkan.compile(n, SegmentSpec(5)) for n in (net, permuted(net, order, np.arange(3))))
    tables_of = [artifact.program.steps[0].branches[0].table for artifact in (a, b)]
    np.testing.assert_array_equal(tables_of[0].q[order], tables_of[1].q)
    x = rng.normal(0, 2, (30, 4)).astype(np.float32)
    # The sum runs in another order, so the last bits may differ.
    np.testing.assert_allclose(lutkan.load(a).predict(x), lutkan.load(b).predict(x[:, order]), rtol=1e-5, atol=1e-5)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test_permuting_hidden_features_changes_nothing_but_the_order_of_sums(seed):
    rng = np.random.default_rng(seed)
    first, last = networks.splines(3, 4, seed).layers[0], networks.splines(4, 2, seed + 1).layers[0]
    order = rng.permutation(4)
    plain = networks.network(first, last)
    mixed = networks.network(
        permuted(networks.network(first), np.arange(3), order).layers[0],
        permuted(networks.network(last), order, np.arange(2)).layers[0],
    )
    x = rng.uniform(-1, 1, (30, 3))
    answers = [lutkan.load(lutkan.compile(net, SegmentSpec(64, "uint8"))).predict(x) for net in (plain, mixed)]
    np.testing.assert_allclose(*answers, rtol=1e-3, atol=1e-3)


@given(seed=st.integers(0, 10**6), n_in=st.integers(1, 4), n_out=st.integers(1, 4), degree=st.integers(0, 5))
@settings(max_examples=30)
def test_saving_and_loading_change_nothing_and_compiling_is_deterministic(seed, n_in, n_out, degree):
    rng = np.random.default_rng(seed)
    knots = networks.adapted_knots(rng, n_in, 3, degree) if seed % 2 else networks.uniform_knots(3, degree)
    net = networks.one_layer(networks.spline(rng, n_in, n_out, knots, degree), networks.base(rng, n_in, n_out))
    artifact = lutkan.compile(net, Spec(SegmentSpec(3)))
    assert lutkan.compile(net, Spec(SegmentSpec(3))).to_bytes() == artifact.to_bytes()
    again = lutkan.Artifact.open(artifact.to_bytes())
    assert again.to_bytes() == artifact.to_bytes()
    assert again.content_id == artifact.content_id
    x = rng.normal(0, 3, (20, n_in))
    answers = [lutkan.load(a, self_test=True).predict(x) for a in (artifact, again)]
    assert same_bits(*answers).all()


@given(seed=st.integers(0, 10**6), degree=st.integers(1, 5), dtype=st.sampled_from(["int8", "uint8"]))
@settings(max_examples=20)
def test_the_error_is_bounded_by_steps_and_curvature(seed, degree, dtype):
    """|artifact - model| <= sum over inputs of half a code + h^2 / 8 max|phi''|, for splines of degree 2 and more."""
    rng = np.random.default_rng(seed)
    degree = max(degree, 2)
    bank = EdgeBank(BSpline(networks.uniform_knots(4, degree), degree), rng.normal(size=(2, 4 + degree, 3)))
    net = networks.one_layer(Branch(bank))
    artifact = lutkan.compile(net, SegmentSpec(16, dtype))
    table = artifact.program.steps[0].branches[0].table
    x = rng.uniform(-3, 3, (200, 2)).astype(np.float32)
    difference = np.abs(lutkan.load(artifact).predict(x) - net.evaluate(x))
    h = 0.5 / 15
    fine = np.linspace(-3, 3, 6001)
    values = bank.edge_values(np.stack([fine, fine]))
    curvature = np.abs(np.diff(values, 2, axis=1)).max(axis=1) / (fine[1] - fine[0]) ** 2
    bound = (table.scale.max(axis=1) / 2.0 + h * h / 8 * 1.05 * curvature).sum(axis=0)
    assert (difference <= bound + 1e-6).all()


@given(x=hnp.arrays(np.float32, (7, 3), elements=st.floats(width=32, allow_nan=False)))
@settings(max_examples=60)
def test_any_row_of_float32_gives_the_same_bits_on_every_runtime(x):
    expected = None
    for net, spec in MODELS:
        artifact = _compiled(net, spec)
        expected = lutkan.load(artifact, runtime="reference").predict(x)
        for name in RUNTIMES:
            assert same_bits(lutkan.load(artifact, runtime=name).predict(x), expected).all(), name


MODELS = [
    (networks.splines(), SegmentSpec(7, "uint8")),
    (networks.splines(), SegmentSpec(5, value="phi", interpolation="nearest", boundary_mode="closed")),
    (networks.one_layer(Branch(EdgeBank(NamedFunction("gelu"), np.ones((3, 1, 2)), role="base"))), SegmentSpec(4)),
]
_DONE: dict[int, lutkan.Artifact] = {}


def _compiled(net: Network, spec: SegmentSpec) -> lutkan.Artifact:
    if id(net) not in _DONE:
        _DONE[id(net)] = lutkan.compile(net, spec)
    return _DONE[id(net)]
