"""The small routes: models, health, metrics, and the page with the microphone."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from voxtral_edge.package_folder import DEMO_MODEL, DEMO_MODEL_KNOWS
from voxtral_edge.server.errors import error_response
from voxtral_edge.server.hub import Hub

_PAGE = Path(__file__).with_name("page.html")


async def models(request: Request) -> Response:
    """OpenAI's list of models: the one that is loaded, under each of its names."""
    hub: Hub = request.app.state.hub
    return JSONResponse({"object": "list", "data": [_model(hub, name) for name in hub.model_names]})


async def model(request: Request) -> Response:
    """One entry of the list."""
    hub: Hub = request.app.state.hub
    name = request.path_params["name"]
    if not hub.knows_model(name):
        return error_response(
            404, f"model {name[:100]!r} does not exist", param="model", code="model_not_found"
        )
    return JSONResponse(_model(hub, name))


def _model(hub: Hub, name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": int(hub.started_at), "owned_by": "voxtral-edge"}


async def live(request: Request) -> Response:
    """200 while the process can do its work at all; a supervisor restarts it otherwise."""
    hub: Hub = request.app.state.hub
    alive = hub.scheduler.alive()
    return JSONResponse({"status": "live" if alive else "stuck"}, 200 if alive else 503)


async def ready(request: Request) -> Response:
    """200 while new sessions are welcome; 503 from the moment the server is told to stop."""
    hub: Hub = request.app.state.hub
    state = "ready" if hub.ready else "draining" if hub.draining.is_set() else "stuck"
    body = {
        "status": state,
        "model": hub.engine.name,
        "sessions": {"open": hub.open_sessions, "limit": hub.limits.sessions},
    }
    return JSONResponse(body, 200 if hub.ready else 503)


async def upgrade_required(request: Request) -> Response:
    """For those who try a WebSocket's address with curl."""
    words = "this is the address of a WebSocket; docs/server.md has a client for each protocol"
    return error_response(426, words, headers={"Upgrade": "websocket", "Connection": "Upgrade"})


async def metrics(request: Request) -> Response:
    """Prometheus's text format."""
    hub: Hub = request.app.state.hub
    hub.metrics.lag.set(hub.scheduler.lag_s())
    return Response(hub.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def page(request: Request) -> Response:
    """The page at `/`. Its only script is allowed by its hash; it loads nothing from anywhere."""
    html = _PAGE.read_text(encoding="utf-8")
    hub: Hub = request.app.state.hub
    html = html.replace("{{model}}", re.sub(r"[^\w./ -]", "", hub.engine.name))
    remark = f" {DEMO_MODEL_KNOWS[0].upper()}{DEMO_MODEL_KNOWS[1:]}." if hub.engine.name == DEMO_MODEL else ""
    html = html.replace("{{remark}}", remark)
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.group(1).encode()).digest()).decode() if script else ""
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}' blob:; worker-src blob:; "
        "style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Permissions-Policy": "microphone=(self)",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }
    return HTMLResponse(html, headers=headers)
