"""What speaker models take as input, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.diarize.fbank import log_fbank
from voxtral_edge.diarize.mel import power_mel
from voxtral_edge.errors import ModelFormatError

FrontEnd = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def _audio(pcm: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(pcm, dtype=np.float32)


# power-mel-40   Resemblyzer: 40 Slaney mels, power, no logarithm
# fbank-80       Kaldi's log filter bank, 80 bins, samples in [-1, 1), mean over time subtracted (3D-Speaker)
# fbank-80-int16 the same with samples scaled to 16-bit integers (WeSpeaker)
# audio          the samples themselves
FRONT_ENDS: dict[str, FrontEnd] = {
    "power-mel-40": power_mel,
    "fbank-80": partial(log_fbank, scale=1.0),
    "fbank-80-int16": partial(log_fbank, scale=32768.0),
    "audio": _audio,
}


def front_end_of(name: str | None, metadata: Mapping[str, str], path: Path) -> FrontEnd:
    """The front end that is asked for, or that the model file's metadata name. ModelFormatError if neither does, or
    for an unknown name."""
    if name is None:
        name = metadata.get("front_end") or _sherpa_front_end(metadata)
    if name is None:
        raise ModelFormatError(
            f"{path}: does not say what its input is; name the front end: {', '.join(FRONT_ENDS)}"
        )
    if name not in FRONT_ENDS:
        raise ModelFormatError(f"{path}: front end {name!r} is unknown; known: {', '.join(FRONT_ENDS)}")
    return FRONT_ENDS[name]


def _sherpa_front_end(metadata: Mapping[str, str]) -> str | None:
    """sherpa-onnx's exports of WeSpeaker and 3D-Speaker models say how samples are scaled and features normalised."""
    if metadata.get("framework") not in ("wespeaker", "3d-speaker") or metadata.get("sample_rate") != "16000":
        return None
    return "fbank-80" if metadata.get("normalize_samples") == "1" else "fbank-80-int16"
