"""`voxtral-edge verify --against`: two packages on recordings, their differences, and what cannot be compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from front_door import CHECKPOINT, ROOT, SAMPLES_DIR, run_cli, start_python
from onnx_testing import make_package
from safetensors.torch import load_file, save_file

import checkpoints
from voxtral_edge.errors import AudioFormatError, ModelFormatError, UsageError
from voxtral_edge.quality import Comparison, compare_packages
from voxtral_edge.quality.changes import KINDS
from voxtral_edge.step_cost import cost_of_manifest

SAMPLE = SAMPLES_DIR / "zero-to-nine.wav"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo model in several precisions, and int8 with one damaged layer."""
    folder = tmp_path_factory.mktemp("packages")
    made = {name: make_package(folder / name, CHECKPOINT, name) for name in ("fp32", "int8", "int4")}
    made["damaged"] = folder / "damaged"
    shutil.copytree(made["int8"], made["damaged"])
    damage(made["damaged"], "decoder.layers.0.ffn.down.scales", 0.0)
    return made


def damage(package: Path, tensor: str, factor: float) -> None:
    """Multiplies a tensor of fp16 scales, hashes left as they are: loading does not look at them."""
    entry = json.loads((package / "manifest.json").read_text())["tensors"][tensor]
    with open(package / entry["file"], "r+b") as file:
        file.seek(entry["offset"])
        values = np.frombuffer(file.read(entry["bytes"]), np.float16)
        file.seek(entry["offset"])
        file.write((values * np.float16(factor)).tobytes())


def damage_with_nan(package: Path, tensor: str) -> None:
    damage(package, tensor, float("nan"))


def test_a_package_equals_itself(packages: dict[str, Path]) -> None:
    for name in ("fp32", "int4"):
        total = compare_packages(packages[name], packages[name], [SAMPLES_DIR], threads=2).total
        assert total.identical and total.kl_mean == total.kl_p99 == 0.0
        assert not any(total.changed.values()) and total.word_edits == 0 and total.words == 51
    same = ["verify", packages["int8"], "--against", packages["int8"], "--audio", SAMPLE]
    code, out, err = run_cli(*same, "--max-changed-percent", "0")
    assert code == 0, err
    assert "exactly the same" in out and "at most the 0 % allowed" in out


def test_less_precision_differs_more(packages: dict[str, Path]) -> None:
    found = {
        name: compare_packages(packages[name], packages["fp32"], [SAMPLES_DIR]).total
        for name in ("int8", "int4", "damaged")
    }
    assert 0 < found["int8"].kl_mean < 0.3 * found["int4"].kl_mean < 0.03 * found["damaged"].kl_mean
    assert found["int8"].kl_slack < 1e-5, "nothing of a small vocabulary is lost"


def test_a_damaged_layer_is_caught(packages: dict[str, Path]) -> None:
    arguments = ["verify", packages["damaged"], "--against", packages["int8"], "--audio", SAMPLE]
    code, out, err = run_cli(*arguments)
    assert code == 0, err
    assert "tokens, timing" in out and "tokens, text" in out and "→" in out
    code, out, _ = run_cli(*arguments, "--max-changed-percent", "5")
    assert code == 1 and "more than the 5 % allowed" in out
    code, out, _ = run_cli(*arguments, "--max-changed-percent", "100", "--json")
    report = json.loads(out)
    assert code == 0 and report["ok"] is True and report["total"]["changed_share"] > 0.05


