"""One thread, and everything as before afterwards."""

from __future__ import annotations

import os
import sys

import pytest

from lutkan.lab import pinning
from lutkan.lab.pinning import one_thread


def test_variables_are_set_within_and_restored_afterwards(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with one_thread():
        assert [os.environ[name] for name in pinning._VARIABLES] == ["1"] * len(pinning._VARIABLES)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin processes")
def test_the_process_stays_on_one_core_within():
    before = os.sched_getaffinity(0)
    with one_thread() as pinned:
        assert os.sched_getaffinity(0) == {pinned["core"]}
        assert pinned["core"] == max(before)
    assert os.sched_getaffinity(0) == before
    with one_thread(core=min(before)) as pinned:
        assert pinned["core"] == min(before)
    with one_thread(core=10**6) as pinned:  # not a core of ours
        assert pinned["core"] == max(before)


def test_all_is_restored_after_an_error():
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    if before is not None:
        assert os.sched_getaffinity(0) == before


def test_pytorch_is_kept_to_one_thread():
    torch = pytest.importorskip("torch", reason="needs torch")
    before = torch.get_num_threads()
    with one_thread(torch=True) as pinned:
        assert pinned["torch_threads"] == torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_pytorch_is_not_loaded_for_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with one_thread() as pinned:
        assert pinned["torch_threads"] is None
        assert "torch" not in sys.modules
