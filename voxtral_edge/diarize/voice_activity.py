"""Where there is speech: energy against a noise floor that follows the room. A stream of 10 ms frames, no model."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

FRAME_SAMPLES = 160
FRAMES_PER_SECOND = 100

# 200 to 3800 Hz, in bins of 100 Hz: hum lies below, and half of a white noise above.
_FIRST_BIN, _LAST_BIN = 2, 39
_HANN = (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(FRAME_SAMPLES) / FRAME_SAMPLES)).astype(np.float32)
# Both halves of the spectrum, the transform's length, and what the window takes away.
_BAND_SCALE = 2.0 / (FRAME_SAMPLES * float(np.sum(_HANN**2)))

# Speech must stand this far above the floor (dB): 0.15 of the range between floor and recent peak, within these limits.
# A quiet room has 50 dB of range and breaths 10 dB above its floor, a noisy street has 15.
MIN_RISE_DB = 3.5
MAX_RISE_DB = 10.0
RANGE_SHARE = 0.15
# Levels below this are silence whatever the floor is (16-bit dither is at -96 dBFS, a quiet microphone at -65).
LOWEST_SPEECH_DB = -65.0
# Until the first second has been heard, the floor is at most this: a recording may begin in the middle of a word.
FIRST_FLOOR_DB = -50.0
FIRST_BLOCKS = 2
# The floor is the least smoothed level of this long: continuous talk pauses for breath more often than that.
FLOOR_BLOCKS = 16
BLOCK_FRAMES = 50
# Peaks are forgotten at 1.5 dB per second, so that a slammed door does not deafen for long.
PEAK_DECAY_DB = 0.015
# Fewer loud frames in a row are a click, not a word.
START_FRAMES = 3


class VoiceActivity:
    """Frame-wise decision whether somebody talks. Deterministic; state of a few hundred numbers."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets the room."""
        self._smoothed = -100.0
        self._block_least = 0.0
        self._block_frames = 0
        self._blocks: deque[float] = deque(maxlen=FLOOR_BLOCKS)
        self._peak = -100.0
        self._run = 0

    def frame(self, samples: NDArray[np.float32]) -> bool:
        """Whether the next 160 samples (float32, 16 kHz) are speech. The first 20 ms of a word are still answered
        with False: a click is not a word."""
        level = self._level(samples)
        self._follow(level)
        self._run = self._run + 1 if level > self.threshold_db else 0
        return self._run >= START_FRAMES

    @property
    def floor_db(self) -> float:
        """The noise floor in dBFS of the band that carries speech."""
        least = min(self._blocks, default=0.0)
        if self._block_frames:
            least = min(least, self._block_least)
        return min(least, FIRST_FLOOR_DB) if len(self._blocks) < FIRST_BLOCKS else least

    @property
    def threshold_db(self) -> float:
        """The level above which a frame is speech."""
        floor = self.floor_db
        rise = min(MAX_RISE_DB, max(MIN_RISE_DB, RANGE_SHARE * (self._peak - floor)))
        return max(LOWEST_SPEECH_DB, floor + rise)

    def _level(self, samples: NDArray[np.float32]) -> float:
        """Level in dBFS of the band that carries speech."""
        spectrum = np.fft.rfft(samples * _HANN)[_FIRST_BIN:_LAST_BIN]
        power = float(np.sum(spectrum.real**2 + spectrum.imag**2)) * _BAND_SCALE
        return 10.0 * float(np.log10(power + 1e-12))

    def _follow(self, level: float) -> None:
        self._smoothed = level if self._smoothed <= -100.0 else 0.8 * self._smoothed + 0.2 * level
        self._block_least = (
            self._smoothed if self._block_frames == 0 else min(self._block_least, self._smoothed)
        )
        self._block_frames += 1
        if self._block_frames == BLOCK_FRAMES:
            self._blocks.append(self._block_least)
            self._block_frames = 0
        self._peak = max(level, self._peak - PEAK_DECAY_DB)
