"""Several live streams on the real clock, as a server has them: each one's 80 ms arrive on their own, phases spread
evenly, and a round takes what has arrived of every stream through shared passes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxtral_edge._native import native_module
from voxtral_edge.bench import measures
from voxtral_edge.bench.live import PASSES, LiveRun, Progress, increase, stage_names, wait_until
from voxtral_edge.bench.memory import page_faults
from voxtral_edge.live_step import round_tokens

Pieces = Sequence[Iterator[NDArray[np.float32]]]
# Counters that belong to a pass: every stream that took part has counted the whole of it.
_SHARED = ("encode_calls", "decode_calls")


class Clock:
    """The real one; tests have their own."""

    def now_ns(self) -> int:
        """Nanoseconds since some moment."""
        return time.perf_counter_ns()

    def wait_until(self, moment_ns: int) -> None:
        """Returns at that moment, or at once if it is over."""
        wait_until(moment_ns)


class Rounds(Protocol):
    """Streams that a round feeds together."""

    def feed(self, items: list[tuple[int, NDArray[np.float32]]]) -> None:
        """Feeds (stream, samples) in one round; returns when the events are there."""

    def stats(self) -> list[dict[str, Any]]:
        """Counters of every stream."""


class CoreStreams:
    """Core streams of one engine as `Rounds`."""

    def __init__(self, streams: Sequence[Any]) -> None:
        self.streams = streams

    def feed(self, items: list[tuple[int, NDArray[np.float32]]]) -> None:
        """One call of the core's `run_streams`."""
        native_module().run_streams([(self.streams[i], pcm, "feed") for i, pcm in items])

    def stats(self) -> list[dict[str, Any]]:
        """Counters of every stream."""
        return [stream.stats() for stream in self.streams]


@dataclass(frozen=True)
class PacedStreamsRun:
    """Result of one measurement.

    rounds       the measured rounds as a live run: a step is a round, its arrival that of its oldest audio
    round_tokens tokens of all streams that each of them took
    arrival_s, finish_s   [streams, steps] when a step's audio was complete, and when its events were there
    """

    rounds: LiveRun
    round_tokens: NDArray[np.int64]
    arrival_s: NDArray[np.float64]
    finish_s: NDArray[np.float64]

    @property
    def latency_ms(self) -> NDArray[np.float64]:
        """[streams, steps] from a step's audio being complete to its events."""
        return (self.finish_s - self.arrival_s) * 1e3

    def worst_p99_ms(self) -> float:
        """The largest 99th percentile of a stream's latencies."""
        return max(measures.quantile(row, 0.99) for row in self.latency_ms)

    def growth(self) -> float:
        """Seconds by which latency grows per second, the fastest of all streams: a stream that can never catch up
        has more than 0."""
        pairs = zip(self.arrival_s, self.finish_s, strict=True)
        return max(measures.slope(arrival, finish - arrival) for arrival, finish in pairs)

    def busy_share(self, step_s: float) -> float:
        """Share of the clock that rounds took."""
        return float(np.sum(self.rounds.step_ms)) / 1e3 / (self.arrival_s.shape[1] * step_s)


