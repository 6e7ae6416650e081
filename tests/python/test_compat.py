"""The shims: programs written for sherpa-onnx's and vosk's streaming recognisers, on the sample
recordings."""

from __future__ import annotations

import json

import numpy as np
import pytest
from front_door import sample, sample_text, tiny_engine

import voxtral_edge as ve
from voxtral_edge.audio import read_audio
from voxtral_edge.compat.sherpa_onnx import OnlineRecognizer, OnlineStream
from voxtral_edge.compat.vosk import KaldiRecognizer, Model, SetLogLevel


@pytest.fixture(scope="module")
def model() -> Model:
    SetLogLevel(-1)
    return Model("tiny-en", threads=2)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(16_000 * seconds), dtype=np.float32)


def two_utterances() -> np.ndarray:
    return np.concatenate(
        [read_audio(sample("pin.ogg")), silence(2), read_audio(sample("phone-number.flac"))]
    )


def to_bytes(pcm: np.ndarray) -> bytes:
    return (pcm * 32767).astype("<i2").tobytes()


def drain(recognizer: OnlineRecognizer, stream: OnlineStream) -> None:
    while recognizer.is_ready(stream):
        recognizer.decode_stream(stream)


def test_sherpa_utterances_with_endpoints() -> None:
    recognizer = OnlineRecognizer.from_voxtral("tiny-en", num_threads=2, enable_endpoint_detection=True)
    stream, texts = recognizer.create_stream(), []
    for piece in np.array_split(two_utterances(), 100):
        stream.accept_waveform(16_000, piece)
        drain(recognizer, stream)
        if recognizer.is_endpoint(stream):
            texts.append(recognizer.get_result(stream))
            recognizer.reset(stream)
    stream.input_finished()
    drain(recognizer, stream)
    result = recognizer.get_result_all(stream)
    assert [*texts, result.text] == [sample_text("pin.ogg"), sample_text("phone-number.flac")]
    assert result.tokens == result.text.split() and result.segment == 1
    assert result.timestamps == sorted(result.timestamps) and 0 <= result.timestamps[0] < 2
    assert 3.8 < result.start_time < 5.8 < result.start_time + result.timestamps[0] < 6.5
    assert all(-3 < logarithm <= 0 for logarithm in result.ys_probs)
    with pytest.raises(ve.UsageError, match="finished"):
        stream.accept_waveform(16_000, silence(1))


def test_sherpa_streams_together_other_rates_and_hotwords() -> None:
    recognizer = OnlineRecognizer(tiny_engine(), hotwords="zurich", hotwords_score=2.0)
    names = ["pin.ogg", "phone-number.flac", "room.mp3"]
    streams = [recognizer.create_stream() for _ in names]
    streams.append(recognizer.create_stream("nine :20/four"))
    for stream, name in zip(streams, [*names, "phone-number.flac"], strict=True):
        stream.accept_waveform(16_000, read_audio(sample(name)))
        stream.input_finished()
    while ready := [stream for stream in streams if recognizer.is_ready(stream)]:
        recognizer.decode_streams(ready)
    texts = [recognizer.get_result(stream) for stream in streams]
    assert texts[:3] == [tiny_engine().transcribe(sample(name)).text for name in names]
    assert "nine" in texts[3]
    assert not any(recognizer.is_endpoint(stream) for stream in streams)


def test_sherpa_resamples() -> None:
    recognizer = OnlineRecognizer(tiny_engine())
    stream = recognizer.create_stream()
    upsampled = np.repeat(read_audio(sample("pin.ogg")), 3)  # crude, but speech
    for piece in np.array_split(upsampled, 31):
        stream.accept_waveform(48_000, piece)
        drain(recognizer, stream)
    stream.input_finished()
    drain(recognizer, stream)
    assert recognizer.get_result(stream) == sample_text("pin.ogg")
    with pytest.raises(ve.UsageError, match="finished"):
        stream.accept_waveform(16_000, [0.0])
    other = recognizer.create_stream()
    other.accept_waveform(48_000, [0.0] * 480)
    with pytest.raises(ve.UsageError, match="began with 48000 Hz"):
        other.accept_waveform(16_000, [0.0])
    with pytest.raises(ve.UsageError, match="sample rate"):
        recognizer.create_stream().accept_waveform(100, [0.0])


def test_vosk_results(model: Model) -> None:
    recognizer = KaldiRecognizer(model, 16_000)
    recognizer.SetWords(True)
    recognizer.SetPartialWords(True)
    data, results, partials = to_bytes(two_utterances()), [], []
    for begin in range(0, len(data), 8000):
        if recognizer.AcceptWaveform(data[begin : begin + 8000]):
            results.append(json.loads(recognizer.Result()))
        else:
            partials.append(json.loads(recognizer.PartialResult()))
    results.append(json.loads(recognizer.FinalResult()))
    texts = [result["text"] for result in results if result["text"]]
    assert texts == [sample_text("pin.ogg"), sample_text("phone-number.flac")]
    assert [word["word"] for word in results[0]["result"]] == texts[0].split()
    assert all(word["start"] <= word["end"] and 0 < word["conf"] <= 1 for word in results[0]["result"])
    assert any(partial["partial"] == "nine six" for partial in partials)
    assert any("partial_result" in partial for partial in partials)


def test_vosk_finds_an_endpoint_inside_one_long_piece(model: Model) -> None:
    recognizer = KaldiRecognizer(model, 16_000)
    assert recognizer.AcceptWaveform(to_bytes(two_utterances()))
    assert json.loads(recognizer.Result()) == {"text": sample_text("pin.ogg")}
    assert json.loads(recognizer.FinalResult())["text"] == sample_text("phone-number.flac")


def test_vosk_grammar_reset_and_refusals(model: Model) -> None:
    data = to_bytes(read_audio(sample("pin.ogg")))
    recognizer = KaldiRecognizer(model, 16_000, json.dumps(["nine six four zero", "[unk]"]))
    recognizer.AcceptWaveform(data)
    assert json.loads(recognizer.FinalResult()) == {"text": sample_text("pin.ogg")}
    recognizer.AcceptWaveform(data)  # another recording
    assert json.loads(recognizer.FinalResult()) == {"text": sample_text("pin.ogg")}
    assert json.loads(recognizer.FinalResult()) == {"text": ""}
    recognizer.Reset()
    recognizer.AcceptWaveform(data)
    assert json.loads(recognizer.FinalResult()) == {"text": sample_text("pin.ogg")}
    for bad in ("not json", '{"a": 1}', "[1]"):
        with pytest.raises(ve.UsageError, match="grammar"):
            recognizer.SetGrammar(bad)
    with pytest.raises(ve.UsageError, match="16-bit"):
        KaldiRecognizer(model, 16_000).AcceptWaveform(b"odd")
    with pytest.raises(ve.UsageError, match="alternatives"):
        recognizer.SetMaxAlternatives(3)
