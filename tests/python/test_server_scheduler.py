"""How the scheduler shares rounds: counted in passes, not in time. A round is one encode and one decode pass."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partialmethod
from typing import Any

import numpy as np
import pytest
from front_door import tiny_engine
from server_testing import WAIT_S, pcm16

from voxtral_edge.audio import PcmArray
from voxtral_edge.engine import Engine
from voxtral_edge.events import FinalEvent
from voxtral_edge.server.lane import Lane, Mark, Step
from voxtral_edge.server.metrics import Metrics
from voxtral_edge.server.scheduler import (
    BACKGROUND_EVERY,
    BATCH_TOKENS,
    ENDING_TOKENS,
    LATE_TOKENS,
    Scheduler,
)

TOKEN = 1280


class SteppedScheduler(Scheduler):
    """Runs a round when the test says so: `between` is called before each, in the scheduler's thread, with what
    would otherwise come at some moment during the round before."""

    def __init__(self, step_tokens: int = 1, queued_events: int = 256) -> None:
        super().__init__(tiny_engine(), Metrics(), queued_events, step_tokens)
        self.rounds: list[dict[str, Any]] = []
        self.between: Callable[[int], None] = lambda round_: None

    def _run_native(self, items: list[tuple[Any, PcmArray | None, str]], tokens: int) -> list[Any]:
        before = [stream.stats() for stream, _, _ in items]
        result = super()._run_native(items, tokens)
        after = [stream.stats() for stream, _, _ in items]
        passes = [
            max(new[key] - old[key] for old, new in zip(before, after, strict=True))
            for key in ("encode_calls", "decode_calls")
        ]
        self.rounds.append(
            {"passes": passes, "actions": [action for _, _, action in items], "tokens": tokens}
        )
        self.between(len(self.rounds))
        return result


class Client:
    """One lane and what it was told; `told[i]` is the number of rounds that had run when step i came."""

    def __init__(self, scheduler: SteppedScheduler, name: str, background: bool = False) -> None:
        self.scheduler = scheduler
        self.steps: list[Step] = []
        self.told: list[int] = []
        self.finished = threading.Event()
        self.ready = threading.Event()
        self.takes = False  # tells the scheduler that its events are taken
        self.failed: threading.Event | None = None  # where a failure is expected
        self.lane: Lane = scheduler.open(name, 6, self._take, background=background)

    def _take(self, step: Step) -> None:
        if step.failure is not None and self.failed is not None:
            self.failed.set()
            return
        assert step.failure is None, step.failure
        self.steps.append(step)
        self.told.append(len(self.scheduler.rounds))
        self.ready.set()
        if self.takes:
            self.scheduler.taken(self.lane, len(step.events))
        if step.finished:
            self.finished.set()

    def put(self, *items: PcmArray | Mark) -> None:
        self.scheduler.put(self.lane, *items)

    @property
    def tokens(self) -> int:
        return self.steps[-1].generated_tokens if self.steps else 0


@pytest.fixture
def scheduler() -> Iterator[SteppedScheduler]:
    stepped = SteppedScheduler()
    stepped.start()
    yield stepped
    stepped.stop()


def token(index: int) -> PcmArray:
    return np.ascontiguousarray(pcm16()[TOKEN * index : TOKEN * (index + 1)])


def speak(live: Client, rounds_at_put: dict[int, int], count: int) -> Callable[[int], None]:
    """Gives the live stream one more token of audio in every round that runs, as if it came during it."""
    fed = iter(range(20, 20 + count))

    def put_next(rounds: int) -> None:
        index = next(fed, None)
        if index is not None:
            rounds_at_put[index] = rounds
            live.put(token(index))

    return put_next


def warm(client: Client, tokens: int = 20) -> None:
    """Past the prompt: from here on each token of audio brings one generated token."""
    client.put(np.concatenate([token(index) for index in range(tokens)]))
    lane, pause = client.lane, threading.Event()
    while lane.heard_samples < tokens * TOKEN:  # an empty queue alone may mean that the pass still runs
        pause.wait(0.01)
    pause.wait(0.01)
    while lane.busy or client.tokens < lane.generated_tokens:
        pause.wait(0.01)


@pytest.mark.parametrize("background", [False, True], ids=["utterance", "file"])
def test_live_audio_is_decoded_in_the_next_round(scheduler: SteppedScheduler, background: bool) -> None:
    """While another stream has a long backlog and then ends, a token's audio waits for the end of the round in
    which it comes, and is decoded in the next."""
    live, other = Client(scheduler, "live"), Client(scheduler, "other", background)
    warm(live)
    before, at_put = live.tokens, dict[int, int]()
    scheduler.between = speak(live, at_put, 60)
    start = len(scheduler.rounds)
    other.put(np.concatenate([token(index) for index in range(40)]), Mark.FINISH)
    assert other.finished.wait(WAIT_S)
    rounds = scheduler.rounds[start:]
    scheduler.between = lambda rounds: None
    assert len(rounds) > 18 and "resume" in [action for each in rounds for action in each["actions"]]
    assert all(passes <= 1 for each in rounds for passes in each["passes"])
    told = {
        generated: seen
        for step, seen in zip(live.steps, live.told, strict=True)
        for generated in range(step.first_token, step.generated_tokens)
    }
    delays = [told[before + i] - at for i, at in enumerate(at_put.values()) if before + i in told]
    assert len(delays) >= 18 and set(delays) == {1}
    assert isinstance(other.steps[-1].events[-1], FinalEvent)


def test_a_late_live_stream_goes_before_files(scheduler: SteppedScheduler) -> None:
    """Files get one round in nine while a live stream is late, and every round otherwise."""
    live, file = Client(scheduler, "live"), Client(scheduler, "file", background=True)
    warm(live)
    warm(file)
    start = len(scheduler.rounds)
    late_rounds: list[bool] = []

    def stay_late(rounds: int) -> None:
        late_rounds.append(live.lane.queued_samples >= LATE_TOKENS * TOKEN)
        if rounds < start + 4 * BACKGROUND_EVERY:
            live.put(np.tile(token(30), BATCH_TOKENS))

    scheduler.between = stay_late
    file.put(np.tile(token(31), 300))
    live.put(np.tile(token(30), 40))
    file.put(Mark.FINISH)
    assert file.finished.wait(WAIT_S)
    late = [
        len(each["actions"])
        for each, is_late in zip(scheduler.rounds[start + 2 :], late_rounds[1:], strict=False)
        if is_late
    ]
    both = [at for at, streams in enumerate(late) if streams == 2]
    assert len(late) >= 3 * BACKGROUND_EVERY
    assert np.diff(both[:3]).tolist() == [BACKGROUND_EVERY] * 2, late


def test_nothing_is_computed_for_a_client_that_takes_nothing() -> None:
    scheduler = SteppedScheduler(queued_events=4)
    slow, quick = Client(scheduler, "slow"), Client(scheduler, "quick")
    quick.takes = True
    for client in (slow, quick):
        client.put(pcm16(), Mark.FINISH)
    scheduler.start()
    try:
        assert quick.finished.wait(WAIT_S)
        assert not slow.finished.is_set() and slow.lane.queued_marks == 1
        slow.takes = True
        scheduler.taken(slow.lane, slow.lane.waiting_events)
        assert slow.finished.wait(WAIT_S)
    finally:
        scheduler.stop()


def test_who_is_refused_in_a_shared_round_fails_alone() -> None:
    scheduler = SteppedScheduler()
    good, bad = Client(scheduler, "good"), Client(scheduler, "bad")
    bad.failed = threading.Event()
    good.put(pcm16(), Mark.FINISH)
    bad.put(token(0), Mark.FINISH, token(1))  # audio behind the end, without a new utterance
    scheduler.start()
    try:
        assert bad.failed.wait(WAIT_S) and good.finished.wait(WAIT_S)
    finally:
        scheduler.stop()


def test_streams_are_made_and_renewed_beside_the_rounds(
    scheduler: SteppedScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making a stream takes as long as it likes: others are served, and its audio waits."""
    live, other = Client(scheduler, "live"), Client(scheduler, "other")
    warm(live)
    gate = threading.Event()
    original = scheduler._engine.core_stream

    def slow(*arguments: Any, **options: Any) -> Any:
        assert gate.wait(WAIT_S)
        return original(*arguments, **options)

    monkeypatch.setattr(scheduler._engine, "core_stream", slow)
    other.put(token(0), Mark.FINISH)
    for index in range(5):
        live.ready.clear()
        live.put(token(20 + index))
        assert live.ready.wait(WAIT_S)
    assert not other.steps
    gate.set()
    assert other.finished.wait(WAIT_S)


