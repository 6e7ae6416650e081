"""One checkpoint stored in several ways: the exported numbers are those of transformers, the same bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from checkpoint_shapes import SHAPES
from export_testing import edit_json, export_folder, read_manifest, read_tensor
from safetensors.numpy import load_file, save_file

from checkpoints import make_checkpoint, rename_tensors, shard
from voxtral_edge.errors import ModelFormatError
from voxtral_edge.export import PRECISIONS, Checkpoint
from voxtral_edge.export.names import file_name
from voxtral_edge.export.quantize import dequantize_rows


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {shape: make_checkpoint(root / shape, shape) for shape in SHAPES}


@pytest.fixture
def golden(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A private copy that a test may change."""
    return Path(shutil.copytree(folders["golden"], tmp_path / "checkpoint"))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_both_layouts_give_the_same_bytes(folders, tmp_path, shape, precision):
    packages = [
        export_folder(folders[shape], tmp_path / layout, precision, layout) for layout in ("hf", "mistral")
    ]
    for file in ("weights.bin", "encoder.onnx", "decoder.onnx", "tekken.json"):
        first, second = ((package / file).read_bytes() for package in packages)
        assert first == second, file
    manifests = [read_manifest(package) for package in packages]
    for part in ("config", "audio", "tokens", "tensors", "precision", "files"):
        assert manifests[0][part] == manifests[1][part], part
    assert [manifest["source"]["layout"] for manifest in manifests] == ["hf", "mistral"]


@pytest.mark.parametrize("shape", SHAPES)
def test_fp32_tensors_are_those_of_the_transformers_file(folders, tmp_path, shape):
    package = export_folder(folders[shape], tmp_path / "package", "fp32")
    stored = load_file(folders[shape] / "model.safetensors")
    names = list(read_manifest(package)["tensors"])
    assert len(names) == len(stored)
    for name in names:
        np.testing.assert_array_equal(read_tensor(package, name), stored[file_name(name, "hf")], err_msg=name)


@pytest.mark.parametrize("precision,error_limit", [("int8", 0.006), ("int4", 0.1)])
def test_quantised_tensors_stay_close(folders, tmp_path, precision, error_limit):
    # 0.0054 and 0.0863 are the relative rms of Gaussian data (docs/export.md); these matrices are Gaussian.
    package = export_folder(folders["odd"], tmp_path / "package", precision)
    stored = load_file(folders["odd"] / "model.safetensors")
    for name, entry in read_manifest(package)["tensors"].items():
        if "quantization" not in entry:
            continue
        quantization = entry["quantization"]
        expected = stored[file_name(name, "hf")]
        assert (quantization["rows"], quantization["columns"]) == expected.shape
        values = dequantize_rows(
            read_tensor(package, name), read_tensor(package, quantization["scales"]), expected.shape[1]
        )
        error = np.sqrt(np.mean((values - expected) ** 2) / np.mean(expected**2))
        assert error < error_limit, name


@pytest.mark.parametrize("generation", ["prefixed", "memory"])
def test_name_generations_give_the_same_bytes(golden, tmp_path, generation):
    expected = export_folder(golden, tmp_path / "expected", layout="hf")
    rename_tensors(golden, generation)
    renamed = export_folder(golden, tmp_path / "renamed", layout="hf")
    assert (renamed / "weights.bin").read_bytes() == (expected / "weights.bin").read_bytes()


@pytest.mark.parametrize("layout,stem", [("hf", "model"), ("mistral", "consolidated")])
def test_shards_give_the_same_bytes(golden, tmp_path, layout, stem):
    expected = export_folder(golden, tmp_path / "expected", layout=layout)
    shard(golden, stem)
    sharded = export_folder(golden, tmp_path / "sharded", layout=layout)
    assert (sharded / "weights.bin").read_bytes() == (expected / "weights.bin").read_bytes()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_files_are_widened_exactly(tmp_path, dtype):
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "mha", dtype=dtype)
    packages = [export_folder(checkpoint, tmp_path / layout, "fp32", layout) for layout in ("hf", "mistral")]
    assert (packages[0] / "weights.bin").read_bytes() == (packages[1] / "weights.bin").read_bytes()
    from safetensors.torch import load_file as load_torch

    stored = load_torch(checkpoint / "model.safetensors")
    for name in read_manifest(packages[0])["tensors"]:
        expected = stored[file_name(name, "hf")].float().numpy()
        np.testing.assert_array_equal(read_tensor(packages[0], name), expected, err_msg=name)


