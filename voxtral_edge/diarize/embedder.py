"""From a stretch of speech to a vector that says who speaks."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.diarize.front_ends import front_end_of
from voxtral_edge.errors import DeviceError, ModelFormatError

BUNDLED_EMBEDDER = Path(__file__).parent / "weights" / "ge2e.onnx"
# The bundled embedder listens to the level: a voice 10 dB louder is another vector (a cosine of 0.87). So all windows
# have one level; -32 to -20 dBFS tell speakers apart equally well.
LEVEL_DBFS = -28.0


@runtime_checkable
class SpeakerEmbedder(Protocol):
    """What the diariser asks for. Equal audio must give equal vectors, and two stretches of one voice vectors that
    point the same way.

    name               identifies the vectors: voiceprints of one embedder mean nothing to another
    same_speaker       cosine between the average vectors of two groups of windows, ten seconds of speech or more, from
                       which on they are one speaker
    """

    name: str
    same_speaker: float

    def embed(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """A vector of length one for 1-D float32 audio at 16 kHz, 0.4 s or more of one voice."""
        ...


class OnnxEmbedder:
    """An ONNX model as `SpeakerEmbedder`, computed by onnxruntime on one thread.

    path          model with one input and one output: [frames, bins] or [1, frames, bins] features, or [1, samples]
                  audio, to a vector (a leading 1 is dropped). None: the bundled GE2E model (256 numbers).
    front_end     what the input is: a name of `voxtral_edge.diarize.front_ends`. None: what the file's metadata say
                  ("front_end", or the keys that sherpa-onnx's speaker models carry).
    same_speaker  as in `SpeakerEmbedder`; must be found for each model. None: the bundled model's, or the file's
                  metadata "same_speaker".

    DeviceError: onnxruntime is not installed. ModelFormatError: the file is not such a model.
    """

    def __init__(
        self, path: Path | str | None = None, front_end: str | None = None, same_speaker: float | None = None
    ) -> None:
        self.path = BUNDLED_EMBEDDER if path is None else Path(path)
        self._session = _session(self.path)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or not outputs:
            raise ModelFormatError(
                f"{self.path}: has {len(inputs)} inputs; a speaker embedder takes one (features or audio)"
            )
        self._input, self._output = inputs[0].name, outputs[0].name
        self._rank = len(inputs[0].shape)
        metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        self._features = front_end_of(front_end, metadata, self.path)
        self.name = metadata.get("name", self.path.stem)
        self.same_speaker = float(metadata.get("same_speaker", 0.5)) if same_speaker is None else same_speaker

    def embed(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """As in `SpeakerEmbedder`. ModelFormatError if the model does not answer with one finite vector."""
        features = self._features(_levelled(pcm))
        while features.ndim < self._rank:
            features = features[None]
        try:
            vector = np.asarray(
                self._session.run([self._output], {self._input: features})[0], dtype=np.float32
            )
        except Exception as error:
            raise ModelFormatError(
                f"{self.path}: does not take {features.shape} {features.dtype} as input ({error}); "
                "name its front end"
            ) from error
        vector = vector.reshape(-1)
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0.0:
            raise ModelFormatError(f"{self.path}: answered with a vector of length {length}")
        return vector / np.float32(length)


def _levelled(pcm: NDArray[np.float32]) -> NDArray[np.float32]:
    """The audio with a mean power of `LEVEL_DBFS`; silence as it is."""
    samples = np.asarray(pcm, dtype=np.float32)
    power = float(np.mean(samples * samples)) if len(samples) else 0.0
    return samples * np.float32(np.sqrt(10.0 ** (LEVEL_DBFS / 10.0) / power)) if power > 0.0 else samples


def _session(path: Path) -> Any:
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise DeviceError(
            f"telling speakers apart needs onnxruntime, which does not load ({error}); "
            "run `pip install onnxruntime`"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # ten milliseconds of work: the transcriber needs the other cores
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelFormatError(f"{path}: is not an ONNX model that onnxruntime can load ({error})") from error
