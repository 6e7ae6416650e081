"""Checkpoint -> package: read, map names, permute, quantise tensor by tensor, write atomically."""

from .checkpoint import Checkpoint
from .pipeline import ExportReport, check_request, export_package
from .precision import GROUPS, PRECISIONS
from .synthetic import SYNTHETIC_MODELS, SyntheticCheckpoint

__all__ = [
    "GROUPS",
    "PRECISIONS",
    "SYNTHETIC_MODELS",
    "Checkpoint",
    "ExportReport",
    "SyntheticCheckpoint",
    "check_request",
    "export_package",
]
