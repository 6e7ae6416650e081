"""`POST /v1/audio/transcriptions` with Mistral's own client, which sends files to the address that OpenAI's does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from front_door import sample, tiny_engine
from server_testing import RunningServer, running_server

mistralai = pytest.importorskip("mistralai.client")

from mistralai.client import errors  # noqa: E402 - after the check above

RECORDING = "serial-numbers.flac"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


def ask(server: RunningServer, method: str = "complete", **options: Any) -> Any:
    client = mistralai.Mistral(api_key="unused", server_url=server.http)
    with sample(RECORDING).open("rb") as file:
        upload = {"content": file, "file_name": RECORDING}
        answer = getattr(client.audio.transcriptions, method)(model="tiny-en", file=upload, **options)
        return list(answer) if method == "stream" else answer


def test_text_and_usage(server: RunningServer) -> None:
    expected = tiny_engine().transcribe(sample(RECORDING))
    answer = ask(server)
    assert (answer.text, answer.model, answer.language, answer.segments) == (
        expected.text,
        "tiny-en",
        None,
        [],
    )
    assert answer.usage.completion_tokens == len(expected.token_ids)
    assert answer.usage.prompt_audio_seconds == round(expected.duration_s)
    assert ask(server, language="en").language == "en"


@pytest.mark.parametrize("granularity", ["segment", "word"])
def test_times(server: RunningServer, granularity: str) -> None:
    expected = tiny_engine().transcribe(sample(RECORDING))
    answer = ask(server, timestamp_granularities=[granularity])
    pieces = expected.segments if granularity == "segment" else expected.words
    assert [(s.text, s.start, s.end) for s in answer.segments] == [
        (piece.text, round(piece.start, 3), round(piece.end, 3)) for piece in pieces
    ]
    assert len(pieces) >= 4


def test_speakers(server: RunningServer) -> None:
    pytest.importorskip("onnxruntime")
    answer = ask(server, diarize=True)
    assert {segment.speaker_id for segment in answer.segments} == {"S1"}
    assert " ".join(segment.text for segment in answer.segments) == answer.text


def test_stream(server: RunningServer) -> None:
    expected = tiny_engine().transcribe(sample(RECORDING))
    events = ask(server, "stream", timestamp_granularities=["segment"])
    kinds = [event.event for event in events]
    assert kinds[-1] == "transcription.done" and events[-1].data.text == expected.text
    deltas = [event.data.text for event in events if event.event == "transcription.text.delta"]
    assert len(deltas) > 5 and "".join(deltas) == expected.text
    segments = [event.data.text for event in events if event.event == "transcription.segment"]
    assert segments == [segment.text for segment in expected.segments]


def test_context_bias_is_hotwords(server: RunningServer) -> None:
    phrases = ["seven", "eight"]
    expected = tiny_engine().transcribe(sample(RECORDING), hotwords=phrases)
    assert ask(server, context_bias=phrases).text == expected.text


def test_what_is_refused(server: RunningServer) -> None:
    for options in ({"speaker_references": {"Ann": "x"}}, {"temperature": 0.7}, {"language": "x" * 17}):
        with pytest.raises(errors.SDKError) as refused:
            ask(server, **options)
        assert refused.value.status_code == 400 and next(iter(options)) in refused.value.body
