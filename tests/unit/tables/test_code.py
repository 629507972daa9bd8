"""Codes of inputs, integer features, requantization, and compiling what quantized training hands over."""

import numpy as np
import pytest

import lutkan
from conformance import networks
from conformance.cases import same_bits
from lutkan.artifact.program import CodeTable, KANOp, QuantizeOp
from lutkan.errors import SpecError
from lutkan.ir import (
    RSWAF,
    Activation,
    Affine,
    BSpline,
    EdgeBank,
    GaussianRBF,
    LayerNorm,
    NamedFunction,
    Polynomial,
    ReluProduct,
)
from lutkan.numerics.fixed_point import pack_codes
from lutkan.runtimes import available_runtimes
from lutkan.tables import BranchSpec, CodedBranch, CodedLayer, CodeGrid, CodeSpec, Spec, compile_codes, read_coded
from lutkan.tables.code import integer_features, range_grid, round_layer
from lutkan.tables.coded import CodeValues, make_code_table
from lutkan.tables.compile import calibration_rows, compile_network

RUNTIMES = [name for name, missing in available_runtimes().items() if not missing]
KNOTS = networks.uniform_knots()


# ---------------------------------------------------------------------------------------------------------- grids


def test_codes_are_the_nearest_ones_halves_up_and_saturate():
    grid = CodeGrid(-1.0, 0.5, 3)
    x = [-np.inf, -9, -1.25, -1.2500001, -1, -0.75, -0.7500001, 0.2, 2.5, 2.74, 99, np.inf, np.nan]
    assert grid.encode(x).tolist() == [0, 0, 0, 0, 0, 1, 0, 2, 7, 7, 7, 7, 0]
    assert grid.values().tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert grid.decode(grid.encode([0.2])).tolist() == grid.round([0.2]).tolist() == [0.0]


@pytest.mark.parametrize("bits", range(2, 9))
def test_every_value_of_a_grid_has_its_own_code(bits):
    rng = np.random.default_rng(bits)
    for _ in range(50):
        grid = CodeGrid(float(rng.normal(0, 10)), float(rng.lognormal(-3, 1)), bits)
        assert grid.encode(grid.values()).tolist() == list(range(1 << bits))
        assert grid.encode(grid.points()).tolist() == list(range(1 << bits))


@pytest.mark.parametrize("bits", [1, 9, 4.0, True, "8"])
def test_grids_refuse_other_bits(bits):
    with pytest.raises(SpecError, match="2 to 8"):
        CodeGrid(0.0, 1.0, bits)


@pytest.mark.parametrize(
    ("low", "step"), [(np.nan, 1.0), (0.0, 0.0), (0.0, -1.0), (0.0, np.inf), (1e31, 1.0), ("a", 1)]
)
def test_grids_refuse_other_numbers(low, step):
    with pytest.raises(SpecError, match="CodeGrid"):
        CodeGrid(low, step, 8)


def test_ranges():
    rng = np.random.default_rng(0)
    x = rng.normal(2, 1, (100, 3))
    grid = range_grid(x, CodeSpec(4))
    assert grid.low == x.min() and grid.values()[-1] == pytest.approx(x.max())
    symmetric = range_grid(x, CodeSpec(4, True))
    assert symmetric.values()[8] == 0.0 and symmetric.values()[-1] == pytest.approx(np.abs(x).max())
    cut = range_grid(x, CodeSpec(4, percentile=(10, 90)))
    assert (cut.low, cut.values()[-1]) == pytest.approx(tuple(np.percentile(x, (10, 90))))
    for constant in (0.0, 5.0, -3.0):  # a grid all the same
        assert range_grid(np.full((9, 2), constant), CodeSpec(4)).round(constant) == pytest.approx(constant, abs=1e-5)


# ------------------------------------------------------------------------------------------------------- features


def bank(basis, n_in=3, n_out=2, role="spline"):
    return EdgeBank(basis, np.zeros((n_in, basis.size, n_out)), role=role)


