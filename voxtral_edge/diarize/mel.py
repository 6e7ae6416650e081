"""Power mel spectrogram as librosa computes it: the input of the bundled speaker embedder.

Spectra of 25 ms Hann windows every 10 ms, 40 Slaney mel bands with area normalisation, power, no logarithm:
`librosa.feature.melspectrogram(y, sr=16000, n_fft=400, hop_length=160, n_mels=40)`, transposed. A test compares the
two; the differences are float32 rounding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 400
HOP_SAMPLES = 160
MEL_BINS = 40

# Slaney's scale: linear up to 1 kHz (200/3 Hz per mel), then 27 mels for each factor of 6.4.
_HZ_PER_MEL = 200.0 / 3.0
_LOG_FROM_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27.0


def hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney mels of frequencies in Hz."""
    logarithmic = _LOG_FROM_HZ / _HZ_PER_MEL + np.log(np.maximum(hz, _LOG_FROM_HZ) / _LOG_FROM_HZ) / _LOG_STEP
    return np.where(hz < _LOG_FROM_HZ, hz / _HZ_PER_MEL, logarithmic)


def mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `hz_to_mel`."""
    above = mel - _LOG_FROM_HZ / _HZ_PER_MEL
    return np.where(above < 0, mel * _HZ_PER_MEL, _LOG_FROM_HZ * np.exp(_LOG_STEP * np.maximum(above, 0)))


def mel_filters(
    bins: int = MEL_BINS, window_samples: int = WINDOW_SAMPLES, sample_rate_hz: int = SAMPLE_RATE_HZ
) -> NDArray[np.float32]:
    """Triangles of area one over the spectrum's bins, shape [bins, window_samples // 2 + 1]."""
    frequencies = np.fft.rfftfreq(window_samples, 1.0 / sample_rate_hz)
    corners = mel_to_hz(np.linspace(0.0, float(hz_to_mel(np.array(sample_rate_hz / 2.0))), bins + 2))
    widths = np.diff(corners)
    rising = (frequencies[None, :] - corners[:-2, None]) / widths[:-1, None]
    falling = (corners[2:, None] - frequencies[None, :]) / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return (triangles * (2.0 / (corners[2:] - corners[:-2]))[:, None]).astype(np.float32)


_FILTERS = np.ascontiguousarray(mel_filters().T)
# The periodic Hann window: one sample of its symmetric form of 401 is left out.
_HANN = (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES)).astype(np.float32)


def power_mel(pcm: NDArray[np.float32]) -> NDArray[np.float32]:
    """Frames of a whole stretch of audio: float32 [1 + n // 160, 40]; frame t is centred at sample 160·t, with zeros
    beyond both ends. `pcm` is 1-D float32 at 16 kHz."""
    padded = np.pad(np.asarray(pcm, dtype=np.float32), WINDOW_SAMPLES // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::HOP_SAMPLES]
    spectrum = np.fft.rfft(windows * _HANN, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    return band_powers(power, _FILTERS)


def band_powers(power: NDArray[np.float32], filters: NDArray[np.float32]) -> NDArray[np.float32]:
    """[frames, spectrum] @ [spectrum, bands], a few frames at a time: beyond 262,144 multiplications OpenBLAS takes all
    cores, whose threads then spin against the transcriber's (20 ms of processor time for 0.1 ms of work)."""
    frames = max(1, 262_144 // filters.size)
    return np.concatenate([power[at : at + frames] @ filters for at in range(0, len(power), frames)])
