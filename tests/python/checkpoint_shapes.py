"""Shapes of the random test checkpoints. Each makes another part of the dimensions unusual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """Keyword arguments of transformers' two sub-configurations, what tekken.json says, and how large
    weights are.

    loudness    matrices are N(0, loudness² / columns): below 2, a small model repeats a handful of tokens
    """

    audio: dict[str, Any]
    text: dict[str, Any]
    special_count: int
    left_pad_tokens: int
    delay_ms: int
    loudness: float = 2.0


def _rope() -> dict[str, Any]:
    return {"rope_theta": 1e6, "rope_type": "default"}


def _audio(width: int, ffn: int, layers: int, heads: int, head_dim: int, window: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "head_dim": head_dim,
        "num_mel_bins": 128,
        "sliding_window": window,
        "max_position_embeddings": 1500,
        "rms_norm_eps": 1e-5,
        "rope_parameters": _rope(),
    }


def _text(
    vocab: int, width: int, ffn: int, layers: int, heads: int, kv_heads: int, head_dim: int, window: int
) -> dict[str, Any]:
    return {
        "vocab_size": vocab,
        "hidden_size": width,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "sliding_window": window,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_parameters": _rope(),
        "tie_word_embeddings": True,
    }


SHAPES = {
    # GQA 2:1, query width unlike the model width, windows shorter than the prompt.
    "golden": Shape(_audio(48, 80, 3, 4, 16, 20), _text(1320, 64, 112, 3, 4, 2, 24, 24), 1000, 32, 480, 1.3),
    # No contraction is a multiple of the quantisation block (32): 42, 72, 168, 56, 54, 100; 1333 rows fill
    # no tile.
    "odd": Shape(_audio(42, 72, 2, 3, 14, 21), _text(1333, 56, 100, 2, 3, 1, 18, 19), 1000, 32, 480),
    # GQA 1:1; few special tokens, short left padding, another default delay.
    "mha": Shape(_audio(64, 96, 2, 2, 32, 33), _text(512, 96, 160, 2, 3, 3, 32, 29), 64, 8, 160),
    # GQA 8:1 with tiny heads.
    "gqa8": Shape(_audio(32, 64, 2, 2, 16, 13), _text(700, 64, 96, 2, 8, 1, 8, 17), 100, 16, 960),
    # Larger than one weight tile in every direction, with the smallest windows.
    "wide": Shape(_audio(192, 320, 2, 3, 64, 5), _text(1100, 256, 384, 2, 4, 2, 64, 7), 300, 32, 480),
}
