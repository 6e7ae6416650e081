"""`POST /v1/audio/transcriptions`, with OpenAI's own client and with raw forms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from front_door import sample, samples, tiny_engine
from server_testing import WAIT_S, RunningServer, running_server

from voxtral_edge.formats import to_srt, to_vtt
from voxtral_edge.server.limits import Limits
from voxtral_edge.server.upload import UploadedAudio

openai = pytest.importorskip("openai")

URL = "/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(limits=Limits(upload_bytes=2 << 20), aliases=("whisper-1",)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Any:
    return openai.OpenAI(api_key="unused", base_url=f"{server.http}/v1", max_retries=0)


def test_a_closed_upload_is_at_its_end() -> None:
    """A cancelled request closes the file while its thread goes on."""
    path = str(sample("zero-to-nine.wav"))
    upload = UploadedAudio(path, "speech.wav")
    assert upload.read() is not None
    upload.close()
    assert upload.read() is None


@pytest.mark.parametrize("entry", samples(), ids=lambda entry: entry["file"])
def test_json(client: Any, entry: dict[str, Any]) -> None:
    """Every sample recording, whatever its format: the text of `transcribe`."""
    with sample(entry["file"]).open("rb") as file:
        answer = client.audio.transcriptions.create(model="tiny-en", file=file)
    assert answer.text == tiny_engine().transcribe(sample(entry["file"])).text == entry["text"]
    assert answer.usage.type == "duration" and answer.usage.seconds > 0


def test_text_srt_vtt(client: Any) -> None:
    path = sample("serial-numbers.flac")
    transcript = tiny_engine().transcribe(path)
    expected = {"text": transcript.text + "\n", "srt": to_srt(transcript), "vtt": to_vtt(transcript)}
    for name, body in expected.items():
        with path.open("rb") as file:
            answer = client.audio.transcriptions.create(model="whisper-1", file=file, response_format=name)
        assert answer == body


def test_verbose_json(client: Any) -> None:
    path = sample("serial-numbers.flac")
    transcript = tiny_engine().transcribe(path)
    with path.open("rb") as file:
        answer = client.audio.transcriptions.create(
            model="tiny-en",
            file=file,
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
            language="en",
        )
    assert answer.text == transcript.text and answer.language == "en"
    assert answer.duration == pytest.approx(transcript.duration_s, abs=1e-3)
    assert [(w.word, w.start, w.end) for w in answer.words] == [
        (w.text, round(w.start, 3), round(w.end, 3)) for w in transcript.words
    ]
    assert [(s.text, s.start, s.end) for s in answer.segments] == [
        (s.text, round(s.start, 3), round(s.end, 3)) for s in transcript.segments
    ]
    assert all(-2 < s.avg_logprob <= 0 for s in answer.segments)


def test_verbose_json_has_segments_only_by_default(server: RunningServer) -> None:
    answer = post(server, {"response_format": "verbose_json"})
    body = answer.json()
    assert body["segments"] and "words" not in body and body["language"] == "unknown"


@pytest.mark.parametrize("response_format", ["json", "text"])
def test_stream(client: Any, response_format: str) -> None:
    path = sample("serial-numbers.flac")
    with path.open("rb") as file:
        stream = client.audio.transcriptions.create(
            model="tiny-en", file=file, stream=True, response_format=response_format
        )
        events = list(stream)
    expected = tiny_engine().transcribe(path).text
    assert events[-1].type == "transcript.text.done" and events[-1].text == expected
    assert {event.type for event in events[:-1]} == {"transcript.text.delta"} and len(events) > 5
    assert "".join(event.delta for event in events[:-1]) == expected
    assert events[-1].usage.total_tokens == events[-1].usage.input_tokens + events[-1].usage.output_tokens


def test_delay_is_an_extension(server: RunningServer) -> None:
    answer = post(server, {"delay_ms": "960"})
    assert answer.json()["text"] == tiny_engine().transcribe(sample("pin.ogg"), delay_ms=960).text


def post(
    server: RunningServer, fields: dict[str, Any], file: tuple[str, bytes] | None = None, **options: Any
) -> httpx.Response:
    """One form; by default with a recording and the model's name."""
    name, data = file or ("pin.ogg", sample("pin.ogg").read_bytes())
    options.setdefault("files", {"file": (name, data)})
    form = {"model": "tiny-en", **fields}
    return httpx.post(server.http + URL, data=form, timeout=WAIT_S, **options)


