"""Hours of audio through one stream: step time must not grow, memory must not either.

    python benchmarks/soak.py -m tiny-en --hours 2

Runs back to back (hours of audio in minutes on a small model), keeps the median step and the resident memory
of every five minutes of audio, and fails (exit code 1) if the last quarter is slower than the second one by
more than --allow-slower, or if memory grew by more than --allow-growth megabytes since the first quarter.
The first quarter is left out of the time: windows fill and caches warm up in it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

import voxtral_edge as ve
from voxtral_edge.bench import environment, memory
from voxtral_edge.bench.runner import BenchOptions, open_stream
from voxtral_edge.bench.speech import Feed
from voxtral_edge.package_folder import read_manifest

SEGMENT_S = 300.0


def main() -> int:
    args = arguments()
    engine = ve.load(args.model, threads=args.threads)
    manifest = read_manifest(engine.directory)
    audio = manifest["audio"]
    step_s = audio["samples_per_token"] / audio["sample_rate_hz"]
    per_segment = max(1, round(SEGMENT_S / step_s))
    segments = max(4, round(args.hours * 3600.0 / SEGMENT_S))
    step_ms, rss_mb, faults = [], [], []
    times = np.empty(per_segment)
    pieces = Feed(args.audio).pieces(audio["samples_per_token"])
    begun, interference = time.perf_counter(), environment.Interference()
    with open_stream(engine, BenchOptions(model=args.model), manifest) as stream:
        for segment in range(segments):
            before = memory.page_faults()[0]
            for i in range(per_segment):
                piece = next(pieces)
                start = time.perf_counter()
                stream.feed(piece)
                times[i] = time.perf_counter() - start
            step_ms.append(round(float(np.median(times)) * 1e3, 4))
            rss_mb.append(round((memory.rss_bytes() or memory.peak_rss_bytes()) / 1e6, 2))
            faults.append(memory.page_faults()[0] - before)
            print(
                f"{(segment + 1) * SEGMENT_S / 3600:6.2f} h  median step {step_ms[-1]:9.3f} ms  "
                f"RSS {rss_mb[-1]:9.1f} MB  page faults {faults[-1]}",
                flush=True,
            )
    quarter = max(1, segments // 4)
    slower = float(np.median(step_ms[-quarter:]) / np.median(step_ms[quarter : 2 * quarter]))
    growth_mb = rss_mb[-1] - rss_mb[quarter - 1]
    hours = segments * SEGMENT_S / 3600
    print(
        f"{hours:g} h of audio in {time.perf_counter() - begun:.0f} s: last quarter {slower:.3f} × the "
        f"second, memory {growth_mb:+.1f} MB since the first"
    )
    if args.json:
        result = {
            "format": "voxtral-edge-soak",
            "model": engine.info()["name"],
            "threads": engine.info()["threads"],
            "machine": environment.machine(),
            "interference": interference.result(),
            "hours": hours,
            "step_ms": step_ms,
            "rss_mb": rss_mb,
            "minor_faults": faults,
            "slower": slower,
            "growth_mb": growth_mb,
        }
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 1 if slower > 1.0 + args.allow_slower or growth_mb > args.allow_growth else 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-m", "--model", default="tiny-en", help="package folder or bundled model")
    parser.add_argument("--hours", type=float, default=2.0, help="hours of audio (default: %(default)g)")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--audio", help="recording to feed (default: speech-like sound)")
    parser.add_argument("--allow-slower", type=float, default=0.2, help="share (default: %(default)g)")
    parser.add_argument("--allow-growth", type=float, default=16.0, help="megabytes (default: %(default)g)")
    parser.add_argument("--json", help="keep the series here")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
