"""Sources that the tests of live listening control sample by sample."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.listen.ring import PcmRing


class ScriptedSource:
    """Writes `at_once` when started, whether it fits or not, and the pieces of `later` one by one whenever
    the test
    (or a patched decoder) calls `deliver`."""

    def __init__(
        self, at_once: NDArray[np.float32], rate_hz: int = 16_000, later: Iterable[NDArray[np.float32]] = ()
    ) -> None:
        self.name = "script"
        self.rate_hz = rate_hz
        self.overruns = 0
        self.ended = False
        self.stopped = 0
        self.error: Exception | None = None
        self._at_once = at_once
        self._later = list(later)
        self._ring: PcmRing | None = None

    def start(self, ring: PcmRing) -> None:
        self._ring = ring
        ring.write(self._at_once.astype(np.float32))
        self.ended = not self._later

    def deliver(self) -> None:
        assert self._ring is not None
        if self._later:
            self._ring.write(self._later.pop(0).astype(np.float32))
        self.ended = not self._later

    def stop(self) -> None:
        self.stopped += 1
        self.ended = True
