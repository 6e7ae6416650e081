"""What live listening reports beyond a stream's own events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from voxtral_edge.events import Event
from voxtral_edge.results import Word


@dataclass(frozen=True, slots=True)
class CaptionEvent:
    """A stretch of text is complete and can be shown as one subtitle: the utterance ended, or a line was
    full.
    Times in seconds of the recording;
    `speaker` where speakers are told apart."""

    type: ClassVar[str] = "caption"
    text: str
    start: float
    end: float
    words: tuple[Word, ...] = ()
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class GapEvent:
    """Audio from `start` to `end` (seconds of the recording) was dropped and never heard by the model,
    because the
    device is too slower than real time. Words before and after keep their true times."""

    type: ClassVar[str] = "gap"
    start: float
    end: float


ListenEvent = Event | CaptionEvent | GapEvent
