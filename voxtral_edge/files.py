"""Text files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from voxtral_edge.errors import DeviceError


def check_writable(path: Path) -> None:
    """DeviceError if `write_whole(path, …)` would fail: better now than after an hour of transcribing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = _temporary_beside(path)
        os.close(handle)
        os.unlink(temporary)
    except OSError as error:
        raise _cannot_write(path, error) from error


def write_whole(path: Path, text: str) -> None:
    """Writes `text` so that a reader, or a crash, sees the old file or the new one and never half of one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, text)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _write_whole(path: Path, text: str) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    handle, temporary = _temporary_beside(path)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _temporary_beside(path: Path) -> tuple[int, str]:
    return tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".part")


def _cannot_write(path: Path, error: OSError) -> DeviceError:
    return DeviceError(f"{path}: cannot be written ({error.strerror}); check the folder, or choose another")


def _umask() -> int:
    """The process's umask; it can only be read by setting it."""
    value = os.umask(0o022)
    os.umask(value)
    return value
