"""The measurements behind docs/benchmarks.md: what each part runs, for how long, and where its result goes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from voxtral_edge.package_folder import find_package

FOLDER = Path(__file__).resolve().parent
# Seconds of audio (kernels, disturbance: of clock) that a part measures by default; with the 4B model on two quiet Zen
# cores everything together takes about 40 minutes.
SECONDS: dict[str, float] = {
    "live": 120.0,
    "live-full": 60.0,
    "int8": 40.0,
    "file": 44.0,
    "streams": 16.0,
    "capacity": 30.0,
    "peers": 48.0,
    "kernels": 10.0,
    "start": 2.0,
    "load": 0.0,  # as long as loading takes
    "disturbance": 120.0,
    "disturbance-full": 180.0,
    "soak": 7200.0,
    "soak-full": 600.0,
}
# A part that takes longer than this on the clock is stopped; what it had done stays beside as LABEL.unfinished, if it
# writes before its end (soak.py).
LIMIT_S: dict[str, float] = {name: 900.0 for name in SECONDS} | {"kernels": 300.0, "soak-full": 1800.0}


@dataclass(frozen=True)
class Settings:
    """What `report.py` was asked for.

    model       full-size package; int8: the same with int8 weights, or None; small: for soak and disturbance
    threads     of every measurement but those on `small`
    audio       real speech, not repeated (guessed tokens would learn a loop)
    gguf, peer_python   for transcribe-cpp, or None
    kernels     the program kernels_benchmark, or None
    results     folder of the JSON files
    """

    model: str
    int8: str | None
    small: str
    threads: int
    runs: int
    audio: Path
    results: Path
    gguf: Path | None = None
    peer_python: str = sys.executable
    onnxruntime: bool = True
    kernels: Path | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    limit_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """A program that writes a result. `missing`: why it cannot run, if it cannot."""

    label: str
    words: list[str]
    missing: str = ""


def commands(part: str, settings: Settings) -> list[Command]:
    """What a part runs, in order; each with `--json FILE` to come."""
    seconds = settings.seconds.get(part, SECONDS[part])
    threads = ["--threads", str(settings.threads)]
    runs = ["--runs", str(settings.runs)]
    replay = ["--audio", str(settings.audio), "--replay", settings.small]

    def bench(label: str, model: str | None, *options: str) -> Command:
        words = [*_bench(), "-m", model or "", *threads, "--seconds", f"{seconds:g}", *options]
        return Command(label, words, "" if model else "give --int8 PACKAGE")

    if part == "live":
        return [bench("live", settings.model, *runs)]
    if part == "live-full":
        return [bench("live-full", settings.model, "--kv-full", *runs)]
    if part == "int8":
        return [
            bench("int8-live", settings.int8, *runs),
            bench("int8-live-full", settings.int8, "--kv-full"),
            bench("int8-file", settings.int8, "--file", *replay),
        ]
    if part == "file":
        return [bench("file", settings.model, "--file", *runs, *replay)]
    if part == "streams":
        return [bench(f"streams-{n}", settings.model, "--streams", str(n)) for n in (1, 4, 8)]
    if part == "capacity":
        return [
            bench("capacity", settings.model, "--streams", "max"),
            bench("capacity-full", settings.model, "--streams", "max", "--kv-full"),
        ]
    if part == "start":
        cold = [bench(f"start-{i}", settings.model, "--cold") for i in range(1, settings.runs + 1)]
        return [*cold, bench("start-warm", settings.model)]
    return [_script(part, settings, seconds)]


def _bench() -> list[str]:
    return [sys.executable, "-m", "voxtral_edge.cli.main", "bench"]


def _script(part: str, settings: Settings, seconds: float) -> Command:
    """The parts that are programs of their own in this folder."""
    threads = ["--threads", str(settings.threads)]
    if part == "peers":
        # Six rounds; a live step of everybody together takes about half a second.
        steps = max(4, round(seconds / 6 / 0.08 / 5))
        words = ["peers.py", "-m", settings.model, *threads, "--steps", str(steps), "--file-rounds", "3"]
        words += ["--file-seconds", f"{min(36.0, seconds):g}"]
        words += ["--audio", str(settings.audio), "--replay", settings.small]
        words += ["--onnxruntime"] if settings.onnxruntime else []
        words += (
            ["--gguf", str(settings.gguf), "--peer-python", settings.peer_python] if settings.gguf else []
        )
    elif part == "kernels":
        words = ["kernels.py", *threads, "--seconds", f"{seconds:g}", "--program", str(settings.kernels)]
        missing = (
            "" if settings.kernels else "give --kernels-benchmark PROGRAM (CMake target kernels_benchmark)"
        )
        return Command(part, [sys.executable, str(FOLDER / words[0]), *words[1:]], missing)
    elif part == "load":
        package = find_package(settings.model)
        words = ["load_time.py", str(package), *threads, "--rounds", str(settings.runs), "--cold"]
    elif part == "disturbance":
        words = ["disturbance.py", "-m", settings.small, "--seconds", f"{seconds:g}"]
    elif part == "disturbance-full":
        words = [
            "disturbance.py",
            "-m",
            settings.model,
            *threads,
            "--clients",
            "1",
            "--seconds",
            f"{seconds:g}",
        ]
    elif part == "soak":
        words = ["soak.py", "-m", settings.small, "--threads", "1", "--hours", f"{seconds / 3600:g}"]
    else:
        words = ["soak.py", "-m", settings.model, *threads, "--kv-full", "--hours", f"{seconds / 3600:g}"]
    return Command(part, [sys.executable, str(FOLDER / words[0]), *words[1:]])
