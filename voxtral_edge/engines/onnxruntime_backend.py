"""Encode and decode with onnxruntime: one pair of sessions for all streams, one state per stream.

Nothing here needs the compiled module; `onnxruntime_engine` puts it behind the streaming loop. Keys and
values live in rings that the graphs update in place (the same memory is bound as input and output), so a
stream's memory is fixed when it starts, however long it runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxtral_edge.engines.graph_check import graph_problems
from voxtral_edge.engines.manifest import GRAPH_FILES, package_file, read_manifest
from voxtral_edge.errors import DeviceError, ModelFormatError, UsageError

MINIMUM_VERSION = (1, 25)
"""The first onnxruntime with a CPU kernel for TensorScatter (opset 24)."""
MAX_TOKENS_PER_CALL = 8
"""Rows of a graph call; more are split, so the rings need only this much beyond their windows."""
CONV1_TAIL_FRAMES = 2
CONV2_TAIL_FRAMES = 1
MEL_FRAMES_PER_ENCODER_FRAME = 2
DEVICES = {
    "CUDAExecutionProvider": "cuda",
    "TensorrtExecutionProvider": "cuda",
    "DmlExecutionProvider": "dml",
}
"""Where the rings of a stream live; every other provider works on host memory."""

Float32Array = npt.NDArray[np.float32]


def import_onnxruntime(what: str = "the onnxruntime engine") -> Any:
    """The onnxruntime module; DeviceError saying what needs it and how to install it when it is absent or too old."""
    try:
        import onnxruntime
    except ImportError as error:
        raise DeviceError(
            f"{what} needs onnxruntime, which does not load here ({error}); run `pip install onnxruntime`"
        ) from error
    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    if version < MINIMUM_VERSION:
        raise DeviceError(
            f"onnxruntime {onnxruntime.__version__} is too old: the graphs need "
            f"{'.'.join(map(str, MINIMUM_VERSION))} or later (TensorScatter); run "
            "`pip install --upgrade onnxruntime`"
        )
    return onnxruntime


class StreamState:
    """Memory of one stream: bindings of both graphs with its rings and tails. One thread at a time."""

    def __init__(
        self, backend: OnnxRuntimeBackend, delay_scales: Float32Array, first_token_position: int
    ) -> None:
        self.first_token_position = first_token_position
        self.rings: dict[str, Any] = {}
        """OrtValue of every ring and tail, keyed `encoder.key_cache.0`, …; bound once, updated in place."""
        self.delay_scales = delay_scales
        self.encoder = backend.sessions["encoder"].io_binding()
        self.decoder = backend.sessions["decoder"].io_binding()
        self._bind(backend, "encoder", self.encoder)
        self._bind(backend, "decoder", self.decoder)
        first_frame = first_token_position * backend.frames_per_token
        self.encoder.bind_cpu_input("first_position", np.array([first_frame], np.int64))
        self.decoder.bind_cpu_input("first_position", np.array([first_token_position], np.int64))
        self.decoder.bind_cpu_input("delay_scales", delay_scales)

    def _bind(self, backend: OnnxRuntimeBackend, graph: str, binding: Any) -> None:
        for name, shape in backend.state_shapes(graph).items():
            value = backend.zeros(shape)
            self.rings[f"{graph}.{name}"] = value
            binding.bind_ortvalue_input(name, value)
            stem, _, layer = name.partition(".")
            binding.bind_ortvalue_output(f"{stem}_out" + (f".{layer}" if layer else ""), value)


class OnnxRuntimeBackend:
    """The two graphs of a package in onnxruntime. Thread-safe as long as each state is used by one thread."""

    def __init__(
        self,
        package_dir: str | Path,
        *,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        max_tokens_per_call: int = MAX_TOKENS_PER_CALL,
    ) -> None:
        """Check the package and load its graphs.

        `threads`: threads per graph call (default: onnxruntime's choice). `providers`: execution providers by
        onnxruntime's names, first choice first (default: CPU). Raises ModelFormatError for a damaged or
        hostile package, DeviceError when onnxruntime or a provider is not there, UsageError for a bad option.
        """
        if threads is not None and threads < 1:
            raise UsageError(f"threads is {threads}; give at least 1, or nothing for onnxruntime's choice.")
        if max_tokens_per_call < 1:
            raise UsageError(f"max_tokens_per_call is {max_tokens_per_call}; give at least 1.")
        directory = Path(package_dir)
        self.manifest = read_manifest(directory)
        problems = graph_problems(directory, self.manifest)
        if problems:
            raise ModelFormatError(f"Package '{directory}': {problems[0]}. Export the model again.")
        for name, entry in self.manifest["files"].items():
            size = package_file(directory, name).stat().st_size
            if size != entry["bytes"]:
                raise ModelFormatError(
                    f"Package '{directory}': '{name}' has {size} bytes and the manifest says "
                    f"{entry['bytes']}; copy or download it again."
                )
        self.config = self.manifest["config"]
        self.frames_per_token: int = self.config["adapter"]["frames_per_token"]
        self.max_tokens_per_call = max_tokens_per_call
        self._threads = threads or 0
        self._onnxruntime = import_onnxruntime()
        self.providers = self._check_providers(providers)
        self._device = DEVICES.get(self.providers[0], "cpu")
        self.sessions = {graph: self._session(directory / name) for graph, name in GRAPH_FILES.items()}

    # ------------------------------------------------------------------ the three calls of an engine

    def create_state(self, delay_scales: npt.ArrayLike, first_token_position: int) -> StreamState:
        """State of a new stream whose first token has the absolute position `first_token_position`.

        `delay_scales` float32 [decoder layers, decoder width]: g of each layer for the stream's delay.
        """
        decoder = self.config["decoder"]
        scales = _rows(delay_scales, np.float32, (decoder["layers"], decoder["width"]), "delay_scales")
        if first_token_position < 0:
            raise UsageError(f"first_token_position is {first_token_position}; positions start at 0.")
        return StreamState(self, scales.copy(), int(first_token_position))

    def encode(
        self, state: StreamState, mel: npt.ArrayLike, first_token_position_of_call: int
    ) -> tuple[Float32Array, Float32Array]:
        """mel [8n, mel_bins] -> audio embeddings [n, decoder width], encoder frames [4n, encoder width]."""
        encoder = self.config["encoder"]
        per_token = MEL_FRAMES_PER_ENCODER_FRAME * self.frames_per_token
        frames = _rows(mel, np.float32, (None, encoder["mel_bins"]), "mel")
        if not len(frames) or len(frames) % per_token:
            raise UsageError(f"mel has {len(frames)} rows; a call takes a positive multiple of {per_token}.")
        tokens = len(frames) // per_token
        embeddings = np.empty((tokens, self.config["adapter"]["output_width"]), np.float32)
        hidden = np.empty((tokens * self.frames_per_token, encoder["width"]), np.float32)
        for start in range(0, tokens, self.max_tokens_per_call):
            end = min(start + self.max_tokens_per_call, tokens)
            position = (first_token_position_of_call + start) * self.frames_per_token
            self._run(
                "encoder",
                state.encoder,
                position,
                {"mel": frames[start * per_token : end * per_token]},
                {
                    "audio_embeddings": embeddings[start:end],
                    "encoder_frames": hidden[start * self.frames_per_token : end * self.frames_per_token],
                },
            )
        return embeddings, hidden

    def decode(
        self, state: StreamState, audio_embeddings: npt.ArrayLike, previous_ids: npt.ArrayLike, position: int
    ) -> Float32Array:
        """Logits float32 [k, vocab_size] after positions position .. position + k − 1.

        A position may be decoded again (rejected drafts) as long as it is less than `max_tokens_per_call`
        behind the last one.
        """
        decoder = self.config["decoder"]
        embeddings = _rows(audio_embeddings, np.float32, (None, decoder["width"]), "audio_embeddings")
        ids = _rows(previous_ids, np.int64, (len(embeddings),), "previous_ids")
        if not len(ids):
            raise UsageError("decode was called without positions.")
        if ids.min() < 0 or ids.max() >= decoder["vocab_size"]:
            raise UsageError(
                f"previous_ids holds {ids.min()}..{ids.max()}; ids are 0..{decoder['vocab_size'] - 1}."
            )
        logits = np.empty((len(ids), decoder["vocab_size"]), np.float32)
        for start in range(0, len(ids), self.max_tokens_per_call):
            end = min(start + self.max_tokens_per_call, len(ids))
            self._run(
                "decoder",
                state.decoder,
                position + start,
                {"audio_embeddings": embeddings[start:end], "previous_ids": ids[start:end]},
                {"logits": logits[start:end]},
            )
        return logits

    # ------------------------------------------------------------------ state

    def info(self) -> dict[str, Any]:
        """onnxruntime's version, execution providers, threads (0: its own choice), a stream's bytes."""
        shapes = [shape for graph in GRAPH_FILES for shape in self.state_shapes(graph).values()]
        return {
            "onnxruntime": self._onnxruntime.__version__,
            "providers": list(self.providers),
            "threads": self._threads,
            "state_bytes": sum(4 * math.prod(shape) for shape in shapes),
        }

    def state_shapes(self, graph: str) -> dict[str, tuple[int, ...]]:
        """Shape of every state input of `graph`; rings hold the window and one call's rows."""
        section = self.config[graph]
        shapes: dict[str, tuple[int, ...]] = {}
        if graph == "encoder":
            shapes["conv1_tail"] = (CONV1_TAIL_FRAMES, section["mel_bins"])
            shapes["conv2_tail"] = (CONV2_TAIL_FRAMES, section["width"])
            slots = section["window_frames"] - 1 + self.frames_per_token * self.max_tokens_per_call
        else:
            slots = section["window_tokens"] - 1 + self.max_tokens_per_call
        for layer in range(section["layers"]):
            for kind in ("key", "value"):
                shapes[f"{kind}_cache.{layer}"] = (1, section["kv_heads"], slots, section["head_dim"])
        return shapes

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """A float32 OrtValue of zeros where the first provider computes."""
        return self._onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32), self._device, 0)

    # ------------------------------------------------------------------ sessions

    def _check_providers(self, providers: Sequence[str] | None) -> list[str]:
        if providers is None:
            return ["CPUExecutionProvider"]
        if isinstance(providers, str) or not providers:
            raise UsageError("providers is a list of execution provider names, first choice first.")
        available = self._onnxruntime.get_available_providers()
        for name in providers:
            if name not in available:
                raise DeviceError(f"onnxruntime has no '{name}' here; it has {', '.join(available)}.")
        return list(providers)

    def _session(self, path: Path) -> Any:
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{path}: onnxruntime opens only files with names in UTF-8; rename the folder, or use the native engine"
            ) from error
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Two sessions take turns: the one that is done must not keep its threads spinning on the other's
        # cores.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            return self._onnxruntime.InferenceSession(str(path), options, providers=self.providers)
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise ModelFormatError(
                f"onnxruntime {self._onnxruntime.__version__} does not load '{path}': {str(error)[:500]}"
            ) from error

    def _run(
        self,
        graph: str,
        binding: Any,
        position: int,
        inputs: dict[str, npt.NDArray[Any]],
        outputs: dict[str, Float32Array],
    ) -> None:
        """One graph call; `inputs` and `outputs` are contiguous and outlive it."""
        if position < 0:
            raise UsageError(f"position {position} of a {graph} call is negative.")
        place = np.array([position], np.int64)
        binding.bind_cpu_input("position", place)
        for name, array in inputs.items():
            binding.bind_cpu_input(name, array)
        for name, array in outputs.items():
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        try:
            self.sessions[graph].run_with_iobinding(binding)
        except Exception as error:
            raise DeviceError(
                f"onnxruntime failed in the {graph} at position {position}: {str(error)[:500]}"
            ) from error


def _rows(values: npt.ArrayLike, dtype: type, shape: tuple[int | None, ...], name: str) -> npt.NDArray[Any]:
    """`values` as a contiguous array of `dtype`; UsageError unless its shape fits (None: any size)."""
    array: npt.NDArray[Any] = np.ascontiguousarray(values, dtype)
    if array.ndim != len(shape) or any(
        want not in (None, got) for want, got in zip(shape, array.shape, strict=True)
    ):
        raise UsageError(f"{name} has the shape {array.shape}; expected {shape} (None: any size).")
    return array
