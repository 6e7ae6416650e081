"""Compares a package with another one of the same model, usually a more precise one, on recordings.

The other package transcribes; the package under test hears the same audio with the same tokens behind it, so that
each token's two distributions answer the same question, and then transcribes by itself. The packages are loaded one
after the other: the larger one and one stream must fit memory, not both.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxtral_edge.audio import PathLike
from voxtral_edge.engine import DEFAULT_DELAY_MS, Engine, delay_tokens, load
from voxtral_edge.engines.manifest import read_manifest
from voxtral_edge.errors import AudioFormatError, UsageError
from voxtral_edge.package_folder import find_package
from voxtral_edge.quality.changes import TokenNames, token_changes, word_changes
from voxtral_edge.quality.distribution import DistributionFile
from voxtral_edge.quality.passes import Forced, Reference, Spoken, forced_pass, free_pass, reference_pass
from voxtral_edge.quality.recordings import Recording, find_recordings
from voxtral_edge.quality.summary import RecordingResult, Summary, summarize
from voxtral_edge.step_cost import cost_of_manifest
from voxtral_edge.tokenizer import Tokenizer

OnProgress = Callable[[str, Recording, float], None]
"""on_progress(what is done, the recording, seconds of it that are heard)."""

PASSES = ("other package", "same tokens", "free")


@dataclass(frozen=True)
class Side:
    """A package of the comparison: its folder, precision per group, and bytes of weights read per 80 ms step."""

    directory: Path
    precision: Mapping[str, str]
    step_bytes: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "directory": str(self.directory),
            "precision": dict(self.precision),
            "step_bytes": self.step_bytes,
        }


@dataclass(frozen=True)
class Comparison:
    """What a comparison found: per recording, in total, and on what it was measured."""

    package: Side
    against: Side
    delay_ms: int
    recordings: tuple[RecordingResult, ...]
    total: Summary
    stored_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """As plain data; docs/export.md describes it."""
        return {
            "format": "voxtral-edge-comparison",
            "format_version": 1,
            "package": self.package.to_dict(),
            "against": self.against.to_dict(),
            "delay_ms": self.delay_ms,
            "stored_bytes": self.stored_bytes,
            "total": self.total.to_dict(),
            "recordings": [result.to_dict() for result in self.recordings],
        }


def compare_packages(
    package: PathLike,
    against: PathLike,
    audio: Sequence[PathLike],
    *,
    delay_ms: int = DEFAULT_DELAY_MS,
    on_progress: OnProgress = lambda doing, recording, seconds: None,
    **options: Any,
) -> Comparison:
    """Compares `package` with `against` (folders or bundled names) on files and folders of `audio`.

    options   engine, threads, kv_cache, … of `voxtral_edge.load`, for both

    UsageError: packages of different models or tokenizers, no audio, an invalid option. AudioFormatError: a file that
    cannot be read, or no word in any of them. ModelFormatError, DeviceError: as `load`; also numbers that are not
    finite, and a full disk (docs/export.md says what is stored).
    """
    delay = delay_tokens(delay_ms)
    folders = [find_package(package), find_package(against)]
    manifests = [read_manifest(folder) for folder in folders]
    _require_same_model(folders, manifests)
    recordings = find_recordings(audio)
    names = TokenNames(manifests[0]["tokens"], Tokenizer.from_file(folders[0] / "tekken.json"))
    with DistributionFile() as kept:
        references = _reference_passes(load(folders[1], **options), recordings, delay, kept, on_progress)
        if not any(reference.spoken.words for reference in references):
            raise AudioFormatError(
                f"{folders[1]} hears no word in {', '.join(str(r.path) for r in recordings[:3])}"
                f"{', …' if len(recordings) > 3 else ''}; name recordings with speech"
            )
        gc.collect()  # the engine goes before the next comes
        tested = _tested_passes(load(folders[0], **options), recordings, delay, references, kept, on_progress)
        results = tuple(
            RecordingResult.of(
                recording,
                reference,
                forced,
                spoken,
                token_changes(reference, forced, names),
                word_changes(reference.spoken, spoken),
            )
            for recording, reference, (forced, spoken) in zip(recordings, references, tested, strict=True)
        )
        stored = kept.bytes
    sides = [
        Side(f, m["precision"], cost_of_manifest(m).weight_bytes)
        for f, m in zip(folders, manifests, strict=True)
    ]
    return Comparison(sides[0], sides[1], delay_ms, results, summarize(results), stored)


def _reference_passes(
    engine: Engine, recordings: list[Recording], delay: int, kept: DistributionFile, on_progress: OnProgress
) -> list[Reference]:
    return [
        reference_pass(engine, recording, delay, kept, _progress(on_progress, PASSES[0], recording))
        for recording in recordings
    ]


def _tested_passes(
    engine: Engine,
    recordings: list[Recording],
    delay: int,
    references: list[Reference],
    kept: DistributionFile,
    on_progress: OnProgress,
) -> Iterator[tuple[Forced, Spoken]]:
    distributions = kept.read()
    for recording, reference in zip(recordings, references, strict=True):
        heard = _progress(on_progress, PASSES[1], recording)
        forced = forced_pass(engine, recording, delay, reference, distributions, heard)
        yield forced, free_pass(engine, recording, delay, _progress(on_progress, PASSES[2], recording))


def _progress(on_progress: OnProgress, doing: str, recording: Recording) -> Callable[[float], None]:
    return lambda seconds: on_progress(doing, recording, seconds)


def _require_same_model(folders: list[Path], manifests: list[dict[str, Any]]) -> None:
    """UsageError naming the first difference in what makes tokens comparable: dimensions, framing and padding, ids."""
    left, right = manifests
    for section in ("tokens", "audio", "config"):
        difference = _difference(section, left[section], right[section])
        if difference:
            raise UsageError(
                f"{folders[0]} and {folders[1]} are not of the same model: {difference}; compare packages that were "
                "exported from one checkpoint"
            )
    if left["files"]["tekken.json"]["sha256"] != right["files"]["tekken.json"]["sha256"]:
        raise UsageError(
            f"{folders[0]} and {folders[1]} have different tokenizers (tekken.json); compare packages that were "
            "exported from one checkpoint"
        )


def _difference(name: str, left: Any, right: Any) -> str:
    if isinstance(left, dict) and isinstance(right, dict):
        for key in {**left, **right}:
            if difference := _difference(f"{name}.{key}", left.get(key), right.get(key)):
                return difference
        return ""
    return "" if left == right else f"{name} is {left!r} and {right!r}"
