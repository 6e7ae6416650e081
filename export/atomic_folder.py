"""A package folder appears, or replaces the old one, in one step: readers see the old or the new, never half.

Work happens in a sibling ".<name>.partial-<random>" (of calibration: ".<name>.calibration-<random>"), locked with
flock while its owner lives, and every step before the swap leaves the target untouched. The swap itself is
renameat2(RENAME_EXCHANGE) where the system has it. Elsewhere the old folder is first renamed to
".<name>.old-<random>"; a process killed between the two renames leaves the target missing, and the next export (or
`recover`) puts the old folder back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from voxtral_edge.errors import DeviceError, UsageError
from voxtral_edge.files import size_text
from voxtral_edge.machine import free_disk_bytes
from voxtral_edge.packed_cache import SUFFIX

FORMAT_NAME = "voxtral-edge-package"
PACKAGE_FILES = frozenset({"manifest.json", "encoder.onnx", "decoder.onnx", "weights.bin", "tekken.json"})
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# Sibling folders of this process that are in use: on file systems without locks only this tells that they are.
_in_use: set[Path] = set()


class AtomicFolder:
    """Context manager: write into `path`, call `commit()`; leaving without it removes everything written.

    Raises UsageError if the target exists and is not a package of ours, DeviceError if space is short.
    """

    def __init__(self, target: Path) -> None:
        # A symbolic link as target stays a link: the folder it points at is replaced.
        self.target = target.resolve()
        self._sibling = sibling_folder(self.target, "partial")

    def __enter__(self) -> AtomicFolder:
        refuse_foreign_target(self.target)
        self.path = self._sibling.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._sibling.__exit__(None, None, None)

    def require_space(self, needed_bytes: int) -> None:
        """The old package stays until the swap, so the new one needs its full size free."""
        free = free_disk_bytes(self.path)
        if free < needed_bytes:
            raise DeviceError(space_message(self.target, needed_bytes, free))

    def commit(self) -> None:
        """Make the written files durable and put the folder in place. The files themselves must be closed."""
        for file in self.path.iterdir():
            _fsync(file)
        _fsync(self.path)
        with _folder_lock(self.target.parent):
            refuse_foreign_target(self.target)
            _put_in_place(self.path, self.target)
            _fsync(self.target.parent)


@contextlib.contextmanager
def sibling_folder(target: Path, kind: str) -> Iterator[Path]:
    """A new folder ".<name>.<kind>-<random>" beside `target`, locked as long as the block runs and removed behind it.
    First removes what killed processes left there. DeviceError if that is impossible."""
    path = target.with_name(f".{target.name}.{kind}-{secrets.token_hex(6)}")
    lock = -1
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _folder_lock(target.parent):
                recover(target)
                _in_use.add(path)
                path.mkdir()
                lock = _lock(path)
        except OSError as error:
            raise DeviceError(f"cannot write beside {target}: {error.strerror}") from error
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        _in_use.discard(path)
        if lock >= 0:
            os.close(lock)


def space_message(target: Path, needed_bytes: int, free_bytes: int) -> str:
    return (
        f"not enough disk space for {target}: {size_text(needed_bytes)} needed, {size_text(free_bytes)} free; free "
        "some space or choose another output folder (an existing package was left as it was)"
    )


def refuse_foreign_target(target: Path) -> None:
    """Only a missing path, an empty folder or one of our packages may be replaced."""
    if not target.exists():
        return
    if not target.is_dir():
        raise UsageError(f"{target} exists and is no folder; choose another output")
    entries = {entry.name for entry in target.iterdir()}
    if not entries:
        return
    if not _is_package(target):
        raise UsageError(
            f"{target} exists and is no voxtral-edge package; choose another output or remove it yourself"
        )
    # Permuted weights, where their folder is this one, belong to the package that is replaced.
    foreign = sorted(name for name in entries - PACKAGE_FILES if not name.endswith(SUFFIX))
    if foreign:
        raise UsageError(
            f"{target} also holds {foreign[0]!r}, which is no part of a package; move it away first"
        )


def recover(target: Path) -> None:
    """Finish or undo what killed processes left beside `target`. Needs the lock of the parent folder."""
    for old in sorted(target.parent.glob(f".{_glob_quote(target.name)}.old-*")):
        if not target.exists():
            os.rename(old, target)
    for kind in ("partial", "calibration", "old"):
        for stale in target.parent.glob(f".{_glob_quote(target.name)}.{kind}-*"):
            if _is_abandoned(stale):
                shutil.rmtree(stale, ignore_errors=True)


def _glob_quote(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _is_package(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT_NAME


def _lock(folder: Path) -> int:
    """An exclusive lock on the folder itself, so that no lock file stays behind. May raise OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(descriptor)
            raise
        # A file system without locks: go on unlocked, as if alone.
    return descriptor


def _is_abandoned(folder: Path) -> bool:
    """No living process holds its lock."""
    if folder in _in_use:
        return False
    try:
        os.close(_lock(folder))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _folder_lock(parent: Path) -> Iterator[None]:
    """Serialises creation, recovery and swaps of exports into one parent folder; held for milliseconds."""
    descriptor = os.open(parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put_in_place(new: Path, target: Path) -> None:
    if not target.exists():
        os.rename(new, target)
        return
    if _exchange(new, target):
        # `new` now holds the old package.
        shutil.rmtree(new, ignore_errors=True)
        return
    old = target.with_name(f".{target.name}.old-{secrets.token_hex(6)}")
    os.rename(target, old)
    try:
        os.rename(new, target)
    except BaseException:
        if not target.exists():
            os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one system call; False where kernel, libc or file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    result = renameat2(
        _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), ctypes.c_uint(_RENAME_EXCHANGE)
    )
    if result == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(second))
