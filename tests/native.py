"""Kernels of the native runtime: built from source, and called in a process of their own.

`Kernels.call` looks like a call of the C function, whichever build answers: a plain one whose arrays end at a page
without access, one under AddressSanitizer and UndefinedBehaviorSanitizer, or one for AArch64 under qemu.
"""

import contextlib
import fcntl
import os
import platform
import re
import shutil
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
DRIVER = ROOT / "tests" / "native_driver.c"

# What the driver of each build is compiled with, beside the flags that CMakeLists.txt gives the kernels.
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1", "-DSANITIZED")
BUILDS = {"plain": (), "sanitized": SANITIZERS, "aarch64": ()}
HERE = "aarch64" if platform.machine() in ("aarch64", "arm64") else "x86"
ISAS = {"x86": ("serial", "avx2", "avx512vnni", "amx"), "aarch64": ("serial", "neon", "neondot")}

#: (build, instruction set) of every kernel table that can be called from here.
MACHINES = [
    *((build, isa) for build in ("plain", "sanitized") for isa in ISAS[HERE]),
    *(("aarch64", isa) for isa in ISAS["aarch64"] if HERE != "aarch64"),
]


def cmake_flags() -> tuple[list[str], list[str], dict[str, list[str]]]:
    """Read the families, the flags of all kernels and those of each instruction set from CMakeLists.txt."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    families = re.search(r"set\(families ([^)]*)\)", text)
    common = re.search(r"set\(kernel_flags ([^)]*)\)", text)
    assert families is not None and common is not None
    sets = dict(re.findall(r"^ *add_kernels\((\w+)([^)]*)\)", text, re.MULTILINE))
    return families[1].split(), common[1].split(), {isa: flags.split() for isa, flags in sets.items()}


def _compiler(build: str) -> str:
    if build == "aarch64":
        compiler = shutil.which("aarch64-linux-gnu-gcc")
        if compiler is None or shutil.which("qemu-aarch64") is None:
            pytest.skip("needs qemu-aarch64 and aarch64-linux-gnu-gcc")
        return compiler
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("needs a C compiler")
    return compiler


def _run(*command: object) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stderr}"


def _accepts(compiler: str, flags: list[str]) -> bool:
    words = [compiler, *flags, "-x", "c", "-fsyntax-only", os.devnull]
    return subprocess.run(words, capture_output=True).returncode == 0


def _compile(compiler: str, build: str, folder: Path, sources: list[Path], target: Path) -> None:
    """Compile sources with the kernels; objects that are there already stay."""
    families, common, sets = cmake_flags()
    include = ("-I", ROOT / "native" / "include", "-I", ROOT / "native" / "kernels")
    extra, isas = BUILDS[build], ISAS["aarch64" if build == "aarch64" else HERE]
    amx = ["-DLUTKAN_AMX"] if "amx" in isas and _accepts(compiler, sets["amx"]) else []
    jobs = [*((source, []) for source in sources), (ROOT / "native" / "dispatch.c", amx)]
    for family in families:
        for isa in isas:
            if isa == "amx" and not amx:
                continue
            source = ROOT / "native" / "kernels" / family / f"{isa}.c"
            if source.exists():
                jobs.append((source, sets[isa]))

    def translate(job: tuple[Path, list[str]]) -> Path:
        source, flags = job
        result = folder / f"{source.parent.name}-{source.stem}.o"
        if not result.exists():
            _run(compiler, "-std=gnu11", *common, *flags, *extra, *include, "-c", source, "-o", result)
        return result

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(translate, jobs))
    static = ["-static"] if build == "aarch64" else []
    _run(compiler, *static, *extra, *objects, "-lm", "-o", target)


def build_program(build: str, folder: Path, name: str, sources: list[Path]) -> Path:
    """Build a program in a folder that several test processes may share; one builds, the others wait."""
    compiler = _compiler(build)
    target = folder / f"native-{build}" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _compile(compiler, build, target.parent, sources, target)
    return target


def command(build: str, program: Path) -> list[str]:
    """Return the words that run a program of a build here."""
    emulated = build == "aarch64" and HERE != "aarch64"
    return [*(("qemu-aarch64", "-cpu", "max") if emulated else ()), str(program)]


class Kernels:
    """The kernels of an instruction set in a running driver; one that died is started again by the next call."""

    def __init__(self, build: str, isa: str, folder: Path, emulator: tuple[str, ...] = ()) -> None:
        self._command = [*emulator, *command(build, build_program(build, folder, "driver", [DRIVER])), isa]
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    def _start(self) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=pipe)
        if not self._process.stdout.read(1):
            status, complaint = self._end()
            if status == 3:
                pytest.skip(f"this processor has no {self._command[-1]}")
            raise AssertionError(complaint)

    def _end(self) -> tuple[int, str]:
        process, self._process = self._process, None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        complaint = process.stderr.read().decode()
        process.stdout.close()
        process.stderr.close()
        return process.wait(), complaint

    def call(self, name: str, *arguments: int | float | np.ndarray | None) -> int:
        """Call a member of lk_kernels; arrays change as they do in C, and one passed twice is one array.

        Returns what the function returned, 0 for void.
        """
        request = [struct.pack("<32sI", name.encode(), len(arguments))]
        arrays: list[np.ndarray] = []
        for k, argument in enumerate(arguments):
            same = next((j for j in range(k) if arguments[j] is argument and isinstance(argument, np.ndarray)), None)
            if same is not None:
                request.append(struct.pack("<IQ", 4, same))
            elif argument is None:
                request.append(struct.pack("<IQ", 3, 0))
            elif isinstance(argument, np.ndarray):
                assert argument.flags.c_contiguous and argument.flags.writeable
                arrays.append(argument)
                request.append(struct.pack("<IQ", 2, argument.nbytes) + argument.tobytes())
            elif isinstance(argument, (float, np.floating)):
                request.append(struct.pack("<IQf", 1, 4, argument))
            else:
                request.append(struct.pack("<IQq", 0, 8, argument))
        if self._process is None:
            self._start()
        with contextlib.suppress(BrokenPipeError):  # the missing answer tells the same
            self._process.stdin.write(b"".join(request))
            self._process.stdin.flush()
        (returned,) = struct.unpack("<q", self._read(name, 8))
        for array in arrays:
            array[...] = np.frombuffer(self._read(name, array.nbytes), array.dtype).reshape(array.shape)
        return returned

    def _read(self, name: str, size: int) -> bytes:
        answer = self._process.stdout.read(size)
        if len(answer) != size:
            status, complaint = self._end()
            raise AssertionError(f"{name}: the driver ended with status {status}\n{complaint}")
        return answer

    def close(self) -> None:
        """End the driver; it must have found nothing wrong, leaks included."""
        if self._process is not None:
            status, complaint = self._end()
            assert status == 0, f"the driver ended with status {status}\n{complaint}"
