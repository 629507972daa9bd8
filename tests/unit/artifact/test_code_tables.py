"""Code tables, quantizing steps and requantization: what a hostile file may not hold, and the bounds at their edge."""

from dataclasses import replace

import numpy as np
import pytest

import lutkan
from conformance import networks
from conformance.cases import same_bits
from lutkan.artifact import Artifact, Program
from lutkan.artifact.code import CodeTable, QuantizeOp, Requantization
from lutkan.artifact.codec import decode_program, encode_program
from lutkan.artifact.program import BaseTable, BranchOp, KANOp
from lutkan.errors import ArtifactError
from lutkan.numerics.fixed_point import MAX_INPUTS_INT8, fine_digit, pack_codes
from lutkan.runtimes import available_runtimes

RUNTIMES = [name for name, missing in available_runtimes().items() if not missing]


def table(n_in=3, n_out=2, rows=4, *, wide=False, **changes) -> CodeTable:
    fields = {
        "in_features": n_in,
        "out_features": n_out,
        "rows": rows,
        "coefficient_bits": 16 if wide else 8,
        "q": np.ones((n_in, rows, n_out), dtype=np.int16 if wide else np.int8),
        "scale": np.ones(n_out, dtype=np.float32),
        "bits": 4,
        "low": -1.0,
        "step": 0.125,
        "coded": False,
        "zero": 0,
        "features": np.ones((1, 16, rows), dtype=np.int16 if wide else np.uint8),
        "degree": None,
        "knots": None,
    }
    return CodeTable(**{**fields, **changes})


def splines(**changes) -> CodeTable:
    knots = np.arange(8, dtype=np.float32)[None]
    return table(**{"features": None, "degree": 3, "knots": knots, **changes})


def layer(*tables, bias=None, requantize=None, outputs=None, out_features=None) -> KANOp:
    n_in, n_out = tables[0].shape
    branches = tuple(BranchOp((), one) for one in tables)
    return KANOp("a", n_in, out_features or n_out, None, outputs, bias, branches, requantize)


def artifact(*steps) -> Artifact:
    return Artifact(Program(steps[0].shape[0], steps), {})


@pytest.mark.parametrize("bits", range(2, 8))
def test_packed_coefficients_of_2_to_7_bits(bits):
    rng = np.random.default_rng(bits)
    codes = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), (3, 4, 2)).astype(np.int8)
    found = table(coefficient_bits=bits, q=pack_codes(codes, bits))
    np.testing.assert_array_equal(found.coefficients, codes)
    again = Artifact.open(artifact(layer(found)).to_bytes()).program.steps[0].branches[0].table
    np.testing.assert_array_equal(again.coefficients, codes)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"bits": 1}, "code.bits"),
        ({"bits": 9}, "code.bits"),
        ({"bits": True}, "code.bits"),
        ({"bits": 5}, "code.features: has shape"),
        ({"low": 1}, "code.low"),
        ({"low": float("nan")}, "code.low"),
        ({"low": -2e30}, "code.low"),
        ({"step": 0.0}, "code.step"),
        ({"step": float("inf")}, "code.step"),
        ({"step": -1.0}, "code.step"),
        ({"coded": 0}, "code.coded"),
        ({"zero": -1}, "code.zero"),
        ({"zero": 256}, "code.zero"),
        ({"zero": 1.0}, "code.zero"),
        ({"features": None}, "one of them"),
        ({"features": np.ones((2, 16, 4), np.uint8)}, "do not fit the inputs"),
        ({"features": np.ones((0, 16, 4), np.uint8)}, "do not fit the inputs"),
        ({"features": np.ones((1, 16, 3), np.uint8)}, "has shape"),
        ({"features": np.ones((1, 16, 4), np.int16)}, "is of type int16"),
        ({"coefficient_bits": 9}, "coefficient_bits"),
        ({"coefficient_bits": 7}, "code.q"),
        ({"q": np.full((3, 4, 2), -128, np.int8)}, "holds -128"),
        ({"knots": np.arange(8, dtype=np.float32)[None], "degree": 3}, "one of them"),
        ({"degree": 3}, "both or neither"),
        ({"unit": 1.0}, "both or neither"),
        ({"function": "silu", "features": None}, "both or neither"),
        ({"function": "silu", "unit": 1.0}, "one of them"),
        ({"function": "silu", "unit": 1.0, "features": None}, "code.rows"),
        ({"function": "sine", "unit": 1.0, "features": None}, "code.function"),
        ({"scale": np.ones(3, np.float32)}, "code.scale"),
        ({"rows": 0}, "code.rows"),
    ],
)
def test_tables_that_do_not_fit(changes, text):
    with pytest.raises(ArtifactError, match=text):
        table(**changes)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"degree": 4}, "code.degree"),
        ({"degree": 2}, "code.knots: has shape"),
        ({"zero": 1}, "beside knots"),
        ({"knots": np.zeros((1, 8), np.float64)}, "is of type float64"),
        ({"knots": np.array([[0, 1, 2, 2, 3, 4, 5, 6]], np.float32)}, "not strictly ascending"),
        ({"knots": np.arange(8, dtype=np.float32)[None, ::-1].copy()}, "not strictly ascending"),
        ({"knots": np.float32([[-3e38, -2e38, -1e38, 0, 1e38, 2e38, 2.5e38, 3e38]])}, "too large"),
        ({"knots": np.tile(np.arange(8, dtype=np.float32), (2, 1))}, "do not fit the inputs"),
    ],
)
def test_knots_that_do_not_fit(changes, text):
    with pytest.raises(ArtifactError, match=text):
        splines(**changes)


