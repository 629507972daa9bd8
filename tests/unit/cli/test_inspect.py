"""`lutkan inspect` on checkpoints and artifacts."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

import lutkan
from lutkan.cli.inspect import is_artifact


def test_checkpoint_shows_layers_knots_domains_counts_defaults_and_settings(run, checkpoint):
    result = run("inspect", checkpoint)
    assert result.exit_code == 0
    text = result.stdout
    assert text.startswith("small.safetensors: efficient-kan, 3 -> 2\n")
    parameters = (3 * 4 + 4 * 2) * 9 + (3 + 4) * 12
    assert f"6 tensors, {parameters} parameters, {4 * parameters:,} bytes" in text
    assert "layers.0: 3 -> 4, 12 live edges" in text
    assert "spline: B-spline degree 3, G=5, [-1, 1], uniform knots, shared" in text
    assert "base: silu" in text
    assert "trained on [-1, 1]; the spline is zero outside [-2.2, 2.2]" in text
    assert "default taken: base_activation = 'silu'" in text
    assert "base_activation: activation of the base branch" in text
    assert max(map(len, text.splitlines())) <= 80


def test_settings_reach_the_import(run, fails, checkpoint, tmp_path):
    assert "base: gelu" in run("inspect", checkpoint, "--set", "base_activation=gelu").stdout
    (tmp_path / "c.json").write_text('{"base_activation": "tanh"}')
    assert "base: tanh" in run("inspect", checkpoint, "--config", tmp_path / "c.json").stdout
    assert "unknown key 'colour'" in fails("inspect", checkpoint, "--set", "colour=red")
    assert "family 'teapot'" in fails("inspect", checkpoint, "--family", "teapot")


def test_checkpoint_json(run, checkpoint):
    found = json.loads(run("inspect", checkpoint, "--json").stdout)
    assert (found["family"], found["in_features"], found["out_features"]) == ("efficient-kan", 3, 2)
    assert [layer["degree"] for layer in found["layers"]] == [3, 3]


def test_a_checkpoint_that_needs_settings_says_which(run, tmp_path):
    path = tmp_path / "j.safetensors"
    save_file({"jacobi_coeffs": np.ones((2, 3, 4), dtype=np.float32)}, path)
    result = run("inspect", path)
    assert result.exit_code == 0
    needed = next(line for line in result.stdout.splitlines() if line.startswith("needed before it can be imported"))
    assert needed.startswith("needed before it can be imported: a (--set KEY=VALUE")


def test_artifact(run, artifact):
    text = run("inspect", artifact).stdout
    size = artifact.stat().st_size
    assert text.startswith("small.lutkan: 3 -> 2, 20 edges, from efficient-kan\n")
    assert f"{size:,} bytes, " in text
    assert "0 kan   layers.0" in text
    assert "segment, base" in text
    assert "uncalibrated" in text
    assert " rows: max error " in text
    assert f"{len(lutkan.Artifact.open(artifact).golden_x)} golden rows" in text
    assert max(map(len, text.splitlines())) <= 80


def test_artifact_json_is_the_manifest_without_the_program(run, artifact):
    found = json.loads(run("inspect", artifact, "--json").stdout)
    assert found["format"] == "lutkan"
    assert len(found["content_id"]) == 64
    assert found["source"]["family"] == "efficient-kan"
    assert "program" not in found


def test_an_artifact_is_known_by_its_content_too(run, artifact, tmp_path, checkpoint):
    other = tmp_path / "model.bin"
    shutil.copy(artifact, other)
    assert is_artifact(str(other))
    assert "segment" in run("inspect", other).stdout
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    assert not is_artifact(str(tmp_path / "x.npz"))
    assert not is_artifact(str(checkpoint))
    assert not is_artifact(str(tmp_path / "absent"))


def test_bad_input(fails, artifact, tmp_path):
    assert "no such file" in fails("inspect", tmp_path / "absent.safetensors")
    assert "cannot be read" in fails("inspect", tmp_path / "absent.lutkan")
    assert "do not apply to an artifact" in fails("inspect", artifact, "--set", "a=1")
    (tmp_path / "x.safetensors").write_bytes(b"nonsense")
    assert "not a readable safetensors file" in fails("inspect", tmp_path / "x.safetensors")
    (tmp_path / "folder").mkdir()
    assert "is a folder" in fails("inspect", tmp_path / "folder")


def test_a_pickled_module_is_refused_in_three_lines(fails, tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "m.pt")
    said = fails("inspect", tmp_path / "m.pt")
    assert "not a state_dict" in said and "\x1b" not in said
    assert len(said.splitlines()) == 3


def test_remarks_name_the_options_of_the_command_line(run, tmp_path):
    net = {"act_fun.0.grid": np.linspace(-1.8, 1.8, 10)[None].repeat(2, 0), "act_fun.0.coef": np.ones((2, 1, 6))}
    net |= {f"act_fun.0.{name}": np.ones((2, 1)) for name in ("mask", "scale_base", "scale_sp")}
    net |= {f"symbolic_fun.0.{name}": np.zeros(shape) for name, shape in (("mask", (1, 2)), ("affine", (1, 2, 4)))}
    net |= {f"{kind}_{part}_0": np.ones(1) for kind in ("node", "subnode") for part in ("bias", "scale")}
    path = tmp_path / "p.safetensors"
    save_file({name: np.ascontiguousarray(array, dtype=np.float32) for name, array in net.items()}, path)
    text = run("inspect", path).stdout
    assert "--set 'input_id=[...]'" in text
    assert "config=" not in text


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_nothing_on_stderr_when_all_is_well(run, checkpoint, artifact, arguments):
    assert run("inspect", checkpoint, *arguments).stderr == ""
    assert run("inspect", artifact, *arguments).stderr == ""
