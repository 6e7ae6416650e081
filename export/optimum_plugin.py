"""Optional: registers Voxtral Realtime with optimum's ONNX exporter, where the installed versions allow it.

    from voxtral_edge.export import optimum_plugin
    optimum_plugin.activate()                          # says whether it is active, and if not why
    python -m voxtral_edge.export.optimum_plugin       # the same on the command line

What optimum then exports is the whole model in one pass, without a cache: `input_ids` and `input_features`
in, `logits` out, with the delay of the checkpoint's configuration. That is a reference to compare with, not a
streaming model: `voxtral-edge export` does not use it. docs/export.md says which versions work.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass
from types import ModuleType
from typing import Any

MODEL_TYPE = "voxtral_realtime"
MODEL_CLASS = "VoxtralRealtimeForConditionalGeneration"
TASK = "automatic-speech-recognition"

# Tensor name -> {axis: symbolic size}. One token (id) goes with 8 mel frames: mel_frames = 8 * tokens.
INPUTS: dict[str, dict[int, str]] = {
    "input_ids": {0: "batch_size", 1: "tokens"},
    "input_features": {0: "batch_size", 2: "mel_frames"},
}
OUTPUTS: dict[str, dict[int, str]] = {"logits": {0: "batch_size", 1: "tokens"}}
# Enough for the prompt of the released model (39 tokens) and then some.
_EXAMPLE_TOKENS = 48


@dataclass(frozen=True)
class Activation:
    """Whether the model is registered with optimum now, and a line that says why or why not."""

    active: bool
    reason: str


def activate() -> Activation:
    """Registers the model; never raises for a missing or unsuitable optimum or transformers."""
    transformers = _try_import("transformers")
    if isinstance(transformers, ImportError):
        return Activation(False, f"transformers does not load: {transformers}")
    if not hasattr(transformers, MODEL_CLASS):
        return Activation(False, f"transformers {_version('transformers')} has no {MODEL_CLASS}; 5.x has it")
    config = _try_import("optimum.exporters.onnx.config")
    tasks = _try_import("optimum.exporters.tasks")
    for module in (config, tasks):
        if isinstance(module, ImportError):
            return Activation(
                False,
                f"optimum's ONNX exporter ({_version('optimum-onnx')}) does not load beside transformers"
                f" {_version('transformers')}: {module}",
            )
    register(config, tasks)
    return Activation(
        True, f"registered {MODEL_TYPE} for {TASK} with optimum-onnx {_version('optimum-onnx')}"
    )


def register(config: Any, tasks: Any) -> type:
    """Registers with optimum's modules `optimum.exporters.onnx.config` and `optimum.exporters.tasks`."""
    manager = tasks.TasksManager
    created = make_config_class(config.OnnxConfig)
    manager.create_register("onnx", overwrite_existing=True)(MODEL_TYPE, TASK)(created)
    # The task's usual loader (AutoModelForSpeechSeq2Seq) does not know this model.
    manager._CUSTOM_CLASSES["pt", MODEL_TYPE, TASK] = ("transformers", MODEL_CLASS)
    return created


def make_config_class(base: type) -> type:
    """A subclass of optimum's OnnxConfig; made here because the base exists only where optimum loads."""

    class VoxtralRealtimeOnnxConfig(base):
        """Whole-clip recognition: every position's logits from ids and log-mel features."""

        # TasksManager and OnnxConfig look for these two; the names are those of transformers' configuration.
        NORMALIZED_CONFIG_CLASS = _PlainConfig
        DUMMY_INPUT_GENERATOR_CLASSES = ()
        _MODEL_PATCHER = TracedForward

        @property
        def inputs(self) -> dict[str, dict[int, str]]:
            return {name: dict(axes) for name, axes in INPUTS.items()}

        @property
        def outputs(self) -> dict[str, dict[int, str]]:
            return {name: dict(axes) for name, axes in OUTPUTS.items()}

        def generate_dummy_inputs(self, framework: str = "pt", **_: Any) -> dict[str, Any]:
            return example_inputs(self._config, framework)

    return VoxtralRealtimeOnnxConfig


class TracedForward:
    """While active, the model's forward takes INPUTS, gives OUTPUTS, and can be traced.

    Takes the place of optimum's ModelPatcher, which replaces transformers' mask functions by ones with the
    arguments of transformers 4.x. The only part of a 5.x mask that the tracer cannot follow is the search for
    several sequences packed into one row (aten::diff); there are none here.
    """

    def __init__(self, _config: Any, model: Any, model_kwargs: dict[str, Any] | None = None) -> None:
        self._model, self._kwargs = model, model_kwargs or {}
        self._masks: Any = importlib.import_module("transformers.masking_utils")

    def __enter__(self) -> None:
        self._forward, self._find_packed = self._model.forward, self._masks.find_packed_sequence_indices

        def forward(input_ids: Any = None, input_features: Any = None, **_: Any) -> dict[str, Any]:
            result = self._forward(
                input_ids=input_ids, input_features=input_features, use_cache=False, **self._kwargs
            )
            return {"logits": result.logits}

        self._model.forward = forward
        self._masks.find_packed_sequence_indices = lambda position_ids: None

    def __exit__(self, *_: object) -> None:
        self._model.forward = self._forward
        self._masks.find_packed_sequence_indices = self._find_packed


class _PlainConfig:
    """optimum wraps a configuration to unify attribute names; this model's are used directly."""

    def __init__(self, config: Any, allow_new: bool = False, **_: Any) -> None:
        self.config = config

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["config"], name)


def example_inputs(config: Any, framework: str = "pt", tokens: int = _EXAMPLE_TOKENS) -> dict[str, Any]:
    """Inputs of matching length for a transformers VoxtralRealtimeConfig: input_ids int64 [1, tokens] and
    input_features float32 [1, mel bins, 8 * tokens], as torch ("pt") or numpy ("np") arrays."""
    import numpy as np

    generator = np.random.default_rng(0)
    frames = tokens * int(config.audio_length_per_tok)
    arrays = {
        "input_ids": generator.integers(0, int(config.text_config.vocab_size), (1, tokens), np.int64),
        "input_features": generator.standard_normal(
            (1, int(config.audio_config.num_mel_bins), frames), dtype=np.float32
        ),
    }
    if framework == "np":
        return arrays
    import torch

    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _try_import(name: str) -> ModuleType | ImportError:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        return error


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    print(activate().reason)
