"""Importers: from what KAN libraries save to the network IR, recognised by tensor names and shapes."""

from lutkan.adapters.importer import import_model

__all__ = ["import_model"]
