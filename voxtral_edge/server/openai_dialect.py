"""OpenAI's realtime transcription sessions (`/v1/realtime?intent=transcription`).

    ← session.created      → session.update {session}      ← session.updated
    → input_audio_buffer.append {audio}         24 kHz s16le, or what the session says
    ← conversation.item.input_audio_transcription.delta    while audio comes
    → input_audio_buffer.commit                 ends the item; with turn detection the server does it
    ← input_audio_buffer.committed, conversation.item.added/.done       at once
    ← ….delta, ….completed {transcript}         when the rest has been heard

Deltas come while the audio is still being sent (as of OpenAI's streaming models): the item's id is known
before its commit. `speech_started` and `speech_stopped` are sent only with turn detection on; see `turns`.
Clients of the beta (header `OpenAI-Beta: realtime=v1`, or `transcription_session.update`) get its names and its
flat session object.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from typing import Any

from voxtral_edge.live_step import TOKEN_MS
from voxtral_edge.server.connection import Connection, DialectError, decode_audio
from voxtral_edge.server.hub import Hub
from voxtral_edge.server.openai_settings import Settings, from_beta, in_beta_form, updated
from voxtral_edge.server.session import Session, Update
from voxtral_edge.server.socket import JsonSocket
from voxtral_edge.server.turns import TurnDetector

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


class OpenAiConnection(Connection):
    """See the module."""

    def __init__(self, socket: JsonSocket, hub: Hub, session: Session, beta: bool = False) -> None:
        super().__init__(socket, hub, session)
        self.frame_bytes = hub.limits.frame_bytes
        self._beta = beta
        self._settings = Settings(model=hub.engine.name)
        self._default_delay = session.delay_ms // TOKEN_MS
        self._turns: TurnDetector | None = None
        self._item: str | None = None  # of the audio since the last commit
        self._committed: deque[str] = deque()  # before it, and not transcribed; deltas go to the first
        self._unannounced: deque[str] = deque()  # of these, the ones whose commit was not told
        self._last_item: str | None = None
        self._text = ""
        self._updating = asyncio.Lock()
        self._reported_s = 0.0  # audio of this utterance that earlier items have reported
        self._open_audio = False  # audio since the last commit
        self._commits = 0  # utterances that were ended and not reported
        session.configure(decoder=self._settings.decoder())

    async def on_message(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind in ("session.update", "transcription_session.update"):
            await self._update(message, beta=kind != "session.update")
        elif kind == "input_audio_buffer.append":
            data = decode_audio(message, self.frame_bytes)
            if len(data) % self.session.decoder.frame_bytes:
                raise DialectError("invalid_audio", f"{len(data)} bytes are not whole samples", param="audio")
            self._open_audio = True
            await self.session.send_audio(data)
        elif kind == "input_audio_buffer.commit":
            async with self._updating:
                if not self._open_audio:
                    raise DialectError("input_audio_buffer_commit_empty", "the input audio buffer is empty")
                self.end_utterance()
                await self._announce()
        elif kind == "input_audio_buffer.clear":
            async with self._updating:
                self.session.drop_utterance()
                if not self._commits:  # otherwise what is known belongs to the committed item
                    self._forget_utterance()
                elif self._turns is None:
                    self._item = None
                self._open_audio = False
                await self._send("input_audio_buffer.cleared")
        else:
            raise DialectError("unknown_event", f"unknown event type {str(kind)[:100]!r}", param="type")

    def end_utterance(self) -> bool:
        if self._open_audio:
            self._open_audio = False
            self._commits += 1
            if self._turns is None:
                self._close_item()
            self.session.finish()
        return self._commits > 0

    async def on_update(self, update: Update) -> None:
        # Sending takes time; a clear that comes meanwhile must not find half an update told.
        async with self._updating:
            if not update.dropped:
                await self._tell(update)

    async def _tell(self, update: Update) -> None:
        if self._turns is not None:
            await self._update_turns(self._turns, update)
        elif update.text:
            await self._delta(update.text)
            self._text += update.text
        if update.finished:
            if self._turns is None:
                await self._complete(self._text, update.heard_s)
            else:
                await self._end_turn(self._turns.end(), update.heard_s)
            self._forget_utterance()
            self._commits -= 1
            if self.hub.draining.is_set() and not self._commits:
                self.done.set()

    async def send_created(self) -> None:
        """The greeting: OpenAI's `session`, and the `id` and `created` of vLLM, which shares the address."""
        name = "transcription_session.created" if self._beta else "session.created"
        await self._send(name, id=self.session.name, created=int(time.time()), session=self._shown())

    async def send_error(self, error: DialectError, message: dict[str, Any] | None) -> None:
        internal = error.code == "internal_error"
        event_id = message.get("event_id") if message else None
        body = {
            "type": "server_error" if internal else "invalid_request_error",
            "code": error.code,
            "message": error.message,
            "param": error.param,
            "event_id": event_id if isinstance(event_id, str) else None,
        }
        if internal and (self._committed or self._item):
            await self._send(
                f"{_TRANSCRIPTION}.failed", item_id=self._heard_item(), content_index=0, error=body
            )
        await self._send("error", error=body)

    async def _update(self, message: dict[str, Any], beta: bool) -> None:
        session = from_beta(message.get("session")) if beta else message.get("session")
        settings = updated(self._settings, session, self.hub)
        await self._apply(settings)
        self._beta = beta
        name = "transcription_session.updated" if beta else "session.updated"
        await self._send(name, session=self._shown())

    async def _apply(self, settings: Settings) -> None:
        """Most settings are fixed by the first audio; setting them to what they are is allowed."""
        if self.session.started:
            for name in ("encoding", "rate_hz", "delay", "turns", "keywords"):
                if getattr(self._settings, name) != getattr(settings, name):
                    raise DialectError("invalid_value", f"{name} cannot be changed after audio was sent")
        else:
            self.session.configure(
                delay_tokens=settings.delay_tokens(self._default_delay),
                decoder=settings.decoder(),
                hotwords=await self.hub.hotwords(list(settings.keywords)),
            )
            turns = settings.turns
            self._turns = TurnDetector(turns.silence_ms, turns.padding_ms) if turns else None
        self._settings = settings

    async def _update_turns(self, detector: TurnDetector, update: Update) -> None:
        """Deltas, and the turns' events between them."""
        for news in detector.take(update):
            if isinstance(news, str):
                await self._delta(news)
            elif news.began:
                await self._send(
                    "input_audio_buffer.speech_started", audio_start_ms=news.at_ms, item_id=self._open_item()
                )
            else:
                await self._send(
                    "input_audio_buffer.speech_stopped", audio_end_ms=news.at_ms, item_id=self._open_item()
                )
                await self._end_turn(news.text, news.at_ms / 1000)

    async def _delta(self, text: str) -> None:
        await self._send(f"{_TRANSCRIPTION}.delta", item_id=self._heard_item(), content_index=0, delta=text)

    async def _end_turn(self, text: str, until_s: float) -> None:
        """The detector, or the end of the audio, has ended the open item, which said `text`."""
        self._close_item()
        await self._complete(text, until_s)

    def _close_item(self) -> None:
        item, self._item = self._open_item(), None
        self._committed.append(item)
        self._unannounced.append(item)

    async def _announce(self) -> None:
        """Tells of the items that were committed."""
        while self._unannounced:
            item_id, previous = self._unannounced.popleft(), self._last_item
            item = {
                "id": item_id,
                "object": "realtime.item",
                "type": "message",
                "status": "completed",
                "role": "user",
                "content": [{"type": "input_audio", "transcript": None}],
            }
            self._last_item = item_id
            await self._send("input_audio_buffer.committed", item_id=item_id, previous_item_id=previous)
            for name in ("created",) if self._beta else ("added", "done"):
                await self._send(f"conversation.item.{name}", item=item, previous_item_id=previous)

    async def _complete(self, text: str, until_s: float) -> None:
        """The transcript of the item that was committed first."""
        await self._announce()
        seconds, self._reported_s = max(0.0, until_s - self._reported_s), until_s
        await self._send(
            f"{_TRANSCRIPTION}.completed",
            item_id=self._committed.popleft(),
            content_index=0,
            transcript=text,
            usage={"type": "duration", "seconds": round(seconds, 3)},
        )

    def _forget_utterance(self) -> None:
        self._text, self._reported_s, self._item = "", 0.0, None
        if self._turns is not None:
            self._turns.end()

    def _open_item(self) -> str:
        if self._item is None:
            self._item = "item_" + secrets.token_hex(10)
        return self._item

    def _heard_item(self) -> str:
        """Which the model is hearing."""
        return self._committed[0] if self._committed else self._open_item()

    def _shown(self) -> dict[str, Any]:
        shown = self._settings.shown(self.session.name, self.hub.engine.name)
        return in_beta_form(shown) if self._beta else shown

    async def _send(self, kind: str, **fields: Any) -> None:
        await self.socket.send({"type": kind, "event_id": "event_" + secrets.token_hex(10), **fields})
