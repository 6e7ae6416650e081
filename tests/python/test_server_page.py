"""The page at `/` in a real browser without a window, with a recording as its microphone."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from headless_browser import Tab, browser, debugging, find_browser
from server_testing import TOKEN, expected_text, pcm16, running_server

from voxtral_edge.wer import word_error_rate

pytestmark = pytest.mark.skipif(
    find_browser() is None and not os.environ.get("VOXTRAL_EDGE_REQUIRE_ALL"), reason="no Chromium installed"
)

PCM = pcm16("zero-to-nine.wav")


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording at 48 kHz with silence after it: the browser plays it once and then sends nothing."""
    path = tmp_path_factory.mktemp("audio") / "microphone.wav"
    pcm = np.concatenate([PCM, np.zeros(16000 * 60, dtype=np.int16)])
    loud = soxr.resample(pcm.astype(np.float64) / 32768, 16000, 48000)
    soundfile.write(path, loud, 48000, subtype="PCM_16")
    return path


def test_live_captions(microphone: Path, tmp_path: Path) -> None:
    """Listen, hear the recording in real time, stop: text, words with times, and the two plots."""

    async def use(address: str, http: str) -> dict[str, Any]:
        async with debugging(address) as connection:
            tab = await Tab.open(connection, http)
            await tab.until("document.readyState === 'complete' && !!document.getElementById('start')", 20)
            await tab.value("document.getElementById('start').click()")
            await tab.until("document.getElementById('status').textContent === 'listening'", 20)
            # Ten words, or the recording of nine seconds is over and one was missed.
            await tab.value("window.heardSince = performance.now()")
            await tab.until("words.length >= 10 || performance.now() - window.heardSince > 15000", 60)
            await tab.screenshot(tmp_path / "live.png")
            await tab.value("document.getElementById('start').click()")
            await tab.until("document.getElementById('status').textContent === 'finished'", 20)
            return {
                "text": await tab.value("document.getElementById('text').textContent.trim()"),
                "words": await tab.value("words.map(w => [w.text, w.start, w.end])"),
                "latencies": await tab.value("latencies"),
                "steps": await tab.value("steps.length"),
                "segments": await tab.value("segments.length"),
                "savable": await tab.value("!document.getElementById('save').disabled"),
                "console": tab.console,
            }

    with running_server() as server, browser(microphone, tmp_path) as address:
        seen = asyncio.run(use(address, server.http))
    assert [word[0] for word in seen["words"]] == seen["text"].split()
    # The browser resamples, begins at any sample and may start over: a word or two may be heard otherwise.
    assert word_error_rate(expected_text(PCM), seen["text"]) <= 0.2
    ends = [word[2] for word in seen["words"]]
    assert ends == sorted(ends) and seen["savable"] and seen["segments"] >= 1
    assert len(seen["latencies"]) == len(ends) and seen["steps"] > 50
    assert not seen["console"], "errors, or something the content security policy refused"


def test_token_is_asked_for(microphone: Path, tmp_path: Path) -> None:
    """With a token set, the first try is refused and shows a field; with the token it works."""

    async def use(address: str, http: str) -> None:
        async with debugging(address) as connection:
            tab = await Tab.open(connection, http)
            await tab.until("document.readyState === 'complete' && !!document.getElementById('start')", 20)
            assert await tab.value("document.getElementById('token-label').hidden")
            await tab.value("document.getElementById('start').click()")
            await tab.until("!document.getElementById('token-label').hidden", 20)
            await tab.value(f"document.getElementById('token').value = '{TOKEN}'")
            await tab.value("document.getElementById('start').click()")
            await tab.until("document.getElementById('status').textContent === 'listening'", 20)
            await tab.until("words.length >= 1", 60)

    with running_server(token=TOKEN) as server, browser(microphone, tmp_path) as address:
        asyncio.run(use(address, server.http))
