"""Every kernel of the segment family gives the bits of the reference: hit after hit, one rounding an operation."""

import numpy as np
import pytest

SIZES = (16, 32, 48, 64, 80, 112, 128, 144, 240, 272)
ZERO, HALF = np.float32(0), np.float32(0.5)


def assert_same_bits(actual, expected):
    """Equal bits; a NaN may be any NaN."""
    other = (actual.view(np.uint32) != expected.view(np.uint32)) & ~(np.isnan(actual) & np.isnan(expected))
    where = np.flatnonzero(other)
    assert not where.size, f"{where.size} differ, first at {where[0]}: {actual[where[0]]!r}, not {expected[where[0]]!r}"


@np.errstate(all="ignore")
def expected_sums(hits, nearest, sums):
    q0, q1, scale, offset, w = hits
    for h in range(len(w)):
        left, right = q0[h].astype(np.float32), q1[h].astype(np.float32)
        code = (left if w[h] < HALF else right) if nearest else left + w[h] * (right - left)
        value = scale[h] * code
        if offset is not None:
            value = offset[h] + value
        sums = sums + value
    return sums


def draw(rng, count, n, is_unsigned):
    codes = np.uint8 if is_unsigned else np.int8
    bounds = np.iinfo(codes)
    q0, q1 = rng.integers(bounds.min, bounds.max, (2, count, n), dtype=codes, endpoint=True)
    scale = rng.lognormal(-5, 1, (count, n)).astype(np.float32)
    offset = rng.normal(0, 1, (count, n)).astype(np.float32) if is_unsigned else None
    return q0.copy(), q1.copy(), scale, offset, rng.random(count, dtype=np.float32)


def run(kernels, nearest, hits, sums):
    result = sums.copy()
    is_unsigned = int(hits[3] is not None)
    kernels.call("segment_nearest" if nearest else "segment", *hits, len(hits[4]), is_unsigned, result, sums.size)
    return result


@pytest.mark.parametrize("is_unsigned", [False, True], ids=["int8", "uint8"])
@pytest.mark.parametrize("nearest", [False, True], ids=["linear", "nearest"])
class TestSegment:
    def test_any_size(self, kernels, nearest, is_unsigned):
        rng = np.random.default_rng(1)
        for n in SIZES:
            for count in (0, 1, 2, 3, 8, 37):
                hits = draw(rng, count, n, is_unsigned)
                sums = rng.normal(0, 1, n).astype(np.float32)
                assert_same_bits(run(kernels, nearest, hits, sums), expected_sums(hits, nearest, sums))

    def test_a_million_edges(self, kernels, nearest, is_unsigned):
        n, count = 1008, 1040
        hits = draw(np.random.default_rng(2), count, n, is_unsigned)
        sums = np.zeros(n, dtype=np.float32)
        assert_same_bits(run(kernels, nearest, hits, sums), expected_sums(hits, nearest, sums))

    def test_weights_at_the_edges(self, kernels, nearest, is_unsigned):
        """Weights at and around the borders, and those of straight tails: negative, above 1, not finite."""
        beside = np.nextafter(HALF, ZERO)
        special = [0, -0.0, 1, HALF, beside, 1 - 2.0**-24, 2.0**-149, -3.5, 1e30, -1e38, np.inf, -np.inf, np.nan]
        rng = np.random.default_rng(3)
        for w in np.float32(special):
            q0, q1, scale, offset, _ = draw(rng, 1, 80, is_unsigned)
            hits = (q0, q1, scale, offset, np.float32([w]))
            sums = rng.normal(0, 1, 80).astype(np.float32)
            assert_same_bits(run(kernels, nearest, hits, sums), expected_sums(hits, nearest, sums))

    def test_scales_of_any_bits(self, kernels, nearest, is_unsigned):
        """Subnormal numbers are kept, infinities and NaN come out where they belong."""
        rng = np.random.default_rng(4)
        for n in SIZES:
            q0, q1, scale, offset, w = draw(rng, 1, n, is_unsigned)
            scale.view(np.uint32)[...] = rng.integers(0, 2**32, scale.shape, dtype=np.uint32)
            scale[:, ::5] = np.float32(2.0**-135)
            if is_unsigned:
                offset.view(np.uint32)[...] = rng.integers(0, 2**32, scale.shape, dtype=np.uint32)
                offset[:, ::5] = ZERO
            hits = (q0, q1, scale, offset, w)
            sums = np.zeros(n, dtype=np.float32)
            expected = expected_sums(hits, nearest, sums)
            assert np.any((expected != 0) & (np.abs(expected) < np.finfo(np.float32).tiny))
            assert_same_bits(run(kernels, nearest, hits, sums), expected)


def test_the_order_of_hits_counts(kernels):
    """Sums are not reassociated: 2^24 + 1 + 1 stays where it is, 1 + 1 + 2^24 does not."""
    n = 16
    q = np.ones((3, n), dtype=np.int8)
    for order, total in (([0, 1, 1], 2.0**24), ([1, 1, 0], 2.0**24 + 2)):
        scale = np.repeat(np.float32([2.0**24, 1.0])[order][:, None], n, axis=1)
        hits = (q, q.copy(), scale, None, np.zeros(3, dtype=np.float32))
        assert_same_bits(run(kernels, False, hits, np.zeros(n, dtype=np.float32)), np.full(n, total, dtype=np.float32))
