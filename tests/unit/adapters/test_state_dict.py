from __future__ import annotations

import numpy as np
import pytest

from checkpoints import prefixed, weights
from lutkan.adapters import import_model
from lutkan.adapters.checkpoint import LayerTensors, natural_key
from lutkan.adapters.registry import FAMILIES, family_named
from lutkan.adapters.state_dict import find_layers
from lutkan.errors import ImportModelError

CHEBY = {"cheby_coeffs": weights(0, 3, 3, 4), "arange": np.arange(4)}
JACOBI = {"jacobi_coeffs": weights(1, 3, 3, 4)}


def test_unknown_tensors_are_listed_with_the_known_families():
    with pytest.raises(
        ImportModelError, match=r"no KAN layer is recognised among the tensors a, b, c, d, e, f, \.\.\."
    ):
        import_model({name: weights(0, 2) for name in "gfedcba"})
    with pytest.raises(ImportModelError, match="cheby-kan, convkan, efficient-kan, fast-kan"):
        import_model({})


def test_an_unknown_family_lists_the_known_ones():
    with pytest.raises(ImportModelError, match=r"family 'chebby-kan'; allowed: .*cheby-kan"):
        import_model(CHEBY, family="chebby-kan")


def test_a_tensor_of_another_module_is_refused():
    with pytest.raises(ImportModelError, match=r"'head.bias' is not a tensor of cheby-kan \(nor are 1 more\)"):
        import_model(prefixed(CHEBY, "kan") | {"head.weight": weights(0, 2, 3), "head.bias": weights(0, 2)})


def test_layers_of_several_families_have_no_known_order():
    with pytest.raises(ImportModelError, match=r"layers of several families \(cheby-kan, jacobi-kan\)"):
        import_model(prefixed(CHEBY, "0") | prefixed(JACOBI, "1"), config={"a": 1, "b": 1})


def test_the_hash_depends_on_names_and_values_alone():
    first = import_model(CHEBY).source.checkpoint_sha256
    assert import_model(dict(reversed(list(CHEBY.items())))).source.checkpoint_sha256 == first
    assert import_model(prefixed(CHEBY, "0")).source.checkpoint_sha256 != first
    moved = CHEBY | {"cheby_coeffs": CHEBY["cheby_coeffs"] + np.float32(1e-7)}
    assert import_model(moved).source.checkpoint_sha256 != first


def test_natural_order_of_paths():
    paths = ["layers.10", "layers.9.module", "layers.9", "conv", "layers.2"]
    assert sorted(paths, key=natural_key) == ["conv", "layers.2", "layers.9", "layers.9.module", "layers.10"]


def test_every_family_has_a_name_of_its_own_and_is_found_by_it():
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    assert [family_named(name) for name in names] == list(FAMILIES)
    assert family_named("nothing") is None


def test_a_layer_belongs_to_the_first_family_that_claims_it():
    gram = {"jacobi_coeffs": weights(0, 3, 2, 4), "base_weights": weights(1, 2, 3)}
    assert [family.name for _, family in find_layers(prefixed(gram, "0"), FAMILIES)] == ["torch-conv-kan-jacobi"]
    assert [family.name for _, family in find_layers(prefixed(JACOBI, "0"), FAMILIES)] == ["jacobi-kan"]


def test_layer_tensors_remember_what_was_read():
    tensors = LayerTensors("kan.0", {"a": np.ones((2, 3), np.float16), "b": np.ones(1), "c": np.ones(1)})
    assert tensors.take("a", None, 3).dtype == np.float64
    tensors.skip("b")
    tensors.skip("absent")
    assert tensors.unread() == ["kan.0.c"]
    with pytest.raises(ImportModelError, match=r"'kan.0.a' has shape \[2, 3\]; allowed: \[any, 2\]"):
        tensors.take("a", None, 2)
    with pytest.raises(ImportModelError, match=r"'kan.0.a' has shape \[2, 3\]; allowed: \[6\]"):
        tensors.take("a", 6)
    with pytest.raises(ImportModelError, match=r"'kan.0.d' is missing; fix: the layer holds a, b, c"):
        tensors.take("d")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_tensor_that_is_not_finite_is_named(value):
    array = np.ones((2, 3), np.float32)
    array[1, 2] = value
    with pytest.raises(ImportModelError, match=rf"'a' holds {value} at index \[1, 2\]"):
        LayerTensors("", {"a": array}).take("a")


def test_an_entry_that_is_no_number_is_refused():
    with pytest.raises(ImportModelError, match="entry 'name' of the state_dict is a str"):
        import_model(CHEBY | {"name": "cheby"})
