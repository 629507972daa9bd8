from __future__ import annotations

import math

import numpy as np
import pytest

from checkpoints import close, rows, sum_of_edges, weights
from lutkan.adapters import import_model
from lutkan.adapters.registry import family_named
from lutkan.errors import ImportModelError

N_IN, N_OUT, DEGREE = 3, 2, 5


def jacobi(x: np.ndarray, n: int, a: float, b: float) -> np.ndarray:
    """P_n^(a,b) by its explicit sum (Szego 4.3.2), not by a recurrence."""

    def binomial(top: float, k: int) -> float:
        return math.gamma(top + 1) / (math.factorial(k) * math.gamma(top - k + 1))

    return sum(
        binomial(n + a, n - s) * binomial(n + b, s) * ((x - 1) / 2) ** s * ((x + 1) / 2) ** (n - s)
        for s in range(n + 1)
    )


def state() -> dict[str, np.ndarray]:
    return {"jacobi_coeffs": weights(0, N_IN, N_OUT, DEGREE + 1)}


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.0, 0.0), (-0.5, 0.75), (2, 0.5)])
def test_a_layer_is_the_sum_of_its_edges(a, b):
    x, c = rows(N_IN), state()["jacobi_coeffs"].astype(np.float64)

    def edge(i, j, xi):
        return sum(c[i, j, n] * jacobi(np.tanh(xi), n, a, b) for n in range(DEGREE + 1))

    net = import_model(state(), config={"a": a, "b": b})
    assert close(net.evaluate(x), sum_of_edges(x, N_OUT, edge), 1e-11)


@pytest.mark.parametrize(("config", "key"), [(None, "a"), ({"a": 1.0}, "b"), ({"layers": [{"b": 1.0}]}, "a")])
def test_trap_a_and_b_are_not_stored_and_one_is_no_default(config, key):
    with pytest.raises(ImportModelError, match=f"'{key}' is neither in the checkpoint nor in config="):
        import_model(state(), config=config)


def test_parameters_go_layer_by_layer():
    square = {"jacobi_coeffs": weights(3, N_IN, N_IN, 3)}
    stack = {f"{n}.{name}": value for n in (0, 1) for name, value in square.items()}
    x = rows(N_IN)
    first = import_model(square, config={"a": 0.0, "b": 2.0}).evaluate(x)
    second = import_model(square, config={"a": 1.0, "b": 2.0}).evaluate(first)
    assert np.array_equal(import_model(stack, config={"a": [0.0, 1.0], "b": 2.0}).evaluate(x), second)


@pytest.mark.parametrize("value", [-1.0, -3.0, float("inf"), "1", [1.0, 2.0]])
def test_parameters_that_define_no_polynomials_are_refused(value):
    with pytest.raises(ImportModelError, match=r"'?a'?\]? (=|has 2 entries)"):
        import_model(state(), config={"a": value, "b": 1.0})


def test_a_live_layer_tells_a_and_b():
    class Layer:
        a, b = 1, 2.5

    assert family_named("jacobi-kan").attributes(Layer()) == {"a": 1.0, "b": 2.5}


def test_a_flat_tensor_is_refused():
    with pytest.raises(ImportModelError, match="'jacobi_coeffs' has shape"):
        import_model({"jacobi_coeffs": weights(0, N_IN, 12)}, config={"a": 1.0, "b": 1.0})
