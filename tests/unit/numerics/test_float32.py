import ctypes
import importlib.util
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutkan.errors import InputError
from lutkan.numerics import float32 as f32

ROOT = Path(__file__).resolve().parents[3]
SPEC = ROOT / "docs" / "spec" / "float32.md"
UNARY = ("exp", "tanh", "sigmoid", "silu", "gelu", "relu")
SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)
INF, NAN = np.float32(np.inf), np.float32(np.nan)


def bits(x):
    return np.asarray(x, dtype=np.float32).view(np.uint32)


def assert_same_bits(actual, expected):
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == np.float32
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    live = ~np.isnan(expected)
    np.testing.assert_array_equal(bits(actual)[live], bits(expected)[live])


def floats_between(low, high, count):
    """About `count` float32 values from low to high, evenly spread over the bit patterns of each sign."""
    step = max(1, 2 * 0x7F800000 // count)
    positive = np.arange(0, 0x7F800000, step, dtype=np.uint32).view(np.float32)
    both = np.concatenate([-positive[::-1], positive, np.linspace(low, high, count).astype(np.float32)])
    return both[(both >= low) & (both <= high)]


def random_patterns(count, seed):
    return np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint32).view(np.float32)


def ulps(actual, exact):
    """Error in units of the last place of the float32 nearest to the exact value."""
    return np.abs(actual.astype(np.float64) - exact) / np.spacing(np.abs(exact).astype(np.float32))


def exact_sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1.0 + e)


def exact_gelu(x):
    tail = np.frompyfunc(math.erfc, 1, 1)(np.abs(x) / math.sqrt(2.0)).astype(np.float64) / 2.0
    return x * np.where(x < 0, tail, 1.0 - tail)


class TestAccuracy:
    @pytest.mark.parametrize(
        ("name", "exact", "low", "high", "limit"),
        [
            ("exp", np.exp, float(f32.EXP_LOW), float(f32.EXP_HIGH), 1.0),
            ("tanh", np.tanh, -100.0, 100.0, 1.5),
            ("sigmoid", exact_sigmoid, float(f32.EXP_LOW), 100.0, 2.5),
            ("silu", lambda x: x * exact_sigmoid(x), float(f32.EXP_LOW), 100.0, 3.5),
        ],
    )
    def test_ulps(self, name, exact, low, high, limit):
        x = floats_between(low, high, 1_000_000)
        wanted = exact(x.astype(np.float64))
        normal = np.abs(wanted) >= SMALLEST_NORMAL
        error = ulps(getattr(f32, name)(x[normal]), wanted[normal])
        assert error.max() < limit

    def test_gelu(self):
        x = floats_between(-20.0, 20.0, 300_000)
        wanted = exact_gelu(x.astype(np.float64))
        error = np.abs(f32.gelu(x).astype(np.float64) - wanted)
        assert (error / np.maximum(1.0, np.abs(x))).max() < 1.2e-7
        kept = (x > -f32.GELU_CUT) & (np.abs(wanted) >= SMALLEST_NORMAL)
        assert (error[kept] / np.abs(wanted[kept])).max() < 6e-7

    def test_exp_is_normal_and_ascends_at_both_ends(self):
        for edge in (f32.EXP_LOW, f32.EXP_HIGH):
            pattern = int(bits(edge))
            x = np.sort(np.arange(pattern - 5000, pattern + 1, dtype=np.uint32).view(np.float32))
            y = f32.exp(x)
            assert np.isfinite(y).all()
            assert (y >= SMALLEST_NORMAL).all()
            assert (np.diff(y) >= 0).all()

    def test_exp_where_the_exponent_steps(self):
        ties = (np.arange(-126, 128) + 0.5) * math.log(2.0)
        x = (ties[:, None] + np.linspace(-1e-4, 1e-4, 401)).astype(np.float32).ravel()
        x = x[(x >= f32.EXP_LOW) & (x <= f32.EXP_HIGH)]
        assert ulps(f32.exp(x), np.exp(x.astype(np.float64))).max() < 1.0

    def test_tanh_at_the_split(self):
        pattern = int(bits(f32.TANH_SPLIT))
        x = np.arange(pattern - 20_000, pattern + 20_000, dtype=np.uint32).view(np.float32)
        assert ulps(f32.tanh(x), np.tanh(x.astype(np.float64))).max() < 1.5


