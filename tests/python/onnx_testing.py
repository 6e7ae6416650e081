"""Packages, the token loop and a numpy model for the tests of the ONNX graphs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import source_export  # noqa: F401 - makes voxtral_edge.export importable from a source checkout

import checkpoints
from voxtral_edge.engines.onnxruntime_backend import OnnxRuntimeBackend
from voxtral_edge.export import Checkpoint, export_package

EOS = checkpoints.EOS


def make_package(folder: Path, checkpoint: Path, precision: str) -> Path:
    """Export `checkpoint` into `folder`; returns the package."""
    source = Checkpoint(checkpoint)
    try:
        export_package(source, folder, precision=precision, name="test")
    finally:
        source.close()
    return folder


def table_tensor(package: Path, name: str) -> np.ndarray:
    """A tensor of weights.bin as it is stored."""
    entry = json.loads((package / "manifest.json").read_text())["tensors"][name]
    with open(package / entry["file"], "rb") as file:
        file.seek(entry["offset"])
        data = file.read(entry["bytes"])
    return np.frombuffer(data, entry["dtype"]).reshape(entry["shape"])


def delay_scales(package: Path, delay_tokens: int) -> np.ndarray:
    """g of every decoder layer (specification §5), float32 [layers, width]."""
    decoder = json.loads((package / "manifest.json").read_text())["config"]["decoder"]
    half = decoder["width"] // 2
    angle = delay_tokens * np.exp(-math.log(10000.0) * np.arange(half) / half)
    condition = np.concatenate([np.cos(angle), np.sin(angle)])
    rows = []
    for layer in range(decoder["layers"]):
        prefix = f"decoder.layers.{layer}.delay"
        first, second = (table_tensor(package, f"{prefix}.linear{index}.weight") for index in (1, 2))
        rows.append(second @ gelu(first @ condition))
    return np.stack(rows).astype(np.float32)


def gelu(x: np.ndarray) -> np.ndarray:
    """Exact GELU."""
    return 0.5 * x * (1.0 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2.0)))


@dataclass
class Result:
    """What a run computed; `ids` begins with the prompt."""

    frames: np.ndarray
    embeddings: np.ndarray
    logits: np.ndarray
    ids: list[int]


def transcribe(
    backend: OnnxRuntimeBackend,
    package: Path,
    mel: np.ndarray,
    delay_tokens: int,
    *,
    tokens_per_call: int = 8,
    first_token: int = 0,
    forced_ids: np.ndarray | None = None,
    after_call: Callable[[Any], None] | None = None,
) -> Result:
    """The offline loop over mel [frames, bins]: encode in calls of `tokens_per_call`, prefill, then greedy
    steps.

    With `forced_ids` those are the previous ids, whatever was predicted, and several positions go into one
    call.
    """
    state = backend.create_state(delay_scales(package, delay_tokens), first_token)
    tokens = len(mel) // 8
    frames, embeddings = [], []
    for start in range(0, tokens, tokens_per_call):
        piece = mel[8 * start : 8 * (start + tokens_per_call)]
        rows, hidden = backend.encode(state, piece, first_token + start)
        embeddings.append(rows)
        frames.append(hidden)
        if after_call:
            after_call(state)
    audio = np.concatenate(embeddings)
    prompt = 1 + checkpoints.left_pad_tokens(package) + delay_tokens
    ids = [checkpoints.BOS] + [checkpoints.STREAMING_PAD] * (prompt - 1)
    logits = []
    position = 0
    end = tokens if forced_ids is None else len(forced_ids) - 1
    while position < end and not (forced_ids is None and ids[-1] == EOS):
        rows_left = (prompt if position < prompt else position + 1) if forced_ids is None else end
        count = min(tokens_per_call, rows_left - position)
        source = ids if forced_ids is None else forced_ids
        here = slice(position, position + count)
        rows = backend.decode(state, audio[here], source[here], first_token + position)
        for offset, row in enumerate(rows):
            if position + offset >= prompt - 1:
                logits.append(row)
                ids.append(int(row.argmax()))
        position += count
        if after_call:
            after_call(state)
    return Result(np.concatenate(frames), audio, np.stack(logits), ids)


def gap(left: np.ndarray, right: np.ndarray) -> float:
    """Largest absolute difference; shapes must agree."""
    assert left.shape == right.shape, (left.shape, right.shape)
    return float(np.abs(left - right).max())
