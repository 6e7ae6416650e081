"""Mistral's realtime transcription, with Mistral's own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from front_door import tiny_engine
from numpy.typing import NDArray
from server_testing import (
    TOKEN,
    RunningServer,
    chunks,
    connected,
    encoded,
    expected_text,
    mistral_utterance,
    pcm16,
    running_server,
    texts,
)

from voxtral_edge.server.connection import DialectError
from voxtral_edge.server.limits import Limits
from voxtral_edge.server.mistral_dialect import MistralConnection
from voxtral_edge.server.pcm import PcmDecoder

PCM = pcm16("serial-numbers.flac")
ROUTE = "/v1/audio/transcriptions/realtime?model=tiny-en"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(token=TOKEN) as running:
        yield running


def official_events(server: RunningServer, data: bytes, **options: Any) -> list[Any]:
    """Everything that `transcribe_stream` of the official client yields."""
    pytest.importorskip("mistralai.extra.realtime")
    from mistralai.client import Mistral

    async def audio() -> AsyncIterator[bytes]:
        for chunk in chunks(data, 32000):
            yield chunk

    async def talk() -> list[Any]:
        client = Mistral(api_key=TOKEN, server_url=server.http)
        stream = client.audio.realtime.transcribe_stream(audio_stream=audio(), model="tiny-en", **options)
        return [event async for event in stream]

    return asyncio.run(asyncio.wait_for(talk(), 60))


def test_official_client(server: RunningServer) -> None:
    """Deltas, segments and done; the client flushes before it ends, which must not change the text."""
    events = official_events(server, PCM.tobytes())
    kinds = [event.type for event in events]
    assert kinds[0] == "session.created" and kinds[-1] == "transcription.done"
    assert set(kinds) == {
        "session.created",
        "transcription.text.delta",
        "transcription.segment",
        "transcription.done",
    }
    done = events[-1]
    transcript = tiny_engine().transcribe(PCM)
    assert done.text == transcript.text == "".join(e.text for e in events if e.type.endswith("delta"))
    expected = [(s.text, round(s.start, 3), round(s.end, 3)) for s in transcript.segments]
    assert len(expected) > 2
    assert [(s.text, s.start, s.end) for s in done.segments] == expected
    assert [(e.text, e.start, e.end) for e in events if e.type == "transcription.segment"] == expected
    assert done.usage.prompt_audio_seconds == round(len(PCM) / 16000)
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    assert done.language is None, "the model does not say which language it heard"


def test_official_client_with_settings(server: RunningServer) -> None:
    from mistralai.client.models import AudioFormat

    pcm = PCM[: 16000 * 5]
    data = (pcm.astype(np.float32) / 32768).tobytes()
    events = official_events(
        server,
        data,
        audio_format=AudioFormat(encoding="pcm_f32le", sample_rate=16000),
        target_streaming_delay_ms=960,
        language="en",
    )
    updated = next(event for event in events if event.type == "session.updated")
    assert updated.session.target_streaming_delay_ms == 960
    assert updated.session.audio_format.encoding == "pcm_f32le"
    assert events[-1].text == expected_text(pcm, delay_ms=960)
    assert events[-1].language == "en"


def test_official_client_is_refused_politely(server: RunningServer) -> None:
    from mistralai.client import Mistral
    from mistralai.extra.exceptions import RealtimeTranscriptionException, RealtimeTranscriptionWSError

    async def connect(key: str, model: str) -> None:
        connection = await Mistral(api_key=key, server_url=server.http).audio.realtime.connect(model=model)
        await connection.close()

    with pytest.raises(RealtimeTranscriptionWSError, match="does not exist"):
        asyncio.run(connect(TOKEN, "mistral-huge"))
    with pytest.raises(RealtimeTranscriptionException, match="401"):
        asyncio.run(connect("wrong-token-0123456789", "tiny-en"))


def converted(pcm: NDArray[np.int16], encoding: str) -> bytes:
    """The same samples in another encoding (the companded ones lose precision)."""
    if encoding == "pcm_s16le":
        return pcm.tobytes()
    if encoding == "pcm_s32le":
        return (pcm.astype(np.int32) << 16).tobytes()
    if encoding in ("pcm_f32le", "pcm_f16le"):
        return (pcm / 32768).astype("<f4" if encoding == "pcm_f32le" else "<f2").tobytes()
    table = PcmDecoder(encoding).decode(bytes(range(256))).astype(np.int32)
    order = np.argsort(table)
    at = np.searchsorted(table[order], pcm).clip(0, 255)
    return order[at].astype(np.uint8).tobytes()


@pytest.mark.parametrize(
    "encoding", ["pcm_s16le", "pcm_s32le", "pcm_f16le", "pcm_f32le", "pcm_mulaw", "pcm_alaw"]
)
@pytest.mark.parametrize("rate_hz", [16000, 24000])
def test_every_encoding(server: RunningServer, encoding: str, rate_hz: int) -> None:
    """Each equals `transcribe` of the samples it stands for."""
    data = converted(PCM[: 16000 * 4], encoding)
    decoder = PcmDecoder(encoding, rate_hz)
    samples = (
        np.concatenate([decoder.decode(data), decoder.drain()]) if rate_hz != 16000 else decoder.decode(data)
    )

    async def talk() -> list[dict[str, Any]]:
        async with authorized(server) as client:
            await client.receive()
            audio_format = {"encoding": encoding, "sample_rate": rate_hz}
            await client.send("session.update", session={"audio_format": audio_format})
            assert (await client.receive())["type"] == "session.updated"
            return await mistral_utterance(client, data, 64000)

    assert asyncio.run(talk())[-1]["text"] == tiny_engine().transcribe(samples).text


def authorized(server: RunningServer, query: str = "", **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return connected(f"{server.ws}{ROUTE}{query}", additional_headers=headers, **options)


def test_flush_brings_out_words_at_once(server: RunningServer) -> None:
    """After a flush the text that is behind the delay arrives although no more audio comes."""

    async def talk() -> str:
        async with authorized(server) as client:
            await client.receive()
            for chunk in chunks(pcm16("pin.ogg").tobytes()):
                await client.send("input_audio.append", audio=encoded(chunk))
            await client.send("input_audio.flush")
            text = ""
            while "zero" not in text:
                message = await client.receive()
                text += message.get("text", "") if message["type"] == "transcription.text.delta" else ""
            return text

    assert asyncio.run(talk()) == expected_text(pcm16("pin.ogg"))


def test_words_and_steps_on_request(server: RunningServer) -> None:
    async def talk() -> list[dict[str, Any]]:
        async with authorized(server, "&events=words,steps,junk") as client:
            await client.receive()
            return await mistral_utterance(client, PCM.tobytes())

    messages = asyncio.run(talk())
    words = [m for m in messages if m["type"] == "voxtral_edge.word"]
    expected = tiny_engine().transcribe(PCM).words
    assert [(w["text"], w["start"], w["end"]) for w in words] == [
        (w.text, round(w.start, 3), round(w.end, 3)) for w in expected
    ]
    steps = [m for m in messages if m["type"] == "voxtral_edge.step"]
    assert sum(step["tokens"] for step in steps) == messages[-1]["usage"]["completion_tokens"]


@pytest.mark.parametrize(
    ("session", "code"),
    [
        ({"diarize": "yes"}, 400),
        ({"speaker_references": {"Ann": "AAAA"}}, 422),
        ({"turn_detection": {"min_silence_ms": 500}}, 422),
        ({"target_streaming_delay_ms": 481}, 400),
        ({"target_streaming_delay_ms": "480"}, 400),
        ({"audio_format": {"encoding": "opus", "sample_rate": 16000}}, 400),
        ({"audio_format": {"encoding": "pcm_s16le", "sample_rate": 1}}, 400),
        ({"audio_format": {"encoding": "pcm_s16le", "sample_rate": 1e9}}, 400),
        ({"junk": 1}, 400),
        ("text", 400),
    ],
)
def test_settings_without_effect_are_refused(server: RunningServer, session: Any, code: int) -> None:
    async def talk() -> dict[str, Any]:
        async with authorized(server) as client:
            await client.receive()
            await client.send("session.update", session=session)
            return await client.receive()

    error = asyncio.run(talk())
    assert error["type"] == "error" and error["error"]["code"] == code and error["error"]["message"]


def test_messages_out_of_order(server: RunningServer) -> None:
    async def talk() -> list[dict[str, Any]]:
        errors = []
        async with authorized(server) as client:
            await client.receive()
            await client.send("input_audio.append", audio=encoded(b"odd"))
            errors.append(await client.receive())
            await client.send("input_audio.append", audio=encoded(bytes(3200)))
            await client.send("session.update", session={"target_streaming_delay_ms": 960})
            errors.append(await client.receive())
            await client.send("nonsense")
            errors.append(await client.receive())
            await client.send("input_audio.end")
            errors.append((await client.until("transcription.done"))[-1])
            assert await client.close_code() == (1000, "")
        return errors

    odd, late, unknown, done = asyncio.run(talk())
    assert "whole" in odd["error"]["message"]
    assert "fixed" in late["error"]["message"]
    assert "unknown" in unknown["error"]["message"]
    assert done["text"] == ""


@pytest.mark.parametrize("kind", ["append", "flush", "end"])
def test_nothing_follows_the_end(kind: str) -> None:
    async def run() -> None:
        hub = SimpleNamespace(limits=Limits())
        session = SimpleNamespace(delay_ms=480, finish=lambda: None)
        connection = MistralConnection(
            cast(Any, None), cast(Any, hub), cast(Any, session), "tiny-en", frozenset()
        )
        await connection.on_message({"type": "input_audio.end"})
        with pytest.raises(DialectError, match="the audio has ended"):
            await connection.on_message({"type": f"input_audio.{kind}", "audio": "AAAA"})

    asyncio.run(run())


def test_delta_texts_join_to_the_transcript(server: RunningServer) -> None:
    async def talk() -> list[dict[str, Any]]:
        async with authorized(server) as client:
            await client.receive()
            return await mistral_utterance(client, PCM.tobytes(), 320)

    messages = asyncio.run(talk())
    assert texts(messages, "transcription.text.delta", "text") == messages[-1]["text"] == expected_text(PCM)


def test_the_module_is_documented() -> None:
    """docs/server.md shows how to reach this dialect."""
    document = (Path(__file__).parents[2] / "docs" / "server.md").read_text(encoding="utf-8")
    assert "/v1/audio/transcriptions/realtime" in document
