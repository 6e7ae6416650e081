"""The speaker embedder: features against librosa and Kaldi, the graph against torch, and what can go wrong."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from front_door import sample
from numpy.typing import NDArray

from voxtral_edge.audio import read_audio
from voxtral_edge.diarize import OnnxEmbedder, SpeakerEmbedder
from voxtral_edge.diarize.embedder import BUNDLED_EMBEDDER, LEVEL_DBFS
from voxtral_edge.diarize.fbank import log_fbank
from voxtral_edge.diarize.mel import hz_to_mel, mel_filters, mel_to_hz, power_mel
from voxtral_edge.errors import ModelFormatError

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def speech() -> NDArray[np.float32]:
    noise = np.random.default_rng(1).normal(0, 1e-3, 32000).astype(np.float32)
    return read_audio(sample("serial-numbers.flac"))[16000:48000] + noise


def test_mel_is_librosas(speech: NDArray[np.float32]) -> None:
    librosa = pytest.importorskip("librosa")
    theirs = librosa.filters.mel(sr=16000, n_fft=400, n_mels=40)
    np.testing.assert_allclose(mel_filters(), theirs, atol=2e-9)
    expected = librosa.feature.melspectrogram(y=speech, sr=16000, n_fft=400, hop_length=160, n_mels=40).T
    ours = power_mel(speech)
    assert ours.shape == expected.shape == (201, 40)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6 * float(expected.max()))


def test_mel_scale() -> None:
    # Slaney's scale: 15 mels at 1 kHz, and 27 more at 6.4 kHz
    np.testing.assert_allclose(hz_to_mel(np.array([0.0, 1000.0, 6400.0])), [0, 15, 42])
    hz = np.linspace(0, 8000, 50)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz, atol=1e-8)


def test_fbank_is_kaldis(speech: NDArray[np.float32]) -> None:
    kaldi = pytest.importorskip("kaldi_native_fbank")
    options = kaldi.FbankOptions()
    options.frame_opts.dither, options.frame_opts.window_type = 0, "hamming"
    options.mel_opts.num_bins = 80
    fbank = kaldi.OnlineFbank(options)
    fbank.accept_waveform(16000, (speech * 32768).tolist())
    fbank.input_finished()
    theirs = np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])
    np.testing.assert_allclose(log_fbank(speech, 32768.0), theirs - theirs.mean(axis=0), atol=1e-3)


def test_graph_is_resemblyzers_forward(tmp_path: Path, speech: NDArray[np.float32]) -> None:
    """Random weights through the conversion equal torch's LSTM, linear, ReLU, length one: gates are in order."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from voxtral_edge.diarize.convert import CHECKPOINT, main

    torch.manual_seed(0)
    lstm, linear = torch.nn.LSTM(40, 256, 3), torch.nn.Linear(256, 256)
    half = {f"lstm.{k}": v.half().float() for k, v in lstm.state_dict().items()}
    half |= {f"linear.{k}": v.half().float() for k, v in linear.state_dict().items()}
    buffer = io.BytesIO()
    torch.save({"model_state": half}, buffer)
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr(CHECKPOINT, buffer.getvalue())
    assert main([str(tmp_path / "a.whl"), "-o", str(tmp_path / "a.onnx")]) == 0

    lstm.load_state_dict({k[5:]: v for k, v in half.items() if k.startswith("lstm.")})
    linear.load_state_dict({k[7:]: v for k, v in half.items() if k.startswith("linear.")})
    with torch.no_grad():
        features = power_mel(np.float32(10 ** (LEVEL_DBFS / 20)) * speech / np.sqrt(np.mean(speech * speech)))
        _, (hidden, _) = lstm(torch.from_numpy(features)[:, None])
        raw = torch.relu(linear(hidden[-1]))[0]
    expected = (raw / raw.norm()).numpy()
    np.testing.assert_allclose(OnnxEmbedder(tmp_path / "a.onnx").embed(speech), expected, atol=2e-5)


def test_bundled_embedder(speech: NDArray[np.float32]) -> None:
    embedder = OnnxEmbedder()
    assert isinstance(embedder, SpeakerEmbedder)
    assert (embedder.name, embedder.same_speaker) == ("ge2e-resemblyzer-0.1.4", 0.85)
    vector = embedder.embed(speech)
    assert vector.shape == (256,) and vector.dtype == np.float32
    assert float(np.linalg.norm(vector)) == pytest.approx(1.0, abs=1e-5)
    assert np.array_equal(vector, embedder.embed(speech))
    # The level says nothing about the voice.
    np.testing.assert_allclose(embedder.embed(speech / 1024), vector, atol=1e-5)
    np.testing.assert_allclose(embedder.embed(speech * 2), vector, atol=1e-5)
    assert BUNDLED_EMBEDDER.stat().st_size < 6e6


def test_another_model_says_or_is_told_its_input(tmp_path: Path, speech: NDArray[np.float32]) -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    features = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, "frames", 80])
    vector = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 80])
    axes = onnx.numpy_helper.from_array(np.array([1]), "axes")
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("ReduceMean", ["a", "axes"], ["y"], keepdims=0),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [features], [vector], [axes]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    path = tmp_path / "mean.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFormatError, match="name the front end: power-mel-40"):
        OnnxEmbedder(path)
    with pytest.raises(ModelFormatError, match="front end 'mfcc' is unknown"):
        OnnxEmbedder(path, "mfcc")
    with pytest.raises(ModelFormatError, match="does not take"):
        OnnxEmbedder(path, "power-mel-40").embed(speech)
    assert OnnxEmbedder(path, "fbank-80", 0.4).embed(speech).shape == (80,)
    helper.set_model_props(
        model,
        {"framework": "wespeaker", "sample_rate": "16000", "normalize_samples": "0", "output_dim": "80"},
    )
    path.write_bytes(model.SerializeToString())  # as sherpa-onnx's exports say it
    assert OnnxEmbedder(path).name == "mean"


def test_files_that_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"nothing")
    for path in (tmp_path / "a.onnx", tmp_path / "none.onnx"):
        with pytest.raises(ModelFormatError, match="not an ONNX model"):
            OnnxEmbedder(path)
