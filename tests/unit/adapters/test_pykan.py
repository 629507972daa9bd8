from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest

from checkpoints import bspline, close, prefixed, rows, silu
from lutkan.adapters import import_model
from lutkan.adapters.options import ConfigNeededError
from lutkan.errors import ImportModelError, RuntimeUnavailableError
from lutkan.ir import Affine, KANLayer, Product, Select
from lutkan.numerics import functions


def state(levels, *, degree=3, intervals=4, seed=0, affine=False):
    """A MultKAN state: `levels` is (inputs, (n_sum, arities), (n_sum, arities), ...)."""
    rng = np.random.default_rng(seed)
    made, n_in = {}, levels[0]
    for layer, (n_sum, arities) in enumerate(levels[1:]):
        nodes, subnodes = n_sum + len(arities), n_sum + sum(arities)
        core = np.sort(rng.uniform(-1, 1, (n_in, intervals - 1)), axis=1)
        core = np.hstack([np.full((n_in, 1), -1.2), core, np.full((n_in, 1), 1.2)])
        step = (core[:, -1:] - core[:, :1]) / intervals
        grid = np.hstack(
            [core[:, :1] - step * np.arange(degree, 0, -1), core, core[:, -1:] + step * np.arange(1, degree + 1)]
        )
        made |= {
            f"act_fun.{layer}.grid": grid,
            f"act_fun.{layer}.coef": rng.normal(0, 0.3, (n_in, subnodes, intervals + degree)),
            f"act_fun.{layer}.mask": rng.choice([0.0, 0.5, 1.0, 1.0], (n_in, subnodes)),
            f"act_fun.{layer}.scale_base": rng.normal(0, 0.5, (n_in, subnodes)),
            f"act_fun.{layer}.scale_sp": rng.normal(1, 0.2, (n_in, subnodes)),
            f"symbolic_fun.{layer}.mask": np.zeros((subnodes, n_in)),
            f"symbolic_fun.{layer}.affine": rng.normal(0, 1, (subnodes, n_in, 4)),
        }
        for kind, size in (("node", nodes), ("subnode", subnodes)):
            made[f"{kind}_scale_{layer}"] = rng.normal(1, 0.3, size) if affine else np.ones(size)
            made[f"{kind}_bias_{layer}"] = rng.normal(0, 0.3, size) if affine else np.zeros(size)
        n_in = nodes
    return {name: value.astype(np.float32) for name, value in made.items()}


def width_of(levels):
    return [[levels[0], 0], *([n_sum, len(arities)] for n_sum, arities in levels[1:])]


def arity_of(levels):
    return [[], *(list(arities) for _, arities in levels[1:])]


def by_hand(tensors, levels, x, *, base=silu, symbolic=(), degree=3):
    """The model as its definition reads, one edge at a time; `symbolic` is (layer, input, output, function)."""
    t = {name: value.astype(np.float64) for name, value in tensors.items()}
    for layer, (n_sum, arities) in enumerate(levels[1:]):
        grid, coef = t[f"act_fun.{layer}.grid"], t[f"act_fun.{layer}.coef"]
        n_in, subnodes, size = coef.shape
        sub = np.zeros((len(x), subnodes))
        for i in range(n_in):
            basis = [bspline(x[:, i], grid[i], degree, m) for m in range(size)]
            for j in range(subnodes):
                spline = sum(coef[i, j, m] * basis[m] for m in range(size))
                edge = (
                    t[f"act_fun.{layer}.scale_base"][i, j] * base(x[:, i])
                    + t[f"act_fun.{layer}.scale_sp"][i, j] * spline
                )
                sub[:, j] += t[f"act_fun.{layer}.mask"][i, j] * edge
        for where, i, j, function in symbolic:
            if where == layer:
                a, b, c, d = t[f"symbolic_fun.{layer}.affine"][j, i]
                sub[:, j] += t[f"symbolic_fun.{layer}.mask"][j, i] * (c * function(a * x[:, i] + b) + d)
        sub = t[f"subnode_scale_{layer}"] * sub + t[f"subnode_bias_{layer}"]
        columns = [sub[:, j] for j in range(n_sum)]
        start = n_sum
        for arity in arities:
            product = np.ones(len(x))
            for j in range(start, start + arity):
                product = product * sub[:, j]
            columns.append(product)
            start += arity
        x = t[f"node_scale_{layer}"] * np.stack(columns, axis=1) + t[f"node_bias_{layer}"]
    return x


