"""Fit the constants of lutkan.numerics.float32 and print them as they stand in that module.

Run ``python tools/fit_float32.py`` (needs mpmath). Every fit is a minimax fit in 40-digit arithmetic on a fixed grid,
so the result does not depend on the machine. Where the points allow it, coefficients are rounded to float32 one at a
time and the remaining ones are fitted again around the rounded values: the rounding errors then compensate each other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import mpmath as mp
import numpy as np

DIGITS = 40
POINTS = 200
#: Half of ln 2 and a little more: the rounding of x * log2(e) may choose the farther integer close to a tie.
EXP_REDUCED = "0.3467"
TANH_SPLIT = "0.625"
GELU_CUT = "11.75"

Vector = list[mp.mpf]


def to_float32(value: mp.mpf) -> float:
    """Round a value to the nearest float32 and give it as a Python float."""
    return float(np.float32(float(value)))


def chebyshev_points(low: mp.mpf, high: mp.mpf) -> Vector:
    """Give POINTS Chebyshev points of [low, high], ascending."""
    centre, radius = (low + high) / 2, (high - low) / 2
    return [centre - radius * mp.cos(mp.pi * (i + mp.mpf(1) / 2) / POINTS) for i in range(POINTS)]


def exchange(reference: list[int], errors: Sequence[mp.mpf]) -> list[int]:
    """Take the grid point of the largest error into the reference, so that the signs there still alternate."""
    worst = max(range(len(errors)), key=lambda i: abs(errors[i]))
    right = next((r for r, i in enumerate(reference) if i >= worst), len(reference))
    for r in (right, right - 1):
        if 0 <= r < len(reference) and (errors[reference[r]] > 0) == (errors[worst] > 0):
            return [*reference[:r], worst, *reference[r + 1 :]]
    return [worst, *reference[:-1]] if right == 0 else [*reference[1:], worst]


def first_reference(count: int) -> list[int]:
    """Spread `count` grid indices as the extrema of a Chebyshev polynomial."""
    return [round((POINTS - 1) * (1 - float(mp.cos(mp.pi * i / (count - 1)))) / 2) for i in range(count)]


def minimax(target: Vector, columns: list[Vector], weight: Vector) -> Vector:
    """Minimise max |weight * (target - sum_j c_j columns_j)| over the grid by Remez's exchange of single points."""
    size = len(columns)
    reference = first_reference(size + 1)
    for _ in range(500):
        matrix, right = mp.matrix(size + 1, size + 1), mp.matrix(size + 1, 1)
        for row, i in enumerate(reference):
            for j in range(size):
                matrix[row, j] = columns[j][i]
            matrix[row, size] = (-1) ** row / weight[i]
            right[row] = target[i]
        solution = mp.lu_solve(matrix, right)
        coefficients, level = [solution[j] for j in range(size)], abs(solution[size])
        errors = [
            w * (t - sum(c * column[i] for c, column in zip(coefficients, columns, strict=True)))
            for i, (t, w) in enumerate(zip(target, weight, strict=True))
        ]
        if max(map(abs, errors)) <= level * mp.mpf("1.0001"):
            return coefficients
        reference = exchange(reference, errors)
    raise ArithmeticError("the exchange did not converge")


def round_one_by_one(target: Vector, columns: list[Vector], weight: Vector) -> list[float]:
    """Round the first coefficient to float32, fit the others again, and so on to the last.

    The points must all be positive: without their first power, powers of points on both sides of 0 have no unique fit.
    """
    rounded, rest = [], list(columns)
    while rest:
        value = to_float32(minimax(target, rest, weight)[0])
        rounded.append(value)
        target = [t - value * c for t, c in zip(target, rest.pop(0), strict=True)]
    return rounded


def powers(points: Vector, exponents: Sequence[int]) -> list[Vector]:
    """Tabulate one column of x**j for each exponent j."""
    return [[x**j for x in points] for j in exponents]


def polynomial(coefficients: Sequence, x: mp.mpf) -> mp.mpf:
    """Evaluate ascending coefficients."""
    return sum((c * x**j for j, c in enumerate(coefficients)), mp.mpf(0))


def fit_exp() -> list[float]:
    """Fit q of degree 4 with exp(r) = 1 + r + r**2 * q(r), relative error, |r| <= EXP_REDUCED."""
    points = chebyshev_points(-mp.mpf(EXP_REDUCED), mp.mpf(EXP_REDUCED))
    target = [(mp.exp(r) - 1 - r) / r**2 for r in points]
    return [to_float32(c) for c in minimax(target, powers(points, range(5)), [r**2 / mp.exp(r) for r in points])]


