"""Importers: from what KAN libraries save to the network IR, recognised by tensor names and shapes."""

from lutkan.adapters.importer import import_model
from lutkan.adapters.inspection import Inspection, LayerReport, inspect_source

__all__ = ["Inspection", "LayerReport", "import_model", "inspect_source"]
