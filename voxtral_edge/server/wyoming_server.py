"""Wyoming over TCP, for Home Assistant.

    → describe                                  ← info
    → transcribe, audio-start, audio-chunk …    ← transcript-start, transcript-chunk … (as text is found)
    → audio-stop                                ← transcript (for older clients), transcript-stop

A connection may carry one utterance after another. The protocol has no authentication.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from typing import Any

from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable, async_write_event
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info
from wyoming.ping import Ping, Pong

from voxtral_edge import __version__
from voxtral_edge.errors import VoxtralEdgeError
from voxtral_edge.hotwords import DEFAULT_WEIGHT
from voxtral_edge.server.http_protocol import bound_send_buffers
from voxtral_edge.server.hub import BusyError, Hub
from voxtral_edge.server.patience import within
from voxtral_edge.server.pcm import PcmDecoder
from voxtral_edge.server.session import Session
from voxtral_edge.server.wyoming_events import WyomingFormatError, read_event

log = logging.getLogger("voxtral_edge.server")

_ENCODINGS = {2: "pcm_s16le", 4: "pcm_s32le"}
# The protocol gives names priority over terms.
_NAME_WEIGHT = 1.5 * DEFAULT_WEIGHT
_ATTRIBUTION = Attribution(name="voxtral-edge", url="")


async def start_wyoming(hub: Hub, host: str, port: int) -> asyncio.Server:
    """A listening server; errors of binding are OSError."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(connections) >= hub.limits.connections:
            hub.metrics.rejected.labels("connections").inc()
            writer.close()
            return
        connections.add(task)
        bound_send_buffers(writer.transport, hub.limits)
        try:
            await _Client(hub, reader, writer).run()
        finally:
            connections.discard(task)

    return await asyncio.start_server(serve, host, port, limit=hub.limits.control_bytes)


