"""A sound card's clock against the system's: measured, and taken out of the times of events.

Samples are counted by the card's crystal, which is off by up to 200 ppm (17 s a day). No sample is added or dropped
for it, and none is resampled: the model does not notice 200 ppm, a time of day does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Any

import numpy as np

from voxtral_edge.listen.time_map import with_times

_WINDOW_S = 10.0
_HISTORY = 360  # windows that the line is fitted to: one hour, so that warming up is followed
_LEAST_WINDOWS = 6  # before any correction; noise of 1 ms is 23 ppm then
_REPORTED_WINDOWS = 30  # before the rate is shown; 2 ppm
# Corrections change by this much per second at most: half a millisecond in a word.
_MOST_SLEW = 1e-3
# Samples that the card itself lost: a step that two windows confirm, well above any jitter of their minima.
_STEP_S = 0.06
_REMEMBERED_S = 120.0  # events come a few seconds behind the audio


class ClockDrift:
    """Follows how much later a source's samples come than their number says.

    A sample comes some latency after it was captured, never before: the smallest difference between arrival and
    sample count within ten seconds is free of what the machine was doing meanwhile, and a line through these minima is
    the drift. Times are seconds; a source's own are sample counts divided by its rate.
    """

    def __init__(self) -> None:
        self._begun_s = 0.0
        self._window_end_s: float | None = None
        self._least = (0.0, float("inf"))  # (source's time, lateness) of this window's minimum
        self._minima: deque[tuple[float, float]] = deque(maxlen=_HISTORY)
        self._suspected = False  # the last window was a step beyond the line
        self._reference_s = 0.0  # lateness at the beginning: the latency
        self._slope = 0.0
        # The correction is a chain of straight pieces; a piece never changes once it has begun.
        self._starts, self._values, self._slopes = [0.0], [0.0], [0.0]

    @property
    def ppm(self) -> float | None:
        """How much faster the source's clock runs, in parts per million; None until five minutes are known."""
        return -self._slope * 1e6 if len(self._minima) >= _REPORTED_WINDOWS else None

    def observe(self, source_s: float, now_s: float) -> None:
        """So much had come from the source at this moment of the system's monotonic clock. Call it often: only the
        promptest of each ten seconds counts."""
        if self._window_end_s is None:
            self._begun_s, self._window_end_s = now_s, now_s + _WINDOW_S
        lateness = now_s - self._begun_s - source_s
        if lateness < self._least[1]:
            self._least = (source_s, lateness)
        if now_s >= self._window_end_s:
            self._close_window(source_s)
            self._window_end_s = now_s + _WINDOW_S
            self._least = (0.0, float("inf"))

    def real(self, source_s: float) -> float:
        """A time of the source's on the system's clock; both begin with the session."""
        piece = max(0, bisect_right(self._starts, source_s) - 1)
        return source_s + self._values[piece] + self._slopes[piece] * (source_s - self._starts[piece])

    def moved(self, event: Any) -> Any:
        """The event at the system clock's times."""
        return with_times(event, self.real, self.real)

    def _close_window(self, source_s: float) -> None:
        if not self._minima:
            self._reference_s = self._least[1]
        predicted = self._predicted(self._least[0]) if len(self._minima) >= _LEAST_WINDOWS else self._least[1]
        step = self._least[1] - predicted
        if abs(step) > _STEP_S and not self._suspected:
            self._suspected = True  # one window may have had no prompt moment at all
            return
        if self._suspected and abs(step) > _STEP_S:
            self._minima = deque(((at, late + step) for at, late in self._minima), maxlen=_HISTORY)
            self._begin_piece(source_s, jump_s=step)
        self._suspected = False
        self._minima.append(self._least)
        if len(self._minima) >= _LEAST_WINDOWS:
            self._fit()
            self._begin_piece(source_s)

    def _fit(self) -> None:
        at, late = np.array(self._minima).T
        middle = at - at.mean()
        self._slope = float(middle @ (late - late.mean()) / (middle @ middle))
        self._centre = (float(at.mean()), float(late.mean()))

    def _predicted(self, source_s: float) -> float:
        return self._centre[1] + self._slope * (source_s - self._centre[0])

    def _begin_piece(self, source_s: float, jump_s: float = 0.0) -> None:
        """From here on towards where the line will be a window later."""
        value = self.real(source_s) - source_s + jump_s
        target = self._predicted(source_s + _WINDOW_S) - self._reference_s
        slope = 0.0 if jump_s else max(-_MOST_SLEW, min(_MOST_SLEW, (target - value) / _WINDOW_S))
        self._starts.append(source_s)
        self._values.append(value)
        self._slopes.append(slope)
        old = max(0, bisect_right(self._starts, source_s - _REMEMBERED_S) - 1)
        del self._starts[:old], self._values[:old], self._slopes[:old]