def recursive(edges, grid, pre=()):
    """Features of every code by the float64 recursion, [in, codes, rows]."""
    x = np.repeat(grid.values()[:, None], edges.in_features, axis=1)
    for step in pre:
        x = step.evaluate(x)
    return edges.basis.evaluate(x).transpose(1, 0, 2)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("kernel", [8, 16])
def test_spline_features_are_the_recursion_on_decoded_codes(bits, degree, own, kernel):
    """Where splines sum to 1, so do the integers, and each running sum lies within half a step of the recursion's."""
    rng = np.random.default_rng(bits)
    knots = networks.adapted_knots(rng, 3, degree=degree) if own else networks.uniform_knots(5, degree)
    edges, grid = bank(BSpline(knots, degree)), CodeGrid(-3.1, 6.3 / ((1 << bits) - 1), bits)
    found, exact = integer_features(edges, grid, bits=kernel), recursive(edges, grid)
    total = 4096 if kernel == 16 else 255
    assert found.zero == 0 and found.scale == 1 / total
    error = (found.decoded() - exact) * total
    assert np.abs(error).max() <= 1 + 1e-3
    core = np.isclose(exact.sum(axis=2), 1)
    assert core.any() and np.abs(np.cumsum(error, axis=2)[core]).max() <= 0.5 + 5e-3
    assert (np.broadcast_to(found.values, exact.shape).sum(axis=2)[core] == total).all()


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize(
    ("basis", "pre", "paired"),
    [
        (GaussianRBF(np.linspace(-2, 2, 8), 4 / 7), (), True),
        (GaussianRBF(np.linspace(-2, 2, 5), 3.0), (), True),
        (RSWAF(np.linspace(-1.2, 0.2, 5), 2.0), (), True),
        (Polynomial("chebyshev", 4), (Activation("tanh"),), False),
        (Polynomial("gram", 3, (0.1, 0.2, -0.1, 0.0), "silu"), (Activation("tanh"),), False),
        (NamedFunction("silu"), (), False),
        (NamedFunction("identity"), (Affine(np.array([1.0, 2, -1]), np.array([0.0, 1, 1])),), False),
        (NamedFunction("sigmoid"), (Activation("prelu", np.array([0.1, 0.2, 0.3])),), False),
        (ReluProduct(np.array([[-1, 0], [0, 0.5], [-2, -1.0]]), np.array([[0, 1], [1, 2], [-1, 0.0]]), 4.0), (), True),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
@pytest.mark.parametrize("stored", [4, 8, 16])
def test_other_features_lie_within_half_a_step_of_the_recursion(basis, pre, paired, bits, stored):
    edges, grid = bank(basis), CodeGrid(-3.1, 6.3 / ((1 << bits) - 1), bits)
    found = integer_features(edges, grid, pre, bits=stored)
    values = np.broadcast_to(found.values, (3, 1 << bits, basis.size))
    assert np.abs(found.decoded() - recursive(edges, grid, pre)).max() <= found.scale * (
        0.5000001 + 1e-3 * (stored == 4)
    )
    most = {4: 3839 if basis.size == 1 else 255, 8: 255, 16: 4096}[stored]
    assert values.min() >= 0 and values.max() <= most
    if basis.size == 1:
        assert values.max() >= most - 1  # all that there is, is used
    if paired and stored < 16:  # neighbours fit a 16-bit sum
        even = np.pad(values, ((0, 0), (0, 0), (0, basis.size % 2)))
        assert (even[..., ::2] + even[..., 1::2]).max() <= (258 if stored == 8 else 4095)
    assert len(found.values) == (3 if basis.rows > 1 or (pre and not isinstance(pre[0], Activation)) or
                                 (pre and getattr(pre[0], "slope", None) is not None) else 1)  # fmt: skip


@pytest.mark.parametrize("bits", [4, 8])
def test_as_many_inputs_as_32_bit_sums_hold(bits):
    for n_in in (66311, 66312):
        edges = EdgeBank(NamedFunction("silu"), np.zeros((n_in, 1, 1)))
        if n_in == 66311:
            found = integer_features(edges, CodeGrid(-2.0, 0.25, 4), bits=bits)
            assert found.values.max() == (3839 if bits == 4 else 255)
            continue
        with pytest.raises(SpecError, match="at most 66311"):
            integer_features(edges, CodeGrid(-2.0, 0.25, 4), bits=bits)


@pytest.mark.parametrize("low", [-80.0, -110.0, -200.0])
def test_functions_that_are_next_to_nothing_everywhere_compile(low):
    """silu far below zero: features whose unit is too small for a file are stored."""
    edges = EdgeBank(NamedFunction("silu"), np.ones((2, 1, 1)))
    grid = CodeGrid(low, 0.02, 4)
    branch = CodedBranch((), None, edges, np.ones((2, 1, 1), np.int8), 4, np.ones(1))
    values = CodeValues(0, grid, branch, False)
    found = make_code_table(values)
    assert found.function is None or 1e-30 < found.unit < 1e30
    np.testing.assert_array_equal(found.weights[..., 0], values.features().values[..., 0])


def test_features_behind_a_grid_of_their_own():
    edges, grid, inner = bank(NamedFunction("silu")), CodeGrid(-3, 6 / 255, 8), CodeGrid(-1, 2 / 3, 2)
    found = integer_features(edges, grid, (Activation("tanh"),), inner=inner)
    x = inner.round(np.tanh(grid.values()))
    assert len(np.unique(found.values)) == 4
    np.testing.assert_allclose(found.decoded()[0, :, 0], x / (1 + np.exp(-x)), atol=found.scale / 2 * 1.0001)


def test_splines_of_other_degrees_and_knots_are_stored():
    for basis in (
        BSpline(networks.uniform_knots(5, 4), 4),
        BSpline(np.array([[-1.0, -0.5, 0.0, 1.0]]), 0),
        BSpline(np.array([[-1, -1, -1, -1, -0.5, 0.25, 0.25, 0.75, 1, 1, 1, 1.0]]), 3),
    ):
        edges, grid = bank(basis), CodeGrid(-1.2, 2.4 / 63, 6)
        found = integer_features(edges, grid)
        assert np.abs(found.decoded() - recursive(edges, grid)[:1]).max() * 255 < 1 + 1e-9


def test_features_that_are_no_numbers_are_refused():
    with pytest.raises(SpecError, match=r"feature \d+ of input 0 at code 0 \(-1e\+29\)"), np.errstate(all="ignore"):
        integer_features(bank(Polynomial("chebyshev", 12)), CodeGrid(-1e29, 8e26, 8))
    with pytest.raises(SpecError, match="couples inputs"):
        integer_features(bank(NamedFunction("silu")), CodeGrid(-3, 6 / 255, 8), (LayerNorm(3, 1e-5),))


def test_layers_with_too_many_inputs_are_refused():
    edges = bank(NamedFunction("silu"), 66_312, 1)
    with pytest.raises(SpecError, match="66312 inputs"):
        integer_features(edges, CodeGrid(-3, 6 / 255, 8))
    assert integer_features(bank(NamedFunction("silu"), 66_311, 1), CodeGrid(-3, 6 / 255, 8)).values.max() == 255


# ------------------------------------------------------------------------------------------- what training hands over


def branch(**changes):
    fields = {
        "pre": (),
        "grid": None,
        "bank": bank(BSpline(KNOTS, 3)),
        "codes": np.zeros((3, 8, 2), dtype=np.int64),
        "bits": 4,
        "scale": np.ones(2),
    }
    return CodedBranch(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"bits": 1}, "bits = 1; allowed: 2 to 8, or 16"),
        ({"bits": 9}, "bits = 9"),
        ({"codes": np.zeros((3, 8, 3), dtype=np.int8)}, r"shape \(3, 8, 3\)"),
        ({"codes": np.zeros((3, 8, 2))}, "float64"),
        ({"codes": np.full((3, 8, 2), 8)}, "8 to 8; allowed: -8 to 7"),
        ({"codes": np.full((3, 8, 2), -128), "bits": 8}, "allowed: -127 to 127"),
        ({"scale": np.ones(3)}, r"scale of shape \(3,\)"),
        ({"scale": np.array([1.0, np.nan])}, "finite"),
        ({"pre": (LayerNorm(3, 1e-5),)}, "without a grid"),
    ],
)
def test_branches_that_do_not_fit_are_refused(changes, text):
    with pytest.raises(SpecError, match=text):
        branch(**changes)


