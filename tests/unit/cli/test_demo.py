"""`lutkan demo`: its figures are those of the library, on every spec and runtime there is."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lutkan
from lutkan.cli import demo as verb
from lutkan.cli.examples import example_path
from lutkan.runtimes.model import RUNTIMES, available_runtimes
from lutkan.tables.spec import NAMED_SPECS


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verb, "_SECONDS_A_TIMING", 0.0)
    return tmp_path


def test_json_agrees_with_the_library(run, here):
    found = json.loads(run("demo", "--json").stdout)
    with np.load(example_path("digits_test.npz")) as data:
        X, labels = data["X"], data["y"]
    net = lutkan.import_model(example_path("digits.safetensors"))
    assert found["model"]["accuracy"] == np.mean(net.evaluate(X).argmax(axis=1) == labels)
    assert found["model"]["bytes"] == example_path("digits.safetensors").stat().st_size
    written = lutkan.Artifact.open(here / "demo-out" / "digits.lutkan")
    assert [column["spec"] for column in found["specs"]] == verb.demo_specs()
    working = [name for name in RUNTIMES if not available_runtimes()[name]]
    for column in found["specs"]:
        assert column["same_bits"] is True
        assert list(column["seconds_a_row"]) == working
        assert 0 <= column["approximation"]["mae"] <= column["approximation"]["max_abs"]
        assert column["agreement"] > 0.98
        if column["spec"] == "int8":
            report = lutkan.verify(written, net, X)
            assert (column["max_abs"], column["bytes"]) == (report.max_abs, written.nbytes)


def test_text_fits_80_columns_and_says_what_to_do_next(run, here):
    result = run("demo")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-2].split(":")[1].strip() == "lutkan inspect demo-out/digits.lutkan"
    assert lines[-1].split(":")[1].strip().startswith("lutkan compile MODEL")
    assert "segment-int8-L64 takes 18.0 times the bytes of the checkpoint" in " ".join(result.stdout.split())


def test_columns_are_the_known_specs(monkeypatch):
    assert set(verb.demo_specs()) <= set(NAMED_SPECS)
    monkeypatch.setattr(verb, "_SPECS", ("segment-int8-L64", "unheard-of"))
    assert verb.demo_specs() == ["segment-int8-L64"]


def test_a_difference_between_runtimes_is_not_hidden(run, here, monkeypatch):
    if len([name for name in RUNTIMES if not available_runtimes()[name]]) < 2:
        pytest.skip("one runtime here")
    monkeypatch.setattr(verb.np, "array_equal", lambda a, b: False)
    result = run("demo")
    assert result.exit_code == 1
    assert "same bits on all runtimes" in result.stdout
    assert "the runtimes give different answers for segment-int8-L64, int8 on this machine" in result.stderr
    result = run("demo", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["specs"][0]["same_bits"] is False


def test_a_place_that_cannot_be_written(fails, here):
    (here / "demo-out").write_text("a file")
    assert "demo-out" in fails("demo")
