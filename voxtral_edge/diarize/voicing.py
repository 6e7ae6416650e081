"""Is it a voice? Energy finds music and machines too; a speaker must not be made of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
_FRAME, _HOP = 1024, 480
_FIRST_BIN, _LAST_BIN = 5, 243  # 80 to 3800 Hz
_STEADY_FROM_BIN = 13  # 200 Hz: mains hum under speech is steady too
_FIRST_LAG, _LAST_LAG = 40, 260  # pitch from 400 down to 62 Hz
_WINDOW = np.hanning(_FRAME).astype(np.float32)
# Frames quieter than this share of the loudest are not judged.
_LOUD_SHARE = 0.01
# Most of speech has a pitch: in 20 % of a window's frames and more, even with noise only 10 dB below it; noise seems
# to have one in 12 % and less.
PERIODIC, LEAST_PERIODIC_SHARE = 0.6, 0.15
# But the pitch glides: spectra 60 ms apart are nearly the same in less than 50 % of a window's frames; in notes and
# hum in more.
STEADY, MOST_STEADY_SHARE = 0.85, 0.5
_STEADY_FRAMES = 2


def _window_correlation() -> NDArray[np.float32]:
    power = np.abs(np.fft.rfft(_WINDOW)) ** 2
    return (np.fft.irfft(power)[_FIRST_LAG:_LAST_LAG] / np.sum(_WINDOW**2)).astype(np.float32)


_CORRELATION = _window_correlation()


def voice_shares(pcm: NDArray[np.float32]) -> tuple[float, float]:
    """Which share of the loud frames of some speech (1-D float32, 16 kHz) has a pitch, and in which share the
    spectrum stands still. (0, 0) for silence, or less than 64 ms."""
    if len(pcm) < _FRAME:
        return 0.0, 0.0
    frames = np.lib.stride_tricks.sliding_window_view(pcm, _FRAME)[::_HOP]
    spectrum = np.fft.rfft(frames * _WINDOW, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    power[:, :_FIRST_BIN] = 0
    power[:, _LAST_BIN:] = 0
    energy = power.sum(axis=1)
    loud = (energy > _LOUD_SHARE * energy.max()) & (energy > 1e-9)
    if not loud.any():
        return 0.0, 0.0
    correlation = np.fft.irfft(power[loud], axis=1)
    pitch = correlation[:, _FIRST_LAG:_LAST_LAG] / correlation[:, :1] / _CORRELATION
    shape = np.sqrt(power[:, _STEADY_FROM_BIN:_LAST_BIN])
    shape -= shape.mean(axis=1, keepdims=True)
    shape /= np.linalg.norm(shape, axis=1, keepdims=True) + 1e-9
    both = loud[_STEADY_FRAMES:] & loud[:-_STEADY_FRAMES]
    same = np.sum(shape[_STEADY_FRAMES:] * shape[:-_STEADY_FRAMES], axis=1)[both]
    steady = float(np.mean(same > STEADY)) if len(same) else 0.0
    return float(np.mean(pitch.max(axis=1) > PERIODIC)), steady


def is_voice(pcm: NDArray[np.float32]) -> bool:
    """Whether a window of speech can be of a voice: False for noise, hum and plain music. Whispering has no pitch
    either, and is not taken for a voice; singing is."""
    periodic, steady = voice_shares(pcm)
    return periodic >= LEAST_PERIODIC_SHARE and steady <= MOST_STEADY_SHARE
