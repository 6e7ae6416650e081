"""What live listening reports beyond a stream's own events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from voxtral_edge.events import Event, event_from_dict
from voxtral_edge.results import Word


@dataclass(frozen=True, slots=True)
class CaptionEvent:
    """A stretch of text is complete and can be shown as one subtitle: the utterance ended, or a line was full. Times
    in seconds of the recording; `speaker` where speakers are told apart."""

    type: ClassVar[str] = "caption"
    text: str
    start: float
    end: float
    words: tuple[Word, ...] = ()
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class GapEvent:
    """Audio from `start` to `end` (seconds of the recording) was dropped and never heard by the model, because the
    device is slower than real time. Words before and after keep their true times."""

    type: ClassVar[str] = "gap"
    start: float
    end: float


def listen_event_from_dict(values: Mapping[str, Any]) -> ListenEvent:
    """The event that a line of `voxtral-edge listen --format jsonl` describes; ValueError as in
    `voxtral_edge.events.event_from_dict`."""
    try:
        if values.get("type") == CaptionEvent.type:
            words = tuple(Word(**word) for word in values["words"])
            return CaptionEvent(values["text"], values["start"], values["end"], words, values.get("speaker"))
        if values.get("type") == GapEvent.type:
            return GapEvent(values["start"], values["end"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"event of type {values['type']!r} is incomplete: {error}") from None
    return event_from_dict(values)


ListenEvent = Event | CaptionEvent | GapEvent
