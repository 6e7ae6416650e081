"""Finding a package's folder, and reading its manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from voxtral_edge.audio import PathLike
from voxtral_edge.errors import ModelFormatError, UsageError
from voxtral_edge.hub import is_hub_id

# The bundled model that every command takes unless told otherwise, and what somebody who says hello to it must know.
DEMO_MODEL = "tiny-en"
DEMO_MODEL_KNOWS = "the demo model knows spoken English digits, zero to nine, and nothing else"

_BUNDLED = Path(__file__).parent / "models"
_CHECKPOINT_FILES = ("model.safetensors", "model.safetensors.index.json", "consolidated.safetensors")


def bundled_models() -> list[str]:
    """Names of the models that come with this installation."""
    if not _BUNDLED.is_dir():
        return []
    return sorted(entry.name for entry in _BUNDLED.iterdir() if (entry / "manifest.json").is_file())


def find_package(name_or_dir: PathLike) -> Path:
    """The folder of a bundled model's name or of a package; errors as in `load`."""
    text = str(name_or_dir)
    if not text:  # "$MODEL" that is not set; the current folder would be a surprise
        raise UsageError("the model's name is empty; name a bundled model or a package folder")
    bundled = bundled_models()
    if text in bundled:
        return _BUNDLED / text
    folder = Path(text).expanduser()
    if folder.is_dir():
        if (folder / "manifest.json").is_file():
            return folder
        if any((folder / name).is_file() for name in _CHECKPOINT_FILES):
            raise ModelFormatError(
                f"{folder}: is a checkpoint, not a package; convert it once: voxtral-edge export {folder} "
                "-o PACKAGE_DIR"
            )
        raise ModelFormatError(
            f"{folder}: holds no manifest.json, so it is not a package; make one with voxtral-edge export"
        )
    if folder.is_file():
        raise UsageError(f"model {text!r} is a file; name the package folder that holds manifest.json")
    if is_hub_id(text):
        raise UsageError(
            f"model {text!r} looks like a hub id; export it once and then load the folder: "
            f"voxtral-edge export {text} -o PACKAGE_DIR"
        )
    names = ", ".join(bundled) or "none"
    raise UsageError(
        f"model {text!r} is neither a bundled model ({names}) nor a package folder; check the path, or make a "
        "package with voxtral-edge export"
    )


def read_manifest(directory: Path) -> dict[str, Any]:
    """The package's manifest as parsed JSON; ModelFormatError if it is missing or damaged."""
    path = directory / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFormatError(f"{path}: cannot be read ({error}); export the package again") from error
    if not isinstance(manifest, dict):
        raise ModelFormatError(f"{path}: is not a JSON object; export the package again")
    return manifest