def test_layers_that_do_not_fit_are_refused():
    grid = CodeGrid(-1, 0.1, 4)
    with pytest.raises(SpecError, match="one shape"):
        other = branch(bank=bank(BSpline(KNOTS, 3), 2), codes=np.zeros((2, 8, 2), dtype=np.int8))
        CodedLayer("a", grid, (branch(), other), None)
    with pytest.raises(SpecError, match="bias of shape"):
        CodedLayer("a", grid, (branch(),), np.zeros(3))
    net = networks.bare_splines(3, 2)
    with pytest.raises(SpecError, match="the layers of the network"):
        compile_codes(net, (CodedLayer("other", grid, (branch(),), None),))
    with pytest.raises(SpecError, match="the layers of the network"):
        compile_codes(net, ())


@pytest.mark.parametrize(
    ("net", "spec", "text"),
    [
        (networks.symbolic, CodeSpec(), "edges that share a basis"),
        (networks.splines, CodeSpec(spline=BranchSpec(None)), "bits = None"),
        (networks.splines, CodeSpec(base=BranchSpec(4, "edge")), "granularity = 'edge'"),
        (networks.splines, CodeSpec(spline=BranchSpec(4, "group", group_size=2)), "granularity = 'group'"),
    ],
)
def test_specs_that_integers_cannot_honour_are_refused(net, spec, text):
    with pytest.raises(SpecError, match=text):
        lutkan.compile(net(), spec)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("granularity", ["output", "tensor"])
