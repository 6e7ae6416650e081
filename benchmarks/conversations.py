"""Conversations with known turns, made of recordings of single speakers: what the error rate is measured on."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.audio import SAMPLE_RATE_HZ, read_audio
from voxtral_edge.diarize.turns import Turn, joined_turns
from voxtral_edge.errors import UsageError

# Readers of LibriSpeech (dev-clean, test-clean, test-other) and LibriVox in order of their numbers: one for choosing
# the diariser's numbers, one for reporting, and so on. Who has less than 12 s in one chapter is in neither.
TUNING_SPEAKERS = ["librivox-austen"] + [
    f"ls-{n}" for n in (121, 367, 672, 1272, 1580, 1998, 2277, 2428, 2830, 3080, 3570, 4970, 8230)
]
REPORT_SPEAKERS = [
    f"ls-{n}" for n in (61, 237, 533, 1089, 1462, 1688, 2033, 2414, 2609, 3005, 3331, 6930, 8297)
]
# What names a chapter (a session: one room and microphone) in the path of a LibriSpeech recording.
_SESSION = re.compile(r"\d+-\d+(?=-\d+\.)")

Recordings = dict[str, list[NDArray[np.float32]]]
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


def read_recordings(
    path: Path, names: Collection[str], least_s: float, one_session: bool = True
) -> Recordings:
    """The recordings of those speakers, in a list of JSON lines with "path" and "speaker", of whom there are at least
    `least_s` seconds; of their longest session only, or of all. UsageError if a speaker is not there."""
    sessions: dict[str, Recordings] = defaultdict(lambda: defaultdict(list))
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line) if line.strip() else {}
        if row.get("speaker") in names:
            found = _SESSION.search(row["path"]) if one_session else None
            sessions[row["speaker"]][found.group(0) if found else ""].append(
                read_audio(path.parent / row["path"])
            )
    if missing := sorted(set(names) - set(sessions)):
        raise UsageError(f"{path}: has no recordings of {', '.join(missing)}")
    longest = {name: max(parts.values(), key=_total) for name, parts in sessions.items()}
    return {name: parts for name, parts in longest.items() if _total(parts) >= least_s * SAMPLE_RATE_HZ}


def _total(recordings: Sequence[NDArray[np.float32]]) -> int:
    return sum(len(pcm) for pcm in recordings)


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
    speaker_s: tuple[float, float],
    generator: np.random.Generator,
    pause_s: tuple[float, float] = (0.1, 0.8),
    snr_db: float = 40.0,
    total_s: float | None = None,
) -> Mixture:
    """The speakers of `recordings` talk in turns of `turn_s` (least, most) seconds, never the same one twice in a row
    unless nobody else is there. Each has a level of their own within ±4 dB, and `speaker_s` (least, most) seconds of
    their recordings, cut anywhere; who has used them up says no more. No audio is heard twice, unless `total_s` asks
    for a longer conversation, in which everyone begins again. Pink noise lies `snr_db` below the mean level of speech.
    """
    names = list(recordings)
    material = {name: _material(recordings[name], generator) for name in names}
    gains = {name: 10 ** (generator.uniform(-4, 4) / 20) for name in names}
    budget = {name: _samples(generator.uniform(*speaker_s), material[name][0]) for name in names}
    position = dict.fromkeys(names, 0)
    parts: list[NDArray[np.float32]] = []
    turns: list[Turn] = []
    samples, last = 0, ""
    while name := _next_speaker(budget, position, last, len(parts) < 2 * len(names), generator):
        length = min(_samples(generator.uniform(*turn_s)), budget[name] - position[name])
        # What is left must make a turn, or it belongs to this one.
        if budget[name] - position[name] - length < SAMPLE_RATE_HZ:
            length = budget[name] - position[name]
        frame = position[name] // _FRAME
        piece = material[name][0][position[name] : position[name] + length] * np.float32(gains[name])
        pause = np.zeros(_samples(generator.uniform(*pause_s)), dtype=np.float32)
        for first, end in speech_stretches(material[name][1][frame : frame + length // _FRAME]):
            start = samples / SAMPLE_RATE_HZ
            turns.append(Turn(start + first / 100, start + end / 100, name))
        parts += [piece, pause]
        samples += len(piece) + len(pause)
        position[name] += length
        last = name
        if total_s is not None and samples >= total_s * SAMPLE_RATE_HZ:
            break
        if total_s is not None and position[name] >= budget[name]:
            position[name] = 0
    pcm = np.concatenate(parts)
    return Mixture(pcm + _room_noise(pcm, turns, snr_db, generator), joined_turns(turns))


def _samples(seconds: float, at_most: NDArray[np.float32] | None = None) -> int:
    """Whole frames of so many seconds, in samples."""
    samples = int(seconds * SAMPLE_RATE_HZ)
    return (samples if at_most is None else min(samples, len(at_most))) // _FRAME * _FRAME


def _next_speaker(
    budget: Mapping[str, int],
    position: Mapping[str, int],
    last: str,
    introductions: bool,
    generator: np.random.Generator,
) -> str:
    """Everyone once at first; then whoever is drawn, the likelier the more they have left to say. Empty: the end."""
    left = {name: budget[name] - position[name] for name in budget}
    choices = [name for name in left if left[name] > 0 and (name != last or len(left) == 1)]
    if introductions:
        choices = [name for name in choices if position[name] == 0]
    if not choices:
        return last if last and left[last] > 0 else ""
    share = np.array([left[name] for name in choices], dtype=np.float64)
    return choices[int(generator.choice(len(choices), p=share / share.sum()))]


def _room_noise(
    pcm: NDArray[np.float32], turns: Sequence[Turn], snr_db: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Pink noise (3 dB less per octave, from 50 Hz), so far below the mean power of the turns."""
    spoken = [pcm[int(t.start * SAMPLE_RATE_HZ) : int(t.end * SAMPLE_RATE_HZ)] for t in turns]
    power = float(np.mean(np.square(np.concatenate(spoken), dtype=np.float64)))
    # One minute of it, repeated: a transform of hours would not fit into memory.
    period = min(len(pcm), 60 * SAMPLE_RATE_HZ)
    spectrum = np.fft.rfft(generator.normal(size=period))
    hz = np.fft.rfftfreq(period, 1 / SAMPLE_RATE_HZ)
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(hz, 50.0)), period)
    noise *= np.sqrt(power / np.mean(noise * noise)) * 10 ** (-snr_db / 20)
    return np.resize(noise, len(pcm)).astype(np.float32)


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
