"""Prompt, padding and features against transformers' own processor (with mistral_common), for every delay."""

from __future__ import annotations

import shutil
from functools import cache
from typing import Any

import numpy as np
import pytest
from export_testing import edit_json
from native_testing import Models, limit, random_audio, tolerances

import voxtral_edge as ve

DELAYS_MS = [*range(80, 1201, 80), 2400]
MEL = limit(tolerances("fp32_parity")["mel"])
# Around a token (1280 samples) and a frame (160); none, one and several tokens.
LENGTHS = [1, 159, 160, 161, 1279, 1280, 1281, 4000, 12800, 20001]


@cache
def processor(models: Models, delay_ms: int) -> Any:
    """transformers' processor for the checkpoint with another delay in tekken.json, the only place it reads."""
    from transformers import AutoProcessor

    folder = models.root / f"processor-{delay_ms}"
    if not folder.exists():
        shutil.copytree(models.checkpoint("golden"), folder, ignore=shutil.ignore_patterns("*.safetensors"))
        edit_json(folder / "tekken.json", lambda root: root["audio"].update(transcription_delay_ms=delay_ms))
    return AutoProcessor.from_pretrained(folder)


def sixteen_bit(samples: int) -> np.ndarray:
    """The reference's offline path rounds to 16 bit: samples that already are."""
    pcm = random_audio(samples, samples)
    return (np.floor(pcm * 32768) / 32768).astype(np.float32)


@pytest.mark.parametrize("delay_ms", DELAYS_MS)
def test_prompt_and_number_of_tokens(models: Models, delay_ms: int) -> None:
    pcm = sixteen_bit(20001)
    expected = processor(models, delay_ms)(pcm, return_tensors="np")
    trace = ve.inspect.trace(models.engine("golden", "fp32"), pcm, delay_ms // 80)
    prompt = expected["input_ids"][0].tolist()
    assert trace["ids"].tolist()[: int(trace["prompt_len"])] == prompt
    assert expected["num_delay_tokens"] == delay_ms // 80
    assert trace["mel"].shape == expected["input_features"][0].shape


@pytest.mark.parametrize("samples", LENGTHS)
def test_features_of_any_length(models: Models, samples: int) -> None:
    """Left and right padding, alignment, the number of frames, and every value in them."""
    pcm = sixteen_bit(samples)
    expected = processor(models, 480)(pcm, return_tensors="np")["input_features"][0]
    mel = ve.inspect.trace(models.engine("golden", "fp32"), pcm, 6)["mel"]
    assert mel.shape == expected.shape
    assert np.abs(mel - expected).max() <= MEL


def test_a_live_start_sees_the_same(models: Models) -> None:
    """The reference's streaming path: the first chunk, with the left padding the processor puts before it."""
    reference = processor(models, 480)
    pcm = random_audio(20001, 3)
    first = reference(
        pcm[: reference.num_samples_first_audio_chunk],
        is_streaming=True,
        is_first_audio_chunk=True,
        return_tensors="np",
    )
    mel = ve.inspect.trace(models.engine("golden", "fp32"), pcm, 6)["mel"]
    frames = first["input_features"].shape[-1]
    assert frames == 8 * first["input_ids"].shape[1] == 8 * 39
    assert np.abs(mel[:, :frames] - first["input_features"][0]).max() <= MEL
    # A later chunk: 8 frames, from 200 samples before the first one's centre on.
    begin = 160 * (frames - 8 * 32) - 200
    later = reference(
        pcm[begin : begin + reference.num_samples_per_audio_chunk],
        is_streaming=True,
        is_first_audio_chunk=False,
        return_tensors="np",
    )["input_features"][0]
    assert later.shape == (128, 8)
    assert np.abs(mel[:, frames : frames + 8] - later).max() <= MEL
