"""Facts about this machine, read from the operating system."""

from __future__ import annotations

import os
import platform
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

# Arm's part numbers (MIDR) of the cores in boards people run this on; /proc/cpuinfo gives no names there.
_ARM_CORES = {
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse N1",
    "0xd40": "Neoverse V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd44": "Cortex-X1",
    "0xd49": "Neoverse N2",
    "0xd4f": "Neoverse V2",
    "0xd81": "Cortex-A720",
    "0xd83": "Neoverse V3AE",
}


def cpu_model() -> str:
    """The CPU's name; on Arm the board's name, if the system knows it, and the kinds of cores."""
    text = _read("/proc/cpuinfo")
    for line in text.splitlines():
        if line.lower().startswith("model name"):
            return line.split(":", 1)[1].strip()
    parts = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("CPU part")]
    cores = ", ".join(
        f"{parts.count(part)}× {_ARM_CORES.get(part, f'Arm part {part}')}" for part in dict.fromkeys(parts)
    )
    board = _read("/proc/device-tree/model").strip("\0\n ")
    return " · ".join(name for name in (board, cores) if name) or platform.processor() or platform.machine()


def memory_bytes() -> tuple[int, int]:
    """(total, available) bytes of main memory; a container's or service's limit counts as the total."""
    values = _meminfo()
    total = values.get("MemTotal") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = values.get("MemAvailable", total)
    for limit, used in _cgroup_limits():
        total, available = min(total, limit), min(available, limit - used)
    return total, max(0, available)


def obtainable_memory_bytes() -> int:
    """The most this process could still take: what is available, swap, and within its own limits
    (`ulimit -v`)."""
    values, (_, available) = _meminfo(), memory_bytes()
    obtainable = available if any(True for _ in _cgroup_limits()) else available + values.get("SwapFree", 0)
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        size = next((line for line in _read("/proc/self/status").splitlines() if "VmSize" in line), "")
        used = int(size.split()[1]) * 1024 if size else 0
        obtainable = min(obtainable, max(0, soft - used))
    return obtainable


def _meminfo() -> dict[str, int]:
    values = {}
    for line in _read("/proc/meminfo").splitlines():
        key, _, rest = line.partition(":")
        if rest.strip().endswith("kB"):
            values[key] = int(rest.split()[0]) * 1024
    return values


def _cgroup_limits() -> Iterator[tuple[int, int]]:
    """(limit, bytes in use that cannot be dropped) of every control group this process is in that has a limit
    (version 2): a container sees its own as the root, a service is some folders below it."""
    line = next((line for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")), "0::/")
    group = Path(line.removeprefix("0::").strip() or "/")
    for path in (group, *group.parents):
        folder = f"/sys/fs/cgroup{path}".rstrip("/")
        limit, used = _read(f"{folder}/memory.max").strip(), _read(f"{folder}/memory.current").strip()
        if not limit.isdigit():
            continue
        counts = dict(line.split() for line in _read(f"{folder}/memory.stat").splitlines() if line)
        cached = int(counts.get("active_file", 0)) + int(counts.get("inactive_file", 0))
        yield int(limit), max(0, int(used) - cached) if used.isdigit() else 0


def free_disk_bytes(folder: Path) -> int:
    """Free bytes on the file system of `folder`, or of its nearest parent that exists."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
