"""The optional optimum plugin: what runs without optimum, and all of it where optimum-onnx is installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from source_export import ROOT

from checkpoints import _load_model, make_checkpoint
from voxtral_edge.export import optimum_plugin

# optimum-onnx 0.1.0 asks transformers for three names that 5.x moved or dropped. With them put back its
# exporter loads, and exports this model through our patcher; the test does so in a process of its own.
_FORCED = """
import sys
sys.path.insert(0, sys.argv[1])
import source_export
import torch, transformers, onnxruntime
import transformers.modeling_utils as modeling
import transformers.utils.generic as generic
import transformers.utils.output_capturing as capturing
from pathlib import Path
from voxtral_edge.export import optimum_plugin
generic._CAN_RECORD_REGISTRY = {}
generic.OutputRecorder = capturing.OutputRecorder
modeling.get_parameter_dtype = lambda model: next(model.parameters()).dtype
state = optimum_plugin.activate()
assert state.active, state.reason
from optimum.exporters.onnx import convert
from optimum.exporters.tasks import TasksManager
model = transformers.VoxtralRealtimeForConditionalGeneration.from_pretrained(
    sys.argv[2], dtype=torch.float32, attn_implementation="eager").eval()
make = TasksManager.get_exporter_config_constructor(
    "onnx", model=model, task=optimum_plugin.TASK, library_name="transformers")
target = Path(sys.argv[3])
convert.export(model, make(model.config), target, opset=18)
session = onnxruntime.InferenceSession(str(target))
for tokens in (48, 60):
    inputs = optimum_plugin.example_inputs(model.config, "pt", tokens)
    with torch.no_grad():
        expected = model(**inputs, use_cache=False).logits.numpy()
    (found,) = session.run(["logits"], {name: value.numpy() for name, value in inputs.items()})
    assert abs(found - expected).max() < 1e-3, (tokens, abs(found - expected).max())
print("exported")
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("optimum") / "checkpoint", "golden")


def test_activate_says_why_not():
    state = optimum_plugin.activate()
    assert state.reason
    if importlib.util.find_spec("optimum") is None:
        assert not state.active and "optimum" in state.reason


def test_old_transformers_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", types.ModuleType("transformers"))
    state = optimum_plugin.activate()
    assert not state.active and "VoxtralRealtimeForConditionalGeneration" in state.reason


class FakeOnnxConfig:
    """The part of optimum's OnnxConfig that the plugin relies on."""

    def __init__(self, config: Any, task: str) -> None:
        self._config, self.task = config, task


class FakeTasksManager:
    _CUSTOM_CLASSES: dict[tuple[str, str, str], tuple[str, str]] = {}  # noqa: RUF012 - as in optimum
    registered: list[tuple[str, str, str, type]] = []  # noqa: RUF012

    @classmethod
    def create_register(cls, backend: str, overwrite_existing: bool = False) -> Any:
        def wrapper(model_type: str, *tasks: str) -> Any:
            def decorator(config_class: type) -> type:
                cls.registered.extend((backend, model_type, task, config_class) for task in tasks)
                return config_class

            return decorator

        return wrapper


def test_activate_registers_where_optimum_loads(monkeypatch):
    modules = {
        "optimum.exporters.onnx.config": types.SimpleNamespace(OnnxConfig=FakeOnnxConfig),
        "optimum.exporters.tasks": types.SimpleNamespace(TasksManager=FakeTasksManager),
    }
    original = importlib.import_module
    monkeypatch.setattr(
        importlib, "import_module", lambda name, *package: modules.get(name) or original(name, *package)
    )
    assert optimum_plugin.activate().active
    ((backend, model_type, task, config_class),) = FakeTasksManager.registered
    assert (backend, model_type, task) == ("onnx", "voxtral_realtime", "automatic-speech-recognition")
    assert (
        FakeTasksManager._CUSTOM_CLASSES["pt", model_type, task][1]
        == "VoxtralRealtimeForConditionalGeneration"
    )
    config = config_class(None, task)
    assert list(config.inputs) == ["input_ids", "input_features"] and list(config.outputs) == ["logits"]


def test_declared_inputs_export_with_torch_as_optimum_calls_it(checkpoint, tmp_path):
    model = _load_model(checkpoint)
    target = tmp_path / "model.onnx"
    with torch.no_grad(), optimum_plugin.TracedForward(None, model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (optimum_plugin.example_inputs(model.config, "pt", 48),),
            str(target),
            input_names=list(optimum_plugin.INPUTS),
            output_names=list(optimum_plugin.OUTPUTS),
            dynamic_axes={**optimum_plugin.INPUTS, **optimum_plugin.OUTPUTS},
            opset_version=18,
            dynamo=False,
        )
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    for tokens in (48, 60):
        inputs = optimum_plugin.example_inputs(model.config, "pt", tokens)
        with torch.no_grad():
            expected = model(**inputs, use_cache=False).logits.numpy()
        (found,) = session.run(["logits"], optimum_plugin.example_inputs(model.config, "np", tokens))
        assert found.shape == (1, tokens, model.config.text_config.vocab_size)
        assert np.abs(found - expected).max() < 1e-3
    features = optimum_plugin.example_inputs(model.config, "np", 48)["input_features"]
    assert features.shape == (1, 128, 384) and features.dtype == np.float32


def test_the_model_is_restored_after_tracing(checkpoint):
    model = _load_model(checkpoint)
    masks = importlib.import_module("transformers.masking_utils")
    before = model.forward, masks.find_packed_sequence_indices
    with optimum_plugin.TracedForward(None, model):
        assert model.forward is not before[0]
    assert (model.forward, masks.find_packed_sequence_indices) == before


@pytest.mark.skipif(importlib.util.find_spec("optimum") is None, reason="optimum-onnx is not installed")
def test_real_optimum_with_the_names_it_misses_put_back(checkpoint, tmp_path):
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            _FORCED,
            str(ROOT / "tests" / "python"),
            str(checkpoint),
            str(tmp_path / "m.onnx"),
        ],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.strip().endswith("exported")
