"""Mistral's `/v1/audio/transcriptions/realtime?model=` (specification §8.2).

    ← session.created    → session.update {session}        ← session.updated   (before the first audio)
    → input_audio.append {audio}, input_audio.flush        ← transcription.text.delta, .segment
    → input_audio.end             ← transcription.done {text, segments, usage}, then the end

With `?events=words` there is also `voxtral_edge.word` for every word, and with `?events=words,steps` a
`voxtral_edge.step` for every pass of the model: the page at `/` uses both.
"""

from __future__ import annotations

from typing import Any

from voxtral_edge.engine import delay_tokens
from voxtral_edge.events import TextEvent
from voxtral_edge.live_step import TOKEN_MS
from voxtral_edge.results import Segment
from voxtral_edge.segments import SegmentBuilder
from voxtral_edge.server.connection import Connection, DialectError, decode_audio
from voxtral_edge.server.hub import Hub
from voxtral_edge.server.mistral_files import usage
from voxtral_edge.server.mistral_session import MistralSettings, updated
from voxtral_edge.server.session import Session, Update
from voxtral_edge.server.socket import JsonSocket
from voxtral_edge.server.speakers import SpeakerTracker

EXTRA_EVENTS = ("words", "steps")
# Mistral's errors carry a number; these are HTTP's for the same reasons.
_CODES = {"internal_error": 500, "model_not_found": 404, "unsupported": 422}


class MistralConnection(Connection):
    """See the module. `extra` holds the names of EXTRA_EVENTS that the client asked for."""

    def __init__(
        self, socket: JsonSocket, hub: Hub, session: Session, model: str, extra: frozenset[str]
    ) -> None:
        super().__init__(socket, hub, session)
        self.frame_bytes = hub.limits.mistral_frame_bytes
        self._model = model
        self._extra = extra
        self._settings = MistralSettings(delay_ms=session.delay_ms)
        self._ended = False
        self._text = ""
        self._segments: list[dict[str, Any]] = []
        self._builder = SegmentBuilder()
        self._speakers: SpeakerTracker | None = None

    async def send_created(self) -> None:
        """The greeting."""
        await self._send_session("session.created")

    async def on_message(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "session.update":
            await self._update(message.get("session"))
        elif kind in ("input_audio.append", "input_audio.flush", "input_audio.end") and self._ended:
            raise DialectError("invalid_value", "the audio has ended; open a new connection")
        elif kind == "input_audio.append":
            await self._append(message)
        elif kind == "input_audio.flush":
            self.session.flush()
        elif kind == "input_audio.end":
            self.end_utterance()
        else:
            raise DialectError("invalid_value", f"unknown message type {str(kind)[:100]!r}")

    async def _update(self, value: Any) -> None:
        settings = updated(self._settings, value)
        hotwords = await self.hub.hotwords(list(settings.context_bias))
        self.session.configure(
            delay_tokens=delay_tokens(settings.delay_ms), decoder=settings.decoder(), hotwords=hotwords
        )
        self._speakers = None
        if settings.diarize:
            self._speakers = SpeakerTracker(await self.hub.embedder(), self.session.delay_ms // TOKEN_MS)
            self.session.on_audio = self._speakers.hear
        self._settings = settings
        await self._send_session("session.updated")

    async def _append(self, message: dict[str, Any]) -> None:
        data = decode_audio(message, self.frame_bytes)
        if len(data) % self.session.decoder.frame_bytes:
            raise DialectError(
                "invalid_audio", f"{len(data)} bytes are not whole {self._settings.encoding} samples"
            )
        await self.session.send_audio(data)

    def end_utterance(self) -> bool:
        if not self._ended:
            self._ended = True
            self.session.finish()
        return True

    async def on_update(self, update: Update) -> None:
        if update.text:
            self._text += update.text
            await self.socket.send({"type": "transcription.text.delta", "text": update.text})
        if self._speakers is not None:
            update.words = await self._speakers.label(update)
        text = TextEvent(update.text, update.generated_tokens)
        segments = self._builder.take([text, *update.words, *update.marks])
        if update.finished:
            segments += self._builder.finish(update.heard_s)
        await self._send_extra(update)
        for segment in segments:
            await self._send_segment(segment)
        if update.finished:
            await self._send_done(update)
            self.done.set()

    async def _send_extra(self, update: Update) -> None:
        if "words" in self._extra:
            for word in update.words:
                await self.socket.send(
                    {
                        "type": "voxtral_edge.word",
                        "text": word.text,
                        "start": round(word.start, 3),
                        "end": round(word.end, 3),
                        "probability": round(word.probability, 4),
                    }
                )
        if "steps" in self._extra and update.generated_tokens > update.first_token:
            await self.socket.send(
                {
                    "type": "voxtral_edge.step",
                    "heard_s": round(update.heard_s, 3),
                    "step_ms": round(update.step_s * 1000, 2),
                    "tokens": update.generated_tokens - update.first_token,
                }
            )

    async def _send_segment(self, segment: Segment) -> None:
        values: dict[str, Any] = {
            "text": segment.text,
            "start": round(segment.start, 3),
            "end": round(segment.end, 3),
        }
        if segment.speaker is not None:
            values["speaker_id"] = segment.speaker
        self._segments.append({"type": "transcription_segment", **values})
        await self.socket.send({"type": "transcription.segment", **values})

    async def _send_done(self, update: Update) -> None:
        if self._speakers is not None:  # what was sent before was what was known then
            spans = [(segment["start"], segment["end"]) for segment in self._segments]
            for segment, speaker in zip(self._segments, self._speakers.final_speakers(spans), strict=True):
                segment["speaker_id"] = speaker
        await self.socket.send(
            {
                "type": "transcription.done",
                "model": self._model,
                "text": self._text,
                "language": self._settings.language,
                "segments": self._segments,
                "usage": usage(self.session.prompt_tokens, update.generated_tokens, update.heard_s),
            }
        )

    async def _send_session(self, kind: str) -> None:
        shown = self._settings.shown(self.session.name, self._model)
        await self.socket.send({"type": kind, "session": shown})

    async def send_error(self, error: DialectError, message: dict[str, Any] | None) -> None:
        code = _CODES.get(error.code, 400)
        await self.socket.send({"type": "error", "error": {"message": error.message, "code": code}})
