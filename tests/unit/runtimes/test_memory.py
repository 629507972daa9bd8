"""What is too large for the memory here is refused before it is laid out, and never grows past its offsets."""

from __future__ import annotations

import numpy as np
import pytest

import lutkan
from conformance import networks
from lutkan.errors import RuntimeUnavailableError
from lutkan.runtimes import available_runtimes, memory, packing

SMALL = 100


@pytest.fixture(scope="module")
def artifact() -> lutkan.Artifact:
    return lutkan.compile(networks.splines(20, 30), "int8")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Pretend that the machine, and the container if told, have so much memory."""

    def pretend(available: int | None, limit: str | None = None, used: int = 0) -> None:
        if available is not None:
            (tmp_path / "meminfo").write_text(
                f"MemTotal: 99 kB\nMemAvailable:  {available // 1024} kB\nBuffers: 1 kB\n"
            )
        if limit is not None:
            (tmp_path / "memory.max").write_text(f"{limit}\n")
            (tmp_path / "memory.current").write_text(f"{used}\n")
        monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
        monkeypatch.setattr(memory, "_CGROUP", tmp_path)

    return pretend


def test_free_bytes(machine):
    machine(8 << 20)
    assert memory.free_bytes() == 8 << 20
    machine(8 << 20, "max", 100)
    assert memory.free_bytes() == 8 << 20
    machine(8 << 20, str(5 << 20), 1 << 20)
    assert memory.free_bytes() == 4 << 20
    machine(8 << 20, "100", 200)
    assert memory.free_bytes() == 0


def test_free_bytes_where_nothing_tells(machine):
    machine(None)
    assert memory.free_bytes() is None
    memory.require("anything", 1 << 60)


def test_a_file_that_is_not_understood_is_left_aside(machine, tmp_path):
    (tmp_path / "meminfo").write_text("MemAvailable: many kB\n")
    machine(None, "soon")
    assert memory.free_bytes() is None


def test_small_artifacts_ask_nobody(artifact, monkeypatch):
    def ask() -> int:
        raise AssertionError("asked")

    monkeypatch.setattr(memory, "free_bytes", ask)
    packing.pack_program(artifact.program)


def test_more_than_is_free_is_refused(artifact, machine, monkeypatch):
    machine(4096)
    monkeypatch.setattr(memory, "_UNASKED", 0)
    with pytest.raises(RuntimeUnavailableError) as caught:
        packing.pack_program(artifact.program)
    needed = packing.needed_bytes(artifact.program)
    assert str(caught.value) == (
        f"this artifact, laid out for the native runtime, takes {needed:,} bytes of memory; allowed: at most 4,096, "
        "which are free here; fix: compile the model to smaller tables, or load it on a larger machine"
    )
    if not available_runtimes()["native"]:
        with pytest.raises(RuntimeUnavailableError, match="laid out for the native runtime"):
            lutkan.load(artifact, runtime="native")
    lutkan.load(artifact, runtime="reference").predict(np.zeros((2, 20)))


def test_the_estimate_covers_what_grows_most():
    """A table of one output: padded to 16 outputs, its rows stored four times over."""
    net = networks.splines(300, 1)
    for spec in ("int16", "int8", "int4", "w4a8"):
        program = lutkan.compile(net, spec).program
        packed = packing.packed_bytes(packing.pack_program(program))
        assert packed <= packing.needed_bytes(program) < 8 * packed


def test_blocks_beyond_the_reach_of_offsets_are_refused(artifact, monkeypatch):
    monkeypatch.setattr(packing, "_MAX_UNITS", SMALL)
    with pytest.raises(
        RuntimeUnavailableError, match=rf"a table of .* bytes, laid out; allowed: at most {64 * SMALL:,}"
    ):
        packing.pack_program(artifact.program)
    packing.pack_program(lutkan.compile(networks.splines(2, 30), "int8").program)
