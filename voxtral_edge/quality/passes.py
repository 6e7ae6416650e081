"""One package, one recording: what it writes, and its distributions along its own or along given tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.audio import SAMPLE_RATE_HZ, AudioFile
from voxtral_edge.engine import Engine
from voxtral_edge.errors import ModelFormatError
from voxtral_edge.quality.distribution import Distribution, DistributionFile, divergence, reduce
from voxtral_edge.quality.recordings import Recording
from voxtral_edge.wer import normalize

OnAudio = Callable[[float], None]
"""Called with the seconds of audio that a pass has heard."""


@dataclass(frozen=True)
class Spoken:
    """What a package wrote by itself: the text, and its normalised words with the token each ended at."""

    text: str
    words: tuple[str, ...]
    word_tokens: tuple[int, ...]


@dataclass(frozen=True)
class Reference:
    """What the package compared with wrote: its tokens, one per 80 ms, and its text."""

    token_ids: tuple[int, ...]
    spoken: Spoken


@dataclass(frozen=True)
class Forced:
    """The package under test along the reference's tokens; arrays [tokens].

    kl, slack      nats: the divergence from the reference's distribution is at least kl, at most kl + slack
    choices        its most likely token
    probabilities  [tokens, 2] that it gives to its own choice and to the reference's
    """

    kl: NDArray[np.float64]
    slack: NDArray[np.float64]
    choices: NDArray[np.int64]
    probabilities: NDArray[np.float64]


def reference_pass(
    engine: Engine, recording: Recording, delay_tokens: int, kept: DistributionFile, on_audio: OnAudio
) -> Reference:
    """Transcribes; the distributions of all tokens go to `kept`."""
    stream = engine.core_stream(delay_tokens, trace=True)
    words = _Words()
    for logits in _traced(engine, stream, recording, words, on_audio):
        for row in logits:
            kept.write(reduce(row))
    return Reference(tuple(stream.token_ids), words.spoken(stream.text))


def forced_pass(
    engine: Engine,
    recording: Recording,
    delay_tokens: int,
    reference: Reference,
    kept: Iterator[Distribution],
    on_audio: OnAudio,
) -> Forced:
    """Hears the recording, with the reference's tokens in place of its own: every token is then predicted from the same
    history by both, and one difference does not count twice. Takes as many of `kept` as there are tokens."""
    stream = engine.core_stream(delay_tokens, trace=True, replayed_ids=list(reference.token_ids))
    tokens = len(reference.token_ids)
    result = Forced(np.empty(tokens), np.empty(tokens), np.empty(tokens, np.int64), np.empty((tokens, 2)))
    token = 0
    for logits in _traced(engine, stream, recording, _Words(), on_audio):
        for row in logits:
            result.kl[token], result.slack[token] = divergence(next(kept), row)
            own = result.choices[token] = int(row.argmax())
            p = np.exp(row[[own, reference.token_ids[token]]].astype(np.float64) - row.max())
            result.probabilities[token] = p / np.exp(row.astype(np.float64) - row.max()).sum()
            token += 1
    assert token == tokens, "the same audio has the same number of tokens"
    return result


def free_pass(engine: Engine, recording: Recording, delay_tokens: int, on_audio: OnAudio) -> Spoken:
    """Transcribes, as a user would."""
    stream = engine.core_stream(delay_tokens)
    words = _Words()
    for _ in _heard(stream, recording, words, on_audio):
        pass
    return words.spoken(stream.text)


class _Words:
    """Collects the words among a native stream's events."""

    def __init__(self) -> None:
        self._words: list[tuple[str, int]] = []

    def take(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            if event["type"] == "word":
                self._words += [(word, int(event["token"])) for word in normalize(event["text"]).split()]

    def spoken(self, text: str) -> Spoken:
        return Spoken(text, tuple(word for word, _ in self._words), tuple(token for _, token in self._words))


def _heard(stream: Any, recording: Recording, words: _Words, on_audio: OnAudio) -> Iterator[None]:
    """Feeds the recording block by block and finishes; yields after each."""
    samples = 0
    with AudioFile(recording.path) as file:
        for block in file.blocks():
            samples += len(block)
            words.take(stream.feed(block, True))
            on_audio(samples / SAMPLE_RATE_HZ)
            yield
    words.take(stream.finish())
    yield


def _traced(
    engine: Engine, stream: Any, recording: Recording, words: _Words, on_audio: OnAudio
) -> Iterator[NDArray[np.float32]]:
    """The same; yields the new logits [tokens, vocabulary] after each block, a second or two of audio: they are taken
    out of the stream, so that memory does not grow with the recording."""
    for _ in _heard(stream, recording, words, on_audio):
        logits: NDArray[np.float32] = stream.take_logits()
        if not np.isfinite(logits).all():
            raise ModelFormatError(
                f"{engine.directory}: computes numbers that are not finite on {recording.path}; run "
                f"`voxtral-edge verify {engine.directory}`"
            )
        yield logits
