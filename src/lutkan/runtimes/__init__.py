"""Runtimes: everything that runs an artifact. They know nothing of models, only of what the artifact says."""

from lutkan.runtimes.model import Model, available_runtimes, load

__all__ = ["Model", "available_runtimes", "load"]
