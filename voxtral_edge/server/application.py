"""The ASGI application: routes and the guard in front of them."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from voxtral_edge.server import pages
from voxtral_edge.server.errors import error_response
from voxtral_edge.server.hub import Hub
from voxtral_edge.server.realtime import mistral_realtime, realtime
from voxtral_edge.server.security import Guard
from voxtral_edge.server.transcriptions import transcriptions


def build_application(
    hub: Hub, *, host: str = "127.0.0.1", token: str | None = None, origins: Iterable[str] = ()
) -> ASGIApp:
    """The application for one hub. `host` is where it listens: without a token on loopback, requests for
    other host names are refused."""
    routes = [
        Route("/", pages.page),
        Route("/health", pages.ready),
        Route("/health/live", pages.live),
        Route("/health/ready", pages.ready),
        Route("/metrics", pages.metrics),
        Route("/v1/models", pages.models),
        Route("/v1/models/{name:path}", pages.model),
        Route("/v1/audio/transcriptions", transcriptions, methods=["POST"]),
        Route("/v1/realtime", pages.upgrade_required),
        Route("/v1/audio/transcriptions/realtime", pages.upgrade_required),
        WebSocketRoute("/v1/realtime", realtime),
        WebSocketRoute("/v1/audio/transcriptions/realtime", mistral_realtime),
    ]
    application = Starlette(routes=routes, exception_handlers={404: _missing, 405: _wrong_method})
    application.state.hub = hub
    allowed = [origin.rstrip("/").lower() for origin in origins]
    guarded = Guard(application, hub.metrics, token, host, allowed, hub.limits.header_bytes)
    if not allowed:
        return guarded
    # Outside the guard: browsers ask what they may send without sending the token. Which headers is not for
    # the server to choose: OpenAI's client in a page sends a dozen of its own.
    return CORSMiddleware(
        guarded,
        allow_origins=allowed,
        allow_methods=("GET", "POST"),
        allow_headers=("*",),
        expose_headers=("Retry-After",),
    )


async def _missing(request: Request, error: Exception) -> Response:
    return error_response(
        404, f"there is nothing at {request.url.path[:200]}; docs/server.md lists the addresses"
    )


async def _wrong_method(request: Request, error: Exception) -> Response:
    return error_response(405, f"{request.method} is not possible at {request.url.path[:200]}")
