"""Segments, captions among them, that become complete while words still come."""

from __future__ import annotations

from collections.abc import Iterable

from voxtral_edge.events import SegmentEvent, TextEvent, WordEvent
from voxtral_edge.results import SUBTITLE_LIMITS, Segment, SegmentLimits, Word, segments_from_words


class SegmentBuilder:
    """Groups words into segments by `limits`, as `segments_from_words` does of all of them, and hands each out once
    no later word can change it. Keeps only the words of the one that is still open."""

    def __init__(self, limits: SegmentLimits = SUBTITLE_LIMITS) -> None:
        self._limits = limits
        self._words: list[Word] = []
        self._marks: list[float] = []
        self._text = ""

    def take(self, events: Iterable[object]) -> list[Segment]:
        """Takes what became known and returns the segments that are complete now."""
        new_words = False
        for event in events:
            if isinstance(event, TextEvent):
                self._text += event.text
            elif isinstance(event, WordEvent):
                self._words.append(Word(event.text, event.start, event.end, event.probability, event.speaker))
                new_words = True
            elif isinstance(event, SegmentEvent):
                self._marks.append(event.time)
        return self._complete()[:-1] if new_words else []

    def split_at(self, time_s: float) -> None:
        """No segment reaches over this moment."""
        self._marks.append(time_s)

    def end_utterance(self) -> list[Segment]:
        """The open segment is complete, too. Text whose word is not finished waits for it."""
        return self._complete(last=True) if self._words else []

    def finish(self, duration_s: float) -> list[Segment]:
        """What is left at the end of the audio; text without any words is one segment until `duration_s`."""
        return self._complete(last=True, duration_s=duration_s)

    def _complete(self, last: bool = False, duration_s: float | None = None) -> list[Segment]:
        """All segments of what is kept; forgets them, but for the open one if it is not the last."""
        segments = segments_from_words(self._words, self._text, self._marks, duration_s, self._limits)
        for segment in segments if last else segments[:-1]:
            self._words = self._words[len(segment.words) :]
            at = self._text.find(segment.text)
            if at >= 0:
                self._text = self._text[at + len(segment.text) :]
            self._marks = [mark for mark in self._marks if mark > segment.end]
        return segments
