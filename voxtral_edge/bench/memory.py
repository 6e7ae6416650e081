"""Memory of this process and of the page cache, as Linux reports them; None where it does not."""

from __future__ import annotations

import ctypes
import ctypes.util
import itertools
import mmap
import os
import resource
import threading
import time
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
_READ_BYTES = 1 << 20
_PAGE = mmap.PAGESIZE


def peak_rss_bytes() -> int:
    """The most memory this process held at once, since its start or the last `reset_peak_rss`."""
    return _status_bytes("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def rss_bytes() -> int | None:
    """Memory this process holds now."""
    return _status_bytes("VmRSS")


def reset_peak_rss() -> bool:
    """Starts the peak anew, so that measuring the bandwidth does not count; whether the system allows it."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def page_faults() -> tuple[int, int]:
    """(minor, major) page faults of this process so far. A major one waits for the disk."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt, usage.ru_majflt


def cached_share(path: Path) -> float | None:
    """The share (0..1) of a file that lies in the page cache: whether loading it reads the disk."""
    size = path.stat().st_size
    if size == 0:
        return None
    libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    if not hasattr(libc, "mincore"):
        return None
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    descriptor = os.open(path, os.O_RDONLY)
    try:
        address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
        if address in (None, ctypes.c_void_p(-1).value):
            return None
        pages = -(-size // _PAGE)
        vector = (ctypes.c_ubyte * pages)()
        failed = libc.mincore(address, size, vector)
        libc.munmap(address, size)
    finally:
        os.close(descriptor)
    return None if failed else sum(value & 1 for value in bytes(vector)) / pages


def drop_from_cache(path: Path) -> bool:
    """Asks the system to forget its copy of a file; whether it can be asked. Needs no privileges."""
    if not hasattr(os, "posix_fadvise"):
        return False
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # only clean pages can go
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    return True


def read_seconds(path: Path, threads: int) -> float:
    """How long it takes to read a file once with as many threads as load it, in pieces of 1 MiB that they take in
    turn, each into one buffer: the least that any loader needs."""
    size, pieces = path.stat().st_size, itertools.count()
    descriptor = os.open(path, os.O_RDONLY)

    def work() -> None:
        buffer = [bytearray(_READ_BYTES)]
        while (offset := next(pieces) * _READ_BYTES) < size:
            os.preadv(descriptor, buffer, offset)

    try:
        workers = [threading.Thread(target=work) for _ in range(threads)]
        begun = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return time.perf_counter() - begun
    finally:
        os.close(descriptor)


def _status_bytes(key: str) -> int | None:
    try:
        text = _STATUS.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name == key:
            return int(rest.split()[0]) * 1024
    return None
