"""Speakers of words on the transcriber's clock: what the diariser has heard when it is asked about a word."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.diarize import OnlineDiarizer
from voxtral_edge.diarize.word_speakers import TOKEN_SAMPLES, WordSpeakers
from voxtral_edge.events import FinalEvent, SpeakerEvent, WordEvent

DELAY = 6


class _Diarizer:
    """Counts what it hears; `asked` has the samples that were known each time."""

    def __init__(self) -> None:
        self.heard = np.zeros(0, np.float32)
        self.asked: list[int] = []

    def feed(self, pcm: NDArray[np.float32]) -> list[SpeakerEvent]:
        self.heard = np.concatenate([self.heard, pcm])
        return []

    def speaker_at(self, start: float, end: float) -> str:
        self.asked.append(len(self.heard))
        return "S1"

    def finish(self) -> list[SpeakerEvent]:
        return []

    def reset(self) -> None:
        pass


def labelled(tokens: int) -> tuple[WordSpeakers, _Diarizer]:
    """`tokens` tokens of audio, taken and not heard."""
    diarizer = _Diarizer()
    speakers = WordSpeakers(cast(OnlineDiarizer, diarizer), DELAY)
    speakers.take(np.ones(tokens * TOKEN_SAMPLES, np.float32))
    return speakers, diarizer


def word(token: int) -> WordEvent:
    return WordEvent("word", 0.1, 0.2, 1.0, token)


def test_a_word_is_labelled_with_what_the_model_had_heard() -> None:
    speakers, diarizer = labelled(30)
    (event,) = speakers.label([word(5)], 9)
    assert isinstance(event, WordEvent) and event.speaker == "S1"
    assert diarizer.asked == [(5 + 1 + DELAY) * TOKEN_SAMPLES]
    assert len(diarizer.heard) == (9 + DELAY) * TOKEN_SAMPLES
    speakers.label([FinalEvent("")], 30)
    assert len(diarizer.heard) == 30 * TOKEN_SAMPLES


def test_tokens_behind_a_flush_are_as_much_later() -> None:
    speakers, diarizer = labelled(10)
    speakers.flushed([], 21)  # 17 tokens of silence
    assert len(diarizer.heard) == 10 * TOKEN_SAMPLES
    speakers.take(np.ones(10 * TOKEN_SAMPLES, np.float32))
    speakers.label([word(22)], 23)
    assert diarizer.asked == [(22 + 1 + DELAY - 17) * TOKEN_SAMPLES]


def test_the_caller_may_use_its_buffer_again() -> None:
    diarizer = _Diarizer()
    speakers = WordSpeakers(cast(OnlineDiarizer, diarizer), DELAY)
    buffer = np.full(TOKEN_SAMPLES, 0.5, np.float32)
    speakers.take(buffer)
    buffer[:] = 0
    speakers.label([], 1)
    assert (diarizer.heard == 0.5).all() and len(diarizer.heard) == TOKEN_SAMPLES
