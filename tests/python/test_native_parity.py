"""fp32: native engine, onnxruntime engine and transformers give the same numbers, on five shapes and four delays."""

from __future__ import annotations

import numpy as np
import pytest
from checkpoint_shapes import SHAPES
from native_testing import Models, largest_gap, limit, speech, tolerances

import voxtral_edge as ve

DELAYS = (1, 2, 6, 30)
STAGES = ("mel", "encoder", "projector", "logits")
LIMITS = tolerances("fp32_parity")


def test_the_shapes_are_different_enough() -> None:
    """At least four shapes; contractions that are no multiple of the block; GQA 1:1, 2:1 and 8:1."""
    groups, columns = set(), set()
    for shape in SHAPES.values():
        text, audio = shape.text, shape.audio
        groups.add(text["num_attention_heads"] // text["num_key_value_heads"])
        for part in (text, audio):
            columns |= {
                part["hidden_size"],
                part["intermediate_size"],
                part["num_attention_heads"] * part["head_dim"],
            }
        # Windows shorter than the clip: 20 ms frames and 80 ms tokens.
        assert audio["sliding_window"] < len(speech()) / 320 / 3
        assert text["sliding_window"] < len(speech()) / 1280
    assert len(SHAPES) >= 4
    assert {1, 2, 8} <= groups
    assert sum(width % 32 != 0 for width in columns) >= 4


@pytest.mark.parametrize("delay_tokens", DELAYS)
@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("engine", ["native", "onnxruntime"])
def test_every_stage_equals_transformers(
    models: Models, engine: str, shape: str, delay_tokens: int, request: pytest.FixtureRequest
) -> None:
    if engine == "onnxruntime":
        request.getfixturevalue("onnxruntime")
    expected = models.reference(shape, delay_tokens)
    got = models.trace(shape, "fp32", engine, delay_tokens)
    assert len(expected["projector"]) > 1.5 * SHAPES[shape].text["sliding_window"]
    for stage in STAGES:
        assert got[stage].dtype == np.float32
        assert largest_gap(got[stage], expected[stage]) <= limit(LIMITS[stage]), stage
    assert got["ids"].dtype == np.int64
    assert got["ids"].tolist() == expected["ids"].tolist()
    assert int(got["prompt_len"]) == int(expected["prompt_len"])


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_models_say_enough_to_compare(models: Models, shape: str) -> None:
    """Equal ids prove something only where the ids vary and follow the audio."""
    said = models.reference(shape, 6)
    generated = said["ids"][int(said["prompt_len"]) :].tolist()
    assert len(set(generated)) >= 10
    silence = ve.inspect.trace(models.engine(shape, "fp32"), np.zeros_like(speech()), 6)
    assert silence["ids"].tolist() != said["ids"].tolist()


@pytest.mark.parametrize("delay_ms", [*range(80, 1201, 80), 2400])
def test_every_delay_of_the_api(models: Models, delay_ms: int) -> None:
    """Prompt, padding and conditioning change together: ids equal transformers' at each delay of the public API."""
    expected = models.reference("golden", delay_ms // 80)
    stream = models.engine("golden", "fp32").stream(delay_ms=delay_ms)
    stream.feed(speech())
    stream.finish()
    generated = expected["ids"][int(expected["prompt_len"]) :].tolist()
    assert stream.token_ids[: len(generated)] == generated  # transformers stops at EOS, a live stream goes on


def test_half_precision_weights_stay_close(models: Models) -> None:
    """fp16 weights: rounding of 2^-11 relative per weight, and decoder keys and values in half precision."""
    exact, half = (models.trace("wide", precision, "native", 6) for precision in ("fp32", "fp16"))
    assert largest_gap(half["mel"], exact["mel"]) == 0.0
    assert 0 < largest_gap(half["projector"], exact["projector"]) <= limit(LIMITS["fp16_projector"])