PLAIN = (3, (4, ()), (2, ()))
MULT = (3, (2, (2, 3)), (1, (4,)), (2, ()))


# --- every case made with pykan itself -------------------------------------------------------------------------------

IMPORTED = (
    "base_identity_4x5x2",
    "base_zero_4x5x2",
    "default_5x7x3",
    "digits_64x32x10",
    "fit_defaults_5x4x1",
    "k2_G8_4x6x2",
    "mult_homogeneous_4_3m2_2m1_2",
    "mult_per_node_4_2m23_1m4_2",
    "node_affine_4_3m1_2",
    "per_layer_grid_3x5x4x2",
    "prune_input_4to2",
    "pruned_nodes_edges_4x4x1",
    "symbolic_3x4x2",
)


def golden(golden_models, case):
    folder = golden_models / "pykan" / case
    return folder, json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("case", IMPORTED)
def test_golden(golden_models, case):
    folder, config = golden(golden_models, case)
    net = import_model(folder / "model.safetensors", config=config["not_in_state_dict"])
    data = np.load(folder / "data.npz", allow_pickle=False)
    # pykan takes any number of columns and picks input_id; the network states how many it looks at.
    assert close(net.evaluate(data["x"][:, : net.in_features]), data["y64"], 1e-9)
    if "logits_test64" in data:
        assert close(net.evaluate(data["X_test"]), data["logits_test64"], 1e-9)


def test_golden_cases_are_all_listed(golden_models):
    cases = {folder.name for folder in (golden_models / "pykan").iterdir()}
    assert cases == {*IMPORTED, "refuse_nan_coef", "refuse_unknown_symbolic"}


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("refuse_nan_coef", r"tensor 'act_fun.0.coef' holds nan at index \[1, 2, 0\]"),
        (
            "refuse_unknown_symbolic",
            "symbolic_fun.0: the edge from input 1 to output 2 .* unknown function 'bessel_j0'",
        ),
    ],
)
def test_golden_refusals(golden_models, case, message):
    folder, config = golden(golden_models, case)
    with pytest.raises(ImportModelError, match=message):
        import_model(folder / "model.safetensors", config=config["not_in_state_dict"])


@pytest.mark.parametrize("given", ["ckpt", "ckpt_config.yml", "ckpt_state"])
def test_golden_saved_checkpoint(golden_models, given):
    pytest.importorskip("torch", reason="needs torch")
    folder = golden_models / "pykan" / "symbolic_3x4x2"
    net = import_model(str(folder / given))
    data = np.load(folder / "data.npz", allow_pickle=False)
    assert close(net.evaluate(data["x"]), data["y64"], 1e-9)
    assert any("input_id = all 3 inputs" in text and "prune_input" in text for text in net.source.defaults_taken)


def test_golden_pruned_input_with_its_number_of_columns(golden_models):
    folder, config = golden(golden_models, "prune_input_4to2")
    net = import_model(folder / "model.safetensors", config=config["not_in_state_dict"] | {"n_raw_inputs": 4})
    data = np.load(folder / "data.npz", allow_pickle=False)
    assert net.in_features == 4
    assert close(net.evaluate(data["x"]), data["y64"], 1e-9)


# --- cases of our own against plain loops ----------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "net.kan"])
def test_a_model_is_what_its_definition_reads(prefix):
    tensors = state(PLAIN)
    named = prefixed(tensors, prefix) if prefix else tensors
    net = import_model(named, config={"base_fun": "silu", "input_id": [0, 1, 2]})
    assert close(net.evaluate(rows(3)), by_hand(tensors, PLAIN, rows(3)))
    assert net.source.defaults_taken == ()


@pytest.mark.parametrize(("degree", "intervals"), [(1, 3), (2, 8), (4, 2)])
def test_degree_and_intervals_come_from_the_shapes(degree, intervals):
    tensors = state(PLAIN, degree=degree, intervals=intervals)
    net = import_model(tensors, config={"k": degree, "grid": [intervals, intervals]})
    assert close(net.evaluate(rows(3)), by_hand(tensors, PLAIN, rows(3), degree=degree))


def test_each_layer_may_have_a_grid_of_its_own():
    tensors = state(PLAIN, intervals=4) | {
        k: v for k, v in state(PLAIN, intervals=7).items() if k.startswith("act_fun.1")
    }
    net = import_model(tensors)
    assert [layer.branches[0].bank.basis.intervals for layer in net.layers] == [4, 7]
    assert close(net.evaluate(rows(3)), by_hand(tensors, PLAIN, rows(3)))


