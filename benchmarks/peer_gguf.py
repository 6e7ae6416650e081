"""Writes a GGUF file of random weights with the shapes of a package, for timing transcribe.cpp beside it.

    python benchmarks/peer_gguf.py PACKAGE_DIR OUT.gguf [--quantization q4_k_m|q4_0]

Runs in the peer's environment (needs gguf and numpy). The file holds what transcribe.cpp 0.4 asks for in
its "voxtral_realtime" family: hyperparameters, a tokenizer, and every tensor under its name there. Quantised
blocks are random integers with constant scales, so weights look like noise of deviation 0.02. Timing is
valid, text is not.

q4_0     every matrix in Q4_0 (4.5 bit, block 32)
q4_k_m   the usual mix: Q4_K, but Q6_K for the token table and for every second layer's value and down
matrices
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

DEVIATION = 0.02
FAMILY = "voxtral_realtime"
# The peer caps its positions here; the model itself has no limit.
MAX_POSITIONS = 131072
Kind = gguf.GGMLQuantizationType


@dataclass(frozen=True)
class Tensor:
    """One tensor of the file; `shape` as numpy sees it, rows first."""

    name: str
    shape: tuple[int, ...]
    kind: Kind


def main() -> None:
    parser = argparse.ArgumentParser(description="random GGUF with the shapes of a package")
    parser.add_argument("package", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--quantization", choices=("q4_k_m", "q4_0"), default="q4_k_m")
    args = parser.parse_args()
    manifest = json.loads((args.package / "manifest.json").read_text(encoding="utf-8"))
    write(manifest, args.output, args.quantization)


def write(manifest: dict[str, Any], output: Path, quantization: str) -> None:
    """Writes the file tensor by tensor; memory stays near the largest one."""
    listed = list(tensors(manifest["config"], quantization))
    writer = gguf.GGUFWriter(str(output), FAMILY)
    add_hyperparameters(writer, manifest)
    add_tokenizer(writer, manifest["tokens"])
    for tensor in listed:
        shape, size = stored_shape(tensor)
        dtype = np.dtype(np.uint8) if is_quantised(tensor.kind) else np.dtype(np.float32)
        if tensor.kind == Kind.F16:
            dtype = np.dtype(np.float16)
        writer.add_tensor_info(tensor.name, shape, dtype, size, raw_dtype=tensor.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    generator = np.random.default_rng(0)
    for tensor in listed:
        writer.write_tensor_data(values(tensor, manifest, generator))
    writer.close()


def tensors(config: dict[str, Any], quantization: str) -> Iterator[Tensor]:
    """Every tensor the peer's loader asks for, shapes [out, in]."""
    main_kind, fine_kind = (Kind.Q4_0, Kind.Q4_0) if quantization == "q4_0" else (Kind.Q4_K, Kind.Q6_K)
    encoder, adapter, decoder = config["encoder"], config["adapter"], config["decoder"]
    width, inner, ffn = encoder["width"], encoder["heads"] * encoder["head_dim"], encoder["ffn_width"]
    yield Tensor("frontend.mel_filterbank", (encoder["mel_bins"], 201), Kind.F32)
    yield Tensor("frontend.window", (400,), Kind.F32)
    yield Tensor("dec.time_embed.inv_freq", (decoder["width"] // 2,), Kind.F32)
    yield Tensor("enc.conv.0.weight", (width, encoder["mel_bins"], 3), Kind.F16)
    yield Tensor("enc.conv.0.bias", (width,), Kind.F32)
    yield Tensor("enc.conv.1.weight", (width, width, 3), Kind.F16)
    yield Tensor("enc.conv.1.bias", (width,), Kind.F32)
    yield Tensor("enc.final_norm.weight", (width,), Kind.F32)
    for layer in range(encoder["layers"]):
        block = f"enc.blocks.{layer}."
        fine = fine_kind if layer % 2 else main_kind
        for name in ("q", "k", "v"):
            kind = fine if name == "v" else main_kind
            yield Tensor(f"{block}attn.{name}.weight", (inner, width), kind)
        for name, size in (("attn.q", inner), ("attn.v", inner), ("attn.out", width), ("ffn.down", width)):
            yield Tensor(f"{block}{name}.bias", (size,), Kind.F32)
        yield Tensor(f"{block}attn.out.weight", (width, inner), main_kind)
        yield Tensor(f"{block}ffn.gate.weight", (ffn, width), main_kind)
        yield Tensor(f"{block}ffn.up.weight", (ffn, width), main_kind)
        yield Tensor(f"{block}ffn.down.weight", (width, ffn), fine)
        yield Tensor(f"{block}norm_attn.weight", (width,), Kind.F32)
        yield Tensor(f"{block}norm_ffn.weight", (width,), Kind.F32)
    width = decoder["width"]
    yield Tensor("proj.linear_1.weight", (adapter["hidden_width"], adapter["input_width"]), main_kind)
    yield Tensor("proj.linear_2.weight", (adapter["output_width"], adapter["hidden_width"]), main_kind)
    yield Tensor("dec.token_embd.weight", (decoder["vocab_size"], width), fine_kind)
    yield Tensor("dec.output_norm.weight", (width,), Kind.F32)
    yield from decoder_blocks(decoder, main_kind, fine_kind)


def decoder_blocks(decoder: dict[str, Any], main_kind: Kind, fine_kind: Kind) -> Iterator[Tensor]:
    """The tensors of the decoder's layers."""
    width, ffn, condition = decoder["width"], decoder["ffn_width"], decoder["delay_condition_width"]
    query = decoder["heads"] * decoder["head_dim"]
    key = decoder["kv_heads"] * decoder["head_dim"]
    for layer in range(decoder["layers"]):
        block = f"dec.blocks.{layer}."
        fine = fine_kind if layer % 2 else main_kind
        yield Tensor(f"{block}attn.q.weight", (query, width), main_kind)
        yield Tensor(f"{block}attn.k.weight", (key, width), main_kind)
        yield Tensor(f"{block}attn.v.weight", (key, width), fine)
        yield Tensor(f"{block}attn.o.weight", (width, query), main_kind)
        yield Tensor(f"{block}ffn.gate.weight", (ffn, width), main_kind)
        yield Tensor(f"{block}ffn.up.weight", (ffn, width), main_kind)
        yield Tensor(f"{block}ffn.down.weight", (width, ffn), fine)
        yield Tensor(f"{block}ada.linear_1.weight", (condition, width), Kind.F16)
        yield Tensor(f"{block}ada.linear_2.weight", (width, condition), Kind.F16)
        yield Tensor(f"{block}norm_attn.weight", (width,), Kind.F32)
        yield Tensor(f"{block}norm_ffn.weight", (width,), Kind.F32)


def is_quantised(kind: Kind) -> bool:
    """Whether a kind stores blocks of integers."""
    return kind not in (Kind.F32, Kind.F16)


def stored_shape(tensor: Tensor) -> tuple[tuple[int, ...], int]:
    """Shape as the writer wants it (bytes per row where quantised), and bytes in all."""
    block, size = gguf.GGML_QUANT_SIZES[tensor.kind]
    *rows, columns = tensor.shape
    if columns % block:
        raise SystemExit(f"{tensor.name}: {columns} columns, no multiple of {block}; use --quantization q4_0")
    row_bytes = columns // block * size
    total = row_bytes * math.prod(rows)
    return ((*rows, row_bytes) if is_quantised(tensor.kind) else tensor.shape), total


def values(tensor: Tensor, manifest: dict[str, Any], generator: np.random.Generator) -> np.ndarray:
    """What is stored: noise, ones for norms, true tables for the front end."""
    if tensor.name == "frontend.mel_filterbank":
        return mel_filterbank(tensor.shape)
    if tensor.name == "frontend.window":
        return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)).astype(np.float32)
    if tensor.name == "dec.time_embed.inv_freq":
        half = tensor.shape[0]
        return np.exp(-math.log(10000.0) * np.arange(half) / half).astype(np.float32)
    if "norm" in tensor.name:
        return np.ones(tensor.shape, np.float32)
    if not is_quantised(tensor.kind):
        dtype = np.float16 if tensor.kind == Kind.F16 else np.float32
        return (DEVIATION * generator.standard_normal(tensor.shape)).astype(dtype)
    shape, _ = stored_shape(tensor)
    return random_blocks(tensor.kind, tensor.shape, generator).reshape(shape)


