"""Every golden checkpoint: imported from its tensors and `not_in_state_dict` alone, or refused by name.

The list of cases is the folder itself. A case that is to be refused stands in REFUSED with what its message has to
name, or in NOT_IN_THIS_VERSION; a new case that stands nowhere fails here instead of being left out.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lutkan.adapters
from lutkan.errors import ImportModelError

MODELS = Path(__file__).resolve().parents[3] / "shared" / "golden" / "models"
CASES = sorted(f"{case.parent.name}/{case.name}" for case in MODELS.glob("*/*/"))

#: What the message of a refused checkpoint names: a tensor, a setting, or the value at fault.
REFUSED = {
    "cheby_kan/refuse_flat_coeffs": "'cheby_coeffs'",
    "convkan/refuse_fanin": "'kan_layer.spline_weight'",
    "efficient_kan/refuse_transposed_spline": "'layers.1.spline_weight'",
    "efficient_kan/refuse_unknown_tensor": "'layers.0.bias'",
    "fast_kan/refuse_missing_rbf_grid": "'layers.0.rbf.grid'",
    "fast_kan/refuse_spline_columns": "'layers.0.spline_linear.weight'",
    "faster_kan/refuse_spline_columns": "'layers.0.spline_linear.weight'",
    "fourier_kan/refuse_cos_only": "'fouriercoeffs'",
    "inkan/refuse_weight_columns": "'weight'",
    "jacobi_kan/refuse_a_b_unknown": "'a'",
    "kanditioned/refuse_width_unknown": "'spline_width'",
    "lmkan/refuse_nan": "'func_parameter'",
    "lmkan/refuse_non_square": "'func_parameter'",
    "pykan/refuse_nan_coef": "'act_fun.0.coef'",
    "pykan/refuse_unknown_symbolic": "bessel_j0",
    "torch_conv_kan/refuse_kagn_beta_length": "'poly_weights'",
    "torch_conv_kan/refuse_kaln_without_minmax": "'poly_weights'",
}

#: Sound models of kinds that this version does not import: the tensor that gives them away.
NOT_IN_THIS_VERSION = {
    "convkan/conv_3to4_k3_p1": "'kan_layer.spline_weight'",
    "convkan/resnet_basicblock_4to6_s2": "'conv1.kan_layer.spline_weight'",
    "lmkan/G26_4x4": "'func_parameter'",
    "lmkan/G3_4x5": "'func_parameter'",
    "lmkan/G8_8x8": "'func_parameter'",
    "lmkan/bn_stack_G8_4x6x3": "'1.func_parameter'",
    "torch_conv_kan/fastkanconv2d_g1": "'spline_conv.0.weight'",
    "torch_conv_kan/kacn2d_g1_bn": "'poly_conv.0.weight'",
    "torch_conv_kan/kagn2d_v1_g1": "'poly_weights'",
    "torch_conv_kan/kagn2d_v1_g2_bn": "'poly_weights'",
    "torch_conv_kan/kagn2d_v2_g1_bn": "'poly_conv.weight'",
    "torch_conv_kan/kagn_digits_2block": "'layers.0.poly_weights'",
    "torch_conv_kan/kaln2d_g1": "'poly_weights'",
    "torch_conv_kan/kanconv2d_g1": "'spline_conv.0.weight'",
    "torch_conv_kan/relukan2d_g1_bn": "'relukan_conv.0.weight'",
}

#: Models of which `not_in_state_dict` does not tell how many columns X has: how many the import takes. Columns behind
#: the last one that `input_id` selects are read by nobody; `n_raw_inputs` brings them back.
TRAILING_COLUMNS = {"pykan/prune_input_4to2": 3}

IMPORTED = [case for case in CASES if "/refuse_" not in case and case not in NOT_IN_THIS_VERSION]


def _present(cases):
    """Give one case that is skipped with its reason where the golden data are absent."""
    return cases or [pytest.param("", marks=pytest.mark.skip(reason="golden data absent: ../shared not found"))]


def _config(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def _worst(y: np.ndarray, expected: np.ndarray) -> float:
    return float(np.max(np.abs(y - expected) / (1.0 + np.abs(expected))))


@pytest.mark.parametrize("case", _present(IMPORTED))
def test_an_imported_model_meets_the_float64_outputs(case, golden_models):
    folder = golden_models / case
    config = _config(folder)
    assert config["expect"] == "import"
    net = lutkan.adapters.import_model(folder / "model.safetensors", config=config["not_in_state_dict"])
    with np.load(folder / "data.npz", allow_pickle=False) as data:
        x, y, y64 = data["x"], data["y"], data["y64"]
    assert net.in_features == TRAILING_COLUMNS.get(case, x.shape[1])
    answer = net.evaluate(x[:, : net.in_features])
    assert answer.shape == y64.shape
    assert _worst(answer, y64) <= 1e-9
    assert _worst(answer, y.astype(np.float64)) <= max(1e-5, 4 * config["f32_noise"])


@pytest.mark.parametrize("case", sorted(TRAILING_COLUMNS))
def test_trailing_columns_come_back_with_n_raw_inputs(case, golden_models):
    folder = golden_models / case
    with np.load(folder / "data.npz", allow_pickle=False) as data:
        x, y64 = data["x"], data["y64"]
    config = _config(folder)["not_in_state_dict"] | {"n_raw_inputs": x.shape[1]}
    net = lutkan.adapters.import_model(folder / "model.safetensors", config=config)
    assert _worst(net.evaluate(x), y64) <= 1e-9


@pytest.mark.parametrize("case", _present([case for case in CASES if "/refuse_" in case]))
def test_a_faulty_checkpoint_is_refused_by_name(case, golden_models):
    config = _config(golden_models / case)
    assert config["expect"] == "refuse"
    with pytest.raises(ImportModelError) as caught:
        lutkan.adapters.import_model(golden_models / case / "model.safetensors", config=config["not_in_state_dict"])
    assert REFUSED[case] in str(caught.value)


@pytest.mark.parametrize("case", sorted(NOT_IN_THIS_VERSION))
def test_a_convolution_or_lmkan_is_named_and_said_to_be_missing(case, golden_models):
    config = _config(golden_models / case)
    with pytest.raises(ImportModelError, match="is not part of this version") as caught:
        lutkan.adapters.import_model(golden_models / case / "model.safetensors", config=config["not_in_state_dict"])
    assert NOT_IN_THIS_VERSION[case] in str(caught.value)


@pytest.mark.parametrize("case", ["efficient_kan/default_5x7x3", "fast_kan/default_5x7x3"])
def test_a_torch_file_gives_the_same_network(case, golden_models):
    pytest.importorskip("torch", reason="needs torch")
    folder = golden_models / case
    config = _config(folder)["not_in_state_dict"]
    x = np.load(folder / "data.npz", allow_pickle=False)["x"]
    from_torch = lutkan.adapters.import_model(folder / "model.pt", config=config)
    from_safetensors = lutkan.adapters.import_model(folder / "model.safetensors", config=config)
    assert np.array_equal(from_torch.evaluate(x), from_safetensors.evaluate(x))
    assert from_torch.source == from_safetensors.source


def test_no_case_is_left_out(golden_models):
    there = {f"{case.parent.name}/{case.name}" for case in golden_models.glob("*/*/")}
    assert there == set(IMPORTED) | set(REFUSED) | set(NOT_IN_THIS_VERSION)
    assert len(IMPORTED) >= 34
