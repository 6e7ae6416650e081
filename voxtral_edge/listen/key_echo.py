"""Keys without traces on a terminal that is drawn in place."""

from __future__ import annotations

import contextlib
import io
import os
import termios
from typing import TextIO

_LOCAL_FLAGS = 3  # index in what tcgetattr returns


class KeyEcho:
    """From now until `restore`, the terminal neither prints what is typed, ^C first of all, nor throws away output that
    is on its way when Ctrl-C is pressed. Either would leave the cursor elsewhere than the next drawing expects it:
    lines twice, or lost.

    Does nothing where `out` is no terminal, or that of another job: a background job that changed it would be stopped.
    """

    def __init__(self, out: TextIO) -> None:
        self._terminal = -1
        with contextlib.suppress(termios.error, OSError, io.UnsupportedOperation):
            terminal = out.fileno()
            if os.tcgetpgrp(terminal) != os.getpgrp():
                return
            self._before = termios.tcgetattr(terminal)
            quiet = list(self._before)
            quiet[_LOCAL_FLAGS] = (quiet[_LOCAL_FLAGS] & ~termios.ECHO) | termios.NOFLSH
            termios.tcsetattr(terminal, termios.TCSANOW, quiet)
            self._terminal = terminal

    def restore(self) -> None:
        """As it was before. Harmless if done twice."""
        if self._terminal < 0:
            return
        with contextlib.suppress(termios.error, OSError):
            if os.tcgetpgrp(self._terminal) == os.getpgrp():
                termios.tcsetattr(self._terminal, termios.TCSANOW, self._before)
        self._terminal = -1
