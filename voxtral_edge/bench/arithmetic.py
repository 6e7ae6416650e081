"""Multiply-adds of one 80 ms step, and the least time a pass over the weights can take on this machine.

A pass cannot be faster than its bytes divided by the read bandwidth, nor than its multiply-adds divided by the
machine's peak: the larger of the two times is its roof. Which one binds depends on how many rows share a pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxtral_edge.bench.traffic import weight_part

PARTS = ("convolution", "encoder", "adapter", "decoder", "head", "encoder_attention", "decoder_attention")


def multiply_adds_per_step(
    manifest: Mapping[str, Any], first_token: int | None, steps: int
) -> dict[str, int]:
    """Mean multiply-adds per step over `steps` steps, from the shapes of the package.

    Every weight is used once per row: the decoder and its head on one row, the adapter on one, the encoder on the
    frames of a token, conv1 on the mel frames of a token. Attention multiplies each query with the keys it sees and
    the weights with as many values. Norms, rotations and activations are not counted.

    first_token: tokens the stream held before the first step (left padding included); None: windows full.
    Returns {part: count} for PARTS, and "integer": those with int4 or int8 weights; "total": all.
    """
    config = manifest["config"]
    frames = int(config["adapter"]["frames_per_token"])
    mel_frames = int(manifest["audio"]["mel_frames_per_token"])
    rows = {"encoder": frames, "adapter": 1, "decoder": 1, "head": 1}
    counts = dict.fromkeys(PARTS, 0)
    integer = 0
    for name, entry in manifest["tensors"].items():
        if not entry["graphs"] or not name.endswith(".weight") or len(entry["shape"]) < 2:
            continue  # norms, biases, scales, and what is used once per stream
        quantization = entry.get("quantization")
        shape = [quantization["rows"], quantization["columns"]] if quantization else entry["shape"]
        part = weight_part(name)
        if ".conv" in name:
            counts["convolution"] += math.prod(shape) * (mel_frames if ".conv1." in name else frames)
            continue
        counts[part] += math.prod(shape) * rows[part]
        integer += math.prod(shape) * rows[part] if quantization else 0
    for stack, new in (("encoder", frames), ("decoder", 1)):
        counts[f"{stack}_attention"] = _attention(config[stack], new, first_token, steps)
    return {**counts, "integer": integer, "total": sum(counts.values())}


def _attention(stack: Mapping[str, Any], new: int, first_token: int | None, steps: int) -> int:
    window = int(stack.get("window_frames", stack.get("window_tokens", 0)))
    seen = np.full(1, float(window))
    if first_token is not None:
        positions = first_token * new + 1.0 + np.arange(steps * new)
        seen = np.minimum(positions, float(window))
    per_key = 2 * int(stack["layers"]) * int(stack["heads"]) * int(stack["head_dim"])
    return round(per_key * new * float(np.mean(seen)))


@dataclass(frozen=True)
class Pass:
    """One pass over (part of) the weights.

    rows           tokens that share it
    bytes          what it must read from memory: weights once, keys and values of every stream once
    multiply_adds  of all its rows
    ms             what it took
    """

    rows: float
    bytes: float
    multiply_adds: float
    ms: float

    def figures(self, read_gbps: float, peak_gmacs: float) -> dict[str, float]:
        """The pass against the machine: "intensity" in multiply-adds per byte, "gmacs" achieved (10^9 multiply-adds
        per second), "memory_ms" and "compute_ms" it takes at least, "ratio_to_roof": time over the larger."""
        memory_ms, compute_ms = self.bytes / read_gbps / 1e6, self.multiply_adds / peak_gmacs / 1e6
        return {
            "rows": round(self.rows, 3),
            "bytes": round(self.bytes),
            "multiply_adds": round(self.multiply_adds),
            "ms": round(self.ms, 6),
            "intensity": round(self.multiply_adds / self.bytes, 4),
            "gmacs": round(self.multiply_adds / self.ms / 1e6, 3),
            "memory_ms": round(memory_ms, 6),
            "compute_ms": round(compute_ms, 6),
            "ratio_to_roof": round(self.ms / max(memory_ms, compute_ms), 4),
        }


def passes(
    bytes_of: Mapping[str, Any],
    counts: Mapping[str, int],
    encode: tuple[float, float],
    decode: tuple[float, float],
) -> dict[str, Pass]:
    """{"encode", "decode"} of a run.

    bytes_of   `traffic.bytes_per_step`; counts: `multiply_adds_per_step`
    encode, decode   (tokens of all streams that share a pass, milliseconds of a pass); a pass that never ran (0 rows
               or 0 ms) is left out
    """
    weights, kv = bytes_of["weights"], bytes_of["kv_read"]
    made = {
        "encode": (
            ("encoder", "adapter"),
            ("convolution", "encoder", "adapter", "encoder_attention"),
            encode,
        ),
        "decode": (("decoder", "head"), ("decoder", "head", "decoder_attention"), decode),
    }
    result = {}
    for name, (read, multiplied, (rows, ms)) in made.items():
        if rows > 0 and ms > 0:
            stack = "encoder" if name == "encode" else "decoder"
            total = sum(weights[part] for part in read) + kv[stack]
            result[name] = Pass(rows, total, rows * sum(counts[part] for part in multiplied), ms)
    return result