class TestSpecialValues:
    @pytest.mark.parametrize(
        ("name", "x", "expected"),
        [
            ("exp", [INF, -INF, 0.0, -0.0], [INF, 0.0, 1.0, 1.0]),
            ("exp", [88.75, 3e38, -87.34, -3e38], [INF, INF, 0.0, 0.0]),
            ("tanh", [INF, -INF, 0.0, -0.0], [1.0, -1.0, 0.0, -0.0]),
            ("tanh", [3e38, -3e38, 10.0, -10.0], [1.0, -1.0, 1.0, -1.0]),
            ("sigmoid", [INF, -INF, 0.0, -0.0], [1.0, 0.0, 0.5, 0.5]),
            ("sigmoid", [3e38, -3e38, -87.34], [1.0, 0.0, 0.0]),
            ("silu", [INF, -INF, 0.0, -0.0], [INF, -0.0, 0.0, -0.0]),
            ("silu", [3e38, -3e38, -128.0, -87.34], [3e38, -0.0, -0.0, -0.0]),
            ("gelu", [INF, -INF, 0.0, -0.0], [INF, -0.0, 0.0, -0.0]),
            ("gelu", [3e38, -3e38, -16.0, -11.75], [3e38, -0.0, -0.0, -0.0]),
            ("relu", [INF, -INF, 0.0, -0.0, -1.5, 1.5], [INF, 0.0, 0.0, 0.0, 0.0, 1.5]),
        ],
    )
    def test_values(self, name, x, expected):
        assert_same_bits(getattr(f32, name)(np.float32(x)), np.float32(expected))

    def test_exp_just_past_its_ends(self):
        assert f32.exp(np.nextafter(f32.EXP_LOW, -INF)) == 0.0
        assert f32.exp(np.nextafter(f32.EXP_HIGH, INF)) == INF

    @pytest.mark.parametrize("name", UNARY)
    def test_nan_of_any_pattern_stays_nan(self, name):
        nans = np.uint32([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF]).view(np.float32)
        assert np.isnan(getattr(f32, name)(nans)).all()

    def test_subnormal_input(self):
        x = np.concatenate(
            [random_patterns(1000, 1).view(np.uint32) & np.uint32(0x807FFFFF), np.uint32([1, 0x80000001])]
        )
        x = x.view(np.float32)
        assert_same_bits(f32.exp(x), np.ones_like(x))
        assert_same_bits(f32.tanh(x), x)
        assert_same_bits(f32.sigmoid(x), np.full_like(x, 0.5))
        half = (x.astype(np.float64) / 2).astype(np.float32)
        assert_same_bits(f32.silu(x), half)
        assert_same_bits(f32.gelu(x), half)
        assert_same_bits(f32.relu(x), np.where(x > 0, x, np.float32(0)))

    def test_tanh_is_odd_to_the_last_bit(self):
        x = random_patterns(100_000, 2)
        assert_same_bits(f32.tanh(-x), -f32.tanh(x))

    @pytest.mark.parametrize("name", UNARY)
    def test_no_floating_point_warning_leaves(self, name):
        with np.errstate(all="raise"):
            getattr(f32, name)(random_patterns(50_000, 3))

    def test_prelu(self):
        x = np.float32([-2.0, -0.0, 0.0, 3.0, -INF, INF, NAN])
        assert_same_bits(f32.prelu(x, 0.25), np.float32([-0.5, -0.0, 0.0, 3.0, -INF, INF, NAN]))
        assert_same_bits(f32.prelu(x, 0.0), np.float32([-0.0, -0.0, 0.0, 3.0, NAN, INF, NAN]))
        assert_same_bits(f32.prelu(np.float32([[-1, 2], [3, -4]]), [0.5, 2.0]), np.float32([[-0.5, 2], [3, -8]]))
        with pytest.raises(InputError, match=r"slope has shape \(3,\)"):
            f32.prelu(np.zeros((2, 2)), np.zeros(3))


