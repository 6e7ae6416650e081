"""A transcript as txt, srt, vtt or JSON text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import groupby, zip_longest
from typing import Any

from voxtral_edge.line_breaks import joined, text_width, wrap_lines
from voxtral_edge.results import MAX_LINE_CHARACTERS, Segment, Transcript, Word

# The shortest time a subtitle stays: players drop or flash cues of zero length.
MIN_CUE_SECONDS = 0.08
# Where there is room, a cue stays as long as viewers need (broadcasters' guides: a second at least, 20
# characters per second for adults).
MIN_SHOWN_SECONDS = 1.0
READING_CHARACTERS_PER_SECOND = 20.0

# An indented word object, to be put on one line: an hour of speech has nine thousand of them.
_WORD_OBJECT = re.compile(
    r'\{\s+("text": "(?:[^"\\]|\\.)*"),\s+("start": \S+),\s+("end": \S+),\s+("probability": [^\s,}]+)'
    r'(?:,\s+("speaker": "(?:[^"\\]|\\.)*"))?\s+\}'
)


def to_txt(transcript: Transcript, words: bool = False) -> str:
    """The plain text and a line end; with `words`, one line per word: start, end (seconds) and word,
    tab-separated. Where speakers were told apart, a line per turn, `S1: …`, and a fourth column."""
    told_apart = any(segment.speaker for segment in transcript.segments)
    if words:
        rows = [[f"{word.start:.2f}", f"{word.end:.2f}", word.text] for word in transcript.words]
        for row, word in zip(rows, transcript.words if told_apart else (), strict=False):
            row.append(word.speaker or "")
        return "".join("\t".join(row) + "\n" for row in rows)
    if told_apart:
        turns = groupby(transcript.segments, key=lambda segment: segment.speaker)
        return "".join(
            f"{speaker or '?'}: {joined(segment.text for segment in segments)}\n"
            for speaker, segments in turns
        )
    return transcript.text.strip() + "\n"


def to_srt(transcript: Transcript, width: int = MAX_LINE_CHARACTERS) -> str:
    """SubRip: numbered cues, CRLF-free, lines of at most `width` characters. Empty if there is no text."""
    cues = []
    for number, (segment, start, end) in enumerate(_cues(transcript), 1):
        lines = "\n".join(wrap_lines(_srt_text(_with_speaker(segment)), width))
        cues.append(f"{number}\n{clock(start, ',')} --> {clock(end, ',')}\n{lines}\n")
    return "\n".join(cues)


def to_vtt(transcript: Transcript, words: bool = False, width: int = MAX_LINE_CHARACTERS) -> str:
    """WebVTT; with `words`, each word after the first carries its start time as an inline time stamp."""
    cues = ["WEBVTT\n"]
    for segment, start, end in _cues(transcript):
        body = (
            _vtt_words(segment, start, end, width)
            if words and segment.words
            else _vtt_lines(segment.text, width)
        )
        voice = f"<v {_vtt_escape(segment.speaker)}>" if segment.speaker else ""
        cues.append(f"{clock(start, '.')} --> {clock(end, '.')}\n{voice}{body}\n")
    return "\n".join(cues)


def to_dict(transcript: Transcript, **about: Any) -> dict[str, Any]:
    """A JSON-ready dict: `about` first (file, model, …), then duration_s, language, text, segments with
    words."""
    result: dict[str, Any] = dict(about)
    result["duration_s"] = round(transcript.duration_s, 3)
    result["language"] = transcript.language
    result["text"] = transcript.text.strip()
    result["segments"] = [
        {
            "start": round(segment.start, 3),
            "end": round(segment.end, 3),
            "text": segment.text,
            **({"speaker": segment.speaker} if segment.speaker else {}),
            "words": [_word_dict(word) for word in segment.words],
        }
        for segment in transcript.segments
    ]
    if transcript.turns:
        result["turns"] = [
            {"start": round(turn.start, 3), "end": round(turn.end, 3), "speaker": turn.speaker}
            for turn in transcript.turns
        ]
    if transcript.warnings:
        result["warnings"] = list(transcript.warnings)
    return result


def to_json(documents: Iterable[dict[str, Any]], as_list: bool) -> str:
    """One document, or a list of them, as indented JSON text that ends with a line end."""
    collected = list(documents)
    text = json.dumps(collected if as_list else collected[0], ensure_ascii=False, indent=2)
    return _WORD_OBJECT.sub(lambda match: "{" + ", ".join(filter(None, match.groups())) + "}", text) + "\n"


def clock(seconds: float, decimal_mark: str) -> str:
    """HH:MM:SS and milliseconds after `decimal_mark` (',' in srt, '.' in vtt); hours may pass 99."""
    milliseconds = max(0, round(seconds * 1000))
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole, fraction = divmod(rest, 1000)
    return f"{hours:02d}:{minutes:02d}:{whole:02d}{decimal_mark}{fraction:03d}"


def cue_times(segment: Segment, next_start_s: float | None = None) -> tuple[float, float]:
    """Start and end of the segment's cue, in seconds: from its first word on, and as long as it takes to read it, but
    not into the next cue, and never shorter than it was said."""
    start = max(0.0, segment.start)
    readable = start + max(MIN_SHOWN_SECONDS, text_width(segment.text) / READING_CHARACTERS_PER_SECOND)
    if next_start_s is not None:
        readable = min(readable, next_start_s)
    return start, max(segment.end, readable, start + MIN_CUE_SECONDS)


def _cues(transcript: Transcript) -> list[tuple[Segment, float, float]]:
    following = [segment.start for segment in transcript.segments[1:]]
    return [
        (segment, *cue_times(segment, next_start))
        for segment, next_start in zip_longest(transcript.segments, following)
    ]


def _word_dict(word: Word) -> dict[str, Any]:
    values: dict[str, Any] = {
        "text": word.text,
        "start": round(word.start, 3),
        "end": round(word.end, 3),
        "probability": round(word.probability, 4),
    }
    return {**values, "speaker": word.speaker} if word.speaker else values


def _with_speaker(segment: Segment) -> str:
    return f"{segment.speaker}: {segment.text}" if segment.speaker else segment.text


def _srt_text(text: str) -> str:
    """SubRip has no escapes: players read <b>, {\\an8} and the arrow as markup. Look-alikes keep the text
    readable."""
    return text.replace("-->", "→").replace("<", "‹").replace(">", "›").replace("{", "(").replace("}", ")")


def _vtt_escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _vtt_lines(text: str, width: int) -> str:
    return "\n".join(_vtt_escape(line) for line in wrap_lines(text, width))


def _vtt_words(segment: Segment, start: float, end: float, width: int) -> str:
    """The cue's lines with a time stamp before each word but the first. WebVTT wants the stamps strictly
    inside the cue and strictly increasing, so words that share a time share a stamp."""
    body = "\n".join(wrap_lines(segment.text, width))
    parts: list[str] = []
    cursor, previous = 0, start
    for index, word in enumerate(segment.words):
        at = body.find(word.text, cursor)
        if at < 0:  # a word that was split over two lines: it keeps its neighbour's time
            continue
        parts.append(_vtt_escape(body[cursor:at]))
        if index and previous < word.start < end and clock(word.start, ".") != clock(previous, "."):
            parts.append(f"<{clock(word.start, '.')}>")
            previous = word.start
        cursor = at + len(word.text)
        parts.append(_vtt_escape(word.text))
    parts.append(_vtt_escape(body[cursor:]))
    return "".join(parts)
