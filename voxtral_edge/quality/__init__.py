"""How much a package differs from a more precise one on recordings: no reference texts needed."""

from voxtral_edge.quality.comparison import Comparison, compare_packages

__all__ = ["Comparison", "compare_packages"]
