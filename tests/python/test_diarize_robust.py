"""What must not make new speakers: silence, noise, music, clipping, level, little audio, hours of one voice."""

from __future__ import annotations

import numpy as np
import pytest
from diarize_testing import (
    RATE_HZ,
    PitchEmbedder,
    conversation,
    final_turns,
    run_diarizer,
    tone_voice,
    two_voices,
)
from front_door import sample
from numpy.typing import NDArray

from voxtral_edge.audio import read_audio
from voxtral_edge.diarize import OnlineDiarizer, OnnxEmbedder, Voiceprints
from voxtral_edge.diarize.clustering import Voice
from voxtral_edge.diarize.speakers import Speakers
from voxtral_edge.diarize.voicing import is_voice, voice_shares
from voxtral_edge.errors import UsageError

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def embedder() -> OnnxEmbedder:
    return OnnxEmbedder()


@pytest.fixture(scope="module")
def speech() -> NDArray[np.float32]:
    """20 s of the bundled speaker."""
    return read_audio(sample("serial-numbers.flac"))[: 20 * RATE_HZ]


def speakers(pcm: NDArray[np.float32], embedder: OnnxEmbedder) -> set[str]:
    return {turn.speaker for turn in final_turns(run_diarizer(OnlineDiarizer("auto", embedder), pcm, 16000))}


def noise(seconds: float, level: float, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE_HZ)).astype(np.float32)


