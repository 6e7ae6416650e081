"""One progress line on stderr: done, rate, time left. Silent where stderr is not a terminal, unless asked."""

from __future__ import annotations

import sys
import time
from typing import TextIO

# A line per this many seconds: often enough to see life, seldom enough to cost nothing and to keep logs
# short.
_BAR_SECONDS, _PLAIN_SECONDS = 0.1, 5.0
_BAR_WIDTH = 24


class Progress:
    """style: "auto" (bar on a terminal, else silent), "bar", "plain" (one line now and then), "none".

    Amounts are bytes, or, with `audio`, seconds of audio.
    """

    def __init__(
        self, total: int, label: str, style: str = "auto", stream: TextIO | None = None, audio: bool = False
    ) -> None:
        self._describe = describe_audio if audio else describe
        self._total, self._label, self._stream = max(1, total), label, stream or sys.stderr
        if style == "auto":
            style = "bar" if self._stream.isatty() else "none"
        self._style, self._done = style, 0
        self._start = self._shown = time.monotonic()

    def advance(self, amount: int) -> None:
        """`amount` more of `total` are done."""
        self._done += amount
        now = time.monotonic()
        if now - self._shown >= (_BAR_SECONDS if self._style == "bar" else _PLAIN_SECONDS):
            self._shown = now
            self._show(now)

    def finish(self) -> None:
        """Draw the last state and leave the line."""
        self._show(time.monotonic())
        if self._style == "bar":
            print(file=self._stream)

    def abandon(self) -> None:
        """Leave the line without claiming the end."""
        if self._style == "bar":
            print(file=self._stream)

    def _show(self, now: float) -> None:
        if self._style == "none":
            return
        text = self._describe(self._done, self._total, now - self._start)
        if self._style == "plain":
            print(f"{self._label}: {text}", file=self._stream, flush=True)
            return
        filled = _BAR_WIDTH * min(self._done, self._total) // self._total
        bar = "#" * filled + "-" * (_BAR_WIDTH - filled)
        print(f"\r{self._label} [{bar}] {text}\x1b[K", end="", file=self._stream, flush=True)


def describe(done: int, total: int, seconds: float) -> str:
    """ "42 %  1.05/2.49 GB  61 MB/s  0:23 left"."""
    rate = done / seconds if seconds > 0 else 0.0
    left = f"{duration((total - done) / rate)} left" if rate > 0 else "-:-- left"
    return f"{100 * done // total:3d} %  {done / 1e9:.2f}/{total / 1e9:.2f} GB  {rate / 1e6:.0f} MB/s  {left}"


def describe_audio(done: int, total: int, seconds: float) -> str:
    """ "42 %  4:12 of 10:00  6:31 left"."""
    left = f"{duration(seconds * (total - done) / done)} left" if done > 0 else "-:-- left"
    return f"{100 * done // total:3d} %  {duration(done)} of {duration(total)}  {left}"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
