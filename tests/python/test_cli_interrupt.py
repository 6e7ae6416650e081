"""`voxtral-edge transcribe` while it runs: live text, signals, readers that go away."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import soundfile
from front_door import raw_pcm, sample, sample_text, start_cli, start_python

from voxtral_edge.audio import read_audio
from voxtral_edge.cli.interrupt import Interruptible

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def wait_for(
    process: subprocess.Popen[bytes], wanted: bytes, patience_s: float = 60.0, stream: IO[bytes] | None = None
) -> bytes:
    """What the process has printed, on standard output or another `stream`, once it includes `wanted`; fails if it
    ends or stalls before."""
    stream = stream or process.stdout
    assert stream is not None
    printed = b""
    give_up = time.monotonic() + patience_s
    while wanted not in printed:
        assert time.monotonic() < give_up, f"still waiting for {wanted!r} after {printed!r}"
        if select.select([stream], [], [], 0.2)[0]:
            piece = os.read(stream.fileno(), 4096)
            assert piece, f"ended after {printed!r}"
            printed += piece
    return printed


def waiting_bytes(pipe: IO[bytes]) -> int:
    """What the reader has not taken out of a pipe."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_text_appears_while_audio_still_arrives() -> None:
    data = raw_pcm("serial-numbers.flac")
    process = start_cli("transcribe", "-", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(data[: 2 * 16000 * 6])
    process.stdin.flush()
    early = wait_for(process, b"seven eight")  # within the six seconds, while the pipe stays open
    assert b"nine one" not in early
    out, err = process.communicate(data[2 * 16000 * 6 :], timeout=60)
    assert process.returncode == 0, err
    assert (early + out).decode() == sample_text("serial-numbers.flac") + "\n"


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("file_format", ["txt", "srt"])
def test_a_signal_ends_a_live_transcription_and_keeps_its_last_words(
    number: int, file_format: str, tmp_path: Path
) -> None:
    """Audio up to 2.6 s: "six" ends 0.2 s before, so it is still behind the delay when the signal comes. As srt it
    goes to a file, which is written whole."""
    out_file = tmp_path / "out.srt"
    arguments = [] if file_format == "txt" else ["--format", "srt", "-o", out_file]
    process = start_cli("transcribe", "-", *arguments, stdin=subprocess.PIPE)
    assert process.stdin is not None and process.stderr is not None
    process.stdin.write(raw_pcm("room.mp3")[: 2 * int(2.6 * 16000)])
    process.stdin.flush()
    early = wait_for(process, b"zero") if file_format == "txt" else b""
    while file_format == "srt" and waiting_bytes(process.stdin):
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert b"Traceback" not in err
    if file_format == "txt":
        assert (early + out).decode() == "three zero six\n"
    else:
        assert out_file.read_text().endswith("three zero six\n")
        assert [path.name for path in tmp_path.iterdir()] == ["out.srt"]


@pytest.mark.parametrize("numbers", [SIGNALS, SIGNALS[::-1], SIGNALS[:1] * 2, SIGNALS[1:] * 2])
@pytest.mark.parametrize("command", [["transcribe", "-"], ["listen", "--format", "jsonl", "--input", "-"]])
def test_the_second_signal_ends_the_process_at_once(
    command: list[str], numbers: list[int], tmp_path: Path
) -> None:
    """Even in the middle of native code: the engine here takes a minute for the last words."""
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import sys, time\n"
        "from voxtral_edge import stream\n"
        "from voxtral_edge.cli.main import main\n"
        "def finish(self):\n"
        "    sys.stderr.write('finishing\\n')\n"
        "    sys.stderr.flush()\n"
        "    import ctypes\n"
        "    ctypes.PyDLL(None).usleep(60_000_000)\n"  # with the interpreter held: no handler of Python's can run
        "stream.Stream.finish = finish\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    process = start_python(slow, *command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(raw_pcm("pin.ogg"))
    process.stdin.flush()
    wait_for(process, b"n")
    process.send_signal(numbers[0])
    wait_for(process, b"finishing", stream=process.stderr)
    process.send_signal(numbers[1])
    assert process.wait(timeout=30) == -numbers[1]


def test_ctrl_c_while_a_long_file_is_transcribed(tmp_path: Path) -> None:
    long = np.tile(read_audio(sample("serial-numbers.flac")), 60)
    soundfile.write(tmp_path / "long.wav", long, 16000)
    process = start_cli("transcribe", tmp_path / "long.wav", "--threads", 1)
    early = wait_for(process, b"three")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    printed = (early + out).decode()
    assert process.returncode == 130
    assert printed.endswith("\n") and len(printed.split()) < 27 * 60
    assert b"Traceback" not in err


def test_ctrl_c_leaves_no_half_written_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.tile(read_audio(sample("serial-numbers.flac")), 60), 16000)
    (tmp_path / "out.txt").write_text("before")
    process = start_cli(
        "transcribe", tmp_path / "long.wav", "--threads", 1, "-o", tmp_path / "out.txt", "--progress"
    )
    assert process.stderr is not None
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    if process.returncode == 130:  # else it was done before the signal came
        assert (tmp_path / "out.txt").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.wav", "out.txt"]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_lets_a_block_finish(number: int) -> None:
    seen, before = [], [signal.getsignal(each) for each in SIGNALS]
    with Interruptible() as interruptible:
        for block in interruptible.blocks(range(5)):
            if block == 1:
                signal.raise_signal(number)
            seen.append(block)
        assert seen == [0, 1] and interruptible.interrupted and interruptible.exit_code == 128 + number
        assert [signal.getsignal(each) for each in SIGNALS] == [signal.SIG_DFL] * 2  # a second one ends it
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_ctrl_c_while_waiting_for_input_takes_effect_at_once() -> None:
    def silent_microphone():
        yield 0
        signal.raise_signal(signal.SIGINT)
        yield 1

    with Interruptible() as interruptible:
        assert list(interruptible.blocks(silent_microphone())) == [0]
        assert interruptible.interrupted


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = start_cli("transcribe", *["samples/pin.ogg"] * 30)
    wait_for(process, b"==>")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=60) == 0
    assert err == b""


def test_ctrl_c_leaves_no_trace_on_a_narrow_terminal() -> None:
    """The status line fills all 60 columns: an echoed ^C would wrap, and lines would be drawn in the wrong place."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS="60", LINES="20")
        words = ["listen", "--input", str(sample("serial-numbers.flac"))]
        os.execv(sys.executable, [sys.executable, "-m", "voxtral_edge", *words])
    shown = b""
    while b"zero three" not in shown:  # "zero" alone is in what the demo model says of itself
        shown += os.read(terminal, 4096)
    assert not termios.tcgetattr(terminal)[3] & termios.ECHO
    os.write(terminal, b"\x03")
    while b"heard 0:" not in shown:
        shown += os.read(terminal, 4096)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    assert termios.tcgetattr(terminal)[3] & termios.ECHO
    os.close(terminal)
    assert b"^C" not in shown and b"Traceback" not in shown
