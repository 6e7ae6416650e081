"""Transcripts: words, segments, and how words are grouped into segments fit for subtitles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from voxtral_edge.errors import UsageError
from voxtral_edge.events import SpeakerEvent
from voxtral_edge.line_breaks import joined, text_width, wrap_lines

# Subtitle practice (two lines of 42 characters, seven seconds at most, broadcasters' guides agree on all
# three). Counted in columns: 21 of Han or kana, for which guides say 13 to 16.
MAX_LINE_CHARACTERS = 42
MAX_SEGMENT_LINES = 2
MAX_SEGMENT_SECONDS = 7.0
# A silence between two words at which a listener hears a break; half of it inside a sentence is common.
SEGMENT_PAUSE_SECONDS = 0.55
# A full stop ends a segment only once there is a subtitle's worth to read: "Mr. Smith" must not become two.
MIN_SENTENCE_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class SegmentLimits:
    """When a segment is full or over: characters per line, lines, seconds, and the pause that ends it."""

    line_characters: int = MAX_LINE_CHARACTERS
    lines: int = MAX_SEGMENT_LINES
    seconds: float = MAX_SEGMENT_SECONDS
    pause_seconds: float = SEGMENT_PAUSE_SECONDS

    def __post_init__(self) -> None:
        for name in ("line_characters", "lines", "seconds", "pause_seconds"):
            if not getattr(self, name) > 0:
                raise UsageError(f"a segment's {name} is {getattr(self, name)}; every limit must be above 0")


SUBTITLE_LIMITS = SegmentLimits()

_SENTENCE_END = tuple(".!?…。！？｡।॥؟۔")
_CLOSING_QUOTES = "\"'”’»)]）」』"


@dataclass(frozen=True, slots=True)
class Word:
    """One word: `text` without white space around it, `start` ≤ `end` in seconds, `probability` in 0..1.

    `end` is known to about ±80 ms (the model marks it); `start` is an estimate. `speaker` says it, where speakers
    were told apart.
    """

    text: str
    start: float
    end: float
    probability: float
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of text that can be shown as one subtitle: `start` ≤ `end` in seconds, and its words. `speaker` says
    all of them, where speakers were told apart."""

    text: str
    start: float
    end: float
    words: tuple[Word, ...] = ()
    speaker: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Transcript:
    """Result of `Engine.transcribe`.

    text        the whole transcript
    words       every word with times
    segments    the words grouped for subtitles
    token_ids   generated token ids, one per 80 ms, prompt excluded
    duration_s  seconds of audio that were heard
    language    always None today: the model does not say which language it heard
    warnings    what was odd about the audio (a truncated file, samples that were no numbers or
                beyond any scale), in plain words
    turns       who spoke when, where speakers were told apart
    """

    text: str
    words: list[Word]
    segments: list[Segment]
    token_ids: list[int]
    duration_s: float
    language: str | None = None
    warnings: list[str] = field(default_factory=list)
    turns: list[SpeakerEvent] = field(default_factory=list)

    def __repr__(self) -> str:  # an hour has nine thousand words and forty-five thousand tokens
        return (
            f"<voxtral_edge.Transcript of {self.duration_s:.2f} s: {len(self.words)} words, "
            f"{len(self.segments)} segments, text {shortened(self.text)!r}>"
        )


def segments_from_words(
    words: Sequence[Word],
    text: str,
    breaks: Sequence[float] = (),
    duration_s: float | None = None,
    limits: SegmentLimits = SUBTITLE_LIMITS,
) -> list[Segment]:
    """Groups words into segments: at the model's own `breaks` (seconds), long pauses, sentence ends, and
    whenever the `limits` are reached (two lines of 42 characters, seven seconds).

    `text` is the transcript the words came from; segments are cut out of it, so that languages written
    without spaces keep their spelling. Without words, all of `text` is one segment from 0 to `duration_s`.
    """
    if not words:
        stripped = text.strip()
        return [Segment(stripped, 0.0, max(0.0, duration_s or 0.0))] if stripped else []
    spans = _locate(words, text)
    segments: list[Segment] = []
    first = 0
    for index in range(1, len(words) + 1):
        if index == len(words) or _must_break(words, spans, text, first, index, breaks, limits):
            segments.append(_segment(words, spans, text, first, index))
            first = index
    return segments


def shortened(text: str, characters: int = 40) -> str:
    """`text` without white space around it, its end replaced by … where it is longer."""
    text = text.strip()
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"


def _locate(words: Sequence[Word], text: str) -> list[tuple[int, int]]:
    """Where each word stands in `text`, as (first, past-the-end) characters; (-1, -1) if a word is not in
    it."""
    spans: list[tuple[int, int]] = []
    cursor = 0
    for word in words:
        at = text.find(word.text, cursor)
        if at < 0:
            return [(-1, -1)] * len(words)
        cursor = at + len(word.text)
        spans.append((at, cursor))
    return spans


def _slice(words: Sequence[Word], spans: Sequence[tuple[int, int]], text: str, first: int, last: int) -> str:
    """The text of words[first:last]: cut from the transcript where they were found there, else joined."""
    if spans[first][0] < 0:
        return joined(word.text for word in words[first:last])
    return text[spans[first][0] : spans[last - 1][1]]


def _segment(
    words: Sequence[Word], spans: Sequence[tuple[int, int]], text: str, first: int, last: int
) -> Segment:
    group = tuple(words[first:last])
    said = _slice(words, spans, text, first, last)
    return Segment(said, group[0].start, group[-1].end, group, group[0].speaker)


def _must_break(
    words: Sequence[Word],
    spans: Sequence[tuple[int, int]],
    text: str,
    first: int,
    index: int,
    breaks: Sequence[float],
    limits: SegmentLimits,
) -> bool:
    """Whether words[index] opens a new segment, given that the current one began at words[first]."""
    previous, word = words[index - 1], words[index]
    if word.speaker != previous.speaker or any(previous.end <= moment <= word.end for moment in breaks):
        return True
    if word.start - previous.end >= limits.pause_seconds:
        return True
    if word.end - words[first].start > limits.seconds:
        return True
    lines = wrap_lines(_slice(words, spans, text, first, index + 1), limits.line_characters)
    if len(lines) > limits.lines:
        return True
    so_far = _slice(words, spans, text, first, index)
    ends_sentence = previous.text.rstrip(_CLOSING_QUOTES).endswith(_SENTENCE_END)
    return ends_sentence and text_width(so_far) >= MIN_SENTENCE_CHARACTERS
