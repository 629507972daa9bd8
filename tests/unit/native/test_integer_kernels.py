"""Every kernel of the integer family gives what its contract in lutkan/kernels.h says, up to the edge of its bounds."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from lutkan.runtimes import reference
from native import MACHINES, Kernels

U32, F32 = np.uint32, np.float32
UNITS = (1, 2, 3, 5, 7, 15, 16, 17, 23, 31, 32, 33, 47, 61, 64, 97, 113, 127, 199, 200)
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 11, 13, 15, 16, 17, 19, 23, 31, 32, 33, 37, 47, 49, 63, 64, 65, 97, 101)
INT32 = np.iinfo(np.int32)
#: Where there are kernels of their own for the dense product.
DENSE = [machine for machine in MACHINES if machine[1] in ("serial", "amx")]


@pytest.fixture(scope="module", params=DENSE, ids="-".join)
def dense(request, kernel_folder):
    running = Kernels(*request.param, kernel_folder)
    yield running
    running.close()


def assert_same_bits(actual, expected):
    """Equal bits; a NaN may be any NaN."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype == F32
    other = (actual.view(U32) != expected.view(U32)) & ~(np.isnan(actual) & np.isnan(expected))
    where = np.flatnonzero(other)
    assert not where.size, f"{where.size} differ, first at {where[0]}: {actual.flat[where[0]]!r}"


def any_floats(rng, size, *, nan=False):
    """Floats of any bits, a third of them of ordinary size; without NaN unless asked for."""
    values = rng.integers(0, 2**32, size, dtype=U32).view(F32)
    values = np.where(rng.random(size) < 1 / 3, rng.normal(0, 2, size).astype(F32), values)
    special = F32([0.0, -0.0, 1e-45, -1e-45, 1e30, -1e30, np.inf, -np.inf])
    values = np.where(rng.random(size) < 1 / 8, rng.choice(special, size), values)
    return values if nan else np.where(np.isnan(values), F32(np.inf), values)


# -------------------------------------------------------------------------------------------------------- integer sums


def words(weights):
    """Weights [..., taps] of uint8 or int16 as words of 32 bits."""
    return np.ascontiguousarray(weights).view(U32).reshape(-1).copy()


def random_pairs(rng, shape):
    """uint8 weights [*shape, 4] whose pairs sum to at most 258, half of them to as much as that."""
    first = rng.integers(0, 256, (*shape, 2))
    second = np.where(rng.random((*shape, 2)) < 0.5, 258 - first, rng.integers(0, 256, (*shape, 2)))
    second = np.clip(np.minimum(second, 258 - first), 0, 255)
    return np.stack([first, second], axis=-1).reshape(*shape, 4).astype(np.uint8)


def random_offsets(rng, rows, units, lines, block):
    """Where blocks start, in 64-byte units: anywhere, the very first and the very last place included."""
    off = rng.integers(0, lines - block + 1, (rows, units), dtype=U32)
    off.flat[:2] = [lines - block, 0][: off.size]
    return off


def basis_sums(packed, off, weights, n):
    """Sums [rows, n] of `packed` [bytes or int16], `off` [rows, units], `weights` [rows, units, groups, taps]."""
    rows, units = off.shape
    taps = 4 if packed.dtype == np.int8 else 2
    a_line = 64 // packed.itemsize
    total = np.zeros((rows, n), dtype=np.int64)
    size = weights.shape[2] * n * taps
    for u in range(units):
        index = off[:, u, None].astype(np.int64) * a_line + np.arange(size)
        blocks = packed[index].reshape(rows, weights.shape[2], n, taps).astype(np.int32)
        total += np.einsum("rgt,rgot->ro", weights[:, u].astype(np.int32), blocks)
    return total


