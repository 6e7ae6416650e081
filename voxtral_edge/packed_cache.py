"""Where permuted weights are kept between starts, and what is there.

The engine permutes a package's weights once per start. `voxtral-edge cache add`, `export --cache-packed` or
`load(cache_packed=True)` write them to a file, and every later start maps it: starts are quicker, processes share one
copy, and the weights are page cache instead of memory of the process. A file of another package or version, or a
damaged one, is noticed; removing files is always safe. Format: csrc/model/packed_cache_format.h.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from voxtral_edge._native import native_module
from voxtral_edge.audio import PathLike
from voxtral_edge.errors import UsageError

VARIABLE = "VOXTRAL_EDGE_CACHE_PACKED"
SUFFIX = ".packed"
_PREFIX = struct.Struct("<8sIIQQQQQQ")
_MAGIC = b"VXEPACK\n"
_MOST_INDEX_BYTES = 8 << 20


@dataclass(frozen=True)
class CacheFile:
    """A file of permuted weights. `package`: the model's name; `bytes`: its size."""

    path: Path
    package: str
    bytes: int


@dataclass(frozen=True)
class CacheChoice:
    """Where an engine looks for permuted weights. `write`: makes the file if none is there that fits."""

    folder: Path
    write: bool


def default_folder() -> Path:
    """$XDG_CACHE_HOME/voxtral-edge, where the variable is an absolute path; else ~/.cache/voxtral-edge. RuntimeError
    where there is no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "voxtral-edge"


def cache_choice(choice: bool | PathLike | None) -> CacheChoice | None:
    """What `load(cache_packed=choice)` does; None: nothing, whatever is there.

    None asks the environment: VOXTRAL_EDGE_CACHE_PACKED is 1 (as True), 0 (as False), or a folder's absolute path;
    empty: a file in the default folder is used, none is made. UsageError for anything else.
    """
    if choice is None:
        value = os.environ.get(VARIABLE, "")
        if value == "":
            try:
                return CacheChoice(default_folder(), write=False)
            except RuntimeError:  # a user without a home has no cache there
                return None
        if value not in ("0", "1") and not os.path.isabs(value):
            raise UsageError(f"{VARIABLE} is {value!r}; set it to 1, 0 or the absolute path of a folder")
        choice = value == "1" if value in ("0", "1") else value
    if choice is False:
        return None
    try:
        folder = default_folder() if choice is True else Path(choice).expanduser()
    except (TypeError, RuntimeError) as error:
        raise UsageError(f"cache_packed is {choice!r}; pass True, False or a folder") from error
    return CacheChoice(folder.absolute(), write=True)


def cache_path(package: Path, folder: Path) -> Path:
    """Where the file of a package's permuted weights is, or would be. ModelFormatError for a damaged package."""
    return folder / str(native_module().packed_cache_file_name(os.fsencode(package)))


def cache_files(folder: Path) -> list[CacheFile]:
    """The files of permuted weights in `folder`, by name; files that are none are left out. Their weights are
    not checked, the engine does that when it loads."""
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            with path.open("rb") as file:
                magic, _, _, size, begin, length, _, _, _ = _PREFIX.unpack(file.read(_PREFIX.size))
                file.seek(begin)
                if magic != _MAGIC or length > _MOST_INDEX_BYTES:
                    continue
                name = json.loads(file.read(length))["package"]["name"]
        except (OSError, ValueError, KeyError, TypeError, struct.error):
            continue
        found.append(CacheFile(path, str(name), int(size)))
    return found


def unfinished_files(folder: Path) -> list[Path]:
    """What writers have left that were killed; files that are being written now are left out."""
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}.partial")):
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                found.append(path)
        except OSError:
            continue
    return found
