"""Where permuted weights are kept between starts, and what is there.

The engine permutes a package's weights once per start. With a cache it writes them to a file once, and later
starts map that file: they are quicker, processes share one copy, and the weights are page cache instead of
memory of the process. A file of another package or version, or a damaged one, is noticed and made again;
removing files is always safe. Format: csrc/model/packed_cache_format.h.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path

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


def default_folder() -> Path:
    """$XDG_CACHE_HOME/voxtral-edge, where the variable is an absolute path; else ~/.cache/voxtral-edge."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "voxtral-edge"


def cache_folder(choice: bool | PathLike | None) -> Path | None:
    """The folder that `load(cache_packed=choice)` uses; None: no cache.

    None asks the environment: VOXTRAL_EDGE_CACHE_PACKED is 1 (the default folder), 0 or empty (no cache), or a
    folder's absolute path. UsageError for anything else.
    """
    if choice is None:
        value = os.environ.get(VARIABLE, "")
        if value in ("", "0"):
            return None
        if value != "1" and not os.path.isabs(value):
            raise UsageError(f"{VARIABLE} is {value!r}; set it to 1, 0 or the absolute path of a folder")
        choice = True if value == "1" else value
    if choice is True:
        return default_folder()
    if choice is False:
        return None
    try:
        folder = Path(choice).expanduser()
    except (TypeError, RuntimeError) as error:
        raise UsageError(f"cache_packed is {choice!r}; pass True, False or a folder") from error
    return folder.absolute()


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
