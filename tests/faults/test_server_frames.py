"""Messages that are too big, not text, not JSON, too late or too many: the right close code, and nothing else
suffers."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_testing import (
    WAIT_S,
    JsonClient,
    RunningServer,
    connected,
    encoded,
    expected_text,
    pcm16,
    running_server,
    vllm_utterance,
)

from voxtral_edge.server.limits import Limits

LIMITS = Limits(sessions=8, first_message_s=0.5, idle_s=1.0, session_s=20.0)
ADDRESSES = (
    "/v1/realtime",
    "/v1/realtime?intent=transcription",
    "/v1/audio/transcriptions/realtime?model=tiny-en",
)
APPEND = ("input_audio_buffer.append", "input_audio_buffer.append", "input_audio.append")


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(limits=LIMITS) as running:
        yield running


@pytest.fixture(autouse=True)
def still_serves(server: RunningServer) -> Iterator[None]:
    """After every test the server has no session left and transcribes as before."""
    yield

    async def talk() -> str:
        async with connected(f"{server.ws}/v1/realtime") as client:
            await client.receive()
            return (await vllm_utterance(client, pcm16("pin.ogg").tobytes()))[-1]["text"]

    assert asyncio.run(talk()) == expected_text(pcm16("pin.ogg"))
    wait_for_no_sessions(server)


def wait_for_no_sessions(server: RunningServer) -> None:
    for _ in range(200):
        if server.service.hub.open_sessions == 0:
            return
        asyncio.run(asyncio.sleep(0.05))
    raise AssertionError(f"{server.service.hub.open_sessions} sessions are still open")


def closed_by(
    server: RunningServer, address: str, act: Callable[[JsonClient], Awaitable[Any]]
) -> tuple[int, str]:
    """The close code and reason after `act`."""

    async def talk() -> tuple[int, str]:
        async with connected(server.ws + address) as client:
            await client.receive()
            await act(client)
            return await client.close_code()

    return asyncio.run(talk())


@pytest.mark.parametrize(
    ("address", "kind", "most"), list(zip(ADDRESSES, APPEND, (65536, 65536, 262144), strict=True))
)
def test_largest_frame_and_one_more(server: RunningServer, address: str, kind: str, most: int) -> None:
    async def act(client: JsonClient, size: int) -> None:
        await client.send(kind, audio=encoded(bytes(size)))

    code, reason = closed_by(server, address, lambda client: act(client, most + 2))
    assert code == 1009 and str(most) in reason

    async def allowed() -> bool:
        async with connected(server.ws + address) as client:
            await client.receive()
            await act(client, most)
            await client.send("nonsense")
            return (await client.until("error"))[-1]["type"] == "error"

    assert asyncio.run(allowed())


@pytest.mark.parametrize("address", ADDRESSES)
def test_control_message_over_16_kib(server: RunningServer, address: str) -> None:
    async def act(client: JsonClient) -> None:
        await client.send("session.update", session={"junk": "x" * 16384})

    assert closed_by(server, address, act)[0] == 1009


@pytest.mark.parametrize("address", ADDRESSES)
def test_message_of_many_megabytes(server: RunningServer, address: str) -> None:
    """Refused by its announced length, before it is in memory."""
    before = psutil.Process().memory_info().rss

    async def talk() -> int:
        async with connected(server.ws + address) as client:
            await client.receive()
            sending = asyncio.ensure_future(client.connection.send("x" * (16 << 20)))
            code, _ = await client.close_code()
            await asyncio.gather(sending, return_exceptions=True)
            return code

    assert asyncio.run(talk()) == 1009
    assert psutil.Process().memory_info().rss - before < 100 << 20, "client and server together"


@pytest.mark.parametrize("address", ADDRESSES)
def test_invalid_utf8(server: RunningServer, address: str) -> None:
    async def act(client: JsonClient) -> None:
        await client.connection.send(b'{"type": "\xff\xfe"}', text=True)

    assert closed_by(server, address, act)[0] == 1007


@pytest.mark.parametrize("address", ADDRESSES)
def test_binary_messages_and_too_many_errors(server: RunningServer, address: str) -> None:
    """A binary message is refused like any other; after sixteen refusals the connection is closed."""

    async def act(client: JsonClient) -> None:
        for _ in range(LIMITS.protocol_errors):
            await client.connection.send(b"\x00\x01")

    code, reason = closed_by(server, address, act)
    assert code == 1008 and "too many" in reason


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_first_message(server: RunningServer, address: str) -> None:
    async def act(client: JsonClient) -> None:
        return None

    code, reason = closed_by(server, address, act)
    assert code == 1008 and "no message" in reason


@pytest.mark.parametrize(("address", "kind"), list(zip(ADDRESSES, APPEND, strict=True)))
def test_idle_client(server: RunningServer, address: str, kind: str) -> None:
    async def act(client: JsonClient) -> None:
        await client.send(kind, audio=encoded(bytes(6400)))

    assert closed_by(server, address, act)[0] == 1008


FLOODS = [
    (ADDRESSES[0], [{"type": "input_audio_buffer.commit", "final": True}]),
    (
        ADDRESSES[1],
        [{"type": "input_audio_buffer.append", "audio": "AAAA"}, {"type": "input_audio_buffer.clear"}],
    ),
    (
        ADDRESSES[1],
        [{"type": "input_audio_buffer.append", "audio": "AAAA"}, {"type": "input_audio_buffer.commit"}],
    ),
    (ADDRESSES[2], [{"type": "input_audio.append", "audio": "AAAA"}, {"type": "input_audio.flush"}]),
]


@pytest.mark.parametrize(("address", "messages"), FLOODS)
def test_floods_of_small_messages(
    server: RunningServer, address: str, messages: list[dict[str, Any]]
) -> None:
    """Thousands of marks, which hold no audio, faster than they can be computed: the lane's queue stays
    short, and another client's text is whole meanwhile."""
    longest = 0

    async def talk() -> str:
        nonlocal longest
        async with (
            connected(server.ws + address, close_timeout=1) as flood,
            connected(f"{server.ws}/v1/realtime") as other,
        ):
            await flood.receive()
            await other.receive()
            await flood.send("session.update", model="tiny-en")

            async def pour() -> None:
                while True:
                    for message in messages:
                        await flood.connection.send(json.dumps(message))
                    await asyncio.sleep(0)

            async def read() -> None:
                while True:
                    await flood.connection.recv()

            tasks = [asyncio.ensure_future(pour()), asyncio.ensure_future(read())]
            said = asyncio.ensure_future(vllm_utterance(other, pcm16("pin.ogg").tobytes()))
            while not said.done():
                lanes = list(server.service.hub.scheduler._lanes)
                longest = max([longest, *(lane.queued_marks for lane in lanes)])
                await asyncio.sleep(0.01)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return said.result()[-1]["text"]

    with running_server() as server:
        assert asyncio.run(talk()) == expected_text(pcm16("pin.ogg"))
    assert longest < 16


