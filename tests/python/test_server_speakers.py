"""Speakers: diarized_json and Mistral's diarize give what `transcribe` with `diarize` gives."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from front_door import sample, sample_text, tiny_engine
from numpy.typing import NDArray
from server_testing import WAIT_S, RunningServer, connected, mistral_utterance, pcm16, running_server

from voxtral_edge.diarize import OnlineDiarizer

pytest.importorskip("onnxruntime")
openai = pytest.importorskip("openai")


RATE_HZ, WHISTLE_HZ = 16000, 3500


class WhistleEmbedder:
    """Tells two voices apart that differ in a whistle: whether the server asks, joins and reports is tested
    here, not how good the bundled model is."""

    name = "whistle"
    same_speaker = 0.5

    def embed(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Direction by the share of the whistle's frequency in the power."""
        power = np.abs(np.fft.rfft(pcm)) ** 2
        hz = np.fft.rfftfreq(len(pcm), 1 / RATE_HZ)
        share = power[np.abs(hz - WHISTLE_HZ) < 20].sum() / max(power.sum(), 1e-9)
        angle = min(1.0, 200.0 * share) * np.pi / 2
        return np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        running.service.hub._embedder = WhistleEmbedder()
        yield running


@pytest.fixture(scope="module")
def dialogue() -> NDArray[np.int16]:
    """One voice with and without a whistle, in turns of about five seconds."""
    speech = pcm16("serial-numbers.flac").astype(np.float64)
    loud = np.convolve(np.abs(speech), np.ones(800) / 800, "same") > 300
    whistle = 900 * np.sin(2 * np.pi * WHISTLE_HZ * np.arange(len(speech)) / RATE_HZ) * loud
    turn = RATE_HZ * 5
    whistling = (np.arange(len(speech)) // turn) % 2 == 1
    return np.round(speech + whistle * whistling).clip(-32768, 32767).astype(np.int16)


@pytest.fixture(scope="module")
def expected(dialogue: NDArray[np.int16]) -> Any:
    diarizer = OnlineDiarizer(embedder=WhistleEmbedder())
    transcript = tiny_engine().transcribe(dialogue, diarize=diarizer)
    assert len({word.speaker for word in transcript.words}) == 2, "two voices, or this shows nothing"
    return transcript


def test_bundled_model(server: RunningServer, tmp_path: Path) -> None:
    """One person speaks in the sample recordings, and is called A."""
    with running_server() as plain, openai_client(plain) as client, sample("pin.ogg").open("rb") as file:
        answer = client.audio.transcriptions.create(
            model="tiny-en", file=file, response_format="diarized_json", chunking_strategy="auto"
        )
    assert answer.text == sample_text("pin.ogg")
    assert [segment.speaker for segment in answer.segments] == ["A"] * len(answer.segments)


def openai_client(server: RunningServer) -> Any:
    return openai.OpenAI(api_key="unused", base_url=f"{server.http}/v1")


@pytest.mark.parametrize("stream", [False, True])
def test_diarized_json(
    server: RunningServer, dialogue: NDArray[np.int16], expected: Any, tmp_path: Path, stream: bool
) -> None:
    soundfile.write(tmp_path / "a.wav", dialogue, 16000, subtype="PCM_16")
    client = openai_client(server)
    answer = client.audio.transcriptions.create(
        model="tiny-en",
        file=tmp_path / "a.wav",
        response_format="diarized_json",
        chunking_strategy="auto",
        stream=stream,
    )
    if stream:
        events = list(answer)
        assert events[-1].type == "transcript.text.done" and events[-1].text == expected.text
        segments = [event for event in events if event.type == "transcript.text.segment"]
        assert "".join(e.delta for e in events if e.type == "transcript.text.delta") == expected.text
    else:
        assert answer.text == expected.text and answer.task == "transcribe"
        segments = answer.segments
    letters = {"S1": "A", "S2": "B"}
    assert [(s.text, s.start, s.end, s.speaker) for s in segments] == [
        (s.text, round(s.start, 3), round(s.end, 3), letters[s.speaker]) for s in expected.segments
    ]


def wav_url(pcm: NDArray[np.int16]) -> str:
    """A recording as OpenAI's clients send it."""
    file = io.BytesIO()
    soundfile.write(file, pcm, RATE_HZ, subtype="PCM_16", format="WAV")
    return "data:audio/wav;base64," + base64.b64encode(file.getvalue()).decode()


def test_known_speakers_are_named(
    server: RunningServer, dialogue: NDArray[np.int16], expected: Any, tmp_path: Path
) -> None:
    """Both voices by name, with the official client; the next request knows nobody."""
    soundfile.write(tmp_path / "a.wav", dialogue, RATE_HZ, subtype="PCM_16")
    turn = 5 * RATE_HZ
    ask = {"model": "tiny-en", "response_format": "diarized_json"}
    create = openai_client(server).audio.transcriptions.create
    answer = create(
        file=tmp_path / "a.wav",
        known_speaker_names=["customer", "agent"],
        known_speaker_references=[wav_url(dialogue[turn : 2 * turn]), wav_url(dialogue[:turn])],
        **ask,
    )
    names = {"S1": "agent", "S2": "customer"}
    assert [(s.text, s.speaker) for s in answer.segments] == [
        (s.text, names[s.speaker]) for s in expected.segments
    ]
    again = create(file=tmp_path / "a.wav", **ask)
    assert {segment.speaker for segment in again.segments} == {"A", "B"}


SHORT, SPEECH = wav_url(pcm16()[:8000]), wav_url(pcm16()[:64000])
LONG = wav_url(np.tile(pcm16()[:64000], 9))
NAMES, REFERENCES = "known_speaker_names", "known_speaker_references"


@pytest.mark.parametrize(
    ("names", "references", "more", "param"),
    [
        (["Ann", "Ben"], [SPEECH] * 2, {"response_format": "json"}, NAMES),
        (["Ann", "Ben"], [SPEECH], {}, NAMES),
        (["Ann", "Ann"], [SPEECH] * 2, {}, NAMES),
        (["A", "Ben"], [SPEECH] * 2, {}, NAMES),
        (["S1"], [SPEECH], {}, REFERENCES),
        (["Ann"], ["http://a/b.wav"], {}, REFERENCES),
        (["Ann"], ["data:audio/wav,x"], {}, REFERENCES),
        (["Ann"], ["data:audio/wav;base64,!"], {}, REFERENCES),
        (["Ann"], ["data:audio/wav;base64,AAAA"], {}, REFERENCES),
        (["Ann"], ["data:audio/wav;base64,"], {}, REFERENCES),
        (["Ann"], [SHORT], {}, REFERENCES),
        (["Ann"], [LONG], {}, REFERENCES),
        (list("abcde"), [SHORT] * 5, {}, None),
        (["Ann"], ["data:" + "x" * (4 << 20)], {}, None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_known_speakers_that_cannot_be_used(
    server: RunningServer, names: list[str], references: list[str], more: dict[str, str], param: str | None
) -> None:
    form = {"model": "tiny-en", "response_format": "diarized_json", **more}
    answer = httpx.post(
        f"{server.http}/v1/audio/transcriptions",
        data={**form, f"{NAMES}[]": names, f"{REFERENCES}[]": references},
        files={"file": ("pin.ogg", sample("pin.ogg").read_bytes())},
        timeout=WAIT_S,
    )
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param, answer.text
    assert "/tmp" not in answer.text


@pytest.mark.parametrize("size", [6400, 64000])
def test_mistral_diarize(
    server: RunningServer, dialogue: NDArray[np.int16], expected: Any, size: int
) -> None:
    async def talk() -> list[dict[str, Any]]:
        async with connected(f"{server.ws}/v1/audio/transcriptions/realtime?model=tiny-en") as client:
            await client.receive()
            await client.send("session.update", session={"diarize": True})
            assert (await client.receive())["session"]["diarize"] is True
            return await mistral_utterance(client, dialogue.tobytes(), size)

    messages = asyncio.run(talk())
    done = messages[-1]
    assert done["text"] == expected.text
    assert " ".join(segment["text"] for segment in done["segments"]) == expected.text
    assert {segment["speaker_id"] for segment in done["segments"]} == {"S1", "S2"}
    live = [m for m in messages if m["type"] == "transcription.segment"]
    assert len(live) == len(done["segments"]) and any("speaker_id" in segment for segment in live)
    # Final speakers agree with those of `transcribe` wherever a segment lies within one of its own.
    for segment in done["segments"]:
        around = [s for s in expected.segments if s.start <= segment["start"] and segment["end"] <= s.end]
        assert not around or around[0].speaker == segment["speaker_id"]


def test_without_diarize_there_are_no_speakers(server: RunningServer, dialogue: NDArray[np.int16]) -> None:
    async def talk() -> list[dict[str, Any]]:
        async with connected(f"{server.ws}/v1/audio/transcriptions/realtime?model=tiny-en") as client:
            await client.receive()
            return await mistral_utterance(client, dialogue.tobytes(), 64000)

    assert all("speaker_id" not in segment for segment in asyncio.run(talk())[-1]["segments"])
