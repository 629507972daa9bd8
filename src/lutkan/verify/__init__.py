"""Verification: an artifact against its model, the split of the error, golden vectors."""

from lutkan.verify.bounds import Certificate, LayerBound, certificate_work, certify
from lutkan.verify.golden import with_golden
from lutkan.verify.report import ErrorFigures, LayerReport, VerifyReport, WorstEdge, decisions, measured_rows, verify

__all__ = [
    "Certificate",
    "ErrorFigures",
    "LayerBound",
    "LayerReport",
    "VerifyReport",
    "WorstEdge",
    "certificate_work",
    "certify",
    "decisions",
    "measured_rows",
    "verify",
    "with_golden",
]
