"""Check an installed lutkan: `import lutkan` is light, and the artifacts of a folder load, predict and match.

Usage: python -I .ci/smoke.py FOLDER
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

import lutkan

HEAVY = ("torch", "numba", "safetensors", "typer", "rich", "yaml", "pyarrow", "matplotlib", "pandas", "sklearn")


def imported(names: tuple[str, ...]) -> list[str]:
    """Return those of the names that have been imported."""
    return [name for name in names if name in sys.modules]


if imported(HEAVY):
    sys.exit(f"import lutkan also imported {imported(HEAVY)}")
if lutkan.__version__ != version("lutkan"):
    sys.exit(f"lutkan.__version__ is {lutkan.__version__}, the package says {version('lutkan')}")

artifacts = sorted(Path(sys.argv[1]).glob("*.lutkan"))
if not artifacts:
    sys.exit(f"no *.lutkan in {sys.argv[1]}")
for path in artifacts:
    artifact = lutkan.Artifact.open(path)
    model = lutkan.load(artifact, self_test=True)
    if artifact.golden_x is None or not np.array_equal(model.predict(artifact.golden_x), artifact.golden_y):
        sys.exit(f"{path.name}: the prediction differs from the golden vectors in the file, or there are none")
if imported(("torch", "numba")):
    sys.exit(f"load and predict imported {imported(('torch', 'numba'))}")
print(f"lutkan {lutkan.__version__} from {Path(lutkan.__file__).parent}: {len(artifacts)} artifacts load and match")
