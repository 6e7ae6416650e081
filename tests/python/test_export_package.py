"""The written package: table, alignment, hashes, recipes, sizes of the 4B model, synthetic models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from export_testing import check_package, export_folder, read_manifest, read_tensor

from checkpoints import make_checkpoint
from voxtral_edge.errors import UsageError
from voxtral_edge.export import GROUPS, PRECISIONS, SyntheticCheckpoint, export_package
from voxtral_edge.export.package_layout import plan_layout
from voxtral_edge.export.pipeline import group_bytes
from voxtral_edge.export.precision import resolve_precision
from voxtral_edge.export.schema import tensor_specs
from voxtral_edge.export.synthetic import SYNTHETIC_MODELS
from voxtral_edge.export.tokenizer import delay_tokens, read_tokenizer


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("golden"), "golden")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_table_is_sound(golden, tmp_path, precision):
    package = export_folder(golden, tmp_path / "package", precision)
    assert check_package(package) == "package"
    manifest = read_manifest(package)
    assert sorted(entry.name for entry in package.iterdir()) == sorted([*manifest["files"], "manifest.json"])
    assert (manifest["format"], manifest["format_version"]) == ("voxtral-edge-package", 1)
    end = 0
    for name, entry in sorted(manifest["tensors"].items(), key=lambda item: item[1]["offset"]):
        assert entry["offset"] >= end and entry["offset"] % 64 == 0, name
        assert entry["bytes"] < 1 << 20 or entry["offset"] % 4096 == 0, name
        end = entry["offset"] + entry["bytes"]
        assert read_tensor(package, name).nbytes == entry["bytes"], name
    assert end == manifest["files"]["weights.bin"]["bytes"]


def test_what_is_never_quantised_stays_float32(golden, tmp_path):
    manifest = read_manifest(export_folder(golden, tmp_path / "package", "int4"))
    for name, entry in manifest["tensors"].items():
        kept = ".conv" in name or "norm." in name or name.endswith(".bias") or ".delay." in name
        assert (entry["dtype"] == "float32") == kept, name
        assert ("quantization" in entry) == (name.endswith(".weight") and not kept), name
        expected_graphs = (
            []
            if ".delay." in name
            else ["encoder" if name.startswith(("encoder.", "adapter.")) else "decoder"]
        )
        assert entry["graphs"] == expected_graphs, name


def test_manifest_states_what_tekken_json_says(golden, tmp_path):
    manifest = read_manifest(export_folder(golden, tmp_path / "package", name="my-model"))
    assert manifest["name"] == "my-model"
    assert manifest["tokens"] == {
        "bos": 1,
        "eos": 2,
        "streaming_pad": 32,
        "streaming_word": 33,
        "special_count": 1000,
        "vocab_size": 1320,
    }
    assert manifest["audio"] == {
        "sample_rate_hz": 16000,
        "hop_samples": 160,
        "window_samples": 400,
        "samples_per_token": 1280,
        "mel_frames_per_token": 8,
        "log_mel_max": 1.5,
        "left_pad_tokens": 32,
        "right_pad_extra_tokens": 10,
        "default_delay_tokens": 6,
    }
    assert (tmp_path / "package" / "tekken.json").read_bytes() == (golden / "tekken.json").read_bytes()


def test_streaming_tokens_are_found_by_name(golden, tmp_path):
    text = (golden / "tekken.json").read_text()
    values = json.loads(text)
    specials = values["special_tokens"]
    specials[32]["token_str"], specials[40]["token_str"] = (
        specials[40]["token_str"],
        specials[32]["token_str"],
    )
    (tmp_path / "tekken.json").write_text(json.dumps(values))
    assert read_tokenizer(tmp_path / "tekken.json").tokens.streaming_pad == 40


@pytest.mark.parametrize(
    "delay_ms,tokens", [(80, 1), (160, 2), (480, 6), (1200, 15), (2400, 30), (85, 1), (90, 2)]
)
def test_delay_rule(delay_ms, tokens):
    # The reference's rule (spec 3.2): 85 ms are 1360 samples = 8.5 frames, rounded down to 8 = 1 token.
    assert delay_tokens(delay_ms, 16000, 160, 8) == tokens


# ------------------------------------------------------------------ recipes


def write_recipe(folder: Path, text: str) -> str:
    path = folder / "recipe.toml"
    path.write_text(text)
    return str(path)


def test_recipe_sets_each_group(golden, tmp_path):
    recipe = write_recipe(
        tmp_path,
        'default = "int4"\n[groups]\nembedding = "int8"\n"encoder.attention" = "fp16"\n'
        'decoder.ffn = "fp32"\n',
    )
    manifest = read_manifest(export_folder(golden, tmp_path / "package", recipe))
    assert manifest["precision"] == {
        "encoder.attention": "fp16",
        "encoder.ffn": "int4",
        "adapter": "int4",
        "decoder.attention": "int4",
        "decoder.ffn": "fp32",
        "embedding": "int8",
    }
    tensors = manifest["tensors"]
    assert tensors["decoder.embedding.weight"]["quantization"]["bits"] == 8
    assert tensors["encoder.layers.0.attention.q.weight"]["dtype"] == "float16"
    assert tensors["decoder.layers.1.ffn.down.weight"]["dtype"] == "float32"
    assert tensors["adapter.linear1.weight"]["quantization"]["bits"] == 4


@pytest.mark.parametrize(
    "text,parts",
    [
        ('default = "int4"\n[groups]\nhead = "int8"', ["'head'", *GROUPS]),
        ('[groups]\nembedding = "int8"', ["encoder.attention", "no precision", "no default"]),
        ('default = "int5"', ["'int5'", *PRECISIONS]),
        ("default = 4", ["4", *PRECISIONS]),
        ('defualt = "int4"', ["'defualt'", "default and [groups]"]),
        ("groups = 3", ["[groups] must be a table"]),
        ("default = ", ["not valid TOML"]),
    ],
)
def test_wrong_recipes_say_what_is_valid(tmp_path, text, parts):
    with pytest.raises(UsageError) as caught:
        resolve_precision(write_recipe(tmp_path, text))
    for part in parts:
        assert part in str(caught.value)


def test_unknown_precision_and_missing_recipe(tmp_path):
    with pytest.raises(
        UsageError, match="unknown precision 'int3'; use one of fp32, fp16, int8, int4 or a recipe"
    ):
        resolve_precision("int3")
    with pytest.raises(UsageError, match="cannot read recipe"):
        resolve_precision(str(tmp_path / "absent.toml"))


# ------------------------------------------------------------------ the 4B model


def test_dimensions_of_the_4b_model_add_up():
    specs = tensor_specs(SYNTHETIC_MODELS["4b"])
    assert len(specs) == 711
    assert sum(spec.elements for spec in specs) == 4_429_679_360

    def count(*starts: str) -> int:
        return sum(spec.elements for spec in specs if spec.name.startswith(starts))

    assert count("encoder.") == 970_395_392
    assert count("adapter.") == 25_165_824
    assert count("decoder.embedding") == 402_653_184
    assert count("decoder.layers", "decoder.norm") == 3_031_464_960


@pytest.mark.parametrize(
    "precision,weight_gigabytes", [("fp32", 17.72), ("fp16", 8.88), ("int8", 4.74), ("int4", 2.54)]
)
def test_sizes_of_the_4b_package(precision, weight_gigabytes):
    # docs/export.md states these.
    layout = plan_layout(tensor_specs(SYNTHETIC_MODELS["4b"]), resolve_precision(precision))
    assert layout.weight_bytes / 1e9 == pytest.approx(weight_gigabytes, abs=0.005)
    if precision == "int4":
        assert group_bytes(layout)["decoder.ffn"] == 26 * 3 * 9216 * 3072 * 9 // 16


# ------------------------------------------------------------------ synthetic


def test_synthetic_package_is_reproducible(tmp_path):
    packages = []
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        packages.append(
            export_package(SyntheticCheckpoint("tiny", seed), tmp_path / folder, precision="int8").path
        )
        check_package(packages[-1])
    contents = [(package / "weights.bin").read_bytes() for package in packages]
    assert contents[0] == contents[1] != contents[2]
    tokenizer = read_tokenizer(packages[0] / "tekken.json")
    assert tokenizer.tokens == SYNTHETIC_MODELS["tiny"].tokens


def test_synthetic_tokenizer_agrees_with_its_model(tmp_path):
    for name, config in SYNTHETIC_MODELS.items():
        path = tmp_path / f"{name}.json"
        path.write_bytes(SyntheticCheckpoint(name).tokenizer_bytes())
        tokenizer = read_tokenizer(path)
        assert tokenizer.tokens == config.tokens
        assert tokenizer.left_pad_tokens == config.audio.left_pad_tokens
        assert tokenizer.default_delay_tokens == config.audio.default_delay_tokens


def test_synthetic_refusals():
    with pytest.raises(UsageError, match="unknown synthetic model '8b'; use one of 4b, tiny"):
        SyntheticCheckpoint("8b")
    with pytest.raises(UsageError, match="negative"):
        SyntheticCheckpoint("tiny", -1)
