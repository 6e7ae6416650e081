"""Wyoming, with the package's own client, as Home Assistant uses it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from front_door import tiny_engine
from server_testing import WAIT_S, RunningServer, chunks, expected_text, pcm16, running_server
from wyoming.asr import Transcribe, Transcript, TranscriptChunk
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

from voxtral_edge.server.limits import Limits
from voxtral_edge.server.pcm import PcmDecoder

PCM = pcm16()


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(limits=Limits(sessions=2)) as running:
        yield running


async def utterance(client: AsyncTcpClient, data: bytes, rate: int, width: int, channels: int) -> list[Event]:
    """One utterance; every event up to transcript-stop."""
    await client.write_event(Transcribe(language="en").event())
    await client.write_event(AudioStart(rate=rate, width=width, channels=channels).event())
    for chunk in chunks(data, 2048 * width * channels // 2):
        await client.write_event(AudioChunk(rate=rate, width=width, channels=channels, audio=chunk).event())
    await client.write_event(AudioStop().event())
    return await events_until(client, "transcript-stop", "error")


async def events_until(client: AsyncTcpClient, *kinds: str) -> list[Event]:
    events = []
    while True:
        event = await asyncio.wait_for(client.read_event(), WAIT_S)
        assert event is not None, "the connection ended"
        events.append(event)
        if event.type in kinds:
            return events


def talk(server: RunningServer, data: bytes, rate: int = 16000, width: int = 2, channels: int = 1) -> Any:
    async def run() -> list[Event]:
        async with AsyncTcpClient("127.0.0.1", server.wyoming_port) as client:
            return await utterance(client, data, rate, width, channels)

    return asyncio.run(run())


def test_describe_and_ping(server: RunningServer) -> None:
    async def run() -> tuple[Event, Event]:
        async with AsyncTcpClient("127.0.0.1", server.wyoming_port) as client:
            await client.write_event(Describe().event())
            info = await client.read_event()
            await client.write_event(Ping(text="hello").event())
            return info, await client.read_event()

    info_event, pong = asyncio.run(run())
    info = Info.from_event(info_event)
    assert info.asr[0].supports_transcript_streaming and info.asr[0].models[0].name == "tiny-en"
    assert info.asr[0].models[0].languages == ["en"]
    assert Pong.from_event(pong).text == "hello"


def test_streaming_transcript(server: RunningServer) -> None:
    """start, chunks that add up, the legacy transcript, stop."""
    events = talk(server, PCM.tobytes())
    kinds = [event.type for event in events]
    assert kinds[0] == "transcript-start" and kinds[-2:] == ["transcript", "transcript-stop"]
    assert set(kinds[1:-2]) == {"transcript-chunk"}
    transcript = Transcript.from_event(events[-2])
    assert transcript.text == expected_text(PCM) and transcript.language == "en"
    joined = "".join(TranscriptChunk.from_event(e).text for e in events if e.type == "transcript-chunk")
    assert joined == transcript.text


def test_stereo_at_48_khz(server: RunningServer) -> None:
    mono = np.repeat(PCM, 3)
    stereo = np.stack([mono, mono], axis=1)
    decoder = PcmDecoder("pcm_s16le", 48000, 2)
    samples = np.concatenate([decoder.decode(stereo.tobytes()), decoder.drain()])
    events = talk(server, stereo.tobytes(), 48000, 2, 2)
    assert Transcript.from_event(events[-2]).text == tiny_engine().transcribe(samples).text


def test_utterances_on_one_connection(server: RunningServer) -> None:
    second = pcm16("pin.ogg")

    async def run() -> list[str]:
        async with AsyncTcpClient("127.0.0.1", server.wyoming_port) as client:
            results = []
            for pcm in (PCM, second, PCM):
                events = await utterance(client, pcm.tobytes(), 16000, 2, 1)
                results.append(Transcript.from_event(events[-2]).text)
            return results

    assert asyncio.run(run()) == [expected_text(PCM), expected_text(second), expected_text(PCM)]


def test_full_house(server: RunningServer) -> None:
    """Beyond the number of sessions: an error event; once one has ended, the next is served."""

    async def run() -> Event:
        clients = [AsyncTcpClient("127.0.0.1", server.wyoming_port) for _ in range(3)]
        for client in clients:
            await client.connect()
        start = AudioStart(rate=16000, width=2, channels=1).event()
        for client in clients[:2]:
            await client.write_event(start)
            await events_until(client, "transcript-start")
        await clients[2].write_event(start)
        error = (await events_until(clients[2], "error"))[-1]
        for client in clients:
            await client.disconnect()
        return error

    error = asyncio.run(run())
    assert error.data["code"] == "full" and "2 sessions" in error.data["text"]
    assert Transcript.from_event(talk_when_free(server)[-2]).text == expected_text(PCM)


def talk_when_free(server: RunningServer) -> list[Event]:
    for _ in range(100):
        if server.service.hub.open_sessions < 2:
            break
        asyncio.run(asyncio.sleep(0.05))
    return talk(server, PCM.tobytes())


CHUNK = {"type": "audio-chunk", "data": {"rate": 16000, "width": 2, "channels": 1}}


@pytest.mark.parametrize(
    "sent",
    [
        json.dumps({"type": "describe", "data_length": 1 << 40}).encode() + b"\n",
        json.dumps({"type": "describe", "data_length": -1}).encode() + b"\n",
        json.dumps({"type": "describe", "data_length": "5"}).encode() + b"\n",
        json.dumps({**CHUNK, "payload_length": 1 << 40}).encode() + b"\n",
        json.dumps({**CHUNK, "payload_length": True}).encode() + b"\n",
        json.dumps({"type": "audio-start", "data": {"rate": 16000}}).encode() + b"\n",
        json.dumps({"type": "audio-start", "data": {"rate": 0, "width": 2, "channels": 1}}).encode() + b"\n",
        json.dumps({"type": "audio-start", "data": {"rate": 16000, "width": 3, "channels": 1}}).encode()
        + b"\n",
        json.dumps({**CHUNK, "payload_length": 3}).encode() + b"\nodd",
        json.dumps({"type": "audio-start", "data": {"rate": 8000, "width": 2, "channels": 1}}).encode()
        + b"\n"
        + json.dumps({**CHUNK, "payload_length": 2}).encode()
        + b"\n\0\0",  # another format within the utterance
        json.dumps({"type": 5}).encode() + b"\n",
        b"not json\n",
        b"[]\n",
        b"[" * 9000 + b"\n",
        b"\xff\xfe\n",
        b"x" * 100_000,
    ],
)
def test_hostile_bytes_end_the_connection(server: RunningServer, sent: bytes) -> None:
    """An error event, the end, and the server goes on."""

    async def run() -> list[dict[str, Any]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.wyoming_port, limit=1 << 20)
        writer.write(sent)
        received = await asyncio.wait_for(reader.read(), WAIT_S)
        writer.close()
        return [json.loads(line) for line in received.splitlines() if line.startswith(b'{"type"')]

    try:
        events = asyncio.run(run())
        assert events and events[-1]["type"] == "error"
    except ConnectionResetError:
        assert len(sent) > 50_000, "only a client that goes on sending may find the connection reset"
    assert server.service.hub.scheduler.alive()
    assert server.service.hub.open_sessions == 0


def test_unknown_events_are_dropped(server: RunningServer) -> None:
    async def run() -> Event | None:
        async with AsyncTcpClient("127.0.0.1", server.wyoming_port) as client:
            await client.write_event(Event(type="from-the-future", data={"a": 1}, payload=b"xyz"))
            await client.write_event(AudioStop().event())
            await client.write_event(Describe().event())
            return await client.read_event()

    event = asyncio.run(run())
    assert event is not None and event.type == "info"
