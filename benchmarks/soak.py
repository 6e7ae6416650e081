"""Hours of audio through one stream: step time must not grow, memory must not either.

    python benchmarks/soak.py -m tiny-en --hours 2
    python benchmarks/soak.py -m full-int4 --threads 2 --hours 0.17 --kv-full --json soak.json

Runs back to back (hours of audio in minutes on a small model) in at least twelve segments of at most five minutes of
audio, and keeps of each the median step, the resident memory and the page faults. Fails (exit code 1) if the last
quarter is slower than the second one by more than --allow-slower, or if memory grew by more than --allow-growth
megabytes since the first quarter. The first quarter is left out of the time: caches warm up in it.

Like is compared with like: while attention windows fill (eleven minutes of audio on the 4B model), a step reads more
and more and the stream takes memory; so times are divided by the bytes a step must read, and what the windows take is
no growth. --kv-full starts with full windows instead.

Every minute a line is printed and the JSON file is written anew, so that a soak that is interrupted has said what it
knew: "complete" is then false, and the exit code 130.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import voxtral_edge as ve
from voxtral_edge.bench import environment, memory, traffic
from voxtral_edge.bench.runner import BenchOptions, open_stream
from voxtral_edge.bench.speech import Feed
from voxtral_edge.package_folder import read_manifest
from voxtral_edge.stream import Stream

MOST_SEGMENT_S, LEAST_SEGMENTS = 300.0, 12
SAY_EVERY_S = 60.0
INTERRUPTED = 130


@dataclass(frozen=True)
class Segment:
    """A part of the run.

    hours           of audio at its end
    step_ms         median; per_gb_ms: the same for each 10^9 bytes that a step must read
    rss_mb, kv_mb   resident memory at its end, and what of it the windows have taken by then
    """

    hours: float
    step_ms: float
    per_gb_ms: float
    rss_mb: float
    kv_mb: float
    minor_faults: int


class Soak:
    """One stream and what its segments took so far. `on_minute` is called about every minute of clock."""

    def __init__(
        self, engine: ve.Engine, args: argparse.Namespace, on_minute: Callable[[Soak], None]
    ) -> None:
        self.engine, self.args, self.on_minute = engine, args, on_minute
        self.manifest = read_manifest(engine.directory)
        audio = self.manifest["audio"]
        self.step_s = audio["samples_per_token"] / audio["sample_rate_hz"]
        segment_s = min(MOST_SEGMENT_S, args.hours * 3600.0 / LEAST_SEGMENTS)
        self.segment_steps = max(1, round(segment_s / self.step_s))
        self.planned = max(LEAST_SEGMENTS, round(args.hours * 3600.0 / (self.segment_steps * self.step_s)))
        info = engine.info()
        self.kv_kinds = info["encoder_kv"], info["decoder_kv"]
        self.costs = traffic.kv_costs(self.manifest, *self.kv_kinds)
        self.segments: list[Segment] = []
        self.interference = environment.Interference()
        self._said = self._begun = time.monotonic()

    def run(self) -> None:
        """Feeds everything; KeyboardInterrupt leaves the segments that are complete."""
        options = BenchOptions(model=self.args.model, kv_full=self.args.kv_full)
        pieces = Feed(self.args.audio).pieces(self.manifest["audio"]["samples_per_token"])
        with open_stream(self.engine, options, self.manifest) as stream:
            for _ in range(self.planned):
                self.segments.append(self._segment(stream, pieces))
                self._say()

    def _segment(self, stream: Stream, pieces: Any) -> Segment:
        times = np.empty(self.segment_steps)
        faults, first = memory.page_faults()[0], int(stream.stats()["encoded_tokens"])
        for i in range(self.segment_steps):
            piece = next(pieces)
            begun = time.perf_counter()
            stream.feed(piece)
            times[i] = time.perf_counter() - begun
            if time.monotonic() - self._said > SAY_EVERY_S:
                self._say(
                    f", then {i + 1} of {self.segment_steps} steps, median {1e3 * np.median(times[: i + 1]):.3f} ms"
                )
        seen = None if self.args.kv_full else first
        read = traffic.bytes_per_step(self.manifest, *self.kv_kinds, seen, self.segment_steps)["total"]
        step_ms = float(np.median(times)) * 1e3
        return Segment(
            hours=round((len(self.segments) + 1) * self.segment_steps * self.step_s / 3600, 4),
            step_ms=round(step_ms, 4),
            per_gb_ms=round(step_ms / (read / 1e9), 5),
            rss_mb=round((memory.rss_bytes() or memory.peak_rss_bytes()) / 1e6, 2),
            kv_mb=round(self._kv_bytes(first + self.segment_steps) / 1e6, 2),
            minor_faults=memory.page_faults()[0] - faults,
        )

    def _kv_bytes(self, tokens: int) -> int:
        costs = self.costs.values()
        if self.args.kv_full:
            return sum(cost.window * cost.position_bytes for cost in costs)
        return sum(min(tokens * cost.new_positions, cost.window) * cost.position_bytes for cost in costs)

    def _say(self, more: str = "") -> None:
        self._said = time.monotonic()
        last = self.segments[-1] if self.segments else None
        text = f"{self._said - self._begun:7.0f} s  segment {len(self.segments)} of {self.planned}"
        if last is not None:
            text += (
                f"  {last.hours:6.2f} h  median step {last.step_ms:9.3f} ms ({last.per_gb_ms:.2f} per GB)  "
                f"RSS {last.rss_mb:9.1f} MB  page faults {last.minor_faults}"
            )
        print(text + more, flush=True)
        self.on_minute(self)

    def result(self) -> dict[str, Any]:
        """What is known so far; `slower` and `growth_mb` are null with fewer than four segments."""
        segments = self.segments
        slower, growth_mb = judged(segments) if len(segments) >= 4 else (None, None)
        info = self.engine.info()
        return {
            "format": "voxtral-edge-soak",
            "complete": len(segments) == self.planned,
            "model": info["name"],
            "threads": info["threads"],
            "kv": "full" if self.args.kv_full else "filling",
            "machine": environment.machine(),
            "interference": self.interference.result(),
            "hours": segments[-1].hours if segments else 0.0,
            "seconds": round(time.monotonic() - self._begun, 1),
            "slower": slower,
            "growth_mb": growth_mb,
            **{
                key: [asdict(one)[key] for one in segments]
                for key in Segment.__dataclass_fields__
                if key != "hours"
            },
        }


def judged(segments: list[Segment]) -> tuple[float, float]:
    """(the last quarter's step over the second's, per byte; megabytes of growth since the first quarter beyond what
    the windows took)."""
    quarter = max(1, len(segments) // 4)
    per_gb = [segment.per_gb_ms for segment in segments]
    slower = float(np.median(per_gb[-quarter:]) / np.median(per_gb[quarter : 2 * quarter]))
    first, last = segments[quarter - 1], segments[-1]
    return round(slower, 4), round((last.rss_mb - last.kv_mb) - (first.rss_mb - first.kv_mb), 2)


def main() -> int:
    args = arguments()
    engine = ve.load(args.model, threads=args.threads)

    def save(soak: Soak) -> None:
        if args.json:
            unfinished = args.json.with_name(args.json.name + ".part")
            unfinished.write_text(json.dumps(soak.result(), indent=1) + "\n", encoding="utf-8")
            unfinished.replace(args.json)

    soak = Soak(engine, args, save)
    interrupted = False
    try:
        soak.run()
    except KeyboardInterrupt:
        interrupted = True
    save(soak)
    result = soak.result()
    print(
        f"{result['hours']:g} h of audio in {result['seconds']:.0f} s{' (interrupted)' if interrupted else ''}",
        end="",
    )
    if result["slower"] is None:
        print(": too few segments to judge")
        return INTERRUPTED
    print(
        f": per byte, the last quarter took {result['slower']:.3f} × the second; memory {result['growth_mb']:+.1f} MB "
        "since the first, beyond the windows"
    )
    if interrupted:
        return INTERRUPTED
    return 1 if result["slower"] > 1.0 + args.allow_slower or result["growth_mb"] > args.allow_growth else 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-m", "--model", default="tiny-en", help="package folder or bundled model")
    parser.add_argument("--hours", type=float, default=2.0, help="hours of audio (default: %(default)g)")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--kv-full", action="store_true", help="attention windows full from the start")
    parser.add_argument("--audio", help="recording to feed (default: speech-like sound)")
    parser.add_argument("--allow-slower", type=float, default=0.2, help="share (default: %(default)g)")
    parser.add_argument("--allow-growth", type=float, default=16.0, help="megabytes (default: %(default)g)")
    parser.add_argument("--json", type=Path, help="keep the series here, every minute")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
