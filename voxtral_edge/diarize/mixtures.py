"""Conversations with known turns, made of recordings of single speakers: what the error rate is measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.diarize.turns import Turn, joined_turns

SAMPLE_RATE_HZ = 16_000
_FRAME = 160
# What counts as speech in a recording of one speaker: within 35 dB of its loud parts and 6 dB above its quiet ones, but
# not less than what is within 20 dB. Shorter silences belong to the turn (as in the rules of NIST's evaluations),
# shorter noises do not count.
SPEECH_RANGE_DB, ABOVE_QUIET_DB, SURE_RANGE_DB = 35.0, 6.0, 20.0
SILENCE_FRAMES = 50
NOISE_FRAMES = 5


@dataclass(frozen=True)
class Mixture:
    """A conversation: audio float32 at 16 kHz, and who speaks when."""

    pcm: NDArray[np.float32]
    turns: list[Turn]


def speech_frames(pcm: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which whole 10 ms frames of a recording of one speaker hold speech."""
    frames = pcm[: len(pcm) // _FRAME * _FRAME].reshape(-1, _FRAME).astype(np.float64)
    if len(frames) == 0:
        return np.zeros(0, dtype=bool)
    level = 10 * np.log10(np.mean(frames * frames, axis=1) + 1e-12)
    quiet, loud = np.percentile(level, [5, 95])
    return np.asarray(level > min(max(loud - SPEECH_RANGE_DB, quiet + ABOVE_QUIET_DB), loud - SURE_RANGE_DB))


def speech_stretches(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Stretches of speech, as (first, past-the-end) frames, of flags per frame."""
    joined: list[tuple[int, int]] = []
    for begin, end in _runs(flags):
        if end - begin < NOISE_FRAMES:
            continue
        if joined and begin - joined[-1][1] < SILENCE_FRAMES:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def make_mixture(
    recordings: Mapping[str, Sequence[NDArray[np.float32]]],
    turn_s: tuple[float, float],
    total_s: float,
    generator: np.random.Generator,
    pause_s: tuple[float, float] = (0.1, 0.8),
    noise_dbfs: float = -65.0,
) -> Mixture:
    """The speakers of `recordings` talk in turns of `turn_s` (least, most) seconds, never the same one twice in a row,
    for about `total_s` seconds; everyone has a turn before anyone has a third. Turns are cut from the recordings,
    one after the other, at any place. Each speaker has a level of their own within ±4 dB."""
    names = list(recordings)
    material = {name: _material(recordings[name], generator) for name in names}
    gains = {name: 10 ** (generator.uniform(-4, 4) / 20) for name in names}
    position = {name: 0 for name in names}
    parts: list[NDArray[np.float32]] = []
    turns: list[Turn] = []
    samples, order = 0, [names[i] for i in generator.permutation(len(names))]
    last = ""
    while samples < total_s * SAMPLE_RATE_HZ:
        choices = [name for name in names if name != last] or names
        name = order.pop(0) if order else choices[int(generator.integers(len(choices)))]
        length = int(generator.uniform(*turn_s) * SAMPLE_RATE_HZ) // _FRAME * _FRAME
        source, flags = material[name]
        begin = position[name] if position[name] + length <= len(source) else 0
        piece = source[begin : begin + length]
        position[name] = begin + len(piece)
        pause = np.zeros(int(generator.uniform(*pause_s) * SAMPLE_RATE_HZ), dtype=np.float32)
        for first, end in speech_stretches(flags[begin // _FRAME : (begin + len(piece)) // _FRAME]):
            start = samples / SAMPLE_RATE_HZ
            turns.append(Turn(start + first / 100, start + end / 100, name))
        parts += [piece * np.float32(gains[name]), pause]
        samples += len(piece) + len(pause)
        last = name
    pcm = np.concatenate(parts)
    noise = generator.normal(0.0, 10 ** (noise_dbfs / 20), len(pcm)).astype(np.float32)
    return Mixture(pcm + noise, joined_turns(turns))


def _material(
    recordings: Sequence[NDArray[np.float32]], generator: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """All of a speaker's speech in a random order, silence at the ends of recordings cut off, and which of its frames
    hold speech."""
    pieces, flags = [], []
    gap = SAMPLE_RATE_HZ // 5
    for index in generator.permutation(len(recordings)):
        spoken = speech_frames(recordings[index])
        stretches = speech_stretches(spoken)
        if stretches:
            first, end = stretches[0][0], stretches[-1][1]
            pieces += [recordings[index][first * _FRAME : end * _FRAME], np.zeros(gap, dtype=np.float32)]
            flags += [spoken[first:end], np.zeros(gap // _FRAME, dtype=bool)]
    return np.concatenate(pieces), np.concatenate(flags)


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(begin), int(end)) for begin, end in zip(edges[::2], edges[1::2], strict=True)]
