"""docs/server.md: its programs run, its limits are the server's, its addresses exist."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from front_door import ROOT, sample_text
from server_testing import WAIT_S, RunningServer, running_server

from voxtral_edge.server.limits import KIB, MIB, Limits

TEXT = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


@pytest.mark.parametrize(
    "program", PROGRAMS, ids=lambda program: re.findall(r"openai|websockets|mistralai", program)[0]
)
def test_programs_run(server: RunningServer, program: str) -> None:
    """As they are printed, but for the port."""
    package = re.findall(r"openai|websockets|mistralai", program)[0]
    pytest.importorskip(package)
    code = program.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == sample_text("zero-to-nine.wav")


def test_there_is_a_program_for_every_protocol() -> None:
    assert len(PROGRAMS) == 5


def test_limits_table() -> None:
    limits = Limits()
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", TEXT[TEXT.index("## Limits") :], re.MULTILINE))
    stated = {
        "sessions, all protocols together": [limits.sessions],
        "connections per listener": [limits.connections],
        "decoded audio in a message": [limits.frame_bytes // KIB, limits.mistral_frame_bytes // KIB],
        "message without audio": [limits.control_bytes // KIB],
        "TLS handshake": [limits.header_s],
        "request headers": [limits.header_bytes // KIB, limits.header_s],
        "request body": [limits.upload_bytes // MIB, limits.upload_s],
        "form": [limits.form_fields, limits.field_bytes // KIB, limits.reference_bytes // MIB],
        "time to the first message": [limits.first_message_s],
        "time between messages": [limits.idle_s],
        "length of a session": [limits.session_s / 3600],
        "refused messages per connection": [limits.protocol_errors],
        "audio waiting for the engine, per session": [limits.queued_audio_s],
        "events waiting for the client, per session": [limits.queued_events],
        "unread bytes per connection": [limits.send_buffer_bytes // KIB] * 2,
        "shutting down": [limits.drain_s],
    }
    assert set(rows) - {"limit", "---"} == set(stated)
    for name, numbers in stated.items():
        assert [float(number) for number in re.findall(r"\d+", rows[name])] == [float(n) for n in numbers], (
            name
        )


def test_addresses_and_metrics_exist(server: RunningServer) -> None:
    for path in (
        "/",
        "/health",
        "/health/ready",
        "/health/live",
        "/v1/models",
        "/v1/models/tiny-en",
        "/metrics",
    ):
        assert httpx.get(server.http + path, timeout=WAIT_S).status_code == 200
    exposed = httpx.get(server.http + "/metrics", timeout=WAIT_S).text
    for name in re.findall(r"`((?:voxtral_edge|process)_\w+)", TEXT[TEXT.index("## Metrics") :]):
        assert name in exposed, name
