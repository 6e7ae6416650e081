"""Groups of speech windows, one per speaker: average-linkage clustering in which known speakers cannot be merged."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_NEVER = -np.inf


@dataclass
class Voice:
    """Weighted sum of the unit vectors of one speaker's windows; the weight is in seconds. `total @ other.total`
    over both weights is the average cosine between the windows of the two."""

    total: NDArray[np.float64]
    seconds: float

    @property
    def mean(self) -> NDArray[np.float64]:
        """The average vector; shorter than one, the shorter the more its windows differ."""
        return self.total / max(self.seconds, 1e-9)

    @property
    def direction(self) -> NDArray[np.float64]:
        """The average vector with length one."""
        return self.total / max(float(np.linalg.norm(self.total)), 1e-12)

    def add(self, vector: NDArray[np.float32], seconds: float) -> None:
        """Adds one window."""
        self.total = self.total + vector.astype(np.float64) * seconds
        self.seconds += seconds

    def limited(self, seconds: float) -> Voice:
        """The same voice with at most this weight: a voice heard for hours must still follow a change of room."""
        share = min(1.0, seconds / max(self.seconds, 1e-9))
        return Voice(self.total * share, self.seconds * share)


@dataclass
class Group:
    """Windows (by index) that are one speaker. `known` is the index of the known voice in it, or None."""

    members: list[int] = field(default_factory=list)
    known: int | None = None
    seconds: float = 0.0


def group_windows(
    vectors: NDArray[np.float32],
    seconds: Sequence[float],
    known: Sequence[Voice],
    same_speaker: float,
    limit: int,
    heard: int,
    least_seconds: float,
    tentative: Collection[int] = (),
) -> list[Group]:
    """Groups the windows by average cosine.

    vectors        float32 [n, size], unit vectors; `seconds` is the weight of each
    known          voices that are different people: groups that hold two different ones are never made
    same_speaker   groups are merged while their average cosine is at least this
    limit          no more groups than this: the nearest are merged whatever their cosine. The first `heard` known
                   voices count even if they hold no windows, the others only if they do
    least_seconds  what a new group must hold to be a speaker; smaller ones go to the most alike group
    tentative      windows so recent that more of their speaker may follow: a group of only such windows stays, however
                   small

    Groups come in order of their first window. Known voices without windows are left out.
    """
    merging = _Merging(vectors, seconds, known)
    merging.merge_while(same_speaker)
    merging.dissolve_small(least_seconds, frozenset(tentative))
    merging.reduce_to(limit, heard)
    groups = [group for group in merging.groups() if group.members]
    return sorted(groups, key=lambda group: min(group.members))


class _Merging:
    """The groups while they are being merged. Row i of the matrix is group i, or dead."""

    def __init__(
        self, vectors: NDArray[np.float32], seconds: Sequence[float], known: Sequence[Voice]
    ) -> None:
        self._count, self._known = len(vectors), len(known)
        weights = np.array([voice.seconds for voice in known] + list(seconds), dtype=np.float64)
        size = vectors.shape[1] if vectors.ndim == 2 else 0
        means = np.zeros((self._known + self._count, size))
        for row, voice in enumerate(known):
            means[row] = voice.mean
        means[self._known :] = vectors
        self._weights = weights
        self._alike = means @ means.T
        np.fill_diagonal(self._alike, _NEVER)
        self._alike[: self._known, : self._known] = _NEVER
        self._members: dict[int, list[int]] = {
            row: [] if row < self._known else [row - self._known] for row in range(len(weights))
        }
        # Squared lengths of the groups' average vectors.
        self._squares = np.einsum("ij,ij->i", means, means)
        self._held = [0.0] * self._known + [float(value) for value in seconds]

    def merge_while(self, threshold: float) -> None:
        """Merges the most alike pair until it is less alike than `threshold`."""
        alike = self._alike
        if len(alike) < 2:
            return
        # The best partner of each row: finding the best pair is then linear in the number of rows.
        best = alike.argmax(axis=1)
        value = alike[np.arange(len(alike)), best]
        while True:
            row = int(value.argmax())
            if value[row] < threshold or value[row] == _NEVER:
                return
            keep, drop = sorted((row, int(best[row])))
            self._merge(keep, drop)
            value[drop] = _NEVER
            stale = np.flatnonzero((best == keep) | (best == drop))
            stale = np.append(stale, keep)
            best[stale] = alike[stale].argmax(axis=1)
            value[stale] = alike[stale, best[stale]]
            better = alike[:, keep] > value
            best[better], value[better] = keep, alike[better, keep]

    def dissolve_small(self, least_seconds: float, tentative: frozenset[int]) -> None:
        """Gives each new group below `least_seconds` to the most alike larger one, unless it is tentative. If none is
        large enough, the largest is."""
        small = [
            row
            for row in self._members
            if row >= self._known
            and self._held[row] < least_seconds
            and not tentative.issuperset(self._members[row])
        ]
        large = [
            row for row in self._members if row not in small and (self._members[row] or row >= self._known)
        ]
        if not large and small:
            largest = max(small, key=lambda row: (self._held[row], -row))
            small.remove(largest)
            large = [largest]
        targets = large + [row for row in self._members if row < self._known and row not in large]
        # Against the groups as they are now: what is given away must not make a group more attractive.
        given = {row: max(targets, key=lambda target: (self._alike[row, target], -target)) for row in small}
        for row, target in given.items():
            self._merge(target, row)

    def reduce_to(self, limit: int, heard: int) -> None:
        """Merges groups until at most `limit` are left, not counting known voices from `heard` on that hold no
        windows. Two known voices stay apart. The pair is taken whose merging moves the windows least from their
        average (Ward): by likeness alone, a few odd windows would keep a place and two people would share one."""
        while True:
            rows = np.array([row for row in self._members if self._members[row] or row < heard])
            if len(rows) <= limit:
                return
            alike, squares, weights = (
                self._alike[np.ix_(rows, rows)],
                self._squares[rows],
                self._weights[rows],
            )
            apart = squares[:, None] + squares[None, :] - 2 * alike  # infinite where merging is not allowed
            loss = apart * (weights[:, None] * weights[None, :] / (weights[:, None] + weights[None, :]))
            at = int(loss.argmin())
            keep, drop = sorted((int(rows[at // len(rows)]), int(rows[at % len(rows)])))
            if self._alike[keep, drop] == _NEVER:
                return
            self._merge(keep, drop)

    def groups(self) -> list[Group]:
        """What there is now."""
        return [
            Group(sorted(members), row if row < self._known else None, self._held[row])
            for row, members in self._members.items()
        ]

    def _merge(self, keep: int, drop: int) -> None:
        """Group `drop` becomes part of `keep` (a known voice has the lower index, so it is kept)."""
        a, b = self._weights[keep], self._weights[drop]
        cross = 2 * a * b * self._alike[keep, drop]
        self._squares[keep] = (a * a * self._squares[keep] + b * b * self._squares[drop] + cross) / (
            a + b
        ) ** 2
        merged = (a * self._alike[keep] + b * self._alike[drop]) / (a + b)
        merged[keep] = merged[drop] = _NEVER
        if keep < self._known:
            merged[: self._known] = _NEVER
        self._alike[keep, :] = merged
        self._alike[:, keep] = merged
        self._alike[drop, :] = _NEVER
        self._alike[:, drop] = _NEVER
        self._weights[keep] = a + b
        self._held[keep] += self._held[drop]
        self._members[keep].extend(self._members.pop(drop))
