"""From a source's ring to whole 80 ms tokens at 16 kHz, and what happens when the decoder cannot keep up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.audio import SAMPLE_RATE_HZ, resampler
from voxtral_edge.errors import OverrunError, UsageError
from voxtral_edge.listen.clock_drift import ClockDrift
from voxtral_edge.listen.live_events import GapEvent
from voxtral_edge.listen.ring import PcmRing
from voxtral_edge.listen.sources import Source
from voxtral_edge.listen.time_map import TimeMap
from voxtral_edge.live_step import TOKEN_S, TOKEN_SAMPLES

POLICIES = ("keep", "skip")
# The decoder polls: a lock or a signal in the audio callback could make it wait.
_POLL_S = 0.004
# Beyond a skip's limit there must be room for what arrives during the longest pass.
_SKIP_SLACK_S = 5.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """What to do when audio comes faster than it is decoded.

    policy   "keep": nothing is lost; when `limit_s` seconds wait, an OverrunError ends the session.
             "skip": when more than `limit_s` seconds wait, the oldest whole 80 ms frames are dropped until
             half of that waits, each stretch is reported as a `GapEvent`, and times stay true.
    """

    policy: str = "keep"
    limit_s: float = 30.0

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise UsageError(f"policy {self.policy!r} is unknown; choose one of: {', '.join(POLICIES)}")
        if not 1 <= self.limit_s <= 3600:
            raise UsageError(f"a backlog of {self.limit_s} s is not allowed; choose 1 to 3600 s")


class Capture:
    """A source with its ring, resampler and backlog policy. Used by the decoding thread.

    time_map     where audio was dropped
    drift        the source's clock against the system's, for sources that have a clock of their own
    gaps         dropped stretches not reported yet; the caller empties it
    """

    def __init__(self, source: Source, backlog: Backlog, now: Callable[[], float] = time.monotonic) -> None:
        self.source = source
        self.backlog = backlog
        self.time_map = TimeMap()
        self.drift = ClockDrift() if getattr(source, "live", False) else None
        self._now = now
        self.gaps: list[GapEvent] = []
        room_s = backlog.limit_s + (_SKIP_SLACK_S if backlog.policy == "skip" else 0.0)
        self._ring = PcmRing(math.ceil(room_s * source.rate_hz))
        self._frame = round(TOKEN_S * source.rate_hz)
        self._resampler = resampler(source.rate_hz)
        self._pending = np.zeros(0, dtype=np.float32)
        self._given = 0
        self._closed = False
        self._overrun: OverrunError | None = None  # raised once what came before it has been read

    @property
    def waiting_s(self) -> float:
        """Seconds of audio that wait."""
        return len(self._ring) / self.source.rate_hz + len(self._pending) / SAMPLE_RATE_HZ

    @property
    def given_s(self) -> float:
        """Seconds that were handed out, on the model's time line."""
        return self._given / SAMPLE_RATE_HZ

    @property
    def lost_samples(self) -> int:
        """Samples that did not fit into the ring, at the device's rate."""
        return self._ring.lost

    def moved(self, event: Any) -> Any:
        """An event of the model's at the time of the recording, by the system's clock."""
        event = self.time_map.moved(event)
        return event if self.drift is None else self.drift.moved(event)

    def start(self) -> None:
        """Starts the source."""
        self.source.start(self._ring)

    def stop(self) -> None:
        """Stops the source; what waits can still be read."""
        self.source.stop()

    def read(self, least_tokens: int, most_tokens: int, timeout_s: float) -> NDArray[np.float32] | None:
        """The next whole tokens, `least_tokens` to `most_tokens` of them, waiting for them at most `timeout_s`; an
        empty array if they did not come, and None at the end, before which the last piece may be shorter and part of
        a token. OverrunError under "keep"."""
        deadline = time.monotonic() + timeout_s
        while True:
            if self.drift is not None:
                self.drift.observe(self._ring.offered / self.source.rate_hz, self._now())
            ended = self.source.ended  # before looking: what is written afterwards is seen next time
            self._take(most_tokens)
            whole = min(len(self._pending) // TOKEN_SAMPLES, most_tokens) * TOKEN_SAMPLES
            if whole >= least_tokens * TOKEN_SAMPLES:
                return self._give(whole)
            if self._overrun is not None:
                if len(self._pending):
                    return self._give(len(self._pending))
                raise self._overrun
            if ended and not len(self._ring):
                return self._last()
            left = deadline - time.monotonic()
            if left <= 0:
                return self._give(0)
            time.sleep(min(_POLL_S, left))

    def _take(self, most_tokens: int) -> None:
        """Moves samples from the ring to `_pending`, dropping what the policy says."""
        if self.backlog.policy == "skip" and self.waiting_s > self.backlog.limit_s:
            surplus_s = self.waiting_s - self.backlog.limit_s / 2
            self._skip(math.floor(surplus_s / TOKEN_S) * self._frame)
        self._note_losses()
        wanted = most_tokens * TOKEN_SAMPLES - len(self._pending)
        while wanted > 0 and len(self._ring) and self._overrun is None:
            taken = self._ring.read(max(1, wanted * self.source.rate_hz // SAMPLE_RATE_HZ))
            samples = taken if self._resampler is None else self._resampler.resample_chunk(taken, last=False)
            self._pending = np.concatenate([self._pending, samples])
            wanted -= max(1, len(samples))
            self._note_losses()

    def _skip(self, samples: int) -> None:
        while samples > 0 and (skipped := self._ring.skip(samples)):
            samples -= skipped
            self._gap(skipped / self.source.rate_hz)
            self._note_losses()

    def _note_losses(self) -> None:
        while lost := self._ring.take_loss():
            if self.backlog.policy == "keep":
                self._overrun = OverrunError(
                    f"{self.source.name}: {self.backlog.limit_s:.0f} s of audio wait, the limit; this machine is too "
                    "slow for the model: use a smaller precision, a longer backlog, or skip what it cannot follow"
                )
                return
            self._gap(lost / self.source.rate_hz)

    def _gap(self, seconds: float) -> None:
        """What was given, and what waits resampled, is before the gap."""
        model_s = (self._given + len(self._pending)) / SAMPLE_RATE_HZ
        start = model_s + self.time_map.dropped_s
        self.time_map.drop(model_s, seconds)
        if self.gaps and abs(self.gaps[-1].end - start) < 1e-6:
            start = self.gaps.pop().start
        self.gaps.append(GapEvent(start, model_s + self.time_map.dropped_s))

    def _give(self, count: int) -> NDArray[np.float32]:
        given, self._pending = self._pending[:count], self._pending[count:]
        self._given += count
        return given

    def _last(self) -> NDArray[np.float32] | None:
        if self._closed:
            return self._give(len(self._pending)) if len(self._pending) else None
        self._closed = True
        if self._resampler is not None:
            rest = self._resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
            self._pending = np.concatenate([self._pending, rest])
        return self._give(len(self._pending)) if len(self._pending) else None
