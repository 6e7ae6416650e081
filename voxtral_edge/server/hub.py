"""What all protocols share: the engine, the scheduler, the places for sessions, the names of the model."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import TYPE_CHECKING

from voxtral_edge.audio import SAMPLE_RATE_HZ
from voxtral_edge.engine import DEFAULT_DELAY_MS, Engine, delay_tokens
from voxtral_edge.hotwords import Hotwords
from voxtral_edge.package_folder import read_manifest
from voxtral_edge.server.limits import Limits
from voxtral_edge.server.metrics import Metrics
from voxtral_edge.server.patience import within
from voxtral_edge.server.scheduler import Scheduler
from voxtral_edge.server.session import Session

if TYPE_CHECKING:
    from voxtral_edge.diarize import SpeakerEmbedder

log = logging.getLogger("voxtral_edge.server")

# The languages that Voxtral Mini 4B Realtime was released for.
VOXTRAL_LANGUAGES = ("ar", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pt", "ru", "zh")
_KNOWN_LANGUAGES = {"tiny-en": ("en",)}


class BusyError(Exception):
    """No place for another session: `reason` is "full" or "draining"."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Hub:
    """One per server. Use from the event loop that runs the protocols.

    draining   set once the server is told to stop; dialects finish their utterances and leave
    """

    def __init__(
        self,
        engine: Engine,
        limits: Limits,
        *,
        delay_ms: int = DEFAULT_DELAY_MS,
        aliases: tuple[str, ...] = (),
        languages: tuple[str, ...] = (),
        step_tokens: int = 1,
    ) -> None:
        self.engine = engine
        self.limits = limits
        self.metrics = Metrics()
        self.scheduler = Scheduler(engine, self.metrics, limits.queued_events, step_tokens)
        self.draining = asyncio.Event()
        self.started_at = time.time()
        manifest = read_manifest(engine.directory)
        self.left_pad_tokens = int(manifest["audio"]["left_pad_tokens"])
        self.delay_tokens = delay_tokens(delay_ms)
        source = str(manifest.get("source", {}).get("path", ""))
        hub_id = [source] if source.count("/") == 1 and not source.startswith("/") else []
        self.model_names = tuple(dict.fromkeys([engine.name, *hub_id, *aliases]))
        self.languages = languages or _KNOWN_LANGUAGES.get(engine.name, VOXTRAL_LANGUAGES)
        self._sessions: dict[str, str] = {}
        self._embedder: SpeakerEmbedder | None = None
        self._embedding = asyncio.Lock()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def ready(self) -> bool:
        """Whether new sessions are welcome."""
        return not self.draining.is_set() and self.scheduler.alive()

    @property
    def open_sessions(self) -> int:
        """How many sessions are open."""
        return len(self._sessions)

    def knows_model(self, name: object) -> bool:
        """Whether a client that asks for model `name` means this one."""
        return name in self.model_names

    def check_place(self) -> None:
        """BusyError if `open` would refuse now."""
        if self.draining.is_set():
            raise BusyError("draining", "the server is shutting down")
        if len(self._sessions) >= self.limits.sessions:
            raise BusyError("full", f"all {self.limits.sessions} sessions are in use; try again later")

    def open(self, protocol: str, background: bool = False) -> Session:
        """A session with the default delay and 16 kHz s16le audio; in the background, it stands back when live
        ones are late. BusyError when there is no place."""
        try:
            self.check_place()
        except BusyError as busy:
            self.metrics.rejected.labels(busy.reason).inc()
            raise
        name = "sess-" + secrets.token_hex(8)
        session = Session(
            name,
            self.scheduler,
            int(self.limits.queued_audio_s * SAMPLE_RATE_HZ),
            self.left_pad_tokens,
            self._closed,
            background,
        )
        session.configure(delay_tokens=self.delay_tokens)
        self._sessions[name] = protocol
        self._empty.clear()
        self.metrics.sessions.labels(protocol).inc()
        self.metrics.opened.labels(protocol).inc()
        return session

    async def hotwords(self, phrases: object) -> Hotwords:
        """Phrases encoded for the model, away from the event loop: a thousand take a while. UsageError for
        phrases that cannot be used."""
        return await asyncio.to_thread(self.engine.hotwords, phrases)

    async def embedder(self) -> SpeakerEmbedder:
        """The model of voices, loaded on first use. DeviceError without onnxruntime."""
        async with self._embedding:
            if self._embedder is not None:
                return self._embedder
            from voxtral_edge.diarize import OnnxEmbedder

            made = await asyncio.to_thread(OnnxEmbedder)
            self._embedder = made
            return made

    async def drain(self, timeout_s: float) -> bool:
        """Refuses new sessions and waits for the open ones to say their last words; whether all did in
        time."""
        self.draining.set()
        try:
            await within(timeout_s, self._empty.wait())
        except asyncio.TimeoutError:
            log.warning("%d sessions did not end within %g s", len(self._sessions), timeout_s)
            return False
        return True

    def _closed(self, session: Session) -> None:
        protocol = self._sessions.pop(session.name)
        self.metrics.sessions.labels(protocol).dec()
        self.metrics.audio.inc(session.audio_s)
        if not self._sessions:
            self._empty.set()
