"""Groups of speech windows, one per speaker: average-linkage clustering in which known speakers cannot be merged."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_NEVER = -np.inf
# The average vector of little speech lies beside the speaker's: what the cosine of two groups lacks for that is
# DOUBT_SECONDS · (1/a + 1/b) for a and b seconds of speech. SURE_DOUBT of it is in the same-speaker cosine already, so
# that from 7.6 s of each on nothing is allowed for: more speech tells no more about changes of mood or distance.
DOUBT_SECONDS, SURE_DOUBT = 0.34, 0.09
# A voice that is like another but for this much may be the same person in another mood.
NEARLY, VERY_NEARLY = 0.1, 0.05
# Windows that are more alike than different speech of one person is are the same phrase again and again, however many
# they are: the average cosine of two windows is above ALIKENESS + VARIETY_SECONDS / s in 5 % of the stretches of s
# seconds (14 voices; noise changes nothing), so a group counts as at most so much, but as LEAST_VARIETY at least.
ALIKENESS, VARIETY_SECONDS, LEAST_VARIETY = 0.79, 0.21, 2.0


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

    def cosine(self, other: Voice) -> float:
        """Of the average vectors."""
        return float(self.direction @ other.direction)

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


def group_windows(
    vectors: NDArray[np.float32],
    seconds: Sequence[float],
    known: Sequence[Voice],
    same_speaker: float,
    limit: int,
    least_seconds: tuple[float, float, float],
    tentative: Collection[int] = (),
) -> list[Group]:
    """Groups the windows by the cosine of average vectors, with an allowance for groups of little speech.

    vectors        float32 [n, size], unit vectors; `seconds` is the weight of each
    known          voices that are different people: groups that hold two different ones are never made
    same_speaker   groups are merged while their cosine and the allowance come to this
    limit          no more groups than this: the nearest are merged whatever their cosine. Known voices count even if
                   they hold no windows
    least_seconds  how much different speech a new group must hold to be a speaker: (if it is like nobody, if it is
                   like somebody but for less than `NEARLY`, but for less than `VERY_NEARLY`); smaller ones go to the
                   most alike group
    tentative      windows so recent that more of their speaker may follow: a group of only such windows stays, however
                   small

    Groups come in order of their first window. Known voices without windows are left out.
    """
    merging = _Merging(vectors, seconds, known)
    merging.merge_while(same_speaker)
    likenesses = (_NEVER, same_speaker - NEARLY, same_speaker - VERY_NEARLY)
    for least, from_likeness in zip(least_seconds, likenesses, strict=True):
        merging.dissolve_small(least, from_likeness, frozenset(tentative))
    merging.reduce_to(limit)
    groups = [group for group in merging.groups() if group.members]
    return sorted(groups, key=lambda group: min(group.members))


class _Merging:
    """The groups while they are being merged. Row i of the matrix is group i, or dead."""

    def __init__(
        self, vectors: NDArray[np.float32], seconds: Sequence[float], known: Sequence[Voice]
    ) -> None:
        self._known = len(known)
        self._weights = np.array([voice.seconds for voice in known] + list(seconds), dtype=np.float64)
        self._squares = self._weights**2  # sum of the windows' squared weights
        self._different = self._weights.copy()  # seconds of different speech
        totals = np.zeros((len(self._weights), vectors.shape[1]))
        for row, voice in enumerate(known):
            totals[row] = voice.total
        totals[self._known :] = vectors * np.asarray(seconds)[:, None]
        # Inner products of the groups' sums of vectors: where two groups become one, rows and columns are added.
        self._products = totals @ totals.T
        self._apart = np.eye(len(totals), dtype=bool)  # pairs that are never merged
        self._apart[: self._known, : self._known] = True
        self._members: dict[int, list[int]] = {
            row: [] if row < self._known else [row - self._known] for row in range(len(totals))
        }

    def _alike(self, row: int) -> NDArray[np.float64]:
        """How much the other groups are like one, with the allowance; minus infinity where merging is not allowed."""
        lengths = np.sqrt(np.maximum(np.diag(self._products), 1e-24))
        doubt = DOUBT_SECONDS * (1.0 / self._different + 1.0 / self._different[row])
        alike = self._products[row] / (lengths * lengths[row]) + np.maximum(0.0, doubt - SURE_DOUBT)
        return np.where(self._apart[row], _NEVER, alike)

    def merge_while(self, threshold: float) -> None:
        """Merges the most alike pair until it is less alike than `threshold`."""
        if len(self._members) < 2:
            return
        # The best partner of each row: finding the best pair is then linear in the number of rows. Where a merger makes
        # `keep` the best partner of another row, it is enough that the row of `keep` knows.
        alike = np.stack([self._alike(row) for row in range(len(self._weights))])
        best = alike.argmax(axis=1)
        value = alike[np.arange(len(alike)), best]
        while value.max() >= threshold:
            row = int(value.argmax())
            keep, drop = sorted((row, int(best[row])))
            self._merge(keep, drop)
            alike[drop], alike[:, drop] = _NEVER, _NEVER
            alike[keep] = alike[:, keep] = self._alike(keep)
            stale = np.flatnonzero((best == keep) | (best == drop))
            stale = np.append(stale, (keep, drop))
            best[stale] = alike[stale].argmax(axis=1)
            value[stale] = alike[stale, best[stale]]

    def dissolve_small(self, least_seconds: float, from_likeness: float, tentative: frozenset[int]) -> None:
        """Gives each new group below `least_seconds` to the most alike larger one, if it is alike enough, and unless it
        is tentative. If none is large enough, the largest is."""
        small = [
            row
            for row in self._members
            if row >= self._known
            and self._different[row] < least_seconds
            and not tentative.issuperset(self._members[row])
        ]
        large = [
            row for row in self._members if row not in small and (self._members[row] or row >= self._known)
        ]
        if not large and small:
            largest = max(small, key=lambda row: (self._weights[row], -row))
            small.remove(largest)
            large = [largest]
        targets = large + [row for row in self._members if row < self._known and row not in large]
        # Against the groups as they are now: what is given away must not make a group more attractive.
        given: dict[int, int] = {}
        for row in small:
            alike = self._alike(row)[targets]
            if len(targets) and alike.max() >= from_likeness:
                given[row] = targets[int(alike.argmax())]
        for row, target in given.items():
            self._merge(target, row)

    def reduce_to(self, limit: int) -> None:
        """Merges groups until at most `limit` are left. Two known voices stay apart. The pair is taken whose merging
        moves the windows least from their average (Ward): by likeness alone, a few odd windows would keep a place and
        two people would share one."""
        while True:
            rows = np.array(list(self._members))
            if len(rows) <= limit:
                return
            weights = self._weights[rows]
            means = self._products[np.ix_(rows, rows)] / (weights[:, None] * weights)
            squares = np.diag(means)
            loss = (squares[:, None] + squares - 2 * means) / (1 / weights[:, None] + 1 / weights)
            loss[self._apart[np.ix_(rows, rows)]] = np.inf
            at = int(loss.argmin())
            keep, drop = sorted((int(rows[at // len(rows)]), int(rows[at % len(rows)])))
            if self._apart[keep, drop]:
                return
            self._merge(keep, drop)

    def groups(self) -> list[Group]:
        """What there is now."""
        return [
            Group(sorted(members), row if row < self._known else None)
            for row, members in self._members.items()
        ]

    def _merge(self, keep: int, drop: int) -> None:
        """Group `drop` becomes part of `keep` (a known voice has the lower index, so it is kept)."""
        self._products[keep] += self._products[drop]
        self._products[:, keep] += self._products[:, drop]
        self._apart[keep] |= self._apart[drop]
        self._apart[:, keep] = self._apart[keep]
        self._apart[drop], self._apart[:, drop] = True, True
        self._weights[keep] += self._weights[drop]
        self._squares[keep] += self._squares[drop]
        self._members[keep].extend(self._members.pop(drop))
        self._different[keep] = self._weights[keep] if keep < self._known else self._different_seconds(keep)

    def _different_seconds(self, row: int) -> float:
        """How much different speech a group of two windows or more holds, at most."""
        pairs = self._weights[row] ** 2 - self._squares[row]
        alikeness = (self._products[row, row] - self._squares[row]) / pairs
        most = VARIETY_SECONDS / max(alikeness - ALIKENESS, 1e-9)
        return float(min(self._weights[row], max(most, LEAST_VARIETY)))
