from __future__ import annotations

import numpy as np
import pytest

from lutkan.adapters.options import Options
from lutkan.errors import ImportModelError


def options(config, layers=2):
    return Options(config, "some-kan", ["alpha", "pair", "flag"], ["size"], layers)


def test_a_scalar_holds_for_every_layer_and_a_list_goes_layer_by_layer():
    both = options({"alpha": 3.0})
    assert [both.layer(i).get("alpha") for i in (0, 1)] == [3.0, 3.0]
    listed = options({"alpha": [3.0, 4.0]})
    assert [listed.layer(i).get("alpha") for i in (0, 1)] == [3.0, 4.0]


def test_a_value_that_is_a_list_goes_layer_by_layer_when_it_is_a_list_of_lists():
    assert options({"pair": [0, 1]}).layer(1).interval("pair") == (0.0, 1.0)
    assert options({"pair": [[0, 1], [2, 3]]}).layer(1).interval("pair") == (2.0, 3.0)
    assert options({"pair": np.array([[0, 1], [2, 3]])}).layer(1).interval("pair") == (2.0, 3.0)


@pytest.mark.parametrize("value", [[1.0], [1.0, 2.0, 3.0], []])
def test_a_list_of_the_wrong_length_is_refused(value):
    with pytest.raises(ImportModelError, match=rf"config\['alpha'\] has {len(value)} entries; allowed: 2"):
        options({"alpha": value}).layer(0).get("alpha")


def test_an_unknown_key_lists_the_known_ones():
    with pytest.raises(ImportModelError, match=r"unknown key 'beta'; allowed: alpha, flag, layers, pair for some-kan"):
        options({"beta": 1})
    with pytest.raises(ImportModelError, match=r"config\['layers'\]\[1\] has the unknown key 'beta'.*size, type"):
        options({"layers": [{}, {"beta": 1}]})
    with pytest.raises(ImportModelError, match="unknown key 'size'"):
        options({"size": 1})


@pytest.mark.parametrize("layers", [[{}], [{}, {}, {}], {}, "two", [{}, 3]])
def test_layers_is_a_list_with_a_mapping_a_layer(layers):
    with pytest.raises(ImportModelError, match=r"config\['layers'\]"):
        options({"layers": layers})


def test_the_top_and_layers_have_to_agree():
    agreeing = options({"alpha": [1.0, 2.0], "layers": [{"alpha": 1}, {"alpha": 2.0 + 1e-9}]})
    assert agreeing.layer(1).get("alpha") == 2.0
    with pytest.raises(ImportModelError, match=r"config\['alpha'\] = 1.0 for layer 1.*says 2"):
        options({"alpha": 1.0, "layers": [{}, {"alpha": 2}]}).layer(1).get("alpha")
    with pytest.raises(ImportModelError, match="alpha"):
        options({"alpha": [0, 1], "layers": [{"alpha": "0"}, {}]}).layer(0).get("alpha")


def test_an_entry_may_use_other_names_and_they_have_to_agree():
    told = options({"layers": [{"size": 4}, {}]})
    assert told.layer(0).get("alpha", entry_keys=("size",)) == 4
    assert told.layer(1).get("alpha", 7, entry_keys=("size",)) == 7
    with pytest.raises(ImportModelError, match=r"\['alpha'\] = 5 .*\['size'\] says 4"):
        options({"alpha": 5, "layers": [{"size": 4}, {}]}).layer(0).get("alpha", entry_keys=("size",))


def test_none_is_absence_and_a_default_is_recorded_once():
    some = options({"alpha": [None, None]})
    assert [some.layer(i).get("alpha", 1.5, why="because") for i in (0, 1)] == [1.5, 1.5]
    assert some.defaults_taken == ["alpha = 1.5 (because)"]


def test_absence_without_a_default_names_the_key_and_the_reason():
    with pytest.raises(ImportModelError, match=r"layer 1: 'alpha' is neither .* \(because\); fix: pass config"):
        options(None).layer(1).get("alpha", why="because")


@pytest.mark.parametrize("value", ["1", True, float("nan"), float("inf"), 0.0, {"a": 1}])
def test_number_takes_numbers_above_its_bound(value):
    with pytest.raises(ImportModelError, match=r"alpha = .*greater than 0"):
        options({"alpha": value}).layer(0).number("alpha", above=0)
    assert options({"alpha": np.float32(0.5)}).layer(0).number("alpha", above=0) == 0.5


@pytest.mark.parametrize("value", [1, "yes", 0.0])
def test_flag_takes_true_and_false(value):
    with pytest.raises(ImportModelError, match="true or false"):
        options({"flag": value}).layer(0).flag("flag")
    assert options({"flag": [True, False]}).layer(1).flag("flag") is False


@pytest.mark.parametrize("value", [[1, 1], [2, 1], [1], 3, ["a", "b"], [0, float("inf")], [[0, 1, 2], [0, 1, 2]]])
def test_interval_takes_an_ascending_pair(value):
    with pytest.raises(ImportModelError, match="low < high"):
        options({"pair": value}).layer(0).interval("pair")


@pytest.mark.parametrize("value", ["swash", 3, ["silu", "gelu", "silu"], {"silu": 1}])
def test_activation_takes_a_known_name(value):
    with pytest.raises(ImportModelError, match="alpha"):
        options({"alpha": value}).layer(0).activation("alpha")
    assert options({"alpha": ["silu", "gelu"]}).layer(1).activation("alpha") == "gelu"


def test_check_compares_with_the_tensors():
    some = options({"alpha": 5, "layers": [{"size": 3}, {"size": 4}]}).layer(0)
    some.check("size", 3)
    some.check("pair", 99)  # absent: nothing to compare
    with pytest.raises(ImportModelError, match="layer 0: config says size = 3, the tensors say 4"):
        some.check("size", 4)
    some.check("alpha", 7, entry_only=True)
    with pytest.raises(ImportModelError, match="alpha = 5"):
        some.check("alpha", 7)


def test_check_allows_float32_rounding_and_no_more():
    some = options({"alpha": [0.1, 0.1]}).layer(0)
    some.check("alpha", float(np.float32(0.1)))
    with pytest.raises(ImportModelError):
        some.check("alpha", 0.1001)
    pair = options({"pair": [0.0, 1.0]}).layer(0)
    pair.check("pair", [1e-9, 1.0])
    with pytest.raises(ImportModelError):
        pair.check("pair", [0.0, 1.0, 2.0])


def test_a_config_that_is_no_mapping_is_refused():
    with pytest.raises(ImportModelError, match="config is a int"):
        Options(3, "efficient-kan", (), (), 1)
