"""Ctrl-C and SIGTERM that lose nothing: what was heard is decoded and written, then the program ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any, TypeVar

Block = TypeVar("Block")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruptible:
    """While active, the first Ctrl-C or SIGTERM is kept in `signal_number`, calls `on_first` and ends `blocks()`
    instead of tearing down the computation. From then on both have their default action: the second one ends the
    process at once, in the middle of a computation too, which no handler of Python's can interrupt.
    """

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        self.signal_number: int | None = None
        self._on_first = on_first
        self._waiting = False
        self._previous: list[Any] = []

    def __enter__(self) -> Interruptible:
        if threading.current_thread() is threading.main_thread():
            self._previous = [signal.signal(number, self._on_signal) for number in _SIGNALS]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in zip(_SIGNALS, self._previous, strict=False):
            signal.signal(number, handler)

    @property
    def interrupted(self) -> bool:
        """Whether a signal came."""
        return self.signal_number is not None

    @property
    def exit_code(self) -> int:
        """The shell's convention: 130 for Ctrl-C, 143 for SIGTERM; 0 without a signal."""
        return 0 if self.signal_number is None else 128 + self.signal_number

    def blocks(self, source: Iterable[Block]) -> Iterator[Block]:
        """Passes on the items of `source` until it ends or a signal comes, which need not wait for the next."""
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
        self.signal_number = number
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        self._on_first()
        if self._waiting:
            raise KeyboardInterrupt
