"""Who may talk to the server: a bearer token, and for browsers the page's origin."""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from voxtral_edge.errors import UsageError
from voxtral_edge.server.errors import error_response, refuse_websocket
from voxtral_edge.server.limits import Limits
from voxtral_edge.server.metrics import Metrics

TOKEN_VARIABLE = "VOXTRAL_EDGE_TOKEN"
# Browsers cannot set headers on a WebSocket; OpenAI's convention carries the key as a subprotocol.
TOKEN_SUBPROTOCOL = "openai-insecure-api-key."
SUBPROTOCOL = "realtime"
_OPEN_PATHS = ("/", "/health", "/health/live", "/health/ready")
_MIN_TOKEN_CHARACTERS = 16


def read_token(token_file: str | None, environment: Mapping[str, str] | None = None) -> str | None:
    """The token from the file, else from VOXTRAL_EDGE_TOKEN, else None. Not from the command line: other
    users of the machine could read it there. UsageError for a file that cannot be read and for tokens that
    are easily guessed."""
    if token_file is not None:
        try:
            token = Path(token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise UsageError(f"{token_file}: the token cannot be read ({reason})") from error
        where = token_file
    else:
        token = (os.environ if environment is None else environment).get(TOKEN_VARIABLE, "").strip()
        where = TOKEN_VARIABLE
        if not token:
            return None
    if len(token) < _MIN_TOKEN_CHARACTERS or not token.isascii() or any(c.isspace() for c in token):
        raise UsageError(
            f"{where}: a token has at least {_MIN_TOKEN_CHARACTERS} ASCII characters without spaces; "
            "make one with: openssl rand -hex 32"
        )
    return token


def check_bind(host: str, what: str, authenticated: bool, insecure: bool) -> None:
    """UsageError for a listener that strangers could reach without a token, unless --insecure says so."""
    if authenticated or insecure or is_loopback(host):
        return
    raise UsageError(
        f"{what} on {host} would let anybody on the network use it without a token; set {TOKEN_VARIABLE} or "
        "--token-file (HTTP), listen on 127.0.0.1, or accept it with --insecure"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to `host` (a name or an address)."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware: 401 without the token, 403 for pages of other sites, 431 for long headers.

    A browser lets any page open a WebSocket to 127.0.0.1. So a request that carries an Origin must come from
    the host it talks to (or from `origins`), and without a token the Host must be a name of this machine:
    otherwise a page whose DNS name was pointed at 127.0.0.1 would pass as its own.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        token: str | None,
        host: str,
        origins: Iterable[str] = (),  # as browsers write them: https://home.example
        header_bytes: int = Limits.header_bytes,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._token = token.encode() if token else None
        self._host = host
        self._header_bytes = header_bytes
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            refusal = self._refusal(scope)
            if refusal is not None:
                if scope["type"] == "websocket":
                    await refuse_websocket(refusal, scope, receive, send)
                else:
                    await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        # h11 bounds only what it must keep between two reads; headers that come in one piece may be longer.
        if sum(len(name) + len(value) for name, value in headers.raw) > self._header_bytes:
            self._metrics.rejected.labels("headers").inc()
            return error_response(431, f"the headers are longer than {self._header_bytes} bytes")
        if not self._origin_allowed(headers):
            self._metrics.rejected.labels("origin").inc()
            return error_response(
                403, "pages of this origin may not use the server; allow it with --allow-origin"
            )
        if self._token is None and is_loopback(self._host) and not _names_this_machine(headers):
            self._metrics.rejected.labels("host").inc()
            return error_response(
                403,
                "without a token only requests for this machine's own names (localhost, 127.0.0.1) are served; a "
                f"proxy must send such a Host header, or the server be given a token ({TOKEN_VARIABLE})",
            )
        if self._token is None or scope["path"] in _OPEN_PATHS or self._presents_token(headers):
            return None
        self._metrics.rejected.labels("token").inc()
        return error_response(
            401,
            "the bearer token is missing or wrong; send the header Authorization: Bearer TOKEN",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _origin_allowed(self, headers: Headers) -> bool:
        origin, host = headers.get("origin"), headers.get("host", "").lower()
        return origin is None or origin.lower() in {*self._origins, f"http://{host}", f"https://{host}"}

    def _presents_token(self, headers: Headers) -> bool:
        assert self._token is not None
        presented = ""
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            presented = value.strip()
        else:
            for name in headers.get("sec-websocket-protocol", "").split(","):
                if name.strip().startswith(TOKEN_SUBPROTOCOL):
                    presented = name.strip()[len(TOKEN_SUBPROTOCOL) :]
        # Constant time in the presented token; both sides as bytes, since str comparison wants ASCII.
        return hmac.compare_digest(presented.encode("utf-8", "surrogateescape"), self._token)


def _names_this_machine(headers: Headers) -> bool:
    try:
        return is_loopback(urlsplit(f"//{headers.get('host', '')}").hostname or "")
    except ValueError:  # a bracket that is not closed
        return False
