"""The two WebSocket addresses, and which dialect a client of `/v1/realtime` speaks."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.websockets import WebSocket

from voxtral_edge.engine import delay_tokens
from voxtral_edge.errors import UsageError
from voxtral_edge.server.connection import Connection, DialectError
from voxtral_edge.server.errors import error_response, refuse_websocket
from voxtral_edge.server.hub import BusyError, Hub
from voxtral_edge.server.mistral_dialect import EXTRA_EVENTS, MistralConnection
from voxtral_edge.server.openai_dialect import OpenAiConnection
from voxtral_edge.server.security import SUBPROTOCOL
from voxtral_edge.server.session import Session
from voxtral_edge.server.socket import (
    CLOSE_GOING_AWAY,
    CLOSE_POLICY,
    BadMessageError,
    ClientGoneError,
    CloseError,
    JsonSocket,
)
from voxtral_edge.server.vllm_dialect import VllmConnection


async def realtime(websocket: WebSocket) -> None:
    """`/v1/realtime`: OpenAI's transcription sessions or vLLM's protocol.

    `intent=transcription` in the address means OpenAI. Otherwise the greeting suits both, and the first
    message decides: `session.update` with a `session` object is OpenAI's, with a `model` vLLM's. Anything
    else is OpenAI's if the address names a `model` (as OpenAI's client does), and vLLM's if not.
    """
    hub: Hub = websocket.app.state.hub
    session = await _admit(websocket, hub, "realtime")
    if session is None:
        return
    async with session:
        socket = JsonSocket(websocket, hub.limits, hub.limits.frame_bytes)
        query = websocket.query_params
        transcription = query.get("intent") == "transcription"
        beta = transcription and "realtime=v1" in websocket.headers.get("openai-beta", "")
        openai = OpenAiConnection(socket, hub, session, beta)
        try:
            await _accept(websocket)
            await openai.send_created()
            if transcription:
                await openai.run()
                return
            first = await _first_message(socket, hub)
        except ClientGoneError:
            return
        except CloseError as close:
            hub.metrics.rejected.labels("protocol").inc()
            await socket.close(close.code, close.reason)
            return
        await _choose(first, openai, socket, hub, session, "model" in query).run(first)


async def mistral_realtime(websocket: WebSocket) -> None:
    """`/v1/audio/transcriptions/realtime?model=`."""
    hub: Hub = websocket.app.state.hub
    query = websocket.query_params
    extra = frozenset(name for name in query.get("events", "").split(",") if name in EXTRA_EVENTS)
    session = await _admit(websocket, hub, "mistral")
    if session is None:
        return
    async with session:
        socket = JsonSocket(websocket, hub.limits, hub.limits.mistral_frame_bytes)
        model = query.get("model", "")
        connection = MistralConnection(socket, hub, session, model, extra)
        try:
            await _accept(websocket)
            if not hub.knows_model(model):
                names = ", ".join(hub.model_names)
                words = f"model {model[:100]!r} does not exist; this server has {names}"
                await connection.send_error(DialectError("model_not_found", words), None)
                await socket.close(CLOSE_POLICY, "unknown model")
                return
            await connection.send_created()
        except ClientGoneError:
            return
        await connection.run()


async def _admit(websocket: WebSocket, hub: Hub, protocol: str) -> Session | None:
    """A session with the delay that the address asks for; None if the client has been refused."""
    try:
        delay = websocket.query_params.get("delay_ms")
        tokens = None if delay is None else delay_tokens(int(delay))
        session = hub.open(protocol)
    except BusyError as busy:
        response = error_response(503, str(busy), code=busy.reason)
    except (UsageError, ValueError):
        response = error_response(
            400, f"delay_ms={delay[:20] if delay else ''}: not a valid delay", param="delay_ms"
        )
    else:
        session.configure(delay_tokens=tokens)
        return session
    await refuse_websocket(response, websocket.scope, websocket.receive, websocket.send)
    return None


async def _accept(websocket: WebSocket) -> None:
    offered = websocket.scope.get("subprotocols", [])
    await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)


async def _first_message(socket: JsonSocket, hub: Hub) -> dict[str, Any] | BadMessageError:
    receiving = asyncio.ensure_future(socket.receive())
    draining = asyncio.ensure_future(hub.draining.wait())
    try:
        await asyncio.wait({receiving, draining}, return_when=asyncio.FIRST_COMPLETED)
        if not receiving.done():
            raise CloseError(CLOSE_GOING_AWAY, "the server is shutting down")
        return receiving.result()
    except BadMessageError as error:
        return error
    finally:
        receiving.cancel()
        draining.cancel()


def _choose(
    first: dict[str, Any] | BadMessageError,
    openai: OpenAiConnection,
    socket: JsonSocket,
    hub: Hub,
    session: Session,
    names_model: bool,
) -> Connection:
    is_openai = names_model
    if isinstance(first, dict):
        kind = first.get("type")
        if kind == "transcription_session.update" or (kind == "session.update" and "session" in first):
            is_openai = True
        elif kind == "session.update" and "model" in first:
            is_openai = False
    if is_openai:
        return openai
    return VllmConnection(socket, hub, session)
