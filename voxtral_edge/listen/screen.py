"""The terminal of a live session: captions scroll up, the open text grows below them, a status line stands
last.

`render` and its parts are pure functions of a `View`; `Screen` writes what they return, in place.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TextIO

from voxtral_edge.events import TextEvent
from voxtral_edge.line_breaks import text_width
from voxtral_edge.listen.key_echo import KeyEcho
from voxtral_edge.listen.listener import ListenStep, Status
from voxtral_edge.listen.live_events import CaptionEvent, GapEvent
from voxtral_edge.listen.monitor import glyphs
from voxtral_edge.live_step import TOKEN_MS

MIN_COLUMNS = 30
_FRAME_S = 1 / 15  # faster than anybody reads, slow enough for ssh
_INDENT = 8  # "  12:34  "
_SILENT_DB = -60.0
_WORD_S = 0.4

DIM, BOLD, RED, YELLOW, GREEN, CYAN = "2", "1", "38;5;203", "38;5;221", "38;5;114", "38;5;80"


@dataclass
class View:
    """What the live region shows."""

    delay_s: float
    open_text: str = ""
    open_since_s: float = 0.0
    status: Status = field(default_factory=Status)
    peak_db: float = _SILENT_DB
    ending: bool = False
    monitor: deque[str] | None = None


class Painter:
    """Adds colour where it is wanted."""

    def __init__(self, colour: bool) -> None:
        self.colour = colour

    def __call__(self, text: str, *styles: str) -> str:
        return f"\x1b[{';'.join(styles)}m{text}\x1b[0m" if self.colour and styles and text else text


def clock(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`."""
    minutes, second = divmod(int(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def bar(share: float, cells: int, style: str, paint: Painter) -> str:
    """A horizontal bar of `cells` characters, to half a character, on a thin track."""
    halves = round(max(0.0, min(1.0, share)) * cells * 2)
    filled = "━" * (halves // 2) + "╸" * (halves % 2)
    return paint(filled, style) + paint("─" * (cells - len(filled)), DIM)


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` columns, broken at spaces, and inside words where there are none. Not as
    subtitles are: a line must not change while words are added to the next."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if text_width(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if text_width(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    return lines


def caption_lines(start_s: float, text: str, columns: int, paint: Painter) -> list[str]:
    """A caption with the time it begins, wrapped."""
    stamp = paint(clock(start_s).rjust(_INDENT - 2) + "  ", DIM)
    wrapped = wrap(text, max(10, columns - _INDENT - 1))
    return [stamp + wrapped[0]] + [" " * _INDENT + line for line in wrapped[1:]]


def status_line(view: View, columns: int, paint: Painter) -> str:
    """Level, position, lag, step time; what does not fit is left out from the right."""
    status = view.status
    # Full scale clips; above -12 dBFS little room is left.
    loud = RED if view.peak_db > -3 else YELLOW if view.peak_db > -12 else GREEN
    lag_style = DIM if status.lag_s < 0.3 else YELLOW if status.lag_s < 1 else RED
    share = status.step_ms / TOKEN_MS
    step_style = GREEN if share < 0.8 else YELLOW if share < 1 else RED
    parts = [
        (12, bar(1 - view.peak_db / _SILENT_DB, 12, loud, paint)),
        _part(f"{clock(status.heard_s):>5}", paint, BOLD),
        _part(f"lag {status.lag_s:4.2f} s", paint, lag_style),
        _part(f"step {status.step_ms:5.1f} ms", paint, DIM),
        (8, bar(share, 8, step_style, paint)),
    ]
    if status.dropped_s:
        parts.append(_part(f"dropped {status.dropped_s:.1f} s", paint, RED))
    if status.overruns:
        parts.append(_part(f"overruns {status.overruns}", paint, RED))
    parts.append(_part("finishing …", paint, YELLOW) if view.ending else _part("Ctrl-C ends", paint, DIM))
    line, used = "  ", 2
    for width, painted in parts:
        if used + width + 2 > columns:
            break
        line += painted + "  "
        used += width + 2
    return line


def _part(text: str, paint: Painter, style: str) -> tuple[int, str]:
    return len(text), paint(text, style)


def render(view: View, columns: int, paint: Painter) -> list[str]:
    """The live region: open text with a cursor, the monitor if on, the status line."""
    columns = max(MIN_COLUMNS, columns)
    text = view.open_text.strip()
    lines = (
        caption_lines(view.open_since_s, text + "▌", columns, paint)
        if text
        else [" " * _INDENT + paint("▌", DIM)]
    )
    lines = [line.replace("▌", paint("▌", CYAN)) if text else line for line in lines]
    lines.append("")
    if view.monitor is not None:
        tail = "".join(view.monitor)[-(columns - 3) :]
        lines.append("  " + paint(tail, DIM))
    lines.append(status_line(view, columns, paint))
    return lines


class Screen:
    """Shows a session's steps on a terminal. `close` leaves the captions and the cursor as they belong."""

    def __init__(
        self,
        title: str,
        delay_s: float,
        monitor: bool = False,
        out: TextIO | None = None,
        colour: bool = True,
    ) -> None:
        self._out = sys.stdout if out is None else out
        self._paint = Painter(colour)
        self._view = View(delay_s, monitor=deque(maxlen=400) if monitor else None)
        self._gaps: deque[GapEvent] = deque()
        self._word_start_s = 0.0  # of the last word
        self._shown_lines = 0
        self._last_frame = 0.0
        self._echo = KeyEcho(self._out)
        self._out.write("\x1b[?25l\n  " + self._paint(title, BOLD) + "\n\n")
        self._draw()

    def show(self, step: ListenStep) -> None:
        """Takes one step; draws at most fifteen times a second unless a caption is complete."""
        view = self._view
        finished: list[str] = []
        for event in step.events:
            if isinstance(event, TextEvent):
                if not view.open_text.strip():
                    # About where its first word began; the caption will say exactly.
                    view.open_since_s = step.status.heard_s - view.delay_s - _WORD_S
                view.open_text += event.text
            elif isinstance(event, CaptionEvent):
                finished += self._gap_lines(event.start)
                said = f"{event.speaker}: {event.text}" if event.speaker else event.text
                finished += caption_lines(event.start, said, self._columns(), self._paint)
                at = view.open_text.find(event.text)
                view.open_text = view.open_text[at + len(event.text) :] if at >= 0 else ""
                # The word that completed this caption begins the next one.
                view.open_since_s = max(event.end, self._word_start_s)
            elif isinstance(event, GapEvent):
                self._gaps.append(event)
        if not view.open_text.strip():
            finished += self._gap_lines()
        if view.monitor is not None:
            view.monitor.extend(glyphs(step))
        view.status = step.status
        # The meter falls back slowly, as meters do: a peak of 80 ms could not be seen.
        view.peak_db = max(step.status.level_db, view.peak_db - 3.0, _SILENT_DB)
        if finished or time.monotonic() - self._last_frame >= _FRAME_S:
            self._draw(finished)

    def _gap_lines(self, before_s: float | None = None) -> list[str]:
        """Gaps wait for the text before them, which comes later, to be shown."""
        lines: list[str] = []
        while self._gaps and (before_s is None or self._gaps[0].start <= before_s):
            gap = self._gaps.popleft()
            said = f"⋯ {gap.end - gap.start:.1f} s not heard: this machine is too slow"
            plain = caption_lines(gap.start, said, self._columns(), Painter(False))
            lines += [self._paint(line, YELLOW) for line in plain]
        return lines

    def ending(self) -> None:
        """Ctrl-C was pressed; the rest is being decoded. A second one ends the process: the cursor and the terminal's
        ways are back before."""
        self._view.ending = True
        self._echo.restore()
        self._out.write("\x1b[?25h")
        self._draw()

    def close(self, summary: str = "") -> None:
        """Removes the live region, shows text that no caption took, and the summary."""
        left = self._view.open_text.strip()
        lines = caption_lines(self._view.open_since_s, left, self._columns(), self._paint) if left else []
        lines += self._gap_lines()
        self._erase()
        for line in [*lines, "", *(["  " + self._paint(summary, DIM)] if summary else [])]:
            self._out.write(line + "\n")
        self._out.write("\x1b[?25h")
        self._out.flush()
        self._echo.restore()

    def _draw(self, finished: list[str] | None = None) -> None:
        self._erase()
        lines = [*(finished or []), *render(self._view, self._columns(), self._paint)]
        self._out.write("\n".join(lines))
        self._shown_lines = len(lines) - len(finished or [])
        self._out.flush()
        self._last_frame = time.monotonic()

    def _erase(self) -> None:
        """Back to the first line of the live region, everything below removed."""
        if self._shown_lines > 1:
            self._out.write(f"\x1b[{self._shown_lines - 1}A")
        self._out.write("\r\x1b[J")
        self._shown_lines = 0

    def _columns(self) -> int:
        return max(MIN_COLUMNS, shutil.get_terminal_size().columns)
