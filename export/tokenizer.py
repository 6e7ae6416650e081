"""Checks tekken.json and reads the constants that live only there: delay, padding, special ids (spec 7)."""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from pathlib import Path

from voxtral_edge.errors import ModelFormatError

from .fields import Section
from .model_config import TokenConfig


@dataclass(frozen=True)
class Tokenizer:
    """What the manifest needs from tekken.json; lengths in the units their names say."""

    path: Path
    tokens: TokenConfig
    sample_rate_hz: int
    hop_samples: int
    window_samples: int
    mel_bins: int
    samples_per_token: int
    mel_frames_per_token: int
    left_pad_tokens: int
    default_delay_tokens: int


def delay_tokens(delay_ms: float, sample_rate_hz: int, hop_samples: int, mel_frames_per_token: int) -> int:
    """Milliseconds -> tokens by the reference's rule (spec 3.2): 480 ms -> 6 for the released model."""
    samples = int(delay_ms / 1000.0 * sample_rate_hz)
    frames = math.ceil(samples / hop_samples - 1) if samples % hop_samples else samples // hop_samples
    return math.ceil(frames / mel_frames_per_token)


def read_tokenizer(path: Path) -> Tokenizer:
    """Raises ModelFormatError if the file is missing, malformed or lacks the streaming tokens."""
    if not path.is_file():
        raise ModelFormatError(
            f"{path} is missing; tekken.json comes with the checkpoint and holds vocabulary, delay and"
            " padding"
        )
    root = Section.from_file(path)
    audio = root.section("audio")
    audio.require_if_present("transcription_format", "streaming")
    coding = audio.section("audio_encoding_config")
    rate, hop = audio.integer("sampling_rate"), coding.integer("hop_length")
    per_token = rate / audio.number("frame_rate")
    if per_token != int(per_token) or int(per_token) % hop:
        raise ModelFormatError(
            f"{audio.where('frame_rate')}: one token would last {per_token} samples, not a whole number of"
            f" hops ({hop})"
        )
    frames_per_token = int(per_token) // hop
    return Tokenizer(
        path=path,
        tokens=_read_tokens(root),
        sample_rate_hz=rate,
        hop_samples=hop,
        window_samples=coding.integer("window_size"),
        mel_bins=coding.integer("num_mel_bins"),
        samples_per_token=int(per_token),
        mel_frames_per_token=frames_per_token,
        left_pad_tokens=audio.integer("streaming_n_left_pad_tokens", low=0),
        default_delay_tokens=delay_tokens(
            audio.number("transcription_delay_ms"), rate, hop, frames_per_token
        ),
    )


def _read_tokens(root: Section) -> TokenConfig:
    config = root.section("config")
    vocab_size = config.integer("default_vocab_size")
    special_count = config.integer("default_num_special_tokens", high=vocab_size - 1)
    _check_vocabulary(root, vocab_size - special_count)
    ids: dict[str, int] = {}
    for index, item in enumerate(root.items("special_tokens")):
        token = Section(item if isinstance(item, dict) else {}, root.file, f"special_tokens[{index}].")
        ids.setdefault(token.text("token_str"), token.integer("rank", low=0, high=special_count - 1))

    def special(name: str) -> int:
        if name not in ids:
            raise ModelFormatError(
                f"{root.file}: no special token {name}; this tokenizer does not belong to a realtime model"
            )
        return ids[name]

    return TokenConfig(
        bos=special("<s>"),
        eos=special("</s>"),
        streaming_pad=special("[STREAMING_PAD]"),
        streaming_word=special("[STREAMING_WORD]"),
        special_count=special_count,
        vocab_size=vocab_size,
    )


def _check_vocabulary(root: Section, used: int) -> None:
    vocabulary = root.items("vocab")
    if len(vocabulary) < used:
        raise ModelFormatError(f"{root.file}: 'vocab' has {len(vocabulary)} entries, the model uses {used}")
    for rank, item in enumerate(vocabulary[:used]):
        where = f"{root.file}: 'vocab[{rank}]'"
        if not isinstance(item, dict) or item.get("rank") != rank:
            raise ModelFormatError(f"{where} does not have rank {rank}; entries must be in rank order")
        try:
            piece = base64.b64decode(item.get("token_bytes", ""), validate=True)
        except (TypeError, ValueError, binascii.Error) as error:
            raise ModelFormatError(f"{where}: token_bytes is not base64") from error
        if not piece:
            raise ModelFormatError(f"{where}: token_bytes is empty")
        if rank < 256 and piece != bytes([rank]):
            raise ModelFormatError(
                f"{where} must be the single byte {rank} (the first 256 pieces are the raw bytes)"
            )
