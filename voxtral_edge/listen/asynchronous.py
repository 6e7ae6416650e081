"""Live listening for asyncio: the same events, the decoding in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from voxtral_edge.listen.listener import Listener
from voxtral_edge.listen.live_events import ListenEvent

if TYPE_CHECKING:
    from voxtral_edge.engine import Engine

# A consumer that does not keep up makes the decoder wait, as it would in a plain loop.
_QUEUED_EVENTS = 256


async def listen_async(engine: Engine, source: Any = None, **options: Any) -> AsyncIterator[ListenEvent]:
    """Events of a live session as an asynchronous iterator; arguments as in `Engine.listen`. Leaving the loop early, or
    cancelling the task, stops the session and waits for its thread."""
    listener = Listener(engine, source, **options)
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[ListenEvent | BaseException | None] = asyncio.Queue()
    room = threading.Semaphore(_QUEUED_EVENTS)
    left = threading.Event()

    def put(item: ListenEvent | BaseException | None) -> None:
        while not left.is_set() and not room.acquire(timeout=0.1):
            pass
        if not left.is_set():
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def decode() -> None:
        try:
            for event in listener:
                put(event)
                if left.is_set():
                    break
        except BaseException as error:
            put(error)
        else:
            put(None)

    thread = threading.Thread(target=decode, name="voxtral-listen", daemon=True)
    thread.start()
    try:
        while (item := await queue.get()) is not None:
            room.release()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        left.set()
        listener.stop()
        await asyncio.shield(loop.run_in_executor(None, thread.join))
