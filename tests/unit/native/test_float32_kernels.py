"""Every kernel of the float32 family gives the bits of lutkan.numerics.float32, whatever the size of its arrays."""

from functools import cache

import numpy as np
import pytest

from lutkan.numerics import float32
from native import BUILDS, MACHINES, Kernels

# In the order of enum lk_activation.
KINDS = ("identity", "silu", "gelu", "relu", "tanh", "sigmoid")
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 11, 13, 15, 16, 17, 19, 23, 29, 31, 32, 33, 37, 47, 48, 49, 63, 64, 65, 97, 101, 257)
NAN = np.float32(np.nan)


def assert_same_bits(actual, expected):
    """Equal bits; a NaN may be any NaN."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype == np.float32
    other = (actual.view(np.uint32) != expected.view(np.uint32)) & ~(np.isnan(actual) & np.isnan(expected))
    where = np.flatnonzero(other)
    assert not where.size, f"{where.size} differ, first at {where[0]}: {actual[where[0]]!r}, not {expected[where[0]]!r}"


def any_bits(count, seed):
    return np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint32).view(np.float32)


@cache
def values():
    """More than a million values: any bits, usual ones, and the neighbours of every place where a rule changes."""
    rng = np.random.default_rng(1)
    places = np.float32([0.0, 2.0**-126, 0.625, 1.0, 11.75, 16.0, 32.0, 87.33654, 88.72283, 103.97, 128.0, np.inf])
    near = (places.view(np.int32)[:, None] + np.arange(-300, 301)).astype(np.uint32).view(np.float32).ravel()
    usual = [rng.normal(0, spread, 2**17).astype(np.float32) for spread in (0.1, 1.0, 5.0, 60.0)]
    special = np.uint32([0x7F800001, 0x7FC00000, 0xFF800001, 0xFFFFFFFF, 0x80000000, 1, 0x80000001]).view(np.float32)
    x = np.concatenate([any_bits(2**19, 2), *usual, near, -near, special])
    x.flags.writeable = False
    return x


@cache
def activated(kind):
    return float32.ACTIVATIONS[KINDS[kind]](values())


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_activations_of_a_million_values(kernels, kind):
    x = values().copy()
    assert x.size >= 10**6 and x.size % 16
    y = np.full_like(x, 7.0)
    kernels.call("activate", kind, x, y, x.size)
    assert_same_bits(y, activated(kind))
    kernels.call("activate", kind, x, x, x.size)
    assert_same_bits(x, activated(kind))


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_activations_of_any_size(kernels, kind):
    for n in SIZES:
        start = 4000 * n
        x = values()[start : start + n].copy()
        assert x.size == n
        y = np.full_like(x, 7.0)
        kernels.call("activate", kind, x, y, n)
        assert_same_bits(y, activated(kind)[start : start + n])


def operands(n, seed):
    """Four arrays: values that meet each other in sums and products, with one of any bits in eight."""
    rng = np.random.default_rng(seed)
    arrays = rng.normal(0, 1, (4, n)).astype(np.float32)
    chosen = rng.random((4, n)) < 1 / 8
    arrays[chosen] = any_bits(int(chosen.sum()), seed + 1)
    return [array.copy() for array in arrays]


@pytest.mark.parametrize("sizes", [SIZES, (2**20 + 7,)], ids=["any size", "a million"])
@np.errstate(all="ignore")
def test_elementwise(kernels, sizes):
    for n in sizes:
        x, scale, bias, sums = operands(n, n)
        x[: n // 8] *= np.float32(1e-40)  # subnormal numbers are dropped neither on the way in nor on the way out
        a = np.float32(-0.37)

        y = np.full_like(x, 7.0)
        kernels.call("affine", x, scale, bias, y, n)
        assert_same_bits(y, scale * x + bias)
        kernels.call("prelu", x, scale, y, n)
        assert_same_bits(y, float32.prelu(x, scale))
        kernels.call("add_bias", sums, bias, y, n)
        assert_same_bits(y, sums + bias)
        y = sums.copy()
        kernels.call(
            "add_products", np.array([a, -a, 0.5], dtype=np.float32), 3, np.concatenate([scale, x, bias]), n, y, n
        )
        assert_same_bits(y, ((sums + scale * a) + x * -a) + bias * np.float32(0.5))
        y = sums.copy()
        kernels.call("add_scaled", a, x, scale, y, n)
        assert_same_bits(y, sums + (x * a) * scale)


@np.errstate(all="ignore")
def test_elementwise_in_place(kernels):
    for n in SIZES:
        x, scale, bias, _ = operands(n, 300 + n)
        for name, arguments, expected in (
            ("affine", (scale, bias), scale * x + bias),
            ("prelu", (scale,), float32.prelu(x, scale)),
            ("add_bias", (bias,), x + bias),
        ):
            y = x.copy()
            kernels.call(name, y, *arguments, y, n)
            assert_same_bits(y, expected)


def test_subnormal_results_are_kept(kernels):
    n = 19
    tiny = np.full(n, 2.0**-130, dtype=np.float32)
    y = np.zeros(n, dtype=np.float32)
    kernels.call("add_products", np.full(1, 0.5, dtype=np.float32), 1, tiny, n, y, n)
    assert_same_bits(y, np.full(n, 2.0**-131, dtype=np.float32))


def rows(n, seed):
    """Rows that LayerNorm may meet: usual, far from 0, constant, of -0, tiny, huge, not finite."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (9, n)).astype(np.float32)
    x[1] += np.float32(1e4)
    x[2] = np.float32(1.1)
    x[3] = -0.0
    x[4] *= np.float32(1e-39)
    x[5] *= np.float32(1e19)
    x[6] *= np.float32(3e38)
    x[7, rng.integers(n)] = -np.inf
    x[8, rng.integers(n)] = NAN
    return x