def test_numbers_that_are_not_finite_are_an_error(packages: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(packages["int8"], tmp_path / "nan")
    damage_with_nan(tmp_path / "nan", "decoder.embedding.scales")
    with pytest.raises(ModelFormatError, match="not finite"):
        compare_packages(tmp_path / "nan", packages["int8"], [SAMPLE])


def test_the_report_says_what_was_found(packages: dict[str, Path]) -> None:
    arguments = ["verify", packages["int4"], "--against", packages["fp32"], "--audio", SAMPLES_DIR, "--json"]
    code, out, err = run_cli(*arguments)
    assert code == 0, err
    report = json.loads(out)
    assert report["format"] == "voxtral-edge-comparison" and report["format_version"] == 1
    document = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    recording = report["recordings"][0]
    changes = [change for r in report["recordings"] for change in r["token_changes"] + r["word_changes"]]
    for part in (report, report["package"], report["total"], recording, *changes):
        for key in part:
            assert f"`{key}`" in document, f"docs/export.md does not document {key}"
    total, parts = report["total"], report["recordings"]
    for key in ("tokens", "words", "word_edits"):
        assert total[key] == sum(part[key] for part in parts)
    assert total["changed"] == {kind: sum(part["changed"][kind] for part in parts) for kind in KINDS}
    mean = sum(part["kl_mean"] * part["tokens"] for part in parts) / total["tokens"]
    assert total["kl_mean"] == pytest.approx(mean)
    for part in parts:
        assert len(part["token_changes"]) == sum(part["changed"].values())
        assert sum(change["edits"] for change in part["word_changes"]) == part["word_edits"]
        assert all(0 <= change["time_s"] <= part["seconds"] + 2.4 for change in part["token_changes"])
    manifest = json.loads((packages["int4"] / "manifest.json").read_text())
    assert report["package"]["step_bytes"] == cost_of_manifest(manifest).weight_bytes


# ---------------------------------------------------------------------- against transformers


@torch.no_grad()
def forced_logits(
    folder: Path, pcm: np.ndarray, delay_tokens: int, ids: np.ndarray, prompt: int
) -> np.ndarray:
    """transformers' logits [generated, vocabulary] where `ids` (prompt first) are the tokens, in one pass."""
    from transformers import VoxtralRealtimeFeatureExtractor

    model = checkpoints._load_model(folder)
    padded = checkpoints.pad_pcm(pcm, delay_tokens, checkpoints.left_pad_tokens(folder))
    mel = VoxtralRealtimeFeatureExtractor()(padded, sampling_rate=16000, center=True, return_tensors="pt")
    heard = model.get_audio_features(mel.input_features, use_cache=False, return_dict=True).pooler_output
    condition = model.model.time_embedding(torch.full((1,), float(delay_tokens)))[None]
    embeddings = model.get_input_embeddings()(torch.tensor([ids[: heard.shape[1]].tolist()])) + heard
    state = model.model.language_model(inputs_embeds=embeddings, use_cache=False, t_cond=condition)
    return model.lm_head(state.last_hidden_state[0, prompt - 1 :]).numpy()


def test_the_figures_are_those_of_transformers(tmp_path: Path) -> None:
    """Two random models, one a disturbed copy of the other; everything computed anew with transformers and numpy."""
    left = checkpoints.make_checkpoint(tmp_path / "left", "golden")
    right = tmp_path / "right"
    shutil.copytree(left, right)
    tensors = load_file(left / "model.safetensors")
    noise = torch.Generator().manual_seed(5)
    for name, values in tensors.items():
        tensors[name] = values * (1 + 0.01 * torch.randn(values.shape, generator=noise))
    save_file(tensors, right / "model.safetensors", {"format": "pt"})
    soundfile.write(tmp_path / "a.wav", checkpoints.synthetic_speech(), 16000, subtype="FLOAT")
    pcm = checkpoints.synthetic_speech()

    packages = [make_package(tmp_path / name, folder, "fp32") for name, folder in (("l", left), ("r", right))]
    result = compare_packages(packages[1], packages[0], [tmp_path / "a.wav"])

    expected = checkpoints.reference(left, pcm)
    ids, prompt = expected["ids"], int(expected["prompt_len"])
    assert len(ids) - prompt == result.total.tokens, "this model does not end itself"
    forced = forced_logits(right, pcm, 6, ids, prompt)
    logs = [
        x - np.log(np.exp(x).sum(-1, keepdims=True))
        for x in (expected["logits"].astype(float), forced.astype(float))
    ]
    kl = (np.exp(logs[0]) * (logs[0] - logs[1])).sum(-1)
    assert result.total.kl_mean == pytest.approx(kl.mean(), rel=1e-3) and kl.mean() > 1e-3
    assert result.total.kl_p99 == pytest.approx(np.quantile(kl, 0.99), rel=1e-2)
    changed = np.flatnonzero(forced.argmax(-1) != ids[prompt:])
    (recording,) = result.recordings
    assert [change.token for change in recording.token_changes] == changed.tolist() and len(changed) > 0
    for change in recording.token_changes:
        assert change.after_probability == pytest.approx(np.exp(logs[1][change.token]).max(), rel=1e-3)


# ---------------------------------------------------------------------- what cannot be compared


def message(package: Path | str, against: Path | str, *audio: Path) -> str:
    with pytest.raises((UsageError, AudioFormatError)) as caught:
        compare_packages(package, against, list(audio))
    return str(caught.value)


def edited(package: Path, folder: Path, change: Any) -> Path:
    shutil.copytree(package, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_packages_of_different_models_are_refused(packages: dict[str, Path], tmp_path: Path) -> None:
    other = make_package(tmp_path / "odd", checkpoints.make_checkpoint(tmp_path / "c", "odd"), "int8")
    assert "not of the same model: tokens." in message(other, packages["int8"], SAMPLE)

    def delay(manifest: dict[str, Any]) -> None:
        manifest["audio"]["default_delay_tokens"] += 1

    def tokenizer(manifest: dict[str, Any]) -> None:
        manifest["files"]["tekken.json"]["sha256"] = "0" * 64

    def window(manifest: dict[str, Any]) -> None:
        manifest["config"]["decoder"]["window_tokens"] += 1

    changes = {
        "audio.default_delay_tokens is 7 and 6": delay,
        "different tokenizers": tokenizer,
        "config.decoder.window_tokens is 257 and 256": window,
    }
    for number, (expected, change) in enumerate(changes.items()):
        changed = edited(packages["int8"], tmp_path / str(number), change)
        assert expected in message(changed, packages["int8"], SAMPLE)


def test_audio_that_cannot_be_compared_on(packages: dict[str, Path], tmp_path: Path) -> None:
    pair = packages["int4"], packages["int8"]
    (tmp_path / "empty").mkdir()
    assert "holds no audio" in message(*pair, tmp_path / "empty")
    assert "no recording is named" in message(*pair)
    assert "cannot be opened" in message(*pair, tmp_path / "nowhere.wav")
    (tmp_path / "noise.wav").write_bytes(b"not audio" * 100)
    assert "not a readable audio file" in message(*pair, SAMPLE, tmp_path / "noise.wav")
    soundfile.write(tmp_path / "silence.wav", np.zeros(32000, np.float32), 16000)
    assert "hears no word in" in message(*pair, tmp_path / "silence.wav")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--against", "tiny-en"], "needs --audio"),
        (["--audio", str(SAMPLE)], "--audio needs --against"),
        (["--max-changed-percent", "1"], "--max-changed-percent needs --against"),
        (["--against", "tiny-en", "--audio", str(SAMPLE), "--max-changed-percent", "101"], "no percentage"),
        (["--against", "tiny-en", "--audio", str(SAMPLE), "--delay-ms", "100"], "delay_ms"),
        (["--against", "nowhere", "--audio", str(SAMPLE)], "nowhere"),
    ],
)
def test_wrong_usage(arguments: list[str], expected: str) -> None:
    code, out, err = run_cli("verify", "tiny-en", *arguments)
    assert (code, out) == (2, "") and expected in err


# ---------------------------------------------------------------------- memory

_MEASURE = """
import resource, sys
from voxtral_edge.quality import compare_packages
peaks = []
for path in sys.argv[3:]:
    compare_packages(sys.argv[1], sys.argv[2], [path], threads=1)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
print(peaks[1] - peaks[0])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_recording(packages: dict[str, Path], tmp_path: Path) -> None:
    """Five minutes instead of twenty seconds: logits and traces of 3,500 tokens would be 55 MB."""
    pcm, rate = soundfile.read(SAMPLE, dtype="float32")
    for name, seconds in (("short", 20), ("long", 300)):
        repeated = np.tile(pcm, int(np.ceil(seconds * rate / len(pcm))))[: seconds * rate]
        soundfile.write(tmp_path / f"{name}.wav", repeated, rate)
    process = start_python(
        "-c", _MEASURE, packages["int4"], packages["int8"], tmp_path / "short.wav", tmp_path / "long.wav"
    )
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err.decode()
    assert int(out) < 12e6


def test_the_demo_is_compared_by_name() -> None:
    result: Comparison = compare_packages("tiny-en", "tiny-en", [SAMPLE], kv_cache="f32")
    assert result.total.identical and result.package.directory == result.against.directory
