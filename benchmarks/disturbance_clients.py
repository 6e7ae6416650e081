"""The clients of disturbance.py: well-behaved ones that report how long each step took, and hostile ones of every kind.

    python benchmarks/disturbance_clients.py KIND PORT MODEL AUDIO.npy COUNT

Runs until its standard input ends. A `good` client prints "TIME LATENCY" in seconds for every step, TIME being when the
80 ms of audio were sent, on the monotonic clock of the machine.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import websockets

STEP_SAMPLES, RATE_HZ = 1280, 16000
STEP_S = STEP_SAMPLES / RATE_HZ
# A token's last spectrum looks this far ahead: fed first, so that every frame of 80 ms completes one step.
AHEAD_SAMPLES = 40
SMALL_BUFFER_BYTES = 4096
OVERSIZE_BYTES = 4 << 20
FLOOD_CONNECTIONS = 100
Client = Callable[["Target"], Coroutine[Any, Any, None]]


class Target:
    """Where to connect, and the audio to send."""

    def __init__(self, port: int, model: str, audio: np.ndarray) -> None:
        self.port, self._audio, self._position = port, audio, 0
        self.address = (
            f"ws://127.0.0.1:{port}/v1/audio/transcriptions/realtime?model={model}&events=words,steps"
        )

    def frame(self, samples: int = STEP_SAMPLES) -> str:
        """The next samples of the endless recording as a message."""
        piece = np.take(self._audio, range(self._position, self._position + samples), mode="wrap")
        self._position += samples
        return json.dumps({"type": "input_audio.append", "audio": base64.b64encode(piece.tobytes()).decode()})


async def good(target: Target) -> None:
    """Sends 80 ms every 80 ms and reads everything; prints each step's latency."""
    async with websockets.connect(target.address, compression=None) as socket:
        sent = [time.monotonic()]
        await socket.send(target.frame(AHEAD_SAMPLES))
        reader = asyncio.create_task(_report(socket, sent))
        try:
            await _pace(lambda: _send_timed(socket, target, sent))
        finally:
            reader.cancel()


async def polite(target: Target) -> None:
    """A good client that reports nothing: the neighbour that hostile ones are compared with."""
    async with websockets.connect(target.address, compression=None) as socket:
        reader = asyncio.create_task(_discard(socket))
        try:
            await _pace(lambda: socket.send(target.frame()))
        finally:
            reader.cancel()


async def stalled(target: Target) -> None:
    """Sends as fast as the server takes it and never reads; comes again when it is closed."""
    async with _raw(target) as socket:
        while True:
            await socket.send(target.frame(16 * STEP_SAMPLES))


async def slow(target: Target) -> None:
    """Sends in time, reads one message a second."""
    async with _raw(target) as socket:

        async def dribble() -> None:
            while True:
                await socket.recv()
                await asyncio.sleep(1.0)

        reader = asyncio.create_task(dribble())
        try:
            await _pace(lambda: socket.send(target.frame()))
        finally:
            reader.cancel()


async def garbage(target: Target) -> None:
    """Messages that are no JSON, no audio or no known type, as fast as the server takes them."""
    chance = random.Random(os.getpid())
    async with websockets.connect(target.address, compression=None) as socket:
        while True:
            junk = chance.choice(
                [
                    "{" * 2000,
                    json.dumps({"type": "input_audio.append", "audio": "*" * 4000}),
                    json.dumps({"type": "x" * 1000, "deep": [[[[{}]]]] * 100}),
                    chance.randbytes(4000),
                ]
            )
            await socket.send(junk)


async def flood(target: Target) -> None:
    """Opens connections by the dozen: some say nothing, some ask for a stream, some send half a request."""
    writers = []
    try:
        for number in range(FLOOD_CONNECTIONS):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", target.port)
                if number % 3 == 1:
                    writer.write(b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nX-Half: ")
                elif number % 3 == 2:
                    writer.write(b"\x16\x03\x01" + os.urandom(200))
                writers.append(writer)
    finally:
        for writer in writers:
            writer.close()
    async with websockets.connect(target.address, compression=None):
        pass


async def oversize(target: Target) -> None:
    """Frames larger than any limit."""
    async with websockets.connect(target.address, compression=None, max_size=None) as socket:
        while True:
            await socket.send("x" * OVERSIZE_BYTES)


async def upload(target: Target) -> None:
    """A request body of noise that claims to be a recording."""
    boundary = b"edge"
    head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    tail = b'\r\n--edge\r\nContent-Disposition: form-data; name="model"\r\n\r\nx\r\n--edge--\r\n'
    body = head + os.urandom(OVERSIZE_BYTES) + tail
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    try:
        writer.write(
            b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Type: multipart/form-data; boundary=%b\r\nContent-Length: %d\r\n\r\n"
            % (boundary, len(body))
        )
        writer.write(body)
        await reader.read()
    finally:
        writer.close()


KINDS: dict[str, Client] = {
    "good": good,
    "polite": polite,
    "stalled": stalled,
    "slow": slow,
    "garbage": garbage,
    "flood": flood,
    "oversize": oversize,
    "upload": upload,
}
HOSTILE = [kind for kind in KINDS if kind not in ("good", "polite")]


async def again_and_again(client: Client, target: Target) -> None:
    """A client that comes back, a moment after it was thrown out."""
    while True:
        with contextlib.suppress(OSError, websockets.WebSocketException):
            await client(target)
        await asyncio.sleep(0.05)


def _raw(target: Target) -> Any:
    """A connection whose receive buffer is tiny, so that not reading is felt at once."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    plain.connect(("127.0.0.1", target.port))
    plain.setblocking(False)
    return websockets.connect(target.address, sock=plain, compression=None, max_queue=1, ping_interval=None)


async def _pace(send: Callable[[], Coroutine[Any, Any, None]]) -> None:
    begun, number = time.monotonic(), 0
    while True:
        number += 1
        await asyncio.sleep(max(0.0, begun + number * STEP_S - time.monotonic()))
        await send()


async def _send_timed(socket: Any, target: Target, sent: list[float]) -> None:
    message = target.frame()
    sent.append(time.monotonic())
    await socket.send(message)


async def _report(socket: Any, sent: list[float]) -> None:
    async for text in socket:
        now = time.monotonic()
        message = json.loads(text)
        if message["type"] == "voxtral_edge.step":
            frame = round((message["heard_s"] * RATE_HZ - AHEAD_SAMPLES) / STEP_SAMPLES)
            print(f"{sent[frame]:.6f} {now - sent[frame]:.6f}", flush=True)


async def _discard(socket: Any) -> None:
    async for _ in socket:
        pass


async def main() -> None:
    kind, port, model, audio, number_of = sys.argv[1:]
    client, count = KINDS[kind], int(number_of)
    pcm = np.load(audio)
    targets = [Target(int(port), model, np.roll(pcm, -i * len(pcm) // count)) for i in range(count)]
    tasks = []
    for number, target in enumerate(targets):
        # Good clients end with the server's first refusal: what they measure would have a hole.
        tasks.append(
            asyncio.create_task(client(target) if kind == "good" else again_and_again(client, target))
        )
        await asyncio.sleep(
            STEP_S / count if number + 1 < count else 0
        )  # do not all speak at the same moment
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), over.set)  # nothing is ever written: it ended
    watched = [asyncio.create_task(over.wait()), *(tasks if kind == "good" else [])]
    await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            task.result()
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
