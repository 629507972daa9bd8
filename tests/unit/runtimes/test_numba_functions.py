import re

import numpy as np
import pytest

from lutkan.numerics import float32 as f32

numba = pytest.importorskip("numba", reason="needs numba")

from lutkan.runtimes import numba_functions as nf  # noqa: E402

UNARY = ("exp", "tanh", "sigmoid", "silu", "gelu", "relu")
FUSED = re.compile(r"\b(?:v?fn?m(?:add|sub)\w*|fml[as])\b")  # x86 and ARM
WIDENED = re.compile(r"\b(?:v?cvtss2sd|v?cvtps2pd|fcvtl2?)\b")


def elementwise(function):
    @numba.njit(error_model="numpy")
    def kernel(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    return kernel


KERNELS = {name: elementwise(getattr(nf, name)) for name in UNARY}


def assert_same_bits(actual, expected):
    assert actual.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    live = ~np.isnan(expected)
    np.testing.assert_array_equal(actual.view(np.uint32)[live], expected.view(np.uint32)[live])


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(0)
    specials = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, f32.EXP_LOW, f32.EXP_HIGH, f32.TANH_SPLIT, f32.GELU_CUT])
    near = [np.arange(p - 500, p + 500, dtype=np.uint32).view(np.float32) for p in np.abs(specials[5:]).view(np.uint32)]
    near = np.concatenate(near)
    return np.concatenate(
        [
            rng.integers(0, 2**32, 1_200_000, dtype=np.uint32).view(np.float32),  # subnormals and NaNs among them
            rng.normal(0, 8, 1_000_000).astype(np.float32),
            rng.integers(0, 2**23, 10_000, dtype=np.uint32).view(np.float32),
            np.linspace(-100, 100, 200_001).astype(np.float32),
            specials,
            near,
            -near,
        ]
    )


@pytest.mark.parametrize("name", UNARY)
def test_bits_equal_numpy(name, values):
    y = np.empty_like(values)
    KERNELS[name](values, y)
    assert_same_bits(y, getattr(f32, name)(values))


@pytest.mark.parametrize("name", UNARY)
def test_scalar_result_is_float32(name):
    function = getattr(nf, name)
    function(np.float32(0.5))
    (signature,) = function.nopython_signatures
    assert signature.return_type == numba.float32


@pytest.mark.parametrize("name", UNARY)
def test_neither_fused_nor_widened(name):
    kernel = KERNELS[name]
    kernel(np.ones(1, dtype=np.float32), np.ones(1, dtype=np.float32))
    (assembly,) = kernel.inspect_asm().values()
    assert not FUSED.search(assembly)
    assert not WIDENED.search(assembly)


def test_patterns_find_fused_and_widened_code():
    @numba.njit(fastmath={"contract"})
    def fused(x, y):
        for i in range(x.size):
            y[i] = y[i] + x[i] * x[i]

    @numba.njit
    def widened(x, y):
        for i in range(x.size):
            y[i] = x[i] * 1.1

    one = np.ones(1, dtype=np.float32)
    widened(one, one)
    assert WIDENED.search(next(iter(widened.inspect_asm().values())))
    fused(one, one)
    if not FUSED.search(next(iter(fused.inspect_asm().values()))):
        pytest.skip("this CPU has no fused multiply-add")


def test_prelu(values):
    @numba.njit
    def kernel(x, slope, y):
        for i in range(x.size):
            y[i] = nf.prelu(x[i], slope)

    y = np.empty_like(values)
    for slope in np.float32([0.25, 0.0, -1.5]):
        kernel(values, slope, y)
        assert_same_bits(y, f32.prelu(values, slope))


def test_activate(values):
    @numba.njit(error_model="numpy")
    def kernel(kind, x, y):
        for i in range(x.size):
            y[i] = nf.activate(kind, x[i])

    x = values[::97]
    y = np.empty_like(x)
    assert list(nf.KIND_IDS) == list(f32.ACTIVATIONS)
    for name, kind in nf.KIND_IDS.items():
        kernel(kind, x, y)
        assert_same_bits(y, f32.ACTIVATIONS[name](x))
    for unknown in (-1, len(nf.KIND_IDS)):
        kernel(unknown, x, y)
        assert np.isnan(y).all()


@numba.njit(error_model="numpy")
def layer_norm(x, weight, bias, eps, y):
    for n in range(x.shape[0]):
        nf.layer_norm_row(x[n], weight, bias, eps, y[n])


@numba.njit(error_model="numpy")
def linear(x, weight, bias, y):
    for n in range(x.shape[0]):
        nf.linear_row(x[n], weight, bias, y[n])


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 33, 64, 100])
def test_layer_norm_row(size):
    rng = np.random.default_rng(size)
    x = rng.normal(3, 5, (50, size)).astype(np.float32)
    x[3, size // 2] = np.nan
    x[4, size - 1] = np.inf
    weight, bias = rng.normal(size=(2, size)).astype(np.float32)
    for w, b in ((weight, bias), (weight, None), (None, bias), (None, None)):
        y = np.empty_like(x)
        layer_norm(x, w, b, np.float32(1e-5), y)
        assert_same_bits(y, f32.layer_norm(x, w, b, 1e-5))
    y = x.copy()
    layer_norm(y, weight, bias, np.float32(1e-5), y)
    assert_same_bits(y, f32.layer_norm(x, weight, bias, 1e-5))


def test_layer_norm_row_divides_by_zero_like_numpy():
    x, y = np.full((2, 20), 1.5, dtype=np.float32), np.empty((2, 20), dtype=np.float32)
    layer_norm(x, None, None, np.float32(0), y)
    assert np.isnan(y).all()
    assert_same_bits(y, f32.layer_norm(x, None, None, 0.0))


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (5, 3), (64, 64), (33, 17)])
def test_linear_row(inputs, outputs):
    rng = np.random.default_rng(inputs)
    x = rng.normal(size=(40, inputs)).astype(np.float32)
    x[3, 0] = np.nan
    x[4, 0] = -np.inf
    weight, bias = rng.normal(size=(inputs, outputs)).astype(np.float32), rng.normal(size=outputs).astype(np.float32)
    for b in (bias, None):
        y = np.full((40, outputs), 7, dtype=np.float32)
        linear(x, weight, b, y)
        assert_same_bits(y, f32.linear(x, weight, b))


@pytest.mark.parametrize("kernel", [layer_norm, linear])
def test_row_functions_are_neither_fused_nor_widened(kernel):
    x, row = np.ones((1, 20), dtype=np.float32), np.ones(20, dtype=np.float32)
    if kernel is layer_norm:
        kernel(x, row, row, np.float32(1e-5), x.copy())
    else:
        kernel(x, np.ones((20, 20), dtype=np.float32), row, x.copy())
    for assembly in kernel.inspect_asm().values():
        assert not FUSED.search(assembly)
        assert not WIDENED.search(assembly)
