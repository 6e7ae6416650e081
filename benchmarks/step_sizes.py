"""What larger live steps save: time per 80 ms of audio with steps of 80, 160, 320 and 640 ms, side by side.

  python benchmarks/step_sizes.py DIR --audio speech.wav [--replay tiny-en] [--threads 2] [--seconds 30]

One engine, one stream per step size, all on the same audio; they take turns of 640 ms, so that whatever the machine
does meets all alike, and the ratio is the median over turns of the time over that of single steps. With random weights,
--replay makes the model take the tokens that another one chooses on this audio: how often guessed tokens are right
decides what larger steps save. Passes are counted per token.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import voxtral_edge as ve
from voxtral_edge.bench.speech import load_audio
from voxtral_edge.engine import DEFAULT_DELAY_MS, delay_tokens
from voxtral_edge.live_step import MOST_STEP_TOKENS, TOKEN_MS, TOKEN_SAMPLES

SIZES = (1, 2, 4, 8)  # tokens
WARM_UP_TURNS = 4  # past the prompt


def main() -> int:
    """Runs the turns and prints a table; 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("package")
    parser.add_argument("--audio", type=Path, required=True, metavar="FILE", help="recording of speech")
    parser.add_argument(
        "--replay", metavar="MODEL", help="whose tokens are taken in place of the package's own"
    )
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument(
        "--seconds", type=float, default=30.0, metavar="S", help="audio per step size (%(default)g)"
    )
    parser.add_argument("--delay-ms", type=int, default=DEFAULT_DELAY_MS, metavar="MS")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every turn")
    args = parser.parse_args()
    result = measure(args)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))
    print("\n".join(markdown(result)))
    return 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """{"sizes": [per step size: step_ms, ms per token of every turn, passes per token]}."""
    turn = MOST_STEP_TOKENS * TOKEN_SAMPLES
    turns = WARM_UP_TURNS + max(1, round(args.seconds * 1000 / TOKEN_MS / MOST_STEP_TOKENS))
    audio = np.resize(load_audio(args.audio), turns * turn)
    options: dict[str, Any] = {}
    if args.replay:
        options["replayed_ids"] = _tokens(args.replay, audio, args.delay_ms)
    engine = ve.load(args.package, threads=args.threads)
    streams = {size: engine.core_stream(delay_tokens(args.delay_ms), **options) for size in SIZES}
    ms: dict[int, list[float]] = {size: [] for size in SIZES}
    before: dict[int, dict[str, Any]] = {}
    for number in range(turns):
        if number == WARM_UP_TURNS:
            before = {size: stream.stats() for size, stream in streams.items()}
        piece = audio[number * turn : (number + 1) * turn]
        for size in SIZES if number % 2 == 0 else reversed(SIZES):
            begun = time.perf_counter()
            for part in np.split(piece, MOST_STEP_TOKENS // size):
                streams[size].feed(part)
            ms[size].append((time.perf_counter() - begun) * 1e3 / MOST_STEP_TOKENS)
    return {
        "package": engine.name,
        "threads": args.threads,
        "sizes": [
            {
                "step_ms": size * TOKEN_MS,
                "ms_per_token": ms[size][WARM_UP_TURNS:],
                **_passes(before[size], streams[size].stats()),
            }
            for size in SIZES
        ],
    }


def _tokens(model: str, audio: Any, delay_ms: int) -> list[int]:
    with ve.load(model, threads=1).stream(delay_ms) as stream:
        stream.feed(audio)
        stream.finish()
        return list(stream.token_ids)


def _passes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    tokens = after["generated_tokens"] - before["generated_tokens"]
    return {
        f"{name}_passes_per_token": (after[f"{name}_calls"] - before[f"{name}_calls"]) / tokens
        for name in ("encode", "decode")
    }


def markdown(result: dict[str, Any]) -> list[str]:
    """A row per step size."""
    lines = [
        "| step, ms of audio | ms per 80 ms | × single steps, median of turns | encode passes per token | decode |",
        "|---|---|---|---|---|",
    ]
    single = np.array(result["sizes"][0]["ms_per_token"])
    for row in result["sizes"]:
        times = np.array(row["ms_per_token"])
        lines.append(
            f"| {row['step_ms']} | {np.median(times):.3g} | {np.median(times / single):.2f} "
            f"| {row['encode_passes_per_token']:.3f} | {row['decode_passes_per_token']:.2f} |"
        )
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
