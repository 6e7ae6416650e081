"""Shared by the diarisation tests: voices made of the bundled sample, and an embedder that needs no model."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import soxr
from front_door import sample
from numpy.typing import NDArray

from voxtral_edge.audio import read_audio
from voxtral_edge.diarize import OnlineDiarizer, Turn
from voxtral_edge.events import SpeakerEvent

RATE_HZ = 16000


class PitchEmbedder:
    """Knows voices by the loudest of a few frequencies: exact, so that what is tested is the clustering."""

    name = "pitch"
    same_speaker = 0.7
    tones_hz = (300, 700, 1100, 1500, 1900)

    def embed(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """One number per tone: its share of the power."""
        power = np.abs(np.fft.rfft(pcm)) ** 2
        hz = np.fft.rfftfreq(len(pcm), 1 / RATE_HZ)
        shares = [power[np.abs(hz - tone) < 60].sum() for tone in self.tones_hz]
        vector = np.sqrt(np.array(shares) + 1e-9)
        return (vector / np.linalg.norm(vector)).astype(np.float32)


def tone_voice(number: int, seconds: float) -> NDArray[np.float32]:
    """Speech of a voice that `PitchEmbedder` knows: a tone that glides by 30 Hz, four syllables per second."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * t)
    phase = 2 * np.pi * PitchEmbedder.tones_hz[number] * t + 30 / 2.5 * np.sin(2 * np.pi * 2.5 * t)
    return (0.2 * syllables * np.sin(phase)).astype(np.float32)


def conversation(
    turns: list[tuple[int, float]], pause_s: float = 0.6
) -> tuple[NDArray[np.float32], list[Turn]]:
    """Tone voices (number, seconds) one after the other over faint noise, and the turns."""
    parts, spoken, at = [], [], 1.0
    for number, seconds in turns:
        spoken.append(Turn(at, at + seconds, f"voice{number}"))
        parts += [tone_voice(number, seconds), np.zeros(round(pause_s * RATE_HZ), np.float32)]
        at += seconds + pause_s
    silence = np.zeros(RATE_HZ, np.float32)
    pcm = np.concatenate([silence, *parts, silence])
    return pcm + np.random.default_rng(0).normal(0, 1e-4, len(pcm)).astype(np.float32), spoken


def run_diarizer(diarizer: OnlineDiarizer, pcm: NDArray[np.float32], block: int = 1600) -> list[SpeakerEvent]:
    """All events of a recording that is fed in blocks."""
    events = [
        event for begin in range(0, len(pcm), block) for event in diarizer.feed(pcm[begin : begin + block])
    ]
    return events + diarizer.finish()


def final_turns(events: list[SpeakerEvent]) -> list[Turn]:
    """The turns that the events end with."""
    return [Turn(event.start, event.end, event.speaker) for event in events if event.final]


@lru_cache(maxsize=1)
def two_voices() -> tuple[NDArray[np.float32], list[Turn]]:
    """The bundled speaker, and her lower double (resampled by 1.75), in five turns of 4 to 7 s."""
    high = read_audio(sample("serial-numbers.flac"))
    low = soxr.resample(high, RATE_HZ, round(1.75 * RATE_HZ)).astype(np.float32)
    cuts = [("high", high, 0.0, 5.6), ("low", low, 0.0, 7.0), ("high", high, 5.8, 11.4)]
    cuts += [("low", low, 10.2, 17.0), ("high", high, 17.2, 22.0)]
    parts, turns, at = [], [], 0.0
    for name, voice, begin, end in cuts:
        piece = voice[round(begin * RATE_HZ) : round(end * RATE_HZ)]
        turns.append(Turn(at, at + len(piece) / RATE_HZ, name))
        parts += [piece, np.zeros(RATE_HZ // 2, np.float32)]
        at += (len(piece) + RATE_HZ // 2) / RATE_HZ
    return np.concatenate(parts), turns
