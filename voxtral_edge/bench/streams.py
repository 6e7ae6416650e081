"""Several live streams in shared passes beside one alone, in turns, so that both meet the same mood of the machine.

Every stream gets its own audio (the loop, begun elsewhere), all at the same moment: the hardest arrival for the slowest
of them. A round feeds 80 ms to each stream and ends when all their events are there, so that its time is the latency
of every stream's step. Afterwards each stream's tokens are compared with those of a lone stream on the same audio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral_edge._native import native_module
from voxtral_edge.bench.live import LiveRun, Progress, StepRecorder, live_run
from voxtral_edge.bench.speech import Feed

# Long enough that switching between the two does not show, short enough that drifts meet both.
TURN_STEPS = 10
MakeStream = Callable[[], Any]


class StreamGroup:
    """Core streams of one engine, fed together: to a recorder it is one stream whose feed takes [streams, samples]."""

    def __init__(self, streams: list[Any]) -> None:
        self.streams = streams

    def feed(self, pieces: NDArray[np.float32]) -> list[Any]:
        """Feeds row i to stream i in shared passes."""
        items = [(stream, piece, "feed") for stream, piece in zip(self.streams, pieces, strict=True)]
        return list(native_module().run_streams(items))

    def stats(self) -> dict[str, Any]:
        """Counters of the first stream: its timers hold the whole of every pass it shared. Spectra are each stream's
        own work, so their times add up."""
        stats = [stream.stats() for stream in self.streams]
        return {**stats[0], "mel_ns": sum(values["mel_ns"] for values in stats)}


@dataclass(frozen=True)
class StreamsRun:
    """What a group took beside a lone stream.

    group           the group's rounds, as a live run (one step per round)
    count           streams in the group
    lone_ms         [steps] the lone stream's steps, taken in turns with the rounds
    equal_streams   streams whose tokens are those of a lone run on the same audio
    compared_tokens tokens per stream in that comparison; distinct_tokens: how many different ones they were
    """

    group: LiveRun
    count: int
    lone_ms: NDArray[np.float64]
    equal_streams: int
    compared_tokens: int
    distinct_tokens: int

    def throughput_ratios(self) -> NDArray[np.float64]:
        """Audio per second of the group over that of the lone stream, one value per turn (medians within it)."""
        turns = range(0, len(self.lone_ms), TURN_STEPS)
        lone, group = (
            np.array([np.median(values[turn : turn + TURN_STEPS]) for turn in turns])
            for values in (self.lone_ms, self.group.step_ms)
        )
        return np.asarray(self.count * lone / group)


def run_streams(
    make_stream: MakeStream,
    feed: Feed,
    count: int,
    warmup_steps: int,
    steps: int,
    step_s: float,
    align_samples: int,
    on_progress: Progress | None = None,
    probe: Callable[[], None] | None = None,
) -> StreamsRun:
    """Feeds `warmup_steps` + `steps` pieces of `step_s` seconds to `count` streams together and to one alone.

    make_stream    a fresh core stream
    align_samples  silence fed first, so that each piece completes one token
    probe          called before every turn
    """
    size, total = round(step_s * 16_000), warmup_steps + steps
    group = StreamGroup([make_stream() for _ in range(count)])
    lone = make_stream()
    silence = np.zeros(align_samples, np.float32)
    for stream in (*group.streams, lone):
        stream.feed(silence)
    offsets = [len(feed.samples) * i // count for i in range(count)]
    shared, alone = _stacked(feed, offsets, size), _stacked(feed, offsets[:1], size)
    groups, lones = StepRecorder(group, total), StepRecorder(lone, total)
    for begin in (0, *range(warmup_steps, total, TURN_STEPS)):
        end = warmup_steps if begin < warmup_steps else min(total, begin + TURN_STEPS)
        if begin == warmup_steps:
            groups.mark()
        if on_progress is not None:
            on_progress(begin, total)
        if probe is not None:
            probe()
        for step in range(begin, end):
            lones.feed(step, 1, next(alone)[0])
        for step in range(begin, end):
            groups.feed(step, 1, next(shared))
    run = live_run(groups, warmup_steps, step_s, paced=False)
    equal, tokens = [bool(group.streams[0].token_ids == lone.token_ids)], list(lone.token_ids)
    del lone
    for stream, offset in zip(group.streams[1:], offsets[1:], strict=True):
        alone_again = make_stream()
        alone_again.feed(silence)
        alone_again.feed(feed.recording(total * step_s, offset))
        equal.append(bool(stream.token_ids == alone_again.token_ids))
        tokens += alone_again.token_ids
    return StreamsRun(
        run, count, lones.busy_s[warmup_steps:] * 1e3, sum(equal), len(tokens) // count, len(set(tokens))
    )


def _stacked(feed: Feed, offsets: list[int], size: int) -> Iterator[NDArray[np.float32]]:
    """Endless [streams, size]: a row per stream, each from its own place in the loop."""
    rows = [feed.pieces(size, offset) for offset in offsets]
    while True:
        yield np.stack([next(row) for row in rows])
