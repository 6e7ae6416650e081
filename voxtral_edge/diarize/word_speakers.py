"""Speakers for the words of a transcription stream: the diariser beside the transcriber, on one clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.audio import PcmArray
from voxtral_edge.diarize.diarizer import OnlineDiarizer
from voxtral_edge.events import Event, FinalEvent, SpeakerEvent, WordEvent
from voxtral_edge.live_step import TOKEN_SAMPLES


class WordSpeakers:
    """Adds `speaker` to a stream's word events, and the diariser's events between them.

    A word is labelled with what can be known from the audio the model had heard when it wrote the word, however much
    of the audio was fed at once: the diariser follows the model's tokens, not the calls. Audio that the model has
    heard and the diariser has not is kept: less than one delay.
    """

    def __init__(self, diarizer: OnlineDiarizer, delay_tokens: int) -> None:
        self._diarizer = diarizer
        self._delay_tokens = delay_tokens
        self.reset()

    def reset(self) -> None:
        """Begins a new stream."""
        self._diarizer.reset()
        self._waiting: list[NDArray[np.float32] | NDArray[np.int16]] = []
        self._fed = self._done = 0
        self._inserted = 0  # samples of silence that flushes have put in

    def take(self, pcm: PcmArray) -> None:
        """Keeps audio that the transcriber is given, in the same order."""
        if len(pcm):
            # A copy: the caller may use the buffer again before the model catches up.
            self._waiting.append(pcm.copy())
            self._fed += len(pcm)

    def label(self, events: Iterable[Event], generated_tokens: int) -> list[Event]:
        """The transcriber's events after a feed, with speakers. `generated_tokens`: how many there are now."""
        result: list[Event] = []
        for event in events:
            if isinstance(event, WordEvent):
                result += self._advance(self._heard_at(event.token))
                event = replace(event, speaker=self._diarizer.speaker_at(event.start, event.end))
            elif isinstance(event, FinalEvent):
                result += self._advance(self._fed)
                result += self._diarizer.finish()
            result.append(event)
        result += self._advance(self._heard_at(generated_tokens - 1))
        return result

    def flushed(self, events: Iterable[Event], generated_tokens: int) -> list[Event]:
        """As `label`, after a flush: all audio counts as heard, and later tokens are as much later."""
        result = self.label(events, generated_tokens)
        result += self._advance(self._fed)
        self._inserted += max(0, self._heard_at(generated_tokens - 1) - self._fed)
        return result

    def _heard_at(self, token: int) -> int:
        """Samples that the model needs for a token."""
        return (token + 1 + self._delay_tokens) * TOKEN_SAMPLES - self._inserted

    def _advance(self, sample: int) -> list[SpeakerEvent]:
        """Gives the diariser the audio before a sample."""
        events: list[SpeakerEvent] = []
        while self._waiting and self._done < sample:
            block = self._waiting[0]
            count = min(len(block), sample - self._done)
            events += self._diarizer.feed(block[:count])
            self._done += count
            if count == len(block):
                del self._waiting[0]
            else:
                self._waiting[0] = block[count:]
        return events
