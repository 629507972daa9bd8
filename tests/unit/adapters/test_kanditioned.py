from __future__ import annotations

import numpy as np
import pytest

from checkpoints import close, rows, sum_of_edges, weights
from lutkan.adapters import import_model
from lutkan.adapters.registry import family_named
from lutkan.errors import ImportModelError

N_IN, N_OUT, P, WIDTH = 3, 2, 7, 4.0


def buffers(count: int = P) -> dict[str, np.ndarray]:
    return {
        "local_bias": np.arange(count).reshape(1, -1, 1),
        "feature_offset": np.arange(N_IN).reshape(1, -1) * count,
    }


def state() -> dict[str, np.ndarray]:
    return {"kan_weight": weights(0, N_IN, P, N_OUT)} | buffers()


def by_hand(values, x, width=WIDTH):
    points = np.linspace(-width / 2, width / 2, values.shape[1])

    def edge(i, j, xi):
        v = values[i, :, j].astype(np.float64)
        inner = np.interp(xi, points, v)
        below = v[0] + (xi - points[0]) * (v[1] - v[0]) / (points[1] - points[0])
        above = v[-1] + (xi - points[-1]) * (v[-1] - v[-2]) / (points[1] - points[0])
        return np.where(xi < points[0], below, np.where(xi > points[-1], above, inner))

    return sum_of_edges(x, values.shape[2], edge)


def test_a_layer_is_the_sum_of_its_edges_with_straight_lines_outside():
    x = rows(N_IN) * 2
    assert close(import_model(state(), config={"spline_width": WIDTH}).evaluate(x), by_hand(state()["kan_weight"], x))


def test_the_parallel_scan_variant_stores_bends():
    right, left = (weights(seed, N_IN, P, N_OUT).astype(np.float64) for seed in (1, 2))
    values = np.zeros((N_IN, P, N_OUT))
    for p in range(P):
        for q in range(P):
            values[:, p] += (p - q) * right[:, q] if q <= p else (q - p) * left[:, q]
    net = import_model({"r_weight": right, "l_weight": left} | buffers(), config={"spline_width": WIDTH})
    x = rows(N_IN) * 2
    assert close(net.evaluate(x), by_hand(values, x), 1e-11)


def test_trap_spline_width_is_not_stored():
    with pytest.raises(ImportModelError, match="'spline_width' is neither in the checkpoint nor in config="):
        import_model(state())
    x = rows(N_IN)
    wide = import_model(state(), config={"spline_width": 6.0})
    assert close(wide.evaluate(x), by_hand(state()["kan_weight"], x, 6.0))


@pytest.mark.parametrize("value", [0, -4.0, float("nan"), None])
def test_a_width_that_is_none_is_refused(value):
    with pytest.raises(ImportModelError, match="spline_width"):
        import_model(state(), config={"spline_width": value})


def test_constructor_arguments_are_compared_with_the_tensors():
    entry = {"in_features": N_IN, "out_features": N_OUT, "num_control_points": P, "variant": "B-spline"}
    import_model(state(), config={"layers": [entry | {"impl": "embedding", "spline_width": WIDTH}]})
    for key, value in (("num_control_points", 8), ("variant", "parallel_scan"), ("impl", "sparse_matmul")):
        with pytest.raises(ImportModelError, match=key if key != "impl" else "sparse_matmul"):
            import_model(state(), config={"spline_width": WIDTH, "layers": [entry | {key: value}]})


def test_index_buffers_are_what_upstream_builds():
    with pytest.raises(ImportModelError, match="'feature_offset'"):
        import_model(state() | {"feature_offset": np.zeros((1, N_IN))}, config={"spline_width": WIDTH})


def test_a_missing_half_of_the_bends_is_named():
    with pytest.raises(ImportModelError, match="'l_weight' is missing"):
        import_model({"r_weight": weights(1, N_IN, P, N_OUT)} | buffers(), config={"spline_width": WIDTH})


def test_one_control_point_is_no_line():
    with pytest.raises(ImportModelError, match="1 control points"):
        import_model({"kan_weight": weights(0, N_IN, 1, N_OUT)} | buffers(1), config={"spline_width": WIDTH})


def test_a_live_layer_tells_the_width():
    class Layer:
        spline_width, impl, variant = 3, "embedding_bag", "B-spline"

    config = family_named("kanditioned").attributes(Layer())
    assert config == {"spline_width": 3.0, "impl": "embedding_bag", "variant": "B-spline"}
    import_model(state(), config={"layers": [config]})
