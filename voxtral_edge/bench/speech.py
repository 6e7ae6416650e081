"""The audio that a measurement feeds: a recording over and over, or speech-like sound made here.

How long a step takes does not depend on what is said, except where text runs behind the audio and guesses are
verified. The made sound has the rhythm of speech all the same, so that nothing is measured on digital
silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.audio import SAMPLE_RATE_HZ, AudioFile
from voxtral_edge.errors import AudioFormatError

# Long enough that no cache or draft table learns the loop within a run's warm-up, short enough to make at
# once.
SPEECH_SECONDS = 30.0
_VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))

Pcm = NDArray[np.float32]


def speech_like(seconds: float = SPEECH_SECONDS, seed: int = 0) -> Pcm:
    """Syllables of voiced vowels and hiss at four per second, with pauses; float32 [seconds · 16000] in (−1,
    1)."""
    count = round(seconds * SAMPLE_RATE_HZ)
    generator = np.random.default_rng(seed)
    sound = np.zeros(count, np.float64)
    position = 0
    while position < count:
        length = int(generator.uniform(0.12, 0.32) * SAMPLE_RATE_HZ)
        kind = generator.random()
        if kind < 0.75:
            piece = _vowel(length, generator)
        elif kind < 0.88:
            piece = 0.1 * np.diff(
                generator.standard_normal(length + 1)
            )  # rises 6 dB per octave, as hiss does
        else:
            piece = np.zeros(length)
        end = min(count, position + length)
        sound[position:end] = (piece * np.hanning(length))[: end - position]
        position += length
    sound += 0.002 * generator.standard_normal(count)
    return (0.5 * sound / max(1e-9, float(np.max(np.abs(sound))))).astype(np.float32)


def load_audio(path: str | Path) -> Pcm:
    """A whole recording as mono 16 kHz float32; AudioFormatError if it cannot be read or holds nothing."""
    with AudioFile(path) as file:
        blocks = list(file.blocks())
    if not blocks or sum(len(block) for block in blocks) == 0:
        raise AudioFormatError(f"{path}: holds no samples; give a recording of at least a second")
    return np.concatenate(blocks)


class Feed:
    """Endless pieces of a looped recording.

    samples   what is looped, float32 16 kHz
    about     {"kind": "speech-like" | "file", "name": …, "loop_seconds": …} for reports
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.samples = speech_like() if path is None else load_audio(path)
        self.about: dict[str, Any] = {
            "kind": "speech-like" if path is None else "file",
            "name": "made by voxtral_edge.bench.speech" if path is None else Path(path).name,
            "loop_seconds": round(len(self.samples) / SAMPLE_RATE_HZ, 3),
        }

    def pieces(self, size: int, offset: int = 0) -> Iterator[Pcm]:
        """Yields `size` consecutive samples again and again from sample `offset` on, starting over at the end of
        the recording."""
        # One loop and one piece more, so that no piece needs joining while somebody waits for it.
        repeats = -(-size // len(self.samples)) + 1
        extended = np.concatenate([self.samples] * repeats)[: len(self.samples) + size]
        position = offset % len(self.samples)
        while True:
            yield extended[position : position + size]
            position = (position + size) % len(self.samples)

    def recording(self, seconds: float, offset: int = 0) -> Pcm:
        """Exactly `seconds` of the loop from sample `offset` on, as one array."""
        return np.resize(np.roll(self.samples, -offset), max(1, round(seconds * SAMPLE_RATE_HZ)))


def _vowel(length: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """A vowel: the harmonics of a falling pitch, weighted by three resonances."""
    pitch = generator.uniform(90.0, 220.0) * (1.0 - 0.15 * np.linspace(0.0, 1.0, length))
    phase = 2.0 * np.pi * np.cumsum(pitch) / SAMPLE_RATE_HZ
    formants = _VOWELS[int(generator.integers(len(_VOWELS)))]
    middle = float(pitch[length // 2])
    sound = np.zeros(length)
    for harmonic in range(1, int(3800.0 / middle) + 1):
        frequency = harmonic * middle
        weight = sum(1.0 / (1.0 + ((frequency - formant) / 90.0) ** 2) for formant in formants)
        sound += (weight + 0.01) / harmonic**0.5 * np.sin(harmonic * phase)
    return sound