class TestArrays:
    @pytest.mark.parametrize("name", UNARY)
    def test_shape_layout_and_block_do_not_matter(self, name, monkeypatch):
        function = getattr(f32, name)
        x = np.random.default_rng(4).normal(0, 8, (6, 50)).astype(np.float32)
        whole = function(x)
        assert_same_bits(function(x.T), whole.T)
        assert_same_bits(function(x[::-2, ::3]), whole[::-2, ::3])
        assert_same_bits(function(x.astype(np.float64)), whole)
        assert_same_bits(function(x[2, 3]), whole[2, 3])
        assert function(np.empty((0, 3), dtype=np.float32)).shape == (0, 3)
        monkeypatch.setattr(f32, "_BLOCK", 7)
        assert_same_bits(function(x), whole)

    def test_input_is_left_alone(self):
        x = np.linspace(-200, 200, 101, dtype=np.float32)
        before = x.copy()
        for name in UNARY:
            getattr(f32, name)(x)
        assert_same_bits(x, before)

    def test_activations(self):
        x = np.float32([-2.0, -0.0, 1.5])
        assert list(f32.ACTIVATIONS) == ["identity", "silu", "gelu", "relu", "tanh", "sigmoid"]
        assert_same_bits(f32.ACTIVATIONS["identity"](x), x)
        for name in list(f32.ACTIVATIONS)[1:]:
            assert_same_bits(f32.ACTIVATIONS[name](x), getattr(f32, name)(x))
        with pytest.raises(TypeError):
            f32.ACTIVATIONS["silu"] = f32.relu


def as_float32(value):
    """Round a Python float once; of a sum, product or quotient of two float32 values this is the float32 result."""
    return float(np.float32(value))


def scalar_horner(coefficients, x):
    total = float(coefficients[-1])
    for c in coefficients[-2::-1]:
        total = as_float32(as_float32(total * x) + float(c))
    return total


def scalar_exp(x):
    """The rules of docs/spec/float32.md with Python floats and scaling by 2**k instead of bits."""
    if x < float(f32.EXP_LOW):
        return 0.0
    if x > float(f32.EXP_HIGH):
        return math.inf
    shifted = as_float32(as_float32(x * float(f32.LOG2E)) + 12582912.0)
    k = shifted - 12582912.0
    r = as_float32(x - as_float32(k * float(f32.LN2_HIGH)))
    r = as_float32(r - as_float32(k * float(f32.LN2_LOW)))
    q = scalar_horner(f32.EXP_POLYNOMIAL, r)
    p = as_float32(1.0 + as_float32(r + as_float32(as_float32(r * r) * q)))
    return math.ldexp(p, int(k))


class TestOperationByOperation:
    floats = st.floats(width=32, allow_nan=False)
    usual = st.floats(-100, 100, width=32)

    @given(floats | usual)
    def test_exp(self, x):
        assert_same_bits(f32.exp(x), np.float32(scalar_exp(x)))

    @given(floats | usual)
    def test_sigmoid_and_silu(self, x):
        e = scalar_exp(-abs(x))
        below = as_float32(1.0 + e)
        above = e if x < 0 else 1.0
        assert_same_bits(f32.sigmoid(x), np.float32(as_float32(above / below)))
        assert_same_bits(f32.silu(x), np.float32(as_float32(as_float32(max(x, -128.0) * above) / below)))

    @given(st.floats(width=32))
    def test_range(self, x):
        x = np.float32(x)
        s, t = f32.sigmoid(x), f32.tanh(x)
        if np.isnan(x):
            assert np.isnan([s, t]).all()
            return
        assert 0 <= s <= 1
        assert -1 <= t <= 1
        assert abs(float(s) + float(f32.sigmoid(-x)) - 1) < 1e-7
        assert f32.silu(x) >= np.float32(-0.2784646)
        assert f32.gelu(x) >= np.float32(-0.1699713)


