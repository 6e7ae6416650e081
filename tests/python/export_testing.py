"""Helpers of the exporter's tests: packages read back with nothing but json, hashlib and numpy."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import source_export  # noqa: F401 - makes voxtral_edge.export importable

from voxtral_edge.export import Checkpoint, export_package

TYPES = {"float32": np.float32, "float16": np.float16, "uint8": np.uint8}


def export_folder(
    checkpoint: Path, output: Path, precision: str = "int4", layout: str = "auto", **options: Any
) -> Path:
    """Exports a checkpoint folder and returns the package folder."""
    with Checkpoint(checkpoint, layout) as source:
        return export_package(source, output, precision=precision, **options).path


def read_manifest(package: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((package / "manifest.json").read_text())
    return manifest


def read_tensor(package: Path, name: str) -> np.ndarray:
    """A tensor as stored, by the manifest's table alone."""
    entry = read_manifest(package)["tensors"][name]
    with (package / entry["file"]).open("rb") as file:
        file.seek(entry["offset"])
        raw = file.read(entry["bytes"])
    return np.frombuffer(raw, TYPES[entry["dtype"]]).reshape(entry["shape"])


def check_package(package: Path) -> str:
    """Asserts that every file is there with the hash and size of the manifest; returns the package's name."""
    manifest = read_manifest(package)
    for name, entry in manifest["files"].items():
        data = (package / name).read_bytes()
        assert len(data) == entry["bytes"], name
        assert hashlib.sha256(data).hexdigest() == entry["sha256"], name
    return str(manifest["name"])


def leftovers(parent: Path) -> list[str]:
    """Hidden working folders beside a package."""
    return sorted(entry.name for entry in parent.iterdir() if entry.name.startswith("."))


def read_safetensors_header(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_safetensors(path: Path, header: dict[str, Any], data: bytes) -> None:
    """A safetensors file with exactly this header, however wrong."""
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def edit_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def run_in_child(action: Callable[[], None]) -> int:
    """Runs `action` in a forked child; returns its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        except BaseException as error:
            print("child:", type(error).__name__, error)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
