"""Streaming equals offline: any chunking, batch size, draft length and counter gives the same tokens and numbers."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from checkpoint_shapes import SHAPES
from native_testing import SAMPLES, Models, limit, random_audio, relative_rms, tolerances

import voxtral_edge as ve

PRECISIONS = ("fp32", "fp16", "int8", "int4")
SHAPE = "golden"
CLIP_SAMPLES = 90 * 1280 + 333


def clip() -> np.ndarray:
    """16-bit values, so that both sample formats carry the same signal; 90 tokens: over three decoder windows of 24."""
    assert SHAPES[SHAPE].text["sliding_window"] * 3 < CLIP_SAMPLES / 1280
    return np.round(random_audio(CLIP_SAMPLES, 3) * 32767).astype(np.int16)


def as_float(pcm: np.ndarray) -> np.ndarray:
    return pcm.astype(np.float32) / np.float32(32768)


def run(engine: ve.Engine, pieces: list[np.ndarray], delay_tokens: int = 6, **options: Any) -> dict[str, Any]:
    """Feeds the pieces, finishes, and returns everything a user can see."""
    stream = engine.core_stream(delay_tokens, **options)
    events = []
    for piece in pieces:
        events += stream.feed(piece)
    events += stream.finish()
    result = {"ids": stream.token_ids, "text": stream.text, "events": events}
    if options.get("trace"):
        result["trace"] = stream.trace()
    return result


@cache
def one_shot(models: Models, precision: str, trace: bool = False) -> dict[str, Any]:
    return run(models.engine(SHAPE, precision), [as_float(clip())], trace=trace)


def without_probabilities(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in event.items() if key != "probability"} for event in result["events"]
    ]


def random_pieces(seed: int) -> list[np.ndarray]:
    """From single samples to seconds, primes, whole tokens, empty feeds; float32 and int16 mixed."""
    generator = np.random.default_rng(seed)
    style, pcm, pieces, done = seed % 5, clip(), [], 0
    primes = (2, 3, 5, 7, 11, 13, 101, 997, 1279, 1283, 7919)
    while done < len(pcm):
        if style == 0:
            size = int(generator.integers(1, 200)) if done < 30000 else int(generator.integers(1, 40000))
        elif style == 1:
            size = int(generator.choice(primes))
        elif style == 2:
            size = int(generator.choice((0, 1, 39, 40, 41, 160, 1240, 1280, 1320, 2560)))
        elif style == 3:
            size = int(2 ** generator.uniform(0, 16))
        else:
            size = 1 if done % 1280 > 1200 else 600  # single samples around every token border
        piece = pcm[done : done + size]
        pieces.append(piece if generator.random() < 0.5 else as_float(piece))
        done += size
    return pieces


@pytest.mark.parametrize("seed", range(200))
def test_random_chunking(models: Models, seed: int) -> None:
    precision = PRECISIONS[seed % 4]
    expected = one_shot(models, precision)
    assert len(set(expected["ids"])) >= 10
    options = {"max_batch_tokens": seed % 10, "max_drafts": seed % 6} if seed % 3 == 0 else {}
    assert run(models.engine(SHAPE, precision), random_pieces(seed), **options) == expected


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_intermediate_is_the_same_to_the_last_bit(models: Models, precision: str) -> None:
    expected = one_shot(models, precision, trace=True)["trace"]
    for seed in (4, 11, 17, 23):
        got = run(models.engine(SHAPE, precision), random_pieces(seed), trace=True)["trace"]
        for stage in ("mel", "encoder", "projector", "logits", "ids"):
            assert np.array_equal(got[stage], expected[stage]), (stage, seed)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("tokens", [1, 2, 5, 8, 16, 17, 64])
def test_tokens_per_encode_call(models: Models, precision: str, tokens: int) -> None:
    options = {"max_batch_tokens": tokens, "trace": True}
    got = run(models.engine(SHAPE, precision), [as_float(clip())], **options)
    expected = one_shot(models, precision, trace=True)
    assert (got["ids"], got["text"], got["events"]) == (expected["ids"], expected["text"], expected["events"])
    assert np.array_equal(got["trace"]["logits"], expected["trace"]["logits"])


@pytest.mark.parametrize("threads", [2, 3])
def test_threads(models: Models, threads: int) -> None:
    for precision in ("fp32", "int4"):
        engine = models.engine(SHAPE, precision, threads=threads)
        assert run(engine, [as_float(clip())]) == one_shot(models, precision)


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("start", [2**17 - 50, 2**20, 2**31 - 50, 2**32 - 50, 2**33 + 7])
def test_counters_have_no_limit(models: Models, shape: str, start: int) -> None:
    """2^31 tokens are five years. fp32: the same ids; the numbers move by rounding only (other absolute angles)."""
    engine = models.engine(shape, "fp32")
    expected = run(engine, [as_float(clip())], trace=True)
    got = run(engine, [as_float(clip())], trace=True, start_token_position=start)
    assert got["ids"] == expected["ids"]
    assert without_probabilities(got) == without_probabilities(expected)
    bound = limit(tolerances("stream")["shifted_counters"])
    assert relative_rms(got["trace"]["logits"], expected["trace"]["logits"]) <= bound


@pytest.mark.parametrize("start", [2**17 - 50, 2**31 - 50, 2**32 - 50])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_counters_of_a_quantised_trained_model(models: Models, precision: str, start: int) -> None:
    """Words of real speech: margins of a trained model are far above the noise of another absolute position."""
    engine = models.engine("demo", precision)
    pcm = ve.audio.read_audio(SAMPLES / "zero-to-nine.wav")
    expected = run(engine, [pcm])
    assert expected["text"].strip()
    assert run(engine, [pcm], start_token_position=start)["ids"] == expected["ids"]


@pytest.mark.usefixtures("onnxruntime")
@pytest.mark.parametrize("delay_tokens", [1, 6, 15, 30])
def test_onnxruntime_streams_the_same_way(models: Models, delay_tokens: int) -> None:
    """One streaming loop for both engines: chunking does not matter there either."""
    engine = models.engine(SHAPE, "fp32", "onnxruntime")
    expected = run(engine, [as_float(clip())], delay_tokens)
    assert run(engine, random_pieces(2), delay_tokens) == expected
    assert run(engine, random_pieces(3), delay_tokens) == expected
