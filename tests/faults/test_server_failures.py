"""An exception injected at each stage of one session: it ends with an error id, the others go on."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from front_door import sample
from server_testing import (
    WAIT_S,
    RunningServer,
    connected,
    encoded,
    expected_text,
    mistral_utterance,
    pcm16,
    running_server,
    vllm_utterance,
)
from wyoming.audio import AudioChunk, AudioStart
from wyoming.client import AsyncTcpClient

from voxtral_edge.engine import Engine
from voxtral_edge.server import pcm as pcm_module
from voxtral_edge.server.lane import Lane
from voxtral_edge.server.mistral_dialect import MistralConnection
from voxtral_edge.server.openai_dialect import OpenAiConnection
from voxtral_edge.server.scheduler import Scheduler
from voxtral_edge.server.session import Session
from voxtral_edge.server.vllm_dialect import VllmConnection

PCM = pcm16("pin.ogg")


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


class Victim:
    """Fails the calls of one session: the first that is opened after `arm`."""

    def __init__(self) -> None:
        self.calls = 0
        self._lock = threading.Lock()

    def fail(self) -> None:
        """Raises once."""
        with self._lock:
            self.calls += 1
            first = self.calls == 1
        if first:
            raise RuntimeError("injected secret detail")


def broken(original: Callable[..., Any], victim: Victim) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        victim.fail()
        return original(*arguments, **options)

    return call


STAGES: list[tuple[str, Any, str]] = [
    ("stream creation", Engine, "core_stream"),
    ("pass of the model", Scheduler, "_run_native"),
    ("round", Scheduler, "_run_streams"),
    ("after the pass", Scheduler, "_step"),
    ("delivery", Session, "_from_scheduler"),
    ("taking work", Lane, "take"),
    ("decoding of audio", pcm_module.PcmDecoder, "decode"),
    ("joining of steps", Session, "_joined"),
]


# Files do not pass the decoder of raw audio.
CASES = [
    pytest.param(owner, name, protocol, id=f"{protocol}: {stage}")
    for stage, owner, name in STAGES
    for protocol in ("vllm", "openai", "mistral", "rest", "wyoming")
    if (protocol, name) != ("rest", "decode")
]


@pytest.mark.parametrize(("owner", "name", "protocol"), CASES)
def test_failure_ends_its_own_session_only(
    server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: Any,
    name: str,
    protocol: str,
) -> None:
    victim = Victim()
    with caplog.at_level(logging.ERROR, "voxtral_edge.server"), monkeypatch.context() as patched:
        patched.setattr(owner, name, broken(getattr(owner, name), victim))
        told = asyncio.run(TALKS[protocol](server))
    assert victim.calls >= 1, "the stage was not reached"
    assert "err_" in told and "secret" not in told, told
    error_id = told[told.index("err_") :].split(")")[0].split('"')[0]
    logged = [record for record in caplog.records if error_id in record.getMessage()]
    assert logged and logged[0].exc_info, "the error id must lead to the traceback"
    assert server.service.hub.scheduler.alive()
    assert httpx.get(server.http + "/health").status_code == 200
    assert asyncio.run(whole_vllm(server)) == expected_text(PCM)


@pytest.mark.parametrize(
    ("connection", "protocol"),
    [(VllmConnection, "vllm"), (OpenAiConnection, "openai"), (MistralConnection, "mistral")],
)
@pytest.mark.parametrize("name", ["on_message", "on_update"])
def test_failure_in_a_dialect(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, connection: Any, protocol: str, name: str
) -> None:
    victim = Victim()
    with monkeypatch.context() as patched:
        patched.setattr(connection, name, broken(getattr(connection, name), victim))
        told = asyncio.run(TALKS[protocol](server))
    assert victim.calls >= 1 and "err_" in told and "secret" not in told
    assert asyncio.run(whole_vllm(server)) == expected_text(PCM)


def test_other_sessions_go_on(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Session B fails in a pass of its own while A is in the middle of its audio; A's text is whole."""
    data = PCM.tobytes()

    async def talk() -> tuple[str, str]:
        async with connected(f"{server.ws}/v1/realtime") as a:
            await a.receive()
            await a.send("session.update", model="tiny-en")
            await a.send("input_audio_buffer.commit")
            await a.send("input_audio_buffer.append", audio=encoded(data[:60000]))
            await a.until("transcription.delta")
            while server.service.hub.scheduler.lag_s() > 0:
                await asyncio.sleep(0.01)
            with monkeypatch.context() as patched:
                victim = Victim()
                patched.setattr(Engine, "core_stream", broken(Engine.core_stream, victim))
                told = await TALKS["mistral"](server)
            await a.send("input_audio_buffer.append", audio=encoded(data[60000:120000]))
            await a.send("input_audio_buffer.append", audio=encoded(data[120000:]))
            await a.send("input_audio_buffer.commit", final=True)
            return told, (await a.until("transcription.done"))[-1]["text"]

    told, text = asyncio.run(talk())
    assert "err_" in told and text == expected_text(PCM)


