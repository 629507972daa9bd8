from __future__ import annotations

import json

import numpy as np
import pytest

from checkpoints import weights
from lutkan.adapters import inspect_source
from lutkan.errors import ImportModelError


def efficient(n_in=3, n_out=2, intervals=4, degree=3):
    knots = (np.arange(-degree, intervals + degree + 1) * 0.5 - 1.0).astype(np.float32)
    return {
        "grid": np.tile(knots, (n_in, 1)),
        "base_weight": weights(0, n_out, n_in),
        "spline_weight": weights(1, n_out, n_in, intervals + degree),
    }


def stack(*layers):
    return {f"layers.{i}.{name}": value for i, layer in enumerate(layers) for name, value in layer.items()}


def pykan(symbolic=0.0):
    return {
        "act_fun.0.grid": np.sort(weights(2, 3, 12), axis=1),
        "act_fun.0.coef": weights(3, 3, 2, 8),
        "act_fun.0.mask": np.array([[1, 1], [0, 1], [1, 1]], dtype=np.float32),
        "act_fun.0.scale_base": weights(4, 3, 2),
        "act_fun.0.scale_sp": weights(5, 3, 2),
        "symbolic_fun.0.mask": np.full((2, 3), symbolic, dtype=np.float32),
        "symbolic_fun.0.affine": weights(6, 2, 3, 4),
        "node_scale_0": weights(7, 2),
        "node_bias_0": weights(8, 2),
        "subnode_scale_0": np.ones(2, dtype=np.float32),
        "subnode_bias_0": np.zeros(2, dtype=np.float32),
    }


def test_a_report_tells_layers_knots_domains_and_counts():
    state = stack(efficient(3, 2), efficient(2, 4, intervals=2, degree=2))
    report = inspect_source(state)
    assert (report.origin, report.family, report.in_features, report.out_features) == (
        "state_dict",
        "efficient-kan",
        3,
        4,
    )
    first, second = report.layers
    assert (first.name, first.inputs, first.outputs, first.live_edges) == ("layers.0", 3, 2, 6)
    assert (first.basis, first.degree, first.intervals, first.knots) == ("bspline", 3, 4, "uniform, shared")
    assert (first.domain, first.support) == ((-1.0, 1.0), (-2.5, 2.5))
    assert (second.degree, second.intervals) == (2, 2)
    assert first.branches[1] == "base: silu" and first.branches[0].startswith("spline: B-spline degree 3")
    assert report.layer_names == ("layers.0", "layers.1")
    assert report.tensors == 6
    assert report.parameters == sum(value.size for value in state.values())
    assert report.nbytes == 4 * report.parameters
    assert any("base_activation = 'silu'" in text for text in report.defaults_taken)
    assert report.needed == () and report.problem == ""
    assert "base_activation" in report.config_keys


def test_a_report_tells_the_glue_and_masked_edges():
    report = inspect_source(pykan())
    assert report.glue == ("1: node affine",)
    assert report.layers[0].live_edges == 5
    assert report.layers[0].knots == "non-uniform, per input"
    assert any("input_id" in text for text in report.defaults_taken)


def test_repeated_knots_are_told():
    state = pykan()
    state["act_fun.0.grid"][1] = 0.0
    assert inspect_source(state).layers[0].knots == "non-uniform, per input, repeated knots at 1 inputs"


def test_what_the_import_needs_is_told_instead_of_raised():
    report = inspect_source(pykan(symbolic=1.0))
    assert report.needed == ("funs_name",)
    assert "pass config={'funs_name'" in report.problem
    assert (report.family, report.layers, report.in_features) == ("pykan", (), None)
    assert report.tensors == 11 and report.parameters > 0
    assert "funs_name" in report.config_keys
    names = [[["sin"] * 3] * 2]
    assert inspect_source(pykan(symbolic=1.0), config={"funs_name": names}).needed == ()


def test_a_saved_pykan_checkpoint_that_lost_its_columns(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("yaml", reason="needs PyYAML")
    (tmp_path / "m_config.yml").write_text(
        "width: [3, 2]\nbase_fun_name: !!python/object:torch.nn.modules.activation.SiLU {}\n"
    )
    torch.save({name: torch.from_numpy(value) for name, value in pykan().items()}, tmp_path / "m_state")
    report = inspect_source(tmp_path / "m")
    assert (report.origin, report.family, report.needed, report.layer_names) == ("m", "pykan", ("input_id",), ("",))
    assert inspect_source(tmp_path / "m", config={"input_id": [0, 1, 2]}).in_features == 3


def test_damage_is_raised(tmp_path):
    state = efficient()
    state["spline_weight"][0, 0, 0] = np.nan
    with pytest.raises(ImportModelError, match="'spline_weight' holds nan"):
        inspect_source(state)
    with pytest.raises(ImportModelError, match="no such file"):
        inspect_source(tmp_path / "none.safetensors")


def test_a_function_and_what_it_needs():
    report = inspect_source(np.tanh, "generic")
    assert (report.family, report.needed, report.tensors) == ("generic", ("domain",), 0)
    assert set(report.config_keys) == {"in_features", "domain", "segments", "degree"}
    report = inspect_source(np.tanh, "generic", {"in_features": 2, "domain": (-1, 1), "segments": 8})
    assert (report.origin, report.layers[0].intervals, report.nbytes) == ("tanh", 8, 0)
    assert any("error of an output" in text for text in report.notes)


def test_a_live_module():
    torch = pytest.importorskip("torch", reason="needs torch")

    class Cheby(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cheby_coeffs = torch.nn.Parameter(torch.ones(3, 2, 4))

        def forward(self, x):
            angle = torch.acos(torch.tanh(x))[..., None] * torch.arange(4)
            return torch.einsum("nid,iod->no", torch.cos(angle), self.cheby_coeffs)

    report = inspect_source(torch.nn.Sequential(torch.nn.LayerNorm(3), Cheby()))
    assert (report.origin, report.family) == ("Sequential", "cheby-kan")
    assert report.glue == ("0: LayerNorm(3, eps=1e-05)",)
    layer = report.layers[0]
    assert (layer.name, layer.basis, layer.degree, layer.knots) == ("1", "polynomial", 3, "")
    assert report.parameters == 3 * 2 * 4 + 6


def test_json():
    for source in (stack(efficient()), pykan(), pykan(symbolic=1.0)):
        report = inspect_source(source)
        data = json.loads(json.dumps(report.to_json()))
        assert data == report.to_json()
        assert data["family"] == report.family and len(data["layers"]) == len(report.layers)