class _Recorder:
    """What every round took, and what the counters of its streams gained."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds
        self._last = rounds.stats()
        self.stages = stage_names(self._last[0])
        self.clear()

    def clear(self) -> None:
        """From here on counts, what came before was warm-up."""
        self.begin_ns: list[int] = []
        self.end_ns: list[int] = []
        self.oldest_s: list[float] = []
        self.tokens: list[int] = []
        self.harness_us: list[float] = []
        self.timers_ms: dict[str, list[float]] = {name: [] for name in (*self.stages, *PASSES)}
        self.totals: dict[str, float] = {}
        self.faults, self.first_token = page_faults(), int(self._last[0]["encoded_tokens"])

    def add(self, begin_ns: int, end_ns: int, oldest_s: float, taken: dict[int, int]) -> None:
        """A round of `taken` tokens by stream, whose oldest audio was complete at `oldest_s`."""
        stats = self._rounds.stats()
        gained = {i: increase(self._last[i], stats[i]) for i in taken}
        self._last = stats
        # Spectra and tokens are each stream's own; a pass is counted whole by everybody in it, and who needs most
        # passes is in all of them.
        own_key = f"{self.stages[0]}_ns"
        together = {
            key: (max if key in _SHARED or (key.endswith("_ns") and key != own_key) else sum)(
                one[key] for one in gained.values()
            )
            for key in next(iter(gained.values()))
        }
        for name, values in self.timers_ms.items():
            values.append(together[f"{name}_ns"] / 1e6)
        for key, value in together.items():
            self.totals[key] = self.totals.get(key, 0) + value
        self.begin_ns.append(begin_ns)
        self.end_ns.append(end_ns)
        self.oldest_s.append(oldest_s)
        self.tokens.append(sum(taken.values()))

    def run(self, warmup_ms: NDArray[np.float64], first_ms: float, started_ns: int) -> LiveRun:
        """The rounds since `clear`."""
        begin, end = np.array(self.begin_ns), np.array(self.end_ns)
        faults = page_faults()
        timers = {name: np.array(values) for name, values in self.timers_ms.items()}
        return LiveRun(
            paced=True,
            warmup_ms=warmup_ms,
            step_ms=(end - begin) / 1e6,
            stage_ms={name: timers[name] for name in self.stages},
            pass_ms={name: timers[name] for name in PASSES},
            arrival_s=np.array(self.oldest_s),
            finish_s=(end - started_ns) / 1e9,
            harness_us=np.array(self.harness_us),
            feeds=len(begin),
            counters=self.totals,
            page_faults=(faults[0] - self.faults[0], faults[1] - self.faults[1]),
            first_token=self.first_token,
            first_step_ms=first_ms,
        )


def run_paced_streams(
    rounds: Rounds,
    pieces: Pieces,
    warmup_steps: int,
    steps: int,
    step_s: float,
    give_up_s: float = float("inf"),
    clock: Clock | None = None,
    on_progress: Progress | None = None,
) -> PacedStreamsRun | None:
    """Feeds `warmup_steps` + `steps` pieces of `step_s` seconds to every stream, each when it has arrived.

    pieces      endless pieces of audio of each stream
    give_up_s   None is returned as soon as a stream has so much audio waiting

    The audio of stream i arrives i / streams of a step after that of stream 0. A round begins as soon as anything has
    arrived and the last one is over, and takes of each stream what the server would take (`round_tokens`).
    """
    clock = clock or Clock()
    count, total, step_ns = len(pieces), warmup_steps + steps, round(step_s * 1e9)
    phases = np.arange(count) * step_ns // count
    fed = np.zeros(count, np.int64)
    finish_ns = np.zeros((count, total), np.int64)
    recorder, warmup_ms, first_ms = _Recorder(rounds), np.zeros(0), 0.0
    started = clock.now_ns()
    warm = warmup_steps == 0
    while fed.min() < total:
        arrived = np.clip((clock.now_ns() - started - phases) // step_ns, 0, total)
        waiting = arrived - fed
        if waiting.max() == 0:
            open_streams = fed < total
            clock.wait_until(int(started + (phases + (fed + 1) * step_ns)[open_streams].min()))
            continue
        if waiting.max() * step_s > give_up_s:
            return None
        if not warm and fed.min() >= warmup_steps:
            warm, warmup_ms = True, recorder.run(warmup_ms, 0.0, started).step_ms
            recorder.clear()
        most = round_tokens(count, int(waiting.min()))
        taken = {int(i): int(min(waiting[i], most)) for i in np.flatnonzero(waiting)}
        items = [(i, np.concatenate([next(pieces[i]) for _ in range(n)])) for i, n in taken.items()]
        oldest_s = min(int(phases[i] + (fed[i] + 1) * step_ns) for i in taken) / 1e9
        begin = clock.now_ns()
        rounds.feed(items)
        end = clock.now_ns()
        first_ms = first_ms or (end - begin) / 1e6
        for i, n in taken.items():
            finish_ns[i, fed[i] : fed[i] + n] = end
            fed[i] += n
        recorder.add(begin, end, oldest_s, taken)
        recorder.harness_us.append((clock.now_ns() - end) / 1e3)
        if on_progress is not None:
            on_progress(int(fed.min()), total)
    arrival_s = (phases[:, None] + (np.arange(total) + 1) * step_ns) / 1e9
    kept = slice(warmup_steps, None)
    return PacedStreamsRun(
        recorder.run(warmup_ms, first_ms, started),
        np.array(recorder.tokens),
        arrival_s[:, kept],
        (finish_ns[:, kept] - started) / 1e9,
    )
