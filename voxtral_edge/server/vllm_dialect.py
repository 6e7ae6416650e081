"""vLLM's `/v1/realtime` (specification §8.1).

    ← session.created                       → session.update {model}
    → input_audio_buffer.commit             starts an utterance: deltas may come from now on
    → input_audio_buffer.append {audio}     base64, s16le, mono, 16 kHz; may precede the commit
    → input_audio_buffer.commit {final}     ends it        ← transcription.delta …, transcription.done

As in vLLM there is one delta per token (80 ms of audio), empty where the model wrote nothing; deltas that
wait for a slow client are joined.
"""

from __future__ import annotations

from typing import Any

from voxtral_edge.audio import SAMPLE_RATE_HZ
from voxtral_edge.server.connection import Connection, DialectError, decode_audio
from voxtral_edge.server.hub import Hub
from voxtral_edge.server.pcm import PcmDecoder
from voxtral_edge.server.session import Session, Update
from voxtral_edge.server.socket import JsonSocket

# More tokens than this in one update come from a client that sends faster than real time, or reads slowly:
# then empty deltas tell nothing about time, and are left out.
_LIVE_TOKENS = 4


class VllmConnection(Connection):
    """See the module."""

    def __init__(self, socket: JsonSocket, hub: Hub, session: Session) -> None:
        super().__init__(socket, hub, session)
        self.frame_bytes = hub.limits.frame_bytes
        session.configure(decoder=PcmDecoder("pcm_s16le", SAMPLE_RATE_HZ))
        self._model_known = False
        self._committed = False  # an utterance was started and not ended
        self._ended = 0  # utterances that were ended and not reported
        self._held = ""  # text that became known before the commit
        self._text = ""

    async def on_message(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "session.update":
            self._update(message)
        elif kind == "input_audio_buffer.append":
            await self._append(message)
        elif kind == "input_audio_buffer.commit":
            await self._commit(message)
        else:
            raise DialectError("unknown_event", f"Unknown event type: {str(kind)[:100]}")

    def _update(self, message: dict[str, Any]) -> None:
        model = message.get("model")
        if not isinstance(model, str):
            raise DialectError("invalid_event", "session.update needs the name of the model in `model`")
        if not self.hub.knows_model(model):
            raise DialectError(
                "model_not_found",
                f"The model `{model[:100]}` does not exist; this server has "
                f"{', '.join(self.hub.model_names)}",
            )
        self._model_known = True

    async def _append(self, message: dict[str, Any]) -> None:
        data = decode_audio(message, self.frame_bytes)
        await self.session.send_audio(data)

    async def _commit(self, message: dict[str, Any]) -> None:
        if not self._model_known:
            raise DialectError(
                "model_not_validated",
                "Model not validated. Send a session.update event with the model first.",
            )
        final = message.get("final", False)
        if not isinstance(final, bool):
            raise DialectError("invalid_event", "`final` must be true or false")
        if not self._committed:
            self._committed = True
            held, self._held = self._held, ""
            if held and not self._ended:
                await self._delta(held)
        if final:
            self.end_utterance()

    def end_utterance(self) -> bool:
        if not self._committed:
            return self._ended > 0
        self._committed = False
        self._ended += 1
        self.session.finish()
        return True

    async def on_update(self, update: Update) -> None:
        if not self._committed and not self._ended:
            self._held += update.text
            self._text += update.text
            return
        new_tokens = update.generated_tokens - update.first_token
        if new_tokens <= _LIVE_TOKENS:
            by_token: dict[int, str] = {}
            for token, text in update.pieces:
                by_token[token] = by_token.get(token, "") + text
            for token in range(update.first_token, update.generated_tokens):
                await self._delta(by_token.pop(token, ""))
            for text in by_token.values():  # text that the end of the stream brought out
                await self._delta(text)
        elif update.text:
            await self._delta(update.text)
        self._text += update.text
        if update.finished:
            await self._report(update)

    async def _delta(self, text: str) -> None:
        await self.socket.send({"type": "transcription.delta", "delta": text})

    async def _report(self, update: Update) -> None:
        text, self._text = self._text, ""
        self._ended -= 1
        prompt, completion = self.session.prompt_tokens, update.generated_tokens
        await self.socket.send(
            {
                "type": "transcription.done",
                "text": text,
                "usage": {
                    "prompt_tokens": prompt,
                    "completion_tokens": completion,
                    "total_tokens": prompt + completion,
                },
            }
        )
        if self.hub.draining.is_set() and not self._ended:
            self.done.set()

    async def send_error(self, error: DialectError, message: dict[str, Any] | None) -> None:
        code = "invalid_audio" if error.code == "invalid_value" else error.code
        await self.socket.send({"type": "error", "error": error.message, "code": code})
