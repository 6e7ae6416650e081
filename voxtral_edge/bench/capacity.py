"""How many live streams hold real time: the rule, and the search for the largest number.

A number of streams is held if the 99th percentile of every stream's latency, from its 80 ms being complete to holding
their events, is at most 160 ms, and no stream's latency grows. 160 ms because audio that arrives just after a round has
begun waits for that round and then takes its own: rounds of 80 ms, which only just keep up, bring 160 ms at worst.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from voxtral_edge.bench.paced_streams import PacedStreamsRun

BOUND_STEPS = 2
# Below this the latencies of a short run do not tell growth from jitter; who falls behind by 1 % grows by 0.01.
MOST_GROWTH = 0.01


@dataclass(frozen=True)
class Trial:
    """One number of streams, tried.

    confirmed    the run was of full length, not a short one
    worst_p99_ms, growth   of the stream that fared worst; None: given up, a stream was too far behind
    """

    count: int
    confirmed: bool
    worst_p99_ms: float | None
    growth: float | None
    held: bool

    def figures(self) -> dict[str, Any]:
        """As the document has it."""
        rounded = [None if value is None else round(value, 6) for value in (self.worst_p99_ms, self.growth)]
        return {
            "count": self.count,
            "confirmed": self.confirmed,
            "worst_p99_ms": rounded[0],
            "growth": rounded[1],
            "held": self.held,
        }


def bound_ms(step_s: float) -> float:
    """The latency that a stream's 99th percentile may reach."""
    return BOUND_STEPS * step_s * 1e3


def judged(count: int, confirmed: bool, run: PacedStreamsRun | None, step_s: float) -> Trial:
    """A run by the rule above; None: it was given up."""
    if run is None:
        return Trial(count, confirmed, None, None, False)
    worst, growth = run.worst_p99_ms(), run.growth()
    return Trial(count, confirmed, worst, growth, worst <= bound_ms(step_s) and growth <= MOST_GROWTH)


def most_held(attempt: Callable[[int, bool], Trial], most: int) -> list[Trial]:
    """Every trial on the way to the largest number of streams in 1 .. `most` that is held; the last one is the answer,
    confirmed by a long run, and not held if not even one stream is.

    attempt(count, confirm): doubling and bisection by short runs (confirm false), then long runs with ever fewer
    streams until one is held. Up to 16 streams to the very number, beyond to a sixteenth of it.
    """
    trials: list[Trial] = []

    def held(count: int, confirm: bool) -> bool:
        trials.append(attempt(count, confirm))
        return trials[-1].held

    low, high = 0, 1
    while high <= most and held(high, False):
        low, high = high, high * 2
    high = min(high, most + 1)
    while high - low > _resolution(low):
        middle = (low + high) // 2
        low, high = (middle, high) if held(middle, False) else (low, middle)
    count = max(1, low)
    while not held(count, True) and count > 1:
        count -= _resolution(count)
    return trials


def _resolution(count: int) -> int:
    return max(1, count // 16)
