"""Shared by the tests of the public face: paths, sample recordings, the bundled engine, and the command
line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import voxtral_edge as ve
from voxtral_edge.audio import read_audio

ROOT = Path(__file__).resolve().parents[2]
SAMPLES_DIR = ROOT / "samples"
CHECKPOINT = ROOT / "checkpoints" / "tiny-en"

# Started like the installed script: the checkout in the current folder must not hide the installed package.
_LAUNCH = (
    "import os, sys; sys.path[:] = [p for p in sys.path if p not in ('', os.getcwd())];"
    "from voxtral_edge.cli.main import main; sys.exit(main())"
)


def samples() -> list[dict[str, Any]]:
    """The entries of samples.json: file, text, sample_rate_hz, channels."""
    return json.loads((SAMPLES_DIR / "samples.json").read_text(encoding="utf-8"))["samples"]


def sample(name: str) -> Path:
    """The path of a sample recording."""
    return SAMPLES_DIR / name


def sample_text(name: str) -> str:
    """What is said in a sample recording."""
    return next(entry["text"] for entry in samples() if entry["file"] == name)


@lru_cache(maxsize=1)
def tiny_engine() -> ve.Engine:
    """The bundled demo model on the native engine, loaded once per test process."""
    return ve.load("tiny-en", threads=2)


def raw_pcm(name: str) -> bytes:
    """A sample as headerless s16le at 16 kHz."""
    return (read_audio(sample(name)) * 32767).astype("<i2").tobytes()


def start_cli(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    """Starts `voxtral-edge ARGUMENTS…` in a process of its own."""
    return start_python("-c", _LAUNCH, *arguments, **options)


def start_python(*arguments: object, cwd: Path = ROOT, **options: Any) -> subprocess.Popen[bytes]:
    """Starts Python with `arguments`, its streams piped; no standard input unless `stdin` is given."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONUNBUFFERED": "", **options.pop("env", {})},
        stdin=options.pop("stdin", subprocess.DEVNULL),
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=options.pop("stderr", subprocess.PIPE),
        **options,
    )


def run_cli(
    *arguments: object, data: bytes | None = None, cwd: Path = ROOT, **options: Any
) -> tuple[int, str, str]:
    """Runs `voxtral-edge ARGUMENTS…` to its end; (exit code, standard output, standard error)."""
    if data is not None:
        options["stdin"] = subprocess.PIPE
    process = start_cli(*arguments, cwd=cwd, **options)
    out, err = process.communicate(data, timeout=120)
    return process.returncode, out.decode("utf-8"), err.decode("utf-8")
