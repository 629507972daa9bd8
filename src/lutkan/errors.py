"""Exceptions that lutkan raises. Every message says where, what was found, what is allowed and what to do."""

from __future__ import annotations

__all__ = [
    "ArtifactError",
    "ExportError",
    "ImportModelError",
    "InputError",
    "LutkanError",
    "RuntimeUnavailableError",
    "SpecError",
    "VerificationError",
]


class LutkanError(Exception):
    """Base class of all errors that lutkan raises on purpose.

    Parameters
    ----------
    found
        What was found, with the place it was found at (a tensor name, a field, a path).
    allowed
        What would have been accepted. Left out of the message when empty.
    fix
        What the reader can do next. Left out of the message when empty.

    Examples
    --------
    >>> print(SpecError("SegmentSpec.samples = 1", "an integer >= 2", "pass samples=64"))
    SegmentSpec.samples = 1; allowed: an integer >= 2; fix: pass samples=64
    """

    def __init__(self, found: str, allowed: str = "", fix: str = "") -> None:
        self.found = found
        self.allowed = allowed
        self.fix = fix
        message = found
        if allowed:
            message += f"; allowed: {allowed}"
        if fix:
            message += f"; fix: {fix}"
        super().__init__(message)

    def __reduce__(self):  # keeps the three parts when an error crosses a process border
        return (type(self), (self.found, self.allowed, self.fix))


class ImportModelError(LutkanError):
    """A checkpoint, module or configuration cannot be imported without guessing."""


class SpecError(LutkanError):
    """A compile specification is invalid, or cannot be honoured for this network."""


class InputError(LutkanError):
    """Input data has the wrong width, dtype or values."""


class ArtifactError(LutkanError):
    """An artifact file is damaged, hostile, or of an unknown version."""


class VerificationError(LutkanError):
    """An artifact differs from its model by more than was allowed."""


class RuntimeUnavailableError(LutkanError):
    """The requested runtime, instruction set or optional package is absent here."""


class ExportError(LutkanError):
    """An artifact cannot be exported to the requested target."""
