from __future__ import annotations

import numpy as np
import pytest

from checkpoints import prefixed, weights
from lutkan.adapters import import_model
from lutkan.errors import ImportModelError

CONVOLUTIONS = {
    "poly_weights": weights(0, 1, 6, 16, 3, 3),
    "poly_conv.weight": weights(0, 6, 16, 3, 3),
    "poly_conv.0.weight": weights(0, 6, 16, 3),
    "spline_conv.0.weight": weights(0, 6, 32, 3, 3, 3),
    "relukan_conv.0.weight": weights(0, 6, 32, 3, 3),
    "base_conv.1.weight": weights(0, 6, 4, 3, 3),
    "kan_layer.spline_weight": weights(0, 1, 4, 27, 8),
}


@pytest.mark.parametrize("prefix", ["", "features.3", "layers.0.module"])
@pytest.mark.parametrize("name", sorted(CONVOLUTIONS))
def test_a_convolution_is_named_with_its_class_and_said_to_be_missing(name, prefix):
    state = {name: CONVOLUTIONS[name]}
    state = prefixed(state, prefix) if prefix else state
    with pytest.raises(ImportModelError, match="convolution import is not part of this version") as caught:
        import_model(state)
    assert f"tensor {next(iter(state))!r} of shape {list(CONVOLUTIONS[name].shape)}" in str(caught.value)


def test_lmkan_is_named():
    with pytest.raises(ImportModelError, match=r"'0.func_parameter'.*lmKAN import is not part of this version"):
        import_model({"0.func_parameter": weights(0, 9, 9, 4, 2), "0.borders": weights(1, 9)})


def test_a_convolution_beside_dense_layers_is_seen_first():
    dense = {"head.cheby_coeffs": weights(0, 3, 2, 4), "head.arange": np.arange(4)}
    with pytest.raises(ImportModelError, match=r"'conv.poly_weights'"):
        import_model(dense | {"conv.poly_weights": CONVOLUTIONS["poly_weights"]})


def test_bsrbf_is_named():
    state = {"base_weight": weights(0, 2, 3), "spline_weight": weights(1, 2, 24), "rbf.grid": weights(2, 8)}
    with pytest.raises(ImportModelError, match=r"'rbf.grid'.*BSRBF"):
        import_model(state)


def test_dense_tensors_of_these_names_are_left_to_their_families():
    """efficient-kan inside a module that somebody called `kan_layer` is dense: no groups axis."""
    state = {
        "base_weight": weights(0, 2, 3),
        "spline_weight": weights(1, 2, 3, 8),
        "grid": np.tile(np.arange(12.0), (3, 1)),
    }
    assert import_model(prefixed(state, "kan_layer")).source.family == "efficient-kan"
