"""Makes `voxtral_edge.export` importable from a source checkout, where it is the folder `export/`.

An installed package already has it; then this module changes nothing.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def ensure_importable() -> None:
    try:
        found = importlib.util.find_spec("voxtral_edge.export")
    except ModuleNotFoundError:
        sys.path.insert(0, str(ROOT))
        found = importlib.util.find_spec("voxtral_edge.export")
    if found is not None:
        return
    folder = ROOT / "export"
    spec = importlib.util.spec_from_file_location(
        "voxtral_edge.export", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["voxtral_edge.export"] = module
    spec.loader.exec_module(module)


ensure_importable()
