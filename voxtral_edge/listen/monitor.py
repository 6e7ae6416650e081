"""The engine's life as one line of glyphs: `voxtral-edge listen --monitor`."""

from __future__ import annotations

from voxtral_edge.events import SegmentEvent, TextEvent, WordEvent
from voxtral_edge.listen.listener import ListenStep
from voxtral_edge.listen.live_events import CaptionEvent, GapEvent
from voxtral_edge.live_step import TOKEN_MS

SILENT, TEXT, WORD, MARK, CAPTION, GAP, CATCH_UP, SLOW = "·", "▪", "|", "¶", "↵", "×", "»", "!"
LEGEND = (
    (SILENT, "80 ms decoded, nothing to write"),
    (TEXT, "a text token"),
    (WORD, "a word is complete"),
    (MARK, "the model marks the end of a segment"),
    (CAPTION, "a caption is complete"),
    (CATCH_UP, "behind: the tokens that follow went through in one pass"),
    (SLOW, "a pass slower than real time (more than 80 ms per token)"),
    (GAP, "audio was dropped"),
)
_KINDS = {SegmentEvent: MARK, CaptionEvent: CAPTION, GapEvent: GAP}


def glyphs(step: ListenStep) -> str:
    """The glyphs of one step, in the order of its events."""
    status = step.status
    line = GAP * sum(isinstance(event, GapEvent) for event in step.events)
    if status.behind:
        line += CATCH_UP
    if status.tokens and status.step_ms > TOKEN_MS:
        line += SLOW
    texts = sum(isinstance(event, TextEvent) for event in step.events)
    line += SILENT * max(0, status.tokens - texts)
    for event in step.events:
        if isinstance(event, TextEvent):
            line += TEXT
        elif isinstance(event, WordEvent):
            line += WORD
        elif isinstance(event, (SegmentEvent, CaptionEvent)):
            line += _KINDS[type(event)]
    return line