def random_blocks(kind: Kind, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Blocks of random integers with constant scales; uint8 [blocks, bytes per block]."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    count = math.prod(shape) // block
    blocks = np.frombuffer(generator.bytes(count * size), np.uint8).reshape(count, size).copy()
    if kind == Kind.Q4_0:  # [scale f16][32 nibbles], weight = scale · (nibble − 8)
        blocks[:, 0:2] = _half(DEVIATION / 4.6)
    elif kind == Kind.Q4_K:
        # [d][dmin][8 scales and 8 minima of 6 bits][256 nibbles]; every scale and minimum is 32.
        step = DEVIATION / 4.6
        blocks[:, 0:2], blocks[:, 2:4] = _half(step / 32), _half(7.5 * step / 32)
        blocks[:, 4:12], blocks[:, 12:16] = 0b10_100000, 0
    elif kind == Kind.Q6_K:
        # [128 pairs of low nibbles][64 high bits][16 int8 scales][d], weight = d · scale · (q − 32).
        blocks[:, 192:208] = 32
        blocks[:, 208:210] = _half(DEVIATION / 18.5 / 32)
    return blocks


def mel_filterbank(shape: tuple[int, ...]) -> np.ndarray:
    """Triangles, evenly spaced on a mel scale up to 8 kHz; float32 [bins, frequencies]."""
    bins, frequencies = shape
    edges = 700.0 * (np.exp(np.linspace(0.0, math.log(1 + 8000.0 / 700.0), bins + 2)) - 1.0)
    grid = np.linspace(0.0, 8000.0, frequencies)
    rising = (grid - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - grid) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return weights.astype(np.float32)


def add_hyperparameters(writer: gguf.GGUFWriter, manifest: dict[str, Any]) -> None:
    """Dimensions and constants, from the package's manifest."""
    config, audio = manifest["config"], manifest["audio"]
    encoder, adapter, decoder = config["encoder"], config["adapter"], config["decoder"]
    writer.add_name("random")
    writer.add_string("stt.variant", "random")
    writer.add_bool("stt.capability.lang_detect", True)
    writer.add_bool("stt.capability.translate", False)
    writer.add_bool("stt.capability.streaming", True)
    prefix = f"stt.{FAMILY}."
    numbers = {
        "streaming_pad_token_id": manifest["tokens"]["streaming_pad"],
        "encoder.n_layers": encoder["layers"],
        "encoder.d_model": encoder["width"],
        "encoder.n_heads": encoder["heads"],
        "encoder.n_kv_heads": encoder["kv_heads"],
        "encoder.head_dim": encoder["head_dim"],
        "encoder.ffn_dim": encoder["ffn_width"],
        "encoder.num_mel_bins": encoder["mel_bins"],
        "encoder.max_position_embeddings": MAX_POSITIONS,
        "encoder.sliding_window": encoder["window_frames"],
        "projector.downsample_factor": adapter["frames_per_token"],
        "projector.input_dim": adapter["input_width"],
        "projector.audio_length_per_tok": audio["mel_frames_per_token"],
        "decoder.n_layers": decoder["layers"],
        "decoder.hidden_size": decoder["width"],
        "decoder.intermediate_size": decoder["ffn_width"],
        "decoder.n_heads": decoder["heads"],
        "decoder.n_kv_heads": decoder["kv_heads"],
        "decoder.head_dim": decoder["head_dim"],
        "decoder.sliding_window": decoder["window_tokens"],
        "decoder.max_position_embeddings": MAX_POSITIONS,
        "decoder.vocab_size": decoder["vocab_size"],
        "time.default_num_delay_tokens": audio["default_delay_tokens"],
        "time.embed_dim": decoder["width"],
        "time.ada_hidden": decoder["delay_condition_width"],
    }
    for name, number in numbers.items():
        writer.add_uint32(prefix + name, number)
    for stack, section in (("encoder", encoder), ("decoder", decoder)):
        writer.add_float32(f"{prefix}{stack}.rope_theta", section["rope_theta"])
        writer.add_float32(f"{prefix}{stack}.rms_norm_eps", section["norm_eps"])
        writer.add_string(f"{prefix}{stack}.hidden_act", "silu")
    writer.add_string(f"{prefix}projector.hidden_act", "gelu")
    writer.add_bool(f"{prefix}decoder.tie_word_embeddings", True)
    writer.add_float32(f"{prefix}time.embed_theta", 10000.0)
    add_front_end(writer, encoder["mel_bins"], audio)


def add_front_end(writer: gguf.GGUFWriter, mel_bins: int, audio: dict[str, Any]) -> None:
    """Parameters of the log-mel front end."""
    for name, number in {
        "num_mels": mel_bins,
        "sample_rate": audio["sample_rate_hz"],
        "n_fft": audio["window_samples"],
        "win_length": audio["window_samples"],
        "hop_length": audio["hop_samples"],
    }.items():
        writer.add_uint32(f"stt.frontend.{name}", number)
    for name, value in {
        "global_log_mel_max": audio["log_mel_max"],
        "dither": 0.0,
        "pre_emphasis": 0.0,
        "f_min": 0.0,
        "f_max": 8000.0,
    }.items():
        writer.add_float32(f"stt.frontend.{name}", value)
    for name, text in {
        "type": "mel",
        "window": "hann_periodic",
        "normalize": "global",
        "pad_mode": "reflect",
        "mel_norm": "slaney",
    }.items():
        writer.add_string(f"stt.frontend.{name}", text)
    writer.add_bool("stt.frontend.center", True)


def add_tokenizer(writer: gguf.GGUFWriter, tokens: dict[str, Any]) -> None:
    """A vocabulary of the right size; its pieces are numbered names."""
    special, count = tokens["special_count"], tokens["vocab_size"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("tekken")
    writer.add_token_list([f"<s{i}>" if i < special else f"w{i}" for i in range(count)])
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([int(control if i < special else normal) for i in range(count)])
    writer.add_token_merges(["w 1"])
    writer.add_bos_token_id(tokens["bos"])
    writer.add_eos_token_id(tokens["eos"])
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(11)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def _half(value: float) -> np.ndarray:
    return np.frombuffer(np.float16(value).tobytes(), np.uint8)


if __name__ == "__main__":
    main()
