"""The bundled embedder on real speech, through the Python interface and the command line.

Two voices out of one: the bundled speaker, and the same recording played slower (lower). They say the same ten
words, which makes their vectors more alike than those of two people talking; so the bound is on this recording, and
the threshold is the embedder's own.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from diarize_testing import RATE_HZ, final_turns, run_diarizer, two_voices
from front_door import run_cli, tiny_engine

from voxtral_edge import SpeakerEvent, UsageError, WordEvent
from voxtral_edge.diarize import OnlineDiarizer, Voiceprints, diarization_errors, read_rttm
from voxtral_edge.formats import to_dict, to_json, to_srt, to_txt, to_vtt

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("voices") / "two voices.wav"
    soundfile.write(path, two_voices()[0], RATE_HZ)
    return path


@pytest.mark.parametrize("speakers", ["auto", 2])
def test_error_rate(speakers: int | str) -> None:
    pcm, turns = two_voices()
    errors = diarization_errors(turns, final_turns(run_diarizer(OnlineDiarizer(speakers), pcm)), 0.25)
    assert errors.confused < 0.02 * errors.speech
    assert errors.rate < 0.15  # single words in a studio: its pauses of half a second are not speech


def test_words_have_speakers() -> None:
    pcm, turns = two_voices()
    events: list[object] = []
    transcript = tiny_engine().transcribe(pcm, on_event=events.append, diarize=True)
    assert transcript.text == tiny_engine().transcribe(pcm).text
    for word in transcript.words:
        middle = (word.start + word.end) / 2
        truth = next((t.speaker for t in turns if t.start <= middle <= t.end), None)
        if truth is not None:
            assert word.speaker == {"high": "S1", "low": "S2"}[truth]
    for segment in transcript.segments:
        assert {word.speaker for word in segment.words} == {segment.speaker}
    assert [t.speaker for t in transcript.turns] == [
        e.speaker for e in events if isinstance(e, SpeakerEvent) and e.final
    ]
    written = [event for event in events if isinstance(event, WordEvent)]
    assert sum(w.speaker == e.speaker for w, e in zip(transcript.words, written, strict=True)) >= 0.8 * len(
        written
    )


@pytest.mark.parametrize("block", [1000, 40000])
def test_events_do_not_depend_on_the_blocks(block: int) -> None:
    pcm = two_voices()[0][: 14 * RATE_HZ]
    runs = []
    for size in (block, 1280):
        with tiny_engine().stream(diarize=2) as stream:
            events = [e for at in range(0, len(pcm), size) for e in stream.feed(pcm[at : at + size])]
            runs.append([e for e in [*events, *stream.finish()] if isinstance(e, (WordEvent, SpeakerEvent))])
            stream.reset()
    assert runs[0] == runs[1]


def test_flush_and_reset() -> None:
    pcm = two_voices()[0]
    with tiny_engine().stream(diarize=OnlineDiarizer(2)) as stream:
        stream.feed(pcm[: 5 * RATE_HZ])
        words = [e for e in stream.flush() if isinstance(e, WordEvent)]
        assert words and all(word.speaker == "S1" for word in words)
        rest = stream.feed(pcm[5 * RATE_HZ : 20 * RATE_HZ]) + stream.finish()
        assert {e.speaker for e in rest if isinstance(e, WordEvent)} == {"S1", "S2"}
        stream.reset()
        again = [*stream.feed(pcm[: 5 * RATE_HZ]), *stream.finish()]
        assert {e.speaker for e in again if isinstance(e, SpeakerEvent)} == {"S1"}


def test_undiarised_streams_are_as_before() -> None:
    transcript = tiny_engine().transcribe(two_voices()[0][: 4 * RATE_HZ], diarize=False)
    assert transcript.turns == [] and all(word.speaker is None for word in transcript.words)
    assert "speaker" not in json.dumps(to_dict(transcript)) and "turns" not in to_dict(transcript)
    with pytest.raises(UsageError, match="auto, or a number"):
        tiny_engine().stream(diarize="some")


def test_formats_name_the_speakers() -> None:
    transcript = tiny_engine().transcribe(two_voices()[0], diarize=2)
    lines = to_txt(transcript).splitlines()
    assert [line.split(":")[0] for line in lines] == ["S1", "S2", "S1", "S2", "S1"]
    assert all(line.split("\t")[3] in ("S1", "S2") for line in to_txt(transcript, words=True).splitlines())
    assert "\nS2: " in to_srt(transcript)
    assert "\n<v S2>" in to_vtt(transcript) and "\n<v S2>" in to_vtt(transcript, words=True)
    document = json.loads(to_json([to_dict(transcript)], as_list=False))
    assert document["segments"][0]["speaker"] == document["segments"][0]["words"][0]["speaker"] == "S1"
    assert {turn["speaker"] for turn in document["turns"]} == {"S1", "S2"}
    assert '"speaker": "S1"}' in to_json([to_dict(transcript)], as_list=False)  # words stay on one line


def test_command_line(recording: Path, tmp_path: Path) -> None:
    code, out, err = run_cli("transcribe", recording, "--speakers", "auto", "--rttm", tmp_path / "a.rttm")
    assert (code, err) == (0, "")
    assert [line[:3] for line in out.splitlines()] == ["S1:", "S2:", "S1:", "S2:", "S1:"]
    turns = read_rttm(tmp_path / "a.rttm")["two_voices"]
    assert diarization_errors(two_voices()[1], turns, 0.25).rate < 0.15

    pcm = two_voices()[0]
    soundfile.write(tmp_path / "low.wav", pcm[round(6.1 * RATE_HZ) : round(13 * RATE_HZ)], RATE_HZ)
    voices = tmp_path / "voices.json"
    code, out, err = run_cli("enrol", "-o", voices, f"Deep Ben={tmp_path / 'low.wav'}")
    assert (code, err) == (0, "") and "s of speech" in out
    assert Voiceprints.load(voices).names == ["Deep Ben"]
    options = ("--known-speakers", voices, "--rttm", tmp_path / "folder/", "--format", "jsonl")
    code, out, err = run_cli("transcribe", recording, *options[:2], *options[4:])
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and {e["speaker"] for e in events if e["type"] == "speaker"} == {"S1", "Deep Ben"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--speakers", "40"), "speakers is '40'"),
        (("--known-speakers", "none.json"), "none.json: cannot be opened"),
    ],
)
def test_command_line_refuses(recording: Path, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = run_cli("transcribe", recording, *arguments)
    assert code != 0 and out == "" and message in err


def test_enrol_refuses(tmp_path: Path) -> None:
    code, _, err = run_cli("enrol", "-o", tmp_path / "v.json", "Anna")
    assert code != 0 and "write NAME=AUDIO" in err
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE_HZ * 5), RATE_HZ)
    code, _, err = run_cli("enrol", "-o", "/dev/null", f"Anna={tmp_path / 'silence.wav'}")
    assert code == 2 and "is no file" in err
    code, _, err = run_cli("enrol", "-o", tmp_path / "v.json", f"Anna={tmp_path / 'silence.wav'}")
    assert code != 0 and "0.0 s of speech found" in err and not (tmp_path / "v.json").exists()
