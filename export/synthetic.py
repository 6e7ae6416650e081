"""Random models without a checkpoint: the full 4B size for speed and memory work, or a tiny one for tests.

Weights are drawn once into a pool of N(0, 0.02) values; every strip of a tensor is a window of the pool at
its own offset, so 4.4 billion weights cost a memory copy each. The same seed gives the same package.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import numpy as np

from voxtral_edge.errors import UsageError

from .model_config import (
    RIGHT_PAD_EXTRA_TOKENS,
    AdapterConfig,
    AudioConfig,
    DecoderConfig,
    EncoderConfig,
    ModelConfig,
    TokenConfig,
)
from .schema import TensorSpec, tensor_specs
from .weights_writer import STRIP_ELEMENTS

# The pool holds this many times the largest strip: 16 M values (64 MB) for the 4B model.
_POOL_STRIPS = 16
_DEVIATION = 0.02
_SPECIAL_TOKENS = {
    0: "<unk>",
    1: "<s>",
    2: "</s>",
    11: "<pad>",
    24: "[AUDIO]",
    25: "[BEGIN_AUDIO]",
    32: "[STREAMING_PAD]",
    33: "[STREAMING_WORD]",
}
_PATTERN = r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s+"


def _audio(left_pad_tokens: int) -> AudioConfig:
    return AudioConfig(
        sample_rate_hz=16000,
        hop_samples=160,
        window_samples=400,
        samples_per_token=1280,
        mel_frames_per_token=8,
        log_mel_max=1.5,
        left_pad_tokens=left_pad_tokens,
        right_pad_extra_tokens=RIGHT_PAD_EXTRA_TOKENS,
        default_delay_tokens=6,
    )


def _tokens(special_count: int, vocab_size: int) -> TokenConfig:
    return TokenConfig(
        bos=1, eos=2, streaming_pad=32, streaming_word=33, special_count=special_count, vocab_size=vocab_size
    )


# "4b": the dimensions of Voxtral-Mini-4B-Realtime-2602 (spec 1.1). "tiny": every path in about 1 M
# parameters.
SYNTHETIC_MODELS = {
    "4b": ModelConfig(
        encoder=EncoderConfig(
            layers=32,
            width=1280,
            heads=32,
            kv_heads=32,
            head_dim=64,
            ffn_width=5120,
            window_frames=750,
            rope_theta=1e6,
            norm_eps=1e-5,
            mel_bins=128,
        ),
        adapter=AdapterConfig(frames_per_token=4, input_width=5120, hidden_width=3072, output_width=3072),
        decoder=DecoderConfig(
            layers=26,
            width=3072,
            heads=32,
            kv_heads=8,
            head_dim=128,
            ffn_width=9216,
            window_tokens=8192,
            rope_theta=1e6,
            norm_eps=1e-5,
            vocab_size=131072,
            delay_condition_width=32,
        ),
        audio=_audio(32),
        tokens=_tokens(1000, 131072),
    ),
    "tiny": ModelConfig(
        encoder=EncoderConfig(
            layers=2,
            width=96,
            heads=3,
            kv_heads=3,
            head_dim=32,
            ffn_width=160,
            window_frames=40,
            rope_theta=1e6,
            norm_eps=1e-5,
            mel_bins=128,
        ),
        adapter=AdapterConfig(frames_per_token=4, input_width=384, hidden_width=128, output_width=128),
        decoder=DecoderConfig(
            layers=2,
            width=128,
            heads=4,
            kv_heads=2,
            head_dim=32,
            ffn_width=256,
            window_tokens=48,
            rope_theta=1e6,
            norm_eps=1e-5,
            vocab_size=1024,
            delay_condition_width=32,
        ),
        audio=_audio(8),
        tokens=_tokens(64, 1024),
    ),
}


class SyntheticCheckpoint:
    """A source for `export_package`. Raises UsageError for an unknown model name or a negative seed."""

    def __init__(self, model: str, seed: int = 0) -> None:
        if model not in SYNTHETIC_MODELS:
            raise UsageError(f"unknown synthetic model {model!r}; use one of {', '.join(SYNTHETIC_MODELS)}")
        if seed < 0:
            raise UsageError(f"seed must not be negative, it is {seed}")
        self.layout, self.model, self.seed = "synthetic", model, seed
        self.config = SYNTHETIC_MODELS[model]
        self.specs = tensor_specs(self.config)
        self.notes = [
            f"random weights (seed {seed}): it runs like a real model of this size but understands nothing"
        ]
        generator = np.random.Generator(np.random.SFC64(seed))
        largest = min(STRIP_ELEMENTS, max(spec.elements for spec in self.specs))
        self._pool = generator.standard_normal(_POOL_STRIPS * largest, dtype=np.float32)
        self._pool *= np.float32(_DEVIATION)

    def read(self, spec: TensorSpec, first: int, count: int) -> np.ndarray:
        """Rows of a tensor, float32 [count, ...]: norm gains are 1, all else is a window of the pool."""
        shape = (count, *spec.shape[1:])
        if spec.name.endswith("norm.weight"):
            return np.ones(shape, np.float32)
        elements = count * (spec.elements // spec.shape[0])
        digest = hashlib.blake2b(f"{self.seed}:{spec.name}:{first}".encode(), digest_size=8).digest()
        offset = int.from_bytes(digest, "little") % (len(self._pool) - elements + 1)
        return self._pool[offset : offset + elements].reshape(shape)

    def tokenizer_bytes(self) -> bytes:
        return json.dumps(_tekken(self.config), ensure_ascii=False).encode()


def _tekken(config: ModelConfig) -> dict[str, Any]:
    """A tokenizer of the right size: the 256 bytes, then numbered words with and without a leading space."""
    tokens, audio = config.tokens, config.audio
    pieces = [bytes([value]) for value in range(256)]
    pieces += [
        f"{' ' if rank % 2 else ''}w{rank}".encode()
        for rank in range(256, tokens.vocab_size - tokens.special_count)
    ]
    return {
        "config": {
            "pattern": _PATTERN,
            "num_vocab_tokens": len(pieces),
            "default_vocab_size": tokens.vocab_size,
            "default_num_special_tokens": tokens.special_count,
            "version": "v7",
        },
        "vocab": [
            {
                "rank": rank,
                "token_bytes": base64.b64encode(piece).decode(),
                "token_str": piece.decode() if rank < 128 or rank > 255 else None,
            }
            for rank, piece in enumerate(pieces)
        ],
        "special_tokens": [
            {"rank": rank, "token_str": _SPECIAL_TOKENS.get(rank, f"<SPECIAL_{rank}>"), "is_control": True}
            for rank in range(tokens.special_count)
        ],
        "audio": {
            "sampling_rate": audio.sample_rate_hz,
            "frame_rate": audio.sample_rate_hz / audio.samples_per_token,
            "transcription_format": "streaming",
            "audio_encoding_config": {
                "num_mel_bins": config.encoder.mel_bins,
                "hop_length": audio.hop_samples,
                "window_size": audio.window_samples,
            },
            "transcription_delay_ms": 480,
            "streaming_look_ahead_ms": 2.5,
            "streaming_look_back_ms": 52.5,
            "streaming_n_left_pad_tokens": audio.left_pad_tokens,
        },
    }
