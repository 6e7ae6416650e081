"""Random Voxtral Realtime checkpoints for tests, and what transformers computes from them.

make_checkpoint(folder, "odd")                     HF files, Mistral files, tekken.json, processor_config.json
reference(folder, pcm, delay_tokens=6)             mel, encoder, projector, logits, ids through transformers
"""

from __future__ import annotations

import base64
import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkpoint_shapes import SHAPES, Shape
from safetensors.torch import load_file, save_file

SAMPLE_RATE_HZ, HOP_SAMPLES, WINDOW_SAMPLES, TOKEN_SAMPLES = 16000, 160, 400, 1280
# The models are a few hundred kilobytes: with one thread per core on a busy machine torch took 10 s instead of 0.1 s.
torch.set_num_threads(1)

BOS, EOS, STREAMING_PAD = 1, 2, 32
RIGHT_PAD_EXTRA_TOKENS = 10

_MM = "mm_streams_embeddings.embedding_module"
_SPECIAL_NAMES = {
    0: "<unk>",
    1: "<s>",
    2: "</s>",
    3: "[INST]",
    4: "[/INST]",
    5: "[AVAILABLE_TOOLS]",
    6: "[/AVAILABLE_TOOLS]",
    7: "[TOOL_RESULTS]",
    8: "[/TOOL_RESULTS]",
    9: "[TOOL_CALLS]",
    10: "[IMG]",
    11: "<pad>",
    12: "[IMG_BREAK]",
    13: "[IMG_END]",
    14: "[PREFIX]",
    15: "[MIDDLE]",
    16: "[SUFFIX]",
    17: "[SYSTEM_PROMPT]",
    18: "[/SYSTEM_PROMPT]",
    19: "[TOOL_CONTENT]",
    24: "[AUDIO]",
    25: "[BEGIN_AUDIO]",
    32: "[STREAMING_PAD]",
    33: "[STREAMING_WORD]",
    35: "[REPEAT_AUDIO_TEXT]",
    36: "[NEXT_AUDIO_TEXT]",
}


def make_checkpoint(out: Path, shape: str, seed: int = 0, dtype: str = "float32") -> Path:
    """Writes a seeded random checkpoint of a shape of SHAPES in both layouts into `out`; returns `out`.

    Every structural feature is alive: norm gains differ from 1, biases and the delay conditioning are loud.
    dtype: how weights are stored, "float32", "bfloat16" or "float16".
    """
    from transformers import VoxtralRealtimeConfig, VoxtralRealtimeForConditionalGeneration

    chosen = SHAPES[shape]
    out.mkdir(parents=True, exist_ok=True)
    config = VoxtralRealtimeConfig(
        audio_config=chosen.audio, text_config=chosen.text, tie_word_embeddings=True
    )
    model = VoxtralRealtimeForConditionalGeneration(config).float().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            parameter.copy_(_random_values(name, parameter, generator, chosen.loudness))
    model.generation_config.pad_token_id = 11
    model.to(getattr(torch, dtype)).save_pretrained(out)
    (out / "tekken.json").write_text(json.dumps(make_tekken(chosen)))
    (out / "processor_config.json").write_text(json.dumps(_processor_config(), indent=1))
    write_mistral_layout(out, chosen)
    return out


def _random_values(
    name: str, parameter: torch.Tensor, generator: torch.Generator, loudness: float
) -> torch.Tensor:
    noise = torch.randn(parameter.shape, generator=generator)
    if "norm.weight" in name:
        return 1 + 0.25 * noise
    if "ada_rms_norm" in name:
        return 1.5 / math.sqrt(parameter.shape[1]) * noise
    if name.endswith("bias"):
        return 0.2 * noise
    if "embed_tokens" in name:
        return 0.6 * noise
    return loudness / math.sqrt(parameter[0].numel()) * noise


