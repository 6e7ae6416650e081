"""The server's parts alone: decoding of audio, the lane's queue, turns, segments, sessions that fit."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import numpy as np
import pytest
import soxr
from front_door import tiny_engine
from hypothesis import given, settings
from hypothesis import strategies as st
from server_testing import pcm16

from voxtral_edge.cli import serve
from voxtral_edge.errors import AudioFormatError
from voxtral_edge.events import SegmentEvent, TextEvent, WordEvent
from voxtral_edge.results import Word, segments_from_words
from voxtral_edge.segments import SegmentBuilder
from voxtral_edge.server.lane import FLUSH_GRACE_S, Lane, Mark, Step
from voxtral_edge.server.pcm import ENCODINGS, PcmDecoder
from voxtral_edge.server.scheduler import Scheduler
from voxtral_edge.server.session import Session, Update
from voxtral_edge.server.turns import Turn, TurnDetector

# --- audio


def g711(code: int, law: str) -> int:
    """One sample by ITU-T G.711, bit by bit."""
    if law == "pcm_mulaw":
        code ^= 0xFF
        magnitude = (((code & 15) * 2 + 33) << ((code >> 4) & 7)) - 33
        return (-magnitude if code & 0x80 else magnitude) * 4
    code ^= 0x55
    exponent, mantissa = (code >> 4) & 7, (code & 15) * 2 + 1
    magnitude = mantissa if exponent == 0 else (mantissa + 32) << (exponent - 1)
    return (magnitude if code & 0x80 else -magnitude) * 8


@pytest.mark.parametrize("law", ["pcm_mulaw", "pcm_alaw"])
def test_companded_samples(law: str) -> None:
    decoded = PcmDecoder(law).decode(bytes(range(256)))
    assert decoded.dtype == np.int16
    assert decoded.tolist() == [g711(code, law) for code in range(256)]


def test_16_bit_passes_unchanged() -> None:
    pcm = pcm16()
    np.testing.assert_array_equal(PcmDecoder().decode(pcm.tobytes()), pcm)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=20), st.sampled_from([8000, 24000, 44100, 48000]))
def test_resampling_does_not_depend_on_chunks(sizes: list[int], rate_hz: int) -> None:
    samples = pcm16()[: sum(sizes)]
    decoder = PcmDecoder("pcm_s16le", rate_hz)
    parts, begin = [], 0
    for size in sizes:
        parts.append(decoder.decode(samples[begin : begin + size].tobytes()))
        begin += size
    parts.append(decoder.drain())
    whole = soxr.resample(samples.astype(np.float32) / 32768, rate_hz, 16000, quality="HQ")
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-4)


def test_values_that_are_no_numbers_do_not_spread() -> None:
    samples = np.full(4800, 0.1, dtype=np.float32)
    samples[1000], samples[2000] = np.nan, np.inf
    decoder = PcmDecoder("pcm_f32le", 48000)
    decoded = np.concatenate([decoder.decode(samples.tobytes()), decoder.drain()])
    assert np.isfinite(decoded).all() and np.abs(decoded).max() < 1


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("channels", [1, 2])
def test_incomplete_samples_are_refused(encoding: str, channels: int) -> None:
    decoder = PcmDecoder(encoding, 16000, channels)
    assert len(decoder.decode(bytes(decoder.frame_bytes * 5))) == 5
    if decoder.frame_bytes > 1:
        with pytest.raises(AudioFormatError, match="whole samples"):
            decoder.decode(bytes(decoder.frame_bytes * 5 - 1))


@pytest.mark.parametrize(
    "arguments", [("opus",), ("pcm_s16le", 1), ("pcm_s16le", True), ("pcm_s16le", 16000, 0), ("", 16000)]
)
def test_formats_that_cannot_be(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(AudioFormatError):
        PcmDecoder(*arguments)


# --- the lane


def lane() -> Lane:
    return Lane("test", 6, lambda step: None)


def test_audio_of_a_lane_waits_for_a_step_but_no_longer_than_one() -> None:
    queue = Lane("test", 6, lambda step: None, step_tokens=3)
    queue.put_audio(np.zeros(2 * 1280, np.int16))
    begun = queue.audio_since
    assert queue.due_in(begun) == pytest.approx(0.24)
    assert queue.due_in(begun + 0.25) == pytest.approx(-0.01)
    queue.put_audio(np.zeros(1280, np.int16))
    assert queue.audio_since == begun and queue.due_in(begun) == 0
    queue.take(3 * 1280)
    assert queue.due_in(begun) is None
    queue.put_audio(np.zeros(1280, np.int16))
    queue.put_mark(Mark.FINISH)
    assert queue.due_in(begun) == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 4000) | st.sampled_from(list(Mark)), max_size=20), st.integers(1, 5000))
def test_lane_keeps_order_and_counts(items: list[int | Mark], most: int) -> None:
    """Audio comes out whole and in order, no piece longer than asked for, marks where they were put; only a
    flush before an end or another flush is skipped."""
    queue, value = lane(), 0
    for item in items:
        if isinstance(item, Mark):
            queue.put_mark(item)
        else:
            queue.put_audio(np.arange(value, value + item, dtype=np.int32).astype(np.int16))
            value += item
    out: list[Any] = []
    while queue.due_in(time.monotonic() + 2 * FLUSH_GRACE_S) is not None:
        pcm, mark = queue.take(most)
        assert (pcm is None) != (mark is None)
        assert pcm is None or 0 < len(pcm) <= most
        out.append(mark if pcm is None else pcm)
    assert queue.queued_samples == queue.queued_marks == 0
    audio = [piece for piece in out if not isinstance(piece, Mark)]
    joined = np.concatenate(audio) if audio else np.zeros(0, dtype=np.int16)
    np.testing.assert_array_equal(joined, np.arange(value, dtype=np.int32).astype(np.int16))
    wanted = [
        (sum(i for i in items[:at] if isinstance(i, int)), item)
        for at, item in enumerate(items)
        if isinstance(item, Mark)
        and not (item is Mark.FLUSH and items[at + 1 : at + 2] in ([Mark.FINISH], [Mark.FLUSH]))
    ]
    heard, got = 0, []
    for piece in out:
        if isinstance(piece, Mark):
            got.append((heard, piece))
        else:
            heard += len(piece)
    assert got == wanted


def test_flush_waits_for_its_end() -> None:
    queue = lane()
    queue.put_mark(Mark.FLUSH)
    now = time.monotonic()
    assert 0 < queue.due_in(now) <= FLUSH_GRACE_S
    queue.put_mark(Mark.FINISH)
    assert queue.due_in(now) <= 0
    assert queue.take(1280) == (None, Mark.FINISH)


def test_dropping_an_utterance_keeps_what_was_committed() -> None:
    queue = lane()
    queue.put_audio(np.zeros(100, dtype=np.int16))
    queue.put_mark(Mark.FINISH)
    queue.put_mark(Mark.RESTART)
    queue.put_audio(np.ones(50, dtype=np.int16))
    queue.put_mark(Mark.FLUSH)
    queue.drop_open_utterance()
    assert (queue.queued_samples, queue.queued_marks) == (100, 2)


def test_pieces_of_different_types_are_not_joined() -> None:
    queue = lane()
    queue.put_audio(np.full(10, 1000, dtype=np.int16))
    queue.put_audio(np.full(10, 0.5, dtype=np.float32))
    for dtype, value in ((np.int16, 1000), (np.float32, 0.5)):
        pcm, _ = queue.take(1280)
        assert pcm is not None and pcm.dtype == dtype and pcm.tolist() == [value] * 10


# --- the session


class _Scheduler:
    """Stands where sessions expect the scheduler; `deliver` is what a session gave it."""

    def __init__(self) -> None:
        self.lane = lane()
        self.items: list[Any] = []
        self.taken_events = 0

    def session(self) -> Session:
        return Session("test", cast(Scheduler, self), 64000, 8, lambda session: None)

    def open(self, name: str, delay: int, deliver: Any, bias: Any, background: bool) -> Lane:
        self.deliver = deliver
        return self.lane

    def put(self, lane: Lane, *items: Any) -> None:
        self.items += items

    def restart(self, lane: Lane) -> None:
        pass

    def taken(self, lane: Lane, events: int) -> None:
        self.taken_events += events


def test_steps_of_a_dropped_utterance_are_taken_and_never_told() -> None:
    async def run() -> tuple[str, int]:
        scheduler = _Scheduler()
        session = scheduler.session()
        await session.send_pcm(np.zeros(1280, np.int16))
        scheduler.deliver(Step(events=[TextEvent(" waiting", 0)], utterance=0))
        await asyncio.sleep(0)
        session.drop_utterance()
        for utterance, text in ((0, " late"), (1, " next")):
            scheduler.deliver(Step(events=[TextEvent(text, 1)], utterance=utterance))
        update = await anext(session.updates())
        return update.text, scheduler.taken_events

    assert asyncio.run(run()) == (" next", 3)


def test_steps_that_wait_are_joined_up_to_a_flush() -> None:
    async def run() -> list[tuple[str, bool]]:
        scheduler = _Scheduler()
        session = scheduler.session()
        await session.send_pcm(np.zeros(1280, np.int16))
        for token, flushed in enumerate((False, True, False)):
            scheduler.deliver(Step(events=[TextEvent(f" {token}", token)], flushed=flushed))
        await asyncio.sleep(0)
        updates = session.updates()
        told = [await anext(updates) for _ in range(2)]
        assert scheduler.taken_events == 3
        return [(update.text, update.flushed) for update in told]

    assert asyncio.run(run()) == [(" 0 1", True), (" 2", False)]


def test_the_end_of_an_utterance_brings_out_what_the_resampler_holds() -> None:
    async def run() -> list[Any]:
        scheduler = _Scheduler()
        session = scheduler.session()
        session.configure(decoder=PcmDecoder("pcm_s16le", 24000))
        await session.send_audio(bytes(2 * 2400))
        session.finish()
        return scheduler.items

    *audio, finish, restart = asyncio.run(run())
    assert sum(len(piece) for piece in audio) == 1600 and [finish, restart] == [Mark.FINISH, Mark.RESTART]


# --- turns and segments


def update(pieces: list[tuple[int, str]], tokens: int) -> Update:
    news = Update()
    news.add(Step(events=[TextEvent(text, token) for token, text in pieces], generated_tokens=tokens))
    return news


def test_turns_begin_with_text_and_end_with_silence() -> None:
    detector = TurnDetector(silence_ms=800, padding_ms=300)
    assert detector.take(update([], 10)) == []
    assert detector.take(update([(12, " hello"), (14, " there")], 20)) == [
        Turn(True, 11 * 80 - 300),
        "hello",
        " there",
    ]
    assert detector.take(update([], 23)) == []
    assert detector.take(update([], 24)) == [Turn(False, 13 * 80 + 800, "hello there")]
    assert detector.take(update([], 50)) == []
    # In one update: a turn, its end, the next turn.
    news = detector.take(update([(60, " one"), (80, " two")], 81))
    assert [item if isinstance(item, str) else item.began for item in news] == [
        True,
        "one",
        False,
        True,
        "two",
    ]
    assert detector.end() == "two"


def test_turn_never_begins_before_the_last_one_ended() -> None:
    detector = TurnDetector(silence_ms=80, padding_ms=5000)
    news = detector.take(update([(10, "a"), (12, "b")], 20))
    edges = [item.at_ms for item in news if isinstance(item, Turn)]
    assert edges == sorted(edges) and edges[0] == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1), st.data())
def test_segments_are_those_of_the_whole(sizes: list[int], data: Any) -> None:
    """However words arrive, the segments are what `segments_from_words` makes of all of them."""
    transcript = tiny_engine().transcribe(pcm16("serial-numbers.flac"))
    words = [WordEvent(w.text, w.start, w.end, w.probability, 0) for w in transcript.words]
    breaks = data.draw(st.lists(st.sampled_from([round(w.end + 0.01, 3) for w in words]), max_size=3))
    builder, found, at, said = SegmentBuilder(), [], 0, 0
    marks = sorted(breaks)
    while at < len(words):
        size = sizes[at % len(sizes)]
        batch = words[at : at + size]
        end = transcript.text.find(batch[-1].text, said + sum(len(w.text) for w in batch[:-1])) + len(
            batch[-1].text
        )
        due = [mark for mark in marks if mark <= batch[-1].end + 0.02]
        marks = marks[len(due) :]
        found += builder.take(
            [TextEvent(transcript.text[said:end], 0), *batch, *(SegmentEvent(mark) for mark in due)]
        )
        at, said = at + size, end
    found += builder.finish(transcript.duration_s)
    plain = [Word(w.text, w.start, w.end, w.probability) for w in words]
    expected = segments_from_words(plain, transcript.text, sorted(breaks), transcript.duration_s)
    assert [(s.text, s.start, s.end) for s in found] == [(s.text, s.start, s.end) for s in expected]
    assert builder.finish(0.0) == []


# --- sessions


def test_sessions_fit_the_memory_that_is_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = cast(Any, type("Engine", (), {"info": lambda self: {"state_bytes": 100_000_000}})())
    monkeypatch.setattr(serve, "memory_bytes", lambda: (8_000_000_000, 6_000_000_000))
    assert serve._sessions_that_fit(engine, 32) == 32
    monkeypatch.setattr(serve, "memory_bytes", lambda: (1_000_000_000, 1_000_000_000))  # a container
    assert serve._sessions_that_fit(engine, 32) == 9  # nine tenths of it