@pytest.mark.parametrize("affine", [False, True])
def test_multiplication_nodes_with_an_arity_each(affine):
    tensors = state(MULT, affine=affine)
    net = import_model(tensors, config={"width": width_of(MULT), "mult_arity": arity_of(MULT)})
    assert close(net.evaluate(rows(3)), by_hand(tensors, MULT, rows(3)), 1e-11)
    kinds = [type(step) for step in net.steps]
    per_layer = [KANLayer, Affine, Product, Affine] if affine else [KANLayer, Product]
    last = [KANLayer, Affine, Affine] if affine else [KANLayer]
    assert kinds == [*per_layer, *per_layer, *last]  # affines that change nothing are not kept


def test_homogeneous_multiplication_nodes():
    levels = (3, (3, (3, 3)), (0, (3,)))
    tensors = state(levels)
    want = by_hand(tensors, levels, rows(3))
    for config in (
        {"width": [3, [3, 2], [0, 1]], "mult_arity": 3},
        {"mult_arity": 3},  # with the arity, the shapes say how many nodes multiply
        {"mult_arity": arity_of(levels)},
    ):
        assert close(import_model(tensors, config=config).evaluate(rows(3)), want, 1e-11)


def test_arities_follow_from_the_shapes_where_they_leave_one_possibility():
    twos = (3, (1, (2, 2)), (1, ()))
    tensors = state(twos)
    net = import_model(tensors, config={"width": width_of(twos)})
    assert close(net.evaluate(rows(3)), by_hand(tensors, twos, rows(3)), 1e-11)
    single = (3, (1, (4,)), (1, ()))
    tensors = state(single)
    net = import_model(tensors, config={"width": width_of(single)})
    assert close(net.evaluate(rows(3)), by_hand(tensors, single, rows(3)), 1e-11)


@pytest.mark.parametrize("config", [None, {}, {"base_fun": "silu"}])
def test_trap_multiplication_nodes_are_not_guessed(config):  # B11
    with pytest.raises(ConfigNeededError, match=r"7 sub-nodes feed 4 nodes.*pass config=\{'width'") as caught:
        import_model(state(MULT), config=config)
    assert caught.value.key == "width"


def test_trap_arities_are_not_guessed_from_the_width_alone():  # B11
    with pytest.raises(ConfigNeededError, match="sub-nodes") as caught:
        import_model(state(MULT), config={"width": width_of(MULT)})
    assert caught.value.key == "mult_arity"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"width": [3, 5, 2]}, r"config\['width'\]\[1\] = \[5, 0\], but tensor 'node_bias_0' has 4 nodes"),
        ({"width": [4, 4, 2]}, r"config\['width'\]\[0\] = \[4, 0\], but act_fun.0 has 3 inputs"),
        ({"width": [3, [3, 1], 2], "mult_arity": 2}, "5 sub-nodes"),
        ({"width": [3, 2]}, "does not fit a checkpoint of 2 layers"),
        ({"width": [3, [4, 0, 0], 2]}, r"config\['width'\]\[1\] is neither"),
        ({"width": [3, "4", 2]}, r"config\['width'\]\[1\] is neither"),
        ({"mult_arity": [[], [2], []]}, "5 sub-nodes"),
        ({"mult_arity": [[2]]}, "has 1 entries"),
        ({"input_id": [0, 1]}, r"config\['input_id'\] = \[0, 1\]"),
        ({"input_id": [0, -1, 2]}, "column numbers"),
        ({"input_id": [0, 1, 7], "n_raw_inputs": 5}, "selected features"),
        ({"base_fun": "wavy"}, "base_fun 'wavy'"),
        ({"base_fun": ["silu"]}, r"config\['base_fun'\] has 1 entries"),
        ({"symbolic_enabled": "yes"}, "symbolic_enabled"),
        ({"k": 2}, "config says k = 2, the tensors say 3"),
        ({"grid": 5}, "config says grid = 5, the tensors say 4"),
        ({"spline_order": 3}, "unknown key 'spline_order'"),
    ],
)
def test_a_wrong_setting_is_refused(config, message):
    with pytest.raises(ImportModelError, match=message):
        import_model(state(PLAIN), config=config)


