"""Chromium without a window, driven over its debugging protocol; its microphone is a recording."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websockets

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_START_S = 60.0


def find_browser() -> str | None:
    """The program's path, if one is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def browser(microphone: Path, folder: Path, width: int = 1280, height: int = 860) -> Iterator[str]:
    """A running browser; its debugging address. `microphone` is a WAV file that is played once."""
    program = find_browser()
    assert program is not None
    profile = folder / "profile"
    process = subprocess.Popen(
        [
            program,
            "--headless",
            "--no-sandbox",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-extensions",
            "--disable-gpu",
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}%noloop",
            f"--window-size={width},{height}",
            f"--user-data-dir={profile}",
            "--remote-debugging-port=0",
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield asyncio.run(_debugging_address(profile / "DevToolsActivePort", process))
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


async def _debugging_address(path: Path, process: subprocess.Popen[bytes]) -> str:
    for _ in range(int(_START_S / 0.1)):
        if path.exists() and len(lines := path.read_text().splitlines()) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        assert process.poll() is None, "the browser ended at once"
        await asyncio.sleep(0.1)
    raise AssertionError("the browser did not start")


class Tab:
    """One page in the browser."""

    def __init__(self, connection: Any, session: str) -> None:
        self._connection = connection
        self._session = session
        self._number = 1000
        self.console: list[str] = []

    @classmethod
    async def open(cls, connection: Any, address: str) -> Tab:
        """A new page at `address`."""
        root = cls(connection, "")
        target = await root.call("Target.createTarget", url="about:blank")
        attached = await root.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        tab = cls(connection, attached["sessionId"])
        for domain in ("Runtime", "Log", "Page"):
            await tab.call(f"{domain}.enable")
        await tab.call("Page.navigate", url=address)
        return tab

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command's result; errors and log messages of the page are collected in `console`."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        await self._connection.send(json.dumps(message))
        while True:
            answer = json.loads(await asyncio.wait_for(self._connection.recv(), 30))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
            if answer.get("method") in (
                "Runtime.exceptionThrown",
                "Log.entryAdded",
                "Runtime.consoleAPICalled",
            ):
                self.console.append(json.dumps(answer["params"])[:500])

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression gives."""
        result = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def until(self, expression: str, seconds: float) -> Any:
        """Waits until the expression is true; its value."""
        for _ in range(int(seconds / 0.1)):
            if value := await self.value(expression):
                return value
            await asyncio.sleep(0.1)
        text = await self.value("document.body.innerText")
        raise AssertionError(f"{expression} did not become true; the page says:\n{text}\n{self.console}")

    async def screenshot(self, path: Path) -> None:
        """A picture of the page as PNG."""
        result = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(result["data"]))


def debugging(address: str) -> Any:
    """A connection to the browser."""
    return websockets.connect(address, max_size=None)