def test_session_limit() -> None:
    """A client that never stops is closed at the end of its time."""
    with running_server(limits=Limits(session_s=1.0)) as short:

        async def talk() -> tuple[int, str]:
            async with connected(f"{short.ws}/v1/realtime") as client:
                await client.receive()

                async def chat() -> None:
                    for _ in range(200):
                        await client.send("session.update", model="tiny-en")
                        await asyncio.sleep(0.05)

                chatting = asyncio.ensure_future(chat())
                closed = await client.close_code()
                chatting.cancel()
                await asyncio.gather(chatting, return_exceptions=True)
                return closed

        code, reason = asyncio.run(talk())
        assert code == 1008 and "time limit" in reason


def test_deflate_is_never_negotiated(server: RunningServer) -> None:
    async def talk() -> bool:
        async with connected(f"{server.ws}/v1/realtime", compression="deflate") as client:
            return "Sec-WebSocket-Extensions" in client.connection.response.headers

    assert asyncio.run(talk()) is False


def test_compressed_frame_without_agreement(server: RunningServer) -> None:
    """A frame that claims to be compressed is a protocol error (1002), not a bomb."""
    reply = raw_websocket(server, struct.pack("!BB", 0xC1, 0x80 | 4) + bytes(4) + b"\x00\x00\x00\x00")
    close = reply[reply.index(b"\x88") :]
    assert struct.unpack("!H", close[2:4])[0] == 1002


def raw_websocket(server: RunningServer, frame: bytes) -> bytes:
    """Everything the server sends after the greeting, in answer to raw bytes."""
    with socket.create_connection(("127.0.0.1", server.port), WAIT_S) as connection:
        connection.sendall(
            f"GET /v1/realtime HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        received = b""
        while b"session.created" not in received or not received.endswith(b"}"):
            received += connection.recv(65536)
        connection.sendall(frame)
        reply = b""
        while block := connection.recv(65536):
            reply += block
        return reply


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=12), children, max_size=4)
    ),
    max_leaves=12,
)
_KEYS = """session model audio final input format rate type transcription turn_detection audio_format encoding
    sample_rate target_streaming_delay_ms context_bias keywords delay"""
_KINDS = """session.update transcription_session.update input_audio_buffer.append input_audio_buffer.commit
    input_audio_buffer.clear input_audio.append input_audio.flush input_audio.end __proto__"""
KEYS = st.sampled_from(_KEYS.split())
KINDS = st.sampled_from(_KINDS.split())
VALUES = JSON | st.dictionaries(KEYS, JSON | st.dictionaries(KEYS, JSON, max_size=4), max_size=4)
MESSAGES = st.dictionaries(KEYS, VALUES, max_size=4).flatmap(
    lambda fields: KINDS.map(lambda kind: {**fields, "type": kind}) | st.just(fields)
)


@pytest.mark.parametrize("address", ADDRESSES)
@settings(
    max_examples=int(os.environ.get("VOXTRAL_EDGE_FUZZ_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(messages=st.lists(MESSAGES, min_size=1, max_size=6))
def test_any_message_is_answered_or_refused(
    server: RunningServer, address: str, messages: list[dict[str, Any]]
) -> None:
    """Whatever JSON comes: never an internal error, never a code that was not meant."""
    failures = metric(server, "voxtral_edge_failures_total")

    async def talk() -> int | None:
        async with connected(server.ws + address) as client:
            await client.receive()
            for message in messages:
                await client.connection.send(json.dumps(message))
            await client.connection.close()
            closed = client.connection.close_code
            return closed

    assert asyncio.run(talk()) in (1000, 1008, 1009)
    assert metric(server, "voxtral_edge_failures_total") == failures


def metric(server: RunningServer, name: str) -> float:
    """One value of /metrics."""
    text = httpx.get(server.http + "/metrics", timeout=WAIT_S).text
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))