@pytest.mark.parametrize("with_weight", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
@np.errstate(all="ignore")
def test_layer_norm(kernels, with_weight, with_bias):
    for n in SIZES:
        _, weight, bias, _ = operands(n, 600 + n)
        weight, bias = weight if with_weight else None, bias if with_bias else None
        for eps in (1e-5, 0.0):
            expected = float32.layer_norm(rows(n, n), weight, bias, eps)
            for x, row in zip(rows(n, n), expected, strict=True):
                x = x.copy()
                y = np.full_like(x, 7.0)
                kernels.call("layer_norm", x, weight, bias, np.float32(eps), y, n)
                assert_same_bits(y, row)
                kernels.call("layer_norm", x, weight, bias, np.float32(eps), x, n)
                assert_same_bits(x, row)


def test_layer_norm_of_a_million_values(kernels):
    x = np.random.default_rng(4).normal(3, 2, (1, 2**20 + 5)).astype(np.float32)
    y = np.full_like(x, 7.0)
    kernels.call("layer_norm", x, None, None, np.float32(1e-5), y, x.size)
    assert_same_bits(y, float32.layer_norm(x, None, None, 1e-5))


def test_has_nan(kernels):
    for n in SIZES[:-3]:
        x = np.where(np.arange(n) % 3 == 1, np.inf, -0.0).astype(np.float32)
        assert kernels.call("has_nan", x, n) == 0
        for place in range(n):
            with_nan = x.copy()
            with_nan.view(np.uint32)[place] = (0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF)[place % 4]
            assert kernels.call("has_nan", with_nan, n) == 1, (n, place)


def test_nothing_to_do(kernels):
    empty = np.empty(0, dtype=np.float32)
    kernels.call("activate", 1, empty, empty, 0)
    kernels.call("add_products", empty, 0, empty, 0, empty, 0)
    assert kernels.call("has_nan", empty, 0) == 0


@pytest.mark.parametrize("build", BUILDS)
def test_the_harness_notices_what_lies_past_the_end(build, kernel_folder):
    if (build, "serial") not in MACHINES:
        pytest.skip("the plain build is for AArch64 already")
    running = Kernels(build, "serial", kernel_folder)
    x = np.zeros(32, dtype=np.float32)
    with pytest.raises(AssertionError, match="activate: the driver ended with status"):
        running.call("activate", 1, x, x.copy(), 33)
    running.call("activate", 1, x, x.copy(), 32)
    running.close()
