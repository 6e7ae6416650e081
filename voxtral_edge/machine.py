"""Facts about this machine, read from the operating system."""

from __future__ import annotations

import os
import platform
import shutil
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
    """(total, available) bytes of main memory; a container's limit counts as the total."""
    values = {}
    for line in _read("/proc/meminfo").splitlines():
        key, _, rest = line.partition(":")
        if rest.strip().endswith("kB"):
            values[key] = int(rest.split()[0]) * 1024
    total = values.get("MemTotal") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = values.get("MemAvailable", total)
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    if limit.isdigit() and int(limit) < total:
        used = _read("/sys/fs/cgroup/memory.current").strip()
        total = int(limit)
        available = min(available, total - int(used)) if used.isdigit() else min(available, total)
    return total, max(0, available)


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
