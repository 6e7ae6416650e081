"""The one place that imports the compiled module: whatever does not need it works without it."""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType

from voxtral_edge.errors import DeviceError


@lru_cache(maxsize=1)
def native_module() -> ModuleType:
    """The compiled module `voxtral_edge._core`; DeviceError if it is not installed or does not load here."""
    try:
        return importlib.import_module("voxtral_edge._core")
    except ImportError as error:
        raise DeviceError(
            f"the compiled part of voxtral-edge does not load ({error}); "
            "run `pip install .` in the source folder (a C++20 compiler is needed)"
        ) from error
