"""Check a package: files and hashes, tensor table against graphs, finite values, agreement of both engines.

Needs numpy only for the first four kinds of check; the engines are compared where the compiled module and
onnxruntime are installed, and otherwise reported as not run.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxtral_edge.engines.agreement import compare_traces, limit_for
from voxtral_edge.engines.graph_check import graph_problems
from voxtral_edge.engines.manifest import package_file, read_manifest
from voxtral_edge.errors import DeviceError, ModelFormatError, VoxtralEdgeError

PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"
CHUNK_BYTES = 4 << 20
"""Files are read in pieces of this size: verifying a 9 GB package takes a few megabytes of memory."""
CLIP_SECONDS = 3.0
SAMPLE_RATE_HZ = 16000
SAMPLE = Path(__file__).resolve().parent.parent / "samples" / "zero-to-nine.wav"
"""Real speech for the comparison of engines; only a source checkout has it."""


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    status: str
    """"passed", "failed" or "not run"."""
    detail: str


@dataclass(frozen=True)
class VerifyReport:
    """All checks of one package, in the order they ran."""

    directory: Path
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """True when nothing failed; look at the checks for what was not run."""
        return all(check.status != FAILED for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """As plain data: directory, ok, checks[name, status, detail]."""
        checks = [{"name": c.name, "status": c.status, "detail": c.detail} for c in self.checks]
        return {"directory": str(self.directory), "ok": self.ok, "checks": checks}


def verify(
    directory: str | Path, *, engines: bool = True, on_check: Callable[[Check], None] | None = None
) -> VerifyReport:
    """Check the package in `directory` and return a report; problems of the package are reported, not raised.

    `engines`: also run both engines on short clips. `on_check` is called with every check as it is done.
    """
    folder = Path(directory)
    checks: list[Check] = []
    for check in _checks(folder, engines):
        checks.append(check)
        if on_check:
            on_check(check)
    return VerifyReport(folder, tuple(checks))


def _checks(folder: Path, engines: bool) -> Iterator[Check]:
    try:
        manifest = read_manifest(folder)
    except ModelFormatError as error:
        yield Check("manifest", FAILED, str(error))
        yield from (
            Check(name, NOT_RUN, "the manifest is not usable") for name in ("files", "graphs", "values")
        )
        yield Check("engines", NOT_RUN, "the manifest is not usable")
        return
    name, count = manifest.get("name"), len(manifest["tensors"])
    yield Check("manifest", PASSED, f"{name!r}, format version {manifest['format_version']}, {count} tensors")
    sound = True
    for check in (
        *_file_checks(folder, manifest),
        _graph_check(folder, manifest),
        _value_check(folder, manifest),
    ):
        sound = sound and check.status == PASSED
        yield check
    if not engines:
        yield Check("engines", NOT_RUN, "left out on request")
    elif not sound:
        yield Check("engines", NOT_RUN, "the package is damaged")
    else:
        yield from _engine_checks(folder, manifest)


# ---------------------------------------------------------------------- files, graphs, values


def _file_checks(folder: Path, manifest: dict[str, Any]) -> Iterator[Check]:
    """Size and sha256 of every file the manifest lists."""
    for name, entry in manifest["files"].items():
        try:
            path = package_file(folder, name)
            size = path.stat().st_size
            if size != entry["bytes"]:
                yield Check(name, FAILED, f"{size} bytes, the manifest says {entry['bytes']}")
                continue
            digest = hashlib.sha256()
            with open(path, "rb") as file:
                while piece := file.read(CHUNK_BYTES):
                    digest.update(piece)
        except (ModelFormatError, OSError) as error:
            yield Check(name, FAILED, str(error))
            continue
        if digest.hexdigest() == entry["sha256"]:
            yield Check(name, PASSED, f"{size:,} bytes, sha256 matches")
        else:
            yield Check(name, FAILED, "its sha256 is not the manifest's: copy or download it again")


def _graph_check(folder: Path, manifest: dict[str, Any]) -> Check:
    """Every external initialiser is in the table, every table tensor of a graph is used."""
    try:
        problems = graph_problems(folder, manifest)
    except (ModelFormatError, OSError) as error:
        return Check("graphs", FAILED, str(error))
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return Check("graphs", FAILED, problems[0] + more)
    count = sum(len(entry["graphs"]) for entry in manifest["tensors"].values())
    return Check("graphs", PASSED, f"{count} initialisers point exactly at the tensor table")


def _value_check(folder: Path, manifest: dict[str, Any]) -> Check:
    """No scale, norm, bias or other float in the package is NaN or infinite."""
    count = 0
    for name, entry in manifest["tensors"].items():
        if entry["dtype"] == "uint8":
            continue
        try:
            finite = _all_finite(package_file(folder, entry["file"]), entry)
        except (ModelFormatError, OSError) as error:
            return Check("values", FAILED, f"tensor '{name}': {error}")
        if not finite:
            return Check("values", FAILED, f"tensor '{name}' holds NaN or infinite values")
        count += 1
    return Check("values", PASSED, f"{count} tensors of scales and floats are finite")


def _all_finite(path: Path, entry: dict[str, Any]) -> bool:
    # NaN and infinity are the numbers with all exponent bits set: an integer test is faster than float16
    # isfinite.
    kind, exponent = (np.uint32, 0x7F800000) if entry["dtype"] == "float32" else (np.uint16, 0x7C00)
    left = entry["bytes"]
    with open(path, "rb") as file:
        file.seek(entry["offset"])
        while left:
            wanted = min(CHUNK_BYTES, left)
            piece = file.read(wanted)
            if len(piece) < wanted:
                raise ModelFormatError(f"'{path.name}' ends before the tensor does")
            left -= len(piece)
            if ((np.frombuffer(piece, kind) & exponent) == exponent).any():
                return False
    return True


# ---------------------------------------------------------------------- engines


def _engine_checks(folder: Path, manifest: dict[str, Any]) -> Iterator[Check]:
    """Both engines through the public API on a synthetic clip, and on a recording if there is one."""
    for module, hint in (
        ("onnxruntime", "pip install onnxruntime"),
        ("voxtral_edge._core", "pip install . in the source folder"),
    ):
        if importlib.util.find_spec(module) is None:
            yield Check("engines", NOT_RUN, f"{module} is not installed: {hint}")
            return
    from voxtral_edge import engine as front
    from voxtral_edge import inspect

    try:
        # f32 keeps the KV rings' precision out of the comparison: the graphs hold float32.
        pair = [
            front.load(folder, engine="native", kv_cache="f32", cache_packed=False),
            front.load(folder, engine="onnxruntime"),
        ]
    except DeviceError as error:
        yield Check("engines", NOT_RUN, str(error))
        return
    except VoxtralEdgeError as error:
        yield Check("engines", FAILED, str(error))
        return
    delay, limit = manifest["audio"]["default_delay_tokens"], limit_for(manifest.get("precision", {}))
    for name, pcm in _clips():
        try:
            traces = [inspect.trace(engine, pcm, delay_tokens=delay) for engine in pair]
        except VoxtralEdgeError as error:
            yield Check(f"engines, {name}", FAILED, str(error))
            continue
        result = compare_traces(traces[0], traces[1], limit)
        yield Check(f"engines, {name}", PASSED if result.agree else FAILED, result.detail)


def _clips() -> Iterator[tuple[str, np.ndarray]]:
    yield "chirp", chirp()
    if SAMPLE.is_file():
        from voxtral_edge.audio import read_audio

        yield SAMPLE.name, read_audio(SAMPLE)


def chirp() -> np.ndarray:
    """Three seconds of a tone rising from 100 Hz to 4 kHz with syllable-like loudness, float32 at 16 kHz."""
    time = np.arange(int(CLIP_SECONDS * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    ratio = 4000.0 / 100.0
    phase = 2 * np.pi * 100.0 * CLIP_SECONDS / np.log(ratio) * (ratio ** (time / CLIP_SECONDS) - 1.0)
    loudness = 0.3 * (0.3 + 0.7 * np.abs(np.sin(2 * np.pi * 2.0 * time)))
    return (loudness * np.sin(phase)).astype(np.float32)
