"""The `session` object of OpenAI's transcription sessions: what a client may set, and what is in effect."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from voxtral_edge.live_step import TOKEN_MS
from voxtral_edge.server.connection import DialectError
from voxtral_edge.server.hub import Hub
from voxtral_edge.server.pcm import PcmDecoder

# OpenAI's words for how long the model may wait, in milliseconds of delay.
DELAYS_MS = {"minimal": 160, "low": 240, "medium": 480, "high": 960, "xhigh": 2400}
_SILENCE_MS = (100, 10_000)
# What the beta interface (`transcription_session.update`) calls the formats.
_BETA_FORMATS = {
    "pcm16": {"type": "audio/pcm", "rate": 24000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_NAMES_IN_BETA = {"audio/pcm": "pcm16", "audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw"}


@dataclass(frozen=True)
class TurnDetection:
    """Only what has an effect; see `turns`."""

    silence_ms: int = 500
    padding_ms: int = 300


@dataclass(frozen=True)
class Settings:
    """One session's settings. `delay` is OpenAI's word, or None for the server's default."""

    encoding: str = "pcm_s16le"
    rate_hz: int = 24000
    model: str | None = None
    language: str | None = None
    delay: str | None = None
    turns: TurnDetection | None = None
    keywords: tuple[str, ...] = ()

    def decoder(self) -> PcmDecoder:
        """A decoder for the format."""
        return PcmDecoder(self.encoding, self.rate_hz)

    def delay_tokens(self, default: int) -> int:
        """The delay in tokens of 80 ms."""
        return default if self.delay is None else DELAYS_MS[self.delay] // TOKEN_MS

    def shown(self, session_id: str, model: str) -> dict[str, Any]:
        """The session object that the server reports: the effective settings, nothing else."""
        names = {"pcm_s16le": "audio/pcm", "pcm_mulaw": "audio/pcmu", "pcm_alaw": "audio/pcma"}
        form: dict[str, Any] = {"type": names[self.encoding]}
        if self.encoding == "pcm_s16le":
            form["rate"] = self.rate_hz
        transcription: dict[str, Any] = {"model": self.model or model}
        if self.language:
            transcription["language"] = self.language
        if self.keywords:
            transcription["keywords"] = list(self.keywords)
        if self.delay:
            transcription["delay"] = self.delay
        turns = self.turns and {
            "type": "server_vad",
            "silence_duration_ms": self.turns.silence_ms,
            "prefix_padding_ms": self.turns.padding_ms,
        }
        return {
            "id": session_id,
            "object": "realtime.transcription_session",
            "type": "transcription",
            "audio": {
                "input": {
                    "format": form,
                    "transcription": transcription,
                    "turn_detection": turns,
                    "noise_reduction": None,
                }
            },
            "include": None,
        }


def updated(settings: Settings, session: Any, hub: Hub) -> Settings:
    """`settings` with what the client's `session` object changes; DialectError, naming the parameter, for
    anything that would have no effect."""
    if isinstance(session, dict) and session.get("type", "transcription") != "transcription":
        raise _invalid("session.type", "this server has transcription sessions only")
    session = _fields(session, "session", ("type", "audio", "include"))
    if session.get("include"):
        raise _invalid("session.include", "log probabilities are not available")
    audio = _fields(session.get("audio") or {}, "session.audio", ("input",))
    source = _fields(
        audio.get("input") or {},
        "session.audio.input",
        ("format", "noise_reduction", "transcription", "turn_detection"),
    )
    if source.get("noise_reduction") is not None:
        raise _invalid(
            "session.audio.input.noise_reduction", "noise reduction is not available; set it to null"
        )
    if source.get("format") is not None:
        settings = _with_format(settings, source["format"])
    if source.get("transcription") is not None:
        settings = _with_transcription(settings, source["transcription"], hub)
    if "turn_detection" in source:
        settings = replace(settings, turns=_turns(source["turn_detection"]))
    return settings


def from_beta(session: Any) -> dict[str, Any]:
    """The beta interface's flat session object in today's form."""
    flat = _fields(
        session,
        "session",
        (
            "input_audio_format",
            "input_audio_transcription",
            "turn_detection",
            "input_audio_noise_reduction",
            "include",
        ),
    )
    source: dict[str, Any] = {}
    if flat.get("input_audio_format") is not None:
        name = flat["input_audio_format"]
        if not isinstance(name, str) or name not in _BETA_FORMATS:
            raise _invalid("session.input_audio_format", f"send one of: {', '.join(_BETA_FORMATS)}")
        source["format"] = _BETA_FORMATS[name]
    for old, new in (
        ("input_audio_transcription", "transcription"),
        ("turn_detection", "turn_detection"),
        ("input_audio_noise_reduction", "noise_reduction"),
    ):
        if old in flat:
            source[new] = flat[old]
    return {"type": "transcription", "audio": {"input": source}, "include": flat.get("include")}


