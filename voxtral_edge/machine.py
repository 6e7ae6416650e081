"""Facts about this machine, read from the operating system."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from voxtral_edge._native import native_module

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
    total, available = native_module().memory()
    return int(total), int(available)


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
