"""The faster-whisper shape: fields, laziness, kinds of audio, options taken, ignored and refused."""

from __future__ import annotations

import io
import math
from types import GeneratorType

import numpy as np
import pytest
from front_door import sample, sample_text, tiny_engine

import voxtral_edge as ve
from voxtral_edge.audio import read_audio
from voxtral_edge.transcriber import Transcriber


@pytest.fixture(scope="module")
def transcriber() -> Transcriber:
    return Transcriber("tiny-en", device="cpu", cpu_threads=2)


def test_segments_and_info(transcriber: Transcriber) -> None:
    segments, info = transcriber.transcribe(
        str(sample("serial-numbers.flac")), language="en", beam_size=5, vad_filter=True
    )
    assert isinstance(segments, GeneratorType)
    assert info.duration == pytest.approx(len(read_audio(sample("serial-numbers.flac"))) / 16_000)
    assert (info.language, info.ignored_options) == ("en", ("beam_size", "vad_filter"))
    found = list(segments)
    expected = tiny_engine().transcribe(sample("serial-numbers.flac")).segments
    assert "".join(segment.text for segment in found) == " " + sample_text("serial-numbers.flac")
    assert [(s.start, s.end, s.text.strip()) for s in found] == [(s.start, s.end, s.text) for s in expected]
    assert [segment.id for segment in found] == list(range(1, len(found) + 1))
    for segment in found:
        assert segment.words is None and segment.seek == round(segment.start * 100)
        assert -1 < segment.avg_logprob < 0 and segment.compression_ratio > 0
        assert transcriber.engine.tokenizer.encode(segment.text) == segment.tokens


def test_words(transcriber: Transcriber) -> None:
    segments, _ = transcriber.transcribe(sample("phone-number.flac"), word_timestamps=True)
    words = [word for segment in segments for word in segment.words or []]
    assert "".join(word.word for word in words) == " " + sample_text("phone-number.flac")
    assert all(word.start <= word.end and 0 < word.probability <= 1 for word in words)
    segment = next(transcriber.transcribe(sample("phone-number.flac"), word_timestamps=True)[0])
    logarithms = [math.log(word.probability) for word in segment.words or []]
    assert len(logarithms) > 1 and segment.avg_logprob == pytest.approx(np.mean(logarithms))
    for language, probability in ((None, 0.0), ("en", 1.0)):  # known only where the caller says it
        _, info = transcriber.transcribe(sample("phone-number.flac"), language)
        assert (info.language, info.language_probability) == (language, probability)


def test_arrays_files_and_hotwords(transcriber: Transcriber) -> None:
    path = sample("phone-number.flac")
    texts = []
    for audio in (path, io.BytesIO(path.read_bytes()), read_audio(path)):
        segments, _ = transcriber.transcribe(audio)
        texts.append("".join(segment.text for segment in segments))
    assert set(texts) == {" " + sample_text("phone-number.flac")}
    segments, _ = transcriber.transcribe(path, hotwords="nine :20")
    assert "nine" in "".join(segment.text for segment in segments)
    segments, info = transcriber.transcribe(np.zeros(0, dtype=np.float32))
    assert list(segments) == [] and info.duration == 0


def test_segments_come_while_the_rest_is_not_decoded(transcriber: Transcriber) -> None:
    segments, _ = transcriber.transcribe(read_audio(sample("serial-numbers.flac")))
    first = next(segments)
    segments.close()  # type: ignore[attr-defined]
    assert sample_text("serial-numbers.flac").startswith(first.text.strip())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "translate"}, "does not translate"),
        ({"clip_timestamps": "0,5"}, "clip_timestamps"),
        ({"prefix": "Well"}, "prefix"),
        ({"beam_sise": 5}, "beam_sise"),
        ({"delay_ms": 100}, "delay_ms"),
        ({"hotwords": [""]}, "no letter"),
    ],
)
def test_refused_options(transcriber: Transcriber, options: dict[str, object], message: str) -> None:
    with pytest.raises(ve.UsageError, match=message):
        list(transcriber.transcribe(sample("room.mp3"), **options)[0])  # type: ignore[arg-type]


def test_refused_devices_and_precisions() -> None:
    with pytest.raises(ve.DeviceError, match="runs on the CPU"):
        Transcriber(device="cuda")
    with pytest.raises(ve.UsageError, match="this package holds int8"):
        Transcriber(compute_type="float16")
    assert Transcriber(compute_type="int8")