@pytest.mark.parametrize("bits", range(2, 9))
def test_rounding_to_nearest(bits, symmetric, granularity):
    layer = networks.splines(5, 3).layers[0]
    spec = CodeSpec(8, base=BranchSpec(bits, granularity, symmetric), spline=BranchSpec(bits, granularity, symmetric))
    coded = round_layer(layer, spec, np.random.default_rng(0).normal(size=(50, 5)), "layer")
    for part, source in zip(coded.branches, layer.branches, strict=True):
        span = np.ptp(source.bank.weights, axis=(0, 1)).max()
        assert all(len(np.unique(part.codes[..., o])) <= 1 << bits for o in range(3))
        error = np.abs(part.coefficients() - source.bank.weights)
        assert error.max() <= span * (0.51 if bits == 2 else 0.36) and (granularity == "output") == (
            len(np.unique(part.scale)) == 3
        )
        if bits == 8:
            assert error.max() <= part.scale.max() / 2 * 1.0001


# ------------------------------------------------------------------------------------------- an independent simulation


def simulate(net, layers, x):
    """Integers from code to code, from the definitions of semantics section 5.5 in Python's own integers."""
    codes = None
    for number, (step, layer) in enumerate(zip(net.steps, layers, strict=True)):
        seen = layer.grid.encode(x) if codes is None else codes
        sums, scales = [], []
        for part in layer.branches:
            found = integer_features(part.bank, layer.grid, part.pre, inner=part.grid, bits=part.bits)
            values = np.broadcast_to(found.values, (step.shape[0], *found.values.shape[1:])) - found.zero
            picked = np.stack([values[i][seen[:, i]] for i in range(step.shape[0])], axis=1)
            sums.append(picked.reshape(len(seen), -1) @ part.codes.reshape(-1, step.shape[1]).astype(np.int64))
            scales.append((part.scale * found.scale).astype(np.float32))
        if number + 1 == len(layers):
            total = np.zeros(sums[0].shape, dtype=np.float32)
            for acc, scale in zip(sums, scales, strict=True):
                total = total + acc.astype(np.float32) * scale
            return total if layer.bias is None else total + layer.bias.astype(np.float32)
        yield_grid = layers[number + 1].grid
        real = sum(acc * scale.astype(np.float64) for acc, scale in zip(sums, scales, strict=True))
        real = real if layer.bias is None else real + layer.bias.astype(np.float32)
        exact = (real - yield_grid.low) / yield_grid.step + 0.5
        codes = np.clip(np.floor(exact), 0, yield_grid.levels - 1).astype(np.int64)
    raise AssertionError


