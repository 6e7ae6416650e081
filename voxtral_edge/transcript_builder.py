"""Events of a whole recording, put together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from voxtral_edge.events import Event, SegmentEvent, SpeakerEvent, WordEvent
from voxtral_edge.results import SUBTITLE_LIMITS, SegmentLimits, Transcript, Word, segments_from_words
from voxtral_edge.stream import Stream


class TranscriptBuilder:
    """Collects a stream's events into a `Transcript`; `limits` say when a segment is full."""

    def __init__(self, limits: SegmentLimits = SUBTITLE_LIMITS) -> None:
        self._limits = limits
        self._words: list[Word] = []
        self._breaks: list[float] = []
        self._turns: list[SpeakerEvent] = []

    def take(self, events: Iterable[Event]) -> None:
        """Keeps the words, segment marks and final speakers among `events`."""
        for event in events:
            if isinstance(event, WordEvent):
                word = Word(event.text, event.start, event.end, event.probability, event.speaker)
                self._words.append(word)
            elif isinstance(event, SpeakerEvent):
                if event.final:
                    self._turns.append(event)
            elif isinstance(event, SegmentEvent):
                self._breaks.append(event.time)

    def build(self, stream: Stream, duration_s: float, warnings: Iterable[str]) -> Transcript:
        """The transcript of what `stream` has heard in `duration_s` seconds."""
        text, words = stream.text, _with_final_speakers(self._words, self._turns)
        segments = segments_from_words(words, text, self._breaks, duration_s, self._limits)
        return Transcript(
            text, words, segments, stream.token_ids, duration_s, None, list(warnings), list(self._turns)
        )


def _with_final_speakers(words: list[Word], turns: list[SpeakerEvent]) -> list[Word]:
    """The words with the speakers of final turns in place of those that were known when they were written."""
    if not turns:
        return words
    from voxtral_edge.diarize.diarizer import WORD_REACH_S
    from voxtral_edge.diarize.turns import Turn, speakers_of

    spans = [(word.start, word.end) for word in words]
    speakers = speakers_of([Turn(t.start, t.end, t.speaker) for t in turns], spans, WORD_REACH_S)
    return [replace(word, speaker=speaker) for word, speaker in zip(words, speakers, strict=True)]
