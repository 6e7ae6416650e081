"""`export --calibrate`: what is recorded, how rounding errors are compensated, and what it gains."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from export_testing import export_folder, read_manifest, read_tensor
from front_door import CHECKPOINT, SAMPLES_DIR, run_cli

import checkpoints
from voxtral_edge.errors import AudioFormatError, DeviceError, ModelFormatError, UsageError
from voxtral_edge.export import activations
from voxtral_edge.export.activations import ActivationStore, record_activations
from voxtral_edge.export.compensation import Compensator, compensation_factor
from voxtral_edge.export.quantize import dequantize_rows, quantize_compensated, quantize_rows
from voxtral_edge.quality import compare_packages
from voxtral_edge.quality.recordings import find_recordings

CALIBRATION = SAMPLES_DIR / "serial-numbers.flac"


def correlated(rows: int, columns: int, seed: int) -> np.ndarray:
    """Inputs that a few directions explain, as a network's are."""
    generator = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((columns // 4, columns))
    return (
        generator.standard_normal((rows, columns // 4)) @ mixing
        + 0.3 * generator.standard_normal((rows, columns))
    ).astype(np.float32)


def matrix(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((rows, columns)).astype(np.float32) * np.float32(0.02)


@pytest.mark.parametrize("columns", [32, 42, 96])
def test_the_identity_compensates_nothing(columns: int) -> None:
    values = matrix(17, columns)
    whole = -(-columns // 32) * 32
    for ours, plain in zip(
        quantize_compensated(values, np.eye(whole, dtype=np.float32), "w"),
        quantize_rows(values, 4, "w"),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, plain)


@pytest.mark.parametrize("columns", [64, 42])
def test_the_factor_is_that_of_the_inverse(columns: int) -> None:
    inputs = correlated(3000, columns, seed=1)
    factor = compensation_factor(inputs.astype(np.float16)).astype(np.float64)
    whole = -(-columns // 32) * 32
    assert factor.shape == (whole, whole) and (np.tril(factor, -1) == 0).all()
    stored = inputs.astype(np.float16).astype(np.float64)
    moments = np.zeros((whole, whole))
    moments[:columns, :columns] = stored.T @ stored
    moments += 0.01 * np.trace(moments) / columns * np.eye(whole)
    np.testing.assert_allclose(factor.T @ factor @ moments, np.eye(whole), atol=1e-3)
    silent = compensation_factor(np.zeros((10, 32), np.float16))
    np.testing.assert_array_equal(silent, np.eye(32))


@pytest.mark.parametrize("columns", [128, 100])
def test_products_come_out_better_on_other_inputs(columns: int) -> None:
    values, unheard = matrix(64, columns), correlated(500, columns, seed=3)
    factor = compensation_factor(correlated(2000, columns, seed=2).astype(np.float16))
    errors = []
    for packed, scales in (quantize_compensated(values, factor, "w"), quantize_rows(values, 4, "w")):
        assert packed.shape == (64, -(-columns // 32), 16) and (scales >= 0).all()
        errors.append(
            float(np.square(unheard @ (dequantize_rows(packed, scales, columns) - values).T).mean())
        )
    assert errors[0] < 0.4 * errors[1]


def test_strips_of_a_matrix_come_out_as_the_whole() -> None:
    values = matrix(40, 96)
    factor = compensation_factor(correlated(500, 96, seed=4).astype(np.float16))
    whole = quantize_compensated(values, factor, "w")
    parts = [quantize_compensated(values[first : first + 16], factor, "w") for first in range(0, 40, 16)]
    for index in (0, 1):
        joined = np.concatenate([part[index] for part in parts])
        # Sums of a product may round otherwise with another number of rows, which moves a level now and then.
        assert (joined == whole[index]).mean() > 0.99


def test_values_that_are_not_finite_are_refused_by_name() -> None:
    values = matrix(4, 64)
    values[1, 40] = np.nan
    with pytest.raises(ModelFormatError, match=r"'layer\.7' holds values that are not finite"):
        quantize_compensated(values, np.eye(64, dtype=np.float32), "layer.7")


def test_two_factors_are_kept_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is 0.3 GB for the 4B model's widest matrices."""
    store = ActivationStore(tmp_path)
    for value in "xyz":
        store.declare(f"m{value}", value, 32)
        store.add(value, correlated(64, 32, seed=ord(value)), rows_per_token=1)
    computed: list[str] = []
    rows = store.rows
    monkeypatch.setattr(store, "rows", lambda value: computed.append(value) or rows(value))
    compensator = Compensator(store)
    for value in "xyxyzyx":
        compensator.quantize(matrix(4, 32), f"m{value}")
    assert computed == ["x", "y", "z", "x"]


# ---------------------------------------------------------------------- what is recorded


def test_rows_are_kept_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "MOST_ROWS", 100)
    store = ActivationStore(tmp_path)
    store.declare("m", "x", 2)
    store.expect(tokens=500)
    everything = np.arange(2000, dtype=np.float32).reshape(1000, 2)
    for first in range(0, 1000, 37):
        store.add("x", everything[first : first + 37], rows_per_token=2)
    np.testing.assert_array_equal(store.rows("x"), everything[::10])
    store.declare("n", "loud", 1)
    store.add("loud", np.full((1, 1), 1e6, np.float32), 1)
    assert store.rows("loud") == 65504


def test_what_is_recorded_is_what_transformers_computes(tmp_path: Path) -> None:
    """Inputs of four kinds of matrices, by hooks into the reference; int8 differs by a few hundredths."""
    checkpoint = checkpoints.make_checkpoint(tmp_path / "c", "golden")
    pcm = checkpoints.synthetic_speech()
    soundfile.write(tmp_path / "a.wav", pcm, 16000, subtype="FLOAT")
    package = export_folder(checkpoint, tmp_path / "p", "int8")
    (tmp_path / "kept").mkdir()
    seconds: list[int] = []
    store = record_activations(
        package, find_recordings([tmp_path / "a.wav"]), tmp_path / "kept", 1, seconds.append
    )
    assert sum(seconds) == int(len(pcm) / 16000)
    matrices = {name for name, entry in read_manifest(package)["tensors"].items() if "quantization" in entry}
    assert set(store.inputs) == matrices, "of every quantised matrix"

    model = checkpoints._load_model(checkpoint)
    modules = {
        "encoder.layers.1.attention.v": model.model.audio_tower.layers[1].self_attn.v_proj,
        "encoder.layers.0.ffn.down": model.model.audio_tower.layers[0].mlp.down_proj,
        "adapter.linear1": model.model.multi_modal_projector.linear_1,
        "decoder.layers.1.attention.o": model.model.language_model.layers[1].self_attn.o_proj,
        "decoder.embedding": model.lm_head,
    }
    heard: dict[str, list[torch.Tensor]] = {name: [] for name in modules}
    hooks = [
        module.register_forward_pre_hook(
            lambda _, inputs, name=name: heard[name].append(
                inputs[0].detach().reshape(-1, inputs[0].shape[-1])
            )
        )
        for name, module in modules.items()
    ]
    try:
        checkpoints.reference(checkpoint, pcm)
    finally:
        for hook in hooks:
            hook.remove()
    for name, pieces in heard.items():
        ours = store.rows(store.inputs[f"{name}.weight"]).astype(np.float64)
        theirs = torch.cat(pieces).numpy().astype(np.float64)
        # The reference computes the head for the last prompt position only; a stream's last rows may be missing there.
        rows = min(len(ours), len(theirs), 40) if name != "decoder.embedding" else 1
        ours = ours[:rows] if name != "decoder.embedding" else ours[len(ours) - len(theirs)][None]
        error = np.sqrt(np.mean((ours - theirs[:rows]) ** 2) / np.mean(theirs[:rows] ** 2))
        assert error < 0.1, name


# ---------------------------------------------------------------------- packages


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated")
    code, _, err = run_cli(
        "export",
        CHECKPOINT,
        "-o",
        folder / "p",
        "--calibrate",
        CALIBRATION,
        env={"OPENBLAS_NUM_THREADS": "1"},
    )
    assert code == 0, err
    assert [entry.name for entry in folder.iterdir()] == ["p"], "nothing is left beside it"
    return folder / "p"


def test_calibration_lowers_the_divergence_on_other_recordings(calibrated: Path, tmp_path: Path) -> None:
    """Measured: 0.0004 without, 0.0001 with."""
    others = [
        path
        for path in SAMPLES_DIR.iterdir()
        if path.suffix in (".wav", ".ogg", ".mp3", ".flac") and path != CALIBRATION
    ]
    exact = export_folder(CHECKPOINT, tmp_path / "fp32", "fp32")
    plain = export_folder(CHECKPOINT, tmp_path / "int4")
    found = [compare_packages(package, exact, others).total.kl_mean for package in (calibrated, plain)]
    assert found[0] < 0.5 * found[1]


def test_only_int4_weights_change(calibrated: Path, tmp_path: Path) -> None:
    plain = export_folder(CHECKPOINT, tmp_path / "int4", name="p")
    ours, theirs = read_manifest(calibrated), read_manifest(plain)
    assert ours["tensors"] == theirs["tensors"] and ours["precision"] == theirs["precision"]
    assert ours["source"]["calibration_seconds"] == pytest.approx(22.9, abs=0.1)
    assert "calibration_seconds" not in theirs["source"]
    for name, entry in ours["tensors"].items():
        bits = entry.get("quantization", {}).get("bits")
        if not name.endswith(".scales"):
            equal = np.array_equal(read_tensor(calibrated, name), read_tensor(plain, name))
            assert equal == (bits != 4), name


def test_what_cannot_be_calibrated(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no group of this precision is int4"):
        export_folder(CHECKPOINT, tmp_path / "p", "int8", calibration=[CALIBRATION])
    with pytest.raises(AudioFormatError, match=r"nowhere\.wav"):
        export_folder(CHECKPOINT, tmp_path / "p", calibration=[tmp_path / "nowhere.wav"])
    assert list(tmp_path.iterdir()) == []
    for options in (["--synthetic", "tiny"], [CHECKPOINT, "--absmax-scales"]):
        code, _, err = run_cli("export", *options, "-o", tmp_path / "p", "--calibrate", CALIBRATION)
        assert code == 2 and "--calibrate needs a checkpoint" in err


def test_without_onnxruntime_it_says_so_behind_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match="no group of this precision is int4"):
        export_folder(CHECKPOINT, tmp_path / "p", "int8", calibration=[CALIBRATION])
    with pytest.raises(DeviceError, match=r"^calibration needs onnxruntime.*pip install onnxruntime"):
        export_folder(CHECKPOINT, tmp_path / "p", calibration=[CALIBRATION])


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Compensator, "quantize", fail)
    with pytest.raises(MemoryError):
        export_folder(CHECKPOINT, tmp_path / "p", calibration=[SAMPLES_DIR / "pin.ogg"])
    assert list(tmp_path.iterdir()) == []


def test_progress_in_seconds_of_audio() -> None:
    from voxtral_edge.export.progress import describe_audio

    assert describe_audio(150, 600, 75.0) == " 25 %  2:30 of 10:00  3:45 left"
    assert describe_audio(0, 600, 0.0) == "  0 %  0:00 of 10:00  -:-- left"
