"""Kaldi's log mel filter bank, the input of most published speaker models (WeSpeaker, 3D-Speaker)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.diarize.mel import band_powers

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 400
HOP_SAMPLES = 160
FFT_SAMPLES = 512
BINS = 80
LOWEST_HZ = 20.0
PREEMPHASIS = 0.97
# Kaldi's float epsilon: the least power of which a logarithm is taken.
LEAST_POWER = 1.1920928955078125e-07


def _mel(hz: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    return 1127.0 * np.log1p(hz / 700.0)


def _filters() -> NDArray[np.float32]:
    """Triangles in the mel domain, of height one; shape [257, 80]."""
    frequencies = _mel(np.arange(FFT_SAMPLES // 2 + 1) * (SAMPLE_RATE_HZ / FFT_SAMPLES))
    corners = np.linspace(_mel(np.array(LOWEST_HZ)), _mel(np.array(SAMPLE_RATE_HZ / 2.0)), BINS + 2)
    rising = (frequencies[:, None] - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequencies[:, None]) / (corners[2:] - corners[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling))
    filters[-1] = 0.0  # Kaldi leaves the bin at half the sample rate out
    return filters.astype(np.float32)


_FILTERS = _filters()
_HAMMING = np.hamming(WINDOW_SAMPLES).astype(np.float32)


def log_fbank(pcm: NDArray[np.float32], scale: float = 1.0) -> NDArray[np.float32]:
    """Features float32 [frames, 80], each bin's mean over the stretch subtracted; frames that are whole only
    (snip_edges), no dither, no energy. `scale` multiplies the samples first. At least one frame: shorter audio is
    padded with zeros."""
    samples = np.asarray(pcm, dtype=np.float32) * np.float32(scale)
    if len(samples) < WINDOW_SAMPLES:
        samples = np.pad(samples, (0, WINDOW_SAMPLES - len(samples)))
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW_SAMPLES)[::HOP_SAMPLES]
    windows = windows - windows.mean(axis=1, keepdims=True)
    before = np.concatenate([windows[:, :1], windows[:, :-1]], axis=1)
    spectrum = np.fft.rfft((windows - np.float32(PREEMPHASIS) * before) * _HAMMING, FFT_SAMPLES, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    features = np.log(np.maximum(band_powers(power, _FILTERS), np.float32(LEAST_POWER)))
    return np.asarray(features - features.mean(axis=0, keepdims=True), dtype=np.float32)
