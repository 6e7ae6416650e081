"""The systemd unit and the Dockerfiles agree with the program they start."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from front_door import ROOT
from server_testing import Limits

from voxtral_edge.cli.main import build_parser

DEPLOY = ROOT / "deploy"
UNIT = (DEPLOY / "systemd" / "voxtral-edge.service").read_text(encoding="utf-8")


def setting(name: str) -> str:
    return re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)[-1]


def test_time_to_stop() -> None:
    """systemd must not kill a server that lets its sessions finish."""
    assert float(setting("TimeoutStopSec")) > Limits().drain_s + 2
    assert float(setting("WatchdogSec")) > 30, "the scheduler counts as stuck after 30 s"


def test_command_lines_are_valid() -> None:
    """What the unit, its environment file and the Dockerfiles pass to the program is understood by it."""
    environment = (DEPLOY / "systemd" / "serve.env").read_text(encoding="utf-8")
    options = shlex.split(re.findall(r'^VOXTRAL_EDGE_OPTIONS="(.*)"$', environment, re.MULTILINE)[0])
    command = shlex.split(setting("ExecStart").replace("$VOXTRAL_EDGE_OPTIONS", "").replace("%d", "/run/x"))
    assert Path(command[0]).name == "voxtral-edge"
    parsed = build_parser(command[1:]).parse_args([*command[1:], *options])
    assert parsed.command == "serve" and parsed.token_file == "/run/x/token"
    for name in ("cpu", "jetson"):
        text = (DEPLOY / "docker" / f"{name}.Dockerfile").read_text(encoding="utf-8")
        entry = re.findall(r"^ENTRYPOINT \[(.*)\]$", text, re.MULTILINE)[0]
        words = [word.strip().strip('"') for word in entry.split(",")]
        assert build_parser(words[1:]).parse_args(words[1:]).host == "0.0.0.0"
        assert "USER 10001" in text and "STOPSIGNAL SIGTERM" in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """Checked with a program that exists here; every other line is as it is."""
    path = tmp_path / "voxtral-edge.service"
    path.write_text(re.sub(r"^ExecStart=.*$", "ExecStart=/bin/true", UNIT, flags=re.MULTILINE))
    result = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    assert result.returncode == 0 and "voxtral-edge.service" not in result.stderr, result.stderr