def music(seconds: int) -> NDArray[np.float32]:
    """Chords and a tune, with harmonics that fade."""
    generator = np.random.default_rng(0)
    t = np.arange(RATE_HZ // 2) / RATE_HZ
    fade = np.exp(-2 * t) * np.minimum(1, t / 0.01)

    def note(semitone: int) -> NDArray[np.float64]:
        hz = 196 * 2 ** (semitone / 12)
        return fade * sum(np.sin(2 * np.pi * k * hz * t) / k for k in range(1, 8))

    bars = [sum(note(int(i)) for i in generator.choice(25, 3)) for _ in range(2 * seconds)]
    return (0.05 * np.concatenate(bars)).astype(np.float32)


def hum(seconds: float) -> NDArray[np.float32]:
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (0.1 * sum(np.sin(2 * np.pi * 100 * k * t) / k for k in range(1, 12))).astype(np.float32)


def clatter(seconds: float) -> NDArray[np.float32]:
    """Bursts of noise of 0.1 s, three per second: a keyboard, dishes."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (noise(seconds, 0.2) * (t * 3 % 1 < 0.3)).astype(np.float32)


@pytest.mark.parametrize(
    "sound",
    [np.zeros(10 * RATE_HZ, np.float32), noise(10, 0.05), music(10), hum(10), clatter(10)],
    ids=["silence", "noise", "music", "hum", "clatter"],
)
def test_sounds_are_nobody(
    sound: NDArray[np.float32], speech: NDArray[np.float32], embedder: OnnxEmbedder
) -> None:
    """Alone they have no speaker; before and after somebody they are no second one."""
    assert speakers(np.concatenate([np.zeros(RATE_HZ, np.float32), sound]), embedder) == set()
    gap = noise(1, 1e-4)
    assert speakers(np.concatenate([gap, sound, gap, speech, gap, sound, gap, speech]), embedder) == {"S1"}
    if sound.any():
        with pytest.raises(UsageError, match="s of speech found"):
            Voiceprints(embedder.name).enrol("Nobody", sound, embedder)


def test_voices_are_told_from_sounds(speech: NDArray[np.float32]) -> None:
    windows = [speech[at : at + 25600] for at in range(0, len(speech) - 25600, 6400)]
    loud = [window for window in windows if np.mean(window**2) > 1e-4]
    assert len(loud) > 20 and sum(is_voice(window) for window in loud) >= 0.98 * len(loud)
    assert all(is_voice(window / 1000) == is_voice(window) for window in loud)
    assert voice_shares(np.zeros(25600, np.float32)) == voice_shares(np.zeros(10, np.float32)) == (0.0, 0.0)


def test_level_and_clipping_make_no_speakers(speech: NDArray[np.float32], embedder: OnnxEmbedder) -> None:
    for gain in (0.05, 0.3, 4.0):  # -26 dB, -10 dB, and clipped for good
        changed = np.clip(speech * np.float32(gain), -1, 1).astype(np.float32)
        assert speakers(np.concatenate([speech, changed, speech]), embedder) == {"S1"}, gain


def test_level_does_not_hide_a_speaker(embedder: OnnxEmbedder) -> None:
    pcm, turns = two_voices()
    pcm = pcm.copy()
    for turn in turns:
        if turn.speaker == "low":
            pcm[round(turn.start * RATE_HZ) : round(turn.end * RATE_HZ)] *= 0.3
    assert speakers(pcm, embedder) == {"S1", "S2"}


@pytest.mark.parametrize("seconds", [0.2, 1.0, 2.0])
def test_little_audio(seconds: float, speech: NDArray[np.float32], embedder: OnnxEmbedder) -> None:
    begin = round(1.2 * RATE_HZ)
    assert speakers(speech[begin : begin + round(seconds * RATE_HZ)], embedder) <= {"S1"}
    if seconds == 2.0:
        assert speakers(speech[begin : begin + round(seconds * RATE_HZ)], embedder) == {"S1"}


@pytest.mark.slow
def test_one_person_for_long(speech: NDArray[np.float32], embedder: OnnxEmbedder) -> None:
    """Ten minutes with a short window, so that nearly everything is final; levels and noise change every 20 s."""
    generator = np.random.default_rng(1)
    stream = OnlineDiarizer("auto", embedder, revisable_s=20.0)
    found, cells = set(), []
    for index in range(30):
        gain = np.float32(10 ** (generator.uniform(-12, 6) / 20))
        block = speech * gain + noise(20, 10 ** generator.uniform(-4, -2.7), index)
        found |= {event.speaker for event in stream.feed(block) if event.final}
        cells.append(len(stream._cells))
    found |= {event.speaker for event in stream.finish()}
    assert found == {"S1"}
    assert max(cells) <= 20 / 0.4 + 2 and len(stream._speakers.known) == 1


@pytest.mark.slow
def test_what_returns_is_nobody_new(embedder: OnnxEmbedder) -> None:
    """Two voices say the same 13 to 17 s again and again, cut anywhere: phrases that return are nobody new."""
    pcm, turns = two_voices()
    voices = {
        name: np.concatenate(
            [pcm[round(t.start * RATE_HZ) : round(t.end * RATE_HZ)] for t in turns if t.speaker == name]
        )
        for name in ("high", "low")
    }
    generator = np.random.default_rng(1)
    parts, at = [], {"high": 0, "low": 0}
    for index in range(76):
        name = ("high", "low")[index % 2]
        samples = round(generator.uniform(1.5, 8.0) * RATE_HZ)
        parts.append(np.take(voices[name], range(at[name], at[name] + samples), mode="wrap"))
        parts.append(np.zeros(round(generator.uniform(0.1, 0.8) * RATE_HZ), np.float32))
        at[name] += samples
    speech = np.concatenate(parts)
    assert speakers(speech + noise(len(speech) / RATE_HZ, 1e-3), embedder) == {"S1", "S2"}


@pytest.mark.slow
def test_an_hour_of_many(request: pytest.FixtureRequest) -> None:
    """Five voices take turns for an hour: five speakers, nothing grows."""
    stream = OnlineDiarizer("auto", PitchEmbedder(), revisable_s=15.0)
    part, _ = conversation([(i % 5, 3.0) for i in range(20)])
    found, sizes = set(), []
    for _ in range(3600 * RATE_HZ // len(part)):
        found |= {event.speaker for event in stream.feed(part) if event.final}
        state = stream._speakers
        sizes.append((len(stream._cells), len(stream._segmenter._audio), len(state.known), len(state._gone)))
    assert found == {"S1", "S2", "S3", "S4", "S5"}
    assert sizes[-1][2:] == sizes[5][2:] == (5, 0)
    assert max(size[0] for size in sizes) <= 15 / 0.4 + 2 and max(size[1] for size in sizes) < 2.5 * RATE_HZ


def test_a_split_voice_is_reunited() -> None:
    """Final speech keeps its number, which nobody gets again; from then on there is one voice. Little speech decides
    nothing."""

    def voice(direction: int, seconds: float) -> Voice:
        return Voice(np.eye(8)[direction] * seconds * 0.8, seconds)

    people = Speakers({"Anna": voice(0, 20.0)})  # number 0
    people.known |= {
        1: voice(0, 20.0),
        2: voice(1, 30.0),
        3: voice(1, 20.0),
        4: voice(1, 5.0),
        5: voice(2, 20.0),
    }
    people.young = dict(people.known)
    people.reunite(0.85, 12.0)
    assert sorted(people.known) == sorted(people.young) == [1, 2, 4, 5]
    assert people.known[2].seconds == 50.0 and people.name(2) == "S2"
    assert people._new({6}, []) == 7


def test_tone_voices_count_as_voices() -> None:
    """The other tests' voices glide as speech does."""
    assert all(is_voice(tone_voice(number, 1.6)) for number in range(5))
