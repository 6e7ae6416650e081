"""Steps of 80 ms, one feed each, as a live stream takes them: paced by a clock, or back to back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.bench import measures
from voxtral_edge.bench.memory import page_faults
from voxtral_edge.stream import Stream

# The core's timers, in the order in which a step goes through them.
STAGES = ("mel", "encode", "decode")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LiveRun:
    """Raw result of one measurement; arrays hold one value per measured step, in milliseconds.

    warmup_ms    the steps before the measured ones, discarded from every figure
    step_ms      from handing over 80 ms of audio to holding its events
    stage_ms     time in each stage of the core
    arrival_s, finish_s   when the step's audio was complete and when its events were there, seconds since the
                 measurement began; back to back: as a live source would have seen it (`queue_finish_times`)
    harness_us   what this loop itself cost per step, outside the measured time
    wall_s       duration of the measured steps with everything between them
    counters     increase of the stream's counters over the measured steps
    page_faults  (minor, major) faults of the process during them
    first_token  tokens the stream held before the first measured step, left padding included
    """

    paced: bool
    warmup_ms: NDArray[np.float64]
    step_ms: NDArray[np.float64]
    stage_ms: dict[str, NDArray[np.float64]]
    arrival_s: NDArray[np.float64]
    finish_s: NDArray[np.float64]
    harness_us: NDArray[np.float64]
    wall_s: float
    counters: dict[str, float]
    page_faults: tuple[int, int]
    first_token: int
    first_step_ms: float

    def rtf(self, step_s: float) -> float:
        """Real-time factor: seconds of work per second of audio."""
        return float(np.sum(self.step_ms)) / 1000.0 / (len(self.step_ms) * step_s)

    def missed(self, deadline_s: float) -> NDArray[np.bool_]:
        """Which steps ended more than `deadline_s` after their audio was complete."""
        return self.finish_s - self.arrival_s > deadline_s


def run_live(
    stream: Stream,
    pieces: Iterator[NDArray[np.float32]],
    warmup_steps: int,
    steps: int,
    step_s: float,
    paced: bool,
    on_progress: Progress | None = None,
) -> LiveRun:
    """Feeds `warmup_steps` + `steps` pieces of `step_s` seconds each to a stream.

    Paced: a piece is fed when a live source would have delivered all of it, or at once when the stream is
    late. on_progress(done, total) is called now and then, outside the measured time.
    """
    total = warmup_steps + steps
    begin_ns, end_ns = np.empty(total, np.int64), np.empty(total, np.int64)
    harness_ns = np.zeros(total, np.int64)
    stages = np.empty((total + 1, len(STAGES)))
    keys = [f"{name}_seconds" for name in STAGES]
    before = after = stream.stats()
    faults = page_faults()
    stages[0] = [after[key] for key in keys]
    clock = time.perf_counter_ns
    step_ns = round(step_s * 1e9)
    started = clock()
    for i in range(total):
        piece = next(pieces)
        if i == warmup_steps:
            before, faults = stream.stats(), page_faults()
        if on_progress is not None and i % 25 == 0:
            on_progress(i, total)
        ready = clock()
        if i:
            harness_ns[i] = ready - end_ns[i - 1]
        if paced:
            _wait_until(started + (i + 1) * step_ns)
        begin_ns[i] = clock()
        stream.feed(piece)
        end_ns[i] = clock()
        after = stream.stats()
        stages[i + 1] = [after[key] for key in keys]
    faults_after = page_faults()
    busy = (end_ns - begin_ns) / 1e9
    arrival: NDArray[np.float64] = np.arange(1, total + 1, dtype=np.float64) * step_s
    finish = (end_ns - started) / 1e9 if paced else measures.queue_finish_times(arrival, busy)
    kept = slice(warmup_steps, None)
    stage_ms = np.diff(stages, axis=0)[kept] * 1e3
    return LiveRun(
        paced=paced,
        warmup_ms=busy[:warmup_steps] * 1e3,
        step_ms=busy[kept] * 1e3,
        stage_ms={name: stage_ms[:, column] for column, name in enumerate(STAGES)},
        arrival_s=arrival[kept],
        finish_s=finish[kept],
        harness_us=harness_ns[kept] / 1e3,
        wall_s=float(end_ns[-1] - begin_ns[warmup_steps]) / 1e9,
        counters=increase(before, after),
        page_faults=(faults_after[0] - faults[0], faults_after[1] - faults[1]),
        first_token=int(before["encoded_tokens"]),
        first_step_ms=float(busy[0]) * 1e3,
    )


def _wait_until(moment_ns: int) -> None:
    """Sleeps to within a millisecond, then polls: sleeping alone wakes up to 0.1 ms late."""
    while (left := moment_ns - time.perf_counter_ns()) > 0:
        time.sleep(max(0.0, (left - 1_000_000) / 1e9) if left > 2_000_000 else 0)


def increase(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """What every numeric counter of a stream gained."""
    return {
        key: after[key] - before.get(key, 0)
        for key in after
        if isinstance(after[key], (int, float)) and not isinstance(after[key], bool)
    }