def test_number_of_threads_does_not_change_the_bytes(folders, tmp_path):
    one, three = (export_folder(folders["wide"], tmp_path / str(n), threads=n) for n in (1, 3))
    assert (one / "weights.bin").read_bytes() == (three / "weights.bin").read_bytes()


def test_huggingface_files_win_when_both_are_there(golden):
    with Checkpoint(golden) as checkpoint:
        assert checkpoint.layout == "hf"
        assert any("--layout" in note for note in checkpoint.notes)
    (golden / "model.safetensors").unlink()
    with Checkpoint(golden) as checkpoint:
        assert checkpoint.layout == "mistral"
        assert checkpoint.notes == []


def test_asking_for_an_absent_layout_is_refused(golden):
    (golden / "params.json").unlink()
    with pytest.raises(ModelFormatError, match=r"no mistral layout: expected params\.json"):
        Checkpoint(golden, "mistral")


def test_the_other_layout_is_suggested_where_one_is_odd(golden):
    edit_json(golden / "config.json", lambda config: config["audio_config"].pop("rms_norm_eps"))
    with pytest.raises(ModelFormatError, match=r"audio_config\.rms_norm_eps.*--layout mistral"):
        Checkpoint(golden)
    Checkpoint(golden, "mistral").close()
    (golden / "params.json").unlink()
    with pytest.raises(ModelFormatError) as caught:
        Checkpoint(golden, "hf")
    assert "--layout" not in str(caught.value)


def test_a_second_copy_of_the_table_is_ignored_only_if_equal(golden):
    tensors = load_file(golden / "consolidated.safetensors")
    table = tensors["mm_streams_embeddings.embedding_module.tok_embeddings.weight"]
    save_file({**tensors, "output.weight": table}, golden / "consolidated.safetensors")
    with Checkpoint(golden, "mistral") as checkpoint:
        assert any("output.weight" in note for note in checkpoint.notes)
    changed = table.copy()
    changed[-1, -1] += 1
    save_file({**tensors, "output.weight": changed}, golden / "consolidated.safetensors")
    with pytest.raises(ModelFormatError, match=r"output\.weight.*untied output head is not supported"):
        Checkpoint(golden, "mistral")


def test_a_table_at_the_top_level_only_is_found(golden, tmp_path):
    expected = export_folder(golden, tmp_path / "expected", layout="mistral")
    tensors = load_file(golden / "consolidated.safetensors")
    tensors["tok_embeddings.weight"] = tensors.pop(
        "mm_streams_embeddings.embedding_module.tok_embeddings.weight"
    )
    save_file(tensors, golden / "consolidated.safetensors")
    moved = export_folder(golden, tmp_path / "moved", layout="mistral")
    assert (moved / "weights.bin").read_bytes() == (expected / "weights.bin").read_bytes()


def test_an_untied_model_without_its_head_is_refused(golden):
    edit_json(golden / "params.json", lambda params: params.update(tied_embeddings=False))
    with pytest.raises(ModelFormatError, match="head tensor is missing"):
        Checkpoint(golden, "mistral")


def test_a_configuration_that_does_not_mention_tying_means_tied(golden):
    def forget(config: dict) -> None:
        for section in (config, config["text_config"]):
            section.pop("tie_word_embeddings", None)

    edit_json(golden / "config.json", forget)
    Checkpoint(golden, "hf").close()
    edit_json(golden / "config.json", lambda config: config["text_config"].update(tie_word_embeddings=False))
    with pytest.raises(ModelFormatError, match="head tensor is missing"):
        Checkpoint(golden, "hf")


