"""Starts the listeners, keeps them until a signal, and shuts them down without losing words."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import uvicorn

from voxtral_edge.engine import DEFAULT_DELAY_MS, Engine
from voxtral_edge.errors import UsageError
from voxtral_edge.live_step import TOKEN_MS, step_tokens
from voxtral_edge.server.application import build_application
from voxtral_edge.server.http_protocol import bounded_protocol
from voxtral_edge.server.hub import Hub
from voxtral_edge.server.limits import Limits
from voxtral_edge.server.notify import heartbeat, notify
from voxtral_edge.server.tls import behind_tls
from voxtral_edge.server.wyoming_server import start_wyoming

log = logging.getLogger("voxtral_edge.server")


@dataclass(frozen=True)
class ServiceOptions:
    """What `voxtral-edge serve` was told. `wyoming` is (host, port) or None; port 0 picks a free one."""

    host: str = "127.0.0.1"
    port: int = 8000
    wyoming: tuple[str, int] | None = None
    token: str | None = None
    origins: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = None
    delay_ms: int = DEFAULT_DELAY_MS
    step_ms: int = TOKEN_MS
    aliases: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket; UsageError if the address cannot be used."""
    try:
        info = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(info[0], info[1])
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(info[4])
    except OSError as error:
        raise UsageError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    return bound


def run_service(engine: Engine, options: ServiceOptions, bound: socket.socket) -> bool:
    """Serves until SIGTERM or SIGINT; whether every session could say its last words."""

    async def serve() -> bool:
        return await Service(engine, options, bound).run()

    return asyncio.run(serve())


class Service:
    """One server, made inside its event loop.

    hub     what the protocols share
    stop    set it to shut down as SIGTERM does
    wyoming_port  of the Wyoming listener, once `on_ready` has been called
    """

    def __init__(
        self,
        engine: Engine,
        options: ServiceOptions,
        bound: socket.socket,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._options = options
        self._bound = bound
        self._on_ready = on_ready
        self.stop = asyncio.Event()
        self.wyoming_port: int | None = None
        self.hub = Hub(
            engine,
            options.limits,
            delay_ms=options.delay_ms,
            aliases=options.aliases,
            languages=options.languages,
            step_tokens=step_tokens(options.step_ms),
        )

    async def run(self) -> bool:
        """Serves until `stop` is set or a signal comes; whether every session could say its last words."""
        hub, limits = self.hub, self._options.limits
        hub.scheduler.start()
        server = _HttpServer(self._configuration(), self.stop)
        tasks: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(server.serve([self._bound])),
            asyncio.ensure_future(self.stop.wait()),
        ]
        wyoming: asyncio.Server | None = None
        try:
            if self._options.wyoming is not None:
                wyoming = await start_wyoming(hub, *self._options.wyoming)
                self.wyoming_port = wyoming.sockets[0].getsockname()[1]
            await _started(server, tasks[0])
            self._announce()
            tasks.append(asyncio.ensure_future(heartbeat(hub.scheduler.alive)))
            await asyncio.wait(tasks[:2], return_when=asyncio.FIRST_COMPLETED)
            notify("STOPPING=1")
            log.info("stopping; open sessions, which may still end: %d", hub.open_sessions)
            return await hub.drain(limits.drain_s)
        finally:
            if wyoming is not None:
                wyoming.close()
            server.should_exit = True
            await asyncio.gather(tasks[0], return_exceptions=True)
            for task in tasks[1:]:
                task.cancel()
            hub.scheduler.stop(1.0)

    def _configuration(self) -> uvicorn.Config:
        hub, options, limits = self.hub, self._options, self._options.limits
        application = build_application(hub, host=options.host, token=options.token, origins=options.origins)
        protocol = bounded_protocol(limits, hub.metrics)
        if options.tls is not None:
            protocol = behind_tls(protocol, options.tls, limits, hub.metrics)
        return uvicorn.Config(
            application,
            http=protocol,
            ws="websockets-sansio",
            ws_max_size=limits.websocket_bytes,
            ws_per_message_deflate=False,  # a few bytes on the wire can become gigabytes
            ws_ping_interval=limits.ping_s,
            # A pong comes behind the audio that waits in the socket while the engine is busy: its lateness
            # says nothing about the client. `idle_s` finds those that are gone.
            ws_ping_timeout=None,
            h11_max_incomplete_event_size=limits.header_bytes,
            timeout_keep_alive=5,
            # asyncio accepts so many at a time, before one of them can be counted and closed.
            backlog=limits.connections,
            timeout_graceful_shutdown=1,
            lifespan="off",
            access_log=False,
            server_header=False,
            log_config=None,
        )

    def _announce(self) -> None:
        """One line per listener on the log, with the ports that were really taken."""
        scheme = "https" if self._options.tls else "http"
        host, port = self._bound.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        log.info("listening on %s://%s:%d (model %s)", scheme, shown, port, self.hub.engine.name)
        if self._options.wyoming is not None:
            log.info("Wyoming on tcp://%s:%d", self._options.wyoming[0], self.wyoming_port)
        notify("READY=1")
        self._on_ready()


class _HttpServer(uvicorn.Server):
    """uvicorn closes every WebSocket when a signal comes; here the sessions are ended first."""

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event) -> None:
        super().__init__(config)
        self._stop = stop
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._stop.is_set() and sig == signal.SIGINT:
            self.force_exit = self.should_exit = True  # Ctrl-C twice
        self._loop.call_soon_threadsafe(self._stop.set)


async def _started(server: uvicorn.Server, serving: asyncio.Future[None]) -> None:
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if serving.done():
        serving.result()
