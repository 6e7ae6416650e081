"""Tokens, origins and where the server may listen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from front_door import run_cli
from server_testing import TOKEN, RunningServer, connected, running_server
from websockets.exceptions import InvalidStatus

from voxtral_edge.errors import UsageError
from voxtral_edge.server.security import check_bind, is_loopback, read_token


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(token=TOKEN, origins=("https://home.example",)) as running:
        yield running


@pytest.fixture(scope="module")
def open_server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


def get(server: RunningServer, path: str, **headers: str) -> httpx.Response:
    return httpx.get(server.http + path, headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.parametrize(
    "value",
    ["", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer", f"Basic {TOKEN}", "Bearer \xff\xfe", TOKEN],
)
def test_wrong_tokens(server: RunningServer, value: str) -> None:
    for path in ("/v1/models", "/metrics", "/nothing"):
        answer = httpx.get(server.http + path, headers={"Authorization": value.encode("latin-1")})
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    answer = httpx.post(server.http + "/v1/audio/transcriptions", headers={"Authorization": b"Bearer no"})
    assert answer.status_code == 401


def test_right_token_and_open_paths(server: RunningServer) -> None:
    assert get(server, "/v1/models", Authorization=f"Bearer {TOKEN}").status_code == 200
    assert get(server, "/metrics", Authorization=f"bearer {TOKEN}").status_code == 200
    for path in ("/", "/health", "/health/live", "/health/ready"):
        assert get(server, path).status_code == 200


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/audio/transcriptions/realtime?model=tiny-en", "/x"])
def test_websocket_without_token(server: RunningServer, path: str) -> None:
    async def connect() -> None:
        async with connected(server.ws + path):
            pass

    with pytest.raises(InvalidStatus) as refused:
        asyncio.run(connect())
    assert refused.value.response.status_code == 401
    assert b"bearer token" in refused.value.response.body


def test_token_as_subprotocol(server: RunningServer) -> None:
    """How browsers authenticate: OpenAI's convention. The answer must not repeat the token."""

    async def connect(token: str) -> tuple[str | None, str]:
        protocols = ["realtime", f"openai-insecure-api-key.{token}"]
        async with connected(f"{server.ws}/v1/realtime", subprotocols=protocols) as client:
            return client.connection.subprotocol, (await client.receive())["type"]

    assert asyncio.run(connect(TOKEN)) == ("realtime", "session.created")
    with pytest.raises(InvalidStatus):
        asyncio.run(connect(TOKEN[:-1]))


def test_origins(server: RunningServer, open_server: RunningServer) -> None:
    """Pages of other sites are refused, on HTTP and on WebSockets, with and without a token."""
    authorized = {"Authorization": f"Bearer {TOKEN}"}
    own = f"http://127.0.0.1:{server.port}"
    for origin, status in [
        ("https://evil.example", 403),
        ("null", 403),
        (own, 200),
        ("https://home.example", 200),
    ]:
        answer = httpx.get(server.http + "/v1/models", headers={"Origin": origin, **authorized})
        assert answer.status_code == status, origin

    async def connect(origin: str) -> str:
        async with connected(f"{open_server.ws}/v1/realtime", origin=origin) as client:
            return (await client.receive())["type"]

    assert asyncio.run(connect(f"http://127.0.0.1:{open_server.port}")) == "session.created"
    with pytest.raises(InvalidStatus) as refused:
        asyncio.run(connect("https://evil.example"))
    assert refused.value.response.status_code == 403


def test_headers_that_are_no_addresses(open_server: RunningServer) -> None:
    """Refused like other strangers': a traceback for each would let anybody fill the log."""
    for name, value in [("Origin", "http://["), ("Host", "["), ("Host", "[::1")]:
        answer = httpx.get(open_server.http + "/health", headers={name: value})
        assert answer.status_code == 403, (name, value)


def test_http_at_the_address_of_a_websocket(open_server: RunningServer) -> None:
    answer = httpx.get(open_server.http + "/v1/realtime")
    assert answer.status_code == 426 and "WebSocket" in answer.json()["error"]["message"]


def test_pages_of_an_allowed_origin_may_use_http(server: RunningServer) -> None:
    """Browsers ask first, without the token, and show the page only answers that name its origin."""
    asking = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,x-own",
    }
    url = server.http + "/v1/audio/transcriptions"
    asked = httpx.options(url, headers={"Origin": "https://home.example", **asking})
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == "https://home.example"
    assert "authorization" in asked.headers["access-control-allow-headers"]
    answer = httpx.get(server.http + "/v1/models", headers={"Origin": "https://home.example"})
    assert answer.status_code == 401, "the token is needed all the same"
    assert answer.headers["access-control-allow-origin"] == "https://home.example"
    foreign = httpx.options(url, headers={"Origin": "https://evil.example", **asking})
    assert foreign.status_code == 400 and "access-control-allow-origin" not in foreign.headers


def test_names_that_were_pointed_at_this_machine(open_server: RunningServer) -> None:
    """Without a token a foreign Host is refused: DNS rebinding makes a page its own origin."""
    for host, status in [
        ("evil.example", 403),
        (f"evil.example:{open_server.port}", 403),
        ("localhost", 200),
    ]:
        for scheme in ("http", "https"):  # behind a proxy that ends TLS
            headers = {"Host": host, "Origin": f"{scheme}://{host}"}
            assert httpx.get(open_server.http + "/v1/models", headers=headers).status_code == status, host


def test_page_is_confined(open_server: RunningServer) -> None:
    answer = get(open_server, "/")
    assert "digits, zero to nine, and nothing else." in answer.text and "{{" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "'unsafe-inline'" not in policy.split("style-src")[0]
    assert "http" not in answer.text.split("<script>")[0].split("xmlns")[0], (
        "nothing is loaded from elsewhere"
    )


def test_where_it_may_listen() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8"):
        assert is_loopback(host)
        check_bind(host, "HTTP", False, False)
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org", ""):
        assert not is_loopback(host)
        with pytest.raises(UsageError, match="--insecure"):
            check_bind(host, "HTTP", False, False)
        check_bind(host, "HTTP", True, False)
        check_bind(host, "HTTP", False, True)


def test_command_line_refuses_a_public_bind() -> None:
    for arguments in (["--host", "0.0.0.0"], ["--wyoming", "0.0.0.0:10300"]):
        code, _, err = run_cli("serve", *arguments, "--port", "0", env={"VOXTRAL_EDGE_TOKEN": ""})
        assert code == 2 and "--insecure" in err and len(err.splitlines()) == 1


def test_tokens_come_from_a_file_or_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    assert read_token(str(path), {}) == TOKEN
    assert read_token(None, {"VOXTRAL_EDGE_TOKEN": TOKEN}) == TOKEN
    assert read_token(None, {}) is None
    assert read_token(None, {"VOXTRAL_EDGE_TOKEN": "0123456789abcdef"}) == "0123456789abcdef"
    for bad in ("short", "0123456789abcde", "with a space in it 0123", "ümlaut-ümlaut-ümlaut", ""):
        path.write_text(bad)
        with pytest.raises(UsageError):
            read_token(str(path), {})
    with pytest.raises(UsageError, match="cannot be read"):
        read_token(str(tmp_path / "missing"), {})
