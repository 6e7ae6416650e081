"""https and wss, with the handshake inside the listener's bounds.

asyncio's own TLS listeners take any number of connections that say nothing, and wait a minute for each: a few
hundred strangers use up the process's file descriptors before a single one is counted.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from voxtral_edge.server.limits import Limits
from voxtral_edge.server.metrics import Metrics


def behind_tls(
    protocol: type[asyncio.Protocol], context: ssl.SSLContext, limits: Limits, metrics: Metrics
) -> type[asyncio.Protocol]:
    """The class that uvicorn makes one of per connection: it shakes hands, then hands over to `protocol`."""
    shaking: set[asyncio.Task[None]] = set()

    class TlsDoor(asyncio.Protocol):
        """Also takes what the client sends together with the end of its handshake."""

        def __init__(self, config: Config, server_state: ServerState, **options: Any) -> None:
            self._connections = server_state.connections
            self._inner: asyncio.Protocol = protocol(
                config=config,
                server_state=server_state,
                **options,  # type: ignore[call-arg]
            )
            self._early = bytearray()
            self._lost = False

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            if len(self._connections) + len(shaking) >= limits.connections:
                metrics.rejected.labels("connections").inc()
                transport.abort()
                return
            task = asyncio.ensure_future(self._shake_hands(transport))
            shaking.add(task)
            task.add_done_callback(shaking.discard)

        def data_received(self, data: bytes) -> None:
            self._early += data

        def connection_lost(self, exc: Exception | None) -> None:
            self._lost = True

        async def _shake_hands(self, transport: asyncio.Transport) -> None:
            loop = asyncio.get_running_loop()
            try:
                secure = await loop.start_tls(
                    transport, self, context, server_side=True, ssl_handshake_timeout=limits.header_s
                )
            except OSError:  # wrong or slow; an SSLError is one
                metrics.rejected.labels("tls").inc()
                transport.abort()
                return
            if secure is None or self._lost:
                return
            secure.set_protocol(self._inner)
            self._inner.connection_made(secure)
            if self._early:
                self._inner.data_received(bytes(self._early))

    return TlsDoor