def make_tekken(shape: Shape) -> dict[str, Any]:
    """A tokenizer of the right size: raw bytes, a few pieces whose bytes split characters, then words."""
    pieces = [bytes([value]) for value in range(256)]
    for word in (" the", " and", " voice", " é", "漢", " 日本", "ing", "ed", " a"):
        pieces.append(word.encode())
    # More pieces than the model uses, as in the real file.
    while len(pieces) < shape.text["vocab_size"] - shape.special_count + 8:
        pieces.append(f" w{len(pieces)}".encode())
    return {
        "config": {
            "pattern": r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s+",
            "num_vocab_tokens": len(pieces),
            "default_vocab_size": shape.text["vocab_size"],
            "default_num_special_tokens": shape.special_count,
            "version": "v7",
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(piece).decode(), "token_str": _text_of(piece)}
            for rank, piece in enumerate(pieces)
        ],
        "special_tokens": [
            {"rank": rank, "token_str": _SPECIAL_NAMES.get(rank, f"<SPECIAL_{rank}>"), "is_control": True}
            for rank in range(shape.special_count)
        ],
        "audio": {
            "sampling_rate": SAMPLE_RATE_HZ,
            "frame_rate": 12.5,
            "transcription_format": "streaming",
            "audio_encoding_config": {
                "num_mel_bins": shape.audio["num_mel_bins"],
                "hop_length": HOP_SAMPLES,
                "window_size": WINDOW_SAMPLES,
            },
            "transcription_delay_ms": shape.delay_ms,
            "streaming_look_ahead_ms": 2.5,
            "streaming_look_back_ms": 52.5,
            "streaming_n_left_pad_tokens": shape.left_pad_tokens,
        },
    }


def _text_of(piece: bytes) -> str | None:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return None


def _processor_config() -> dict[str, Any]:
    return {
        "feature_extractor": {
            "feature_extractor_type": "VoxtralRealtimeFeatureExtractor",
            "feature_size": 128,
            "global_log_mel_max": 1.5,
            "hop_length": HOP_SAMPLES,
            "n_fft": WINDOW_SAMPLES,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": True,
            "sampling_rate": SAMPLE_RATE_HZ,
            "win_length": WINDOW_SAMPLES,
        },
        "processor_class": "VoxtralRealtimeProcessor",
    }


# ------------------------------------------------------------------ layouts


def write_mistral_layout(folder: Path, shape: Shape) -> None:
    """consolidated.safetensors and params.json from the folder's model.safetensors."""
    tensors = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        heads = _rope_heads(name, shape)
        tensors[mistral_name(name)] = _half_split_to_interleaved(tensor, heads) if heads else tensor
    save_file(tensors, folder / "consolidated.safetensors")
    (folder / "params.json").write_text(json.dumps(mistral_params(shape), indent=1))


