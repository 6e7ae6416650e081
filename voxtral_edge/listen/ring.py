"""A bounded ring of samples between the thread that captures and the thread that decodes."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray


class PcmRing:
    """One writer, one reader, no lock: each side only moves its own counter, after copying. The writer never waits:
    samples that do not fit are lost, and where and how many is kept for the reader.

    capacity   samples that can wait
    lost       samples that did not fit, in all
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.lost = 0
        self._buffer = np.zeros(capacity, dtype=np.float32)
        self._written = 0  # both counters only grow; Python's integers do not overflow
        self._read = 0
        self._losses: deque[tuple[int, int]] = deque()

    @property
    def offered(self) -> int:
        """Samples that the writer has brought, lost ones included."""
        return self._written + self.lost

    def write(self, samples: NDArray[np.float32]) -> int:
        """Appends samples and returns how many were lost. Called by the writer only; safe in an audio
        callback."""
        free = self.capacity - (self._written - self._read)
        taken = min(free, len(samples))
        at = self._written % self.capacity
        first = min(taken, self.capacity - at)
        self._buffer[at : at + first] = samples[:first]
        self._buffer[: taken - first] = samples[first:taken]
        missing = len(samples) - taken
        if missing:
            self.lost += missing
            self._losses.append((self._written + taken, missing))
        self._written += taken
        return missing

    def __len__(self) -> int:
        """Samples that wait."""
        return self._written - self._read

    def read(self, most: int) -> NDArray[np.float32]:
        """Takes at most `most` of the waiting samples, and never across a loss. Called by the reader only."""
        count = min(most, self._up_to_loss())
        at = self._read % self.capacity
        first = min(count, self.capacity - at)
        taken = np.concatenate([self._buffer[at : at + first], self._buffer[: count - first]])
        self._read += count
        return taken

    def skip(self, most: int) -> int:
        """Forgets at most `most` of the waiting samples, and never across a loss; how many."""
        count = min(most, self._up_to_loss())
        self._read += count
        return count

    def take_loss(self) -> int:
        """The samples that were lost exactly here, between the last read sample and the next; 0: none."""
        if self._losses and self._losses[0][0] == self._read:
            return self._losses.popleft()[1]
        return 0

    def _up_to_loss(self) -> int:
        waiting = self._written - self._read
        return min(waiting, self._losses[0][0] - self._read) if self._losses else waiting
