"""What a model's matrices are multiplied with while it transcribes, kept on disk for `compensation`.

The checkpoint is exported as int8 first, whose activations are those of the original but for a hundredth, and run with
onnxruntime; its graphs name every value, so that the input of each matrix becomes one more output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from voxtral_edge._native import native_module
from voxtral_edge.audio import SAMPLE_RATE_HZ, AudioFile
from voxtral_edge.engines.onnxruntime_backend import MEL_FRAMES_PER_ENCODER_FRAME, OnnxRuntimeBackend
from voxtral_edge.engines.onnxruntime_engine import OnnxRuntimeEngine
from voxtral_edge.quality.recordings import Recording

# Rows that are kept of each input, evenly from all: 13 GB on disk for the 4B model, reached by 11 minutes of audio in
# the decoder.
MOST_ROWS = 8192
_LARGEST_FP16 = 65504.0


class ActivationStore:
    """Rows of float16 [columns] per value, appended to one file each in `folder`.

    inputs   matrix name -> name of the value it is multiplied with; q, k and v share one
    """

    def __init__(self, folder: Path) -> None:
        self.inputs: dict[str, str] = {}
        self._folder = folder
        self._expected_tokens = 0
        self._columns: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._seen: dict[str, int] = {}

    def expect(self, tokens: int) -> None:
        """So many tokens will be heard."""
        self._expected_tokens = tokens

    def declare(self, matrix: str, value: str, columns: int) -> None:
        """`value` [rows, columns] is the input of `matrix`."""
        self.inputs[matrix] = value
        self._columns[value] = columns
        self._numbers.setdefault(value, len(self._numbers))

    def columns(self, value: str) -> int:
        return self._columns[value]

    def add(self, value: str, rows: np.ndarray, rows_per_token: int) -> None:
        """Keeps every so many of `rows` float32 [n, columns], so that about MOST_ROWS come from the whole audio."""
        step = max(1, math.ceil(self._expected_tokens * rows_per_token / MOST_ROWS))
        seen = self._seen.get(value, 0)
        self._seen[value] = seen + len(rows)
        kept = rows[-seen % step :: step]
        with self._path(value).open("ab") as file:
            file.write(np.clip(kept, -_LARGEST_FP16, _LARGEST_FP16).astype(np.float16).tobytes())

    def rows(self, value: str) -> np.ndarray:
        """All that was kept, float16 [n, columns]."""
        return np.fromfile(self._path(value), np.float16).reshape(-1, self._columns[value])

    def _path(self, value: str) -> Path:
        return self._folder / f"{self._numbers[value]}.rows"


class _RecordingBackend(OnnxRuntimeBackend):
    """Runs a package; the input of every quantised matrix goes to the store."""

    def __init__(self, package: Path, store: ActivationStore, threads: int) -> None:
        self._store = store
        self._taps: dict[str, list[str]] = {}
        super().__init__(package, threads=threads)

    def _session(self, path: Path) -> Any:
        model = onnx.load(str(path), load_external_data=False)
        taps = self._taps[path.stem] = []
        for node in list(model.graph.node):
            if node.op_type != "MatMulNBits":
                continue
            value, matrix = node.input[0], node.input[1]
            columns = next(attribute.i for attribute in node.attribute if attribute.name == "K")
            self._store.declare(matrix, value, columns)
            if value not in taps:
                taps.append(value)
                model.graph.node.append(helper.make_node("Identity", [value], [_tap(value)]))
                info = helper.make_tensor_value_info(_tap(value), TensorProto.FLOAT, [None, columns])
                model.graph.output.append(info)
        changed = path.with_suffix(".taps.onnx")
        onnx.save(model, str(changed))
        return super()._session(changed)

    def _run(
        self,
        graph: str,
        binding: Any,
        position: int,
        inputs: dict[str, np.ndarray],
        outputs: dict[str, np.ndarray],
    ) -> None:
        if graph == "encoder":
            frames = len(inputs["mel"]) // MEL_FRAMES_PER_ENCODER_FRAME
            tokens, per_token = frames // self.frames_per_token, self.frames_per_token
        else:
            tokens, per_token = len(inputs["previous_ids"]), 1
        heard: dict[str, tuple[np.ndarray, int]] = {}
        for value in self._taps[graph]:
            each = 1 if value in self._adapter_inputs() else per_token
            heard[value] = np.empty((tokens * each, self._store.columns(value)), np.float32), each
        taps = {_tap(value): rows for value, (rows, _) in heard.items()}
        super()._run(graph, binding, position, inputs, {**outputs, **taps})
        for value, (rows, each) in heard.items():
            self._store.add(value, rows, each)

    def _adapter_inputs(self) -> set[str]:
        return {value for matrix, value in self._store.inputs.items() if matrix.startswith("adapter.")}


def _tap(value: str) -> str:
    return f"{value}.tap"


def record_activations(
    package: Path,
    recordings: Sequence[Recording],
    folder: Path,
    threads: int,
    on_seconds: Callable[[int], None],
) -> ActivationStore:
    """Transcribes `recordings` with `package` (int8) at its default delay; what its matrices heard is kept in `folder`,
    an existing one. Errors as those of the onnxruntime engine."""
    samples = sum(recording.duration_s for recording in recordings) * SAMPLE_RATE_HZ
    store = ActivationStore(folder)
    backend = _RecordingBackend(package, store, threads)
    audio = backend.manifest["audio"]
    padding = audio["left_pad_tokens"] + audio["default_delay_tokens"] + audio["right_pad_extra_tokens"] + 2
    store.expect(math.ceil(samples / audio["samples_per_token"]) + padding * len(recordings))
    engine = OnnxRuntimeEngine(package, backend=backend)
    for recording in recordings:
        stream = native_module().Stream(engine, delay_tokens=audio["default_delay_tokens"])
        with AudioFile(recording.path) as file:
            for block in file.blocks(SAMPLE_RATE_HZ):
                stream.feed(block, True)
                on_seconds(len(block) // SAMPLE_RATE_HZ)  # the rest of a second at the end is not counted
        stream.finish()
    return store
