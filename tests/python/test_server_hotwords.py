"""Hotwords in every protocol: each gives what `transcribe` gives with the same phrases."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from front_door import tiny_engine
from server_testing import (
    WAIT_S,
    RunningServer,
    chunks,
    connected,
    encoded,
    mistral_utterance,
    pcm16,
    running_server,
)
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient

PCM = pcm16("zero-to-nine.wav")
# Words that are not said but sound alike: with enough of them some must be written, or nothing is proved.
PHRASES = ["Ford", "ate", "won", "too", "tree", "fife", "sicks", "ore", "sevens", "nigh", "hero", "free"]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


@pytest.fixture(scope="module")
def expected() -> str:
    biased = tiny_engine().transcribe(PCM, hotwords=PHRASES).text
    return biased


def test_hotwords_reach_the_model(monkeypatch: pytest.MonkeyPatch, server: RunningServer) -> None:
    """A phrase with the greatest weight changes the text, through the server as through `transcribe`."""
    heavy = [("tree", 20.0), ("fort", 20.0), ("ate", 20.0)]
    biased = tiny_engine().transcribe(PCM, hotwords=heavy).text
    assert biased != tiny_engine().transcribe(PCM).text, "these phrases show nothing: choose others"
    original = type(tiny_engine()).hotwords
    monkeypatch.setattr(type(tiny_engine()), "hotwords", lambda self, _: original(self, heavy))
    assert asyncio.run(say_mistral(server)) == biased


async def say_mistral(server: RunningServer, phrases: list[str] | None = None) -> str:
    route = "/v1/audio/transcriptions/realtime?model=tiny-en"
    async with connected(server.ws + route) as client:
        await client.receive()
        await client.send("session.update", session={"context_bias": phrases or PHRASES})
        updated = await client.receive()
        assert updated["session"]["context_bias"] == (phrases or PHRASES)
        return (await mistral_utterance(client, PCM.tobytes()))[-1]["text"]


async def say_openai(server: RunningServer) -> str:
    async with connected(f"{server.ws}/v1/realtime?intent=transcription") as client:
        await client.receive()
        settings = {"format": {"type": "audio/pcm", "rate": 16000}, "transcription": {"keywords": PHRASES}}
        await client.send("session.update", session={"type": "transcription", "audio": {"input": settings}})
        for chunk in chunks(PCM.tobytes()):
            await client.send("input_audio_buffer.append", audio=encoded(chunk))
        await client.send("input_audio_buffer.commit")
        completed = "conversation.item.input_audio_transcription.completed"
        return (await client.until(completed))[-1]["transcript"]


async def say_wyoming(server: RunningServer) -> str:
    async with AsyncTcpClient("127.0.0.1", server.wyoming_port) as client:
        await client.write_event(Transcribe(transcript_terms=PHRASES).event())
        await client.write_event(AudioStart(rate=16000, width=2, channels=1).event())
        for chunk in chunks(PCM.tobytes()):
            await client.write_event(AudioChunk(rate=16000, width=2, channels=1, audio=chunk).event())
        await client.write_event(AudioStop().event())
        while True:
            event = await asyncio.wait_for(client.read_event(), WAIT_S)
            assert event is not None
            if Transcript.is_type(event.type):
                return Transcript.from_event(event).text


@pytest.mark.parametrize("say", [say_mistral, say_openai, say_wyoming])
def test_every_realtime_protocol(server: RunningServer, expected: str, say: Any) -> None:
    assert asyncio.run(say(server)) == expected


def test_rest(server: RunningServer, expected: str, tmp_path: Any) -> None:
    soundfile.write(tmp_path / "a.wav", PCM, 16000, subtype="PCM_16")
    answer = httpx.post(
        f"{server.http}/v1/audio/transcriptions",
        files={"file": ("a.wav", (tmp_path / "a.wav").read_bytes())},
        data={"model": "tiny-en", "keywords[]": PHRASES},
        timeout=WAIT_S,
    )
    assert answer.json()["text"] == expected
    assert np.abs(PCM).max() > 0


@pytest.mark.parametrize("phrases", [["x" * 300], [" "], ["\x00"], [""], [7], "text", [["a"]]])
def test_phrases_that_cannot_be_used(server: RunningServer, phrases: Any) -> None:
    """Refused with words, or taken as nothing; never an internal error."""

    async def talk() -> dict[str, Any]:
        async with connected(f"{server.ws}/v1/audio/transcriptions/realtime?model=tiny-en") as client:
            await client.receive()
            await client.send("session.update", session={"context_bias": phrases})
            return await client.receive()

    answer = asyncio.run(talk())
    assert answer["type"] == "session.updated" or answer["error"]["code"] in (400, 422)
