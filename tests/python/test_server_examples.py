"""The programs in examples/clients run against a server and print what `transcribe` says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from front_door import ROOT, sample, sample_text
from server_testing import TOKEN, RunningServer, running_server

CLIENTS = ROOT / "examples" / "clients"
RECORDING = "pin.ogg"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(token=TOKEN) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "scheme", "package"),
    [
        ("openai_file.py", "http", "openai"),
        ("openai_realtime.py", "http", "openai"),
        ("vllm_realtime.py", "ws", "websockets"),
        ("mistral_realtime.py", "http", "mistralai"),
        ("wyoming_client.py", "tcp", "wyoming"),
    ],
)
def test_example(server: RunningServer, name: str, scheme: str, package: str) -> None:
    pytest.importorskip(package)
    port = server.wyoming_port if scheme == "tcp" else server.port
    server_option = f"--server={scheme}://127.0.0.1:{port}"
    result = subprocess.run(
        [sys.executable, str(CLIENTS / name), str(sample(RECORDING)), "--fast", server_option],
        env={**os.environ, "VOXTRAL_EDGE_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    printed = " ".join(result.stdout.split())
    assert sample_text(RECORDING) in printed, printed


def test_every_example_is_tested_and_listed() -> None:
    readme = (CLIENTS / "README.md").read_text(encoding="utf-8")
    programs = sorted(path.name for path in CLIENTS.glob("*.py") if path.name != "speech.py")
    assert len(programs) == 5 and all(f"`{name}`" in readme for name in programs)
