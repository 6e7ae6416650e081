"""Clients that leave, stall or send nonsense, and a server that is told to stop: nobody else notices."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from typing import Any

import httpx
import numpy as np
import pytest
from front_door import sample, sample_text
from server_testing import (
    WAIT_S,
    RunningServer,
    chunks,
    connected,
    encoded,
    expected_text,
    mistral_utterance,
    pcm16,
    running_server,
)

from voxtral_edge.server.limits import Limits
from voxtral_edge.server.scheduler import Scheduler

MISTRAL = "/v1/audio/transcriptions/realtime?model=tiny-en"
HALF = "\\ud800"  # half of a surrogate pair, as JSON spells it


def failures(server: RunningServer) -> float:
    """The counter of internal errors."""
    text = httpx.get(f"{server.http}/metrics", timeout=WAIT_S).text
    found = re.search(r"^voxtral_edge_failures_total (.*)$", text, re.MULTILINE)
    assert found
    return float(found[1])


def upload(server: RunningServer, path: str = "/v1/audio/transcriptions") -> tuple[socket.socket, bytes]:
    """A connection over which the first half of a form was sent, and the other half."""
    parts = [
        b'--X\r\nContent-Disposition: form-data; name="model"\r\n\r\ntiny-en\r\n',
        b'--X\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n',
        sample("zero-to-nine.wav").read_bytes(),
        b"\r\n--X--\r\n",
    ]
    body = b"".join(parts)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=X\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S)
    connection.sendall(head.encode() + body[: len(body) // 2])
    return connection, body[len(body) // 2 :]


def wait_for_sessions(server: RunningServer, count: int) -> None:
    """Until so many sessions are open."""
    end = time.monotonic() + WAIT_S
    while httpx.get(f"{server.http}/health/live").status_code == 200:
        if server.service.hub.open_sessions == count:
            return
        assert time.monotonic() < end, f"{server.service.hub.open_sessions} sessions instead of {count}"
    raise AssertionError("the server is not alive")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1/realtime", f'{{"type":"{HALF}"}}'),
        ("/v1/realtime", f'{{"type":"session.update","model":"{HALF}"}}'),
        ("/v1/realtime?intent=transcription", f'{{"type":"x","event_id":"{HALF}"}}'),
        ("/v1/realtime?intent=transcription", f'{{"type":"session.update","session":{{"{HALF}":1}}}}'),
        (MISTRAL, f'{{"type":"session.update","session":{{"language":"{HALF}"}}}}'),
    ],
)
def test_strings_that_are_no_text(path: str, message: str) -> None:
    """They cannot be repeated in UTF-8: refused as the client's fault, and the connection goes on."""

    async def run(server: RunningServer) -> list[str]:
        async with connected(server.ws + path) as client:
            await client.receive()
            await client.connection.send(message)
            errors = await client.until("error")
            await client.send("nonsense")
            errors += await client.until("error")
            return [json.dumps(error) for error in errors]

    with running_server() as server:
        first, second = asyncio.run(run(server))
        assert "invalid JSON" in first and "nonsense" in second
        assert failures(server) == 0


def test_wyoming_strings_that_are_no_text() -> None:
    async def run(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f'{{"type":"ping","data":{{"text":"{HALF}"}}}}\n'.encode())
        try:
            return await asyncio.wait_for(reader.read(), WAIT_S)
        finally:
            writer.close()

    with running_server() as server:
        assert b"invalid JSON" in asyncio.run(run(server.wyoming_port))
        assert failures(server) == 0


def test_leaving_in_the_middle_of_an_upload() -> None:
    """No failure of the server: no traceback in the log, no alarm; and the place is free again."""
    with running_server() as server:
        connection, _ = upload(server)
        wait_for_sessions(server, 1)
        connection.close()
        wait_for_sessions(server, 0)
        assert failures(server) == 0


def test_stopping_in_the_middle_of_an_upload() -> None:
    """The client is told; the server says that nothing was lost."""
    with running_server(limits=Limits(drain_s=2.0)) as server:
        connection, _ = upload(server)
        wait_for_sessions(server, 1)
        complete = server.stop()
        with connection:
            answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 503 ") and b'"code":"draining"' in answer
    assert complete


def test_audio_that_comes_faster_than_it_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's pongs wait behind its audio for many pings: it is not taken for dead."""
    original = Scheduler._run_native

    def slow(self: Scheduler, items: list[Any], tokens: int) -> list[Any]:
        time.sleep(0.03)
        return original(self, items, tokens)

    monkeypatch.setattr(Scheduler, "_run_native", slow)
    speech = np.concatenate([pcm16("serial-numbers.flac"), np.zeros(16000 * 20, np.int16)])

    async def run(server: RunningServer) -> list[dict[str, Any]]:
        async with connected(server.ws + MISTRAL, ping_interval=None) as client:
            await client.receive()
            return await mistral_utterance(client, speech.tobytes())

    with running_server(limits=Limits(ping_s=0.05)) as server:
        done = asyncio.run(run(server))[-1]
    assert done["type"] == "transcription.done" and done["text"] == expected_text(speech)


def test_a_stream_of_events_shows_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments while there is nothing to say; the events are what they would be without."""
    original = Scheduler._run_native

    def slow(self: Scheduler, items: list[Any], tokens: int) -> list[Any]:
        time.sleep(0.2)
        return original(self, items, tokens)

    monkeypatch.setattr(Scheduler, "_run_native", slow)
    with running_server(limits=Limits(ping_s=0.05)) as server:
        answer = httpx.post(
            f"{server.http}/v1/audio/transcriptions",
            data={"model": "tiny-en", "stream": "true"},
            files={"file": ("pin.ogg", sample("pin.ogg").read_bytes())},
            timeout=WAIT_S,
        )
    blocks = answer.text.split("\n\n")
    assert any(block.startswith(": ") for block in blocks)
    events = [json.loads(block.split("data: ")[1]) for block in blocks if "data: " in block]
    assert events[-1]["type"] == "transcript.text.done"
    assert events[-1]["text"] == sample_text("pin.ogg")


def test_one_byte_at_a_time() -> None:
    """Messages that are torn into frames of single bytes are messages all the same."""
    pcm = pcm16("pin.ogg")

    async def run(server: RunningServer) -> str:
        async with connected(server.ws + MISTRAL) as client:
            await client.receive()
            first, *rest = chunks(pcm.tobytes(), 3200)
            await client.connection.send(
                list(json.dumps({"type": "input_audio.append", "audio": encoded(first)}))
            )
            return (await mistral_utterance(client, b"".join(rest)))[-1]["text"]

    with running_server() as server:
        assert asyncio.run(run(server)) == expected_text(pcm)
