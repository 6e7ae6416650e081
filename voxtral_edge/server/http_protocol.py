"""uvicorn's HTTP/1.1 protocol with two bounds that it lacks: connections, and time for a request's
headers."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from voxtral_edge.server.limits import Limits
from voxtral_edge.server.metrics import Metrics


def bound_send_buffers(transport: asyncio.WriteTransport, limits: Limits) -> None:
    """Bounds what the kernel and asyncio take for a client that does not read."""
    transport.set_write_buffer_limits(high=limits.send_buffer_bytes)
    accepted = transport.get_extra_info("socket")
    if accepted is not None:
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_buffer_bytes)


def bounded_protocol(limits: Limits, metrics: Metrics) -> type[asyncio.Protocol]:
    """The class that uvicorn makes one of per connection."""

    class BoundedProtocol(H11Protocol):
        """A connection that sends its headers slowly, or comes when all places are taken, is closed."""

        _timer: asyncio.TimerHandle | None = None
        _last_cycle: Any = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            bound_send_buffers(transport, limits)
            if len(self.connections) > limits.connections:
                metrics.rejected.labels("connections").inc()
                transport.close()
                return
            self._await_headers()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._await_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def _await_headers(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
            self._last_cycle = self.cycle
            self._timer = self.loop.call_later(limits.header_s, self._check_headers)

        def _check_headers(self) -> None:
            upgraded = self.transport.get_protocol() is not self
            if not upgraded and self.cycle is self._last_cycle and not self.transport.is_closing():
                metrics.rejected.labels("slow_headers").inc()
                self.transport.close()

    return BoundedProtocol