def mistral_name(name: str) -> str:
    """The Mistral name of a Hugging Face tensor (written independently of the exporter's own table)."""
    if name.startswith("audio_tower.embedder.conv"):
        index, part = name.removeprefix("audio_tower.embedder.conv").split(".")
        return f"{_MM}.whisper_encoder.conv_layers.{int(index) - 1}.conv.{part}"
    for old, new in (
        ("self_attn.q_proj", "attention.wq"),
        ("self_attn.k_proj", "attention.wk"),
        ("self_attn.v_proj", "attention.wv"),
        ("self_attn.o_proj", "attention.wo"),
        ("mlp.gate_proj", "feed_forward.w1"),
        ("mlp.up_proj", "feed_forward.w3"),
        ("mlp.down_proj", "feed_forward.w2"),
        ("self_attn_layer_norm", "attention_norm"),
        ("final_layer_norm", "ffn_norm"),
        ("input_layernorm", "attention_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("ada_rms_norm.linear1", "ada_rms_norm_t_cond.0"),
        ("ada_rms_norm.linear2", "ada_rms_norm_t_cond.2"),
        ("audio_tower.", f"{_MM}.whisper_encoder.transformer."),
        ("multi_modal_projector.linear_1", f"{_MM}.audio_language_projection.0"),
        ("multi_modal_projector.linear_2", f"{_MM}.audio_language_projection.2"),
        ("language_model.model.embed_tokens", f"{_MM}.tok_embeddings"),
        ("language_model.model.", ""),
    ):
        name = name.replace(old, new)
    return name


def _rope_heads(name: str, shape: Shape) -> int:
    if ".q_proj." not in name and ".k_proj." not in name:
        return 0
    if name.startswith("audio_tower"):
        return int(shape.audio["num_attention_heads"])
    return int(shape.text["num_attention_heads" if ".q_proj." in name else "num_key_value_heads"])


def _half_split_to_interleaved(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Per head: rows (first half | second half) -> pairs side by side."""
    order = torch.arange(tensor.shape[0]).reshape(heads, 2, -1).transpose(1, 2).reshape(-1)
    return tensor[order].contiguous()


def mistral_params(shape: Shape) -> dict[str, Any]:
    """params.json of the Mistral layout."""
    audio, text = shape.audio, shape.text
    encoder = {
        "audio_encoding_args": {
            "sampling_rate": SAMPLE_RATE_HZ,
            "frame_rate": 12.5,
            "num_mel_bins": audio["num_mel_bins"],
            "hop_length": HOP_SAMPLES,
            "window_size": WINDOW_SAMPLES,
            "chunk_length_s": None,
            "global_log_mel_max": 1.5,
            "transcription_format": "streaming",
        },
        "dim": audio["hidden_size"],
        "n_layers": audio["num_hidden_layers"],
        "head_dim": audio["head_dim"],
        "hidden_dim": audio["intermediate_size"],
        "n_heads": audio["num_attention_heads"],
        "vocab_size": text["vocab_size"],
        "n_kv_heads": audio["num_attention_heads"],
        "use_biases": True,
        "use_cache": False,
        "rope_theta": audio["rope_parameters"]["rope_theta"],
        "causal": True,
        "norm_eps": audio["rms_norm_eps"],
        "pos_embed": "rope",
        "max_source_positions": None,
        "ffn_type": "swiglu",
        "norm_type": "rms_norm",
        "sliding_window": audio["sliding_window"],
    }
    return {
        "dim": text["hidden_size"],
        "n_layers": text["num_hidden_layers"],
        "head_dim": text["head_dim"],
        "hidden_dim": text["intermediate_size"],
        "n_heads": text["num_attention_heads"],
        "n_kv_heads": text["num_key_value_heads"],
        "use_biases": False,
        "causal": True,
        "rope_theta": text["rope_parameters"]["rope_theta"],
        "norm_eps": text["rms_norm_eps"],
        "vocab_size": text["vocab_size"],
        "model_parallel": 1,
        "tied_embeddings": True,
        "sliding_window": text["sliding_window"],
        "model_max_length": 131072,
        "multimodal": {
            "whisper_model_args": {"encoder_args": encoder, "downsample_args": {"downsample_factor": 4}}
        },
        "ada_rms_norm_t_cond": True,
        "ada_rms_norm_t_cond_dim": 32,
    }


# ----------------------------------------------------- variants of one checkpoint


def rename_tensors(folder: Path, generation: str) -> None:
    """Rewrites model.safetensors with the names of another generation.

    "prefixed": model. before every file name; "memory": the names transformers uses in memory
    (model.language_model.layers..., lm_head.weight as a second copy of the embedding table).
    """
    tensors = load_file(folder / "model.safetensors")
    if generation == "prefixed":
        renamed = {f"model.{name}": tensor for name, tensor in tensors.items()}
    elif generation == "memory":
        renamed = {
            f"model.{name.replace('language_model.model.', 'language_model.')}": tensor
            for name, tensor in tensors.items()
        }
        renamed["lm_head.weight"] = tensors["language_model.model.embed_tokens.weight"].clone()
    else:
        raise ValueError(generation)
    save_file(renamed, folder / "model.safetensors")


def shard(folder: Path, stem: str = "model", shards: int = 3) -> None:
    """Splits STEM.safetensors into shards with an index, as large checkpoints are stored."""
    whole = folder / f"{stem}.safetensors"
    tensors = load_file(whole)
    names = sorted(tensors)
    weight_map = {}
    for index in range(shards):
        file = f"{stem}-{index + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: tensors[name] for name in names[index::shards]}
        save_file(part, folder / file)
        weight_map.update(dict.fromkeys(part, file))
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    (folder / f"{stem}.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map})
    )
    whole.unlink()


# ----------------------------------------------------------------- transformers


def synthetic_speech(seconds: float = 3.37, seed: int = 7) -> np.ndarray:
    """Modulated tones with noise, float32 [samples] at 16 kHz: nothing to understand, but all bands move."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    wobble = 60 * np.sin(2 * np.pi * 1.3 * time)
    tones = sum(
        level * np.sin(2 * np.pi * (pitch + wobble) * time)
        for level, pitch in ((0.2, 140), (0.12, 900), (0.06, 2600), (0.03, 6100))
    )
    envelope = 0.35 + 0.65 * np.abs(np.sin(2 * np.pi * 2.1 * time))
    return np.asarray(tones * envelope + 0.01 * generator.standard_normal(len(time)), dtype=np.float32)


@lru_cache(maxsize=4)
def _load_model(folder: Path) -> Any:
    from transformers import VoxtralRealtimeForConditionalGeneration

    model = VoxtralRealtimeForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval()


def left_pad_tokens(folder: Path) -> int:
    return int(json.loads((folder / "tekken.json").read_text())["audio"]["streaming_n_left_pad_tokens"])


def pad_pcm(pcm: np.ndarray, delay_tokens: int, left_tokens: int) -> np.ndarray:
    """The whole padded stream, a multiple of 1280 samples (spec 3.2)."""
    right = -len(pcm) % TOKEN_SAMPLES + (delay_tokens + 1 + RIGHT_PAD_EXTRA_TOKENS) * TOKEN_SAMPLES
    return np.concatenate(
        [np.zeros(left_tokens * TOKEN_SAMPLES, np.float32), pcm, np.zeros(right, np.float32)]
    )


@torch.no_grad()
def reference(folder: Path, pcm: np.ndarray, delay_tokens: int = 6) -> dict[str, np.ndarray]:
    """transformers' fp32 result for a whole clip (pcm float32 [samples], 16 kHz); stops after EOS.

    mel [bins, mel frames], encoder [4n, E], projector [n, D], logits [generated, vocabulary],
    ids [prompt + generated] int64, prompt_len [] int64. The encoder runs once; the decoder prefills the
    prompt and then takes one token per step.
    """
    from transformers import VoxtralRealtimeFeatureExtractor

    model, left = _load_model(folder.resolve()), left_pad_tokens(folder)
    extractor = VoxtralRealtimeFeatureExtractor()
    padded = pad_pcm(np.asarray(pcm, np.float32), delay_tokens, left)
    mel = torch.as_tensor(
        extractor(padded, sampling_rate=SAMPLE_RATE_HZ, center=True, return_tensors="pt").input_features
    )
    audio = model.get_audio_features(mel, use_cache=False, return_dict=True)
    projector = audio.pooler_output
    condition = model.model.time_embedding(torch.full((1,), float(delay_tokens)))[None]
    ids = [BOS] + [STREAMING_PAD] * (left + delay_tokens)
    prompt_len, logits, cache = len(ids), [], None
    for position in range(prompt_len - 1, projector.shape[1]):
        rows = slice(0, prompt_len) if cache is None else slice(position, position + 1)
        # Embedding sum made here: the model's own forward wants audio frames with every token.
        summed = model.get_input_embeddings()(torch.tensor([ids[rows]])) + projector[:, rows]
        step = model.model.language_model(
            inputs_embeds=summed, past_key_values=cache, use_cache=True, t_cond=condition
        )
        cache = step.past_key_values
        logits.append(model.lm_head(step.last_hidden_state[:, -1])[0])
        ids.append(int(logits[-1].argmax()))
        if ids[-1] == EOS:
            break
    return {
        "mel": mel[0].numpy(),
        "encoder": audio.last_hidden_state[0].numpy(),
        "projector": projector[0].numpy(),
        "logits": torch.stack(logits).numpy(),
        "ids": np.array(ids, np.int64),
        "prompt_len": np.array(prompt_len),
    }
