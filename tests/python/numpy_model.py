"""The model in numpy, from a package's own (dequantised) weights: an oracle without onnx, torch or rings.

Written from docs/model.md, whole clip at once, dense masks. `quantize_activations` turns on what MatMulNBits
does at accuracy_level 4: inputs of every quantised product in symmetric int8 per block of 32.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from onnx_testing import delay_scales, gelu, table_tensor

BLOCK = 32


class NumpyModel:
    """Teacher-forced forward pass; `encode` and `decode` take the whole clip."""

    def __init__(self, package: Path, quantize_activations: bool) -> None:
        manifest = json.loads((package / "manifest.json").read_text())
        self.package = package
        self.config, self.table = manifest["config"], manifest["tensors"]
        self.quantize_activations = quantize_activations
        self.weights = {name: self._dequantise(name) for name in self.table if not name.endswith(".scales")}

    def _dequantise(self, name: str) -> np.ndarray:
        stored, quantization = table_tensor(self.package, name), self.table[name].get("quantization")
        if quantization is None:
            return stored.astype(np.float32)
        if quantization["bits"] == 4:
            stored = np.stack([stored & 15, stored >> 4], -1).reshape(*stored.shape[:2], BLOCK)
        levels = stored.astype(np.float32) - quantization["zero_point"]
        scales = table_tensor(self.package, quantization["scales"]).astype(np.float32)
        return (levels * scales[..., None]).reshape(len(stored), -1)[:, : quantization["columns"]]

    def encode(self, mel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """mel [8n, bins] -> (frames [4n, E], embeddings [n, D])."""
        encoder = self.config["encoder"]
        x = mel.astype(np.float32)
        for name, stride, left in (("conv1", 1, 2), ("conv2", 2, 1)):
            padded = np.pad(x, ((left, 0), (0, 0)))
            count = (len(padded) - 3) // stride + 1
            windows = np.stack([padded[stride * i : stride * i + 3] for i in range(count)])
            kernel = self.weights[f"encoder.{name}.weight"]
            x = gelu(np.einsum("tkc,ock->to", windows, kernel) + self.weights[f"encoder.{name}.bias"])
            x = x.astype(np.float32)
        for layer in range(encoder["layers"]):
            x = self._layer(x, f"encoder.layers.{layer}", encoder, encoder["window_frames"], None)
        frames = self._norm(x, "encoder.norm", encoder["norm_eps"])
        grouped = frames.reshape(-1, self.config["adapter"]["input_width"])
        hidden = gelu(self._linear(grouped, "adapter.linear1")).astype(np.float32)
        return frames, self._linear(hidden, "adapter.linear2")

    def decode(self, embeddings: np.ndarray, ids: np.ndarray, delay_tokens: int) -> np.ndarray:
        """Logits [k, vocabulary] for embeddings [k, D] and the ids before each position."""
        decoder = self.config["decoder"]
        scales = delay_scales(self.package, delay_tokens)
        x = embeddings + self.weights["decoder.embedding.weight"][ids]
        for layer in range(decoder["layers"]):
            x = self._layer(x, f"decoder.layers.{layer}", decoder, decoder["window_tokens"], scales[layer])
        return self._linear(self._norm(x, "decoder.norm", decoder["norm_eps"]), "decoder.embedding")

    def _layer(
        self, x: np.ndarray, prefix: str, section: dict, window: int, scale: np.ndarray | None
    ) -> np.ndarray:
        normed = self._norm(x, f"{prefix}.attention_norm", section["norm_eps"])
        heads = {"q": section["heads"], "k": section["kv_heads"], "v": section["kv_heads"]}
        q, k, v = (
            self._linear(normed, f"{prefix}.attention.{kind}").reshape(len(x), count, -1).swapaxes(0, 1)
            for kind, count in heads.items()
        )
        group = section["heads"] // section["kv_heads"]
        q, k = (rotate(part, section["rope_theta"]) for part in (q, k))
        k, v = np.repeat(k, group, 0), np.repeat(v, group, 0)
        scores = q @ k.swapaxes(1, 2) / math.sqrt(section["head_dim"])
        distance = np.arange(len(x))[:, None] - np.arange(len(x))[None]
        scores = np.where((distance >= 0) & (distance < window), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (weights / weights.sum(-1, keepdims=True)) @ v
        x = x + self._linear(mixed.swapaxes(0, 1).reshape(len(x), -1), f"{prefix}.attention.o")
        normed = self._norm(x, f"{prefix}.ffn_norm", section["norm_eps"])
        if scale is not None:
            normed = normed * (1 + scale)
        gate, up = (self._linear(normed, f"{prefix}.ffn.{part}") for part in ("gate", "up"))
        return x + self._linear(gate / (1 + np.exp(-gate)) * up, f"{prefix}.ffn.down")

    def _norm(self, x: np.ndarray, name: str, epsilon: float) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * self.weights[f"{name}.weight"]

    def _linear(self, x: np.ndarray, name: str) -> np.ndarray:
        if self.quantize_activations and "quantization" in self.table[f"{name}.weight"]:
            x = int8_blocks(x)
        return x @ self.weights[f"{name}.weight"].T + self.weights.get(f"{name}.bias", np.float32(0))


def rotate(x: np.ndarray, theta: float) -> np.ndarray:
    """Half-split rotation of x [heads, rows, head_dim] at positions 0, 1, …"""
    half = x.shape[-1] // 2
    angle = np.arange(x.shape[1])[:, None] * theta ** (-2.0 * np.arange(half) / x.shape[-1])
    cosine, sine = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    first, second = x[..., :half], x[..., half:]
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], -1)


def int8_blocks(x: np.ndarray) -> np.ndarray:
    """x [rows, columns] in symmetric int8 per block of 32: scale = absmax / 127, round to nearest even."""
    columns = x.shape[1]
    blocks = np.pad(x, ((0, 0), (0, -columns % BLOCK))).reshape(len(x), -1, BLOCK).astype(np.float32)
    scale = np.abs(blocks).max(-1, keepdims=True) / np.float32(127)
    levels = np.rint(blocks / np.where(scale > 0, scale, np.float32(1)))
    return (levels * scale).reshape(len(x), -1)[:, :columns]