@pytest.mark.parametrize(
    ("fields", "param", "status"),
    [
        ({"response_format": "xml"}, "response_format", 400),
        ({"model": "gpt-9"}, "model", 404),
        ({"junk": "1"}, "junk", 400),
        ({"temperature": "0.5"}, "temperature", 400),
        ({"temperature": "warm"}, "temperature", 400),
        ({"prompt": "Names: …"}, "prompt", 400),
        ({"include[]": "logprobs"}, "include", 400),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities", 400),
        (
            {"timestamp_granularities[]": "letter", "response_format": "verbose_json"},
            "timestamp_granularities",
            400,
        ),
        ({"chunking_strategy": '{"type":"server_vad"}'}, "chunking_strategy", 400),
        ({"chunking_strategy[type]": "server_vad"}, "chunking_strategy", 400),
        ({"known_speaker_names[]": "Ann"}, "known_speaker_names", 400),
        ({"keywords[]": "x" * 20000}, None, 400),
        ({"stream": "maybe"}, "stream", 400),
        ({"stream": "true", "response_format": "srt"}, "response_format", 400),
        ({"delay_ms": "481"}, "delay_ms", 400),
        ({"delay_ms": "1e9"}, "delay_ms", 400),
        ({"model": ["tiny-en", "tiny-en"]}, "model", 400),
        ({"language": "x" * 17}, "language", 400),
    ],
)
def test_parameters_that_cannot_be_served(
    server: RunningServer, fields: dict[str, Any], param: str, status: int
) -> None:
    answer = post(server, fields)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["param"] == param and error["message"] and error["type"] == "invalid_request_error"


def test_neutral_values_are_accepted(server: RunningServer) -> None:
    fields = {
        "temperature": "0.0",
        "prompt": "",
        "chunking_strategy": "auto",
        "stream": "false",
        "language": "en",
    }
    assert post(server, fields).status_code == 200


@pytest.mark.parametrize(
    "data", [b"", b"x", b"RIFF\xff\xff\xff\xffWAVEfmt ", bytes(5000), b"<html>not audio</html>"]
)
def test_files_that_are_no_audio(server: RunningServer, data: bytes) -> None:
    """400 with the name that the client gave, never the server's own path."""
    answer = post(server, {}, ("mine.wav", data))
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["param"] == "file"
    assert "mine.wav" in error["message"] and "voxtral-edge-" not in error["message"]


def test_forms_that_are_no_forms(server: RunningServer) -> None:
    url = server.http + URL
    recording = ("file", ("a.ogg", sample("pin.ogg").read_bytes()))
    assert httpx.post(url, json={"model": "tiny-en"}).status_code == 400
    assert httpx.post(url, data={"model": "tiny-en"}).status_code == 400
    assert httpx.post(url, files=[recording]).status_code == 400
    assert httpx.post(url, files=[recording, recording], data={"model": "tiny-en"}).status_code == 400
    headers = {"content-type": "multipart/form-data; boundary=x"}
    for body in (
        b"",
        b"junk",
        b"--x\r\n\r\n",
        b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n",
    ):
        assert httpx.post(url, content=body, headers=headers).status_code == 400
    assert httpx.post(url, content=b"", headers={"content-type": "multipart/form-data"}).status_code == 400
    assert httpx.get(url).status_code == 405
    assert httpx.get(server.http + "/nothing").json()["error"]["type"] == "invalid_request_error"


def test_uploads_over_the_limit(server: RunningServer) -> None:
    """413, by the length that is announced and by what is really sent."""
    big = bytes((2 << 20) + 1)
    assert post(server, {}, ("a.wav", big)).status_code == 413

    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        yield from (bytes(1 << 16) for _ in range(40))
        yield b"\r\n--x--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = httpx.post(server.http + URL, content=body(), headers=headers, timeout=WAIT_S)
    assert answer.status_code == 413


def test_forms_with_too_much_in_them(server: RunningServer) -> None:
    many = {f"field{i}": "1" for i in range(100)}
    assert post(server, many).status_code == 400
    assert post(server, {"language": "x" * 100_000}).status_code == 400
    two = {"file": ("a.ogg", b"a"), "other": ("b.ogg", b"b")}
    assert post(server, {}, files=two).status_code == 400
    assert server.service.hub.open_sessions == 0, "a refused form must give its place back"