def scalar_lane_sum(values):
    lanes = [np.float32(0)] * 16
    for i, value in enumerate(values):
        lanes[i % 16] = lanes[i % 16] + value
    for half in (8, 4, 2, 1):
        lanes = [lanes[i] + lanes[i + half] for i in range(half)]
    return lanes[0]


def scalar_layer_norm(row, weight, bias, eps):
    count = np.float32(len(row))
    mean = scalar_lane_sum(row) / count
    centred = [value - mean for value in row]
    inverse = np.float32(1) / np.sqrt(scalar_lane_sum([d * d for d in centred]) / count + np.float32(eps))
    result = [d * inverse for d in centred]
    if weight is not None:
        result = [y * w for y, w in zip(result, weight, strict=True)]
    if bias is not None:
        result = [y + b for y, b in zip(result, bias, strict=True)]
    return np.array(result, dtype=np.float32)


class TestLayerNorm:
    @pytest.mark.parametrize("size", [1, 2, 5, 15, 16, 17, 31, 33, 64, 100])
    def test_order_of_sums(self, size):
        rng = np.random.default_rng(size)
        x = rng.normal(3, 5, (20, size)).astype(np.float32)
        weight, bias = rng.normal(size=(2, size)).astype(np.float32)
        for w, b in ((weight, bias), (weight, None), (None, bias), (None, None)):
            expected = np.stack([scalar_layer_norm(row, w, b, 1e-5) for row in x])
            assert_same_bits(f32.layer_norm(x, w, b, 1e-5), expected)

    def test_the_order_matters_here(self):
        # Guards the test above: another order of the same sum gives other bits.
        x = np.random.default_rng(5).normal(3, 5, (50, 100)).astype(np.float32)
        lanes = np.array([scalar_lane_sum(row) for row in x])
        one_by_one = np.add.accumulate(x, axis=1)[:, -1]
        assert (lanes != one_by_one).any()

    def test_value(self):
        x = np.random.default_rng(6).normal(2, 3, (100, 37)).astype(np.float32)
        wide = x.astype(np.float64)
        exact = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-5)
        np.testing.assert_allclose(f32.layer_norm(x, None, None, 1e-5), exact, atol=2e-6)

    @pytest.mark.parametrize("poison", [NAN, INF, -INF])
    def test_poisoned_row_is_nan_and_alone(self, poison):
        x = np.random.default_rng(7).normal(size=(3, 20)).astype(np.float32)
        clean = f32.layer_norm(x, None, None, 1e-5)
        x[1, 4] = poison
        with np.errstate(all="raise"):
            y = f32.layer_norm(x, None, None, 1e-5)
        assert np.isnan(y[1]).all()
        assert_same_bits(y[[0, 2]], clean[[0, 2]])

    def test_empty_batch(self):
        assert f32.layer_norm(np.empty((0, 4)), np.ones(4), None, 1e-5).shape == (0, 4)

    @pytest.mark.parametrize(
        ("arguments", "found"),
        [
            ((np.zeros(4), None, None), r"x has shape \(4,\)"),
            ((np.zeros((2, 0)), None, None), r"x has shape \(2, 0\)"),
            ((np.zeros((2, 4)), np.ones(3), None), r"weight has shape \(3,\); allowed: shape \(4,\)"),
            ((np.zeros((2, 4)), None, np.ones((1, 4))), r"bias has shape \(1, 4\)"),
        ],
    )
    def test_wrong_shape(self, arguments, found):
        with pytest.raises(InputError, match=found):
            f32.layer_norm(*arguments, 1e-5)


