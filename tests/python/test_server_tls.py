"""https and wss with a certificate of our own making."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
from front_door import run_cli, start_cli
from server_testing import WAIT_S, connected, expected_text, pcm16, running_server, vllm_utterance

from voxtral_edge.server.limits import Limits


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", *files],
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem", folder / "key.pem"


def test_encrypted(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    process = start_cli("serve", "--port", "0", "--tls-cert", cert, "--tls-key", key)
    try:
        assert process.stderr is not None
        found = None
        while found is None:
            line = process.stderr.readline()
            assert line, "the server did not start"
            found = re.search(rb"https://127\.0\.0\.1:(\d+)", line)
        port = int(found.group(1))
        trust = ssl.create_default_context(cafile=str(cert))
        assert httpx.get(f"https://127.0.0.1:{port}/health", verify=trust, timeout=WAIT_S).status_code == 200

        async def talk() -> str:
            async with connected(f"wss://127.0.0.1:{port}/v1/realtime", ssl=trust) as client:
                await client.receive()
                return (await vllm_utterance(client, pcm16("pin.ogg").tobytes()))[-1]["text"]

        assert asyncio.run(talk()) == expected_text(pcm16("pin.ogg"))
    finally:
        process.terminate()
        assert process.wait(15) == 0


def test_strangers_that_do_not_shake_hands(certificate: tuple[Path, Path]) -> None:
    """They count as connections, and have as long as a request's headers: then others are served again."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    with running_server(limits=Limits(connections=4, header_s=1.0), tls=context) as server:
        strangers = [
            socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S / 2) for _ in range(20)
        ]
        strangers[0].sendall(b"GET / HTTP/1.1\r\n\r\n")  # no TLS
        for stranger in strangers:
            with stranger, contextlib.suppress(ConnectionResetError):
                while stranger.recv(1024):  # what TLS says of it, if anything; then the end
                    pass
        answer = httpx.get(f"https://127.0.0.1:{server.port}/health", verify=trust, timeout=WAIT_S)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tls-cert", "missing.pem"], "belong together"),
        (["--tls-cert", "missing.pem", "--tls-key", "missing.pem"], "cannot be read"),
        (["--tls-cert", "README.md", "--tls-key", "README.md"], "not a PEM certificate chain"),
        (["--allow-origin", "http://["], "scheme and host"),
        (["--allow-origin", "home.example"], "--allow-origin home.example"),
        (["--allow-origin", "https://home.example/page"], "scheme and host"),
        (["--sessions", "0"], "--sessions"),
        (["--upload-mib", "-1"], "--upload-mib"),
        (["--wyoming", "nonsense"], "HOST:PORT"),
        (["--wyoming", "127.0.0.1:99999"], "HOST:PORT"),
        (["--port", "99999"], "--port"),
        (["--delay-ms", "481"], "481"),
        (["--host", "not.a.host.invalid", "--insecure"], "cannot listen"),
        (["--token-file", "missing"], "cannot be read"),
    ],
)
def test_wrong_options(arguments: list[str], words: str) -> None:
    """Exit code 2 and one line, before a model is loaded."""
    code, out, err = run_cli("serve", "--port", "0", *arguments, env={"VOXTRAL_EDGE_TOKEN": ""})
    assert code == 2 and out == ""
    assert words in err and len(err.splitlines()) == 1, err


def test_an_address_in_use_is_wrong_usage() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for options in (["--port", port], ["--port", 0, "--wyoming", f"127.0.0.1:{port}"]):
            code, _, err = run_cli("serve", *options)
            assert code == 2 and f"cannot listen on 127.0.0.1 port {port}: Address already in use" in err
