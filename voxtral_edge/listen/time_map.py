"""From the model's time line, which has no gaps, to the recording's, which does."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from voxtral_edge.events import SegmentEvent

# Words are reported a few seconds behind the audio at most: older gaps are only a sum.
_REMEMBERED_S = 120.0


class TimeMap:
    """Where audio was dropped. Times of events are moved so that they say when something was said."""

    def __init__(self) -> None:
        self._at: list[float] = []  # model time of each gap
        self._offset = [0.0]  # what to add before the first gap, then behind each

    @property
    def dropped_s(self) -> float:
        """Seconds dropped so far."""
        return self._offset[-1]

    def drop(self, model_s: float, seconds: float) -> None:
        """`seconds` of the recording are missing behind `model_s` seconds of fed audio."""
        if self._at and self._at[-1] == model_s:
            self._offset[-1] += seconds
            return
        self._at.append(model_s)
        self._offset.append(self._offset[-1] + seconds)
        old = bisect_left(self._at, model_s - _REMEMBERED_S)
        del self._at[:old], self._offset[:old]

    def real_start(self, model_s: float) -> float:
        """The recording's time of something that begins at `model_s`: at a gap, behind it."""
        return model_s + self._offset[bisect_right(self._at, model_s)]

    def real_end(self, model_s: float) -> float:
        """The recording's time of something that ends at `model_s`: at a gap, before it."""
        return model_s + self._offset[bisect_left(self._at, model_s)]

    def moved(self, event: Any) -> Any:
        """The event with the recording's times."""
        if not self._at and not self._offset[0]:
            return event
        return with_times(event, self.real_start, self.real_end)


def with_times(event: Any, start: Callable[[float], float], end: Callable[[float], float]) -> Any:
    """The event with `start` and `end` applied to its times, as far as it has any."""
    if isinstance(event, SegmentEvent):
        return replace(event, time=_milliseconds(end(event.time)))
    if hasattr(event, "start") and hasattr(event, "end"):
        # What a gap cuts in two keeps both ends.
        end_s = _milliseconds(end(event.end))
        return replace(event, start=min(_milliseconds(start(event.start)), end_s), end=end_s)
    return event


def _milliseconds(seconds: float) -> float:
    """As the stream's own times: 3.32, not 3.3200000000000003."""
    return round(seconds, 3)