@pytest.mark.parametrize("base", ["zero", "identity", "gelu", "silu"])
def test_base_functions(base):  # the reference project takes all but two for the identity (B5)
    def function(x):
        return functions.apply(base, x)

    tensors = state(PLAIN)
    net = import_model(tensors, config={"base_fun": base})
    assert close(net.evaluate(rows(3)), by_hand(tensors, PLAIN, rows(3), base=function))
    roles = [branch.bank.role for branch in net.layers[0].branches]
    assert roles == (["spline"] if base == "zero" else ["spline", "base"])


def test_each_layer_may_have_a_base_function_of_its_own():
    net = import_model(state(PLAIN), config={"base_fun": ["gelu", "zero"]})
    assert net.layers[0].branches[1].bank.basis.name == "gelu"
    assert len(net.layers[1].branches) == 1


def test_trap_the_base_function_is_not_in_the_state_dict():
    net = import_model(state(PLAIN))
    assert "base_fun = 'silu' (pykan's default; not stored in a state_dict)" in net.source.defaults_taken
    assert "default taken: base_fun" in net.summary()
    no_base = {name: value * 0 if "scale_base" in name else value for name, value in state(PLAIN).items()}
    assert not any("base_fun" in text for text in import_model(no_base).source.defaults_taken)


def test_trap_act_fun_is_in_out_and_symbolic_is_out_in():
    tensors = state(PLAIN)
    tensors["symbolic_fun.0.mask"][3, 1] = 1.0
    tensors["act_fun.0.mask"][1, 3] = 0.0
    names = [[["0"] * 3 for _ in range(4)], [["0"] * 4 for _ in range(2)]]
    names[0][3][1] = "sin"
    net = import_model(tensors, config={"funs_name": names})
    assert close(net.evaluate(rows(3)), by_hand(tensors, PLAIN, rows(3), symbolic=[(0, 1, 3, np.sin)]))
    with pytest.raises(ImportModelError, match=r"tensor 'act_fun.0.mask' has shape \[4, 3\]"):
        import_model(tensors | {"act_fun.0.mask": tensors["act_fun.0.mask"].T}, config={"funs_name": names})


def test_trap_both_branches_of_an_edge_may_be_active_and_masks_fractional():
    tensors = state(PLAIN)
    tensors["symbolic_fun.1.mask"][0, 2], tensors["symbolic_fun.1.mask"][1, 3] = 0.25, 1.0
    tensors["act_fun.1.mask"][2, 0] = 0.75
    names = [[["0"] * 3 for _ in range(4)], [["x", "x", "tanh", "x"], ["x", "x", "x", "x^2"]]]
    net = import_model(tensors, config={"funs_name": names, "symbolic_enabled": True})
    symbolic = [(1, 2, 0, np.tanh), (1, 3, 1, np.square)]
    assert close(net.evaluate(rows(3)), by_hand(tensors, PLAIN, rows(3), symbolic=symbolic))


#: Every name of pykan's library, with its function on one number by the standard library where that has it.
LIBRARY = {
    "0": lambda v: 0.0,
    "x": lambda v: v,
    "x^2": lambda v: v * v,
    "x^3": lambda v: v * v * v,
    "x^4": lambda v: v**4,
    "x^5": lambda v: v**5,
    "1/x": lambda v: 1 / v,
    "1/x^2": lambda v: 1 / (v * v),
    "1/x^3": lambda v: v**-3,
    "1/x^4": lambda v: v**-4,
    "1/x^5": lambda v: v**-5,
    "sqrt": math.sqrt,
    "x^0.5": math.sqrt,
    "x^1.5": lambda v: v**1.5,
    "1/sqrt(x)": lambda v: v**-0.5,
    "1/x^0.5": lambda v: v**-0.5,
    "exp": math.exp,
    "log": math.log,
    "abs": abs,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "tanh": math.tanh,
    "sgn": lambda v: math.copysign(1.0, v),
    "arcsin": math.asin,
    "arccos": math.acos,
    "arctan": math.atan,
    "arctanh": math.atanh,
    "gaussian": lambda v: math.exp(-v * v),
}


def test_the_symbolic_library_is_complete():
    assert set(functions.PYKAN_SYMBOLIC) == set(LIBRARY)


