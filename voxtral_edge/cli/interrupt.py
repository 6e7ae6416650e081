"""Ctrl-C that loses nothing: the block that is being computed is finished and its text printed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any, TypeVar

Block = TypeVar("Block")


class Interruptible:
    """While active, the first Ctrl-C ends `blocks()` instead of tearing down the computation; the second one
    raises KeyboardInterrupt. While waiting for input, Ctrl-C takes effect at once.

    interrupted   whether Ctrl-C was pressed
    """

    def __init__(self) -> None:
        self.interrupted = False
        self._waiting = False
        self._previous: Any = None
        self._installed = False

    def __enter__(self) -> Interruptible:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._on_signal)
            self._installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, self._previous)

    def blocks(self, source: Iterable[Block]) -> Iterator[Block]:
        """Passes on the items of `source` until it ends or Ctrl-C is pressed."""
        iterator = iter(source)
        while not self.interrupted:
            try:
                try:
                    self._waiting = True
                    block = next(iterator)
                finally:
                    self._waiting = False
            except (StopIteration, KeyboardInterrupt):  # the signal may come just before the flag is cleared
                return
            yield block

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        again = self.interrupted
        self.interrupted = True
        if again or self._waiting:
            raise KeyboardInterrupt
