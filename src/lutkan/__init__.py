"""lutkan: trained Kolmogorov-Arnold networks as small table artifacts that answer the same bits everywhere.

Examples
--------
>>> import numpy as np, lutkan
>>> net = lutkan.import_model({"cheby_coeffs": np.ones((2, 1, 3), dtype=np.float32)})
>>> artifact = lutkan.compile(net, spec="segment-int8-L64")
>>> lutkan.load(artifact).predict(np.zeros((3, 2))).shape
(3, 1)
"""

from lutkan._version import __version__
from lutkan.adapters import import_model
from lutkan.api import compile  # noqa: A004 - the public name is fixed
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
from lutkan.tables import BasisSpec, SegmentSpec, Spec
from lutkan.verify import verify

__all__ = [
    "Artifact",
    "ArtifactError",
    "BasisSpec",
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
    "compile",
    "import_model",
    "load",
    "verify",
]