class TestLinear:
    def test_order_of_sums(self, monkeypatch):
        rng = np.random.default_rng(8)
        x = rng.normal(size=(11, 30)).astype(np.float32)
        weight, bias = rng.normal(size=(30, 7)).astype(np.float32), rng.normal(size=7).astype(np.float32)
        bare = np.zeros((11, 7), dtype=np.float32)
        for n in range(11):
            for o in range(7):
                for i in range(30):
                    bare[n, o] = bare[n, o] + x[n, i] * weight[i, o]
        assert_same_bits(f32.linear(x, weight, None), bare)
        assert_same_bits(f32.linear(x, weight, bias), bare + bias)
        monkeypatch.setattr(f32, "_ROW_BLOCK", 4)
        assert_same_bits(f32.linear(x, weight, bias), bare + bias)

    def test_zero_and_nan(self):
        assert_same_bits(f32.linear([[-0.0]], [[1.0]], None), np.float32([[0.0]]))
        with np.errstate(all="raise"):
            y = f32.linear(np.float32([[NAN, 1], [1, INF], [3e38, 3e38]]), np.ones((2, 1)), None)
        assert_same_bits(y, np.float32([[NAN], [INF], [INF]]))

    def test_empty_batch(self):
        assert f32.linear(np.empty((0, 4)), np.ones((4, 3)), None).shape == (0, 3)

    @pytest.mark.parametrize(
        ("arguments", "found"),
        [
            ((np.zeros(4), np.zeros((4, 2)), None), r"x has shape \(4,\)"),
            ((np.zeros((1, 4)), np.zeros((2, 4)), None), r"weight has shape \(2, 4\).*\[4, out\]"),
            ((np.zeros((1, 4)), np.zeros((4, 2)), np.zeros(4)), r"bias has shape \(4,\); allowed: shape \(2,\)"),
        ],
    )
    def test_wrong_shape(self, arguments, found):
        with pytest.raises(InputError, match=found):
            f32.linear(*arguments)


class TestConstants:
    def test_fit_gives_the_constants_of_the_module(self):
        pytest.importorskip("mpmath", reason="needs mpmath")
        spec = importlib.util.spec_from_file_location("fit_float32", ROOT / "tools" / "fit_float32.py")
        tool = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(tool)
        assert tool.source() in Path(f32.__file__).read_text(encoding="utf-8")

    def test_comments_give_the_values(self):
        text = Path(f32.__file__).read_text(encoding="utf-8")
        pairs = re.findall(r"np\.float32\(([-+.e\d]+)\),?  # (-?0x[\da-f.]+p[-+]\d+)$", text, re.MULTILINE)
        assert len(pairs) == 26
        for decimal, hexadecimal in pairs:
            assert float(np.float32(float(decimal))) == float.fromhex(hexadecimal)

    def test_k_times_ln2_high_is_exact(self):
        k = np.arange(-150, 151, dtype=np.float32)
        np.testing.assert_array_equal((k * f32.LN2_HIGH).astype(np.float64), k.astype(np.float64) * float(f32.LN2_HIGH))


@pytest.fixture(scope="module")
def spec_text():
    return SPEC.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def spec_in_c(spec_text, tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or sys.platform == "win32":
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("spec")
    source, library = folder / "spec.c", folder / "spec.so"
    source.write_text(
        re.search(r"```c\n(.*?)```", spec_text, re.DOTALL).group(1)
        + "\n#define EACH(name) void each_##name(const float *x, long n, float *y) "
        "{ for (long i = 0; i < n; i++) y[i] = lutkan_##name(x[i]); }\n" + "\n".join(f"EACH({name})" for name in UNARY),
        encoding="utf-8",
    )
    flags = ["-std=c11", "-O3", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, str(source), "-o", str(library), "-lm"], check=True)
    return ctypes.CDLL(str(library))