def test_streams_are_made_in_one_thread_and_freed(
    scheduler: SteppedScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads have heaps: freed streams would stay in each. And nothing remembers the last one."""
    threads: set[int] = set()
    streams: list[weakref.ref[Any]] = []
    original = scheduler._engine.core_stream

    def noted(*arguments: Any, **options: Any) -> Any:
        threads.add(threading.get_ident())
        stream = original(*arguments, **options)
        streams.append(weakref.ref(stream))
        return stream

    monkeypatch.setattr(scheduler._engine, "core_stream", noted)
    for index in range(5):
        client = Client(scheduler, f"client {index}")
        client.put(token(index), Mark.FINISH)
        assert client.finished.wait(WAIT_S)
        scheduler.close(client.lane)
    assert len(threads) == 1 and len(streams) == 5
    del client
    deadline = time.monotonic() + WAIT_S
    while any(stream() is not None for stream in streams):
        assert time.monotonic() < deadline, "a stream outlives its session"
        time.sleep(0.01)


def test_a_stream_that_is_closed_during_a_round_is_freed_beside_the_rounds(
    scheduler: SteppedScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed, gone, watched = list[str](), threading.Event(), list[weakref.ref[Any]]()
    original = scheduler._engine.core_stream

    def note(_: weakref.ref[Any]) -> None:
        freed.append(threading.current_thread().name)
        gone.set()

    def made(*arguments: Any, **options: Any) -> Any:
        stream = original(*arguments, **options)
        watched.append(weakref.ref(stream, note))
        return stream

    monkeypatch.setattr(scheduler._engine, "core_stream", made)
    client = Client(scheduler, "client")
    scheduler.between = lambda _: scheduler.close(client.lane)
    client.put(token(0))
    assert gone.wait(WAIT_S) and freed == ["voxtral-upkeep"]


def test_a_flush_is_told_in_one_step(scheduler: SteppedScheduler) -> None:
    """Its rounds are shared like any, but its words come together, with the tokens of all of them."""
    live, other = Client(scheduler, "live"), Client(scheduler, "other")
    warm(live)
    warm(other)
    scheduler.between = speak(live, {}, 30)
    before, start = other.tokens, len(scheduler.rounds)
    other.put(Mark.FLUSH, token(20))
    other.put(Mark.FINISH)
    assert other.finished.wait(WAIT_S)
    flush = next(step for step in other.steps if step.flushed)
    assert sum("flush" in each["actions"] for each in scheduler.rounds[start:]) == 1
    assert flush.first_token == before and flush.generated_tokens >= before + 17
    assert all(not step.events or step.first_token >= flush.generated_tokens for step in other.steps[-3:-1])


def test_ending_again_and_again_is_not_rewarded(scheduler: SteppedScheduler) -> None:
    """The first end gets four rows per round; those that follow at once, as many as anybody's audio."""
    live, other = Client(scheduler, "live"), Client(scheduler, "other")
    warm(live)
    scheduler.between = speak(live, {}, 200)
    live.put(token(0))
    start = len(scheduler.rounds)
    for _ in range(3):
        other.finished.clear()
        other.put(token(1), Mark.FINISH, Mark.RESTART)
        assert other.finished.wait(WAIT_S)
    ends = [each["tokens"] for each in scheduler.rounds[start:] if len(each["actions"]) == 2]
    assert ends.count(ENDING_TOKENS) <= 12 and ends.count(1) >= 34


def test_larger_steps_share_passes() -> None:
    """With steps of three tokens, two live streams need an encode pass for each three tokens of theirs; a piece
    that waited for its step's length goes alone, which a busy machine may make of some."""
    stepped = SteppedScheduler(step_tokens=3)
    stepped.start()
    try:
        clients = [Client(stepped, name) for name in ("one", "other")]
        for client in clients:
            warm(client, 21)
        before = [client.lane.stream.stats()["encode_calls"] for client in clients]
        for index in range(30):
            for client in clients:
                client.put(token(21 + index))
            if index % 3 == 2:
                pause = threading.Event()
                while any(client.lane.heard_samples < (22 + index) * TOKEN for client in clients):
                    pause.wait(0.001)
        calls = [client.lane.stream.stats()["encode_calls"] for client in clients]
        assert all(10 <= after - start <= 15 for after, start in zip(calls, before, strict=True)), (
            before,
            calls,
        )
    finally:
        stepped.stop()


def test_rows_are_shared_among_the_active(scheduler: SteppedScheduler) -> None:
    """Alone, a stream gets whole batches; beside a live one that keeps up, one token per round."""
    file = Client(scheduler, "file", background=True)
    file.put(np.tile(token(3), 64), Mark.FINISH)
    assert file.finished.wait(WAIT_S)
    assert {each["tokens"] for each in scheduler.rounds} == {BATCH_TOKENS}
    live, start = Client(scheduler, "live"), len(scheduler.rounds)
    warm(live)
    scheduler.between = speak(live, {}, 40)
    other = Client(scheduler, "other")
    live.put(token(0))
    other.put(np.tile(token(3), 16), Mark.FINISH)
    assert other.finished.wait(WAIT_S)
    shared = [each for each in scheduler.rounds[start:] if len(each["actions"]) == 2]
    assert {each["tokens"] for each in shared} == {1, ENDING_TOKENS}


def test_files_are_decoded_in_full_passes(
    scheduler: SteppedScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their last tokens wait for the next block; the text is the same."""
    # As many drafts as on a machine where rows cost little, whatever this one is.
    monkeypatch.setattr(Engine, "core_stream", partialmethod(Engine.core_stream, max_drafts=7))
    events, decodes = [], []
    for background in (False, True):
        client = Client(scheduler, "any", background)
        client.put(np.concatenate([token(index % 40) for index in range(200)]), Mark.FINISH)
        assert client.finished.wait(WAIT_S)
        events.append([event for step in client.steps for event in step.events])
        decodes.append(client.lane.stream.stats()["decode_calls"])
        scheduler.close(client.lane)
    assert events[0] == events[1]
    assert decodes[1] < decodes[0], decodes
