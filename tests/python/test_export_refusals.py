"""Damaged, incomplete or foreign checkpoints: a typed error that names the tensor or field and the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export_testing import edit_json, export_folder, leftovers
from safetensors.numpy import load_file, save_file

from checkpoints import make_checkpoint
from voxtral_edge.errors import ModelFormatError
from voxtral_edge.export import Checkpoint

MODEL, CONFIG, PARAMS, TEKKEN = "model.safetensors", "config.json", "params.json", "tekken.json"
QUERY = "audio_tower.layers.1.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("original"), "gqa8")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A private copy that a test may damage."""
    return Path(shutil.copytree(original, tmp_path / "checkpoint"))


def refuses(folder: Path, *parts: str, layout: str = "hf") -> None:
    """Opening the folder fails with a message that contains every part."""
    with pytest.raises(ModelFormatError) as caught:
        Checkpoint(folder, layout).close()
    for part in parts:
        assert part in str(caught.value)


def change_tensors(folder: Path, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    tensors = load_file(folder / MODEL)
    change(tensors)
    save_file(tensors, folder / MODEL)


def test_missing_tensor(folder):
    change_tensors(folder, lambda tensors: tensors.pop(QUERY))
    refuses(folder, MODEL, repr(QUERY), "is missing", "[32, 32]", CONFIG)


def test_unexpected_tensor(folder):
    change_tensors(
        folder, lambda tensors: tensors.update({"audio_tower.layers.7.x": np.zeros(3, np.float32)})
    )
    refuses(folder, MODEL, "unexpected tensor 'audio_tower.layers.7.x'")


def test_wrong_shape(folder):
    change_tensors(folder, lambda tensors: tensors.update({QUERY: tensors[QUERY][:-2].copy()}))
    refuses(folder, MODEL, repr(QUERY), "[30, 32]", "expected [32, 32]")


def test_same_tensor_under_two_names(folder):
    change_tensors(folder, lambda tensors: tensors.update({f"model.{QUERY}": tensors[QUERY]}))
    refuses(folder, f"model.{QUERY}", "is the same as")


def test_tensor_of_another_type(folder):
    change_tensors(folder, lambda tensors: tensors.update({QUERY: tensors[QUERY].astype(np.float64)}))
    with pytest.raises(ModelFormatError, match="stored as F64; only BF16, F16 and F32"):
        export_folder(folder, folder.parent / "package", layout="hf")
    assert leftovers(folder.parent) == []


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(folder, precision, value):
    def poison(tensors: dict[str, np.ndarray]) -> None:
        tensors[QUERY][3, 5] = value

    change_tensors(folder, poison)
    with pytest.raises(ModelFormatError, match=r"encoder\.layers\.1\.attention\.q\.weight.*not finite"):
        export_folder(folder, folder.parent / "package", precision, "hf")
    assert not (folder.parent / "package").exists()
    assert leftovers(folder.parent) == []


@pytest.mark.parametrize("precision,value", [("fp16", 7e4), ("int8", 1e7), ("int4", 1e6)])
def test_weights_too_large_for_fp16(folder, precision, value):
    def enlarge(tensors: dict[str, np.ndarray]) -> None:
        tensors[QUERY][0, 0] = value

    change_tensors(folder, enlarge)
    with pytest.raises(ModelFormatError, match=r"attention\.q\.weight.*does not fit fp16"):
        export_folder(folder, folder.parent / "package", precision, "hf")
    export_folder(folder, folder.parent / "package", "fp32", "hf")


def remove(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        for key in path[:-1]:
            values = values[key]
        del values[path[-1]]

    return change


def put(value: Any, *path: str) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change,parts",
    [
        # The trap: without it, transformers silently uses 10000 for the encoder.
        (
            remove("audio_config", "rope_parameters"),
            ["audio_config.rope_parameters", "missing", "never guessed"],
        ),
        (remove("text_config", "rope_parameters", "rope_theta"), ["text_config.rope_parameters.rope_theta"]),
        (put("yarn", "text_config", "rope_parameters", "rope_type"), ["rope_type", "'yarn'", "'default'"]),
        (
            put(0.5, "text_config", "rope_parameters", "partial_rotary_factor"),
            ["partial_rotary_factor", "0.5"],
        ),
        (remove("audio_config", "sliding_window"), ["audio_config.sliding_window", "missing"]),
        (put(None, "text_config", "sliding_window"), ["text_config.sliding_window", "expected an integer"]),
        (remove("text_config", "head_dim"), ["text_config.head_dim", "missing"]),
        (put(0, "text_config", "num_hidden_layers"), ["num_hidden_layers", "'0'"]),
        (put("8", "text_config", "hidden_size"), ["text_config.hidden_size", "expected an integer"]),
        (put(-1e-5, "audio_config", "rms_norm_eps"), ["rms_norm_eps", "above zero"]),
        (put("whisper", "model_type"), ["model_type", "'whisper'", "voxtral_realtime"]),
        (
            put(4, "audio_config", "num_key_value_heads"),
            ["num_key_value_heads", "says 2"],
        ),
        (put(999, "text_config", "vocab_size"), ["999", "700"]),
        (put(3, "downsample_factor"), ["8 mel frames per token do not match 3"]),
        (put(3, "text_config", "num_key_value_heads"), ["8 heads, not a multiple of its 3 kv heads"]),
        (put(7, "text_config", "bos_token_id"), ["bos_token_id", "<s> in tekken.json says 1"]),
    ],
)
def test_config_json(folder, change, parts):
    edit_json(folder / CONFIG, change)
    refuses(folder, CONFIG, *parts)


@pytest.mark.parametrize(
    "change,parts",
    [
        (remove("rope_theta"), ["'rope_theta'", "missing"]),
        (
            remove("multimodal", "whisper_model_args", "encoder_args", "rope_theta"),
            ["encoder_args.rope_theta"],
        ),
        (remove("sliding_window"), ["'sliding_window'", "missing"]),
        (remove("ada_rms_norm_t_cond_dim"), ["ada_rms_norm_t_cond_dim"]),
        (put(False, "ada_rms_norm_t_cond"), ["ada_rms_norm_t_cond", "expected True"]),
        (put(True, "use_biases"), ["use_biases", "expected False"]),
        (
            put("gelu", "multimodal", "whisper_model_args", "encoder_args", "ffn_type"),
            ["ffn_type", "'swiglu'"],
        ),
        (remove("multimodal", "whisper_model_args", "downsample_args"), ["downsample_args", "an object"]),
        (put("yes", "tied_embeddings"), ["tied_embeddings", "'yes'"]),
    ],
)
def test_params_json(folder, change, parts):
    edit_json(folder / PARAMS, change)
    refuses(folder, PARAMS, *parts, layout="mistral")


@pytest.mark.parametrize(
    "change,parts",
    [
        (remove("audio"), ["'audio'", "missing"]),
        (remove("audio", "transcription_delay_ms"), ["audio.transcription_delay_ms", "missing"]),
        (remove("audio", "streaming_n_left_pad_tokens"), ["audio.streaming_n_left_pad_tokens", "missing"]),
        (put("offline", "audio", "transcription_format"), ["transcription_format", "'streaming'"]),
        (put(12.4, "audio", "frame_rate"), ["audio.frame_rate", "whole number of hops"]),
        (
            lambda t: t["special_tokens"][32].update(token_str="<SPECIAL_32>"),
            ["no special token [STREAMING_PAD]"],
        ),
        (lambda t: t["special_tokens"][33].pop("token_str"), ["special_tokens[33].token_str", "missing"]),
        (lambda t: t["special_tokens"][33].update(rank=5000), ["special_tokens[33].rank", "5000"]),
        (lambda t: t["vocab"].__delitem__(slice(300, None)), ["'vocab' has 300 entries, the model uses 600"]),
        (lambda t: t["vocab"][400].update(rank=5), ["vocab[400]", "rank order"]),
        (lambda t: t["vocab"][400].update(token_bytes="%%"), ["vocab[400]", "base64"]),
        (lambda t: t["vocab"][65].update(token_bytes="YQ=="), ["vocab[65]", "single byte 65"]),
        (lambda t: t["vocab"][255].update(token_bytes="w78="), ["vocab[255]", "single byte 255"]),
        (put(1, "config", "default_num_special_tokens"), ["default_num_special_tokens"]),
    ],
)
def test_tekken_json(folder, change, parts):
    edit_json(folder / TEKKEN, change)
    if "default_num_special_tokens" in parts[0]:
        parts = ["'vocab'"]  # one special token leaves 699 pieces to find
    for layout in ("hf", "mistral"):
        refuses(folder, TEKKEN, *parts, layout=layout)


def test_files_that_disagree_about_the_front_end(folder):
    edit_json(folder / TEKKEN, put(320, "audio", "audio_encoding_config", "window_size"))
    refuses(folder, "processor_config.json", "n_fft", "400", "320")
    refuses(folder, PARAMS, "window_size", "400", "320", layout="mistral")


def test_missing_log_mel_max(folder):
    (folder / PARAMS).unlink()
    edit_json(folder / "processor_config.json", remove("feature_extractor", "global_log_mel_max"))
    refuses(folder, "global_log_mel_max", "processor_config.json")
    (folder / "processor_config.json").unlink()
    refuses(folder, "global_log_mel_max", "preprocessor_config.json", "params.json")


@pytest.mark.parametrize("layout", ["hf", "mistral"])
def test_missing_tokenizer(folder, layout):
    (folder / TEKKEN).unlink()
    refuses(folder, "tekken.json is missing", layout=layout)


def test_folders_without_a_checkpoint(tmp_path):
    with pytest.raises(ModelFormatError, match="is not a folder"):
        Checkpoint(tmp_path / "nowhere")
    with pytest.raises(ModelFormatError, match=r"holds no checkpoint: expected config\.json"):
        Checkpoint(tmp_path)


def test_shard_index_cannot_name_files_elsewhere(folder):
    (folder / MODEL).rename(folder.parent / MODEL)
    index = {"weight_map": {QUERY: "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refuses(folder, "index.json", "no file of this folder")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1, "a": 2}', "[" * 100_000, "\xff"])
def test_json_that_is_no_object(folder, text):
    (folder / CONFIG).write_bytes(text.encode("latin-1"))
    refuses(folder, CONFIG)
