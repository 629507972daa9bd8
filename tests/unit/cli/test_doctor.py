"""`lutkan doctor`."""

from __future__ import annotations

import json
import platform

import numpy as np
import pytest

import lutkan
from lutkan import RuntimeUnavailableError, __version__, runtimes
from lutkan.cli import doctor as verb
from lutkan.runtimes.model import RUNTIMES, available_runtimes


def test_text_names_versions_runtimes_and_packages(run):
    result = run("doctor")
    assert result.exit_code == 0
    assert platform.python_version() in result.stdout
    for name in (*RUNTIMES, "torch", "pyarrow", "pyyaml"):
        assert name in result.stdout
    reference = next(line for line in result.stdout.splitlines() if line.split()[:1] == ["reference"])
    assert reference.split() == ["reference", "works"]


def test_json(run):
    found = json.loads(run("doctor", "--json").stdout)
    assert found["lutkan"] == __version__
    assert set(found["runtimes"]) == set(RUNTIMES)
    assert found["runtimes"]["reference"] == "works"
    assert isinstance(found["native_kernels"], bool)


def test_pure_python_is_said_plainly_where_there_are_no_native_kernels(run, monkeypatch):
    monkeypatch.setattr(verb, "_try_runtimes", lambda: ({"reference": "works"}, None))
    assert "native kernels: none, this is a pure Python install" in run("doctor").stdout
    monkeypatch.setattr(verb, "_try_runtimes", lambda: ({"native": "works", "reference": "works"}, "avx2"))
    assert "native kernels: avx2" in run("doctor").stdout
    assert "pure Python" not in run("doctor").stdout


def test_instruction_sets_are_listed(run, monkeypatch):
    if available_runtimes()["native"]:
        pytest.skip("needs the compiled kernels")
    isas = runtimes.native.available_isas()
    monkeypatch.setenv("LUTKAN_ISA", "serial")
    found = json.loads(run("doctor", "--json").stdout)
    assert found["native_isa"] == "serial" and found["native_isas"] == isas and found["runtimes"]["native"] == "works"
    text = " ".join(run("doctor").stdout.split())
    assert "native kernels: serial" + "; LUTKAN_ISA chooses another: " * (len(isas) > 1) + ", ".join(isas[:-1]) in text
    monkeypatch.setenv("LUTKAN_ISA", "nonsense")
    result = run("doctor")
    assert result.exit_code == 1
    assert "fails: LUTKAN_ISA='nonsense' is not available here; allowed: " in " ".join(result.stdout.split())


def test_an_absent_runtime_is_told_with_its_reason(run, monkeypatch):
    states = {name: "" if name == "reference" else "package xyz" for name in RUNTIMES}
    monkeypatch.setattr(runtimes.model, "available_runtimes", lambda: states)
    result = run("doctor")
    assert result.exit_code == 0
    assert "missing: package xyz" in result.stdout


def _break(monkeypatch, broken, predict):
    """Let the models of one runtime do something else."""
    load = lutkan.load

    class Broken:
        def __init__(self, model):
            self.info = model.info
            self.predict = lambda X: predict(model, X)

    def patched(artifact, name=None, runtime=None):
        model = load(artifact, runtime=name or runtime)
        return Broken(model) if (name or runtime) == broken else model

    monkeypatch.setattr(lutkan, "load", patched)


def _raise(error):
    raise error


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        (lambda model, X: _raise(RuntimeUnavailableError("broken")), "fails: broken"),
        (lambda model, X: _raise(ImportError("numpy is too new")), "fails: numpy is too new"),
        (
            lambda model, X: model.predict(X) + np.float32(1e-6),
            "fails: other bits than the reference for int8, segment",
        ),
    ],
)
def test_a_runtime_that_fails_is_exit_code_1(run, monkeypatch, predict, message):
    runtime = next((name for name in RUNTIMES if name != "reference" and not available_runtimes()[name]), None)
    if runtime is None:
        pytest.skip("one runtime here")
    _break(monkeypatch, runtime, predict)
    result = run("doctor")
    assert result.exit_code == 1
    assert message in result.stdout


def test_cpu_features_come_from_cpuinfo(monkeypatch, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: Some CPU\nflags\t\t: fpu avx2 fma xyz\n")
    real = verb.Path
    monkeypatch.setattr(verb, "Path", lambda path: info if path == "/proc/cpuinfo" else real(path))
    assert verb.cpu() == ("Some CPU", ["avx2", "fma"])
    info.write_text("Features\t: fp asimd asimddp\n")
    assert verb.cpu()[1] == ["asimd", "asimddp"]
    info.unlink()
    assert verb.cpu()[1] == []
