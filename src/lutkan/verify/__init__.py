"""Verification: an artifact against its model, the split of the error, golden vectors."""

from lutkan.verify.golden import with_golden
from lutkan.verify.report import ErrorFigures, LayerReport, VerifyReport, WorstEdge, verify

__all__ = ["ErrorFigures", "LayerReport", "VerifyReport", "WorstEdge", "verify", "with_golden"]
