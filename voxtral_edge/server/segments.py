"""Segments as they become final, while words still come."""

from __future__ import annotations

from collections.abc import Sequence

from voxtral_edge.events import SegmentEvent, WordEvent
from voxtral_edge.results import Segment, Word, segments_from_words


class SegmentBuilder:
    """Groups words into segments as `segments_from_words` does, handing each out once no later word can
    change it. Keeps only the words of the segment that is still open."""

    def __init__(self) -> None:
        self._words: list[Word] = []
        self._marks: list[float] = []
        self._text = ""

    def add(self, text: str, words: Sequence[WordEvent], marks: Sequence[SegmentEvent]) -> list[Segment]:
        """Takes what became known and returns the segments that are final now."""
        self._text += text
        self._words += [
            Word(word.text, word.start, word.end, word.probability, word.speaker) for word in words
        ]
        self._marks += [mark.time for mark in marks]
        if not words:
            return []
        segments = segments_from_words(self._words, self._text, self._marks)
        for segment in segments[:-1]:
            self._drop(segment)
        return segments[:-1]

    def finish(self, duration_s: float) -> list[Segment]:
        """The remaining segments; afterwards the builder is empty."""
        segments = segments_from_words(self._words, self._text, self._marks, duration_s)
        self.__init__()  # type: ignore[misc]
        return segments

    def _drop(self, segment: Segment) -> None:
        self._words = self._words[len(segment.words) :]
        at = self._text.find(segment.text)
        if at >= 0:
            self._text = self._text[at + len(segment.text) :]
        self._marks = [mark for mark in self._marks if mark > segment.end]
