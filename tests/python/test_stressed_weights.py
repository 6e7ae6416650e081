"""Outliers, heavy tails, large biases, numbers beyond half precision: nothing becomes NaN, and errors stay bounded.

The weights of large trained models look like that, random ones do not; the released checkpoint must not be the first
one with them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from export_testing import export_folder
from native_testing import Trace, limit, relative_rms, speech, tolerances
from safetensors.torch import load_file, save_file
from stressed_checkpoints import STRESSES, stressed

import checkpoints
import voxtral_edge as ve
from voxtral_edge.errors import ModelFormatError

pytestmark = pytest.mark.usefixtures("onnxruntime")

LIMITS = tolerances("stressed_weights")
ENGINES = tolerances("quantised_engines")
SHAPE, PLAIN = "gqa8", "plain"
# Some of their weights are no halves: the exporter refuses fp16.
BEYOND_HALF = ("large keys", "tiny")


class Stressed:
    """Checkpoints, packages and traces, made once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cache  # noqa: B019 - lives as long as the test session
    def checkpoint(self, stress: str) -> Path:
        folder = checkpoints.make_checkpoint(self.root / stress, SHAPE)
        return folder if stress == PLAIN else stressed(folder, stress, SHAPE)

    @cache  # noqa: B019
    def reference(self, stress: str) -> Trace:
        return checkpoints.reference(self.checkpoint(stress), speech(), 6)

    @cache  # noqa: B019
    def package(self, stress: str, precision: str) -> Path:
        return export_folder(self.checkpoint(stress), self.root / f"{stress}-{precision}", precision)

    @cache  # noqa: B019
    def trace(self, stress: str, precision: str, engine: str, kv_cache: str = "f32") -> Trace:
        options = {"kv_cache": kv_cache} if engine == "native" else {}
        loaded = ve.load(self.package(stress, precision), engine, 1, **options)
        return ve.inspect.trace(loaded, speech(), 6)

    def error(self, stress: str, precision: str, engine: str, kv_cache: str = "f32") -> float:
        """The larger of the encoder's and the projector's relative rms error."""
        got, expected = self.trace(stress, precision, engine, kv_cache), self.reference(stress)
        return max(relative_rms(got[stage], expected[stage]) for stage in ("encoder", "projector"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Stressed:
    return Stressed(tmp_path_factory.mktemp("stressed"))


@pytest.mark.parametrize("engine", ["native", "onnxruntime"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
@pytest.mark.parametrize("stress", STRESSES)
def test_errors_stay_bounded(models: Stressed, stress: str, precision: str, engine: str) -> None:
    if precision == "fp16" and stress in BEYOND_HALF:
        with pytest.raises(ModelFormatError, match=r"tensor '.*' holds .* does not fit fp16"):
            models.package(stress, precision)
        return
    trace = models.trace(stress, precision, engine)
    assert all(np.isfinite(trace[stage]).all() for stage in ("encoder", "projector", "logits"))
    assert models.error(stress, precision, engine) <= limit(LIMITS[precision])
    if precision == "fp32":
        assert trace["ids"].tolist() == models.reference(stress)["ids"].tolist()


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("stress", STRESSES)
def test_engines_degrade_alike(models: Stressed, stress: str, precision: str) -> None:
    native, other = (models.trace(stress, precision, engine) for engine in ("native", "onnxruntime"))
    assert relative_rms(native["encoder"], other["encoder"]) <= limit(ENGINES["encoder"])
    assert relative_rms(native["projector"], other["projector"]) <= limit(ENGINES["projector"])
    assert relative_rms(native["logits"][:1], other["logits"][:1]) <= limit(ENGINES["logits"])


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("stress", BEYOND_HALF)
def test_powers_of_two_cost_nothing(models: Stressed, stress: str, precision: str) -> None:
    plain, scaled = (models.error(name, precision, "native") for name in (PLAIN, stress))
    assert scaled <= limit(LIMITS["same_function"]) * plain


@pytest.mark.parametrize("kv_cache", ["auto", "int8"])
@pytest.mark.parametrize("stress", STRESSES)
def test_small_attention_state_stays_finite(models: Stressed, stress: str, kv_cache: str) -> None:
    trace = models.trace(stress, "int4", "native", kv_cache)
    assert all(np.isfinite(trace[stage]).all() for stage in ("encoder", "projector", "logits"))
    if stress == "large keys" and kv_cache == "auto":
        return  # see below
    assert models.error(stress, "int4", "native", kv_cache) <= limit(LIMITS["int4"])


def test_keys_beyond_half_precision_are_reported(models: Stressed) -> None:
    package = models.package("large keys", "int4")
    transcript = ve.load(package, "native", 1, kv_cache="f16").transcribe(speech())
    assert len(transcript.warnings) == 1
    assert "exceeded half precision" in transcript.warnings[0] and "--kv-cache" in transcript.warnings[0]
    for kv_cache in ("int8", "f32"):
        assert ve.load(package, "native", 1, kv_cache=kv_cache).transcribe(speech()).warnings == []
    plain = ve.load(models.package(PLAIN, "int4"), "native", 1, kv_cache="f16")
    assert plain.transcribe(speech()).warnings == []


@pytest.mark.parametrize("engine", ["native", "onnxruntime"])
def test_a_model_that_computes_nothing_is_an_error(tmp_path: Path, engine: str) -> None:
    """Before, it went on with <unk> for ever."""
    folder = checkpoints.make_checkpoint(tmp_path / "checkpoint", SHAPE)
    tensors = load_file(folder / "model.safetensors")
    for name in tensors:
        if "language_model" in name and name.endswith(("up_proj.weight", "down_proj.weight")):
            tensors[name] *= 1e30
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    loaded = ve.load(export_folder(folder, tmp_path / "package", "fp32", "hf"), engine, 1)
    with pytest.raises(ModelFormatError, match="logits that are not finite"):
        loaded.transcribe(speech())
