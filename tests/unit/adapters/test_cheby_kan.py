from __future__ import annotations

import numpy as np
import pytest

from checkpoints import close, prefixed, rows, sum_of_edges, weights
from lutkan.adapters import import_model
from lutkan.errors import ImportModelError

N_IN, N_OUT, DEGREE = 3, 2, 4


def state() -> dict[str, np.ndarray]:
    return {"cheby_coeffs": weights(0, N_IN, N_OUT, DEGREE + 1), "arange": np.arange(DEGREE + 1)}


def by_hand(x):
    c = state()["cheby_coeffs"].astype(np.float64)
    d = np.arange(DEGREE + 1)
    return sum_of_edges(x, N_OUT, lambda i, j, xi: np.cos(d * np.arccos(np.tanh(xi))[:, None]) @ c[i, j])


def test_a_layer_is_the_sum_of_its_edges():
    x = rows(N_IN)
    assert close(import_model(state()).evaluate(x), by_hand(x))
    assert close(import_model(prefixed(state(), "model.kan.layers.0")).evaluate(x), by_hand(x))


def test_trap_tanh_saturates_to_the_ends_of_the_polynomials():
    far = import_model(state()).evaluate(np.full((1, N_IN), 40.0))
    assert close(far, state()["cheby_coeffs"].astype(np.float64).sum((0, 2))[None])


def test_nothing_is_missing_from_the_checkpoint():
    net = import_model(state(), config={"degree": DEGREE, "layers": [{"in": N_IN, "out": N_OUT}]})
    assert net.source.defaults_taken == () and net.layers[0].bias is None


def test_the_integer_buffer_may_be_absent_and_may_not_be_something_else():
    import_model({"cheby_coeffs": state()["cheby_coeffs"]})
    with pytest.raises(ImportModelError, match="'arange' is not 0, 1"):
        import_model(state() | {"arange": np.arange(DEGREE + 1)[::-1]})


def test_flat_coefficients_are_refused():
    with pytest.raises(ImportModelError, match=r"'cheby_coeffs' has shape \[3, 10\]"):
        import_model(state() | {"cheby_coeffs": state()["cheby_coeffs"].reshape(N_IN, -1)})


def test_a_transposed_tensor_shows_in_the_widths_of_the_stack():
    stack = prefixed(state(), "0") | prefixed(state(), "1")
    with pytest.raises(ImportModelError, match="does not take the 2 features"):
        import_model(stack)


def test_a_degree_that_contradicts_the_tensors_is_refused():
    with pytest.raises(ImportModelError, match="degree = 3, the tensors say 4"):
        import_model(state(), config={"degree": 3})


def test_a_nan_is_named():
    broken = state()["cheby_coeffs"].copy()
    broken[1, 0, 2] = np.nan
    with pytest.raises(ImportModelError, match=r"'cheby_coeffs' holds nan at index \[1, 0, 2\]"):
        import_model(state() | {"cheby_coeffs": broken})
