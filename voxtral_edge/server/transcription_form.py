"""The form of `POST /v1/audio/transcriptions`: what may be asked for, checked before any work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile

from voxtral_edge.engine import delay_tokens
from voxtral_edge.errors import UsageError
from voxtral_edge.server.errors import RequestError
from voxtral_edge.server.hub import Hub
from voxtral_edge.server.known_speakers import NAMES, REFERENCES, pair_known_speakers

FORMATS = ("json", "text", "srt", "vtt", "verbose_json", "diarized_json")
MISTRAL = "mistral"  # what Mistral's clients get; not to be asked for by name
_STREAM_FORMATS = ("json", "text", "diarized_json", MISTRAL)
_GRANULARITIES = ("word", "segment")
_TRUE, _FALSE = ("true", "1"), ("false", "0", "")

# Parameters of OpenAI's that would have no effect here, and why. Their neutral values are accepted.
_WITHOUT_EFFECT = {
    "prompt": "the model takes no prompt",
    "languages": "the model finds the language itself",
    "include": "log probabilities of tokens are not available; verbose_json has a probability per word",
}


@dataclass(frozen=True)
class TranscriptionRequest:
    """A checked form. `language` is what the client says, repeated in verbose_json; it does not steer the
    model. `response_format` is one of OpenAI's or MISTRAL."""

    file: UploadFile
    model: str
    response_format: str
    stream: bool
    granularities: frozenset[str]
    language: str | None
    delay_tokens: int
    keywords: tuple[str, ...]
    known_speakers: tuple[tuple[str, str], ...]  # (name, data URL of a recording)
    diarize: bool


def read_form(form: FormData, hub: Hub) -> TranscriptionRequest:
    """The request, or RequestError 400/404 that names the parameter."""
    fields = _Fields(form)
    file = fields.file()
    model = fields.text("model")
    if model is None:
        raise RequestError(400, "the parameter model is missing", param="model")
    if not hub.knows_model(model):
        names = ", ".join(hub.model_names)
        words = f"model {model[:100]!r} does not exist; this server has {names}"
        raise RequestError(404, words, param="model", code="model_not_found")
    mistral = fields.has("diarize")
    response_format = MISTRAL if mistral else _response_format(fields.text("response_format") or "json")
    diarize = fields.boolean("diarize") if mistral else response_format == "diarized_json"
    stream = fields.boolean("stream")
    if stream and response_format not in _STREAM_FORMATS:
        raise RequestError(
            400, "stream=true goes with response_format json, text or diarized_json", param="response_format"
        )
    granularities = frozenset(fields.list("timestamp_granularities", _GRANULARITIES))
    if granularities and response_format not in ("verbose_json", MISTRAL):
        raise RequestError(
            400, "timestamp_granularities needs response_format=verbose_json", param="timestamp_granularities"
        )
    _check_neutral(fields)
    language = fields.text("language")
    if language is not None and len(language) > 16:
        raise RequestError(400, "language must be a code such as en", param="language")
    tokens = _delay(fields.text("delay_ms"), hub)
    keywords = tuple(word for word in fields.all("context_bias" if mistral else "keywords") if word)
    known = pair_known_speakers(fields.all(NAMES), fields.all(REFERENCES))
    if mistral and any(fields.all("speaker_references")):
        words = f"use {NAMES} and {REFERENCES} with OpenAI's interface; leave it out"
        raise RequestError(400, f"speaker_references is not supported: {words}", param="speaker_references")
    if known and response_format != "diarized_json":
        raise RequestError(400, f"{NAMES} needs response_format=diarized_json", param=NAMES)
    fields.refuse_rest()
    return TranscriptionRequest(
        file=file,
        model=model,
        response_format=response_format,
        stream=stream,
        granularities=granularities if granularities or mistral else frozenset(["segment"]),
        language=language or None,
        delay_tokens=tokens,
        keywords=keywords,
        known_speakers=known,
        diarize=diarize,
    )


def _response_format(name: str) -> str:
    if name not in FORMATS:
        raise RequestError(
            400, f"response_format {name[:40]!r}: choose one of {', '.join(FORMATS)}", param="response_format"
        )
    return name


def _check_neutral(fields: _Fields) -> None:
    temperature = fields.text("temperature")
    try:
        neutral = temperature is None or float(temperature) == 0.0
    except ValueError:
        neutral = False
    if not neutral:
        raise RequestError(400, "temperature must be 0: decoding is greedy", param="temperature")
    if fields.nested("chunking_strategy") or fields.text("chunking_strategy") not in (None, "", "auto"):
        raise RequestError(
            400,
            "chunking_strategy must be auto: the model hears audio as one stream",
            param="chunking_strategy",
        )
    for name, why in _WITHOUT_EFFECT.items():
        if any(fields.all(name)):
            raise RequestError(400, f"{name} has no effect: {why}; leave it out", param=name)


def _delay(text: str | None, hub: Hub) -> int:
    if text is None:
        return hub.delay_tokens
    try:
        return delay_tokens(int(text))
    except (UsageError, ValueError) as error:
        raise RequestError(400, f"delay_ms: {error}", param="delay_ms") from None


class _Fields:
    """The form's fields, each taken once; OpenAI's clients write lists as `name[]` or by repeating `name`."""

    def __init__(self, form: FormData) -> None:
        self._values: dict[str, list[str]] = {}
        self._files: dict[str, list[UploadFile]] = {}
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                self._files.setdefault(name, []).append(value)
            else:
                self._values.setdefault(name.removesuffix("[]"), []).append(value)

    def file(self) -> UploadFile:
        files = self._files.pop("file", [])
        if len(files) != 1 or self._files:
            raise RequestError(400, "send exactly one file, in the form field file", param="file")
        return files[0]

    def has(self, name: str) -> bool:
        return name in self._values

    def all(self, name: str) -> list[str]:
        return self._values.pop(name, [])

    def nested(self, name: str) -> bool:
        """Whether an object was sent, which OpenAI's clients write as `name[key]`."""
        return any(given.startswith(f"{name}[") for given in self._values)

    def text(self, name: str) -> str | None:
        values = self.all(name)
        if len(values) > 1:
            raise RequestError(400, f"{name} is given {len(values)} times", param=name)
        return values[0] if values else None

    def boolean(self, name: str) -> bool:
        text = (self.text(name) or "").lower()
        if text not in _TRUE + _FALSE:
            raise RequestError(400, f"{name} must be true or false", param=name)
        return text in _TRUE

    def list(self, name: str, allowed: Iterable[str]) -> list[str]:
        values = self.all(name)
        for value in values:
            if value not in allowed:
                raise RequestError(
                    400, f"{name}: {value[:40]!r} is not one of {', '.join(allowed)}", param=name
                )
        return values

    def refuse_rest(self) -> None:
        for name in self._values:
            raise RequestError(
                400, f"unknown parameter {name[:60]!r}", param=name[:60], code="unknown_parameter"
            )
