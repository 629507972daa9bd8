"""Every kernel of the training family gives the bits of the operations its contract names, in their order."""

import math

import numpy as np
import pytest

F32, I32 = np.float32, np.int32
SHAPES = [(1, 1), (3, 1), (2, 7), (3, 8), (5, 15), (2, 16), (4, 17), (3, 31), (2, 48), (3, 64), (2, 97), (7, 200)]
ROUNDER = F32(12582912.0)
LEAST = F32(1e-12)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def same(actual, expected):
    """Equal bits, but that a NaN may be any NaN."""
    assert actual.dtype == expected.dtype == F32 and actual.shape == expected.shape
    differ = (actual.view(np.uint32) != expected.view(np.uint32)) & ~(np.isnan(actual) & np.isnan(expected))
    assert not differ.any(), (actual[differ][:4], expected[differ][:4])


def lane_sum(values):
    """Sum rows [rows, n] in sixteen lanes, which are then halved."""
    n = values.shape[1]
    padded = np.zeros((len(values), -(-n // 16) * 16), F32)
    padded[:, :n] = values
    lanes = np.zeros((len(values), 16), F32)
    for part in padded.reshape(len(values), -1, 16).transpose(1, 0, 2):
        lanes = lanes + part
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]


def steps_of(raw):
    step = np.maximum(np.abs(raw), LEAST)
    return step, F32(1) / step


def between(low, x, high):
    x = np.where(x < low, low, x)
    return np.where(x > high, high, x)


def even(x):
    return (x + ROUNDER) - ROUNDER


def down(x):
    nearest = even(x)
    return np.where(x < nearest, nearest - F32(1), nearest)


def inside(low, x, high, value):
    return np.where((low < x) & (x < high), value, F32(0)).astype(F32)


def numbers(rng, shape, *, odd=True):
    values = rng.normal(0, 1, shape).astype(F32)
    if odd:  # ends, halves and NaN among them
        values[rng.random(shape) < 0.1] = rng.choice(F32([0.0, -0.0, 1e30, -1e30, 1e-40, 0.75, -0.75, np.nan]))
    return values


@pytest.mark.parametrize("shared", [True, False], ids=["one range", "ranges of rows"])
def test_steps(kernels, shared):
    rng = np.random.default_rng(3)
    for rows, n in SHAPES:
        w, grad = numbers(rng, (rows, n)), numbers(rng, (rows, n), odd=False)
        raw = rng.normal(0, 0.4, rows).astype(F32)
        raw[rng.random(rows) < 0.2] = 0.0
        low = -rng.integers(1, 9, 1 if shared else rows).astype(F32)
        high = rng.integers(1, 8, len(low)).astype(F32)
        at = raw, low, high, 0 if shared else 1
        column, bottom, top = raw[:, None], low[:, None], high[:, None]
        step, inverse = steps_of(column)
        scaled = w * inverse
        code = even(between(bottom, scaled, top))

        y = np.full_like(w, 7.0)
        kernels.call("steps", *at, w, rows, n, y)
        same(y, code * step)

        factor = F32(0.37)
        passed, felt = np.full_like(w, 7.0), np.full(rows, 7.0, F32)
        kernels.call("steps_back", *at, w, grad, rows, n, factor, passed, felt)
        through = inside(bottom, scaled, top, grad)
        same(passed, through)
        same(felt, lane_sum(grad * code - through * scaled) * (np.sign(raw) * factor))
        again = np.full_like(w, 7.0)
        kernels.call("steps_back", *at, w, grad, rows, n, factor, again, None)
        same(again, through)


def tangent(kernels, x):
    y = np.empty_like(x)
    kernels.call("activate", 4, np.ascontiguousarray(x), y, x.size)
    return y


@pytest.mark.parametrize("count", [3.0, 15.0, 254.0])
def test_weights_bent_by_tanh(kernels, count):
    rng = np.random.default_rng(4)
    for rows, n in SHAPES:
        w, grad = numbers(rng, (rows, n)), numbers(rng, (rows, n), odd=False)
        spread, largest, slope = rng.uniform(0.5, 3, (3, rows)).astype(F32)
        bent = tangent(kernels, w)
        y = np.full_like(w, 7.0)
        kernels.call("bent", spread, largest, F32(count), w, rows, n, y)
        middle, width = F32(0.5) * F32(count) + F32(0.5), F32(2) / F32(count)
        level = down(between(F32(0), bent * spread[:, None] + middle, F32(count)))
        same(y, (level * width - F32(1)) * largest[:, None])
        passed = np.full_like(w, 7.0)
        kernels.call("bent_back", slope, w, grad, rows, n, passed)
        same(passed, ((F32(1) - bent * bent) * grad) * slope[:, None])


def ranges(rng, rows, shared):
    count = 1 if shared else rows
    low, raw = rng.normal(-1, 0.3, count).astype(F32), rng.normal(0.2, 0.2, count).astype(F32)
    column = (low[:, None], *steps_of(raw[:, None]))
    return low, raw, column


def over_rows(sums, factor, shared):
    """What a kernel returns of sums of rows: all of them, or their total, added up in double."""
    if not shared:
        return sums * factor
    total = 0.0
    for value in sums:
        total += float(value)
    return np.array([total * float(factor[0])], F32)


@pytest.mark.parametrize("shared", [True, False], ids=["one range", "ranges of rows"])
@pytest.mark.parametrize("top", [3.0, 15.0, 255.0])
def test_levels(kernels, top, shared):
    rng = np.random.default_rng(5)
    top = F32(top)
    for rows, n in SHAPES:
        x, grad = numbers(rng, (rows, n)), numbers(rng, (rows, n), odd=False)
        low, raw, (start, step, inverse) = ranges(rng, rows, shared)
        stride = 0 if shared else 1
        scaled = (x - start) * inverse
        code = down(between(F32(0), scaled + F32(0.5), top))

        y, codes = np.full_like(x, 7.0), np.full(x.shape, 7, I32)
        kernels.call("levels", low, raw, stride, top, 0, x, rows, n, y, codes)
        same(y, code * step + start)
        np.testing.assert_array_equal(codes, np.where(np.isnan(code), top + 1, code).astype(I32))
        again = np.full_like(x, 7.0)
        kernels.call("levels", low, raw, stride, top, 0, x, rows, n, again, None)
        same(again, y)

        through = inside(F32(0), scaled, top, grad)
        rest = grad - through
        for rounding in (0, 1):
            passed, clipped, felt = np.full_like(x, 7.0), np.full_like(low, 7.0), np.full_like(low, 7.0)
            kernels.call("levels_back", low, raw, stride, top, rounding, x, grad, rows, n, passed, clipped, felt)
            same(passed, through)
            same(clipped, over_rows(lane_sum(rest), np.ones_like(raw), shared))
            share = grad * code - through * scaled if rounding else rest * code
            same(felt, over_rows(lane_sum(share), np.sign(raw), shared))


def staircase(x):
    z = x * x
    above = (F32(21) * z + F32(1260)) * z + F32(10395)
    return (x * above) / (((z + F32(210)) * z + F32(4725)) * z + F32(10395))


def test_the_tanh_of_a_staircase_is_one():
    x = np.linspace(-1.84, 1.84, 20001).astype(F32)
    assert abs(staircase(x).astype(float) - np.tanh(x.astype(float))).max() < 4e-7


@pytest.mark.parametrize("shared", [True, False], ids=["one range", "ranges of rows"])
@pytest.mark.parametrize(("top", "alpha"), [(3.0, 0.05), (15.0, 0.4), (254.0, 0.495)])
def test_stairs(kernels, top, alpha, shared):
    rng = np.random.default_rng(6)
    steep = math.log(2 / alpha - 1)
    constants = F32([steep, steep / (2 * (1 - alpha)), 0.5 / (1 - alpha) ** 2, 1 / ((1 - alpha) * alpha * (2 - alpha))])
    top = F32(top)
    for rows, n in SHAPES:
        x, grad = numbers(rng, (rows, n)), numbers(rng, (rows, n), odd=False)
        low, raw, (start, step, inverse) = ranges(rng, rows, shared)
        scaled = (x - start) * inverse
        code, within = down(between(F32(0), scaled + F32(0.5), top)), between(F32(0), scaled, top)
        cell = down(within)
        middle = (within - np.where(cell < top - 1, cell, top - F32(1))) - F32(0.5)
        curve = staircase(middle * constants[0])
        bell = F32(1) - curve * curve
        through = inside(F32(0), scaled, top, grad)
        slope = (through * bell) * constants[1]
        bends = (curve * constants[2] - (middle * bell) * constants[3]) * through

        passed = np.full_like(x, 7.0)
        clipped, felt, soft = np.full_like(low, 7.0), np.full_like(low, 7.0), np.full_like(low, 7.0)
        at = low, raw, 0 if shared else 1, top, 1
        kernels.call("stairs_back", *at, constants.copy(), x, grad, rows, n, passed, clipped, felt, soft)
        same(passed, slope)
        same(clipped, over_rows(lane_sum(grad - slope), np.ones_like(raw), shared))
        same(felt, over_rows(lane_sum(grad * code - slope * scaled), np.sign(raw), shared))
        same(soft, over_rows(lane_sum(bends), step[:, 0], shared))


@pytest.mark.parametrize("width", [1, 2, 3, 8, 9])
def test_look_ups(kernels, width):
    rng = np.random.default_rng(width)
    table = rng.normal(0, 1, (17, width)).astype(F32)
    for count in (1, 5, 64):
        codes = rng.integers(0, 17, count).astype(I32)
        grad, y = rng.normal(0, 1, (count, width)).astype(F32), np.full((count, width), 7.0, F32)
        kernels.call("look_up", table, codes, count, width, y)
        same(y, table[codes])
        lanes = np.zeros((8, count), F32)
        for c in range(width):
            lanes[c % 8] = lanes[c % 8] + table[codes][:, c] * grad[:, c]
        fours = lanes[:4] + lanes[4:]
        back = np.full(count, 7.0, F32)
        kernels.call("look_up_back", table, codes, grad, count, width, back)
        same(back, (fours[0] + fours[2]) + (fours[1] + fours[3]))


def terms(x, *hexadecimal):
    """A polynomial whose terms ascend."""
    *rest, h = (F32(float.fromhex(term)) for term in hexadecimal)
    for term in reversed(rest):
        h = h * x + term
    return h


def log2(x):
    bits = x.view(np.uint32)
    m = ((bits & np.uint32(0x7FFFFF)) | np.uint32(0x3F800000)).view(F32)
    k = ((bits >> np.uint32(23)) | np.uint32(0x4B000000)).view(F32) - F32(8388735)
    upper = m > F32(math.sqrt(2))
    k, m = np.where(upper, k + F32(1), k), np.where(upper, m * F32(0.5), m)
    f = m - F32(1)
    given = "0x1.71548cp+0 -0x1.71571cp-1 0x1.ec2f2cp-2 -0x1.6fce24p-2 0x1.2e2ea2p-2 -0x1.157b1cp-2 0x1.68ca44p-3"
    return k + f * terms(f, *given.split())


def exp2(t):
    m = t + ROUNDER
    r = t - (m - ROUNDER)
    given = "0x1.62e430p-1 0x1.ebfa4ap-3 0x1.c6aeecp-5 0x1.3cbf6ap-7 0x1.5f48cep-10"
    return ((F32(1) + r * terms(r, *given.split())).view(np.uint32) + (m.view(np.uint32) << np.uint32(23))).view(F32)


def test_logarithm_and_power_are_what_they_say():
    x = np.concatenate([np.geomspace(1e-12, 1, 20001), np.linspace(0.3, 1, 20001)]).astype(F32)
    assert (abs(log2(x) - np.log2(x.astype(float))) <= 8e-7 + 1e-7 * abs(np.log2(x))).all()
    t = np.linspace(-126, 126, 20001).astype(F32)
    assert abs(exp2(t) / 2.0 ** t.astype(float) - 1).max() < 4e-7


@pytest.mark.parametrize("levels", [1.0, 7.0, 127.0])
def test_intervals(kernels, levels):
    rng = np.random.default_rng(7)
    levels = F32(levels)
    inverse = F32(1) / levels
    for rows, n in SHAPES:
        w, grad = numbers(rng, (rows, n)), numbers(rng, (rows, n), odd=False)
        centre, width = rng.uniform(-0.2, 1, (2, rows)).astype(F32)
        gamma = rng.uniform(0.5, 2, rows).astype(F32)
        column, (size, _), power = centre[:, None], steps_of(width[:, None]), gamma[:, None]
        half, total = F32(0.5) / size, column + size
        reach, live = np.maximum(total, LEAST), (total >= LEAST).astype(F32)

        sign = np.where(w > 0, F32(1), np.where(w < 0, F32(-1), F32(0)))
        place = (np.abs(w) - column) * half + F32(0.5)
        share = between(F32(0), place, F32(1))
        logs = log2(np.where(share < LEAST, LEAST, share))
        raised = exp2(between(F32(-126), (power - F32(1)) * logs, F32(126)))
        bent = share * raised
        level = even(bent * levels) * inverse

        y = np.full_like(w, 7.0)
        kernels.call("interval", centre, width, gamma, levels, w, rows, n, y)
        same(y, sign * (level * reach))

        passed = np.full_like(w, 7.0)
        sums = [np.full(rows, 7.0, F32) for _ in range(3)]
        kernels.call("interval_back", centre, width, gamma, levels, w, grad, rows, n, passed, *sums)
        given = grad * sign
        onto = given * reach
        slope = np.where((place > 0) & (place <= 1), onto * (power * raised), F32(0)).astype(F32)
        same(passed, (slope * half) * sign)
        whole = lane_sum(given * level) * live[:, 0]
        same(sums[0], whole - lane_sum(slope) * half[:, 0])
        same(sums[1], (whole - lane_sum(slope * (place - F32(0.5))) / size[:, 0]) * np.sign(width))
        same(sums[2], lane_sum((onto * bent) * logs) * F32(math.log(2)))
