"""vLLM's realtime protocol: its documented order of messages, its errors, and utterance after utterance."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from server_testing import (
    RunningServer,
    chunks,
    connected,
    encoded,
    expected_text,
    pcm16,
    running_server,
    texts,
    vllm_utterance,
)

from voxtral_edge.server.limits import Limits
from voxtral_edge.server.session import Update
from voxtral_edge.server.vllm_dialect import VllmConnection

PCM = pcm16()


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


@pytest.mark.parametrize("size", [2, 994, 6400, 65536])
def test_documented_flow(server: RunningServer, size: int) -> None:
    """Any size of append gives the text of `transcribe`; deltas add up to it."""
    pcm = PCM if size > 2 else PCM[:16000]

    async def talk() -> list[dict[str, Any]]:
        async with connected(f"{server.ws}/v1/realtime") as client:
            created = await client.receive()
            assert created["type"] == "session.created"
            assert created["id"].startswith("sess-") and isinstance(created["created"], int)
            return await vllm_utterance(client, pcm.tobytes(), size)

    messages = asyncio.run(talk())
    assert {message["type"] for message in messages} == {"transcription.delta", "transcription.done"}
    done = messages[-1]
    assert done["text"] == expected_text(pcm) == texts(messages, "transcription.delta", "delta")
    usage = done["usage"]
    assert usage["prompt_tokens"] == 1 + 8 + 6
    # Alignment to 80 ms, then delay + 11 tokens of padding; prompt and first token share a position.
    assert usage["completion_tokens"] == -(-len(pcm) // 1280) + 8 + 6 + 11 - usage["prompt_tokens"] + 1
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_one_delta_per_token_when_live(server: RunningServer) -> None:
    """A client that sends 80 ms at a time, and waits, hears of every token, text or not."""

    async def talk() -> list[dict[str, Any]]:
        async with connected(f"{server.ws}/v1/realtime") as client:
            await client.receive()
            await client.send("session.update", model="tiny-en")
            await client.send("input_audio_buffer.commit")
            deltas = []
            data = chunks(PCM.tobytes(), 2560)
            for chunk in data[:8]:  # 9000 samples are needed for the first token
                await client.send("input_audio_buffer.append", audio=encoded(chunk))
            deltas.append(await client.receive())
            for chunk in data[8:40]:
                await client.send("input_audio_buffer.append", audio=encoded(chunk))
                deltas.append(await client.receive())
            return deltas

    deltas = asyncio.run(talk())
    assert all(delta["type"] == "transcription.delta" for delta in deltas)
    assert sum(delta["delta"] == "" for delta in deltas) > sum(delta["delta"] != "" for delta in deltas) > 0


def test_utterance_after_utterance(server: RunningServer) -> None:
    """After done, a commit starts another; each is as if it were alone. Audio may come before its commit."""
    second = pcm16("pin.ogg")

    async def talk() -> list[str]:
        async with connected(f"{server.ws}/v1/realtime") as client:
            await client.receive()
            first = await vllm_utterance(client, PCM.tobytes())
            for chunk in chunks(second.tobytes()):
                await client.send("input_audio_buffer.append", audio=encoded(chunk))
            await client.send("input_audio_buffer.commit")
            await client.send("input_audio_buffer.commit", final=True)
            again = await client.until("transcription.done")
            assert texts(again, "transcription.delta", "delta") == again[-1]["text"]
            third = await vllm_utterance(client, PCM.tobytes(), update=False)
            return [messages[-1]["text"] for messages in (first, again, third)]

    assert asyncio.run(talk()) == [expected_text(PCM), expected_text(second), expected_text(PCM)]


def test_second_utterance_may_be_sent_before_the_first_is_done(server: RunningServer) -> None:
    second = pcm16("room.mp3")

    async def talk() -> list[str]:
        async with connected(f"{server.ws}/v1/realtime") as client:
            await client.receive()
            await client.send("session.update", model="tiny-en")
            for pcm in (PCM, second):
                await client.send("input_audio_buffer.commit")
                for chunk in chunks(pcm.tobytes(), 65536):
                    await client.send("input_audio_buffer.append", audio=encoded(chunk))
                await client.send("input_audio_buffer.commit", final=True)
            return [(await client.until("transcription.done"))[-1]["text"] for _ in range(2)]

    assert asyncio.run(talk()) == [expected_text(PCM), expected_text(second)]


def test_no_audio_gives_an_empty_transcript(server: RunningServer) -> None:
    async def talk() -> dict[str, Any]:
        async with connected(f"{server.ws}/v1/realtime") as client:
            await client.receive()
            return (await vllm_utterance(client, b""))[-1]

    assert asyncio.run(talk())["text"] == ""


class _Deltas:
    """A connection without a network; `told` is what was sent: deltas as text, others by their type."""

    def __init__(self) -> None:
        self.told: list[str] = []
        hub = SimpleNamespace(limits=Limits(), draining=asyncio.Event(), knows_model=lambda name: True)
        session = SimpleNamespace(configure=lambda **_: None, finish=lambda: None, prompt_tokens=15)
        self.connection = VllmConnection(cast(Any, self), cast(Any, hub), cast(Any, session))

    async def send(self, message: dict[str, Any]) -> None:
        self.told.append(message.get("delta", message["type"]))

    async def message(self, kind: str, **fields: Any) -> None:
        await self.connection.on_message({"type": kind, **fields})

    async def update(self, *pieces: tuple[int, str], tokens: tuple[int, int], finished: bool = False) -> None:
        text = "".join(piece for _, piece in pieces)
        update = Update(text, list(pieces), finished=finished)
        update.first_token, update.generated_tokens = tokens
        await self.connection.on_update(update)


def test_text_known_before_the_commit_is_told_with_it() -> None:
    async def run() -> list[str]:
        client = _Deltas()
        await client.message("session.update", model="tiny-en")
        for utterance in range(2):  # the second is open again until its commit
            await client.update((0, f" early {utterance}"), tokens=(0, 1))
            await client.message("input_audio_buffer.commit")
            await client.update((1, " late"), tokens=(1, 2))
            await client.message("input_audio_buffer.commit", final=True)
            await client.update(tokens=(2, 2), finished=True)
        return client.told

    told = asyncio.run(run())
    assert told == [" early 0", " late", "transcription.done", " early 1", " late", "transcription.done"]


def test_a_client_that_is_behind_gets_no_empty_deltas() -> None:
    async def run() -> list[str]:
        client = _Deltas()
        await client.message("session.update", model="tiny-en")
        await client.message("input_audio_buffer.commit")
        await client.update((1, " one"), tokens=(0, 4))
        await client.update((5, " two"), (7, " three"), tokens=(4, 9))
        await client.update(tokens=(9, 20))
        return client.told

    assert asyncio.run(run()) == ["", " one", "", "", " two three"]


def test_delay_in_the_address(server: RunningServer) -> None:
    """An extension: ?delay_ms= chooses the delay, which shows in the usage."""

    async def talk() -> dict[str, Any]:
        async with connected(f"{server.ws}/v1/realtime?delay_ms=960") as client:
            await client.receive()
            return (await vllm_utterance(client, PCM.tobytes()))[-1]

    done = asyncio.run(talk())
    assert done["usage"]["prompt_tokens"] == 1 + 8 + 12
    assert done["text"] == expected_text(PCM, delay_ms=960)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "session.update"}, "invalid_event"),
        ({"type": "session.update", "model": "whisper-9"}, "model_not_found"),
        ({"type": "input_audio_buffer.commit"}, "model_not_validated"),
        ({"type": "input_audio_buffer.commit", "final": True}, "model_not_validated"),
        ({"type": "input_audio_buffer.append", "audio": "%%%"}, "invalid_audio"),
        ({"type": "input_audio_buffer.append", "audio": ""}, "invalid_audio"),
        ({"type": "input_audio_buffer.append", "audio": "AAA="[:3]}, "invalid_audio"),
        ({"type": "input_audio_buffer.append", "audio": "AAAA%AAAA"}, "invalid_audio"),
        ({"type": "input_audio_buffer.append", "audio": encoded(b"odd")}, "invalid_audio"),
        ({"type": "input_audio_buffer.append"}, "invalid_audio"),
        ({"type": "nonsense"}, "unknown_event"),
        ({"type": ["a", "list"]}, "unknown_event"),
        ({}, "unknown_event"),
    ],
)
def test_refused_messages_leave_the_connection_usable(
    server: RunningServer, message: dict[str, Any], code: str
) -> None:
    async def talk() -> tuple[dict[str, Any], str]:
        async with connected(f"{server.ws}/v1/realtime") as client:
            await client.receive()
            fields = dict(message)
            await client.send(fields.pop("type", None), **fields)
            error = await client.receive()
            return error, (await vllm_utterance(client, PCM[:48000].tobytes()))[-1]["text"]

    error, text = asyncio.run(talk())
    assert error["type"] == "error" and error["code"] == code
    assert isinstance(error["error"], str) and error["error"]
    assert text == expected_text(PCM[:48000])


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"text"', "[" * 5000, "NaN", "1" * 5000])
def test_invalid_json(server: RunningServer, text: str) -> None:
    async def talk() -> dict[str, Any]:
        async with connected(f"{server.ws}/v1/realtime") as client:
            await client.receive()
            await client.connection.send(text)
            return await client.receive()

    assert asyncio.run(talk())["code"] == "invalid_json"