class _Client:
    def __init__(self, hub: Hub, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._hub = hub
        self._reader = reader
        self._writer = writer
        self._session: Session | None = None
        self._format: tuple[int, int, int] | None = None
        self._language: str | None = None
        self._phrases: list[tuple[str, float]] = []
        self._sending: asyncio.Future[None] | None = None
        self._writing = asyncio.Lock()

    async def run(self) -> None:
        """Serves one connection to its end."""
        reading = asyncio.ensure_future(self._read())
        draining = asyncio.ensure_future(self._drain())
        try:
            await asyncio.wait(
                {reading, draining}, timeout=self._hub.limits.session_s, return_when=asyncio.FIRST_COMPLETED
            )
            if reading.done():
                reading.result()
        except (ConnectionError, asyncio.TimeoutError):
            pass
        except WyomingFormatError as error:
            self._hub.metrics.rejected.labels("protocol").inc()
            await self._try_error(str(error), "protocol")
        except BusyError as busy:
            await self._try_error(str(busy), busy.reason)
        except VoxtralEdgeError as error:
            await self._try_error(str(error), "invalid-audio")
        except Exception as error:
            error_id = "err_" + secrets.token_hex(6)
            log.error("a Wyoming connection failed, error id %s", error_id, exc_info=error)
            self._hub.metrics.failures.inc()
            await self._try_error(f"internal error (error id {error_id})", "internal-error")
        finally:
            reading.cancel()
            draining.cancel()
            await asyncio.gather(reading, draining, return_exceptions=True)
            await self._end_session()
            self._writer.close()

    async def _read(self) -> None:
        while True:
            event = await self._next_event()
            if event is None:
                return
            await self._handle(event)

    async def _next_event(self) -> Event | None:
        """The next event; None at the end of the connection or of the client's patience with silence."""
        reading = asyncio.ensure_future(read_event(self._reader, self._hub.limits))
        try:
            while True:
                waited: set[asyncio.Future[Any]] = {reading}
                if self._sending is not None:
                    waited.add(self._sending)  # a failure of the session ends the connection
                await asyncio.wait(
                    waited, timeout=self._hub.limits.idle_s, return_when=asyncio.FIRST_COMPLETED
                )
                if reading.done():
                    return reading.result()
                if self._sending is not None and self._sending.done():
                    self._sending.result()
                    return None
                if self._session is None or not self._session.pending:
                    return None
        finally:
            reading.cancel()

    async def _handle(self, event: Event) -> None:
        if Describe.is_type(event.type):
            await self._write(self._info())
        elif Ping.is_type(event.type):
            await self._write(Pong(text=Ping.from_event(event).text))
        elif Transcribe.is_type(event.type):
            self._transcribe(event)
        elif AudioStart.is_type(event.type):
            await self._begin(event)
        elif AudioChunk.is_type(event.type):
            if self._session is None:
                await self._begin(event)
            await self._append(event)
        elif AudioStop.is_type(event.type) and self._session is not None:
            await self._finish()
        # Other events are dropped: servers are expected to, since the protocol grows.

    def _transcribe(self, event: Event) -> None:
        """What the next utterances should be heard as."""
        language = event.data.get("language")
        self._language = language if isinstance(language, str) and len(language) <= 16 else None
        self._phrases = []
        for name, weight in (("transcript_terms", DEFAULT_WEIGHT), ("transcript_names", _NAME_WEIGHT)):
            phrases = event.data.get(name) or []
            if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
                raise WyomingFormatError(f"{name} must be a list of strings")
            self._phrases += [(phrase, weight) for phrase in phrases if phrase.strip()]

    async def _begin(self, event: Event) -> None:
        await self._end_session()
        session = self._hub.open("wyoming")
        self._session = session
        self._format = _audio_format(event)
        rate_hz, width, channels = self._format
        if width not in _ENCODINGS:
            raise WyomingFormatError(f"samples of {width} bytes; send {' or '.join(map(str, _ENCODINGS))}")
        session.configure(
            decoder=PcmDecoder(_ENCODINGS[width], rate_hz, channels),
            hotwords=await self._hub.hotwords(self._phrases),
        )
        await self._write(TranscriptStart(language=self._language))
        self._sending = asyncio.ensure_future(self._send_text(session))

    async def _append(self, event: Event) -> None:
        assert self._session is not None
        if _audio_format(event) != self._format:
            raise WyomingFormatError("the audio format changed within one utterance")
        if event.payload:
            await self._session.send_audio(event.payload)

    async def _finish(self) -> None:
        assert self._session is not None and self._sending is not None
        self._session.finish()
        await self._sending
        await self._end_session()

    async def _send_text(self, session: Session) -> None:
        text = ""
        async for update in session.updates():
            if update.failure is not None:
                await self._try_error(
                    f"{update.failure.message} (error id {update.failure.error_id})", "internal-error"
                )
                raise ConnectionAbortedError
            if update.text:
                text += update.text
                await self._write(TranscriptChunk(text=update.text))
            if update.finished:
                await self._write(Transcript(text=text, language=self._language))
                await self._write(TranscriptStop())
                return

    async def _drain(self) -> None:
        await self._hub.draining.wait()
        if self._session is not None and self._sending is not None:
            self._session.finish()
            await asyncio.wait({self._sending})

    async def _end_session(self) -> None:
        session, self._session = self._session, None
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        if session is not None:
            session.close()

    async def _write(self, event: Eventable) -> None:
        """ConnectionError if the client is gone, TimeoutError if it takes nothing."""
        async with self._writing:
            await within(self._hub.limits.send_s, async_write_event(event.event(), self._writer))

    async def _try_error(self, text: str, code: str) -> None:
        with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
            await self._write(Error(text=text, code=code))

    def _info(self) -> Info:
        languages = list(self._hub.languages)
        models = [
            AsrModel(
                name=self._hub.engine.name,
                attribution=_ATTRIBUTION,
                installed=True,
                description="Live speech to text",
                version=None,
                languages=languages,
            )
        ]
        program = AsrProgram(
            name="voxtral-edge",
            attribution=_ATTRIBUTION,
            installed=True,
            description="Live speech to text on the CPU",
            version=__version__,
            models=models,
            supports_transcript_streaming=True,
            # audio-stop ends an utterance; nothing here guesses when a command is over.
            requires_external_vad=True,
        )
        return Info(asr=[program])


def _audio_format(event: Event) -> tuple[int, int, int]:
    """Rate, sample width in bytes, channels."""
    values = tuple(event.data.get(name) for name in ("rate", "width", "channels"))
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise WyomingFormatError(f"{event.type} needs the whole numbers rate, width and channels")
    return values  # type: ignore[return-value]
