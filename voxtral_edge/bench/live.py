"""Steps of 80 ms, one feed each, as a live stream takes them: paced by a clock, or back to back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.bench import measures
from voxtral_edge.bench.memory import page_faults

# The core's timers, in the order in which a step goes through them: of engines that time their stages, and of those
# that are asked for whole passes only (onnxruntime runs a graph).
STAGES = ("mel", "conv", "encoder", "adapter", "decoder", "head")
PASSES = ("encode", "decode")
Progress = Callable[[int, int], None]
PROGRESS_STEPS = 25
# How often the machine is probed during a run: every two seconds of audio, a few hundredths of the time.
PROBE_STEPS = 25
# What is fed at once when the stream is late: 2.56 s, two encoder batches of the native engine.
CATCH_UP_STEPS = 32


@dataclass(frozen=True)
class LiveRun:
    """Raw result of one measurement; arrays hold one value per measured step, in milliseconds.

    warmup_ms    the steps before the measured ones, discarded from every figure
    step_ms      from handing over 80 ms of audio to holding its events
    stage_ms     time in each stage of the core that the engine knows (`stage_names`)
    pass_ms      time in encode and in decode calls, "encode" and "decode"
    arrival_s, finish_s   when the step's audio was complete and when its events were there, seconds since the
                 measurement began; back to back: as a live source would have seen it (`queue_finish_times`)
    harness_us   what this loop itself cost per step, outside the measured time
    feeds        calls that fed the measured steps: as many as steps, fewer when catching up
    counters     increase of the stream's counters over the measured steps
    page_faults  (minor, major) faults of the process during them
    first_token  tokens the stream held before the first measured step, left padding included
    """

    paced: bool
    warmup_ms: NDArray[np.float64]
    step_ms: NDArray[np.float64]
    stage_ms: dict[str, NDArray[np.float64]]
    pass_ms: dict[str, NDArray[np.float64]]
    arrival_s: NDArray[np.float64]
    finish_s: NDArray[np.float64]
    harness_us: NDArray[np.float64]
    feeds: int
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


class Fed(Protocol):
    """What takes audio and counts: a stream, or several that are fed together."""

    def feed(self, pcm: NDArray[np.float32]) -> Any:
        """Takes audio; returns when its events are there."""

    def stats(self) -> dict[str, Any]:
        """Counters, `Stream.stats`."""


class StepRecorder:
    """Times of every step while they are taken. A feed of several steps counts as equal shares of its time."""

    def __init__(self, stream: Fed, steps: int) -> None:
        self.stream = stream
        self.stages = stage_names(stream.stats())
        self._keys = [f"{name}_ns" for name in (*self.stages, *PASSES)]
        self.busy_s, self.end_ns, self.harness_us = (
            np.zeros(steps),
            np.zeros(steps, np.int64),
            np.zeros(steps),
        )
        self._timers_ms = np.zeros((steps, len(self._keys)))
        self.feeds = 0
        self._timers = self._read_timers()
        self.mark()

    def mark(self) -> None:
        """From here on counts, what came before was warm-up."""
        self.before, self.faults, self.feeds_before = self.stream.stats(), page_faults(), self.feeds

    def feed(self, first: int, count: int, piece: NDArray[np.float32], free_ns: int | None = None) -> None:
        """Feeds `count` steps of audio; `free_ns`: when the loop was done with everything before, default now."""
        begin = time.perf_counter_ns()
        self.stream.feed(piece)
        end = time.perf_counter_ns()
        span = slice(first, first + count)
        self.busy_s[span] = (end - begin) / 1e9 / count
        self.end_ns[span] = end
        timers = self._read_timers()
        self._timers_ms[span] = (timers - self._timers) / 1e6 / count
        self._timers = timers
        if first:
            self.harness_us[span] = ((free_ns or begin) - self.end_ns[first - 1]) / 1e3 / count
        self.feeds += 1

    def timers_ms(self, names: Sequence[str], kept: slice) -> dict[str, NDArray[np.float64]]:
        """Time in these stages or passes, a value per step."""
        return {name: self._timers_ms[kept, self._keys.index(f"{name}_ns")] for name in names}

    def _read_timers(self) -> NDArray[np.int64]:
        values = self.stream.stats()
        return np.array([values[key] for key in self._keys], np.int64)


def stage_names(stats: Mapping[str, Any]) -> tuple[str, ...]:
    """The stages that a stream with these counters knows the time of."""
    return STAGES if f"{STAGES[1]}_ns" in stats else (STAGES[0], *PASSES)


def run_live(
    stream: Fed,
    pieces: Iterator[NDArray[np.float32]],
    warmup_steps: int,
    steps: int,
    step_s: float,
    paced: bool,
    catch_up: bool = False,
    on_progress: Progress | None = None,
    probe: Callable[[], None] | None = None,
) -> LiveRun:
    """Feeds `warmup_steps` + `steps` pieces of `step_s` seconds each to a stream.

    paced        a piece is fed when a live source would have delivered all of it, or at once when the stream is
                 late
    catch_up     (paced) everything that has arrived is fed together, as a program that reads a pipe does; the
                 stream may then share passes between steps
    on_progress  called as on_progress(done, total) now and then, outside the measured time
    probe        (not paced) called every PROBE_STEPS, outside the measured time
    """
    total = warmup_steps + steps
    recorder = StepRecorder(stream, total)
    step_ns = round(step_s * 1e9)
    started = time.perf_counter_ns()
    done = reported = 0
    while done < total:
        piece, count = next(pieces), 1
        if done == warmup_steps:
            recorder.mark()
        if on_progress is not None and done >= reported:
            on_progress(done, total)
            reported = done + PROGRESS_STEPS
        if probe is not None and not paced and done % PROBE_STEPS == 0:
            probe()
        free_ns = time.perf_counter_ns()
        if paced:
            wait_until(started + (done + 1) * step_ns)
            end = warmup_steps if done < warmup_steps else total
            arrived = (time.perf_counter_ns() - started) // step_ns - done
            if catch_up and arrived > 1:
                count = min(arrived, CATCH_UP_STEPS, end - done)
                piece = np.concatenate([piece, *(next(pieces) for _ in range(count - 1))])
        recorder.feed(done, count, piece, free_ns)
        done += count
    return live_run(recorder, warmup_steps, step_s, paced, started)


def live_run(
    recorder: StepRecorder, warmup_steps: int, step_s: float, paced: bool, started_ns: int = 0
) -> LiveRun:
    """What a full recorder holds; `started_ns`: the paced clock's zero."""
    faults_after, after = page_faults(), recorder.stream.stats()
    arrival: NDArray[np.float64] = np.arange(1, len(recorder.busy_s) + 1, dtype=np.float64) * step_s
    if paced:
        finish = (recorder.end_ns - started_ns) / 1e9
    else:
        finish = measures.queue_finish_times(arrival, recorder.busy_s)
    kept = slice(warmup_steps, None)
    return LiveRun(
        paced=paced,
        warmup_ms=recorder.busy_s[:warmup_steps] * 1e3,
        step_ms=recorder.busy_s[kept] * 1e3,
        stage_ms=recorder.timers_ms(recorder.stages, kept),
        pass_ms=recorder.timers_ms(PASSES, kept),
        arrival_s=arrival[kept],
        finish_s=finish[kept],
        harness_us=recorder.harness_us[kept],
        feeds=recorder.feeds - recorder.feeds_before,
        counters=increase(recorder.before, after),
        page_faults=(faults_after[0] - recorder.faults[0], faults_after[1] - recorder.faults[1]),
        first_token=int(recorder.before["encoded_tokens"]),
        first_step_ms=float(recorder.busy_s[0]) * 1e3,
    )


def wait_until(moment_ns: int) -> None:
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
