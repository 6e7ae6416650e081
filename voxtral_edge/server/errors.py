"""Refusals over HTTP, in OpenAI's form, which its clients know how to show."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from voxtral_edge.server.limits import RETRY_AFTER_S


class RequestError(Exception):
    """A request that cannot be served: HTTP status, words for the user, and OpenAI's `param` and `code`."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def response(self) -> Response:
        """The answer."""
        return error_response(self.status, self.message, param=self.param, code=self.code)


def error_response(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """{"error": {"message", "type", "param", "code"}}; 503 says when to come back."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    more = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return JSONResponse(body, status, headers={**more, **(headers or {})})


async def refuse_websocket(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a WebSocket handshake with an HTTP response."""
    await receive()  # websocket.connect
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    await send(
        {
            "type": "websocket.http.response.start",
            "status": response.status_code,
            "headers": response.raw_headers,
        }
    )
    await send({"type": "websocket.http.response.body", "body": response.body})
