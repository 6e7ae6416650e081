"""The one streaming loop with onnxruntime underneath: chunking, threads, reset, errors, native's text."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest
from native_testing import Models, random_audio

import voxtral_edge as ve
from voxtral_edge.engine import ENGINES
from voxtral_edge.errors import DeviceError

pytest.importorskip("onnxruntime")
pytest.importorskip("voxtral_edge._core")

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def run(engine: ve.Engine, pcm: np.ndarray, chunks: list[int], delay_ms: int = 480) -> list[int]:
    stream = engine.stream(delay_ms=delay_ms)
    start = 0
    for size in chunks:
        stream.feed(pcm[start : start + size])
        start += size
    stream.feed(pcm[start:])
    stream.finish()
    return stream.token_ids


@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_chunking_does_not_change_a_token(models: Models, precision: str) -> None:
    engine = models.engine("odd", precision, "onnxruntime")
    pcm = random_audio(4 * 16000, 3)
    expected = run(engine, pcm, [])
    assert len(set(expected)) > 5
    random = np.random.default_rng(4)
    for chunks in ([1] * 300, [1280] * 50, [1279] * 50, random.integers(1, 5000, 40).tolist()):
        assert run(engine, pcm, chunks) == expected


def test_streams_in_threads_on_one_engine(models: Models) -> None:
    engine = models.engine("golden", "int4", "onnxruntime")
    jobs = [(random_audio(3 * 16000, seed), 80 * (1 + seed)) for seed in range(4)]
    expected = [run(engine, pcm, [], delay) for pcm, delay in jobs]
    got: list[list[int] | None] = [None] * len(jobs)

    def work(index: int) -> None:
        pcm, delay = jobs[index]
        got[index] = run(engine, pcm, [700] * 60, delay)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == expected


def test_reset_and_release(models: Models) -> None:
    """A stream that was reset gives a fresh stream's tokens; the engine goes when nothing refers to it."""
    engine = ve.load(models.package("odd", "int8"), engine="onnxruntime", threads=1)
    pcm = random_audio(2 * 16000, 8)
    expected = run(engine, pcm, [])
    stream = engine.stream()
    stream.feed(random_audio(16000, 9))
    stream.reset()
    stream.feed(pcm)
    stream.finish()
    assert stream.token_ids == expected
    del engine
    gc.collect()
    stream.reset()  # the stream keeps what it needs
    stream.feed(pcm)
    stream.finish()
    assert stream.token_ids == expected


def test_the_same_text_as_the_native_engine() -> None:
    """Human speech through the bundled model, word by word."""
    recording = SAMPLES / "zero-to-nine.wav"
    transcripts = [ve.load("tiny-en", engine=name).transcribe(recording) for name in ENGINES]
    assert transcripts[0].text == transcripts[1].text != ""
    words = [[(word.text, word.start, word.end) for word in transcript.words] for transcript in transcripts]
    assert words[0] == words[1]


def test_errors_of_the_engine_reach_the_caller(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception raised inside a call of the loop arrives as it was raised."""
    from voxtral_edge.engines.onnxruntime_backend import OnnxRuntimeBackend

    engine = ve.load(models.package("odd", "int4"), engine="onnxruntime", threads=1)
    stream = engine.stream()

    def fail(*_: object) -> None:
        raise DeviceError("the device is gone")

    with monkeypatch.context() as patch:
        patch.setattr(OnnxRuntimeBackend, "encode", fail)
        with pytest.raises(DeviceError, match="the device is gone"):
            stream.feed(random_audio(16000, 1))
            stream.finish()
    assert run(engine, random_audio(16000, 1), [])


def test_info_names_the_engine(models: Models) -> None:
    info = models.engine("odd", "int4", "onnxruntime").info()
    assert info["engine"] == "onnxruntime" and info["providers"] == ["CPUExecutionProvider"]
