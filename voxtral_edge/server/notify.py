"""systemd's notification protocol: ready, stopping, and the watchdog's heartbeat."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable


def notify(state: str) -> bool:
    """Sends a state such as READY=1 to systemd; False where no supervisor listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address[0] == "@":  # the abstract name space
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.connect(address)
        connection.sendall(state.encode())
        return True
    return False


def watchdog_interval_s() -> float | None:
    """How often the supervisor wants a sign of life: half its limit, as its manual advises. None: never."""
    text = os.environ.get("WATCHDOG_USEC", "")
    owner = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not text.isdigit() or int(text) == 0 or owner != str(os.getpid()):
        return None
    return int(text) / 1e6 / 2


async def heartbeat(alive: Callable[[], bool]) -> None:
    """Tells the watchdog as long as the event loop runs and `alive` says that the engine does too."""
    interval_s = watchdog_interval_s()
    if interval_s is None:
        return
    while True:
        if alive():
            notify("WATCHDOG=1")
        await asyncio.sleep(interval_s)