@pytest.mark.parametrize("name", LIBRARY)
def test_symbolic_functions(name):
    tensors = state((1, (1, ())))
    tensors["act_fun.0.mask"][:] = 0.0
    tensors["symbolic_fun.0.mask"][:] = 1.0
    tensors["symbolic_fun.0.affine"][:] = [0.5, 0.25, -2.0, 3.0]
    net = import_model(tensors, config={"funs_name": [[[name]]]})
    x = np.linspace(0.1, 1.0, 7)
    want = [-2.0 * LIBRARY[name](0.5 * v + 0.25) + 3.0 for v in x]
    assert np.allclose(net.evaluate(x[:, None])[:, 0], want, rtol=1e-13, atol=1e-13)


def test_trap_function_names_are_not_in_the_state_dict():
    tensors = state(PLAIN)
    tensors["symbolic_fun.1.mask"][1, 2] = 1.0
    with pytest.raises(ConfigNeededError, match=r"symbolic_fun.1: the edge from input 2 to output 1") as caught:
        import_model(tensors)
    assert caught.value.key == "funs_name"


@pytest.mark.parametrize("name", ["bessel_j0", "", "anonymous", None, "silu", 3])
def test_an_unknown_symbolic_function_is_refused_with_its_edge(name):
    tensors = state(PLAIN)
    tensors["symbolic_fun.1.mask"][1, 2] = 1.0
    names = [[["0"] * 3 for _ in range(4)], [["0"] * 4, ["0", "0", name, "0"]]]
    with pytest.raises(
        ImportModelError, match=r"symbolic_fun.1: the edge from input 2 to output 1 .* unknown function"
    ):
        import_model(tensors, config={"funs_name": names})


def test_a_table_of_names_of_another_shape_is_refused():
    tensors = state(PLAIN)
    tensors["symbolic_fun.0.mask"][0, 0] = 1.0
    with pytest.raises(ImportModelError, match="not a table of 4 rows of 3 names"):
        import_model(tensors, config={"funs_name": [[["0"] * 4 for _ in range(3)], [["0"] * 4] * 2]})
    with pytest.raises(ImportModelError, match="a list of 2 tables"):
        import_model(tensors, config={"funs_name": [[["0"] * 3 for _ in range(4)]]})


def test_trap_symbolic_edges_count_only_while_enabled():
    tensors = state(PLAIN)
    tensors["symbolic_fun.0.mask"][0, 0] = 1.0
    names = [[["sin"] * 3 for _ in range(4)], [["0"] * 4] * 2]
    off = import_model(tensors, config={"symbolic_enabled": False})
    assert close(off.evaluate(rows(3)), by_hand(tensors, PLAIN, rows(3)))
    assert any("symbolic_enabled is false" in text for text in off.source.notes)
    on = import_model(tensors, config={"funs_name": names})
    assert close(on.evaluate(rows(3)), by_hand(tensors, PLAIN, rows(3), symbolic=[(0, 0, 0, np.sin)]))
    assert any("symbolic_enabled = True" in text for text in on.source.defaults_taken)


def test_trap_input_id_is_not_in_the_state_dict():
    tensors = state(PLAIN)
    net = import_model(tensors)
    assert any("input_id = all 3 inputs in order" in text for text in net.source.defaults_taken)
    x = rows(7)
    pruned = import_model(tensors, config={"input_id": [5, 0, 2], "n_raw_inputs": 7})
    assert isinstance(pruned.steps[0], Select)
    assert close(pruned.evaluate(x), by_hand(tensors, PLAIN, x[:, [5, 0, 2]]))
    narrow = import_model(tensors, config={"input_id": np.array([5, 0, 2])})
    assert narrow.in_features == 6
    assert any("n_raw_inputs = 6" in text for text in narrow.source.defaults_taken)


def test_trap_per_input_grids_are_kept():  # B9: the reference project refuses every model that pykan's fit() trains
    tensors = state(PLAIN)
    basis = import_model(tensors).layers[0].branches[0].bank.basis
    assert basis.rows == 3 and "per input" in basis.describe() and "non-uniform" in basis.describe()


def test_trap_constant_inputs_leave_degenerate_knots():
    tensors = state(PLAIN)
    tensors["act_fun.0.grid"][1] = 0.25
    x = rows(3)
    x[5, 1] = 0.25
    net = import_model(tensors)
    without = dict(tensors, **{"act_fun.0.coef": tensors["act_fun.0.coef"].copy()})
    without["act_fun.0.grid"] = state(PLAIN)["act_fun.0.grid"]
    without["act_fun.0.coef"][1] = 0.0  # pykan's 0/0 is 0: that input has its base branch alone
    assert close(net.evaluate(x), by_hand(without, PLAIN, x))


