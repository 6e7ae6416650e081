"""Text files that are written whole or not at all, without replacing anything but ordinary files."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from voxtral_edge.errors import DeviceError


def check_writable(path: Path) -> None:
    """DeviceError if `write_whole(path, …)` would fail: better now than after an hour of transcribing."""
    try:
        if _is_device(path):
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            return
        target = _target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = _temporary_beside(target)
        os.close(handle)
        os.unlink(temporary)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a pipe whose reader is still to come
            return
        raise _cannot_write(path, error) from error


def write_whole(path: Path, text: str) -> None:
    """Writes `text` so that a reader, or a crash, sees the old file or the new one and never half of one.

    A link stays a link: the file it points to is written. Devices and pipes, /dev/stdout among them, are written to
    directly; a new file in their place would take them from every other program. Bytes of file names that are no
    UTF-8 (lone surrogates) become question marks.
    """
    try:
        if _is_device(path):
            with open(path, "w", encoding="utf-8", errors="replace", newline="\n") as device:
                device.write(text)
            return
        target = _target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, text)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _is_device(path: Path) -> bool:
    # /dev/stdout may be an ordinary file behind the link, which is still open elsewhere and must stay the same one.
    special = path.exists() and not path.is_file() and not path.is_dir()
    return special or path.parent in (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))


def _target(path: Path) -> Path:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _replace(path: Path, text: str) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    handle, temporary = _temporary_beside(path)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="\n") as file:
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


def size_text(count: int) -> str:
    """Bytes for people: `2.51 GB`, `3.6 MB`, `12 kB`."""
    if count >= 1e9:
        return f"{count / 1e9:.2f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
