"""A progress line on stderr for long jobs over audio: position, real-time factor, time left."""

from __future__ import annotations

import sys
import time
from typing import TextIO

# Shorter recordings are done before anybody wonders.
LONG_AUDIO_SECONDS = 30.0
_TERMINAL_INTERVAL_S = 0.2
# Not a terminal (a log file): a whole line each time, so rarely.
_LOG_INTERVAL_S = 5.0


def minutes(seconds: float) -> str:
    """`M:SS`, or `H:MM:SS` from an hour up."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    if hours:
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
    return f"{rest // 60}:{rest % 60:02d}"


def progress_line(done_s: float, total_s: float | None, elapsed_s: float) -> str:
    """One line such as `12:31 of 1:00:00  21 %  RTF 0.42  ETA 19:56`; else position and RTF.

    RTF, the real-time factor, is seconds of work per second of audio: below 1 is faster than real time.
    """
    factor = elapsed_s / done_s if done_s > 0 else 0.0
    if not total_s:
        return f"{minutes(done_s)}  RTF {factor:.2f}"
    share = min(1.0, done_s / total_s)
    left = minutes(factor * max(0.0, total_s - done_s)) if done_s > 0 else "–"
    return f"{minutes(done_s)} of {minutes(total_s)}  {share:4.0%}  RTF {factor:.2f}  ETA {left}"


class Progress:
    """Prints progress to stderr: one line rewritten in place on a terminal, else a line now and then.

    total_s: seconds of audio, None if unknown; enabled: False shows nothing; label: shown first.
    """

    def __init__(
        self, total_s: float | None, enabled: bool, label: str = "", out: TextIO | None = None
    ) -> None:
        self._out = sys.stderr if out is None else out
        self._enabled = enabled
        self._terminal = enabled and self._out.isatty()
        self._total_s = total_s
        self._label = f"{label}  " if label else ""
        self._begun = time.monotonic()
        self._last = self._begun
        self._width = 0

    def update(self, done_s: float) -> None:
        """`done_s` seconds of audio are transcribed."""
        now = time.monotonic()
        if not self._enabled or now - self._last < (
            _TERMINAL_INTERVAL_S if self._terminal else _LOG_INTERVAL_S
        ):
            return
        self._last = now
        self._show(progress_line(done_s, self._total_s, now - self._begun))

    def finish(self, done_s: float) -> None:
        """Removes the line from a terminal; leaves a last line in a log."""
        if self._terminal:
            self._clear()
        elif self._enabled:
            self._show(progress_line(done_s, self._total_s, time.monotonic() - self._begun))

    def _show(self, line: str) -> None:
        text = self._label + line
        if self._terminal:
            self._out.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._out.write(text + "\n")
        self._out.flush()

    def _clear(self) -> None:
        if self._width:
            self._out.write("\r" + " " * self._width + "\r")
            self._out.flush()
            self._width = 0
