"""Who spoke when, as a list of turns; its RTTM form; and speakers for words."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from voxtral_edge.errors import UsageError


@dataclass(frozen=True, slots=True)
class Turn:
    """`speaker` talks from `start` to `end`, in seconds."""

    start: float
    end: float
    speaker: str


def joined_turns(turns: Iterable[Turn], gap_s: float = 0.0) -> list[Turn]:
    """Turns in order of time, where a speaker's neighbouring turns with at most `gap_s` of silence between them are
    one."""
    result: list[Turn] = []
    for turn in sorted(turns, key=lambda turn: (turn.start, turn.end)):
        last = result[-1] if result else None
        if last is not None and last.speaker == turn.speaker and turn.start - last.end <= gap_s + 1e-9:
            result[-1] = Turn(last.start, max(last.end, turn.end), last.speaker)
        else:
            result.append(turn)
    return result


def speaker_of(turns: Sequence[Turn], start: float, end: float, within_s: float = 0.5) -> str | None:
    """The speaker who talks most between `start` and `end`; if nobody does, whose turn is nearest, at most `within_s`
    seconds away; else None. The earlier turn wins a tie."""
    overlaps: dict[str, float] = {}
    nearest, distance = None, math.inf
    for turn in turns:
        overlap = min(end, turn.end) - max(start, turn.start)
        if overlap > 0:
            overlaps[turn.speaker] = overlaps.get(turn.speaker, 0.0) + overlap
        elif -overlap < distance:
            nearest, distance = turn.speaker, -overlap
    if overlaps:
        return max(overlaps, key=lambda speaker: overlaps[speaker])
    return nearest if distance <= within_s else None


def speakers_of(
    turns: Sequence[Turn], spans: Sequence[tuple[float, float]], within_s: float = 0.5
) -> list[str | None]:
    """`speaker_of` for many spans (start, end); turns in order of time that do not overlap. Fast for hours of both."""
    ends = [turn.end for turn in turns]
    starts = [turn.start for turn in turns]
    result = []
    for start, end in spans:
        first = max(0, bisect.bisect_left(ends, start - within_s) - 1)
        last = bisect.bisect_right(starts, end + within_s) + 1
        result.append(speaker_of(turns[first:last], start, end, within_s))
    return result


def to_rttm(turns: Iterable[Turn], recording: str) -> str:
    """NIST's Rich Transcription Time Marked lines, one per turn; white space in names becomes an underscore."""
    name = "_".join(recording.split()) or "audio"
    lines = []
    for turn in turns:
        speaker = "_".join(turn.speaker.split()) or "speaker"
        lines.append(
            f"SPEAKER {name} 1 {turn.start:.3f} {max(0.0, turn.end - turn.start):.3f} <NA> <NA> {speaker} <NA> <NA>\n"
        )
    return "".join(lines)


def read_rttm(path: Path) -> dict[str, list[Turn]]:
    """The turns of each recording in an RTTM file. UsageError for a line that is not RTTM."""
    recordings: dict[str, list[Turn]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split()
        if (
            not fields or fields[0] != "SPEAKER"
        ):  # other RTTM objects (SPKR-INFO, LEXEME) say nothing about turns
            continue
        try:
            start, duration = float(fields[3]), float(fields[4])
            speaker = fields[7]
        except (IndexError, ValueError) as error:
            raise UsageError(f"{path}, line {number}: not an RTTM SPEAKER line: {line[:80]!r}") from error
        recordings.setdefault(fields[1], []).append(Turn(start, start + duration, speaker))
    return recordings
