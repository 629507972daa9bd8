"""Machine fingerprints."""

from __future__ import annotations

import json
import subprocess

import pytest

from lutkan._version import __version__
from lutkan.lab import fingerprint as module
from lutkan.lab.fingerprint import caches, cpu, fingerprint, slug


def test_cpu_is_read_from_cpuinfo(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text(
        "cpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Some CPU\nstepping\t: 8\nflags\t\t: fpu avx2 amx_int8 zzz\n"
    )
    assert cpu(info) == ("Some CPU (family 6 model 143 stepping 8)", ["avx2", "amx_int8"])
    info.write_text("Features\t: fp asimd asimddp\n")
    assert cpu(info)[1] == ["asimd", "asimddp"]


def test_caches_are_read_from_sysfs(tmp_path):
    for index, (level, kind, size) in enumerate(
        [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "2048K"), ("3", "Unified", "64M")]
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, value in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(value + "\n")
    (tmp_path / "index9").mkdir()  # one that the system does not describe
    assert caches(tmp_path) == {"L1d": 48 << 10, "L1i": 32 << 10, "L2": 2 << 20, "L3": 64 << 20}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Intel(R) Xeon(R) Processor (family 6 model 167 stepping 1)", "intel-xeon-family-6-model-167-stepping-1"),
        ("AMD EPYC 9654 96-Core Processor", "amd-epyc-9654-96-core"),
        ("", "unknown"),
    ],
)
def test_slug(name, expected):
    assert slug(name) == expected


def test_fingerprint_is_plain_json_and_names_what_matters():
    found = fingerprint()
    assert json.loads(json.dumps(found)) == found
    assert found["lutkan"] == __version__
    assert found["packages"]["numpy"]
    assert {"cpu", "isa_flags", "caches", "cores", "python", "commit", "dirty", "thread_variables"} <= set(found)


def test_commit_is_that_of_the_checkout_which_holds_the_file(tmp_path):
    def git(*arguments):
        done = subprocess.run(["git", "-C", tmp_path, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        git("init", "-q")
    except FileNotFoundError:
        pytest.skip("needs git")
    git("config", "user.email", "a@b.c")
    git("config", "user.name", "a")
    file = tmp_path / "fingerprint.py"
    file.write_text("1\n")
    assert module._commit(tmp_path) == (None, None)  # not a file of that checkout
    git("add", "fingerprint.py")
    git("commit", "-qm", "x")
    assert module._commit(tmp_path) == (git("rev-parse", "HEAD"), False)
    file.write_text("2\n")
    assert module._commit(tmp_path) == (git("rev-parse", "HEAD"), True)


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert module._commit(tmp_path) == (None, None)
