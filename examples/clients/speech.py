"""What the clients share: arguments, and a recording in pieces, paced like a microphone."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import AsyncIterator

import numpy as np
import soundfile
import soxr

PIECE_S = 0.08


def arguments(description: str, address: str) -> argparse.Namespace:
    """The command line: AUDIO, --server, --model, --fast; and the token from the environment."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("audio", help="wav, flac, ogg or mp3")
    parser.add_argument("--server", default=address, help="(%(default)s)")
    parser.add_argument("--model", default="tiny-en", help="(%(default)s)")
    parser.add_argument("--fast", action="store_true", help="do not wait between pieces")
    chosen = parser.parse_args()
    chosen.token = os.environ.get("VOXTRAL_EDGE_TOKEN", "")
    return chosen


def samples(path: str, rate_hz: int) -> bytes:
    """The recording as 16-bit mono samples at `rate_hz`."""
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = soxr.resample(audio.mean(axis=1), rate, rate_hz)
    return (np.clip(mono, -1, 1) * 32767).astype("<i2").tobytes()


async def pieces(path: str, rate_hz: int, fast: bool) -> AsyncIterator[bytes]:
    """The recording in pieces of 80 ms, each when a microphone would have it."""
    data = samples(path, rate_hz)
    size = int(rate_hz * PIECE_S) * 2
    began = time.monotonic()
    for number, begin in enumerate(range(0, len(data), size)):
        if not fast:
            await asyncio.sleep(max(0.0, began + number * PIECE_S - time.monotonic()))
        yield data[begin : begin + size]
