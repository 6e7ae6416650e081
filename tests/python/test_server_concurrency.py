"""Many clients at once: each hears what it would alone, in shared passes over the weights."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
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
    vllm_utterance,
)

from voxtral_edge.server.limits import Limits

SPEECH = pcm16("serial-numbers.flac")
SESSIONS = 8


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(limits=Limits(sessions=SESSIONS)) as running:
        yield running


def recordings() -> list[Any]:
    """Eight different ones: the speech begins and ends elsewhere in each."""
    return [
        np.ascontiguousarray(SPEECH[1700 * i : len(SPEECH) - 9000 * (SESSIONS - i)]) for i in range(SESSIONS)
    ]


def test_eight_sessions_equal_lone_runs(server: RunningServer) -> None:
    """Four speak vLLM's protocol, four Mistral's with different delays, all with different chunk sizes."""
    pcms = recordings()
    delays = [480, 480, 480, 480, 240, 480, 960, 2400]

    async def one(index: int) -> str:
        data, size = pcms[index].tobytes(), 2 * (311 + 997 * index)
        if index < 4:
            async with connected(f"{server.ws}/v1/realtime") as client:
                await client.receive()
                return (await vllm_utterance(client, data, size))[-1]["text"]
        route = f"/v1/audio/transcriptions/realtime?model=tiny-en&delay_ms={delays[index]}"
        async with connected(server.ws + route) as client:
            await client.receive()
            return (await mistral_utterance(client, data, size))[-1]["text"]

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(one(index) for index in range(SESSIONS)))

    texts = asyncio.run(all_of_them())
    assert texts == [expected_text(pcm, delay_ms=delay) for pcm, delay in zip(pcms, delays, strict=True)]
    assert len(set(texts)) > 1


def test_streams_share_passes(server: RunningServer) -> None:
    """The histogram of streams per pass shows passes of more than four."""

    async def all_of_them() -> None:
        async def one(pcm: Any) -> None:
            async with connected(f"{server.ws}/v1/realtime") as client:
                await client.receive()
                await vllm_utterance(client, pcm.tobytes(), 65536)

        await asyncio.gather(*(one(pcm) for pcm in recordings()))

    asyncio.run(all_of_them())
    lines = httpx.get(f"{server.http}/metrics", timeout=WAIT_S).text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    few = float(values['voxtral_edge_streams_per_pass_bucket{le="4.0"}'])
    assert float(values["voxtral_edge_streams_per_pass_count"]) > few
    assert float(values["voxtral_edge_failures_total"]) == 0


def test_utterances_of_two_sessions_interleave(server: RunningServer) -> None:
    """A second client speaks three utterances while the first is in the middle of one."""
    first, second = recordings()[0], pcm16("pin.ogg")

    async def talk() -> tuple[str, list[str]]:
        async with connected(f"{server.ws}/v1/realtime") as a, connected(f"{server.ws}/v1/realtime") as b:
            await a.receive()
            await b.receive()
            await a.send("session.update", model="tiny-en")
            await a.send("input_audio_buffer.commit")
            said = []
            for index, chunk in enumerate(chunks(first.tobytes(), 64000)):
                await a.send("input_audio_buffer.append", audio=encoded(chunk))
                if index in (2, 5, 7):
                    said.append((await vllm_utterance(b, second.tobytes()))[-1]["text"])
            await a.send("input_audio_buffer.commit", final=True)
            return (await a.until("transcription.done"))[-1]["text"], said

    text, said = asyncio.run(talk())
    assert text == expected_text(first)
    assert said == [expected_text(second)] * 3
