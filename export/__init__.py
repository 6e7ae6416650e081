"""Checkpoint -> package: read, map names, permute, quantise tensor by tensor, write atomically (docs/export.md)."""

from .checkpoint import Checkpoint
from .pipeline import ExportReport, export_package
from .precision import GROUPS, PRECISIONS

__all__ = ["GROUPS", "PRECISIONS", "Checkpoint", "ExportReport", "export_package"]
