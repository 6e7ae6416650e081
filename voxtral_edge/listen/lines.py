"""A live session where there is no terminal: lines on standard output, and a summary for both displays."""

from __future__ import annotations

import sys

from voxtral_edge.events import event_to_dict, json_line
from voxtral_edge.listen.listener import ListenStep
from voxtral_edge.listen.live_events import CaptionEvent, GapEvent
from voxtral_edge.listen.monitor import glyphs
from voxtral_edge.listen.screen import clock


class Summary:
    """What a session's last line says."""

    def __init__(self) -> None:
        self._last = ListenStep()
        self._worst_lag_s = 0.0
        self._tokens = 0
        self._busy_ms = 0.0

    def take(self, step: ListenStep) -> None:
        """Counts a step."""
        self._last = step
        self._worst_lag_s = max(self._worst_lag_s, step.status.lag_s)
        self._tokens += step.status.tokens
        self._busy_ms += step.status.tokens * step.status.step_ms

    @property
    def heard(self) -> bool:
        """Whether any audio came."""
        return self._tokens > 0

    def text(self) -> str:
        """One line."""
        status = self._last.status
        if not self.heard:
            return "heard nothing"
        parts = [f"heard {clock(status.heard_s)}", f"worst lag {self._worst_lag_s:.2f} s"]
        parts.append(f"{self._busy_ms / self._tokens:.1f} ms per 80 ms step")
        if status.dropped_s:
            parts.append(f"dropped {status.dropped_s:.2f} s")
        if status.overruns:
            parts.append(f"{status.overruns} device overruns")
        if status.drift_ppm is not None:
            parts.append(f"clock of the sound card {status.drift_ppm:+.0f} ppm")
        return ", ".join(parts)


class Lines:
    """Not a terminal: captions, or events, line by line on standard output; everything else on standard
    error."""

    def __init__(self, as_json: bool, monitor: bool) -> None:
        self._json = as_json
        self._monitor = monitor

    def show(self, step: ListenStep) -> None:
        """Prints what a step brought."""
        for event in step.events:
            if self._json:
                print(json_line(event_to_dict(event)), flush=True)
            elif isinstance(event, CaptionEvent):
                print(f"{event.speaker}: {event.text}" if event.speaker else event.text, flush=True)
            elif isinstance(event, GapEvent):
                said = f"{event.end - event.start:.2f} s not heard at {clock(event.start)}: too slow"
                print(f"voxtral-edge: warning: {said}", file=sys.stderr, flush=True)
        if self._monitor:
            print(glyphs(step), end="", file=sys.stderr, flush=True)

    def ending(self) -> None:
        """Nothing to say: the rest is printed as it comes."""

    def close(self, summary: str = "") -> None:
        """Prints the summary."""
        if self._monitor:
            print(file=sys.stderr)
        if summary:
            print(f"voxtral-edge: {summary}", file=sys.stderr, flush=True)
