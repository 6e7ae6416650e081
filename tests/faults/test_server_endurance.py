"""One session for hours of audio, sent faster than real time: memory stays flat."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from front_door import start_cli, tiny_engine
from numpy.typing import NDArray
from server_testing import chunks, connected, encoded, pcm16

HOURS = float(os.environ.get("VOXTRAL_EDGE_ENDURANCE_HOURS", "1.0"))


@pytest.mark.slow
def test_hours_through_one_session() -> None:
    """After the first tenth, the server grows by less than 4 MB plus the text itself; the text is that of a
    stream without a server."""
    process = start_cli("serve", "--port", "0", "--threads", "2")
    try:
        assert process.stderr is not None
        line = b""
        while b"listening on" not in line:
            line = process.stderr.readline()
            assert line, "the server did not start"
        port = int(re.search(rb"127\.0\.0\.1:(\d+)", line).group(1))  # type: ignore[union-attr]
        growth, text = asyncio.run(_talk(port, process))
    finally:
        process.terminate()
        assert process.wait(15) == 0
    assert growth < (4 << 20) + 20 * len(text), f"{growth / 1e6:.1f} MB in {HOURS:g} h of audio"
    with tiny_engine().stream() as stream:
        for _ in range(_rounds()):
            stream.feed(_recording())
        stream.finish()
        assert text == stream.text


def _recording() -> NDArray[np.int16]:
    return pcm16("serial-numbers.flac")


def _rounds() -> int:
    return max(20, int(HOURS * 3600 / (len(_recording()) / 16000)))


async def _talk(port: int, process: subprocess.Popen[bytes]) -> tuple[int, str]:
    pieces = [encoded(chunk) for chunk in chunks(_recording().tobytes(), 64000)]
    rounds = _rounds()
    memory = psutil.Process(process.pid).memory_info
    before = 0
    began = time.monotonic()
    async with connected(f"ws://127.0.0.1:{port}/v1/audio/transcriptions/realtime?model=tiny-en") as client:
        await client.receive()

        async def feed() -> None:
            nonlocal before
            for number in range(rounds):
                for piece in pieces:
                    await client.send("input_audio.append", audio=piece)
                if number == rounds // 10:
                    before = memory().rss
            await client.send("input_audio.end")

        feeding = asyncio.ensure_future(feed())
        done = (await client.until("transcription.done"))[-1]
        await feeding
    heard = done["usage"]["prompt_audio_seconds"]
    print(f"{heard / 3600:.1f} h of audio in {time.monotonic() - began:.0f} s", file=sys.stderr)
    growth = memory().rss - before
    print(f"memory grew by {growth / 1e6:.1f} MB", file=sys.stderr)
    return growth, done["text"]
