"""`import lutkan` costs numpy and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

CODE = """
import json, sys
{}
names = {{name.partition(".")[0] for name in sys.modules}}
print(json.dumps(sorted(names - set(sys.stdlib_module_names))))
"""


def imported(statements: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", CODE.format(statements)], capture_output=True, text=True, check=True)
    return {name for name in json.loads(done.stdout) if not name.startswith(("_", "sitecustomize", "usercustomize"))}


def test_import_needs_numpy_only():
    assert imported("import lutkan") - imported("import numpy") == {"lutkan"}


WORK = """
import numpy as np, lutkan
net = lutkan.import_model({"cheby_coeffs": np.ones((2, 1, 3), dtype=np.float32)})
art = lutkan.Artifact.open(lutkan.compile(net, spec="segment-int8-L16").to_bytes())
lutkan.load(art, runtime="reference", self_test=True).predict(np.zeros((3, 2)))
lutkan.verify(art, net, np.zeros((3, 2)), runtime="reference")
"""


def test_compiling_and_predicting_with_the_reference_needs_numpy_only():
    assert imported(WORK) - imported("import numpy.random") == {"lutkan"}


@pytest.mark.parametrize("absent", ["numba", "torch", "safetensors", "yaml", "typer", "scipy"])
def test_everything_works_where_an_optional_package_is_missing(absent):
    block = f"import sys\nsys.modules[{absent!r}] = None\n"
    assert "lutkan" in imported(block + WORK + "lutkan.load(art)")
