"""Every example runs as its first lines say, and prints what it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from front_door import ROOT, sample_text

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PHONE, PIN, ROOM = (sample_text(name) for name in ("phone-number.flac", "pin.ogg", "room.mp3"))
SERIAL, COUNT = sample_text("serial-numbers.flac"), sample_text("zero-to-nine.wav")
# Lines that must be in the output, and words that must be in it in this order.
EXPECTED = {
    "transcribe_file.py": [SERIAL, "00:00:00,330 --> "],
    "live_captions.py": ["listening to room.mp3", ROOM],
    "live_async.py": ["samples/room.mp3:  0.92 s three", "samples/pin.ogg:  1.00 s nine"],
    "live_callbacks.py": ["word     nine", "caption  ", f"all      {PIN}"],
    "own_audio_loop.py": [PHONE],
    "hotwords.py": [f"without: {COUNT}", "with:    zero one two three four nine six seven eight nine"],
    "faster_whisper_style.py": [" s of audio", "s] zero three six seven"],
    "vosk_style.py": ["… zero one two", f"\n{COUNT}\n"],
    "sherpa_onnx_style.py": [f"samples/pin.ogg: {PIN}", f"samples/phone-number.flac: {PHONE}"],
}


def test_every_example_is_expected_and_listed() -> None:
    assert [path.name for path in EXAMPLES] == sorted(EXPECTED)
    listed = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in listed for path in EXAMPLES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example(path: Path) -> None:
    usage = rf"^ *python examples/{path.name} (.*?)(?:   .*)?$"
    commands = re.findall(usage, path.read_text(encoding="utf-8"), re.MULTILINE)
    arguments = [part.strip('"') for part in re.findall(r'"[^"]*"|\S+', commands[-1])]
    done = subprocess.run(
        [sys.executable, f"examples/{path.name}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for expected in EXPECTED[path.name]:
        assert expected in done.stdout, (expected, done.stdout)


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - {"live_captions.py"}))
def test_without_arguments_an_example_says_how_to_run_it(name: str) -> None:
    done = subprocess.run([sys.executable, f"examples/{name}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and f"python examples/{name} samples/" in done.stderr
    assert "Traceback" not in done.stderr