@pytest.mark.parametrize("spec", ["w8a8", "w4a8", "w2a2", CodeSpec(5, spline=BranchSpec(8, symmetric=False))])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_artifacts_are_the_simulation_on_10_000_rows(spec, runtime):
    """Requantization by multiplication and shift gives the code of the real sum; a tie apart that rounding decides."""
    net = networks.pykans()
    x = np.random.default_rng(1).normal(0, 1.5, (10_000, 4)).astype(np.float32)
    art = lutkan.compile(net, spec, calibration=x[:500])
    spec = lutkan.tables.resolve_spec(spec)
    trace = net.trace(x[:500].astype(np.float64))
    layers = [
        round_layer(layer, spec.for_layer(0, ""), rows, "") for layer, rows in zip(net.layers, trace, strict=False)
    ]
    found, expected = lutkan.load(art, runtime=runtime).predict(x), simulate(net, layers, x)
    assert (~same_bits(found, expected)).any(axis=1).mean() <= 1e-4
    again = compile_codes(net, layers, rows=x[:500].astype(np.float64))
    assert same_bits(lutkan.load(again, runtime=runtime).predict(x), found).all()


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ["splines", "fast_kans", "pykans", "gram", "chebyshev", "clamped", "masked"])
@pytest.mark.parametrize("bits", [(8, 8), (4, 4), (2, 3)])
def test_artifacts_follow_the_twin(name, bits, runtime):
    """Doing it in integers costs little beside what the bits cost, or beside the outputs."""
    net = getattr(networks, name)()
    x = np.random.default_rng(2).normal(0, 1, (400, net.in_features))
    report = lutkan.verify(lutkan.compile(net, f"w{bits[0]}a{bits[1]}", calibration=x), net, x, runtime=runtime)
    assert report.quantization.mae <= 0.03 * report.spread + 0.3 * report.approximation.mae
    assert all(layer.quantization.max_abs <= 0.15 * report.spread for layer in report.layers)


def test_only_layers_that_follow_one_another_pass_codes_on():
    def links(net, spec="w4a8"):
        layers = [step for step in lutkan.compile(net, spec).program.steps if isinstance(step, KANOp)]
        return [layer.requantize is not None for layer in layers], [
            [
                branch.pre[0].coded if branch.pre and isinstance(branch.pre[0], QuantizeOp) else branch.table.coded
                for branch in layer.branches
                if isinstance(branch.table, CodeTable)
            ]
            for layer in layers
        ]

    assert links(networks.pykans()) == ([True, True, False], [[False, False], [True, True], [True, True]])
    assert links(networks.fast_kans()) == ([True, False], [[False, False], [True, True]])
    assert links(networks.gram()) == ([False, False], [[False, False], [False, False]])
    mixed = Spec(CodeSpec(), (("1", lutkan.tables.BasisSpec()),))
    assert links(networks.pykans(), mixed) == ([False, False, False], [[False, False], [], [False, False]])


