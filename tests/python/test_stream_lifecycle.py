"""Feeding, flushing, finishing and resetting real models in every order; the tokens they must give."""

from __future__ import annotations

import re
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_testing import Models, random_audio, speech
from safetensors.torch import load_file, save_file

import voxtral_edge as ve
from checkpoints import EOS, reference
from voxtral_edge.audio import as_pcm, read_audio
from voxtral_edge.errors import AudioFormatError, UsageError
from voxtral_edge.export import Checkpoint, export_package
from voxtral_edge.wer import word_error_rate

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def finish(stream: Any, *pieces: np.ndarray) -> tuple[list[int], str, list[dict[str, Any]]]:
    events = [event for piece in pieces for event in stream.feed(piece)] + stream.finish()
    return stream.token_ids, stream.text, events


@pytest.fixture(scope="module")
def engine(models: Models) -> ve.Engine:
    return models.engine("odd", "int4")


@pytest.mark.parametrize("samples", [0, 1, 39, 40, 41, 1240, 1241, 1279, 1280, 1281])
def test_short_inputs(models: Models, samples: int) -> None:
    """Every length has its tokens: one per started 80 ms, and delay + 11 of padding; ids equal transformers'."""
    pcm = random_audio(samples, 5)
    for delay in (1, 6):
        ids, text, events = finish(models.engine("odd", "fp32").core_stream(delay), pcm)
        assert len(ids) == -(-samples // 1280) + 11
        assert [event["type"] for event in events].count("final") == 1
        assert events[-1]["type"] == "final" and events[-1]["text"] == text
        expected = reference(models.checkpoint("odd"), pcm, delay)
        generated = expected["ids"][int(expected["prompt_len"]) :].tolist()
        assert ids[: len(generated)] == generated


def test_after_finish_only_reset_helps(engine: ve.Engine) -> None:
    stream = engine.core_stream(6)
    first = finish(stream, speech())
    for call in (
        lambda: stream.feed(speech()),
        lambda: stream.feed(np.zeros(0, np.float32)),
        stream.flush,
        stream.finish,
    ):
        with pytest.raises(UsageError, match=r"reset\(\)"):
            call()
    assert stream.finished
    assert (stream.token_ids, stream.text) == first[:2]
    for _ in range(3):
        stream.reset()
        assert (stream.token_ids, stream.text, stream.finished) == ([], "", False)
        assert finish(stream, speech()) == first


def test_reset_at_any_moment(engine: ve.Engine) -> None:
    expected = finish(engine.core_stream(2), speech())
    stream = engine.core_stream(2)
    generator = np.random.default_rng(1)
    for _ in range(25):
        stream.reset()
        for _ in range(int(generator.integers(0, 4))):
            stream.feed(random_audio(int(generator.integers(0, 9000)), 7))
            if generator.random() < 0.3:
                stream.flush()
        stream.reset()
        assert finish(stream, speech()) == expected


def test_flush_equals_feeding_that_silence(models: Models) -> None:
    """A flush is right padding of silence: alignment, delay, one, ten. Only the words' times differ."""
    engine = models.engine("golden", "fp32")
    for delay, samples in ((1, 5000), (6, 12800), (15, 20001)):
        pcm, more = random_audio(samples, 3), random_audio(9999, 4)
        silence = np.zeros(-samples % 1280 + (delay + 11) * 1280, np.float32)
        flushed = engine.core_stream(delay)
        flushed.feed(pcm)
        flushed.flush()
        plain = engine.core_stream(delay)
        plain.feed(pcm)
        plain.feed(silence)
        assert flushed.token_ids == plain.token_ids
        assert finish(flushed, more)[:2] == finish(plain, more)[:2]
        assert flushed.stats()["fed_samples"] == samples + 9999


def test_append_only_through_flushes(engine: ve.Engine) -> None:
    stream = engine.core_stream(6)
    generator, told = np.random.default_rng(2), ""
    for step in range(40):
        events = stream.feed(random_audio(int(generator.integers(0, 5000)), step))
        events += stream.flush() if generator.random() < 0.3 else []
        told += "".join(event["text"] for event in events if event["type"] == "text")
        assert stream.text == told
    events = stream.finish()
    assert (
        events[-1]["text"] == stream.text == told + "".join(e["text"] for e in events if e["type"] == "text")
    )


def test_eos_does_not_end_a_live_stream(models: Models, tmp_path: Path) -> None:
    """Swapping two rows of the tied table renames a token: what was said as X is now EOS, and nothing else changes.

    So the model emits EOS in the middle; the live stream must go on exactly as before, and stop_at_eos must end where
    transformers ends.
    """
    base = finish(models.engine("golden", "fp32").core_stream(6), speech())[0]
    victim = next(token for token in base[8:] if token >= 1000)  # a text token of the middle
    folder = tmp_path / "checkpoint"
    shutil.copytree(models.checkpoint("golden"), folder)
    tensors = load_file(folder / "model.safetensors")
    table = tensors["language_model.model.embed_tokens.weight"]
    table[[victim, EOS]] = table[[EOS, victim]]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    source = Checkpoint(folder)
    export_package(source, tmp_path / "package", precision="fp32")
    source.close()
    engine = ve.load(tmp_path / "package", threads=1)
    renamed = {victim: EOS, EOS: victim}
    ids, _, events = finish(engine.core_stream(6), speech())
    assert ids == [renamed.get(token, token) for token in base]
    assert ids.index(EOS) < len(ids) - 5
    assert sum(event["type"] == "segment" for event in events) == ids.count(EOS)
    expected = reference(folder, speech(), 6)
    offline = finish(engine.core_stream(6, stop_at_eos=True), speech())[0]
    assert offline == expected["ids"][int(expected["prompt_len"]) :].tolist() == ids[: ids.index(EOS) + 1]
    traced = ve.inspect.trace(engine, speech(), 6)
    for stage in ("mel", "encoder", "projector", "logits"):
        assert traced[stage].shape == expected[stage].shape


@pytest.mark.parametrize("layout", ["strided", "reversed", "big-endian", "float64", "read-only", "fortran"])
def test_any_memory_layout_of_samples(engine: ve.Engine, layout: str) -> None:
    """What the public API takes, it takes correctly."""
    pcm = speech()
    array = {
        "strided": np.repeat(pcm, 2)[::2],
        "reversed": pcm[::-1].copy()[::-1],
        "big-endian": pcm.astype(">f4"),
        "float64": pcm.astype(np.float64),
        "read-only": pcm.copy(),
        "fortran": np.asfortranarray(pcm),
    }[layout]
    if layout == "read-only":
        array.flags.writeable = False
    stream = engine.stream(delay_ms=480)
    stream.feed(array)
    stream.finish()
    assert stream.token_ids == finish(engine.core_stream(6), pcm)[0]


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((2, 100), np.float32),
        np.zeros((), np.float32),
        np.zeros(9, np.int32),
        np.zeros(9, bool),
        np.zeros(9, complex),
        np.array(["a"]),
    ],
)
def test_samples_of_other_kinds_are_refused(engine: ve.Engine, bad: np.ndarray) -> None:
    stream = engine.core_stream(6)
    with pytest.raises((AudioFormatError, UsageError)):
        stream.feed(bad)
    with pytest.raises((AudioFormatError, UsageError)):
        engine.stream().feed(bad)
    assert finish(stream, speech()) == finish(engine.core_stream(6), speech())  # nothing of it was taken


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_advice_for_two_channels_averages_over_them(channels_last: bool) -> None:
    pcm = np.zeros((100, 2) if channels_last else (2, 100), np.float32)
    with pytest.raises(UsageError, match=re.escape(f"pcm.mean(axis={int(channels_last)})")):
        as_pcm(pcm)


