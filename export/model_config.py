"""Every dimension and constant of a model, as the manifest stores them. Nothing has a default."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from voxtral_edge.errors import ModelFormatError

# Tokens of silence appended for the longest word after the last real sample (spec 3.2): a fixed budget of
# the model.
RIGHT_PAD_EXTRA_TOKENS = 10


@dataclass(frozen=True)
class EncoderConfig:
    """Audio encoder. `window_frames` counts the keys a query sees, itself included (spec 4)."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn_width: int
    window_frames: int
    rope_theta: float
    norm_eps: float
    mel_bins: int


@dataclass(frozen=True)
class AdapterConfig:
    """Groups `frames_per_token` encoder frames into one decoder token (spec 4, points 5 and 6)."""

    frames_per_token: int
    input_width: int
    hidden_width: int
    output_width: int


@dataclass(frozen=True)
class DecoderConfig:
    """Text decoder. `window_tokens` counts the keys a query sees, itself included (spec 5)."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn_width: int
    window_tokens: int
    rope_theta: float
    norm_eps: float
    vocab_size: int
    delay_condition_width: int


@dataclass(frozen=True)
class AudioConfig:
    """Front end and padding (spec 3)."""

    sample_rate_hz: int
    hop_samples: int
    window_samples: int
    samples_per_token: int
    mel_frames_per_token: int
    log_mel_max: float
    left_pad_tokens: int
    right_pad_extra_tokens: int
    default_delay_tokens: int


@dataclass(frozen=True)
class TokenConfig:
    """Ids the loop needs; ids below `special_count` have no text (spec 7)."""

    bos: int
    eos: int
    streaming_pad: int
    streaming_word: int
    special_count: int
    vocab_size: int


@dataclass(frozen=True)
class ModelConfig:
    encoder: EncoderConfig
    adapter: AdapterConfig
    decoder: DecoderConfig
    audio: AudioConfig
    tokens: TokenConfig

    def to_manifest(self) -> dict[str, Any]:
        """The manifest's `config`, `audio` and `tokens` objects."""
        return {
            "config": {
                "encoder": asdict(self.encoder),
                "adapter": asdict(self.adapter),
                "decoder": asdict(self.decoder),
            },
            "audio": asdict(self.audio),
            "tokens": asdict(self.tokens),
        }

    def check(self, where: str) -> None:
        """Refuse combinations that no graph can run. `where` names the config file."""
        encoder, adapter, decoder, audio = self.encoder, self.adapter, self.decoder, self.audio
        problems = []
        for part, config in (("encoder", encoder), ("decoder", decoder)):
            if config.head_dim % 2:
                problems.append(f"{part} head size {config.head_dim} is odd, so rotary pairs do not exist")
            if config.heads % config.kv_heads:
                problems.append(
                    f"{part} has {config.heads} heads, not a multiple of its {config.kv_heads} kv heads"
                )
        if decoder.width % 2:
            problems.append(
                f"decoder width {decoder.width} is odd, so the delay embedding has no cos/sin halves"
            )
        if audio.mel_frames_per_token != 2 * adapter.frames_per_token:
            problems.append(
                f"{audio.mel_frames_per_token} mel frames per token do not match {adapter.frames_per_token}"
                " encoder"
                " frames per token (the conv stem halves the rate)"
            )
        if audio.samples_per_token != audio.hop_samples * audio.mel_frames_per_token:
            problems.append(
                f"{audio.samples_per_token} samples per token are not {audio.mel_frames_per_token} hops"
                f" of {audio.hop_samples}"
            )
        if decoder.vocab_size != self.tokens.vocab_size:
            problems.append(
                f"the model has {decoder.vocab_size} output tokens but tekken.json declares"
                f" {self.tokens.vocab_size}"
            )
        if problems:
            raise ModelFormatError(f"{where}: " + "; ".join(problems))
