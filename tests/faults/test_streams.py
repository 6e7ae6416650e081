"""Hostile audio and call orders: nothing but numbers leaves a model, and a stream recovers by reset.

Lines F7, F15 to F17 and F36 of the project's fault list; F8 is tests/python/test_stream_chunking.py.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest
from native_testing import Models, random_audio, speech

from voxtral_edge.errors import UsageError

SAMPLES = 20000


def with_values(values: dict[int, float]) -> np.ndarray:
    pcm = random_audio(SAMPLES, 1)
    for index, value in values.items():
        pcm[index] = value
    return pcm


SIGNALS: dict[str, Callable[[], np.ndarray]] = {
    "NaN": lambda: with_values({0: np.nan, 777: np.nan, SAMPLES - 1: np.nan}),
    "all NaN": lambda: np.full(SAMPLES, np.nan, np.float32),
    "infinite": lambda: with_values({5: np.inf, 6: -np.inf, 9000: np.inf}),
    "1e30": lambda: with_values({100: 1e30, 101: -1e30}),
    "largest float": lambda: np.full(SAMPLES, np.finfo(np.float32).max, np.float32),
    "denormal": lambda: np.full(SAMPLES, 1e-45, np.float32),
    "silence": lambda: np.zeros(SAMPLES, np.float32),
    "minus zero": lambda: -np.zeros(SAMPLES, np.float32),
    "DC": lambda: np.full(SAMPLES, 0.9, np.float32),
    "full-scale square": lambda: np.sign(np.sin(np.arange(SAMPLES) / 7)).astype(np.float32),
    "clipped 1 kHz": lambda: np.clip(9 * np.sin(2 * np.pi * np.arange(SAMPLES) / 16), -1, 1).astype(
        np.float32
    ),
    "Nyquist": lambda: np.tile(np.array([1, -1], np.float32), SAMPLES // 2),
    "int16 extremes": lambda: np.tile(np.array([-32768, 32767], np.int16), SAMPLES // 2),
    "impulse": lambda: with_values({4000: 1.0}) * (np.arange(SAMPLES) == 4000),
}


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_any_signal(models: Models, precision: str, signal: str) -> None:
    """Finite mel, embeddings and logits; a final event; and after reset the stream is as new."""
    engine = models.engine("odd", precision)
    stream = engine.core_stream(6, trace=True)
    pcm = SIGNALS[signal]()
    events = stream.feed(pcm) + stream.finish()
    trace = stream.trace()
    for stage in ("mel", "encoder", "projector", "logits"):
        assert np.isfinite(trace[stage]).all(), stage
    assert len(stream.token_ids) == -(-SAMPLES // 1280) + 11
    assert events[-1]["type"] == "final"
    assert all(0 <= event["probability"] <= 1 for event in events if event["type"] == "word")
    expected = engine.core_stream(6, trace=True)
    stream.reset()
    for each in (stream, expected):
        each.feed(speech())
        each.finish()
    assert stream.token_ids == expected.token_ids
    for stage in ("mel", "encoder", "projector", "logits"):
        assert np.array_equal(stream.trace()[stage], expected.trace()[stage]), stage


def test_what_is_no_number_is_silence_and_counted(models: Models) -> None:
    engine = models.engine("odd", "fp32")
    pcm = with_values({0: np.nan, 5: np.inf, 6: -np.inf, 9000: np.nan})
    stream, clean = engine.core_stream(6), engine.core_stream(6)
    stream.feed(pcm)
    clean.feed(np.where(np.isfinite(pcm), pcm, 0).astype(np.float32))
    stream.finish()
    clean.finish()
    assert stream.token_ids == clean.token_ids
    assert stream.stats()["replaced_samples"] == 4
    assert clean.stats()["replaced_samples"] == 0
    stream.reset()
    assert stream.stats()["replaced_samples"] == 0


@pytest.mark.parametrize("seed", range(6))
def test_calls_in_any_order(models: Models, seed: int) -> None:
    """Thousands of random feeds, flushes, finishes, resets, destructions: typed errors only where they are due."""
    engine = models.engine("odd", "int8")
    generator = np.random.default_rng(seed)
    stream, finished, fed = engine.core_stream(2), False, 0
    for _ in range(1500):
        action = generator.integers(0, 12)
        if action < 7:
            pcm = random_audio(int(generator.integers(0, 400)), seed)
            if finished:
                with pytest.raises(UsageError):
                    stream.feed(pcm)
            else:
                stream.feed(pcm)
                fed += len(pcm)
        elif action == 7:
            if finished:
                with pytest.raises(UsageError):
                    stream.flush()
            else:
                stream.flush()
        elif action == 8:
            if finished:
                with pytest.raises(UsageError):
                    stream.finish()
            else:
                events = stream.finish()
                assert [event["type"] for event in events].count("final") == 1
                finished = True
        elif action == 9:
            stream.reset()
            finished, fed = False, 0
        elif action == 10:
            stream = engine.core_stream(int(generator.integers(1, 31)))
            finished, fed = False, 0
        else:
            assert stream.stats()["fed_samples"] == fed
            assert stream.finished == finished


def test_a_hundred_streams_through_reset(models: Models) -> None:
    engine = models.engine("odd", "int4")
    stream = engine.core_stream(6)
    results: list[Any] = []
    for _ in range(100):
        events = stream.feed(speech()[:16000]) + stream.finish()
        results.append((stream.token_ids, stream.text, events))
        stream.reset()
    assert all(result == results[0] for result in results)


def test_memory_stays_flat(models: Models) -> None:
    """Ten minutes of audio, flushes included, and hundreds of short streams: resident memory does not follow."""
    engine = models.engine("odd", "int4")
    process = psutil.Process()

    def live(minutes: float) -> None:
        stream = engine.core_stream(6, keep_history=False)
        for step in range(int(minutes * 60 / 4)):
            stream.feed(random_audio(64000, step % 7))
            if step % 3 == 0:
                stream.flush()

    def short(count: int) -> None:
        for index in range(count):
            stream = engine.core_stream(1 + index % 30)
            stream.feed(random_audio(2000, 1))
            stream.finish()

    live(2)
    short(60)
    gc.collect()
    before = process.memory_info().rss
    live(10)
    short(300)
    gc.collect()
    assert process.memory_info().rss - before < 16 << 20
