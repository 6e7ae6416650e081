"""Drafts change the number of passes, never a token: real speech over many windows of attention."""

from __future__ import annotations

import json

import numpy as np
import pytest
from evaluation import ROOT
from numpy.typing import NDArray

from voxtral_edge import _core
from voxtral_edge.audio import read_audio

PACKAGE = ROOT / "voxtral_edge" / "models" / "tiny-en"
REPEATS = 5


@pytest.fixture(scope="module")
def pcm() -> NDArray[np.float32]:
    """Nearly four minutes of the bundled digits in changing order: 2,700 tokens, more than ten decoder windows."""
    listing = json.loads((ROOT / "samples" / "samples.json").read_text(encoding="utf-8"))["samples"]
    clips = [read_audio(ROOT / "samples" / row["file"]) for row in listing]
    generator = np.random.default_rng(3)
    parts = [clips[index] for _ in range(REPEATS) for index in generator.permutation(len(clips))]
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def engine() -> _core.NativeEngine:
    return _core.NativeEngine(str(PACKAGE), 1)


def run(
    engine: _core.NativeEngine,
    pcm: NDArray[np.float32],
    delay_tokens: int,
    drafts: int | None,
    piece: int,
    more: bool = False,
) -> tuple[list[int], dict]:
    stream = _core.Stream(
        engine,
        delay_tokens=delay_tokens,
        max_drafts=drafts,
        start_token_position=0,
    )
    for begin in range(0, len(pcm), piece):
        stream.feed(pcm[begin : begin + piece], more)
    stream.finish()
    return list(stream.token_ids), stream.stats()


@pytest.mark.parametrize("delay_tokens", [1, 6, 12])
def test_drafts_change_no_token(
    engine: _core.NativeEngine, pcm: NDArray[np.float32], delay_tokens: int
) -> None:
    plain, stats = run(engine, pcm, delay_tokens, 0, len(pcm))
    assert len(plain) > 2500
    assert stats["decode_calls"] >= len(plain)
    for drafts, piece in ((1, len(pcm)), (7, len(pcm)), (7, 16000), (20, 100_000), (None, 20_480)):
        for more in (False, True):
            ids, _ = run(engine, pcm, delay_tokens, drafts, piece, more)
            assert ids == plain, (drafts, piece, more)


def test_a_reset_stream_drafts_like_a_new_one(engine: _core.NativeEngine, pcm: NDArray[np.float32]) -> None:
    """What was learned of one recording must not reach into the next: same passes, not only same tokens."""
    stream = _core.Stream(engine, delay_tokens=6, max_drafts=7)
    passes = []
    for _ in range(3):
        stream.feed(pcm[: 60 * 16000])
        stream.finish()
        passes.append(stream.stats()["decode_calls"])
        stream.reset()
    assert passes[1] == passes[2]  # the first also computed the left padding, which the others copy


def test_the_audio_tells_where_words_end(engine: _core.NativeEngine, pcm: NDArray[np.float32]) -> None:
    """4.46 tokens per pass; with n-grams alone it was 3.73."""
    ids, stats = run(engine, pcm, 6, 7, len(pcm))
    assert len(ids) / stats["decode_calls"] > 4.1
