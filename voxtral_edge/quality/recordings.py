"""The recordings that a comparison listens to: files, and all audio files of folders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from voxtral_edge.audio import SAMPLE_RATE_HZ, AudioFile, PathLike
from voxtral_edge.errors import UsageError

SUFFIXES = (".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav")


@dataclass(frozen=True)
class Recording:
    """A file that was read to its end once: its seconds of audio, and what was odd about it."""

    path: Path
    duration_s: float
    warnings: tuple[str, ...]


def find_recordings(places: Iterable[PathLike]) -> list[Recording]:
    """The files among `places`, and those with one of SUFFIXES in the folders and below, sorted by name.

    Every file is decoded once: an unreadable one is an AudioFormatError now and not after an hour. UsageError for a
    folder without audio, and without any place.
    """
    found = [_read(path) for place in places for path in _files(Path(place))]
    if not found:
        raise UsageError("no recording is named; name audio files, or folders of them")
    return found


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    files = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise UsageError(f"{place}: holds no audio ({', '.join(SUFFIXES)})")
    return files


def _read(path: Path) -> Recording:
    with AudioFile(path) as file:
        samples = sum(len(block) for block in file.blocks())
        return Recording(path, samples / SAMPLE_RATE_HZ, tuple(file.warnings))
