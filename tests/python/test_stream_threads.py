"""One stream and several threads: one computes, the others are told so or wait."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import voxtral_edge as ve
from voxtral_edge.stream import Stream

SILENCE = np.zeros(1280, np.float32)
WAIT_S = 30


class SlowCore:
    """A native stream whose `feed` takes until `go_on` is set."""

    def __init__(self) -> None:
        self.inside, self.go_on = threading.Event(), threading.Event()
        self.text, self.token_ids = "", []

    def feed(self, samples: np.ndarray, more: bool) -> list[dict[str, Any]]:
        self.inside.set()
        assert self.go_on.wait(WAIT_S)
        self.text = "done"
        return []

    def flush(self) -> list[dict[str, Any]]:
        return []

    finish = flush

    def reset(self) -> None:
        self.text = ""

    def stats(self) -> dict[str, Any]:
        return {"generated_tokens": 1}


def test_a_second_thread_is_refused_and_readers_wait() -> None:
    core = SlowCore()
    stream = Stream(core, 480)
    feeding = threading.Thread(target=stream.feed, args=(SILENCE,))
    feeding.start()
    assert core.inside.wait(WAIT_S)
    for call in (lambda: stream.feed(SILENCE), stream.flush, stream.finish, stream.reset):
        with pytest.raises(ve.UsageError, match="another thread"):
            call()
    seen: list[Any] = []
    reading = threading.Thread(target=lambda: seen.append(stream.text))
    closing = threading.Thread(target=stream.close)
    reading.start()
    reading.join(0.1)
    assert reading.is_alive() and seen == []
    closing.start()
    core.go_on.set()
    for thread in (feeding, reading, closing):
        thread.join(WAIT_S)
    assert seen == ["done"] and stream.text == "done"
    with pytest.raises(ve.UsageError, match="closed"):
        stream.feed(SILENCE)


def test_threads_can_take_turns() -> None:
    engine = ve.load("tiny-en", threads=1)
    alone, shared = engine.stream(), engine.stream()
    noise = np.random.default_rng(1).normal(0, 0.1, 32000).astype(np.float32)
    alone.feed(noise)
    for piece in np.array_split(noise, 9):
        thread = threading.Thread(target=shared.feed, args=(piece,))
        thread.start()
        thread.join()
    assert shared.finish()[-1] == alone.finish()[-1] and shared.token_ids == alone.token_ids


def test_a_reader_in_the_middle_of_reading_does_not_cost_a_feed() -> None:
    core = SlowCore()
    core.go_on.set()
    reading, read_on = threading.Event(), threading.Event()

    def stats() -> dict[str, Any]:
        reading.set()
        assert read_on.wait(WAIT_S)
        return {"generated_tokens": 1}

    core.stats = stats  # type: ignore[method-assign]
    stream = Stream(core, 480)
    watcher = threading.Thread(target=stream.stats)
    feeder = threading.Thread(target=stream.feed, args=(SILENCE,))
    watcher.start()
    assert reading.wait(WAIT_S)
    feeder.start()
    feeder.join(0.1)
    read_on.set()
    for thread in (watcher, feeder):
        thread.join(WAIT_S)
    assert stream.text == "done"
