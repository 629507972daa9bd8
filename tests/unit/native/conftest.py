import pytest

from native import MACHINES, Kernels


@pytest.fixture(scope="session")
def kernel_folder(request, tmp_path_factory):
    """Folder of the built kernels, the same for all processes of a test run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if hasattr(request.config, "workerinput") else base


@pytest.fixture(scope="session", params=MACHINES, ids="-".join)
def kernels(request, kernel_folder):
    """The kernels of one build and instruction set, in a process of their own."""
    running = Kernels(*request.param, kernel_folder)
    yield running
    running.close()
