import pytest

from native import MACHINES, Kernels


@pytest.fixture(scope="session", params=MACHINES, ids="-".join)
def kernels(request, tmp_path_factory):
    """The kernels of one build and instruction set, in a process of their own."""
    base = tmp_path_factory.getbasetemp()
    running = Kernels(*request.param, base.parent if hasattr(request.config, "workerinput") else base)
    yield running
    running.close()
