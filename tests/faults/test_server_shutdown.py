"""SIGTERM with streams in every protocol: finals are sent, readiness goes at once, exit code 0."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from front_door import start_cli
from server_testing import WAIT_S, JsonClient, connected, encoded, expected_text, pcm16
from websockets.exceptions import InvalidStatus
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart
from wyoming.client import AsyncTcpClient

PCM = pcm16("serial-numbers.flac")


class Process:
    """`voxtral-edge serve` in a process of its own."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.process = start_cli(
            "serve", "--port", "0", "--wyoming", "127.0.0.1:0", "--sessions", "5", *arguments, env=environment
        )
        self.log: list[str] = []
        self._ready = threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()
        assert self._ready.wait(60), "".join(self.log)
        assert self.process.poll() is None, "".join(self.log)
        self.port = self._port("http://127.0.0.1:")
        self.wyoming_port = self._port("tcp://127.0.0.1:")

    def _follow(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.decode())
            if b"Wyoming on" in line:
                self._ready.set()
        self._ready.set()

    def _port(self, prefix: str) -> int:
        found = re.search(re.escape(prefix) + r"(\d+)", "".join(self.log))
        assert found, self.log
        return int(found.group(1))

    def wait(self) -> int:
        """The exit code; ten seconds are allowed."""
        return self.process.wait(10)


@pytest.fixture
def server() -> Iterator[Process]:
    running = Process()
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.wait(WAIT_S)


def test_finals_are_sent(server: Process) -> None:
    """Each of four clients is in the middle of its audio when the signal comes. What each is told in the end
    is what `transcribe` says of the audio that was sent."""
    half = PCM[: 16000 * 10]
    ws = f"ws://127.0.0.1:{server.port}"

    async def feed(client: JsonClient, kind: str) -> None:
        for begin in range(0, len(half), 3200):
            await client.send(kind, audio=encoded(half[begin : begin + 3200].tobytes()))

    async def talk() -> list[Any]:
        async with contextlib.AsyncExitStack() as stack:
            vllm = await stack.enter_async_context(connected(f"{ws}/v1/realtime"))
            openai = await stack.enter_async_context(connected(f"{ws}/v1/realtime?intent=transcription"))
            route = f"{ws}/v1/audio/transcriptions/realtime?model=tiny-en"
            mistral = await stack.enter_async_context(connected(route))
            idle = await stack.enter_async_context(connected(f"{ws}/v1/realtime"))
            wyoming = await stack.enter_async_context(AsyncTcpClient("127.0.0.1", server.wyoming_port))
            for client in (vllm, openai, mistral, idle):
                await client.receive()
            await vllm.send("session.update", model="tiny-en")
            await vllm.send("input_audio_buffer.commit")
            audio = {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}
            await openai.send("session.update", session={"type": "transcription", "audio": audio})
            await feed(vllm, "input_audio_buffer.append")
            await feed(openai, "input_audio_buffer.append")
            await feed(mistral, "input_audio.append")
            await wyoming.write_event(AudioStart(rate=16000, width=2, channels=1).event())
            for begin in range(0, len(half), 3200):
                data = half[begin : begin + 3200].tobytes()
                await wyoming.write_event(AudioChunk(rate=16000, width=2, channels=1, audio=data).event())
            # Everything that was sent has been read once the server answers what was sent after it.
            for client in (vllm, openai, mistral):
                await client.send("nonsense")
                await client.until("error")
            from wyoming.ping import Ping

            await wyoming.write_event(Ping().event())
            while (await wyoming.read_event()).type != "pong":
                pass
            server.process.send_signal(signal.SIGTERM)
            results: list[Any] = [(await vllm.until("transcription.done"))[-1]["text"]]
            completed = "conversation.item.input_audio_transcription.completed"
            results.append((await openai.until(completed))[-1]["transcript"])
            results.append((await mistral.until("transcription.done"))[-1]["text"])
            while not Transcript.is_type((event := await wyoming.read_event()).type):
                pass
            results.append(Transcript.from_event(event).text)
            codes = [(await client.close_code())[0] for client in (vllm, openai, mistral, idle)]
            return [results, codes]

    results, codes = asyncio.run(asyncio.wait_for(talk(), 60))
    assert results == [expected_text(half)] * 4
    assert codes == [1001] * 4
    assert server.wait() == 0


def test_not_ready_at_once_and_new_sessions_refused(server: Process) -> None:
    """While an upload keeps the server alive, readiness is gone, liveness is not, and nobody new is let
    in."""
    http = f"http://127.0.0.1:{server.port}"
    with socket.create_connection(("127.0.0.1", server.port), WAIT_S) as upload:
        upload.sendall(
            f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9999\r\n\r\n--x\r\n".encode()
        )
        while httpx.get(f"{http}/health").json()["sessions"]["open"] == 0:
            pass
        server.process.send_signal(signal.SIGTERM)
        while (answer := httpx.get(f"{http}/health/ready")).status_code == 200:
            pass
        assert answer.status_code == 503 and answer.json()["status"] == "draining"
        assert httpx.get(f"{http}/health/live").status_code == 200

        async def connect() -> None:
            async with connected(f"ws://127.0.0.1:{server.port}/v1/realtime"):
                pass

        with pytest.raises(InvalidStatus) as refused:
            asyncio.run(connect())
        assert refused.value.response.status_code == 503
    assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_sessions(server: Process, number: signal.Signals) -> None:
    server.process.send_signal(number)
    assert server.wait() == 0
    assert not any("Traceback" in line for line in server.log), "".join(server.log)


def test_supervisor_is_notified(tmp_path: Path) -> None:
    """READY, the watchdog's heartbeat, STOPPING, as systemd wants them."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(WAIT_S)
        server = Process(NOTIFY_SOCKET=str(path), WATCHDOG_USEC="200000")
        heard = [listener.recv(100).decode() for _ in range(4)]
        assert heard[0] == "READY=1" and set(heard[1:]) == {"WATCHDOG=1"}
        server.process.send_signal(signal.SIGTERM)
        while (state := listener.recv(100).decode()) == "WATCHDOG=1":
            pass
        assert state == "STOPPING=1"
        assert server.wait() == 0


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start_cli("serve", "--port", port)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and b"cannot listen" in err and len(err.splitlines()) == 1
    assert isinstance(process, subprocess.Popen)