def fit_tanh() -> list[float]:
    """Fit p of degree 4 with tanh(a) = a + a*z * p(z), z = a**2, relative error, 0 <= a <= TANH_SPLIT."""
    squares = chebyshev_points(mp.mpf(0), mp.mpf(TANH_SPLIT) ** 2)
    root: Callable[[mp.mpf], mp.mpf] = mp.sqrt
    target = [(mp.tanh(root(z)) - root(z)) / (z * root(z)) for z in squares]
    return round_one_by_one(target, powers(squares, range(5)), [z * root(z) / mp.tanh(root(z)) for z in squares])


def fit_gelu() -> tuple[list[float], list[float]]:
    """Fit N/D of degrees 4/5 to exp(a**2/2) * Phi(-a), relative error, 0 <= a <= GELU_CUT, N(0) = 1/2 and D(0) = 1."""
    top, numerator_degree, denominator_degree = mp.mpf(GELU_CUT), 4, 5
    # Half of the points lie below a = 2, where the function bends.
    points = [top * u / (top / 2 * (1 - u) + u) for u in chebyshev_points(mp.mpf(0), mp.mpf(1))]
    values = [mp.exp(a**2 / 2) * mp.erfc(a / mp.sqrt(2)) / 2 for a in points]
    target = [value - mp.mpf(1) / 2 for value in values]
    size = numerator_degree + denominator_degree
    above = powers(points, range(1, numerator_degree + 1))
    below = [
        [-v * p for v, p in zip(values, column, strict=True)]
        for column in powers(points, range(1, denominator_degree + 1))
    ]

    # Remez for a ratio: N - f*D = level * f * D, made linear by the D of the round before.
    reference, at_points = first_reference(size + 1), [mp.mpf(1)] * POINTS
    for _ in range(200):
        matrix, right = mp.matrix(size + 1, size + 1), mp.matrix(size + 1, 1)
        for row, i in enumerate(reference):
            for j, column in enumerate(above + below):
                matrix[row, j] = column[i]
            matrix[row, size] = -((-1) ** row) * values[i] * at_points[i]
            right[row] = target[i]
        solution = mp.lu_solve(matrix, right)
        numerator = [mp.mpf(1) / 2, *(solution[j] for j in range(numerator_degree))]
        denominator = [mp.mpf(1), *(solution[j] for j in range(numerator_degree, size))]
        at_points = [polynomial(denominator, a) for a in points]
        errors = [polynomial(numerator, a) / d / v - 1 for a, d, v in zip(points, at_points, values, strict=True)]
        if max(map(abs, errors)) <= abs(solution[size]) * mp.mpf("1.001"):
            break
        reference = exchange(reference, errors)
    else:
        raise ArithmeticError("the exchange did not converge")

    # The denominator is rounded as it is; the numerator is fitted again to what that left.
    below = [1.0, *map(to_float32, denominator[1:])]
    targets = [v * polynomial(below, a) for v, a in zip(values, points, strict=True)]
    above = round_one_by_one(
        [t - mp.mpf(1) / 2 for t in targets], powers(points, range(1, 5)), [1 / t for t in targets]
    )
    return [0.5, *above], below


def constants() -> dict[str, list[float]]:
    """Give every fitted or derived constant of the module by name, polynomials in ascending order."""
    with mp.workdps(DIGITS):
        ln2_high = mp.floor(mp.ln(2) * 2**16) / 2**16  # 15 bits: k * ln2_high is exact for |k| <= 512
        smallest, largest = -126 * mp.ln(2), mp.ln((2 - mp.mpf(2) ** -23) * mp.mpf(2) ** 127)
        numerator, denominator = fit_gelu()
        return {
            "LOG2E": [to_float32(1 / mp.ln(2))],
            "LN2_HIGH": [float(ln2_high)],
            "LN2_LOW": [to_float32(mp.ln(2) - ln2_high)],
            "EXP_LOW": [toward_zero(smallest)],
            "EXP_HIGH": [toward_zero(largest)],
            "EXP_POLYNOMIAL": fit_exp(),
            "TANH_POLYNOMIAL": fit_tanh(),
            "GELU_NUMERATOR": numerator,
            "GELU_DENOMINATOR": denominator,
        }


def toward_zero(value: mp.mpf) -> float:
    """Round a value to the next float32 that is not larger in magnitude."""
    nearest = np.float32(float(value))
    if abs(mp.mpf(float(nearest))) > abs(value):
        nearest = np.nextafter(nearest, np.float32(0))
    return float(nearest)


def hexadecimal(value: float) -> str:
    """Write a float32 as a C hexadecimal literal without trailing zeros."""
    mantissa, exponent = value.hex().split("p")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}p{exponent}"


def source() -> str:
    """Write the constants as the Python source that stands in the module."""
    lines = []
    for name, values in constants().items():
        literals = [(f"np.float32({value:.9g})", f"# {hexadecimal(value)}") for value in values]
        if len(literals) == 1:
            lines.append(f"{name} = {literals[0][0]}  {literals[0][1]}")
        else:
            lines += [f"{name} = (", *(f"    {literal},  {comment}" for literal, comment in literals), ")"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(source())
