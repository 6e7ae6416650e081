"""Endpoint rules on scripted silence, the level meter, and captions built word by word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from front_door import run_cli, sample, tiny_engine

import voxtral_edge as ve
from voxtral_edge.audio import read_audio
from voxtral_edge.endpoint import Endpointer, EndpointRule, LevelMeter
from voxtral_edge.formats import to_srt, to_vtt
from voxtral_edge.results import SegmentLimits, Transcript, segments_from_words
from voxtral_edge.segments import SegmentBuilder

TOKEN = 1280
NOISE = np.random.default_rng(1).normal(0, 0.2, TOKEN).astype(np.float32)
SILENCE = np.zeros(TOKEN, dtype=np.float32)


def run(endpointer: Endpointer, loud: set[int], text: set[int], tokens: int) -> list[int]:
    """The tokens (80 ms each) at which an utterance ended; audio is loud and text comes at the given
    tokens."""
    ends = []
    for token in range(tokens):
        endpointer.meter.hear(NOISE if token in loud else SILENCE)
        events = [ve.TextEvent("x", token)] if token in text else []
        if endpointer.decoded(events, token + 1):
            ends.append(token)
    return ends


def test_nobody_speaks() -> None:
    assert run(Endpointer(0.48), set(), set(), 70) == [29, 59]  # 2.4 s each


def test_somebody_spoke_and_stopped() -> None:
    # Sound to token 19, its text at 26; 1.2 s of silence after the sound end the utterance, and 2.4 s the
    # next.
    assert run(Endpointer(0.48), set(range(20)), {10, 26}, 60) == [35]


def test_text_still_to_come_keeps_the_utterance_open() -> None:
    # The same sound, but a word is written late: the model's silence counts from there.
    assert run(Endpointer(0.48), set(range(20)), {10, 34}, 60) == [43]


def test_noise_without_text_is_no_silence_unless_energy_is_off() -> None:
    assert run(Endpointer(0.48), set(range(100)), {10}, 100) == []
    assert run(Endpointer(0.48, use_energy=False), set(range(100)), {10}, 100)[0] == 19


def test_somebody_does_not_stop() -> None:
    assert run(Endpointer(0.48), set(range(300)), set(range(0, 300, 5)), 300) == [249]  # 20 s


def test_rules_can_be_chosen() -> None:
    rules = [EndpointRule(0.4, needs_text=True)]
    assert run(Endpointer(0.08, rules), set(range(5)), {3}, 40) == [9]
    for rule in ((-1.0, False, 0.0), (0.0, False, 0.0), (0.0, False, -2.0)):
        with pytest.raises(ve.UsageError):
            EndpointRule(*rule)


def test_meter_follows_a_fan_and_hears_speech_above_it() -> None:
    meter, choices = LevelMeter(), np.random.default_rng(2)
    fan = [choices.normal(0, 0.01, TOKEN).astype(np.float32) for _ in range(100)]
    for piece in fan:
        meter.hear(piece)
    assert 5.0 < meter.last_sound_s < 7.6 and -42 < meter.level_db < -38  # 0.01 is -40 dBFS
    meter.hear(fan[0] * 10)
    assert meter.last_sound_s == pytest.approx(101 * 0.08)
    meter.hear(np.zeros(0, dtype=np.float32))
    for odd in (np.nan, np.inf):  # silence, as for the model
        meter.hear(np.full(TOKEN, odd, dtype=np.float32))
        assert meter.level_db == -120.0
    assert meter.last_sound_s == pytest.approx(101 * 0.08)


def test_meter_does_not_depend_on_the_pieces_nor_the_type() -> None:
    pcm = (read_audio(sample("room.mp3")) * 32767).astype(np.int16)
    whole, cut = LevelMeter(), LevelMeter()
    whole.hear(pcm)
    for piece in np.array_split(pcm.astype(np.float32) / 32768, 77):
        cut.hear(piece)
    assert (whole.heard_s, whole.last_sound_s) == pytest.approx((cut.heard_s, cut.last_sound_s))


def test_captions_word_by_word_are_the_segments_of_the_whole() -> None:
    events: list[object] = []
    transcript = tiny_engine().transcribe(sample("serial-numbers.flac"), on_event=events.append)
    builder, captions = SegmentBuilder(), []
    for event in events:
        captions += builder.take([event])
    captions += builder.end_utterance()
    assert captions == transcript.segments
    assert builder.end_utterance() == []


def test_text_of_an_unfinished_word_waits_for_it() -> None:
    """An utterance can end between a word's text and its time; languages without spaces keep their spelling."""
    builder = SegmentBuilder()
    first = ve.WordEvent("東京", 0.0, 0.5, 0.9, 0)
    assert builder.take([ve.TextEvent("東京は", 0), first]) == []
    assert [segment.text for segment in builder.end_utterance()] == ["東京"]
    rest = [ve.WordEvent("は", 3.0, 3.2, 0.9, 1), ve.WordEvent("雨", 3.2, 3.4, 0.9, 2)]
    builder.take([ve.TextEvent("雨", 2), *rest])
    assert [segment.text for segment in builder.finish(4.0)] == ["は雨"]


