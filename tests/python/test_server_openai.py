"""OpenAI's realtime transcription sessions, with OpenAI's own client; 24 kHz input is resampled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import soundfile
import soxr
from front_door import tiny_engine
from server_testing import (
    TOKEN,
    WAIT_S,
    RunningServer,
    chunks,
    connected,
    encoded,
    expected_text,
    pcm16,
    running_server,
    texts,
)

from voxtral_edge.server.limits import Limits
from voxtral_edge.server.openai_dialect import OpenAiConnection
from voxtral_edge.server.pcm import PcmDecoder
from voxtral_edge.server.scheduler import Scheduler
from voxtral_edge.server.session import Update

openai = pytest.importorskip("openai")

PCM = pcm16()
DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(token=TOKEN) as running:
        yield running


@pytest.fixture(scope="module")
def at_24_khz(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    """A recording as 24 kHz s16le, and what `transcribe` says of it."""
    path = tmp_path_factory.mktemp("audio") / "speech.wav"
    pcm = np.round(soxr.resample(PCM.astype(np.float64), 16000, 24000)).clip(-32768, 32767).astype(np.int16)
    soundfile.write(path, pcm, 24000, subtype="PCM_16")
    return pcm.tobytes(), tiny_engine().transcribe(path).text


def test_official_client_live(server: RunningServer, at_24_khz: tuple[bytes, str]) -> None:
    """The asynchronous client: update, append, commit, deltas, completed."""
    data, expected = at_24_khz
    seen: list[Any] = []

    async def talk() -> None:
        client = openai.AsyncOpenAI(api_key=TOKEN, base_url=f"{server.http}/v1")
        async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
            await connection.session.update(
                session={
                    "type": "transcription",
                    "audio": {
                        "input": {
                            "format": {"type": "audio/pcm", "rate": 24000},
                            "transcription": {"model": "tiny-en", "language": "en"},
                            "turn_detection": None,
                        }
                    },
                }
            )
            for chunk in chunks(data, 9600):
                await connection.input_audio_buffer.append(audio=encoded(chunk))
            await connection.input_audio_buffer.commit()
            async for event in connection:
                seen.append(event)
                if event.type in (COMPLETED, "error"):
                    break

    asyncio.run(asyncio.wait_for(talk(), 60))
    kinds = [event.type for event in seen]
    assert kinds[:2] == ["session.created", "session.updated"]
    assert seen[1].session.audio.input.format.rate == 24000
    others = [kind for kind in kinds[2:] if kind != DELTA]
    assert others == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        COMPLETED,
    ]
    assert kinds[-1] == COMPLETED
    completed = seen[-1]
    assert completed.transcript == expected
    assert "".join(event.delta for event in seen if event.type == DELTA) == expected
    assert {event.item_id for event in seen if event.type in (DELTA, COMPLETED)} == {completed.item_id}
    assert completed.usage.seconds == pytest.approx(len(data) / 48000, abs=0.01)
    assert "input_audio_buffer.speech_started" not in kinds


def test_official_synchronous_client(server: RunningServer, at_24_khz: tuple[bytes, str]) -> None:
    """`?model=` instead of the intent, no session.update at all: 24 kHz is the default."""
    data, expected = at_24_khz
    client = openai.OpenAI(api_key=TOKEN, base_url=f"{server.http}/v1")
    with client.realtime.connect(model="tiny-en") as connection:
        for chunk in chunks(data, 48000):
            connection.input_audio_buffer.append(audio=encoded(chunk))
        connection.input_audio_buffer.commit()
        for event in connection:
            if event.type in (COMPLETED, "error"):
                break
    assert event.type == COMPLETED and event.transcript == expected


def test_wrong_key(server: RunningServer) -> None:
    client = openai.OpenAI(api_key="not-the-token-0123456789", base_url=f"{server.http}/v1")
    with pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_models(server: RunningServer) -> None:
    client = openai.OpenAI(api_key=TOKEN, base_url=f"{server.http}/v1")
    assert [model.id for model in client.models.list()] == ["tiny-en"]
    assert client.models.retrieve("tiny-en").owned_by == "voxtral-edge"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


def talk(
    server: RunningServer, *messages: dict[str, Any], until: str, query: str = "intent=transcription"
) -> list[dict[str, Any]]:
    """Sends raw messages; everything received up to a message of type `until`."""

    async def run() -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with connected(f"{server.ws}/v1/realtime?{query}", additional_headers=headers) as client:
            received = await client.until("session.created")
            for message in messages:
                fields = dict(message)
                await client.send(fields.pop("type"), **fields)
            return received + await client.until(until)

    return asyncio.run(run())


def update(**fields: Any) -> dict[str, Any]:
    return {
        "type": "session.update",
        "event_id": "mine",
        "session": {"type": "transcription", "audio": {"input": fields}},
    }


def appended(data: bytes, size: int = 48000) -> list[dict[str, Any]]:
    return [{"type": "input_audio_buffer.append", "audio": encoded(chunk)} for chunk in chunks(data, size)]


@pytest.mark.parametrize(("kind", "encoding"), [("audio/pcmu", "pcm_mulaw"), ("audio/pcma", "pcm_alaw")])
def test_telephone_formats(server: RunningServer, kind: str, encoding: str) -> None:
    """G.711 at 8 kHz; `transcribe` gets the same samples."""
    pcm = np.round(soxr.resample(PCM.astype(np.float64), 16000, 8000)).clip(-32768, 32767)
    decoder = PcmDecoder(encoding, 8000)
    table = decoder.__class__(encoding, 16000).decode(bytes(range(256))).astype(np.int32)
    data = np.abs(table[None, :] - pcm[:, None]).argmin(axis=1).astype(np.uint8).tobytes()
    samples = np.concatenate([decoder.decode(data), decoder.drain()])
    messages = talk(
        server,
        update(format={"type": kind}),
        *appended(data, 800),
        {"type": "input_audio_buffer.commit"},
        until=COMPLETED,
    )
    assert messages[-1]["transcript"] == expected_text(samples)


def test_items_follow_each_other(server: RunningServer, at_24_khz: tuple[bytes, str]) -> None:
    data, expected = at_24_khz

    async def run() -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with connected(
            f"{server.ws}/v1/realtime?intent=transcription", additional_headers=headers
        ) as c:
            completed = []
            for _ in range(2):
                for message in appended(data):
                    await c.send("input_audio_buffer.append", audio=message["audio"])
                await c.send("input_audio_buffer.commit")
                completed.append(await c.until(COMPLETED))
            return completed

    first, second = asyncio.run(run())
    assert first[-1]["transcript"] == second[-1]["transcript"] == expected
    assert first[-1]["usage"] == second[-1]["usage"]
    assert first[-1]["item_id"] != second[-1]["item_id"]
    committed = next(m for m in second if m["type"] == "input_audio_buffer.committed")
    assert committed["previous_item_id"] == first[-1]["item_id"]


def test_commits_are_told_at_once(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the engine has heard a thing; deltas and transcripts then find their items. Every message is what
    the client's types say."""
    gate = threading.Event()
    original = Scheduler._run_native

    def gated(self: Scheduler, items: list[Any], tokens: int) -> list[Any]:
        assert gate.wait(WAIT_S)
        return original(self, items, tokens)

    monkeypatch.setattr(Scheduler, "_run_native", gated)
    halves = [np.ascontiguousarray(PCM[: len(PCM) // 2]), np.ascontiguousarray(PCM[len(PCM) // 2 :])]

    async def run() -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with connected(
            f"{server.ws}/v1/realtime?intent=transcription", additional_headers=headers
        ) as c:
            settings = update(format={"type": "audio/pcm", "rate": 16000})
            await c.send("session.update", session=settings["session"])
            received = []
            for half in halves:
                for message in appended(half[:30000].tobytes()):
                    await c.send("input_audio_buffer.append", audio=message["audio"])
                await c.send("input_audio_buffer.commit")
                received += await c.until("conversation.item.done")
            gate.set()
            return received + await c.until(COMPLETED) + await c.until(COMPLETED)

    received = asyncio.run(run())
    committed = [m for m in received if m["type"] == "input_audio_buffer.committed"]
    completed = [m for m in received if m["type"] == COMPLETED]
    assert [m["item_id"] for m in committed] == [m["item_id"] for m in completed]
    assert [m["previous_item_id"] for m in committed] == [None, committed[0]["item_id"]]
    for half, item in zip(halves, completed, strict=True):
        deltas = [m for m in received if m["type"] == DELTA and m["item_id"] == item["item_id"]]
        assert texts(deltas, DELTA, "delta") == item["transcript"] == expected_text(half[:30000])
    from openai.types.realtime import RealtimeServerEvent

    types = pytest.importorskip("pydantic").TypeAdapter(RealtimeServerEvent)
    shown = next(m for m in received if m["type"] == "session.updated")["session"]["audio"]["input"]
    shown["format"]["rate"] = 24000  # others are ours
    for message in received[1:]:  # the greeting has fields for vLLM's clients
        assert types.validate_python(message).model_extra == {}, message


def test_clear_forgets_audio(server: RunningServer, at_24_khz: tuple[bytes, str]) -> None:
    data, expected = at_24_khz
    messages = talk(
        server,
        *appended(data[:96000]),
        {"type": "input_audio_buffer.clear"},
        *appended(data),
        {"type": "input_audio_buffer.commit"},
        until=COMPLETED,
    )
    assert messages[-1]["transcript"] == expected
    after = messages[[m["type"] for m in messages].index("input_audio_buffer.cleared") :]
    assert texts(after, DELTA, "delta") == expected


def test_clear_while_deltas_are_being_sent(
    server: RunningServer, at_24_khz: tuple[bytes, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that takes its time: what was told before the clear stays behind it."""
    data, expected = at_24_khz
    original = OpenAiConnection._delta

    async def slow(self: OpenAiConnection, text: str) -> None:
        await original(self, text)
        await asyncio.sleep(0.05)

    monkeypatch.setattr(OpenAiConnection, "_delta", slow)

    async def run() -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        address = f"{server.ws}/v1/realtime?intent=transcription"
        async with connected(address, additional_headers=headers) as c:
            for message in appended(data[: len(data) // 2]):
                await c.send("input_audio_buffer.append", audio=message["audio"])
            await c.until(DELTA)
            await c.send("input_audio_buffer.clear")
            await c.until("input_audio_buffer.cleared")
            for message in appended(data):
                await c.send("input_audio_buffer.append", audio=message["audio"])
            await c.send("input_audio_buffer.commit")
            return await c.until(COMPLETED)

    messages = asyncio.run(run())
    assert messages[-1]["transcript"] == expected
    assert texts(messages, DELTA, "delta") == expected


def test_turn_detection(server: RunningServer) -> None:
    """Items end at the recording's long pauses; starts and stops alternate; the items together say what
    `transcribe` says."""
    data = pcm16("serial-numbers.flac")
    detection = {"type": "server_vad", "silence_duration_ms": 800, "threshold": 0.5}
    settings = update(format={"type": "audio/pcm", "rate": 16000}, turn_detection=detection)

    async def run() -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        received: list[dict[str, Any]] = []
        async with connected(
            f"{server.ws}/v1/realtime?intent=transcription", additional_headers=headers
        ) as c:
            await c.send("session.update", session=settings["session"])
            for message in appended(data.tobytes(), 32000):
                await c.send("input_audio_buffer.append", audio=message["audio"])
            await c.send("input_audio_buffer.commit")
            while reported_s(received) < len(data) / 16000 - 0.01:
                received += await c.until(COMPLETED)
        return received

    def reported_s(messages: list[dict[str, Any]]) -> float:
        return sum(m["usage"]["seconds"] for m in messages if m["type"] == COMPLETED)

    received = asyncio.run(run())
    shown = next(m for m in received if m["type"] == "session.updated")["session"]["audio"]["input"]
    assert "threshold" not in shown["turn_detection"], "a setting without effect must not be confirmed"
    items = [m["transcript"] for m in received if m["type"] == COMPLETED]
    assert len(items) >= 3
    assert " ".join(item for item in items if item) == expected_text(data)
    for item in [m for m in received if m["type"] == COMPLETED and m["transcript"]]:
        deltas = [m["delta"] for m in received if m["type"] == DELTA and m["item_id"] == item["item_id"]]
        assert "".join(deltas).strip() == item["transcript"]
    edges = [(m.get("audio_start_ms"), m.get("audio_end_ms")) for m in received if "speech_st" in m["type"]]
    assert all((start is None) == (index % 2 == 1) for index, (start, _) in enumerate(edges))
    times = [start if end is None else end for start, end in edges]
    assert times == sorted(times) and times[-1] <= len(data) / 16 + 800


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"noise_reduction": {"type": "near_field"}}, "session.audio.input.noise_reduction"),
        (
            {"turn_detection": {"type": "semantic_vad", "eagerness": "auto"}},
            "session.audio.input.turn_detection.type",
        ),
        ({"turn_detection": {"type": "server_vad", "silence_duration_ms": -1}}, "silence_duration_ms"),
        ({"transcription": {"model": "gpt-9"}}, "session.audio.input.transcription.model"),
        ({"transcription": {"prompt": "Names: …"}}, "session.audio.input.transcription.prompt"),
        ({"transcription": {"delay": "soon"}}, "session.audio.input.transcription.delay"),
        ({"format": {"type": "audio/opus"}}, "session.audio.input.format.type"),
        ({"junk": 1}, "session.audio.input.junk"),
        ({"format": 7}, "session.audio.input.format"),
    ],
)
def test_settings_without_effect_are_refused(
    server: RunningServer, fields: dict[str, Any], param: str
) -> None:
    error = talk(server, update(**fields), until="error")[-1]["error"]
    assert error["type"] == "invalid_request_error" and error["event_id"] == "mine"
    assert param in error["param"] and error["message"]


def test_delay_words(server: RunningServer, at_24_khz: tuple[bytes, str]) -> None:
    """`delay: high` is 960 ms."""
    pcm = PCM[: 16000 * 4]
    messages = talk(
        server,
        update(
            format={"type": "audio/pcm", "rate": 16000}, transcription={"model": "tiny-en", "delay": "high"}
        ),
        *appended(pcm.tobytes()),
        {"type": "input_audio_buffer.commit"},
        until=COMPLETED,
    )
    assert messages[1]["session"]["audio"]["input"]["transcription"]["delay"] == "high"
    assert messages[-1]["transcript"] == expected_text(pcm, delay_ms=960)


def test_empty_commit_and_late_changes(server: RunningServer) -> None:
    error = talk(server, {"type": "input_audio_buffer.commit"}, until="error")[-1]["error"]
    assert error["code"] == "input_audio_buffer_commit_empty"
    cleared = [*appended(PCM[:16000].tobytes()), {"type": "input_audio_buffer.clear"}]
    error = talk(server, *cleared, {"type": "input_audio_buffer.commit"}, until="error")[-1]["error"]
    assert error["code"] == "input_audio_buffer_commit_empty"


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("encoding", {"format": {"type": "audio/pcmu"}}),
        ("rate_hz", {"format": {"type": "audio/pcm", "rate": 16000}}),
        ("delay", {"transcription": {"model": "tiny-en", "delay": "high"}}),
        ("turns", {"turn_detection": {"type": "server_vad"}}),
        ("keywords", {"transcription": {"model": "tiny-en", "keywords": ["four nine"]}}),
    ],
)
def test_settings_are_fixed_by_the_first_audio(
    server: RunningServer, name: str, fields: dict[str, Any]
) -> None:
    """Saying again what they are is allowed."""
    same = update(format={"type": "audio/pcm", "rate": 24000})
    late = talk(server, *appended(PCM[:16000].tobytes()), same, update(**fields), until="error")
    assert "session.updated" in [message["type"] for message in late]
    assert late[-1]["error"]["message"] == f"{name} cannot be changed after audio was sent"


class _Transcripts:
    """A connection without a network; `told` is what was sent of text and transcripts."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        hub = SimpleNamespace(limits=Limits(), draining=asyncio.Event(), engine=tiny_engine())
        nothing = {name: lambda **_: None for name in ("configure", "finish", "drop_utterance")}
        session = SimpleNamespace(delay_ms=480, **nothing)
        self.connection = OpenAiConnection(cast(Any, self), cast(Any, hub), cast(Any, session))

    async def send(self, message: dict[str, Any]) -> None:
        if "delta" in message or "transcript" in message:
            self.told.append((message["item_id"], message.get("delta", message.get("transcript"))))


def test_clear_leaves_what_was_committed() -> None:
    """The model is still hearing it."""

    async def run() -> list[tuple[str, str]]:
        client = _Transcripts()
        client.connection._open_audio = True
        await client.connection.on_update(Update(" one"))
        await client.connection.on_message({"type": "input_audio_buffer.commit"})
        client.connection._open_audio = True
        await client.connection.on_message({"type": "input_audio_buffer.clear"})
        await client.connection.on_update(Update(" two", finished=True))
        return client.told

    told = asyncio.run(run())
    assert [text for _, text in told] == [" one", " two", " one two"] and len({item for item, _ in told}) == 1


def test_beta_interface(server: RunningServer, at_24_khz: tuple[bytes, str]) -> None:
    """`transcription_session.update`, as clients of the beta send it; without the intent in the address."""
    data, expected = at_24_khz
    session = {
        "input_audio_format": "pcm16",
        "input_audio_transcription": {"model": "tiny-en", "language": "en", "prompt": ""},
        "turn_detection": None,
    }
    messages = talk(
        server,
        {"type": "transcription_session.update", "session": session},
        *appended(data),
        {"type": "input_audio_buffer.commit"},
        until=COMPLETED,
        query="",
    )
    assert messages[1]["type"] == "transcription_session.updated"
    shown = messages[1]["session"]
    assert {name: shown[name] for name in session} == {
        **session,
        "input_audio_transcription": {"model": "tiny-en", "language": "en"},
    }
    assert [m["type"] for m in messages if "item.created" in m["type"] or "item.added" in m["type"]] == [
        "conversation.item.created"
    ]
    assert messages[-1]["transcript"] == expected


def test_greeting_of_the_beta(server: RunningServer) -> None:
    """Its clients name it in a header, and wait for its own greeting."""
    headers = {"Authorization": f"Bearer {TOKEN}", "OpenAI-Beta": "realtime=v1"}

    async def run() -> dict[str, Any]:
        address = f"{server.ws}/v1/realtime?intent=transcription"
        async with connected(address, additional_headers=headers) as client:
            return await client.receive()

    greeting = asyncio.run(run())
    assert greeting["type"] == "transcription_session.created"
    assert greeting["session"]["input_audio_format"] == "pcm16"