def one_row(bits=4, **changes) -> CodeTable:
    """A table of one feature an input, with coefficients of few bits at their ends."""
    codes = np.tile(np.int8([-(1 << (bits - 1)), (1 << (bits - 1)) - 1]), (3, 1, 1))
    packed = codes if bits == 8 else pack_codes(codes, bits)
    return table(rows=1, coefficient_bits=bits, q=packed, **changes)


@pytest.mark.parametrize("bits", range(2, 7))
def test_fine_features_up_to_their_ends_on_every_runtime(bits, rows_of_codes):
    most = 256 * (127 >> (bits - 1)) - 1
    values = np.linspace(0, most, 16).astype(np.int16).reshape(1, 16, 1)
    values[0, 3] = most // 256
    for zero in (0, 77, most):
        found = one_row(bits, features=values, zero=zero)
        assert found.digit == 127 >> (bits - 1) and found.kernel_bits == 8
        rows_of_codes(artifact(layer(found)))
    with pytest.raises(ArtifactError, match=f"at most {most}"):
        one_row(bits, features=values + np.int16(1))
    with pytest.raises(ArtifactError, match=r"code\.zero"):
        one_row(bits, features=values, zero=most + 1)


def test_fine_features_belong_to_one_row_and_few_bits():
    with pytest.raises(ArtifactError, match="is of type int16"):
        one_row(7, features=np.ones((1, 16, 1), np.int16))
    with pytest.raises(ArtifactError, match="is of type int16"):
        table(coefficient_bits=4, q=pack_codes(np.ones((3, 4, 2), np.int8), 4), features=np.ones((1, 16, 4), np.int16))


@pytest.mark.parametrize("bits", range(2, 7))
def test_sums_of_fine_features_stay_in_32_bits_and_their_pairs_in_16(bits):
    digit = fine_digit(bits)
    most = 256 * digit - 1
    found = one_row(bits, features=np.full((1, 16, 1), most, np.int16))
    assert found.sum_bound == 3 * most << (bits - 1)  # what the lowest codes attain
    assert (most << (bits - 1)) * MAX_INPUTS_INT8 < 2**31
    of_function = one_row(bits, features=None, function="identity", unit=0.01, zero=most)
    assert of_function.sum_bound == found.sum_bound
    high, low = divmod(most, digit)
    assert high <= 255 and digit << (bits - 1) <= 127
    assert high * (digit << (bits - 1)) + low * (1 << (bits - 1)) < 2**15


@pytest.mark.parametrize("bits", [2, 4, 6, 7, 8])
@pytest.mark.parametrize("function", ["silu", "tanh", "relu", "identity"])
def test_features_of_a_function_on_every_runtime(function, bits, rows_of_codes):
    found = one_row(bits, features=None, function=function, unit=0.002, zero=100) if bits < 8 else None
    if found is None:
        found = table(rows=1, q=np.ones((3, 1, 2), np.int8), features=None, function=function, unit=0.01, zero=100)
    digit = 127 >> (bits - 1)
    assert found.weights.dtype == (np.int16 if digit > 1 else np.uint8)
    assert 0 <= found.weights.min() and found.weights.max() <= 256 * max(digit, 1) - 1
    rows_of_codes(artifact(layer(found)))
    body, arrays = encode_program(artifact(layer(found)).program)
    assert "features" not in arrays and body["steps"][0]["branches"][0]["table"]["function"] == function
    unlike = {**body["steps"][0]["branches"][0]["table"], "function": None}
    body["steps"][0]["branches"][0]["table"] = unlike
    with pytest.raises(ArtifactError, match="fields"):
        decode_program(body, arrays)