def test_raw_coefficients_and_edge_scales_are_kept_apart():
    tensors = state(PLAIN)
    spline = import_model(tensors).layers[0].branches[0].bank
    assert np.array_equal(spline.coefficients, tensors["act_fun.0.coef"].transpose(0, 2, 1))
    scale = tensors["act_fun.0.mask"].astype(float) * tensors["act_fun.0.scale_sp"]
    assert np.allclose(spline.scale, scale, rtol=1e-15)


@pytest.mark.parametrize("name", ["act_fun.0.coef", "act_fun.1.grid", "symbolic_fun.0.affine", "node_scale_1"])
def test_a_tensor_that_is_not_finite_is_named(name):
    tensors = state(PLAIN)
    tensors[name].flat[0] = np.nan
    with pytest.raises(ImportModelError, match=f"tensor '{name}' holds nan"):
        import_model(tensors)


@pytest.mark.parametrize("name", ["act_fun.1.mask", "subnode_bias_0", "symbolic_fun.1.affine", "act_fun.0.grid"])
def test_a_missing_tensor_is_refused(name):  # B10: never a model of random numbers
    tensors = state(PLAIN)
    del tensors[name]
    with pytest.raises(ImportModelError):
        import_model(tensors)


def test_a_missing_layer_is_refused():  # B10
    tensors = {name.replace("act_fun.1", "act_fun.2"): value for name, value in state(PLAIN).items()}
    with pytest.raises(ImportModelError, match=r"'act_fun.1.coef' is missing"):
        import_model(tensors)


def test_a_leftover_tensor_is_refused():  # B10
    with pytest.raises(ImportModelError, match=r"'act_fun\.0\.bias' is not a tensor of pykan"):
        import_model(state(PLAIN) | {"act_fun.0.bias": np.zeros(4)})


def test_old_pykan_is_told_apart():
    tensors = state(PLAIN)
    tensors["act_fun.0.coef"] = tensors["act_fun.0.coef"].reshape(12, -1)
    with pytest.raises(ImportModelError, match=r"pykan 0\.0 or 0\.1"):
        import_model(tensors)


def test_two_models_in_one_state_dict_are_refused():
    tensors = prefixed(state(PLAIN), "a") | prefixed(state(PLAIN), "b")
    with pytest.raises(ImportModelError, match="2 pykan models in one state_dict"):
        import_model(tensors)


# --- saveckpt --------------------------------------------------------------------------------------------------------

YAML = """\
affine_trainable: false
base_fun_name: {base}
device: cpu
grid: 4
k: 3
mult_arity: 2
symbolic.funs_name.0: &names
- ['0', '0', '0']
- ['0', '0', '0']
- ['0', '0', '0']
- ['0', sin, '0']
symbolic.funs_name.1:
- ['0', '0', '0', '0']
- ['0', '0', '0', '0']
symbolic_enabled: true
width:
- [3, 0]
- [4, 0]
- !!python/tuple [2, 0]
"""
PLAIN_YAML = YAML.format(base="silu")
SILU = """!!python/object:torch.nn.modules.activation.SiLU
  _modules: {}
  inplace: false
  training: true"""


