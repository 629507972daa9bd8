"""--config and --set, and opening what a verb was given."""

from __future__ import annotations

import sys

import pytest

from lutkan.cli.options import open_artifact, read_config, split_names
from lutkan.errors import ArtifactError, InputError, RuntimeUnavailableError


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_settings_are_json_or_text():
    settings = ["a=1.5", "b=gelu", "c=[1, 2]", "d=true", 'e="1"', "f=x=y", " g = tanh "]
    assert read_config(None, settings) == {
        "a": 1.5, "b": "gelu", "c": [1, 2], "d": True, "e": "1", "f": "x=y", "g": "tanh",
    }  # fmt: skip
    assert read_config(None, None) is None
    assert read_config(None, []) is None


@pytest.mark.parametrize("setting", ["a", "=1", ""])
def test_a_setting_without_key_or_value_is_refused(setting):
    with pytest.raises(InputError, match="allowed: KEY=VALUE"):
        read_config(None, [setting])


def test_config_files_and_settings_win(tmp_path):
    path = written(tmp_path / "c.json", '{"a": 1, "b": [1, 2]}')
    assert read_config(path, None) == {"a": 1, "b": [1, 2]}
    assert read_config(path, ["a=2"]) == {"a": 2, "b": [1, 2]}


def test_yaml_config(tmp_path):
    pytest.importorskip("yaml", reason="needs pyyaml")
    path = written(tmp_path / "c.yaml", "base_activation: gelu\nlayers:\n  - {a: 1}\n")
    assert read_config(path, None) == {"base_activation": "gelu", "layers": [{"a": 1}]}
    with pytest.raises(InputError, match=r"c\.yml: .*could not determine a constructor|c\.yml: .*"):
        read_config(written(tmp_path / "c.yml", "!!python/object/apply:os.system ['true']"), None)


def test_yaml_without_pyyaml_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(RuntimeUnavailableError, match=r"lutkan\[yaml\]"):
        read_config(written(tmp_path / "c.yaml", "a: 1"), None)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.json", "{", r"c\.json, line 1: "),
        ("c.json", "[1]", "holds a list; allowed: a mapping"),
        ("c.toml", "a = 1", r"unknown kind of file '\.toml'"),
    ],
)
def test_faulty_config_files_are_refused(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message):
        read_config(written(tmp_path / name, text), None)


def test_absent_and_binary_config_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "c.json", None)
    (tmp_path / "c.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        read_config(tmp_path / "c.json", None)


def test_names_are_split_at_commas():
    assert split_names("a, b,column 1") == ["a", "b", "column 1"]
    assert split_names(None) == []


def test_a_damaged_artifact_is_named(tmp_path, artifact):
    path = tmp_path / "cut.lutkan"
    path.write_bytes(artifact.read_bytes()[:3000])
    with pytest.raises(ArtifactError, match=r"cut\.lutkan: "):
        open_artifact(str(path))
    with pytest.raises(ArtifactError, match=r"absent\.lutkan: cannot be read") as error:
        open_artifact(str(tmp_path / "absent.lutkan"))
    assert str(error.value).count("absent.lutkan") == 1