async def whole_vllm(server: RunningServer) -> str:
    async with connected(f"{server.ws}/v1/realtime") as client:
        await client.receive()
        return (await vllm_utterance(client, PCM.tobytes()))[-1]["text"]


async def talk_vllm(server: RunningServer) -> str:
    """Every `talk_…` returns what the client was told of the failure."""
    async with connected(f"{server.ws}/v1/realtime") as client:
        await client.receive()
        await client.send("session.update", model="tiny-en")
        await client.send("input_audio_buffer.commit")
        await client.send("input_audio_buffer.append", audio=encoded(PCM.tobytes()[:60000]))
        error = (await client.until("error"))[-1]
        assert error["code"] == "internal_error"
        assert (await client.close_code())[0] == 1011
        return str(error["error"])


async def talk_openai(server: RunningServer) -> str:
    async with connected(f"{server.ws}/v1/realtime?intent=transcription") as client:
        await client.receive()
        await client.send("input_audio_buffer.append", audio=encoded(PCM.tobytes()[:60000]))
        error = (await client.until("error"))[-1]["error"]
        assert error["type"] == "server_error" and error["code"] == "internal_error"
        assert (await client.close_code())[0] == 1011
        return str(error["message"])


async def talk_mistral(server: RunningServer) -> str:
    async with connected(f"{server.ws}/v1/audio/transcriptions/realtime?model=tiny-en") as client:
        await client.receive()
        messages = await mistral_utterance(client, PCM.tobytes())
        assert messages[-1]["error"]["code"] == 500
        assert (await client.close_code())[0] == 1011
        return str(messages[-1]["error"]["message"])


async def talk_rest(server: RunningServer) -> str:
    files = {"file": ("a.ogg", sample("pin.ogg").read_bytes())}
    async with httpx.AsyncClient(timeout=WAIT_S) as client:
        answer = await client.post(
            f"{server.http}/v1/audio/transcriptions", files=files, data={"model": "tiny-en"}
        )
    assert answer.status_code == 500
    return answer.text


async def talk_wyoming(server: RunningServer) -> str:
    async with AsyncTcpClient("127.0.0.1", server.wyoming_port) as client:
        await client.write_event(AudioStart(rate=16000, width=2, channels=1).event())
        audio = np.ascontiguousarray(PCM[:30000]).tobytes()
        await client.write_event(AudioChunk(rate=16000, width=2, channels=1, audio=audio).event())
        while True:
            event = await asyncio.wait_for(client.read_event(), WAIT_S)
            assert event is not None
            if event.type == "error":
                return str(event.data["text"])


TALKS = {
    "vllm": talk_vllm,
    "openai": talk_openai,
    "mistral": talk_mistral,
    "rest": talk_rest,
    "wyoming": talk_wyoming,
}
