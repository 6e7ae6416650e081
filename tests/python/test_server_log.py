"""What the server writes to its log, as a process of its own."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import httpx
import pytest
from front_door import run_cli, start_cli

_UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o640, False), (0o600, False)])
def test_secrets_that_everybody_can_read(tmp_path: Path, mode: int, warned: bool) -> None:
    """A warning with the file's name, and not a word of what is in it."""
    secret = tmp_path / "token"
    secret.write_text("0123456789abcdef")
    secret.chmod(mode)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, err = run_cli("serve", "--port", taken.getsockname()[1], "--token-file", secret)
    assert code == 2 and "Address already in use" in err, err
    assert ("every user" in err) == warned
    assert "0123456789abcdef" not in err


def test_strangers_cannot_fill_the_log() -> None:
    """Refused WebSockets, invalid requests and wrong addresses leave no line."""
    process = start_cli("serve", "--port", "0", env={"VOXTRAL_EDGE_TOKEN": "0123456789abcdef"})
    assert process.stderr is not None
    try:
        address = re.search(rb"http://[\d.:]+", process.stderr.readline())
        assert address
        for _ in range(3):
            refused = httpx.get(address[0].decode() + "/v1/realtime", headers=_UPGRADE)
            assert refused.status_code == 401
            assert httpx.get(address[0].decode() + "/nothing").status_code == 401
            http2 = {"Connection": "Upgrade", "Upgrade": "h2c"}
            assert httpx.get(address[0].decode() + "/health", headers=http2).status_code == 200
            form = {
                "Content-Type": "multipart/form-data; boundary=X",
                "Authorization": "Bearer 0123456789abcdef",
            }
            url = address[0].decode() + "/v1/audio/transcriptions"
            assert httpx.post(url, headers=form, content=b"no form").status_code == 400
    finally:
        process.terminate()
        rest = process.communicate(timeout=30)[1]
    assert process.returncode == 0
    assert b"stopping" in rest and rest.count(b"\n") == 1