def test_one_of_two_statements_of_tying_is_enough(golden):
    def contradict(config: dict) -> None:
        config["tie_word_embeddings"] = False
        config["text_config"]["tie_word_embeddings"] = True

    edit_json(golden / "config.json", contradict)
    Checkpoint(golden, "hf").close()
    edit_json(golden / "params.json", lambda params: params.pop("tied_embeddings"))
    Checkpoint(golden, "mistral").close()


def test_log_mel_max_is_found_wherever_it_is_stated(golden):
    processor = golden / "processor_config.json"
    values = json.loads(processor.read_text())
    (golden / "preprocessor_config.json").write_text(json.dumps(values["feature_extractor"]))
    processor.write_text(json.dumps({"processor_class": "VoxtralRealtimeProcessor"}))
    with Checkpoint(golden, "hf") as checkpoint:
        assert checkpoint.config.audio.log_mel_max == 1.5
    processor.unlink()
    (golden / "preprocessor_config.json").unlink()
    with Checkpoint(golden, "hf") as checkpoint:
        assert checkpoint.config.audio.log_mel_max == 1.5


def test_saved_rotary_frequencies_and_lists_of_end_tokens_are_no_obstacle(golden, tmp_path):
    expected = export_folder(golden, tmp_path / "expected", layout="hf")
    tensors = load_file(golden / "model.safetensors")
    tensors["audio_tower.rotary_emb.inv_freq"] = np.ones(8, np.float32)
    tensors["model.language_model.rotary_emb.inv_freq"] = np.ones(12, np.float32)
    save_file(tensors, golden / "model.safetensors")
    edit_json(golden / "config.json", lambda config: config["text_config"].update(eos_token_id=[2]))
    with Checkpoint(golden, "hf") as checkpoint:
        assert sum("inv_freq" in note for note in checkpoint.notes) == 2
    package = export_folder(golden, tmp_path / "package", layout="hf")
    assert (package / "weights.bin").read_bytes() == (expected / "weights.bin").read_bytes()


def test_unknown_keys_of_params_are_reported(golden):
    def extend(params: dict) -> None:
        params["llama_4_scaling"] = {"beta": 0.1}
        params["moe"] = None
        params["multimodal"]["whisper_model_args"]["encoder_args"]["yarn"] = {"factor": 16}

    with Checkpoint(golden, "mistral") as checkpoint:
        assert checkpoint.notes == []
    edit_json(golden / "params.json", extend)
    with Checkpoint(golden, "mistral") as checkpoint:
        notes = "; ".join(checkpoint.notes)
    assert len(checkpoint.notes) == 2 and "llama_4_scaling" in notes and "encoder_args.yarn" in notes


def test_two_statements_of_the_delay_are_reported(golden):
    edit_json(golden / "config.json", lambda config: config.update(default_num_delay_tokens=12))
    with Checkpoint(golden, "hf") as checkpoint:
        assert checkpoint.config.audio.default_delay_tokens == 6
        assert any("config.json says 12" in note for note in checkpoint.notes)


def test_older_rope_key_is_read(golden):
    def flatten(config: dict) -> None:
        for section in (config["audio_config"], config["text_config"]):
            section["rope_theta"] = section.pop("rope_parameters")["rope_theta"]

    edit_json(golden / "config.json", flatten)
    with Checkpoint(golden, "hf") as checkpoint:
        assert checkpoint.config.encoder.rope_theta == 1e6


def test_configuration_of_both_layouts_is_complete(folders):
    for shape, folder in folders.items():
        with Checkpoint(folder, "hf") as first, Checkpoint(folder, "mistral") as second:
            assert first.config == second.config
            config = first.config
        audio, text = SHAPES[shape].audio, SHAPES[shape].text
        assert config.encoder.window_frames == audio["sliding_window"]
        assert config.decoder.window_tokens == text["sliding_window"]
        assert config.decoder.kv_heads == text["num_key_value_heads"]
        assert config.audio.left_pad_tokens == SHAPES[shape].left_pad_tokens
        assert config.audio.default_delay_tokens == SHAPES[shape].delay_ms // 80
        assert config.tokens.special_count == SHAPES[shape].special_count
        assert json.dumps(config.to_manifest())
