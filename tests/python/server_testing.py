"""A real server on loopback, in a thread of the test process, and small clients for its protocols."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from front_door import sample, tiny_engine
from numpy.typing import NDArray

from voxtral_edge.audio import read_audio
from voxtral_edge.engine import Engine

for _package in ("starlette", "uvicorn", "websockets", "multipart", "prometheus_client", "wyoming", "httpx"):
    pytest.importorskip(_package, reason="the server's packages are not installed")

import websockets  # noqa: E402 - after the check above

from voxtral_edge.server.limits import Limits  # noqa: E402
from voxtral_edge.server.service import Service, ServiceOptions, bind  # noqa: E402

TOKEN = "a-token-for-tests-0123456789"
WAIT_S = 30.0  # for anything that should happen at once: only a hang takes so long


@dataclass
class RunningServer:
    """What a test needs to know of the server it talks to."""

    port: int
    wyoming_port: int
    service: Service
    stop: Callable[[], bool]

    @property
    def http(self) -> str:
        """Base address of the HTTP interface."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        """Base address of the WebSockets."""
        return f"ws://127.0.0.1:{self.port}"


@contextmanager
def running_server(
    engine: Engine | None = None, limits: Limits | None = None, **options: Any
) -> Iterator[RunningServer]:
    """A server on free ports until the block ends; it must then have shut down by itself."""
    ready = threading.Event()
    outcome: Future[bool] = Future()
    made: list[tuple[Service, asyncio.AbstractEventLoop]] = []
    bound = bind("127.0.0.1", 0)
    chosen = ServiceOptions(limits=limits or Limits(), wyoming=("127.0.0.1", 0), **options)

    async def serve() -> bool:
        service = Service(engine or tiny_engine(), chosen, bound, ready.set)
        made.append((service, asyncio.get_running_loop()))
        return await service.run()

    def run() -> None:
        try:
            outcome.set_result(asyncio.run(serve()))
        except BaseException as error:
            outcome.set_exception(error)
            ready.set()

    def stop() -> bool:
        service, loop = made[0]
        if not outcome.done():
            loop.call_soon_threadsafe(service.stop.set)
        return outcome.result(WAIT_S)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(WAIT_S), "the server did not start"
    if outcome.done():
        outcome.result()
    service = made[0][0]
    assert service.wyoming_port is not None
    try:
        yield RunningServer(bound.getsockname()[1], service.wyoming_port, service, stop)
    finally:
        stop()
        thread.join(WAIT_S)
        assert not thread.is_alive()


def pcm16(name: str = "zero-to-nine.wav") -> NDArray[np.int16]:
    """A sample recording at 16 kHz, rounded to 16 bits: the same samples for every protocol."""
    return np.round(read_audio(sample(name)) * 32767).astype(np.int16)


def expected_text(pcm: NDArray[Any], **options: Any) -> str:
    """What `transcribe` says of the same samples."""
    text = tiny_engine().transcribe(pcm, **options).text
    assert text, "an empty text proves nothing"
    return text


def chunks(data: bytes, size: int = 6400) -> list[bytes]:
    """`data` in pieces; 6400 bytes are 200 ms of 16-bit samples at 16 kHz."""
    return [data[begin : begin + size] for begin in range(0, len(data), size)]


def encoded(data: bytes) -> str:
    """Base64 text."""
    return base64.b64encode(data).decode()


class JsonClient:
    """A WebSocket that speaks JSON objects."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def send(self, kind: str, **fields: Any) -> None:
        """Sends one message."""
        await self.connection.send(json.dumps({"type": kind, **fields}))

    async def receive(self) -> dict[str, Any]:
        """The next message."""
        return json.loads(await asyncio.wait_for(self.connection.recv(), WAIT_S))

    async def until(self, *kinds: str) -> list[dict[str, Any]]:
        """Every message up to the first of the given types, included."""
        messages = []
        while True:
            messages.append(await self.receive())
            if messages[-1]["type"] in kinds:
                return messages

    async def close_code(self) -> tuple[int, str]:
        """Reads until the server closes; its code and reason."""
        try:
            while True:
                await asyncio.wait_for(self.connection.recv(), WAIT_S)
        except websockets.ConnectionClosed as closed:
            assert closed.rcvd is not None, "the connection broke off without a close frame"
            return closed.rcvd.code, closed.rcvd.reason


@asynccontextmanager
async def connected(address: str, **options: Any) -> AsyncIterator[JsonClient]:
    """A client of one of the WebSocket addresses."""
    options.setdefault("max_size", None)
    async with websockets.connect(address, **options) as connection:
        yield JsonClient(connection)


async def vllm_utterance(
    client: JsonClient, data: bytes, size: int = 6400, update: bool = True
) -> list[dict[str, Any]]:
    """One utterance in vLLM's documented order; every message up to its transcription.done."""
    if update:
        await client.send("session.update", model="tiny-en")
    await client.send("input_audio_buffer.commit")
    for chunk in chunks(data, size):
        await client.send("input_audio_buffer.append", audio=encoded(chunk))
    await client.send("input_audio_buffer.commit", final=True)
    return await client.until("transcription.done")


async def mistral_utterance(client: JsonClient, data: bytes, size: int = 6400) -> list[dict[str, Any]]:
    """One recording in Mistral's protocol; every message up to transcription.done."""
    for chunk in chunks(data, size):
        await client.send("input_audio.append", audio=encoded(chunk))
    await client.send("input_audio.flush")
    await client.send("input_audio.end")
    return await client.until("transcription.done", "error")


def texts(messages: list[dict[str, Any]], kind: str, key: str) -> str:
    """The joined pieces of one type of message."""
    return "".join(message[key] for message in messages if message["type"] == kind)
