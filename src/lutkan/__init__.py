"""lutkan: trained Kolmogorov-Arnold networks as small table artifacts that answer the same bits everywhere.

Examples
--------
>>> import numpy as np, lutkan
>>> net = lutkan.import_model({"cheby_coeffs": np.ones((2, 1, 3), dtype=np.float32)})
>>> artifact = lutkan.compile(net, spec="segment-int8-L64")
>>> lutkan.load(artifact).predict(np.zeros((3, 2))).shape
(3, 1)
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lutkan._version import __version__

if TYPE_CHECKING:
    from lutkan.adapters import import_model
    from lutkan.api import compile
    from lutkan.artifact import Artifact
    from lutkan.errors import (
        ArtifactError,
        ExportError,
        ImportModelError,
        InputError,
        LutkanError,
        RuntimeUnavailableError,
        SpecError,
        VerificationError,
    )
    from lutkan.ir import Network
    from lutkan.runtimes import Model, load
    from lutkan.tables import BasisSpec, BranchSpec, CodeSpec, SegmentSpec, Spec
    from lutkan.verify import Certificate, certify, verify

# Names are fetched when first used (PEP 562): a process that only predicts never loads importers and compilers.
_HOMES = {
    "import_model": "lutkan.adapters",
    "compile": "lutkan.api",
    "Artifact": "lutkan.artifact",
    "ArtifactError": "lutkan.errors",
    "ExportError": "lutkan.errors",
    "ImportModelError": "lutkan.errors",
    "InputError": "lutkan.errors",
    "LutkanError": "lutkan.errors",
    "RuntimeUnavailableError": "lutkan.errors",
    "SpecError": "lutkan.errors",
    "VerificationError": "lutkan.errors",
    "Network": "lutkan.ir",
    "Model": "lutkan.runtimes",
    "load": "lutkan.runtimes",
    "BasisSpec": "lutkan.tables",
    "BranchSpec": "lutkan.tables",
    "CodeSpec": "lutkan.tables",
    "SegmentSpec": "lutkan.tables",
    "Spec": "lutkan.tables",
    "Certificate": "lutkan.verify",
    "certify": "lutkan.verify",
    "verify": "lutkan.verify",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value  # the next access does not come here
    return value


class _Package(ModuleType):
    """Keeps `lutkan.verify` the function: importing the folder of that name would put the module in its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "verify" and isinstance(value, ModuleType):
            value = value.verify
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


__all__ = [
    "Artifact",
    "ArtifactError",
    "BasisSpec",
    "BranchSpec",
    "Certificate",
    "CodeSpec",
    "ExportError",
    "ImportModelError",
    "InputError",
    "LutkanError",
    "Model",
    "Network",
    "RuntimeUnavailableError",
    "SegmentSpec",
    "Spec",
    "SpecError",
    "VerificationError",
    "__version__",
    "certify",
    "compile",
    "import_model",
    "load",
    "verify",
]