@pytest.fixture
def saved(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("yaml", reason="needs PyYAML")

    def save(text=PLAIN_YAML, tensors=None):
        (tmp_path / "0.1_config.yml").write_text(text)
        tensors = tensors or state(PLAIN)
        torch.save({name: torch.from_numpy(value) for name, value in tensors.items()}, tmp_path / "0.1_state")
        return tmp_path / "0.1"

    return save


def test_saved_checkpoint(saved):
    tensors = state(PLAIN)
    tensors["symbolic_fun.0.mask"][3, 1] = 1.0
    net = import_model(saved(tensors=tensors))
    assert close(net.evaluate(rows(3)), by_hand(tensors, PLAIN, rows(3), symbolic=[(0, 1, 3, np.sin)]))
    assert [text.split(" =")[0] for text in net.source.defaults_taken] == ["input_id"]


@pytest.mark.parametrize(
    ("base", "name"),
    [
        (SILU, "silu"),
        ("!!python/object:torch.nn.modules.linear.Identity {training: true}", "identity"),
        ("!!python/object:torch.nn.modules.activation.GELU {approximate: none}", "gelu"),
        ("!!python/object:torch.nn.modules.activation.GELU {approximate: tanh}", "gelu_tanh"),
        ("!!python/name:torch.nn.functional.silu ''", "silu"),
    ],
)
def test_trap_prune_input_writes_python_objects_into_the_yaml(saved, base, name):
    net = import_model(saved(YAML.format(base=base)), config={"input_id": [0, 2, 3]})
    assert net.layers[0].branches[1].bank.basis.name == name
    assert net.in_features == 4


def test_trap_prune_input_loses_input_id(saved):
    with pytest.raises(ConfigNeededError, match=r"prune_input.*pass config=\{'input_id'") as caught:
        import_model(saved(YAML.format(base=SILU)))
    assert caught.value.key == "input_id"


def test_a_base_function_without_a_name_has_to_be_given(saved):
    prefix = saved(YAML.format(base="!!python/name:kan.MultKAN.%3Clambda%3E ''"))
    with pytest.raises(ConfigNeededError, match=r"base_fun_name .*lambda"):
        import_model(prefix, config={"input_id": [0, 1, 2]})
    net = import_model(prefix, config={"input_id": [0, 1, 2], "base_fun": "zero"})
    assert len(net.layers[0].branches) == 1


@pytest.mark.parametrize(
    "attack",
    [
        "!!python/object/apply:os.system ['touch {mark}']",
        "!!python/object/new:os.system ['touch {mark}']",
        "!!python/object/apply:builtins.open ['{mark}', 'w']",
        "!!python/module:antigravity ''",
        "!ruby/object:Thing {{a: b}}",
    ],
)
@pytest.mark.parametrize("place", ["base", "width", "device"])
def test_hostile_yaml_executes_nothing(saved, tmp_path, attack, place):
    mark = tmp_path / "executed"
    attack = attack.format(mark=mark)
    before = set(sys.modules)
    if place == "device":  # a setting that the import does not need may be anything
        import_model(saved(PLAIN_YAML.replace("device: cpu", f"device: {attack}")))
    else:
        text = YAML.format(base=attack) if place == "base" else PLAIN_YAML.replace("- [3, 0]", f"- {attack}")
        with pytest.raises(ImportModelError, match=r"Python object|names no known function"):
            import_model(saved(text), config={"input_id": [0, 1, 2]})
    assert not mark.exists()
    assert "antigravity" not in set(sys.modules) - before


@pytest.mark.parametrize(
    "text",
    ["", "[1, 2]", "width: [3", "\x00", "? {a: 1}\n: 2\n? !!python/object:x {}\n", "[" * 20_000, "- &a [*a]"],
    ids=["empty", "list", "unclosed", "nul", "odd keys", "deep", "recursive"],
)
def test_a_damaged_yaml_file_is_refused(saved, text):
    with pytest.raises(ImportModelError):
        import_model(saved(text))


def test_lists_that_refer_to_one_another_are_refused_in_bounded_time(saved):
    bomb = "a: &a ['0', '0', '0', '0', '0', '0', '0', '0', '0']\n"
    for new, old in zip("bcdefghij", "abcdefghi", strict=True):
        bomb += f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    text = bomb + PLAIN_YAML.replace("- [3, 0]", "- *j")
    with pytest.raises(ImportModelError, match="nested structure"):
        import_model(saved(text))
    with pytest.raises(ImportModelError, match="nested structure"):
        import_model(saved("w: &w [*w]\n" + PLAIN_YAML.replace("- [3, 0]", "- *w")))


@pytest.mark.parametrize("missing", ["_config.yml", "_state"])
def test_a_missing_file_is_refused(saved, missing):  # B10
    prefix = saved()
    prefix.with_name(prefix.name + missing).unlink()
    with pytest.raises(ImportModelError, match=f"0.1{missing}: no such file"):
        import_model(prefix)


def test_a_missing_checkpoint_is_refused(tmp_path):  # B10
    with pytest.raises(ImportModelError, match="no such file"):
        import_model(tmp_path / "0.1")


def test_a_state_that_is_no_state_is_refused(saved):  # B10
    prefix = saved()
    prefix.with_name("0.1_state").write_bytes(b"not a torch file")
    with pytest.raises(ImportModelError, match=r"0\.1_state: damaged, or not written by torch.save"):
        import_model(prefix)


def test_settings_of_another_model_are_refused(saved):  # B10: a state that does not fit is an error
    with pytest.raises(ImportModelError, match="'width'"):
        import_model(saved(PLAIN_YAML.replace("- [4, 0]", "- [5, 0]")))
    with pytest.raises(ImportModelError, match="grid = 9"):
        import_model(saved(PLAIN_YAML.replace("grid: 4", "grid: 9")))
    with pytest.raises(ImportModelError, match=r"config\['base_fun'\] = 'gelu', but the model's own settings"):
        import_model(saved(), config={"base_fun": "gelu"})


def test_saved_checkpoint_needs_pyyaml(saved, monkeypatch):
    prefix = saved()
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(RuntimeUnavailableError, match=r"lutkan\[yaml\]"):
        import_model(prefix)


# --- live ------------------------------------------------------------------------------------------------------------


def live(tensors, levels, *, base=None, names=None, enabled=True, input_id=None, arity=2):
    """A torch model with pykan's attributes and tensors, and its forward pass written from the definition."""
    torch = pytest.importorskip("torch", reason="needs torch")
    nn = torch.nn

    class Holder(nn.Module):
        def __init__(self, prefix):
            super().__init__()
            for name, value in tensors.items():
                if name.startswith(prefix):
                    self.register_parameter(
                        name[len(prefix) :], nn.Parameter(torch.from_numpy(value), requires_grad=False)
                    )

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            depth = len(levels) - 1
            self.act_fun = nn.ModuleList([Holder(f"act_fun.{i}.") for i in range(depth)])
            self.symbolic_fun = nn.ModuleList([Holder(f"symbolic_fun.{i}.") for i in range(depth)])
            for layer, holder in enumerate(self.symbolic_fun):
                out, n_in = holder.mask.shape
                holder.funs_name = names[layer] if names else [["0"] * n_in for _ in range(out)]
                self.act_fun[layer].base_fun = base or nn.SiLU()
            for name, value in tensors.items():
                if "node_" in name:
                    self.register_parameter(name, nn.Parameter(torch.from_numpy(value)))
            self.width, self.mult_arity = width_of(levels), arity
            self.base_fun_name, self.symbolic_enabled = "silu", enabled
            self.input_id = torch.arange(levels[0]) if input_id is None else torch.tensor(input_id)
            self.cache_data = None

        def forward(self, x):
            self.cache_data = x  # as pykan does: a plain attribute that a forward pass changes
            x = x[:, self.input_id]
            now = {name: value.detach().double().numpy() for name, value in self.state_dict().items()}
            symbolic = [
                (layer, i, j, functions.PYKAN_SYMBOLIC[holder.funs_name[j][i]])
                for layer, holder in enumerate(self.symbolic_fun)
                for j, i in np.argwhere(holder.mask.numpy())
            ]
            y = by_hand(
                now,
                levels,
                x.double().numpy(),
                base=lambda v: self.act_fun[0].base_fun(torch.from_numpy(v)).numpy(),
                symbolic=symbolic if self.symbolic_enabled else (),
            )
            return torch.from_numpy(y).to(x.dtype)

    return Model()


def test_a_live_model_tells_its_settings():
    tensors = state(MULT, affine=True)
    tensors["symbolic_fun.0.mask"][1, 2] = 1.0
    names = [[["0"] * 3 for _ in range(7)], [["0"] * 4 for _ in range(5)], [["0"] * 2 for _ in range(2)]]
    names[0][1][2] = "x^2"
    model = live(tensors, MULT, names=names, input_id=[4, 1, 0], arity=arity_of(MULT))
    model.cache_data = kept = object()
    net = import_model(model, config={"n_raw_inputs": 6})
    x = rows(6)
    want = by_hand(tensors, MULT, x[:, [4, 1, 0]], symbolic=[(0, 2, 1, np.square)])
    assert close(net.evaluate(x), want, 1e-11)
    assert model.training and model.cache_data is kept
    assert net.source.defaults_taken == ()
    assert any("checked against the module itself" in text for text in net.source.notes)


def test_a_live_model_whose_base_function_is_a_lambda():  # pykan's own 'zero', after prune_input
    net = import_model(live(state(PLAIN), PLAIN, base=lambda x: x * 0.0))
    assert len(net.layers[0].branches) == 1
    with pytest.raises(ImportModelError, match="base_fun"):
        import_model(live(state(PLAIN), PLAIN, base=lambda x: x * x))


def test_a_live_model_with_symbolic_edges_switched_off():
    tensors = state(PLAIN)
    tensors["symbolic_fun.0.mask"][0, 0] = 1.0
    net = import_model(live(tensors, PLAIN, enabled=False))
    assert close(net.evaluate(rows(3)), by_hand(tensors, PLAIN, rows(3)))
