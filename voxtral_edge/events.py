"""What a stream reports while it listens. Events are values: nothing in them changes later.

Text is append-only: the concatenation of all `TextEvent.text` is the transcript, and nothing is ever
retracted. Times are seconds on the time line of the audio that was fed (0.0 is its first sample).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from voxtral_edge.listen.live_events import ListenEvent


@dataclass(frozen=True, slots=True)
class TextEvent:
    """New text, valid UTF-8, to be appended to what came before.

    `token` is the index (from 0, prompt excluded) of the generated token that completed it; one token is 80
    ms.
    """

    type: ClassVar[str] = "text"
    text: str
    token: int


@dataclass(frozen=True, slots=True)
class WordEvent:
    """A finished word. `end` is known to about ±80 ms, `start` is an estimate; `probability` is in 0..1 and
    is the geometric mean over the word's tokens; `token` is the index of its last token. `speaker` is who says it
    as far as known now, in a stream that tells speakers apart; a later `SpeakerEvent` may correct it."""

    type: ClassVar[str] = "word"
    text: str
    start: float
    end: float
    probability: float
    token: int
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class SegmentEvent:
    """The model marked the end of a segment (its end-of-sequence token) at `time` seconds. The stream goes
    on."""

    type: ClassVar[str] = "segment"
    time: float


@dataclass(frozen=True, slots=True)
class SpeakerEvent:
    """`speaker` talks from `start` to `end`. Only in a stream that tells speakers apart.

    Not `final`: a turn began, or was given to another speaker than was reported before; `end` is what has been heard
    of it. It replaces what was reported for that time. `final`: will not change again; the final events, which come
    in order of time and do not overlap, are all the turns of the stream.
    """

    type: ClassVar[str] = "speaker"
    start: float
    end: float
    speaker: str
    final: bool


@dataclass(frozen=True, slots=True)
class FinalEvent:
    """The stream was finished: `text` is the whole transcript. Comes exactly once, last."""

    type: ClassVar[str] = "final"
    text: str


Event = TextEvent | WordEvent | SegmentEvent | SpeakerEvent | FinalEvent

_EVENT_TYPES: dict[str, type[Any]] = {
    kind.type: kind for kind in (TextEvent, WordEvent, SegmentEvent, SpeakerEvent, FinalEvent)
}


def event_from_dict(values: Mapping[str, Any]) -> Event:
    """The event that a dict of the native module (or a line of `--format jsonl`) describes; keys that this
    version does not know are ignored. ValueError for an unknown type or a missing key."""
    kind = _EVENT_TYPES.get(str(values.get("type")))
    if kind is None:
        raise ValueError(
            f"unknown event type {values.get('type')!r}; known: {', '.join(sorted(_EVENT_TYPES))}"
        )
    try:
        event: Event = kind(
            **{
                field.name: values[field.name]
                for field in fields(kind)
                if field.name in values or field.default is MISSING
            }
        )
    except KeyError as missing:
        raise ValueError(f"event of type {values['type']!r} lacks {missing}") from None
    return event


def event_to_dict(event: ListenEvent) -> dict[str, Any]:
    """A JSON-ready dict with the key "type" first; `event_from_dict` turns it back. Where speakers are not told apart
    there is no key "speaker"."""
    return {"type": event.type, **asdict(event, dict_factory=_without_no_speaker)}


def _without_no_speaker(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in items if (key, value) != ("speaker", None)}


def json_line(values: Mapping[str, Any]) -> str:
    """A line of `--format jsonl`, without its end: times in milliseconds and probabilities in four digits, as in the
    other formats; not 0.9743013381958008."""
    return json.dumps(_short(values), ensure_ascii=False)


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, Mapping):
        return {key: _short(item) for key, item in value.items()}
    return [_short(item) for item in value] if isinstance(value, (list, tuple)) else value
