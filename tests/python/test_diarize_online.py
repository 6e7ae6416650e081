"""The online diariser on exact voices: turns, revision, freezing, limits, memory, enrolment."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from diarize_testing import PitchEmbedder, conversation, final_turns, run_diarizer, tone_voice

from voxtral_edge.diarize import OnlineDiarizer, Turn, Voiceprints, diarization_errors
from voxtral_edge.errors import ModelFormatError, UsageError
from voxtral_edge.events import SpeakerEvent

THREE = [(0, 4.0), (1, 5.0), (0, 3.0), (2, 6.0), (1, 2.5), (2, 3.0), (0, 4.0)]


def diarizer(speakers: int | str = "auto", **options: object) -> OnlineDiarizer:
    return OnlineDiarizer(speakers, PitchEmbedder(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("speakers", ["auto", 3, "3"])
def test_turns_are_found(speakers: int | str) -> None:
    pcm, expected = conversation(THREE)
    turns = final_turns(run_diarizer(diarizer(speakers), pcm))
    assert [turn.speaker for turn in turns] == ["S1", "S2", "S1", "S3", "S2", "S3", "S1"]
    assert diarization_errors(expected, turns, 0.25).rate < 0.01
    assert diarization_errors(expected, turns).rate < 0.05


def test_without_pauses() -> None:
    pcm, expected = conversation(THREE, pause_s=0.0)
    assert diarization_errors(expected, final_turns(run_diarizer(diarizer(), pcm)), 0.25).rate < 0.1


@pytest.mark.parametrize("block", [777, 16000, 10**7])
def test_events_do_not_depend_on_the_blocks(block: int) -> None:
    pcm, _ = conversation(THREE * 2)
    expected = run_diarizer(diarizer(revisable_s=15.0), pcm)
    assert run_diarizer(diarizer(revisable_s=15.0), pcm, block) == expected
    reused = diarizer(revisable_s=15.0)
    run_diarizer(reused, pcm[: len(pcm) // 3])
    reused.reset()
    assert run_diarizer(reused, pcm, block) == expected


def test_events_tell_the_story() -> None:
    """A turn is reported soon after it began; final events cover each turn once, in order; nothing is revised after it
    was final."""
    pcm, expected = conversation(THREE[:-1] * 3)  # never the same voice twice in a row
    stream, heard, final_until = diarizer(revisable_s=20.0), 0.0, 0.0
    first: dict[int, float] = {}
    final: list[SpeakerEvent] = []
    for begin in range(0, len(pcm), 1600):
        events = stream.feed(pcm[begin : begin + 1600])
        heard = (begin + 1600) / 16000
        for event in events:
            assert event.end > final_until
            for index, turn in enumerate(expected):
                if abs(event.start - turn.start) < 0.3:
                    first.setdefault(index, heard - turn.start)
            if event.final:
                assert event.start >= final_until
                final.append(event)
                final_until = event.end
        assert all(turn.end > heard - 20.5 for turn in stream.turns())
    final += [event for event in stream.finish() if event.final]
    assert len(final) == len(expected) and len(first) == len(expected)
    assert max(first.values()) < 1.3  # the first window is complete after 0.8 s
    assert all(a.end <= b.start for a, b in itertools.pairwise(final))


def test_number_of_speakers_is_limited() -> None:
    pcm, _ = conversation(THREE)
    turns = final_turns(run_diarizer(diarizer(2), pcm))
    assert {turn.speaker for turn in turns} == {"S1", "S2"}
    assert {turn.speaker for turn in final_turns(run_diarizer(diarizer(1), pcm))} == {"S1"}


def test_speakers_are_known_again_after_the_window() -> None:
    """Far beyond what can be revised, a voice that comes back is the same speaker."""
    pcm, _ = conversation([(0, 4.0), *[(1, 4.0), (2, 4.0)] * 4, (0, 4.0)])
    turns = final_turns(run_diarizer(diarizer(revisable_s=10.0), pcm))
    assert turns[0].speaker == turns[-1].speaker == "S1"
    assert {turn.speaker for turn in turns} == {"S1", "S2", "S3"}


def test_a_cough_is_taken_back() -> None:
    """A short odd sound may be reported as a speaker, but is not one in the end, and its number is free again."""
    pcm, _ = conversation([(0, 4.0), (3, 0.9), (0, 8.0), (1, 4.0)])
    events = run_diarizer(diarizer(), pcm)
    assert {turn.speaker for turn in final_turns(events)} == {"S1", "S2"}
    assert final_turns(events)[-1].speaker == "S2"


def test_bounded_memory() -> None:
    stream = diarizer(revisable_s=10.0)
    sizes = []
    minute, _ = conversation([(i % 3, 3.0) for i in range(15)])
    for _ in range(8):
        stream.feed(minute)
        sizes.append((len(stream._cells), len(stream._segmenter._audio), len(stream._speakers.known)))
    assert max(size[0] for size in sizes) <= 10 / 0.4 + 2
    assert max(size[1] for size in sizes) < 2.5 * 16000
    assert sizes[-1][2] == 3


def test_speaker_of_a_moment() -> None:
    stream = diarizer()
    assert stream.speaker_at(0.0, 1.0) is None
    pcm, turns = conversation([(0, 3.0), (1, 3.0)])
    stream.feed(pcm)
    assert stream.heard_s == pytest.approx(len(pcm) / 16000, abs=0.01)
    assert [stream.speaker_at(turn.start + 1, turn.start + 1.3) for turn in turns] == ["S1", "S2"]
    assert [turn.speaker for turn in stream.turns()] == ["S1", "S2"]


def test_integers_and_not_numbers() -> None:
    pcm, _ = conversation([(0, 3.0), (1, 3.0)])
    whole = np.round(pcm * 32767).astype(np.int16)
    assert final_turns(run_diarizer(diarizer(), whole)) == final_turns(  # type: ignore[arg-type]
        run_diarizer(diarizer(), whole.astype(np.float32) / 32768)
    )
    pcm[1000:1100] = np.nan
    assert len(final_turns(run_diarizer(diarizer(), pcm))) == 2


def test_nothing_said() -> None:
    assert run_diarizer(diarizer(), np.zeros(16000 * 3, np.float32)) == []
    assert diarizer().finish() == []


@pytest.mark.parametrize("value", [0, 33, -1, "many", "", 2.0, True, None])
def test_wrong_numbers_of_speakers(value: object) -> None:
    with pytest.raises(UsageError, match="auto, or a number from 1 to 32"):
        diarizer(value)  # type: ignore[arg-type]


def test_wrong_window() -> None:
    with pytest.raises(UsageError, match="10 to 600"):
        diarizer(revisable_s=5.0)


def test_known_speakers(tmp_path: Path) -> None:
    prints = Voiceprints("pitch")
    seconds = prints.enrol("Anna Lee", tone_voice(1, 6.0), PitchEmbedder())
    assert seconds == pytest.approx(6.0, abs=0.3)
    prints.enrol("Never heard", tone_voice(4, 6.0), PitchEmbedder())
    prints.save(tmp_path / "voices.json")
    loaded = Voiceprints.load(tmp_path / "voices.json")
    assert loaded.names == ["Anna Lee", "Never heard"] and len(loaded) == 2
    pcm, _ = conversation(THREE)
    turns = final_turns(run_diarizer(diarizer(voiceprints=loaded), pcm))
    assert [turn.speaker for turn in turns] == ["S1", "Anna Lee", "S1", "S2", "Anna Lee", "S2", "S1"]
    # those who are not there take no place
    turns = final_turns(run_diarizer(diarizer(3, voiceprints=loaded), pcm))
    assert {turn.speaker for turn in turns} == {"S1", "S2", "Anna Lee"}
    loaded.forget("Anna Lee")
    assert loaded.names == ["Never heard"]


def test_voiceprints_refuse(tmp_path: Path) -> None:
    prints = Voiceprints("pitch")
    for name in ("", "  ", "S1", "S17", "x" * 65):
        with pytest.raises(UsageError, match="speaker name"):
            prints.enrol(name, tone_voice(0, 5.0), PitchEmbedder())
    with pytest.raises(UsageError, match=r"1\.\d s of speech found; at least 2 s"):
        prints.enrol("Short", tone_voice(0, 1.2), PitchEmbedder())
    other = Voiceprints("another model")
    with pytest.raises(UsageError, match="enrol the speakers again"):
        diarizer(voiceprints=other)
    with pytest.raises(UsageError, match="cannot be opened"):
        Voiceprints.load(tmp_path / "none.json")
    path = tmp_path / "v.json"
    for text, message in [
        ("[", "not a JSON text"),
        ("{}", "not a voiceprints file"),
        ('{"format": "voxtral-edge-voiceprints", "format_version": 2}', "version 2"),
        ('{"format": "voxtral-edge-voiceprints", "format_version": 1}', "damaged"),
        (
            '{"format": "voxtral-edge-voiceprints", "format_version": 1, "embedder": "e", '
            '"speakers": [{"name": "A", "seconds": 3, "mean": [5, 5]}]}',
            "damaged",
        ),
    ]:
        path.write_text(text)
        with pytest.raises(ModelFormatError, match=message):
            Voiceprints.load(path)


def test_final_turns_make_rttm_times() -> None:
    pcm, expected = conversation([(0, 3.0), (1, 3.0)])
    turns = final_turns(run_diarizer(diarizer(), pcm))
    assert all(isinstance(turn, Turn) and turn.end > turn.start for turn in turns)
    assert [turn.start for turn in turns] == pytest.approx([turn.start for turn in expected], abs=0.12)
