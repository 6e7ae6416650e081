"""The onnxruntime engine: the same streaming loop as the native engine, computing with onnxruntime.

Importing this module loads the compiled module, which holds the loop; DeviceError if that is not installed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxtral_edge._native import native_module
from voxtral_edge.engines.onnxruntime_backend import Float32Array, OnnxRuntimeBackend, StreamState

_PythonEngine: Any = native_module().PythonEngine


class OnnxRuntimeEngine(_PythonEngine):
    """Runs a package's ONNX graphs with onnxruntime; accepted by `_core.Stream` wherever a native engine is.

    Options and errors are those of `OnnxRuntimeBackend`; `backend` is one that is loaded already.
    """

    def __init__(
        self,
        package_dir: str | Path,
        *,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        backend: OnnxRuntimeBackend | None = None,
    ) -> None:
        self.backend = backend or OnnxRuntimeBackend(package_dir, threads=threads, providers=providers)
        super().__init__(os.fsencode(package_dir))

    def info(self) -> dict[str, Any]:
        """What computes: onnxruntime's version, execution providers, threads (0: onnxruntime's choice)."""
        return self.backend.info()

    def create_state(self, delay_scales: npt.NDArray[np.float32], first_token_position: int) -> StreamState:
        """State of a new stream; `delay_scales` float32 [decoder layers, decoder width]."""
        return self.backend.create_state(delay_scales, first_token_position)

    def encode(
        self, state: StreamState, mel: npt.NDArray[np.float32], first_token_position_of_call: int
    ) -> tuple[Float32Array, Float32Array]:
        """mel [8n, mel_bins] -> (audio embeddings [n, decoder width], encoder frames [4n, encoder width])."""
        return self.backend.encode(state, mel, first_token_position_of_call)

    def decode(
        self,
        state: StreamState,
        audio_embeddings: npt.NDArray[np.float32],
        previous_ids: npt.NDArray[np.int64],
        position: int,
    ) -> Float32Array:
        """Logits [k, vocab_size] of positions position .. position + k − 1."""
        return self.backend.decode(state, audio_embeddings, previous_ids, position)
