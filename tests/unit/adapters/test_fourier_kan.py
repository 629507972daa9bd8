from __future__ import annotations

import numpy as np
import pytest

from checkpoints import close, rows, sum_of_edges, weights
from lutkan.adapters import import_model
from lutkan.errors import ImportModelError

N_IN, N_OUT, G = 3, 2, 5


def state() -> dict[str, np.ndarray]:
    return {"fouriercoeffs": weights(0, 2, N_OUT, N_IN, G), "bias": weights(1, 1, N_OUT)}


def by_hand(s, x):
    c = s["fouriercoeffs"].astype(np.float64)

    def edge(i, j, xi):
        return sum(
            c[0, j, i, k - 1] * np.cos(k * xi) + c[1, j, i, k - 1] * np.sin(k * xi) for k in range(1, c.shape[3] + 1)
        )

    return sum_of_edges(x, c.shape[1], edge) + s.get("bias", np.zeros((1, c.shape[1])))[0].astype(np.float64)


def test_a_layer_is_the_sum_of_its_edges():
    x = rows(N_IN)
    assert close(import_model(state()).evaluate(x), by_hand(state(), x))


def test_the_bias_is_optional():
    x, s = rows(N_IN), {"fouriercoeffs": state()["fouriercoeffs"]}
    assert close(import_model(s, config={"layers": [{"addbias": False}]}).evaluate(x), by_hand(s, x))
    with pytest.raises(ImportModelError, match="addbias = True, the tensors say False"):
        import_model(s, config={"layers": [{"addbias": True}]})


def test_the_function_has_the_period_two_pi():
    net, x = import_model(state()), rows(N_IN)
    assert close(net.evaluate(x + 2 * np.pi), net.evaluate(x), 1e-12)


def test_cosines_alone_are_refused():
    with pytest.raises(ImportModelError, match=r"'fouriercoeffs' has shape \[1, 2, 3, 5\]"):
        import_model(state() | {"fouriercoeffs": state()["fouriercoeffs"][:1]})


def test_a_bias_of_another_width_is_refused():
    with pytest.raises(ImportModelError, match="'bias' has shape"):
        import_model(state() | {"bias": weights(1, 1, N_OUT + 1)})


def test_sizes_are_compared_with_the_tensors():
    import_model(state(), config={"layers": [{"in": N_IN, "out": N_OUT, "gridsize": G, "addbias": True}]})
    with pytest.raises(ImportModelError, match="gridsize = 4, the tensors say 5"):
        import_model(state(), config={"gridsize": 4})
