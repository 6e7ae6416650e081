"""Raw audio bytes of any supported encoding and rate to mono samples at 16 kHz."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.audio import (
    MAX_CHANNELS,
    MAX_RATE_HZ,
    MIN_RATE_HZ,
    SAMPLE_RATE_HZ,
    PcmArray,
    as_floats,
    resampler,
)
from voxtral_edge.errors import AudioFormatError


def _mulaw_table() -> NDArray[np.int16]:
    """ITU-T G.711 μ-law: inverted bits; sign, 3 bits of exponent, 4 of mantissa, bias 33 of a 14-bit
    magnitude."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent = ((code >> 4) & 7).astype(np.int32)
    magnitude = ((((code & 15).astype(np.int32) << 3) + 132) << exponent) - 132
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_table() -> NDArray[np.int16]:
    """ITU-T G.711 A-law: even bits inverted; sign (1 is positive), 3 bits of exponent, 4 of mantissa."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent = ((code >> 4) & 7).astype(np.int32)
    mantissa = ((code & 15).astype(np.int32) << 4) + 8
    magnitude = np.where(exponent > 0, (mantissa + 256) << np.maximum(exponent - 1, 0), mantissa)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


_BYTES = {"pcm_s16le": 2, "pcm_s32le": 4, "pcm_f16le": 2, "pcm_f32le": 4, "pcm_mulaw": 1, "pcm_alaw": 1}
_G711 = {"pcm_mulaw": _mulaw_table(), "pcm_alaw": _alaw_table()}
ENCODINGS = tuple(_BYTES)


class PcmDecoder:
    """Turns the chunks of one audio stream into mono 16 kHz arrays, resampling with soxr HQ as the file
    reader does.

    AudioFormatError for an unknown encoding, a rate outside 8..192 kHz or a channel count outside 1..32.
    """

    def __init__(
        self, encoding: str = "pcm_s16le", sample_rate_hz: int = SAMPLE_RATE_HZ, channels: int = 1
    ) -> None:
        if encoding not in _BYTES:
            raise AudioFormatError(f"encoding {encoding!r} is unknown; send one of: {', '.join(ENCODINGS)}")
        if not _is_whole(sample_rate_hz) or not MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ:
            raise AudioFormatError(f"sample rate {sample_rate_hz!r}; send {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
        if not _is_whole(channels) or not 1 <= channels <= MAX_CHANNELS:
            raise AudioFormatError(f"{channels!r} channels; send 1 to {MAX_CHANNELS}")
        self.encoding, self.sample_rate_hz, self.channels = encoding, sample_rate_hz, channels
        self.frame_bytes = _BYTES[encoding] * channels
        self.restart()

    def restart(self) -> None:
        """Forgets the resampler's filter state: the next chunk begins a new recording."""
        self._resampler = resampler(self.sample_rate_hz)

    def decode(self, data: bytes) -> PcmArray:
        """Mono 16 kHz samples of `data`, which must hold whole samples of every channel (AudioFormatError: a
        byte that is missing here would shift every later sample into noise)."""
        if len(data) % self.frame_bytes:
            raise AudioFormatError(
                f"{len(data)} bytes are not whole samples of {self.frame_bytes} bytes ({self.encoding}, "
                f"{self.channels} channels)"
            )
        samples = _decoded(self.encoding, data)
        if self._resampler is None and self.channels == 1:
            return samples
        mono = as_floats(samples)
        if self.channels > 1:
            mono = mono.reshape(-1, self.channels).mean(axis=1, dtype=np.float32)
        if self._resampler is None:
            return np.ascontiguousarray(mono, dtype=np.float32)
        # One NaN would spread through the resampler's filter for good.
        mono = np.nan_to_num(mono, nan=0.0, posinf=0.0, neginf=0.0)
        result: NDArray[np.float32] = self._resampler.resample_chunk(
            mono.astype(np.float32, copy=False), last=False
        )
        return result

    def drain(self) -> PcmArray:
        """What the resampler still holds; the end of the recording."""
        if self._resampler is None:
            return np.zeros(0, dtype=np.float32)
        tail: NDArray[np.float32] = self._resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
        self.restart()
        return tail


def _decoded(encoding: str, data: bytes) -> PcmArray:
    if encoding == "pcm_s16le":
        return np.frombuffer(data, dtype="<i2").astype(np.int16, copy=False)
    if encoding == "pcm_s32le":
        return (np.frombuffer(data, dtype="<i4") / np.float64(1 << 31)).astype(np.float32)
    if encoding == "pcm_f16le":
        return np.frombuffer(data, dtype="<f2").astype(np.float32)
    if encoding == "pcm_f32le":
        return np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)
    return _G711[encoding][np.frombuffer(data, dtype=np.uint8)]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