def test_what_has_no_live_edge_is_left_out_unless_it_is_kept():
    net = networks.masked()
    small = lutkan.compile(net, "w4a4").program.steps[0]
    whole = lutkan.compile(net, CodeSpec(4, base=BranchSpec(4), spline=BranchSpec(4), keep_masked=True)).program.steps[
        0
    ]
    assert small.inputs.tolist() == [0, 2, 3] and small.outputs.tolist() == [0, 1, 3, 4]
    assert whole.inputs is None and whole.outputs is None
    x = np.random.default_rng(3).normal(size=(200, 4))
    rows = calibration_rows(net, x, None)
    a = compile_network(net, Spec(CodeSpec(4)), *rows)
    b = compile_network(net, Spec(CodeSpec(4, keep_masked=True)), *rows)
    np.testing.assert_allclose(lutkan.load(a).predict(x), lutkan.load(b).predict(x), atol=0.2)


def test_coefficients_of_16_bits():
    net = networks.pykans()
    spec = CodeSpec(8, spline=BranchSpec(8, symmetric=False), scaler=BranchSpec(8))
    x = np.random.default_rng(4).normal(size=(300, 4))
    art = lutkan.compile(net, spec, calibration=x)
    tables = [b.table for step in art.program.steps for b in step.branches]
    assert {table.coefficient_bits for table in tables} == {8, 16}
    assert lutkan.verify(art, net, x).quantization.mae < lutkan.verify(art, net, x).approximation.mae


def test_verification_needs_the_network_that_was_compiled():
    net, other = networks.fast_kans(), networks.fast_kans(seed=99)
    art = lutkan.compile(net, "w8a8")
    x = np.random.default_rng(5).normal(size=(50, 5))
    assert lutkan.verify(art, net, x).agreement > 0.9
    # Another network with the same basis functions is no other kind of file: its errors are just large.
    assert lutkan.verify(art, other, x).mae > 3 * lutkan.verify(art, net, x).mae
    with pytest.raises(lutkan.VerificationError):
        lutkan.verify(art, networks.pykans(), np.zeros((3, 5)))
    with pytest.raises(lutkan.VerificationError, match="not those of this network"):
        lutkan.verify(lutkan.compile(networks.splines(), "w8a8"), networks.splines(name="gelu"), np.zeros((3, 3)))


def test_no_bound_is_certified_and_the_reason_is_said():
    art = lutkan.compile(networks.pykans(), "w8a8")
    bound = lutkan.certify(art, networks.pykans())
    assert bound.max is None and "quantized to codes" in bound.reason
    assert "none (layer 'layers.0': no bounds are computed" in bound.to_text()


def test_names():
    spec = lutkan.tables.resolve_spec("w3a5").default
    assert isinstance(spec, CodeSpec) and (spec.input_bits, spec.base.bits, spec.spline.bits) == (5, 3, 3)
    assert "code w3a5, code w3a5], answers with codes of 5 bits" in lutkan.compile(networks.pykans(), "w3a5").summary()
    for name in ("w1a8", "w9a8", "w4a1", "w4a9", "w4", "W4A8"):
        with pytest.raises(SpecError, match="w<2 to 8>a<2 to 8>"):
            lutkan.tables.resolve_spec(name)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 6, 8])
@pytest.mark.parametrize("basis", [NamedFunction("silu"), GaussianRBF(np.linspace(-2, 2, 8), 4 / 7)])
def test_tables_hold_the_features_of_their_basis(basis, bits, early):
    """What is read back is recognised without factors, and so are early files: features as they are beside 8 bits."""
    edges, grid = bank(basis), CodeGrid(-2.1, 0.3, 4)
    found = integer_features(edges, grid, bits=8 if early else bits)
    fine = basis.size == 1 and bits < 7 and not early
    n_in, n_out = edges.in_features, edges.out_features
    codes = np.zeros((n_in, basis.size, n_out), np.int8)
    table = CodeTable(
        n_in, n_out, basis.size, bits, codes if bits == 8 else pack_codes(codes, bits), np.ones(n_out, np.float32), 4,
        grid.low, grid.step, False, found.zero, found.values.astype(np.int16 if fine else np.uint8), None, None,
    )  # fmt: skip
    whole = n_in, 16, basis.size
    assert read_coded._unit(table, edges, grid, (), None, whole) == found.scale
    assert read_coded._unit(table, edges, CodeGrid(-2.0, 0.3, 4), (), None, whole) is None
