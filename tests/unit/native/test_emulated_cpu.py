"""The native runtime on processors without AVX-512 and without AVX2: the right kernels are chosen, the bits are equal.

qemu-user emulates the processor; what CPUID tells there is what the choice of kernels sees.
"""

import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest

from lutkan.runtimes import available_runtimes
from native import ROOT, Kernels

#: Processor -> the instruction sets that run on it, best first.
CPUS = {"Nehalem": ["serial"], "Haswell": ["avx2", "serial"]}


@pytest.fixture(params=CPUS)
def emulator(request):
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("x86-64 processors are emulated on x86-64 only")
    command = shutil.which("qemu-x86_64")
    if command is None:
        pytest.skip("needs qemu-x86_64")
    return command, "-cpu", request.param


def test_kernels(emulator, kernel_folder):
    """The best kernels that the processor has, asked for by no name, and their sums."""
    running = Kernels("plain", "", kernel_folder, emulator)
    name = np.zeros(32, np.uint8)
    running.call("name", name)
    assert name.tobytes().rstrip(b"\0").decode() == CPUS[emulator[-1]][0]
    rng = np.random.default_rng(1)
    n, units, rows = 112, 19, 9
    packed = rng.integers(-127, 128, (units, n, 4), dtype=np.int8)
    weights = rng.integers(0, 129, (rows, units, 4), dtype=np.uint8)
    off = np.tile(np.arange(units, dtype=np.uint32) * (n * 4 // 64), (rows, 1))
    acc = np.zeros((rows, n), np.int32)
    running.call("basis8", packed, off, weights.view(np.uint32), rows, units, 1, n, acc)
    expected = np.einsum("rut,uot->ro", weights.astype(np.int32), packed.astype(np.int32))
    np.testing.assert_array_equal(acc, expected)
    running.close()


@pytest.mark.parametrize("isa", ["avx512vnni", "amx"])
def test_kernels_that_the_processor_lacks_are_not_given_out(emulator, isa, kernel_folder):
    with pytest.raises(pytest.skip.Exception, match=f"this processor has no {isa}"):
        Kernels("plain", isa, kernel_folder, emulator)


RUN = """
import hashlib, sys
sys.path[:0] = sys.argv[2:]
import numpy as np
from conformance.random_programs import draw, rows_for
from lutkan.numerics import compiled
from lutkan.runtimes import native, packing, reference

digest = hashlib.sha256()
isas = native.available_isas() if sys.argv[1] == "native" else ["reference"]
for isa in isas:
    for seed in range(28):
        program = draw(seed)
        x = rows_for(program, seed, 70)
        if isa == "reference":
            y = reference.run(program, x)
        else:
            network = compiled.extension().Network(
                program.in_features, program.out_features, packing.pack_program(program), isa
            )
            y = np.empty((70, program.out_features), np.float32)
            network.run(x, y)
        y[np.isnan(y)] = np.nan
        digest.update(y.tobytes())
    print(isa, digest.hexdigest())
    digest = hashlib.sha256()
"""


def test_networks(emulator):
    """Random programs through Python: every instruction set that is offered there gives the reference's bytes."""
    if available_runtimes()["native"]:
        pytest.skip("needs the compiled kernels")
    tests = str(ROOT / "tests")

    def run(*command):
        done = subprocess.run([*command, tests], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return dict(line.split() for line in done.stdout.splitlines())

    expected = run(sys.executable, "-c", RUN, "reference")["reference"]
    found = run(*emulator, sys.executable, "-c", RUN, "native")
    assert found == dict.fromkeys(CPUS[emulator[-1]], expected)
    assert list(found) == CPUS[emulator[-1]]