def in_beta_form(shown: dict[str, Any]) -> dict[str, Any]:
    """A session that `Settings.shown` made, as the beta interface shows it."""
    source = shown["audio"]["input"]
    kind = source["format"]["type"]
    return {
        "id": shown["id"],
        "object": shown["object"],
        "client_secret": None,  # only where a session is made over REST
        "expires_at": 0,
        "modalities": ["audio", "text"],
        "input_audio_format": _NAMES_IN_BETA[kind],
        "input_audio_transcription": source["transcription"],
        "turn_detection": source["turn_detection"],
        "input_audio_noise_reduction": None,
        "include": None,
    }


def _with_format(settings: Settings, value: Any) -> Settings:
    where = "session.audio.input.format"
    value = _fields(value, where, ("type", "rate"))
    kind = value.get("type", "audio/pcm")
    if kind == "audio/pcm":
        rate_hz = value.get("rate", 24000)
        PcmDecoder("pcm_s16le", rate_hz)  # checks the rate
        return replace(settings, encoding="pcm_s16le", rate_hz=rate_hz)
    if kind in ("audio/pcmu", "audio/pcma"):
        return replace(settings, encoding="pcm_mulaw" if kind == "audio/pcmu" else "pcm_alaw", rate_hz=8000)
    raise _invalid(f"{where}.type", "send audio/pcm, audio/pcmu or audio/pcma")


def _with_transcription(settings: Settings, value: Any, hub: Hub) -> Settings:
    where = "session.audio.input.transcription"
    value = _fields(value, where, ("model", "language", "languages", "prompt", "keywords", "delay"))
    for name in ("prompt", "languages"):
        if value.get(name):
            raise _invalid(f"{where}.{name}", f"{name} has no effect on this model; leave it out")
    model = value.get("model")
    if model is not None and not hub.knows_model(model):
        raise DialectError(
            "model_not_found",
            f"model {str(model)[:100]!r} does not exist; this server has {', '.join(hub.model_names)}",
            param=f"{where}.model",
        )
    language = value.get("language")
    if language is not None and (not isinstance(language, str) or len(language) > 16):
        raise _invalid(f"{where}.language", "send a language code such as en")
    delay = value.get("delay")
    if delay is not None and (not isinstance(delay, str) or delay not in DELAYS_MS):
        raise _invalid(f"{where}.delay", f"send one of: {', '.join(DELAYS_MS)}")
    keywords = value.get("keywords") or []
    if not isinstance(keywords, list) or not all(isinstance(word, str) for word in keywords):
        raise _invalid(f"{where}.keywords", "send a list of strings")
    return replace(
        settings,
        keywords=tuple(keywords),
        model=model or settings.model,
        language=language or settings.language,
        delay=delay or settings.delay,
    )


def _turns(value: Any) -> TurnDetection | None:
    where = "session.audio.input.turn_detection"
    if value is None:
        return None
    if isinstance(value, dict) and value.get("type") != "server_vad":
        raise _invalid(f"{where}.type", "only server_vad is available (or null)")
    value = _fields(
        value,
        where,
        (
            "type",
            "threshold",
            "prefix_padding_ms",
            "silence_duration_ms",
            "create_response",
            "interrupt_response",
            "idle_timeout_ms",
        ),
    )
    if value.get("idle_timeout_ms") is not None:
        raise _invalid(f"{where}.idle_timeout_ms", "not available")
    silence = _milliseconds(value, "silence_duration_ms", TurnDetection.silence_ms, _SILENCE_MS, where)
    padding = _milliseconds(value, "prefix_padding_ms", TurnDetection.padding_ms, (0, 5000), where)
    return TurnDetection(silence, padding)


def _milliseconds(value: dict[str, Any], name: str, default: int, span: tuple[int, int], where: str) -> int:
    number = value.get(name)
    if number is None:
        return default
    if isinstance(number, bool) or not isinstance(number, int) or not span[0] <= number <= span[1]:
        raise _invalid(f"{where}.{name}", f"send a whole number from {span[0]} to {span[1]}")
    return number


def _fields(value: Any, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(where, "must be an object")
    for name in value:
        if name not in known:
            raise DialectError(
                "unknown_parameter", f"Unknown parameter: {where}.{name[:60]}", param=f"{where}.{name[:60]}"
            )
    return value


def _invalid(param: str, message: str) -> DialectError:
    return DialectError("invalid_value", f"{param}: {message}", param=param)