@pytest.fixture
def rows_of_codes():
    """Check that all runtimes, and a file read back, answer with the same bits at every code."""

    def check(made: Artifact) -> None:
        grid = made.program.steps[0].branches[0].table
        x = np.concatenate([np.tile(grid.points[:, None], (1, 3)), np.random.default_rng(0).normal(0, 1, (40, 3))])
        x = x.astype(np.float32)
        wanted = lutkan.load(made, runtime="reference").predict(x)
        for runtime in RUNTIMES:
            for rows in (x, x[:3]):  # a batch, and so few rows that no dense product is used
                assert same_bits(lutkan.load(made, runtime=runtime).predict(rows), wanted[: len(rows)]).all()
        assert same_bits(lutkan.load(Artifact.open(made.to_bytes()), runtime="reference").predict(x), wanted).all()

    return check


def test_features_with_16_bits_are_not_negative():
    with pytest.raises(ArtifactError, match="are negative"):
        table(wide=True, features=np.full((1, 16, 4), -1, np.int16))


def test_knots_that_all_coincide_are_a_spline_that_is_zero():
    assert not splines(knots=np.full((1, 8), 0.5, np.float32)).weights.any()


@pytest.mark.parametrize("field", ["bits", "low", "step", "coded", "features"])
def test_quantizing_steps_that_do_not_fit(field):
    fields = {"features": 3, "bits": 4, "low": 0.0, "step": 1.0, "coded": False}
    QuantizeOp(**fields)
    with pytest.raises(ArtifactError, match=f"quantize.{field}"):
        QuantizeOp(**{**fields, field: "x"})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"bits": 9}, "bits"),
        ({"low": 0}, "low"),
        ({"step": 0.0}, "step"),
        ({"shift": 63}, "shift"),
        ({"shift": -1}, "shift"),
    ],
)
def test_requantizations_that_do_not_fit(changes, text):
    with pytest.raises(ArtifactError, match=f"requantize.{text}"):
        Requantization(**{"bits": 8, "low": 0.0, "step": 1.0, "shift": 20, **changes})


def test_only_code_tables_are_requantized():
    to = Requantization(8, 0.0, 1.0, 20)
    layer(table(), requantize=to)
    with pytest.raises(ArtifactError, match="other tables than code tables"):
        layer(table(), BaseTable("silu", np.ones((3, 2), np.float32)), requantize=to)
    with pytest.raises(ArtifactError, match=r"kan\.requantize: is a QuantizeOp"):
        layer(table(), requantize=QuantizeOp(2, 4, 0.0, 1.0, False))
    with pytest.raises(ArtifactError, match="bias"):
        layer(table(), requantize=to, outputs=np.array([0, 2], np.int32), out_features=3)


# ------------------------------------------------------------------------------------------------ bounds at their edge


def answers(*steps, x) -> np.ndarray:
    """What all runtimes answer, which is the same."""
    found = [lutkan.load(artifact(*steps), runtime=name).predict(x) for name in RUNTIMES]
    assert all(same_bits(one, found[-1]).all() for one in found)
    return found[-1]


