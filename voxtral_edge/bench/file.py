"""A whole recording at once, as `voxtral-edge transcribe` takes it: the real-time factor of file work."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.audio import BLOCK_SAMPLES, SAMPLE_RATE_HZ
from voxtral_edge.bench.live import increase, stage_names
from voxtral_edge.bench.memory import page_faults
from voxtral_edge.stream import Stream

_PROBE_BLOCKS = 4


@dataclass(frozen=True)
class FileRun:
    """Result of one transcription.

    audio_s, wall_s   length of the recording, and time from the first sample to the final event
    counters          what the stream's counters gained (tokens, encode and decode passes, drafts,
                      nanoseconds per stage)
    page_faults       (minor, major) faults of the process meanwhile
    block_ms          time of every block of 1.28 s that was fed, the finish as the last
    """

    audio_s: float
    wall_s: float
    counters: dict[str, Any]
    page_faults: tuple[int, int]
    block_ms: NDArray[np.float64]

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of work per second of audio."""
        return self.wall_s / self.audio_s

    def per_pass(self) -> dict[str, float | None]:
        """Tokens of text per decode pass and of audio per encode call: how far the weights' cost is
        shared."""
        generated, encoded = self.counters["generated_tokens"], self.counters["encoded_tokens"]
        decodes, encodes = self.counters.get("decode_calls"), self.counters.get("encode_calls")
        return {
            "tokens_per_decode_pass": round(generated / decodes, 3) if decodes else None,
            "tokens_per_encode_pass": round(encoded / encodes, 3) if encodes else None,
        }

    def stage_ms_per_token(self) -> dict[str, float]:
        """Time in each stage that the engine knows, per token of audio."""
        tokens = self.counters["encoded_tokens"]
        names = stage_names(self.counters) if tokens else ()
        return {name: round(self.counters[f"{name}_ns"] / 1e6 / tokens, 4) for name in names}


def run_file(
    stream: Stream, recording: NDArray[np.float32], probe: Callable[[], None] | None = None
) -> FileRun:
    """Transcribes `recording` (float32, 16 kHz mono) with a fresh stream, in the blocks that files are read
    in. `probe` is called every few blocks, outside the measured time."""
    block_ms: list[float] = []
    before, faults = stream.stats(), page_faults()
    for position in range(0, len(recording), BLOCK_SAMPLES):
        if probe is not None and len(block_ms) % _PROBE_BLOCKS == 0:
            probe()
        block_begun = time.perf_counter()
        stream.feed(recording[position : position + BLOCK_SAMPLES], more=True)
        block_ms.append((time.perf_counter() - block_begun) * 1e3)
    block_begun = time.perf_counter()
    stream.finish()
    block_ms.append((time.perf_counter() - block_begun) * 1e3)
    after = page_faults()
    return FileRun(
        len(recording) / SAMPLE_RATE_HZ,
        sum(block_ms) / 1e3,
        increase(before, stream.stats()),
        (after[0] - faults[0], after[1] - faults[1]),
        np.array(block_ms),
    )
