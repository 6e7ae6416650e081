"""Server-sent events to a client that may stop reading."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from voxtral_edge.server.limits import Limits
from voxtral_edge.server.patience import within

log = logging.getLogger("voxtral_edge.server")

Emit = Callable[[dict[str, Any]], Awaitable[None]]


class _ReaderGoneError(Exception):
    """The client left, or took nothing for too long."""


class EventStream(Response):
    """Runs `body(emit)`; every emitted object becomes one event. In a long silence there are comments, which clients
    skip, so that proxies do not take the connection for dead. Closes `resources` at the end, whatever happens."""

    def __init__(
        self, body: Callable[[Emit], Awaitable[None]], limits: Limits, resources: contextlib.ExitStack
    ) -> None:
        super().__init__(media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._run = body
        self._limits = limits
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def emit(event: dict[str, Any]) -> None:
            data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
            # Mistral's client reads the name; OpenAI's takes it from the data.
            await self._write(send, f"event: {event['type']}\ndata: {data}\n\n".encode())

        with self._resources:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            running = asyncio.ensure_future(self._guarded(emit))
            leaving = asyncio.ensure_future(_disconnected(receive))
            try:
                while not running.done() and not leaving.done():
                    waiting = {running, leaving}
                    done, _ = await asyncio.wait(
                        waiting, timeout=self._limits.ping_s, return_when=asyncio.FIRST_COMPLETED
                    )
                    if not done:
                        await self._write(send, b": still working\n\n")
                if running.done() and running.result():
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
            except _ReaderGoneError:
                pass
            finally:
                for task in (running, leaving):
                    task.cancel()
                await asyncio.gather(running, leaving, return_exceptions=True)

    async def _guarded(self, emit: Emit) -> bool:
        """Whether the stream came to its end; errors become an event."""
        try:
            await self._run(emit)
        except _ReaderGoneError:
            return False
        except Exception as error:
            error_id = "err_" + secrets.token_hex(6)
            log.error("an event stream failed, error id %s", error_id, exc_info=error)
            with contextlib.suppress(_ReaderGoneError):
                message = f"internal error (error id {error_id})"
                await emit({"type": "error", "error": {"message": message, "code": "internal_error"}})
        return True

    async def _write(self, send: Send, data: bytes) -> None:
        try:
            await within(
                self._limits.send_s, send({"type": "http.response.body", "body": data, "more_body": True})
            )
        except (asyncio.TimeoutError, OSError):
            raise _ReaderGoneError from None


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
