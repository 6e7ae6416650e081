"""Known speakers: names and what their voices are like, in a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.audio import PathLike, PcmArray, as_floats, as_pcm, read_audio
from voxtral_edge.diarize.clustering import Voice
from voxtral_edge.diarize.embedder import SpeakerEmbedder
from voxtral_edge.diarize.segments import Segmenter, seconds_of
from voxtral_edge.diarize.voicing import is_voice
from voxtral_edge.errors import ModelFormatError, UsageError
from voxtral_edge.files import write_whole

FORMAT = "voxtral-edge-voiceprints"
FORMAT_VERSION = 1
LEAST_SPEECH_S = 2.0
MAX_NAME_CHARACTERS = 64
_MAX_FILE_BYTES = 16 << 20


class Voiceprints:
    """Voices by name, all of one embedder. Make them with `enrol`, keep them with `save` and `load`.

    A voiceprint is personal data in many countries: ask before you make one.
    """

    def __init__(self, embedder_name: str, voices: Mapping[str, Voice] | None = None) -> None:
        self.embedder_name = embedder_name
        self._voices: dict[str, Voice] = {}
        for name, voice in (voices or {}).items():
            self._voices[_checked_name(name)] = voice

    def __len__(self) -> int:
        return len(self._voices)

    @property
    def names(self) -> list[str]:
        """Who is known, in order of enrolment."""
        return list(self._voices)

    def voices(self) -> dict[str, Voice]:
        """Copies of the voices by name."""
        return {name: Voice(voice.total.copy(), voice.seconds) for name, voice in self._voices.items()}

    def enrol(self, name: str, audio: PathLike | PcmArray, embedder: SpeakerEmbedder) -> float:
        """Adds a recording (a file, or 16 kHz mono samples) in which only `name` speaks; several recordings of one
        name are joined. Returns the seconds of speech found. UsageError with less than 2 s of speech, for a name that
        is empty or like the automatic ones (S1, S2 …), or another embedder."""
        self.check(embedder.name)
        name = _checked_name(name)
        pcm = (
            read_audio(audio)
            if isinstance(audio, (str, Path)) or hasattr(audio, "__fspath__")
            else as_pcm(audio)
        )
        segmenter = Segmenter()
        pieces = [*segmenter.feed(as_floats(pcm)), *segmenter.finish()]
        windows = [piece for piece in pieces if piece.window is not None and is_voice(piece.window)]
        frames = covered = 0
        for piece in windows:
            frames += piece.end - max(covered, piece.window_start)
            covered = piece.end
        speech_s = seconds_of(frames)
        if speech_s < LEAST_SPEECH_S:
            raise UsageError(
                f"{name}: {speech_s:.1f} s of speech found; at least {LEAST_SPEECH_S:.0f} s are needed, 10 s are good"
            )
        vectors = [embedder.embed(piece.window) for piece in windows if piece.window is not None]
        voice = self._voices.get(name) or Voice(np.zeros(len(vectors[0])), 0.0)
        for piece, vector in zip(windows, vectors, strict=True):
            voice.add(vector, seconds_of(piece.end - piece.start))
        self._voices[name] = voice
        return speech_s

    def forget(self, name: str) -> None:
        """Removes a voice; harmless if there is none of that name."""
        self._voices.pop(_checked_name(name), None)

    def check(self, embedder_name: str) -> None:
        """UsageError unless the voiceprints were made with this embedder."""
        if embedder_name != self.embedder_name:
            raise UsageError(
                f"these voiceprints were made with the embedder {self.embedder_name!r}, not {embedder_name!r}; "
                "enrol the speakers again"
            )

    def save(self, path: PathLike) -> None:
        """Writes a JSON file."""
        document = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "embedder": self.embedder_name,
            "speakers": [
                {
                    "name": name,
                    "seconds": round(voice.seconds, 3),
                    "mean": [round(float(value), 6) for value in voice.mean],
                }
                for name, voice in self._voices.items()
            ],
        }
        write_whole(Path(path), json.dumps(document, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def load(cls, path: PathLike) -> Voiceprints:
        """Reads what `save` wrote. UsageError: no such file. ModelFormatError: not a voiceprints file."""
        file = Path(path)
        try:
            if file.stat().st_size > _MAX_FILE_BYTES:
                raise ModelFormatError(
                    f"{file}: is larger than {_MAX_FILE_BYTES >> 20} MiB; not a voiceprints file"
                )
            document = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"{file}: cannot be opened ({error.strerror or error})") from error
        except ValueError as error:
            raise ModelFormatError(f"{file}: is not a JSON text ({error})") from error
        return cls(*_parsed(document, file))


def _parsed(document: Any, file: Path) -> tuple[str, dict[str, Voice]]:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ModelFormatError(f'{file}: is not a voiceprints file (no "format": "{FORMAT}")')
    if document.get("format_version") != FORMAT_VERSION:
        raise ModelFormatError(
            f"{file}: version {document.get('format_version')!r} of the format; this program reads {FORMAT_VERSION}"
        )
    voices: dict[str, Voice] = {}
    sizes: set[int] = set()
    try:
        for entry in document["speakers"]:
            mean, seconds = _vector(entry["mean"]), float(entry["seconds"])
            if not 0.0 < seconds < 1e9:
                raise ValueError(f"seconds is {seconds}")
            sizes.add(len(mean))
            voices[_checked_name(entry["name"])] = Voice(mean * seconds, seconds)
        if len(sizes) > 1:
            raise ValueError(f"vectors of {sorted(sizes)} numbers")
        return str(document["embedder"]), voices
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFormatError(f"{file}: a speaker's entry is damaged ({error!r}); enrol again") from error


def _vector(values: Any) -> NDArray[np.float64]:
    vector = np.array(values, dtype=np.float64)
    length = float(np.linalg.norm(vector)) if vector.ndim == 1 else 0.0
    if not 0.0 < length <= 1.001:
        raise ValueError("mean is not a vector of length up to 1")
    return vector


def _checked_name(name: Any) -> str:
    text = " ".join(name.split()) if isinstance(name, str) else ""
    if not text or len(text) > MAX_NAME_CHARACTERS:
        raise UsageError(f"speaker name {str(name)[:80]!r}: pass 1 to {MAX_NAME_CHARACTERS} characters")
    if text[0] == "S" and text[1:].isdigit():
        raise UsageError(f"speaker name {text!r}: S and a number are what unknown speakers are called")
    return text