def words(text: str, seconds: float = 0.4) -> list[ve.WordEvent]:
    return [ve.WordEvent(w, i * seconds, (i + 1) * seconds, 0.9, i) for i, w in enumerate(text.split())]


def captions_of(text: str, limits: SegmentLimits, seconds: float = 0.4) -> list[str]:
    builder = SegmentBuilder(limits)
    found = builder.take([ve.TextEvent(text, 0), *words(text, seconds)]) + builder.end_utterance()
    return [segment.text for segment in found]


def test_limits_of_lines_seconds_and_sentences() -> None:
    text = "One sentence that is here. Another one that goes on and on, and still does not want to end."
    assert captions_of(text, SegmentLimits(line_characters=20, lines=1))[0] == "One sentence that is"
    assert (
        captions_of(text, SegmentLimits(lines=9, line_characters=80, seconds=60))[0]
        == "One sentence that is here."
    )
    by_time = captions_of(text.replace(".", ""), SegmentLimits(lines=9, seconds=2.0))
    assert len(by_time) == 4 and " ".join(by_time) == text.replace(".", "")
    with pytest.raises(ve.UsageError):
        SegmentLimits(lines=0)


def test_a_split_ends_a_caption() -> None:
    builder = SegmentBuilder()
    builder.split_at(0.9)
    found = builder.take([ve.TextEvent("a b c d", 0), *words("a b c d")]) + builder.end_utterance()
    assert [segment.text for segment in found] == ["a b", "c d"]


def test_subtitles_keep_the_chosen_line_length() -> None:
    text = "eleven words that are to be shown in very short lines"
    limits = SegmentLimits(line_characters=16, lines=2)
    found = [ve.Word(w.text, w.start, w.end, w.probability) for w in words(text)]
    transcript = Transcript(text, found, segments_from_words(found, text, (), None, limits), [], 5.0)
    for document in (to_srt(transcript, 16), to_vtt(transcript, width=16)):
        lines = [line for line in document.splitlines() if line and "-->" not in line and not line.isdigit()]
        assert all(len(line) <= 16 for line in lines)


def seconds(stamp: str) -> float:
    hours, minutes, rest = stamp.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def test_subtitles_stay_long_enough_to_be_read_and_never_overlap() -> None:
    transcript = tiny_engine().transcribe(sample("serial-numbers.flac"), limits=SegmentLimits(seconds=1.0))
    assert len(transcript.segments) > 10
    for document in (to_srt(transcript), to_vtt(transcript)):
        cues = [tuple(map(seconds, line.split(" --> "))) for line in document.splitlines() if "-->" in line]
        following = [*(start for start, _ in cues[1:]), float("inf")]
        for (start, end), segment, next_start in zip(cues, transcript.segments, following, strict=True):
            assert start == pytest.approx(segment.start, abs=1e-3) and end >= segment.end - 1e-3
            assert end <= next_start + 1e-3
            assert end >= min(start + 1.0, next_start) - 2e-3


def test_command_line_limits(tmp_path: Path) -> None:
    out = tmp_path / "out.srt"
    code, _, _ = run_cli(
        "transcribe",
        sample("serial-numbers.flac"),
        "--format",
        "srt",
        "--max-line",
        11,
        "--max-segment",
        60,
        "-o",
        out,
    )
    text = [
        line for line in out.read_text().splitlines() if line and "-->" not in line and not line.isdigit()
    ]
    assert code == 0 and max(map(len, text)) <= 11 and len(text) > 10
    assert run_cli("transcribe", sample("room.mp3"), "--max-line", 0)[0] == 2
