"""Clients that stall, dribble, leave or come in crowds: they are bounded and closed; others do not notice."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from front_door import sample
from server_testing import (
    WAIT_S,
    RunningServer,
    connected,
    encoded,
    expected_text,
    pcm16,
    running_server,
    vllm_utterance,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus

from voxtral_edge.server.limits import Limits

PCM = pcm16("pin.ogg")
LIMITS = Limits(sessions=4, header_s=0.5, upload_s=1.0, send_s=1.0, connections=40, send_buffer_bytes=4096)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(limits=LIMITS) as running:
        yield running


def wait_until(condition: Any, what: str) -> None:
    """Waits for something that should happen at once."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def no_sessions(server: RunningServer) -> None:
    wait_until(lambda: server.service.hub.open_sessions == 0, "sessions stay open")


async def whole(server: RunningServer) -> str:
    async with connected(f"{server.ws}/v1/realtime") as client:
        await client.receive()
        return (await vllm_utterance(client, PCM.tobytes()))[-1]["text"]


def stalled_client(server: RunningServer) -> socket.socket:
    """A raw WebSocket that asks for step reports and will never read them; its receive buffer is tiny."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(WAIT_S)
    connection.connect(("127.0.0.1", server.port))
    path = "/v1/audio/transcriptions/realtime?model=tiny-en&events=words,steps"
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    return connection


def frame(text: str) -> bytes:
    """One masked text frame, mask zero."""
    data = text.encode()
    return b"\x81\xfe" + len(data).to_bytes(2, "big") + bytes(4) + data


def test_stalled_reader_is_closed_and_others_go_on(server: RunningServer) -> None:
    """One client pours audio in and reads nothing. Its queues stay bounded, it is closed, and a second
    client's text is whole meanwhile."""
    connection = stalled_client(server)
    message = frame('{"type":"input_audio.append","audio":"' + encoded(bytes(2560)) + '"}')
    sent = 0
    ended = threading.Event()

    def pour() -> None:
        nonlocal sent
        try:
            while not ended.is_set():
                connection.sendall(message)
                sent += 1
        except OSError:
            pass

    pouring = threading.Thread(target=pour, daemon=True)
    pouring.start()
    try:
        wait_until(lambda: sent > 500, "the stalled client cannot send")
        assert asyncio.run(whole(server)) == expected_text(PCM)
        scheduler = server.service.hub.scheduler
        most = max((lane.waiting_events for lane in list(scheduler._lanes)), default=0)
        assert most <= LIMITS.queued_events + 64
        assert scheduler.lag_s() < LIMITS.queued_audio_s + 1
        no_sessions(server)
    finally:
        ended.set()
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)  # wakes the thread; closing would not
        connection.close()
        pouring.join(WAIT_S)


def test_slow_headers_and_slow_bodies(server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), WAIT_S) as dribble:
        dribble.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        assert dribble.recv(1000) == b"", "the connection must be closed, without an answer"
    with socket.create_connection(("127.0.0.1", server.port), WAIT_S) as slow:
        slow.sendall(
            f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 100000\r\n\r\n--x\r\n".encode()
        )
        assert b" 408 " in slow.recv(1000).splitlines()[0]
    no_sessions(server)


def test_long_headers(server: RunningServer) -> None:
    for size, statuses in [(30_000, {200}), (40_000, {400, 431})]:
        answer = httpx.get(server.http + "/health", headers={"X-Long": "x" * size}, timeout=WAIT_S)
        assert answer.status_code in statuses


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/audio/transcriptions/realtime?model=tiny-en"])
def test_full_house(server: RunningServer, path: str) -> None:
    """The fifth session is told to come back; the four go on; a free place is given again."""

    async def talk() -> list[str]:
        async with connected(f"{server.ws}/v1/realtime") as kept:
            await kept.receive()
            others = [connected(server.ws + path) for _ in range(3)]
            for other in others:
                await (await other.__aenter__()).receive()
            for _ in range(20):
                with pytest.raises(InvalidStatus) as refused:
                    await connected(server.ws + path).__aenter__()
                assert refused.value.response.status_code == 503
                assert int(refused.value.response.headers["Retry-After"]) > 0
            answer = await asyncio.to_thread(post, server)
            assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
            text = (await vllm_utterance(kept, PCM.tobytes()))[-1]["text"]
            for other in others:
                await other.__aexit__(None, None, None)
            return [text]

    assert asyncio.run(talk()) == [expected_text(PCM)]
    no_sessions(server)
    assert post(server).status_code == 200


def post(server: RunningServer, **fields: str) -> httpx.Response:
    files = {"file": ("a.ogg", sample("pin.ogg").read_bytes())}
    return httpx.post(
        f"{server.http}/v1/audio/transcriptions",
        files=files,
        data={"model": "tiny-en", **fields},
        timeout=WAIT_S,
    )


def test_crowd_of_connections(server: RunningServer) -> None:
    """Three times as many connections as are allowed: the rest is closed at once, a session that runs goes
    on."""

    async def talk() -> str:
        async with connected(f"{server.ws}/v1/realtime") as client:
            await client.receive()
            await client.send("session.update", model="tiny-en")
            await client.send("input_audio_buffer.commit")
            crowd = [socket.create_connection(("127.0.0.1", server.port), WAIT_S) for _ in range(120)]
            await asyncio.sleep(0.2)
            for begin in range(0, len(PCM), 3200):
                audio = encoded(PCM[begin : begin + 3200].tobytes())
                await client.send("input_audio_buffer.append", audio=audio)
            await client.send("input_audio_buffer.commit", final=True)
            text = (await client.until("transcription.done"))[-1]["text"]
            closed = sum(connection.recv(1) == b"" for connection in crowd[60:])
            assert closed == 60
            for connection in crowd:
                connection.close()
            return text

    assert asyncio.run(talk()) == expected_text(PCM)
    wait_until(lambda: httpx_ok(server), "the server does not recover from the crowd")


def httpx_ok(server: RunningServer) -> bool:
    try:
        return httpx.get(server.http + "/health", timeout=WAIT_S).status_code == 200
    except httpx.HTTPError:
        return False


def test_clients_that_leave_at_any_moment(server: RunningServer) -> None:
    """Streams, uploads and answers cut off half way: no session stays, nothing crashes."""
    body = sample("serial-numbers.flac").read_bytes()
    head = (
        f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n"
    )
    form = (
        b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\ntiny-en\r\n'
        b'--x\r\nContent-Disposition: form-data; name="stream"\r\n\r\ntrue\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.flac"\r\n\r\n'
        + body
        + b"\r\n--x--\r\n"
    )
    for moment in range(24):
        with socket.create_connection(("127.0.0.1", server.port), WAIT_S) as connection:
            connection.sendall(f"{head}Content-Length: {len(form)}\r\n\r\n".encode())
            cut = len(form) if moment % 2 else len(form) * moment // 24
            connection.sendall(form[:cut])
            if cut == len(form):
                time.sleep(0.002 * moment)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    no_sessions(server)

    async def leave(moment: int) -> None:
        try:
            async with connected(f"{server.ws}/v1/realtime") as client:
                await client.receive()
                talking = asyncio.ensure_future(vllm_utterance(client, PCM.tobytes()))
                await asyncio.sleep(0.002 * moment)
                client.connection.transport.abort()
                await asyncio.gather(talking, return_exceptions=True)
        except ConnectionClosed:
            pass

    for moment in range(12):
        asyncio.run(leave(moment))
    no_sessions(server)
    assert asyncio.run(whole(server)) == expected_text(PCM)
