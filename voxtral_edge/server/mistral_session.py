"""The `session` object of Mistral's realtime transcription: what a client may set, and what is in effect."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from voxtral_edge.engine import delay_tokens
from voxtral_edge.errors import UsageError
from voxtral_edge.server.connection import DialectError
from voxtral_edge.server.pcm import PcmDecoder

_FIELDS = (
    "audio_format",
    "target_streaming_delay_ms",
    "diarize",
    "context_bias",
    "language",
    "speaker_references",
    "turn_detection",
)
# Features of Mistral's own service that this model and server do not have. Off values are accepted.
_ABSENT = {
    "speaker_references": "voices cannot be enrolled over this protocol",
    "turn_detection": "there is no semantic model of turns",
}


@dataclass(frozen=True)
class MistralSettings:
    """One session's settings."""

    encoding: str = "pcm_s16le"
    rate_hz: int = 16000
    delay_ms: int = 480
    language: str | None = None
    context_bias: tuple[str, ...] = ()
    diarize: bool = False

    def decoder(self) -> PcmDecoder:
        """A decoder for the format."""
        return PcmDecoder(self.encoding, self.rate_hz)

    def shown(self, request_id: str, model: str) -> dict[str, Any]:
        """The session object that the server reports."""
        shown: dict[str, Any] = {
            "request_id": request_id,
            "model": model,
            "audio_format": {"encoding": self.encoding, "sample_rate": self.rate_hz},
            "target_streaming_delay_ms": self.delay_ms,
        }
        if self.language is not None:
            shown["language"] = self.language
        if self.diarize:
            shown["diarize"] = True
        if self.context_bias:
            shown["context_bias"] = list(self.context_bias)
        return shown


def updated(settings: MistralSettings, session: Any) -> MistralSettings:
    """`settings` with what the client's `session` object changes; DialectError for anything that would have
    no effect."""
    if not isinstance(session, dict):
        raise DialectError("invalid_value", "session must be an object")
    for name, value in session.items():
        if name not in _FIELDS:
            raise DialectError("invalid_value", f"session.{name[:60]} is unknown")
        if name in _ABSENT and value:
            raise DialectError(
                "unsupported", f"session.{name} is not supported: {_ABSENT[name]}; leave it out"
            )
    if session.get("audio_format") is not None:
        settings = _with_format(settings, session["audio_format"])
    delay_ms = session.get("target_streaming_delay_ms")
    if delay_ms is not None:
        try:
            delay_tokens(delay_ms)
        except UsageError as error:
            raise DialectError("invalid_value", f"target_streaming_delay_ms: {error}") from None
        settings = replace(settings, delay_ms=delay_ms)
    language = session.get("language")
    if language is not None:
        if not isinstance(language, str) or len(language) > 16:
            raise DialectError("invalid_value", "language must be a code such as en")
        settings = replace(settings, language=language)
    diarize = session.get("diarize")
    if diarize is not None:
        if not isinstance(diarize, bool):
            raise DialectError("invalid_value", "diarize must be true or false")
        settings = replace(settings, diarize=diarize)
    phrases = session.get("context_bias")
    if phrases is not None:
        if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
            raise DialectError("invalid_value", "context_bias must be a list of strings")
        settings = replace(settings, context_bias=tuple(phrases))
    return settings


def _with_format(settings: MistralSettings, value: Any) -> MistralSettings:
    if not isinstance(value, dict) or set(value) != {"encoding", "sample_rate"}:
        raise DialectError("invalid_value", "audio_format must be {encoding, sample_rate}")
    if not isinstance(value["encoding"], str):
        raise DialectError("invalid_value", "audio_format.encoding must be a string")
    PcmDecoder(value["encoding"], value["sample_rate"])  # AudioFormatError says what is wrong
    return replace(settings, encoding=value["encoding"], rate_hz=value["sample_rate"])
