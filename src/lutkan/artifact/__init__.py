"""The artifact: one file that holds everything needed to predict."""

from lutkan.artifact.artifact import Artifact
from lutkan.artifact.program import Program

__all__ = ["Artifact", "Program"]