def pointer(array):
    return None if array is None else array.ctypes.data_as(ctypes.c_void_p)


class TestSpecText:
    def test_constants(self, spec_text):
        rows = re.findall(
            r"^\| `(\w+)(?:\[(\d)\])?` \| `(-?0x[\da-f.]+p[-+]\d+)` \| `([\da-f]{8})` \|", spec_text, re.M
        )
        found = {}
        for name, index, hexadecimal, pattern in rows:
            value = getattr(f32, name)[int(index)] if index else getattr(f32, name)
            assert float(value) == float.fromhex(hexadecimal)
            assert int(bits(value)) == int(pattern, 16)
            found[name] = found.get(name, 0) + 1
        tuples = {name: len(value) for name, value in vars(f32).items() if isinstance(value, tuple)}
        assert {name: count for name, count in found.items() if count > 1} == tuples
        assert {"LOG2E", "LN2_HIGH", "LN2_LOW", "EXP_LOW", "EXP_HIGH", "ROUNDER", "TANH_SPLIT"} <= set(found)
        assert {"SILU_FLOOR", "GELU_CUT", "GELU_FAR"} <= set(found)

    def test_check_values(self, spec_text):
        rows = re.findall(r"^\|" + r" `([\da-f]{8})` \|" * 6 + "$", spec_text, re.M)
        assert len(rows) > 20
        table = np.array([[int(cell, 16) for cell in row] for row in rows], dtype=np.uint32).view(np.float32)
        for column, name in enumerate(("exp", "tanh", "sigmoid", "silu", "gelu"), start=1):
            assert_same_bits(getattr(f32, name)(table[:, 0]), table[:, column])

    @pytest.mark.parametrize("name", UNARY)
    def test_c_listing_agrees(self, spec_in_c, name):
        rng = np.random.default_rng(9)
        x = np.concatenate([random_patterns(500_000, 10), rng.normal(0, 8, 500_000).astype(np.float32)])
        y = np.empty_like(x)
        getattr(spec_in_c, f"each_{name}")(pointer(x), ctypes.c_long(x.size), pointer(y))
        assert_same_bits(getattr(f32, name)(x), y)

    def test_c_prelu_agrees(self, spec_in_c):
        spec_in_c.lutkan_prelu.restype = ctypes.c_float
        for x in (-3.7, -0.0, 0.0, 2.5, float("-inf")):
            y = spec_in_c.lutkan_prelu(ctypes.c_float(x), ctypes.c_float(0.3))
            assert_same_bits(f32.prelu(x, 0.3), np.float32(y))

    @pytest.mark.parametrize("size", [1, 15, 16, 17, 100])
    def test_c_layer_norm_and_linear_agree(self, spec_in_c, size):
        rng = np.random.default_rng(size)
        x = rng.normal(1, 4, (10, size)).astype(np.float32)
        weight, bias = rng.normal(size=(2, size)).astype(np.float32)
        matrix, shift = rng.normal(size=(size, 9)).astype(np.float32), rng.normal(size=9).astype(np.float32)
        length, row = ctypes.c_size_t(size), np.empty(size, dtype=np.float32)
        for w, b in ((weight, bias), (None, None)):
            expected = f32.layer_norm(x, w, b, 1e-5)
            for values, wanted in zip(x, expected, strict=True):
                spec_in_c.lutkan_layer_norm(
                    pointer(values), length, pointer(w), pointer(b), ctypes.c_float(1e-5), pointer(row)
                )
                assert_same_bits(row, wanted)
        row = np.empty(9, dtype=np.float32)
        for b in (shift, None):
            expected = f32.linear(x, matrix, b)
            for values, wanted in zip(x, expected, strict=True):
                spec_in_c.lutkan_linear(
                    pointer(values), length, ctypes.c_size_t(9), pointer(matrix), pointer(b), pointer(row)
                )
                assert_same_bits(row, wanted)
