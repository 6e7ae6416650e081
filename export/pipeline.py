"""Checkpoint -> package: plan, write the weights, build the graphs, hash, swap into place."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import json
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from voxtral_edge.errors import DeviceError, UsageError
from voxtral_edge.machine import free_disk_bytes

from .atomic_folder import FORMAT_NAME, AtomicFolder, refuse_foreign_target, sibling_folder, space_message
from .model_config import ModelConfig
from .package_layout import PackageLayout, plan_layout
from .precision import GROUPS, resolve_precision
from .progress import Progress
from .schema import TensorSpec
from .weights_writer import QuantizeInt4, write_weights

if TYPE_CHECKING:
    from voxtral_edge.audio import PathLike
    from voxtral_edge.quality.recordings import Recording

FORMAT_VERSION = 1
EXPORTER_VERSION = "1.0"
# Graphs and manifest of the 4B model take about 2 MB; their size is only known once they are written.
GRAPH_RESERVE_BYTES = 8 << 20


class ExportSource(Protocol):
    """What can be exported: a `Checkpoint` or a `SyntheticCheckpoint`."""

    layout: str
    config: ModelConfig
    specs: list[TensorSpec]
    notes: list[str]

    def read(self, spec: TensorSpec, first: int, count: int) -> np.ndarray: ...

    def tokenizer_bytes(self) -> bytes: ...


@dataclass(frozen=True)
class ExportReport:
    """What was written; sizes in bytes. `groups` maps a precision group (or "other") to its bytes."""

    path: Path
    seconds: float
    weight_bytes: int
    total_bytes: int
    precision: dict[str, str]
    groups: dict[str, int]
    notes: list[str] = field(default_factory=list)


def export_package(
    source: ExportSource,
    output: Path,
    *,
    precision: str = "int4",
    name: str | None = None,
    threads: int = 2,
    scale_search: bool = True,
    calibration: Sequence[PathLike] = (),
    progress: str = "none",
    provenance: dict[str, Any] | None = None,
) -> ExportReport:
    """Writes the package folder `output`, atomically.

    precision     fp32, fp16, int8, int4 or the path of a recipe (*.toml)
    name          the model's name in the manifest; default: the folder's name
    scale_search  choose int4 scales by squared error; False: absmax / 7
    calibration   recordings and folders of them: int4 weights are chosen by what the model hears there, which needs
                  onnxruntime, the compiled module, and disk for a package of int8 beside `output`
    provenance    extra entries of the manifest's `source`
    Raises ModelFormatError (checkpoint), UsageError (options, foreign target), DeviceError (disk, no onnx).
    """
    start = time.monotonic()
    chosen = check_request(output, precision=precision, threads=threads, calibration=calibration)
    layout = plan_layout(source.specs, chosen)
    tokenizer = source.tokenizer_bytes()
    needed = layout.weight_bytes + len(tokenizer) + GRAPH_RESERVE_BYTES
    about = {"int4_scales": "least squares" if scale_search else "absmax / 7", **(provenance or {})}
    recordings = _recordings(calibration, chosen)
    if recordings:
        about["calibration_seconds"] = round(sum(recording.duration_s for recording in recordings), 1)
    title = (name or output.resolve().name).encode("utf-8", "replace").decode()  # folders may have any name
    manifest = _manifest(source, layout, chosen, title, about)
    with (
        _terminate_as_interrupt(),
        _calibrated(source, output, recordings, threads, progress) as quantize_int4,
        AtomicFolder(output) as folder,
    ):
        folder.require_space(needed)
        encoding = {"threads": threads, "scale_search": scale_search, "quantize_int4": quantize_int4}
        try:
            files = _write_files(source, layout, folder.path, manifest, tokenizer, encoding, progress)
            folder.commit()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                free = free_disk_bytes(folder.target.parent)
                raise DeviceError(space_message(folder.target, needed, free)) from error
            raise DeviceError(f"cannot write {folder.target}: {error.strerror}") from error
    total = sum(entry["bytes"] for entry in files.values())
    return ExportReport(
        folder.target,
        time.monotonic() - start,
        layout.weight_bytes,
        total,
        chosen,
        group_bytes(layout),
        list(source.notes),
    )


def check_request(
    output: Path, *, precision: str, threads: int, calibration: Sequence[PathLike] = ()
) -> dict[str, str]:
    """Everything that can be refused before a checkpoint is downloaded or read; {group: precision}.

    Raises UsageError (options, foreign target), AudioFormatError (calibration) and DeviceError (a package is missing).
    """
    if threads < 1:
        raise UsageError(f"threads must be at least 1, not {threads}")
    chosen = resolve_precision(precision)
    refuse_foreign_target(output.resolve())
    recordings = _recordings(calibration, chosen)
    try:
        importlib.import_module("onnx")
    except ImportError as error:
        raise DeviceError(
            f"export needs the onnx package ({error}); install it with: pip install onnx"
        ) from error
    if recordings:
        from voxtral_edge._native import native_module
        from voxtral_edge.engines.onnxruntime_backend import import_onnxruntime

        native_module()
        import_onnxruntime("calibration")
    return chosen


def _recordings(calibration: Sequence[PathLike], precision: dict[str, str]) -> list[Recording]:
    if not calibration:
        return []
    if "int4" not in precision.values():
        raise UsageError("calibration chooses int4 weights, and no group of this precision is int4")
    from voxtral_edge.quality.recordings import find_recordings

    return find_recordings(calibration)


@contextlib.contextmanager
def _calibrated(
    source: ExportSource, output: Path, recordings: list[Recording], threads: int, progress: str
) -> Iterator[QuantizeInt4 | None]:
    """How int4 is chosen by `recordings`; None without any. Its files lie beside `output` until the end."""
    if not recordings:
        yield None
        return
    from .activations import record_activations
    from .compensation import Compensator

    with sibling_folder(output.resolve(), "calibration") as scratch:
        # Not in `scratch` itself: an export locks the folder that it writes in, and this one is locked.
        package, kept = scratch / "int8" / "package", scratch / "activations"
        kept.mkdir()
        export_package(source, package, precision="int8", threads=threads, progress=progress)
        bar = Progress(sum(int(r.duration_s) for r in recordings), "calibration", progress, audio=True)
        try:
            store = record_activations(package, recordings, kept, threads, bar.advance)
        except BaseException:
            bar.abandon()
            raise
        bar.finish()
        shutil.rmtree(package)  # its space may be needed for the new one
        yield Compensator(store).quantize


def _manifest(
    source: ExportSource, layout: PackageLayout, precision: dict[str, str], name: str, about: dict[str, Any]
) -> dict[str, Any]:
    """All of the manifest but `files`, which is known once they are written."""
    return {
        "format": FORMAT_NAME,
        "format_version": FORMAT_VERSION,
        "name": name,
        **source.config.to_manifest(),
        "precision": precision,
        "tensors": layout.table(),
        "files": {},
        "source": {
            "layout": source.layout,
            "exporter_version": EXPORTER_VERSION,
            "path": None,
            "revision": None,
            **about,
        },
    }


def _write_files(
    source: ExportSource,
    layout: PackageLayout,
    folder: Path,
    manifest: dict[str, Any],
    tokenizer: bytes,
    encoding: dict[str, Any],
    progress: str,
) -> dict[str, Any]:
    bar = Progress(layout.weight_bytes, "export", progress)
    try:
        weights = write_weights(
            source,
            layout,
            folder / "weights.bin",
            on_bytes=bar.advance,
            **encoding,
        )
    except BaseException:
        bar.abandon()
        raise
    bar.finish()
    (folder / "tekken.json").write_bytes(tokenizer)
    from .onnx_graphs import build_graphs  # onnx is heavy, and an optional dependency

    build_graphs(manifest, folder)
    files = {"weights.bin": weights}
    for other in ("encoder.onnx", "decoder.onnx", "tekken.json"):
        files[other] = _describe_file(folder / other)
    manifest["files"] = files
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return files


def _describe_file(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def group_bytes(layout: PackageLayout) -> dict[str, int]:
    """Bytes in weights.bin per precision group; what always stays float32 counts as "other"."""
    sizes = dict.fromkeys((*GROUPS, "other"), 0)
    for tensor in layout.tensors:
        sizes[tensor.spec.group or "other"] += tensor.size_bytes
    return sizes


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind like Ctrl-C, so that the partial folder is removed.

    Only the main thread may set handlers; elsewhere the next export cleans up what a killed one left.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
