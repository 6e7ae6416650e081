"""The loop that every realtime WebSocket dialect shares: one task reads messages, one sends updates."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
import secrets
from abc import ABC, abstractmethod
from typing import Any

from voxtral_edge.errors import VoxtralEdgeError
from voxtral_edge.server.hub import Hub
from voxtral_edge.server.lane import Failure
from voxtral_edge.server.session import Session, Update
from voxtral_edge.server.socket import (
    CLOSE_GOING_AWAY,
    CLOSE_INTERNAL,
    CLOSE_NORMAL,
    CLOSE_POLICY,
    CLOSE_TOO_BIG,
    BadMessageError,
    ClientGoneError,
    CloseError,
    JsonSocket,
)

log = logging.getLogger("voxtral_edge.server")


class DialectError(Exception):
    """A message that is refused; the connection stays open. `code` is the dialect's own."""

    def __init__(self, code: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


class Connection(ABC):
    """One client. Subclasses translate `on_message` and `on_update`, and say errors in their own words."""

    frame_bytes: int

    def __init__(self, socket: JsonSocket, hub: Hub, session: Session) -> None:
        self.socket = socket
        self.hub = hub
        self.session = session
        self.errors = 0
        self.done = asyncio.Event()  # the dialect has nothing more to say

    @abstractmethod
    async def on_message(self, message: dict[str, Any]) -> None:
        """Handles one client message; raises DialectError to refuse it."""

    @abstractmethod
    async def on_update(self, update: Update) -> None:
        """Sends what became known."""

    @abstractmethod
    async def send_error(self, error: DialectError, message: dict[str, Any] | None) -> None:
        """Tells the client; `message` is the one that was refused, if it could be read."""

    @abstractmethod
    def end_utterance(self) -> bool:
        """The server is going down: ends the open utterance. False if there is none."""

    async def run(self, first: dict[str, Any] | BadMessageError | None = None) -> None:
        """Serves the client until either side ends. `first` is a message that was read before the dialect was
        known."""
        code, reason = CLOSE_NORMAL, ""
        tasks = [
            asyncio.ensure_future(self._read(first)),
            asyncio.ensure_future(self._write()),
            asyncio.ensure_future(self._drain()),
            asyncio.ensure_future(self.done.wait()),
        ]
        try:
            done, _ = await asyncio.wait(
                tasks, timeout=self.hub.limits.session_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                raise CloseError(CLOSE_POLICY, "the session has reached its time limit")
            for task in done:
                task.result()
            code = CLOSE_GOING_AWAY if self.hub.draining.is_set() else CLOSE_NORMAL
        except ClientGoneError:
            pass
        except CloseError as close:
            code, reason = close.code, close.reason
            if code in (CLOSE_POLICY, CLOSE_TOO_BIG):
                self.hub.metrics.rejected.labels("protocol").inc()
        except Exception as error:
            code, reason = CLOSE_INTERNAL, await self._internal_error(error)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.socket.close(code, reason)

    async def _read(self, first: dict[str, Any] | BadMessageError | None) -> None:
        while True:
            message: dict[str, Any] | None = None
            try:
                if isinstance(first, BadMessageError):
                    raise first
                message = (
                    first if first is not None else await self.socket.receive(lambda: self.session.pending)
                )
                first = None
                await self.session.room_for_marks()
                await self.on_message(message)
            except BadMessageError as error:
                first = None
                await self._refuse(DialectError("invalid_json", str(error)), None)
            except DialectError as error:
                await self._refuse(error, message)
            except VoxtralEdgeError as error:
                await self._refuse(DialectError("invalid_value", str(error)), message)

    async def _refuse(self, error: DialectError, message: dict[str, Any] | None) -> None:
        self.errors += 1
        await self.send_error(error, message)
        if self.errors >= self.hub.limits.protocol_errors:
            raise CloseError(CLOSE_POLICY, "too many refused messages")

    async def _write(self) -> None:
        async for update in self.session.updates():
            if update.failure is not None:
                await self.send_error(_failure_words(update.failure), None)
                raise CloseError(CLOSE_INTERNAL, f"internal error {update.failure.error_id}")
            await self.on_update(update)

    async def _drain(self) -> None:
        await self.hub.draining.wait()
        if self.end_utterance():
            await self.done.wait()
        raise CloseError(CLOSE_GOING_AWAY, "the server is shutting down")

    async def _internal_error(self, error: Exception) -> str:
        error_id = "err_" + secrets.token_hex(6)
        log.error("session %s failed, error id %s", self.session.name, error_id, exc_info=error)
        self.hub.metrics.failures.inc()
        with contextlib.suppress(Exception):
            await self.send_error(_failure_words(Failure(error_id, "internal error")), None)
        return f"internal error {error_id}"


def _failure_words(failure: Failure) -> DialectError:
    return DialectError("internal_error", f"{failure.message} (error id {failure.error_id})")


def decode_audio(message: dict[str, Any], most_bytes: int) -> bytes:
    """The bytes of a message's `audio`. DialectError "invalid_audio" if it is no base64 or empty; CloseError
    if it is larger than the dialect allows."""
    text = message.get("audio")
    if not isinstance(text, str):
        raise DialectError("invalid_audio", "audio must be a string of base64", param="audio")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise DialectError("invalid_audio", "audio is not valid base64", param="audio") from None
    if not data:
        raise DialectError("invalid_audio", "audio is empty", param="audio")
    if len(data) > most_bytes:
        raise CloseError(CLOSE_TOO_BIG, f"{len(data)} bytes of audio in one message; {most_bytes} at most")
    return data