@cache
def basis8_cases():
    """Fuzzed shapes and contents: (packed, off, words, rows, units, groups, n, acc, expected)."""
    rng = np.random.default_rng(1)
    cases = []
    for k in range(28):
        units, groups = int(rng.choice(UNITS)), int(rng.choice([1, 1, 2, 3, 4]))
        n = 16 * int(rng.integers(1, 21)) if k % 2 else 16 * int(rng.integers(1, 6))
        rows = k if k < 3 else int(rng.integers(0, min(71, 2 + 700_000 // (units * groups * n))))
        block = groups * n * 4 // 64
        lines = block + int(rng.integers(0, 40))
        packed = rng.integers(-127, 128, lines * 64, dtype=np.int8)
        packed[rng.random(packed.size) < 0.3] = 127
        packed[rng.random(packed.size) < 0.3] = -127
        off = random_offsets(rng, rows, units, lines, block)
        weights = random_pairs(rng, (rows, units, groups))
        acc = rng.integers(-(2**24), 2**24, (rows, n), dtype=np.int32)
        expected = acc + basis_sums(packed, off, weights, n)
        cases.append((packed, off, words(weights), rows, units, groups, n, acc, expected))
    assert {case[5] for case in cases} == {1, 2, 3, 4}
    assert max(case[3] for case in cases) > 64 and max(case[6] for case in cases) > 256
    return cases


def run_basis8(kernels, packed, off, w, rows, units, groups, n, acc):
    result = acc.copy()
    kernels.call("basis8", packed.copy(), off.copy(), w.copy(), rows, units, groups, n, result)
    return result


def test_basis8_of_any_shape(kernels):
    for packed, off, w, rows, units, groups, n, acc, expected in basis8_cases():
        found = run_basis8(kernels, packed, off, w, rows, units, groups, n, acc)
        np.testing.assert_array_equal(found, expected, err_msg=f"{rows} rows, {units} units, {groups} groups, n {n}")


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 64, 65])
def test_basis8_rows_do_not_mix(kernels, rows):
    """A row whose weights are 0 keeps its sums, whatever its neighbours do."""
    n, units = 112, 19
    rng = np.random.default_rng(rows)
    packed = rng.integers(-127, 128, 4 * n * 4, dtype=np.int8)
    off = random_offsets(rng, rows, units, packed.size // 64, n * 4 // 64)
    weights = random_pairs(rng, (rows, units, 1))
    weights[::2] = 0
    acc = rng.integers(INT32.min, INT32.max, (rows, n), dtype=np.int32, endpoint=True)
    acc[1::2] = 5
    found = run_basis8(kernels, packed, off, words(weights), rows, units, 1, n, acc)
    np.testing.assert_array_equal(found, acc + basis_sums(packed, off, weights, n))
    np.testing.assert_array_equal(found[::2], acc[::2])


@pytest.mark.parametrize("pair", [(255, 3), (3, 255), (129, 129), (254, 4)])
def test_basis8_at_the_bound_of_a_pair(kernels, pair):
    """258 * 127 = 32766 is the last pair sum that vpmaddubsw does not saturate."""
    n = 48
    for sign in (127, -127):
        for other in (sign, -sign, 0):
            packed = np.tile(np.int8([sign, sign, other, other]), n)
            weights = np.tile(np.uint8([*pair, *pair[::-1]]), (3, 5, 1, 1))
            found = run_basis8(
                kernels, packed, np.zeros((3, 5), U32), words(weights), 3, 5, 1, n, np.zeros((3, n), np.int32)
            )
            assert (found == 5 * 258 * (sign + other)).all()


@pytest.mark.parametrize("sign", [127, -127])
@pytest.mark.parametrize("n", [16, 64, 80])
def test_basis8_up_to_the_last_int32(kernels, sign, n):
    """Sums that start so that they end on the largest (smallest) int32: nothing wraps on the way."""
    for units, rows in ((1, 1), (7, 9), (33, 4)):
        weights = np.tile(np.uint8([42, 170, 43, 0]), (rows, units, 1, 1))
        rise = 255 * sign * units
        end = INT32.max if sign > 0 else INT32.min
        acc = np.full((rows, n), end - rise, dtype=np.int32)
        packed = np.full(n * 4, sign, dtype=np.int8)
        found = run_basis8(kernels, packed, np.zeros((rows, units), U32), words(weights), rows, units, 1, n, acc)
        assert (found == end).all()


@pytest.mark.parametrize("sign", [127, -127])
def test_basis8_of_as_many_inputs_as_there_may_be(kernels, sign):
    """66311 inputs, weights that sum to 255, coefficients of 127: 2 147 481 735, just below 2^31."""
    units, n = 66311, 32
    assert units * 255 * 127 < 2**31 <= (units + 1) * 255 * 127
    packed = np.full(n * 4, sign, dtype=np.int8)
    weights = np.tile(np.uint8([[[43, 169, 43, 0]], [[0, 255, 0, 0]]])[:, None], (1, units, 1, 1))
    found = run_basis8(
        kernels, packed, np.zeros((2, units), U32), words(weights), 2, units, 1, n, np.zeros((2, n), np.int32)
    )
    assert (found == units * 255 * sign).all()


def test_basis8_of_nothing(kernels):
    """No units and no rows are no work; the arrays are not touched."""
    acc = np.full((2, 16), 7, dtype=np.int32)
    empty = np.empty((2, 0), U32)
    found = run_basis8(kernels, np.empty(0, np.int8), empty, empty.reshape(-1), 2, 0, 1, 16, acc)
    np.testing.assert_array_equal(found, acc)
    none = np.empty((0, 3), U32)
    run_basis8(kernels, np.zeros(64, np.int8), none, none.reshape(-1), 0, 3, 1, 16, np.empty((0, 16), np.int32))


@cache
def basis16_cases():
    """Fuzzed shapes: weights of an input sum to at most 4096 and are flushed every 16, or to more and sooner."""
    rng = np.random.default_rng(2)
    cases = []
    for k in range(24):
        units, groups = int(rng.choice(UNITS)), int(rng.choice([1, 1, 2, 3, 4]))
        n = 16 * int(rng.integers(1, 21)) if k % 2 else 16 * int(rng.integers(1, 6))
        rows = k if k < 3 else int(rng.integers(0, min(71, 2 + 500_000 // (units * groups * n))))
        flush = int(rng.choice([1, 2, 3, 4, 7, 16]))
        block = groups * 2 * n * 2 * 2 // 64
        lines = block + int(rng.integers(0, 40))
        packed = rng.choice(np.int16([-32767, 32767, 0, 1, -1, 12345]), lines * 32)
        packed = np.where(rng.random(packed.size) < 0.5, packed, rng.integers(-32767, 32768, packed.size)).astype(
            np.int16
        )
        off = random_offsets(rng, rows, units, lines, block)
        share = rng.dirichlet(np.full(4 * groups, 0.4), (rows, units))
        top = (2**31 - 1) // (32767 * flush)
        weights = np.floor(share * min(top, 32767)).astype(np.int16).reshape(rows, units, 2 * groups, 2)
        acc = rng.integers(-(2**62), 2**62, (rows, n), dtype=np.int64)
        expected = acc + basis_sums(packed, off, weights, n)
        cases.append((packed, off, words(weights), rows, units, groups, n, flush, acc, expected))
    assert {case[5] for case in cases} == {1, 2, 3, 4}
    return cases


def run_basis16(kernels, packed, off, w, rows, units, groups, n, flush, acc):
    result = acc.copy()
    kernels.call("basis16", packed.copy(), off.copy(), w.copy(), rows, units, groups, n, flush, result)
    return result


def test_basis16_of_any_shape(kernels):
    for packed, off, w, rows, units, groups, n, flush, acc, expected in basis16_cases():
        found = run_basis16(kernels, packed, off, w, rows, units, groups, n, flush, acc)
        message = f"{rows} rows, {units} units, {groups} groups, n {n}, flush {flush}"
        np.testing.assert_array_equal(found, expected, err_msg=message)


@pytest.mark.parametrize("sign", [32767, -32767])
@pytest.mark.parametrize("weights", [[4096, 0, 0, 0], [0, 0, 0, 4096], [1024] * 4, [683, 2730, 683, 0]])
def test_basis16_at_the_bound_of_a_flush(kernels, sign, weights):
    """16 inputs of 4096 * 32767 fill an int32 but for 65 535; many of them only fit int64."""
    assert sum(weights) == 4096 and 16 * 4096 * 32767 < 2**31 < 17 * 4096 * 32767
    for units, n, rows in ((16, 16, 1), (17, 32, 9), (200, 64, 3), (1000, 80, 2)):
        every = np.tile(np.int16(weights), (rows, units, 1))
        acc = np.full((rows, n), 3, dtype=np.int64)
        packed = np.full(n * 4, sign, dtype=np.int16)
        off = np.zeros((rows, units), U32)
        found = run_basis16(kernels, packed, off, words(every), rows, units, 1, n, 16, acc)
        assert (found == 3 + units * 4096 * sign).all()


@pytest.mark.parametrize("sign", [32767, -32767])
def test_basis16_codes_at_the_bound_of_a_flush(kernels, sign):
    """A unit of a base branch is four inputs of 4095 each, so that it takes four units to fill an int32."""
    assert 4 * 4 * 4095 * 32767 < 2**31
    units, n = 37, 48
    codes = np.full((2, units, 4), 4095, dtype=np.int16)
    packed = np.full(n * 4, sign, dtype=np.int16)
    acc = np.zeros((2, n), dtype=np.int64)
    found = run_basis16(kernels, packed, np.zeros((2, units), U32), words(codes), 2, units, 1, n, 4, acc)
    assert (found == units * 4 * 4095 * sign).all()


@np.errstate(all="ignore")
def test_finish8(kernels):
    rng = np.random.default_rng(3)
    for n in range(16, 336, 16):
        acc = rng.integers(INT32.min, INT32.max, n, dtype=np.int32, endpoint=True)
        acc[:12] = [0, 1, -1, INT32.max, INT32.min, 2**24 + 1, 2**24 + 3, -(2**24) - 1, 2**25 + 2, 2**25 + 6, 127, -255]
        scale, sums = any_floats(rng, n), any_floats(rng, n, nan=True)
        scale[:5] = F32([1.0, 1e-38, 0.0, -0.0, 3e38])
        sums[:12:2] = 0.0
        found = sums.copy()
        kernels.call("finish8", acc, scale, found, n)
        assert_same_bits(found, sums + acc.astype(F32) * scale)


@np.errstate(all="ignore")
def test_finish16(kernels):
    """One rounding from int64 to float32, to nearest even: not by way of float64."""
    rng = np.random.default_rng(4)
    tie = 2**60 + 2**36  # halfway between two floats; one more is above
    assert F32(tie) == F32(2**60) < F32(2.0**60 + 2.0**37) and F32(float(tie + 1)) == F32(2**60)
    for n in range(16, 336, 16):
        acc = rng.integers(-(2**62), 2**62, n, dtype=np.int64) >> rng.integers(0, 62, n)
        acc[:12] = [
            0,
            1,
            -1,
            tie,
            tie + 1,
            -tie - 1,
            2**24 + 1,
            2**24 + 3,
            2**53 + 1,
            -(2**53) - 1,
            2**63 - 1,
            -(2**63),
        ]
        scale, sums = any_floats(rng, n), any_floats(rng, n, nan=True)
        scale[:12], sums[:12] = 1.0, 0.0
        found = sums.copy()
        kernels.call("finish16", acc, scale, found, n)
        assert found[3] == F32(2.0**60) and found[4] == F32(2.0**60 + 2.0**37) == -found[5]
        assert_same_bits(found, sums + acc.astype(F32) * scale)


def sums_and_multipliers(rng, n, most):
    """Sums up to `most`, multipliers up to 2^30 - 1, and totals such that 64 bits hold what is added."""
    acc = rng.integers(-most, most + 1, n)
    acc[rng.random(n) < 0.1] = rng.choice([most, -most])
    multiplier = rng.integers(-(2**30) + 1, 2**30, n)
    multiplier[rng.random(n) < 0.1] = rng.choice([2**30 - 1, 1 - 2**30, 0])
    return acc, multiplier.astype(np.int32), rng.integers(-(2**62), 2**62, n)


def test_requantize8(kernels):
    rng = np.random.default_rng(40)
    for n in range(16, 300, 16):
        acc, multiplier, total = sums_and_multipliers(rng, n, 2**31 - 1)
        found = total.copy()
        kernels.call("requantize8", acc.astype(np.int32), multiplier, found, n)
        np.testing.assert_array_equal(found, total + acc * multiplier)


def test_requantize16(kernels):
    rng = np.random.default_rng(41)
    for n in range(16, 300, 16):
        acc, multiplier, total = sums_and_multipliers(rng, n, 2**31 + 12345)
        found = total.copy()
        kernels.call("requantize16", acc, multiplier, found, n)
        np.testing.assert_array_equal(found, total + acc * multiplier)


@pytest.mark.parametrize("shift", [0, 1, 7, 31, 32, 33, 40, 61, 62])
@pytest.mark.parametrize("bits", [2, 3, 8])
def test_give_codes(kernels, shift, bits):
    rng = np.random.default_rng(shift)
    top = (1 << bits) - 1
    total = np.concatenate(
        [
            rng.integers(-(2**63), 2**63 - 1, 64),
            (rng.integers(-2, 1 << (bits + 1), 64) << min(shift, 50)) + rng.integers(-1, 2, 64),
            [0, -1, 1, 2**63 - 1, -(2**63), 1 << shift, (1 << shift) - 1, -(1 << shift)] * 2,
        ]
    )
    y = np.full(len(total), 7, F32)
    kernels.call("give_codes", total, shift, top, y, len(total))
    assert_same_bits(y, np.clip(total >> shift, 0, top).astype(F32))


# ----------------------------------------------------------------------------------------------------------- positions


@np.errstate(all="ignore")
def positions_of(x, low, inverse, count):
    v = (x - low) * inverse
    return np.maximum(np.minimum(v, F32(count - 1)), F32(0)).astype(np.int64)


def draw_positions(rng, n, count, bits):
    """Low ends, positions a unit of x, and inputs: anywhere, and on the borders of cells, one ulp to both sides."""
    low = rng.normal(0, 2, n).astype(F32)
    inverse = (F32(count) / rng.uniform(0.5, 4, n)).astype(F32)
    cell = rng.integers(-2, count + 2, n).astype(F32)
    x = (low + cell / inverse).astype(F32)
    x = np.choose(rng.integers(0, 3, n), [x, np.nextafter(x, F32(9e9)), np.nextafter(x, F32(-9e9))])
    x = np.choose(rng.integers(0, 3, n), [x, any_floats(rng, n), low + rng.random(n, dtype=F32) * F32(4)])
    return low, inverse, x.astype(F32)


POSITIONS = [(1, 0), (5, 0), (8, 0), (14 * 64, 6), (3 * 256, 8), (2**24, 12), (2**24, 0), (11 * 1024, 10), (100, 30)]


@pytest.mark.parametrize(("count", "bits"), POSITIONS)
@pytest.mark.parametrize("per_row", [1, 2, 3, 4, 8])
@np.errstate(all="ignore")
def test_encode(kernels, count, bits, per_row):
    rng = np.random.default_rng(count + per_row)
    table = rng.integers(0, 2**32, (min(1 << bits, count), per_row), dtype=U32)
    for n in SIZES:
        low, inverse, x = draw_positions(rng, n, count, bits)
        base, block = rng.integers(0, 2**20, n, dtype=U32), int(rng.integers(1, 200))
        off, w = np.full(n, 77, U32), np.full((n, per_row), 77, U32)
        kernels.call("encode", low, inverse, base, count, bits, block, per_row, table.copy(), x, off, w, n)
        p = positions_of(x, low, inverse, count)
        np.testing.assert_array_equal(off, base + ((p >> bits) * block).astype(U32))
        np.testing.assert_array_equal(w, table[p & ((1 << bits) - 1)])


def test_encode_reaches_the_last_64_byte_unit(kernels):
    """Offsets are 32 bits of 64-byte units: up to 256 GiB, without a sign."""
    n, count, bits, block = 37, 2**12, 0, 2**20
    base = np.full(n, 2**32 - count * block, dtype=np.int64).astype(U32)
    x = np.linspace(0, count - 1, n).astype(F32)
    low, inverse, table = np.zeros(n, F32), np.ones(n, F32), np.zeros((1, 1), U32)
    off, w = np.zeros(n, U32), np.zeros(n, U32)
    kernels.call("encode", low, inverse, base, count, bits, block, 1, table, x, off, w, n)
    np.testing.assert_array_equal(off, np.floor(x).astype(np.int64) * block)


@np.errstate(all="ignore")
def test_encode_at_every_border(kernels):
    """Cells are half open: a border belongs to the cell on its right, the number just below it to the left one."""
    count = n = 4096
    low, inverse = np.zeros(n, F32), np.full(n, 2048, F32)  # without any rounding
    border, cell = np.arange(n, dtype=F32) / F32(2048), np.arange(n)
    table, base = np.zeros((1, 1), U32), np.zeros(n, U32)
    for x, expected in (
        (border, cell),
        (np.nextafter(border, F32(9)), cell),
        (np.nextafter(border, F32(-9)), np.maximum(cell - 1, 0)),
    ):
        off, w = np.zeros(n, U32), np.zeros(n, U32)
        kernels.call("encode", low, inverse, base, count, 0, 1, 1, table, x.astype(F32), off, w, n)
        np.testing.assert_array_equal(off, expected)


@pytest.mark.parametrize("count", [4, 16, 256])
@pytest.mark.parametrize("per_row", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("own", [False, True])
@np.errstate(all="ignore")
def test_encode_codes(kernels, count, per_row, windows, own):
    """Weights of every position, of each input or of all; blocks to skip, or none."""
    rng = np.random.default_rng(count + per_row)
    for n in SIZES:
        low, inverse, x = draw_positions(rng, n, count, 0)
        places = n * count if own else count
        table = rng.integers(0, 2**32, (places, per_row), dtype=U32)
        first = rng.integers(0, 60, places, dtype=U32) if windows else None
        base, block = rng.integers(0, 2**20, n, dtype=U32), int(rng.integers(1, 200))
        off, w = np.full(n, 77, U32), np.full((n, per_row), 77, U32)
        stride = count if own else 0
        kernels.call(
            "encode_codes", low, inverse, base, count, 0, block, per_row, table.copy(), first, stride, x, off, w, n
        )  # fmt: skip
        p = positions_of(x, low, inverse, count) + (np.arange(n) * count if own else 0)
        np.testing.assert_array_equal(off, base + (first[p] * U32(block) if windows else U32(0)))
        np.testing.assert_array_equal(w, table[p])


@np.errstate(all="ignore")
def test_codes(kernels):
    rng = np.random.default_rng(6)
    for n in SIZES:
        for levels, zero in ((128, 64), (128, 0), (128, 127), (2, 1), (256, 200), (127, 3)):
            inverse, half = F32(rng.lognormal(2, 1)), F32(zero + 0.5)
            for inside in (False, True):
                # Codes and their borders, one ulp beside them, and anything.
                values = (rng.integers(-2, levels + 3, n).astype(F32) - half) / inverse
                values = np.choose(
                    rng.integers(0, 3, n), [values, np.nextafter(values, F32(9e9)), np.nextafter(values, F32(-9e9))]
                )
                values = np.where(rng.random(n) < 0.3, any_floats(rng, n), values).astype(F32)
                if inside:
                    values = ((rng.integers(0, levels, n).astype(F32) - F32(zero)) / inverse).astype(F32)
                v = values * inverse + half
                coded = (v >= 0) & (v < F32(levels))
                code = np.full(n, 99, np.uint8)
                beyond = kernels.call("codes", values, inverse, half, levels, zero, code, n)
                np.testing.assert_array_equal(code, np.where(coded, np.where(coded, v, 0).astype(np.int64), zero))
                assert beyond == (not coded.all())


def test_outside(kernels):
    rng = np.random.default_rng(7)
    for n in SIZES:
        low = rng.normal(-1, 0.5, n).astype(F32)
        high = (low + rng.lognormal(0, 1, n)).astype(F32)
        x = np.where(rng.random(n) < 0.5, low, high)  # the bounds themselves are inside
        assert kernels.call("outside", x.copy(), low, high, n) == 0
        for place in range(n):
            for value in (np.nextafter(low[place], F32(-9e9)), np.nextafter(high[place], F32(9e9)), -np.inf, np.inf):
                beyond = x.copy()
                beyond[place] = value
                assert kernels.call("outside", beyond, low, high, n) == 1, (n, place, value)
    zero = np.zeros(37, F32)
    assert kernels.call("outside", -zero, zero, zero.copy(), 37) == 0


@pytest.mark.parametrize("closed", [False, True], ids=["half_open", "closed"])
@pytest.mark.parametrize("line", [False, True], ids=["clip", "line"])
@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize(
    ("segments", "samples"), [(1, 2), (2, 3), (5, 16), (11, 2), (15, 4), (16, 9), (31, 7), (32, 7), (37, 64), (1000, 5)]
)
@np.errstate(all="ignore")
def test_locate(kernels, closed, line, segments, samples, shared):
    """Knots up to 0.4 of a segment away from where even ones would be; inputs on them and one ulp beside."""
    rng = np.random.default_rng(segments)
    for n in (1, 2, 7, 15, 16, 17, 33, 64, 101) if segments < 100 else (3, 37):
        low, width = rng.normal(0, 1, (n, 1)), rng.lognormal(-1, 1, (n, 1))
        low[rng.random(n) < 0.2], width[rng.random(n) < 0.2] = 0.0, 0.25
        shift = np.where(rng.random((n, 1)) < 0.5, 0.0, rng.uniform(-0.38, 0.38, (n, segments + 1)))
        shift[:, [0, -1]] = 0.0
        knots = (low + width * (np.arange(segments + 1) + shift)).astype(F32)
        knots[rng.random(n) < 0.1] -= knots[:1, -1:]  # the last knot at or near 0
        if shared:
            knots[:] = knots[rng.integers(n)]
        mean = (knots[:, -1] - knots[:, 0]) / F32(segments)
        inverse = F32(1) / mean
        x = knots[np.arange(n), rng.integers(0, segments + 1, n)]
        x = np.choose(rng.integers(0, 3, n), [x, np.nextafter(x, F32(9e9)), np.nextafter(x, F32(-9e9))])
        between = (knots[:, 0] + (knots[:, -1] - knots[:, 0]) * rng.uniform(-0.2, 1.2, n)).astype(F32)
        x = np.choose(rng.integers(0, 4, n), [x, x, between, any_floats(rng, n)]).astype(F32)
        row, segment = np.full(n, 77, U32), np.full(n, 77, U32)
        w, inside = np.full(n, 7, F32), np.full(n, 7, np.uint8)
        options = int(closed), int(line), int(shared)
        kernels.call("locate", knots, inverse, segments, samples, *options, x, row, segment, w, inside, n)
        table = SimpleNamespace(
            shape=(n, 1),
            samples=samples,
            knots=knots,
            segments=segments,
            boundary="closed" if closed else "half_open",
            outside="linear" if line else "clip",
        )
        k, r, weight, within = (array[0] for array in reference.locate(table, x[None]))
        first = np.arange(n) * segments
        np.testing.assert_array_equal(segment, first + k)
        np.testing.assert_array_equal(row, (first + k) * samples + r)
        np.testing.assert_array_equal(inside, within)
        np.testing.assert_array_equal(w, weight)  # a zero of either sign is as good


# -------------------------------------------------------------------------------------------------------- dense product


@pytest.mark.parametrize("depth", [4, 8, 12, 16, 24])
@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_spread8(dense, depth, shift):
    rng = np.random.default_rng(depth + shift)
    for n in SIZES:
        s = rng.integers(0, depth + shift + 6, n, dtype=U32)
        weights = rng.integers(0, 256, (n, 4), dtype=np.uint8)
        to = np.full(n * depth + 3, 99, np.uint8)  # a store of four bytes may run over the end
        dense.call("spread8", s, words(weights), n, 1, shift, depth, to)
        wide = np.zeros((n, depth + shift + 16), np.uint8)
        for i in range(n):
            wide[i, s[i] : s[i] + 4] = weights[i]
        np.testing.assert_array_equal(to[: n * depth].reshape(n, depth), wide[:, shift : shift + depth])


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_spread8_of_several_groups_is_a_copy(dense, groups):
    rng = np.random.default_rng(groups)
    for n in SIZES:
        weights = rng.integers(0, 256, (n, 4 * groups), dtype=np.uint8)
        to = np.full(n * 4 * groups, 99, np.uint8)
        dense.call("spread8", np.zeros(n, U32), words(weights), n, groups, 0, 4 * groups, to)
        np.testing.assert_array_equal(to.reshape(n, -1), weights)


@pytest.mark.parametrize(("count", "bits"), [(5, 0), (14 * 64, 6), (2**17, 12), (100, 30)])
@np.errstate(all="ignore")
def test_encode_dense(dense, count, bits):
    rng = np.random.default_rng(count)
    places = rng.integers(0, 2**63, count, dtype=np.uint64)
    for n in SIZES:
        low, inverse, x = draw_positions(rng, n, count, bits)
        to = np.zeros(n, np.uint64)
        dense.call("encode_dense", low, inverse, None, count, bits, 1, 1, None, places.copy(), x, to, n)
        np.testing.assert_array_equal(to, places[positions_of(x, low, inverse, count)])


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("width", [1, 2])
def test_encode_bytes(dense, width, own):
    rng = np.random.default_rng(width)
    count = 16
    for n in SIZES:
        low, inverse, x = draw_positions(rng, n, count, 0)
        weights = rng.integers(0, 256**width, (n if own else 1, count)).astype(U32)
        to = np.zeros(n * width, np.uint8)
        stride = count if own else 0
        dense.call("encode_bytes", low, inverse, None, count, 0, 1, 1, weights, None, stride, x, width, to, n)
        wanted = weights[np.arange(n) if own else 0, positions_of(x, low, inverse, count)]
        found = to if width == 1 else to.view(np.uint16)
        np.testing.assert_array_equal(found, wanted)


def run_dense8(kernels, rows_, tiles, rows, acc):
    """Rows [padded rows, stride], tiles [columns, n_tiles, 16, 16, 4], sums [padded rows, n]."""
    result = acc.copy()
    n_tiles, n = tiles.shape[1], acc.shape[1]
    # Of the last row only what lies in tiles has to be there.
    flat = rows_.reshape(-1)[: (len(rows_) - 1) * rows_.shape[1] + 64 * n_tiles].copy()
    kernels.call("dense8", flat, rows_.shape[1], tiles.copy(), rows, n_tiles, n, result)
    return result[:rows]


@cache
def dense8_cases():
    rng = np.random.default_rng(8)
    shapes = [(rows, 16 * int(rng.integers(1, 8)), int(rng.integers(1, 9))) for rows in range(1, 71)]
    shapes += [(64, 16, 1), (12, 32, 13), (33, 320, 3), (48, 48, 40)]  # one, two, many column blocks
    cases = []
    for rows, n, n_tiles in shapes:
        stride = 64 * n_tiles + int(rng.choice([0, 0, 64, 7, 128]))
        padded = -(-rows // 16) * 16
        rows_ = rng.integers(0, 256, (padded, stride), dtype=np.uint8)
        tiles = rng.integers(-127, 128, (n // 16, n_tiles, 16, 16, 4), dtype=np.int8)
        rows_[:, rng.random(stride) < 0.2], tiles[rng.random(tiles.shape) < 0.2] = 255, -127
        acc = rng.integers(-(2**24), 2**24, (padded, n), dtype=np.int32)
        matrix = tiles.transpose(1, 2, 4, 0, 3).reshape(64 * n_tiles, n).astype(np.int64)
        expected = acc[:rows] + rows_[:rows, : 64 * n_tiles].astype(np.int64) @ matrix
        cases.append((rows_, tiles, rows, acc, expected))
    return cases


def test_dense8_of_any_shape(dense):
    for rows_, tiles, rows, acc, expected in dense8_cases():
        found = run_dense8(dense, rows_, tiles, rows, acc)
        np.testing.assert_array_equal(found, expected, err_msg=f"{rows} rows, tiles {tiles.shape}")


@pytest.mark.parametrize("sign", [127, -127])
def test_dense8_at_the_bounds(dense, sign):
    """The sums of 66311 inputs of eight rows each, one row of weight 255: the int32 sum just fits."""
    inputs = 66311
    n_tiles = -(-inputs * 8 // 64)
    row = np.zeros((1, 64 * n_tiles), np.uint8)
    row[0, np.arange(inputs) * 8 + np.arange(inputs) % 8] = 255
    tiles = np.full((2, n_tiles, 16, 16, 4), sign, np.int8)
    found = run_dense8(dense, np.repeat(row, 16, axis=0), tiles, 3, np.zeros((16, 32), np.int32))
    assert (found == inputs * 255 * sign).all()


def test_dense8_sums_what_basis8_sums(dense):
    """Uniform splines of eight rows: the sparse product of encoded rows and the dense one of spread rows are equal."""
    rng = np.random.default_rng(9)
    inputs, rows, n, segments, stored, shift = 21, 37, 80, 11, 8, 3
    coefficients = rng.integers(-127, 128, (inputs, stored, n), dtype=np.int8)
    stacked = np.zeros((inputs, segments + 3, n), np.int8)
    stacked[:, shift : shift + stored] = coefficients
    packed = np.stack([stacked[:, t : t + segments] for t in range(4)], axis=-1)
    s = rng.integers(0, segments, (rows, inputs), dtype=U32)
    weights = random_pairs(rng, (rows, inputs, 1))
    line = n * 4 // 64
    off = (np.arange(inputs, dtype=U32) * segments + s) * U32(line)
    sparse = run_basis8(
        dense, packed.reshape(-1), off, words(weights), rows, inputs, 1, n, np.zeros((rows, n), np.int32)
    )
    n_tiles = -(-inputs * stored // 64)
    spread = np.zeros((48, 64 * n_tiles), np.uint8)
    for r in range(rows):
        to = np.zeros(inputs * stored + 3, np.uint8)
        dense.call("spread8", s[r].copy(), words(weights[r]), inputs, 1, shift, stored, to)
        spread[r, : inputs * stored] = to[:-3]
    whole = np.zeros((64 * n_tiles, n), np.int8)
    whole[: inputs * stored] = coefficients.reshape(-1, n)
    tiles = np.ascontiguousarray(whole.reshape(n_tiles, 16, 4, n // 16, 16).transpose(3, 0, 1, 4, 2))
    np.testing.assert_array_equal(run_dense8(dense, spread, tiles, rows, np.zeros((48, n), np.int32)), sparse)
