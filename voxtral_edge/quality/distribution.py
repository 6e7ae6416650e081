"""Next-token distributions kept small, and the Kullback-Leibler divergence of another model from them.

A full vocabulary of 131,072 float32 logits is half a megabyte per token. Kept are the most likely tokens, as many as
leave at most TAIL_MASS to all others, and of those others only their sum and their entropy. The divergence then counts
the others as one token, which can only make it smaller (data processing inequality); by how much at most is known, too.
"""

from __future__ import annotations

import contextlib
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.errors import DeviceError

TAIL_MASS = 1e-6
# At 8 bytes each, an hour of audio (45,000 distributions) takes at most 1.5 GB.
MOST_KEPT = 4096

_SMALLEST = float(np.finfo(np.float64).tiny)

_HEAD = struct.Struct("<Idd")


@dataclass(frozen=True)
class Distribution:
    """ids uint32 [k] and log_p float32 [k], natural logarithms: the most likely tokens, the likeliest first.

    tail      probability of all other tokens together
    entropy   their -sum(p log p), nats
    """

    ids: NDArray[np.uint32]
    log_p: NDArray[np.float32]
    tail: float
    entropy: float


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Natural log probabilities of logits [vocabulary], computed in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max()
    shifted -= np.log(np.exp(shifted).sum())
    return shifted.astype(np.float32)


def reduce(logits: NDArray[np.float32]) -> Distribution:
    """What is kept of finite logits [vocabulary]."""
    log_p = log_softmax(logits)
    count = min(MOST_KEPT, len(log_p))
    top = np.argpartition(log_p, -count)[-count:]
    top = top[np.argsort(-log_p[top], kind="stable")]
    p = np.exp(log_p.astype(np.float64))
    # Summed from the small end: 1 - cumulative sum would leave rounding errors of the size of the tail.
    left = _sum_without(p, top) + np.append(np.cumsum(p[top][::-1])[::-1][1:], 0.0)
    top = top[: np.count_nonzero(left > TAIL_MASS) + 1]
    rest = np.ones(len(p), bool)
    rest[top] = False
    entropy = -float((p[rest] * log_p[rest]).sum())
    return Distribution(top.astype(np.uint32), log_p[top], _sum_without(p, top), entropy)


def divergence(kept: Distribution, logits: NDArray[np.float32]) -> tuple[float, float]:
    """(KL, slack) in nats: the true divergence of softmax(logits) from the kept distribution lies in KL … KL + slack.

    Equal logits on both sides give exactly 0 for KL.
    """
    log_q = log_softmax(logits)
    log_p = kept.log_p.astype(np.float64)
    total = float((np.exp(log_p) * (log_p - log_q[kept.ids])).sum())
    if kept.tail == 0.0:
        return max(0.0, total), 0.0
    q_tail = _sum_without(np.exp(log_q.astype(np.float64)), kept.ids)
    lumped = kept.tail * float(np.log(kept.tail / max(q_tail, _SMALLEST)))
    # The worst case puts all of the tail on the least likely token of the other model.
    worst = -kept.entropy - kept.tail * float(log_q.min())
    return max(0.0, total + lumped), max(0.0, worst - lumped)


def _sum_without(p: NDArray[np.float64], ids: NDArray[np.integer]) -> float:
    others = p.copy()
    others[ids] = 0.0
    return float(others.sum())


class DistributionFile:
    """Distributions on disk, in a file without a name in the folder for temporary files (TMPDIR): written in order,
    read in the same order. DeviceError if the disk refuses."""

    def __init__(self) -> None:
        self.bytes = 0
        try:
            self._file = tempfile.TemporaryFile(prefix="voxtral-edge-")  # noqa: SIM115 - closed by close
        except OSError as error:
            raise _refused(error) from error

    def __enter__(self) -> DistributionFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # a full disk again; nobody reads it any more
            self._file.close()

    def write(self, item: Distribution) -> None:
        """Appends one."""
        data = _HEAD.pack(len(item.ids), item.tail, item.entropy) + item.ids.tobytes() + item.log_p.tobytes()
        try:
            self._file.write(data)
        except OSError as error:
            raise _refused(error) from error
        self.bytes += len(data)

    def read(self) -> Iterator[Distribution]:
        """All of them, from the first."""
        try:
            self._file.seek(0)  # writes what was held back
        except OSError as error:
            raise _refused(error) from error
        while head := self._file.read(_HEAD.size):
            count, tail, entropy = _HEAD.unpack(head)
            data = self._file.read(8 * count)
            ids = np.frombuffer(data, np.uint32, count)
            yield Distribution(ids, np.frombuffer(data, np.float32, count, 4 * count), tail, entropy)


def _refused(error: OSError) -> DeviceError:
    return DeviceError(
        f"{tempfile.gettempdir()}: cannot hold the first model's probabilities ({error.strerror}); set TMPDIR to a "
        "folder with more space, or compare fewer recordings at once"
    )
