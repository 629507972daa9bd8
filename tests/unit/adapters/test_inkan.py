from __future__ import annotations

import numpy as np
import pytest

from checkpoints import close, prefixed, rows, silu, sum_of_edges, weights
from lutkan.adapters import import_model
from lutkan.adapters.registry import family_named
from lutkan.errors import ImportModelError

N_IN, N_OUT, C, LOW, INVERSE = 3, 2, 8, -2.2, 2.5
STARTS = (LOW + np.arange(C) / INVERSE).astype(np.float32)


def cubic(u):
    """The cardinal cubic B-spline on [0, 4], piece by piece."""
    v = np.where(u <= 2, u, 4 - u)
    inner = (1 + 3 * (v - 1) + 3 * (v - 1) ** 2 - 3 * (v - 1) ** 3) / 6
    return np.where((v <= 0) | (v > 2), 0.0, np.where(v <= 1, v**3 / 6, inner))


def inkan() -> dict[str, np.ndarray]:
    return {"weight": weights(0, N_OUT, N_IN * C + N_IN), "grid_starts": STARTS}


def by_hand(state, x, inverse=INVERSE, act=silu):
    w = state["weight"].astype(np.float64)
    spline, base = w[:, : N_IN * C].reshape(N_OUT, N_IN, C), w[:, N_IN * C :]
    first = float(state["grid_starts"][0])

    def edge(i, j, xi):
        u = (xi - first) * inverse
        return base[j, i] * act(xi) + sum(spline[j, i, m] * cubic(u - m) for m in range(C))

    return sum_of_edges(x, N_OUT, edge)


def test_a_layer_is_the_sum_of_its_edges():
    x = rows(N_IN)
    assert close(import_model(inkan(), config={"inv_h": INVERSE}).evaluate(x), by_hand(inkan(), x))


def test_trap_only_the_first_start_and_the_unsaved_inv_h_matter():
    x = rows(N_IN)
    jitter = inkan() | {"grid_starts": (STARTS + np.r_[0, np.full(C - 1, 1e-5)]).astype(np.float32)}
    told = import_model(jitter, config={"inv_h": INVERSE})
    assert close(told.evaluate(x), by_hand(inkan(), x))
    derived = import_model(inkan())
    assert any("inv_h = " in text and "float32 grid_starts" in text for text in derived.source.defaults_taken)
    assert close(derived.evaluate(x), by_hand(inkan(), x), 1e-5)


def test_an_inv_h_that_contradicts_the_starts_is_refused():
    with pytest.raises(ImportModelError, match=r"inv_h = 2 and tensor 'grid_starts'"):
        import_model(inkan(), config={"inv_h": 2.0})
    bent = STARTS.copy()
    bent[4] += 0.1
    with pytest.raises(ImportModelError, match="uniform starts"):
        import_model(inkan() | {"grid_starts": bent})


def test_trap_dim_2_is_a_surface_and_refused():
    surface = {"weight": weights(0, N_OUT, C * C + 2), "grid_starts": STARTS}
    with pytest.raises(ImportModelError, match="dim = 2"):
        import_model(surface)
    with pytest.raises(ImportModelError, match="dim = 2"):
        import_model(surface, config={"dim": 2, "inv_h": INVERSE})


def test_columns_have_to_be_a_multiple_of_bases_and_base():
    with pytest.raises(ImportModelError, match="'weight' has 26 columns; allowed: a multiple of 9"):
        import_model(inkan() | {"weight": weights(0, N_OUT, 26)}, config={"inv_h": INVERSE})


def test_sizes_and_range_are_compared_with_the_tensors():
    entry = {"in_features": N_IN, "out_features": N_OUT, "grid_size": 5, "grid_range": [-1, 1], "spline_order": 3}
    import_model(inkan(), config={"inv_h": INVERSE, "layers": [entry]})
    with pytest.raises(ImportModelError, match="grid_range"):
        import_model(inkan(), config={"inv_h": INVERSE, "layers": [entry | {"grid_range": [-1, 2]}]})


def test_too_few_starts_are_refused():
    with pytest.raises(ImportModelError, match="at least 4 ascending starts"):
        import_model({"weight": weights(0, N_OUT, N_IN * 4), "grid_starts": STARTS[:3]})
    with pytest.raises(ImportModelError, match="at least 4 ascending starts"):
        import_model(inkan() | {"grid_starts": STARTS[::-1].copy()})


# ---- flashkan: the same layer, unpacked


def flashkan() -> dict[str, np.ndarray]:
    packed = inkan()["weight"]
    return {
        "spline_weight": packed[:, : N_IN * C].reshape(N_OUT, N_IN, C),
        "base_weight": packed[:, N_IN * C :],
        "grid_starts": STARTS,
    }


def test_flashkan_equals_its_mother_family():
    x = rows(N_IN)
    config = {"inv_h": INVERSE, "base_activation": "silu"}
    renamed = import_model(prefixed(flashkan(), "layers.0"), config=config)
    assert renamed.source.family == "flashkan"
    assert close(renamed.evaluate(x), import_model(inkan(), config=config).evaluate(x))
    # efficient-kan is the mother of both: the same weights on the extended knots.
    knots = (LOW_EXACT + np.arange(C + 4) / INVERSE).repeat(N_IN).reshape(C + 4, N_IN).T
    mother = {"base_weight": flashkan()["base_weight"], "spline_weight": flashkan()["spline_weight"], "grid": knots}
    assert close(renamed.evaluate(x), import_model(mother, config={"base_activation": "silu"}).evaluate(x))


LOW_EXACT = float(STARTS[0])


def test_trap_flashkan_is_zero_far_outside_whatever_its_truncated_powers_say():
    net = import_model(flashkan() | {"base_weight": np.zeros((N_OUT, N_IN))}, config={"inv_h": INVERSE})
    assert np.all(net.evaluate(np.full((1, N_IN), 100.0)) == 0.0)


def test_a_missing_or_transposed_tensor_of_flashkan_is_named():
    with pytest.raises(ImportModelError, match="'base_weight' is missing"):
        import_model({name: value for name, value in flashkan().items() if name != "base_weight"})
    with pytest.raises(ImportModelError, match="'spline_weight' has shape"):
        import_model(flashkan() | {"spline_weight": flashkan()["spline_weight"].transpose(1, 0, 2)})


def test_a_live_layer_tells_inv_h_and_dim():
    class Layer:
        inv_h, dim = 2.5, 1

    assert family_named("inkan").attributes(Layer()) == {"inv_h": 2.5, "dim": 1}
    import_model(inkan(), config={"layers": [{"inv_h": 2.5, "dim": 1}]})