def test_streams_in_threads(models: Models) -> None:
    """Two and eight Python threads, each with its own stream on one engine: the single-stream results."""
    engine = models.engine("golden", "int8", threads=2)
    jobs = [(random_audio(20000 + 997 * index, index), 1 + index * 3) for index in range(8)]
    expected = [finish(engine.core_stream(delay), pcm) for pcm, delay in jobs]
    got: list[Any] = [None] * len(jobs)

    def work(index: int) -> None:
        pcm, delay = jobs[index]
        got[index] = finish(engine.core_stream(delay), *np.array_split(pcm, 11))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == expected


def test_an_engine_outlives_its_name(models: Models) -> None:
    """A stream keeps what it needs alive."""
    stream = ve.load(models.package("odd", "int8"), threads=1).core_stream(6)
    assert finish(stream, speech()) == finish(models.engine("odd", "int8").core_stream(6), speech())


def test_break_pad_runs_acts_after_16_s_of_pads_and_only_then() -> None:
    """In the demo model silence leads by 6.3 logits, less than the penalty of 7, so that its effect shows."""
    silence = np.zeros(25 * 16000, np.float32)
    plain = ve.load("tiny-en", threads=1)
    breaking = ve.load("tiny-en", threads=1, break_pad_runs=True)
    ids = [finish(engine.core_stream(6), silence)[0] for engine in (plain, breaking)]
    assert set(ids[0]) == {32}
    assert set(ids[1][:200]) == {32} and set(ids[1][200:]) != {32}
    said = speech()
    assert finish(plain.core_stream(6), said)[0] == finish(breaking.core_stream(6), said)[0]


def test_automatic_gain_hears_what_is_too_quiet() -> None:
    """36 dB down the demo model hears nothing; with the gain it hears most, and any chunking gives the same."""
    engine, amplifying = (ve.load("tiny-en", threads=1, gain=gain) for gain in (0, "auto"))
    recording = read_audio(SAMPLES / "serial-numbers.flac")
    quiet = recording * np.float32(10 ** (-36 / 20))
    assert finish(engine.core_stream(6), quiet)[1] == ""
    stream = amplifying.core_stream(6)
    ids, text, _ = finish(stream, quiet)
    assert word_error_rate(finish(engine.core_stream(6), recording)[1], text) < 0.3
    assert 15 < stream.stats()["gain_decibels"] <= 30
    pieces = np.array_split(quiet, 977)
    assert finish(amplifying.core_stream(6), *pieces)[0] == ids


@pytest.mark.parametrize("gain", ["loud", 61, -61, float("nan"), True])
def test_gains_that_are_none(gain: Any) -> None:
    with pytest.raises(UsageError, match="gain is"):
        ve.load("tiny-en", gain=gain)
