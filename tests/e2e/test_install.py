"""Wheels built with gcc, with clang and without a compiler, each installed apart and used in a process of its own.

Building takes a minute a compiler, so this is for CI (LUTKAN_CI=1); the install that runs the other tests is one of
them.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import lutkan
from conformance import networks

ROOT = Path(__file__).resolve().parents[2]
COMPILERS = {"gcc": "g++", "clang": "clang++"}
SANITIZE = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g"

pytestmark = pytest.mark.skipif(os.environ.get("LUTKAN_CI") != "1", reason="only with LUTKAN_CI=1: builds wheels")

# Run by the installed package: every instruction set against the reference on random programs.
COMPARE = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from conformance.cases import same_bits
from conformance.random_programs import draw, rows_for
from lutkan.numerics import compiled
from lutkan.runtimes import native, packing, reference

isas = native.available_isas()
for seed in range(int(sys.argv[2])):
    program = draw(seed)
    x = rows_for(program, seed, 130)
    expected = reference.run(program, x)
    packed = packing.pack_program(program)
    for isa in isas:
        network = compiled.extension().Network(program.in_features, program.out_features, packed, isa)
        for batch in (1, 13, 130):
            y = np.empty((batch, program.out_features), np.float32)
            network.run(x[:batch].copy(), y)
            assert same_bits(y, expected[:batch]).all(), (seed, isa, batch)
print(*isas)
"""


class Install:
    """A wheel built from this checkout and unpacked into a folder, away from the editable install."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder = folder / "site"
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run(
            [*command, "--wheel-dir", str(folder), "."],
            cwd=ROOT,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        (self.wheel,) = folder.glob("lutkan-*.whl")
        with zipfile.ZipFile(self.wheel) as archive:
            self.names = archive.namelist()
            archive.extractall(self.folder)

    @property
    def compiled(self) -> list[str]:
        return [name for name in self.names if "_native" in name and not name.endswith(".pyi")]

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run Python with this install; -S keeps the editable one, which a .pth file puts first, out of the way."""
        path = os.pathsep.join([str(self.folder), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
        return subprocess.run(
            [sys.executable, "-S", *words],
            env={**os.environ, "PYTHONPATH": path, **env},
            capture_output=True,
            text=True,
        )

    def compare(self, programs: int, **env: str) -> list[str]:
        done = self.run("-c", COMPARE, str(ROOT / "tests"), str(programs), **env)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()


@pytest.mark.parametrize("compiler", COMPILERS)
def test_wheel_with_kernels(compiler, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    install = Install(tmp_path, CC=compiler, CXX=COMPILERS[compiler])
    assert len(install.compiled) == 1 and platform.machine() in install.wheel.name
    isas = install.compare(60)
    assert isas[-1] == "serial"
    if platform.machine() == "x86_64" and Path("/proc/cpuinfo").exists():
        flags = Path("/proc/cpuinfo").read_text().split()
        assert ("avx2" in isas) == ("avx2" in flags) and ("avx512vnni" in isas) == ("avx512_vnni" in flags)
    done = install.run("-m", "lutkan", "doctor")
    assert done.returncode == 0 and f"native kernels: {isas[0]}" in done.stdout


@pytest.mark.parametrize("way", ["asked for", "no compiler", "a compiler that fails"])
def test_pure_python_install(way, tmp_path):
    """Without kernels everything works but the native runtime, which says what it lacks."""
    empty = tmp_path / "empty"
    empty.mkdir()
    env = {
        "asked for": {"LUTKAN_NO_NATIVE": "1"},
        "no compiler": {"PATH": str(empty)},
        "a compiler that fails": {"CC": "false", "CXX": "false"},
    }[way]
    install = Install(tmp_path, **env)
    assert not install.compiled and install.wheel.name.endswith("-py3-none-any.whl")
    done = install.run("-m", "lutkan", "doctor")
    assert done.returncode == 0, done.stderr
    assert "native kernels: none, this is a pure Python install" in done.stdout
    assert "reference works" in " ".join(done.stdout.split())
    artifact = lutkan.compile(networks.chebyshev(), "int8").save(tmp_path / "m.lutkan")
    done = install.run("-c", f"import lutkan; print(lutkan.load({str(artifact)!r}, self_test=True).info()['runtime'])")
    assert done.returncode == 0 and done.stdout.strip() in ("numba", "reference")
    done = install.run("-c", f"import lutkan; lutkan.load({str(artifact)!r}, runtime='native')")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "lutkan.errors.RuntimeUnavailableError: runtime 'native' is not available here; fix: install the compiled "
        "kernels (a pure-Python install: get a C and C++ compiler and install lutkan again)"
    )


def test_sanitized(tmp_path):
    """The whole extension under AddressSanitizer and UndefinedBehaviorSanitizer."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    install = Install(
        tmp_path, CC="gcc", CXX="g++", CFLAGS=SANITIZE, CXXFLAGS=SANITIZE, LDFLAGS="-fsanitize=address,undefined"
    )
    libraries = [
        subprocess.run(["gcc", f"-print-file-name={name}.so"], capture_output=True, text=True).stdout.strip()
        for name in ("libasan", "libubsan")
    ]
    # The interpreter itself leaks at exit, by the sanitizer's count.
    assert install.compare(80, LD_PRELOAD=" ".join(libraries), ASAN_OPTIONS="detect_leaks=0")