@pytest.mark.parametrize("zero", [0, 255])
@pytest.mark.parametrize("sign", [1, -1])
def test_int32_sums_up_to_their_last_number(zero, sign):
    """255 * 127 * 66311 = 2147481735, and from the zero point down as well."""
    most = (2**31 - 1) // (255 * 127)
    features = np.full((1, 16, 1), 0 if zero else 255, np.uint8)
    features[0, 0] = zero  # another code: nothing at all
    fields = {"rows": 1, "zero": zero, "features": features, "n_out": 1}
    full = table(most, **fields, q=np.full((most, 1, 1), 127 * sign, np.int8), low=0.0, step=1.0)
    x = np.stack([np.full(most, 9.0), np.zeros(most), np.where(np.arange(most) % 2, 9.0, 0.0)]).astype(np.float32)
    found = answers(layer(full), x=x)
    each = 255 * 127 * sign * (-1 if zero else 1)
    assert found[:, 0].tolist() == [np.float32(each * most), 0.0, np.float32(each * (most // 2))]
    with pytest.raises(ArtifactError, match="int32 sums cannot overflow"):
        table(most + 1, **fields, q=np.ones((most + 1, 1, 1), np.int8))


def test_sums_count_the_zero_point_where_it_is_larger():
    """Sums start at minus the zero point times the coefficients: that has to fit as well."""
    n = 66_311
    small = np.zeros((1, 16, 2), np.uint8)
    table(n, rows=2, features=small, q=np.zeros((n, 2, 2), np.int8), zero=127)
    with pytest.raises(ArtifactError, match="overflow"):
        table(n, rows=2, features=small, q=np.zeros((n, 2, 2), np.int8), zero=128)


def test_pairs_may_sum_to_more_than_a_16_bit_sum_holds():
    """All features at 255, all coefficients at 127: runtimes keep them apart."""
    for rows in (1, 2, 3, 4, 8, 13):
        full = table(5, 3, rows, features=np.full((1, 16, rows), 255, np.uint8), q=np.full((5, rows, 3), 127, np.int8))
        assert (answers(layer(full), x=np.zeros((70, 5), np.float32)) == 5 * rows * 255 * 127).all()


def test_sums_of_16_bits_at_their_bound():
    full = table(
        40, 2, 4, wide=True, features=np.full((1, 16, 4), 1024, np.int16), q=np.full((40, 4, 2), -32767, np.int16)
    )
    assert (answers(layer(full), x=np.zeros((20, 40), np.float32)) == np.float32(-40 * 4096 * 32767)).all()
    with pytest.raises(ArtifactError, match="overflow"):
        table(40, 2, 4, wide=True, features=np.full((1, 16, 4), 1025, np.int16), q=np.zeros((40, 4, 2), np.int16))


def codes_of(scale, bias, to, x, **changes):
    one = table(
        1, 1, 1, **{"features": np.arange(16, dtype=np.uint8).reshape(1, 16, 1), "low": 0.0, "step": 1.0, **changes}
    )
    one = replace(one, scale=np.float32([scale]))
    last = table(
        1, 1, 1, features=np.arange(256, dtype=np.uint8).reshape(1, 256, 1), bits=8, low=0.0, step=1.0, coded=True
    )
    first = layer(one, bias=None if bias is None else np.float32([bias]), requantize=to)
    return answers(first, layer(last), x=np.float32(x).reshape(-1, 1))[:, 0].tolist()


@pytest.mark.parametrize("shift", [1, 20, 29])
def test_codes_are_rounded_half_up_and_saturate(shift):
    x = range(16)
    assert codes_of(1.0, None, Requantization(8, 0.0, 1.0, shift), x) == list(range(16))
    assert codes_of(1.0, -3.0, Requantization(8, 0.0, 1.0, shift), x) == [max(v - 3, 0) for v in x]
    assert codes_of(1.0, None, Requantization(3, 0.0, 1.0, shift), x) == [min(v, 7) for v in x]
    assert codes_of(0.5, None, Requantization(8, 0.0, 1.0, shift), x) == [(v + 1) // 2 for v in x]
    assert codes_of(-0.5, 4.0, Requantization(8, 0.0, 1.0, shift), x) == [max((9 - v) // 2, 0) for v in x]


def full(scale: float) -> tuple[CodeTable, int]:
    """A table of 16-bit coefficients whose sums are always as large as its bound, and that sum."""
    one = table(16, 1, 1, wide=True, bits=2, features=np.full((1, 4, 1), 4096, np.int16))
    one = replace(one, q=np.full((16, 1, 1), 32767, np.int16), scale=np.array([scale], np.float32))
    return one, 16 * 4096 * 32767


def test_multipliers_up_to_2_to_the_30th():
    one, acc = full(2.0**30 - 64)  # the last float32 below
    assert one.sum_bound == acc
    to = Requantization(8, 0.0, 1.0, 0)
    assert layer(one, requantize=to).requantizing[0].tolist() == [[2**30 - 64]]
    for shift in (53, 54, 57):
        code = (acc * (2**30 - 64) + 2 ** (shift - 1)) >> shift
        assert 15 < code <= 256
        found = answers(layer(one, requantize=Requantization(8, 0.0, 2.0**shift, shift)), x=np.zeros((3, 16)))
        assert found[:, 0].tolist() == [min(code, 255)] * 3
    with pytest.raises(ArtifactError, match=r"multiplier of 1\.07374e"):
        layer(full(2.0**30)[0], requantize=to)
    with pytest.raises(ArtifactError, match="multiplier of 6"):
        layer(full(3e38)[0], requantize=Requantization(8, 0.0, 2e-30, 62))


def test_64_bit_sums_up_to_their_last_bit():
    """Sixteen branches whose bound stays below 2^63 are accepted, and give the sum; a little more is refused."""
    (one, acc), to, x = full(2.0**28 + 8192), Requantization(8, 0.0, 1.0, 0), np.zeros((2, 16))
    sums = 16 * acc * (2**28 + 8192)
    assert 2**63 - 2**39 < sums < 2**63
    assert answers(layer(*[one] * 16, requantize=to), x=x).tolist() == [[255.0]] * 2
    assert answers(layer(*[replace(one, scale=-one.scale)] * 16, requantize=to), x=x).tolist() == [[0.0]] * 2
    fine = Requantization(8, 0.0, 2.0**55, 55)  # the same multipliers
    code = (sums // 16 * 15 + 2**54) >> 55
    assert 200 < code < 255 and answers(layer(*[one] * 15, requantize=fine), x=x).tolist() == [[code]] * 2
    with pytest.raises(ArtifactError, match="sums of up to"):
        layer(*[full(2.0**28 + 8224)[0]] * 16, requantize=to)
    with pytest.raises(ArtifactError, match="offset of"):
        layer(one, bias=np.array([1e30], np.float32), requantize=to)


def test_very_many_features_are_refused_before_memory_is_taken():
    knots = np.tile(np.arange(12, dtype=np.float32), (40_000, 1))
    fields = {"rows": 8, "bits": 8, "knots": knots, "q": np.zeros((40_000, 8, 1), np.int8), "n_out": 1}
    with pytest.raises(ArtifactError, match="unfolds to 81920000 features"):
        splines(n_in=40_000, **fields)
    fields |= {"knots": knots[:20_000], "q": fields["q"][:20_000]}
    one = splines(n_in=20_000, **fields)
    with pytest.raises(ArtifactError, match="code tables: unfold to"):
        artifact(layer(one, one))


# ------------------------------------------------------------------------------------------------------------ the file


def test_a_layer_without_requantization_has_no_such_key():
    body, arrays = encode_program(lutkan.compile(networks.pykans(), "w8a8").program)
    assert ["requantize" in step for step in body["steps"]] == [True, True, False]
    body["steps"][2]["requantize"] = None
    with pytest.raises(ArtifactError, match="fields"):
        decode_program(body, arrays)
    del body["steps"][2]["requantize"], body["steps"][0]["requantize"]
    decode_program(body, arrays)
    body["steps"][0]["requantize"] = body["steps"][0]["branches"][0]["table"]
    with pytest.raises(ArtifactError, match="requantize"):
        decode_program(body, arrays)


def test_equal_features_are_stored_once():
    net = networks.gram()
    spec = lutkan.tables.CodeSpec(8)
    program = lutkan.compile(net, spec).program
    step = program.steps[3]
    first = program.steps[0]
    same = replace(step, branches=tuple(
        BranchOp((), replace(b.table, features=a.table.features))
        for a, b in zip(first.branches, step.branches, strict=True)
    ))  # fmt: skip
    steps = (*program.steps[:3], same, *program.steps[4:])
    saved = Artifact(program, {}).nbytes - Artifact(Program(program.in_features, steps), {}).nbytes
    assert saved > 1000


def test_4_bit_files_are_a_seventh_of_the_checkpoint():
    """64-64-10, as efficient-kan writes it: base, spline, scaler and grid in float32."""
    rng = np.random.default_rng(0)
    state = {}
    for number, (n_in, n_out) in enumerate(((64, 64), (64, 10))):
        state |= {
            f"layers.{number}.base_weight": rng.normal(size=(n_out, n_in)),
            f"layers.{number}.spline_weight": rng.normal(size=(n_out, n_in, 8)),
            f"layers.{number}.spline_scaler": rng.normal(size=(n_out, n_in)),
            f"layers.{number}.grid": np.tile(networks.uniform_knots(), (n_in, 1)),
        }
    state = {name: array.astype(np.float32) for name, array in state.items()}
    net = lutkan.import_model(state)
    x = rng.uniform(-1, 1, (200, 64))
    sizes = {spec: lutkan.compile(net, spec, calibration=x).nbytes for spec in ("w4a8", "w3a8", "w2a8")}
    whole = sum(array.nbytes for array in state.values())
    assert whole / sizes["w4a8"] >= 7 and whole / sizes["w3a8"] >= 8.5 and whole / sizes["w2a8"] >= 11
