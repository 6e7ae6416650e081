"""One WebSocket with manners: JSON objects in and out, bounded in size and time."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from voxtral_edge.server.json_text import json_object
from voxtral_edge.server.limits import Limits
from voxtral_edge.server.patience import within

# RFC 6455 close codes, and 1013 ("try again later") of its registry.
CLOSE_NORMAL, CLOSE_GOING_AWAY, CLOSE_POLICY, CLOSE_TOO_BIG, CLOSE_INTERNAL = 1000, 1001, 1008, 1009, 1011


class ClientGoneError(Exception):
    """The client closed the connection, or takes nothing any more."""


class CloseError(Exception):
    """The connection must be closed with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class BadMessageError(Exception):
    """A message that is not a JSON object."""


class JsonSocket:
    """Wraps an accepted WebSocket."""

    def __init__(self, websocket: WebSocket, limits: Limits, frame_bytes: int) -> None:
        self._websocket = websocket
        self._limits = limits
        self._largest = frame_bytes * 4 // 3 + 4096
        self._received = 0

    async def receive(self, busy: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """The next message. BadMessageError: not a JSON object. CloseError: too big, or the client was silent
        for too long although the server was not `busy` for it. ClientGoneError."""
        wait_s = self._limits.idle_s if self._received else self._limits.first_message_s
        while True:
            try:
                message = await within(wait_s, self._websocket.receive())
                break
            except asyncio.TimeoutError:
                if not busy():
                    raise CloseError(CLOSE_POLICY, f"no message within {wait_s:g} s") from None
        if message["type"] == "websocket.disconnect":
            raise ClientGoneError
        self._received += 1
        text = message.get("text")
        if text is None:
            raise BadMessageError("a binary message; send JSON as text")
        if len(text) > self._largest:
            raise CloseError(CLOSE_TOO_BIG, f"a message of {len(text)} characters; {self._largest} at most")
        try:
            value = json_object(text)
        except ValueError as error:
            raise BadMessageError(str(error)) from None
        if "audio" not in value and len(text) > self._limits.control_bytes:
            raise CloseError(CLOSE_TOO_BIG, f"a control message over {self._limits.control_bytes} bytes")
        return value

    async def send(self, message: dict[str, Any]) -> None:
        """Sends one message. ClientGoneError if the client is gone or takes nothing for too long."""
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        try:
            await within(self._limits.send_s, self._websocket.send_text(text))
        except asyncio.TimeoutError:
            raise ClientGoneError from None
        except (WebSocketDisconnect, RuntimeError, OSError):  # RuntimeError: after a close
            raise ClientGoneError from None

    async def close(self, code: int = CLOSE_NORMAL, reason: str = "") -> None:
        """Closes the connection; harmless if the client has."""
        if self._websocket.application_state is WebSocketState.DISCONNECTED:
            return
        # A control frame carries 125 bytes, two of them the code.
        shown = reason.encode()[:120].decode(errors="ignore")
        with contextlib.suppress(Exception):
            await within(1.0, self._websocket.close(code, shown))
