"""Which machine, which software and which package a figure belongs to, and what else the machine was
doing."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import voxtral_edge
from voxtral_edge._native import native_module
from voxtral_edge.machine import cpu_model, memory_bytes

_CPU = Path("/sys/devices/system/cpu")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Other work beyond this many CPUs during a run, or time the host took away beyond this share, spoils figures.
QUIET_CPUS, QUIET_STEAL = 0.15, 0.01


def machine() -> dict[str, Any]:
    """Facts about hardware and system that decide speed; JSON-ready, None where the system does not say."""
    core = native_module()
    total, _ = memory_bytes()
    return {
        "cpu": cpu_model(),
        "architecture": platform.machine(),
        "cpus": os.cpu_count(),
        "usable_cpus": int(core.usable_cpus()),
        "features": list(core.cpu_features()),
        "memory_mb": round(total / 1e6),
        "last_level_cache_mb": last_level_cache_mb(),
        "hypervisor": _hypervisor(),
        "system": platform.system(),
        "kernel": platform.release(),
        "governor": _text(_CPU / "cpu0/cpufreq/scaling_governor"),
        "clock_driver": _text(_CPU / "cpu0/cpufreq/scaling_driver"),
        "power_mode": _jetson_power_mode(),
        "huge_pages": _chosen(_text(Path("/sys/kernel/mm/transparent_hugepage/enabled"))),
    }


def last_level_cache_mb() -> float | None:
    """Size of the largest cache of the first CPU."""
    sizes = [_text(path) or "" for path in _CPU.glob("cpu0/cache/index*/size")]
    units = {"K": 1 / 1024, "M": 1.0}
    return max((float(size[:-1]) * units[size[-1]] for size in sizes if size[-1:] in units), default=None)


def software() -> dict[str, Any]:
    """Versions: this package's, Python's, and onnxruntime's where it is installed."""
    try:
        onnxruntime: str | None = version("onnxruntime")
    except PackageNotFoundError:
        onnxruntime = None
    return {
        "voxtral_edge": voxtral_edge.__version__,
        "python": platform.python_version(),
        "onnxruntime": onnxruntime,
    }


def git_revision() -> str | None:
    """The commit of the source checkout this program runs from, "+changes" behind it if files differ; None
    for an installed package."""
    folder = Path(__file__).resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    # A virtual environment may lie inside somebody else's repository: only ours tracks this very file.
    if not commit or _git(folder, "ls-files", "--error-unmatch", "environment.py") is None:
        return None
    return commit + (
        "+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no", "..") else ""
    )


def package(directory: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Which package was run: name, hash of its manifest (which holds the hashes of its files), size,
    origin."""
    source = manifest.get("source", {})
    return {
        "name": str(manifest.get("name", directory.name)),
        "manifest_sha256": hashlib.sha256((directory / "manifest.json").read_bytes()).hexdigest(),
        "bytes": sum(path.stat().st_size for path in directory.iterdir() if path.is_file()),
        "precision": dict(manifest.get("precision", {})),
        "source_layout": source.get("layout"),
        "random_weights": source.get("layout") == "synthetic",
    }


def precision_name(groups: dict[str, str]) -> str:
    """The precisions of a package in few words: `int4`, or `int4 (embedding int8)`."""
    kinds = list(groups.values())
    if not kinds:
        return "unknown"
    main = max(dict.fromkeys(kinds), key=kinds.count)
    others = ", ".join(f"{group} {kind}" for group, kind in groups.items() if kind != main)
    return f"{main} ({others})" if others else main


class Interference:
    """What other programs did between making this object and `result`."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._own = _own_cpu_seconds()
        self._system = _system_cpu_seconds()
        self._load = _load_average()

    def result(self) -> dict[str, Any]:
        """{"own_cpus", "other_cpus": CPUs busy on average, "steal_share", "load_start", "load_end", "quiet"}.

        Steal is time in which the host ran somebody else on this virtual machine's CPUs. None where unknown.
        """
        seconds = max(1e-9, time.monotonic() - self._begun)
        own = (_own_cpu_seconds() - self._own) / seconds
        result: dict[str, Any] = {
            "own_cpus": round(own, 3),
            "other_cpus": None,
            "steal_share": None,
            "load_start": self._load,
            "load_end": _load_average(),
            "quiet": None,
        }
        after = _system_cpu_seconds()
        if self._system is not None and after is not None:
            busy, steal = ((now - before) / seconds for now, before in zip(after, self._system, strict=True))
            result["other_cpus"] = round(max(0.0, busy - own), 3)
            result["steal_share"] = round(max(0.0, steal / (os.cpu_count() or 1)), 4)
            result["quiet"] = result["other_cpus"] <= QUIET_CPUS and result["steal_share"] <= QUIET_STEAL
        return result


def _own_cpu_seconds() -> float:
    """Of this process, and of the programs it started that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _system_cpu_seconds() -> tuple[float, float] | None:
    """(busy, stolen) seconds of all CPUs since boot."""
    line = (_text(Path("/proc/stat")) or "").split("\n", 1)[0].split()
    if len(line) < 9:
        return None
    user, nice, system, _, _, irq, softirq, steal = (float(value) / _TICKS_PER_SECOND for value in line[1:9])
    return user + nice + system + irq + softirq, steal


def _load_average() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _hypervisor() -> str | None:
    for path in ("/sys/hypervisor/type", "/sys/class/dmi/id/sys_vendor"):
        if text := _text(Path(path)):
            return text
    return "yes" if "hypervisor" in (_text(Path("/proc/cpuinfo")) or "") else None


def _jetson_power_mode() -> str | None:
    """The name of the active nvpmodel mode: it caps cores, clocks and memory bandwidth."""
    status = _text(Path("/var/lib/nvpmodel/status")) or ""
    number = status.partition(":")[2].strip()
    if not number:
        return None
    for line in (_text(Path("/etc/nvpmodel.conf")) or "").splitlines():
        if line.startswith("< POWER_MODEL") and f"ID={number} " in line:
            return line.partition("NAME=")[2].strip(" >")
    return f"mode {number}"


def _chosen(text: str | None) -> str | None:
    """`always [madvise] never` -> `madvise`."""
    return text.partition("[")[2].partition("]")[0] or None if text else None


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None
    except OSError:
        return None
