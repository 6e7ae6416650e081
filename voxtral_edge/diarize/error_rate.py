"""Diarisation error rate (DER), as NIST defines it, computed exactly from the turns' times."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxtral_edge.diarize.assignment import best_pairs
from voxtral_edge.diarize.turns import Turn


@dataclass
class DiarizationErrors:
    """Seconds, summed over recordings. missed: speech that was not found; false_alarm: speech found where nobody
    talks; confused: speech given to the wrong speaker; speech: what there was (overlapping speech counts once per
    speaker)."""

    missed: float = 0.0
    false_alarm: float = 0.0
    confused: float = 0.0
    speech: float = 0.0

    @property
    def rate(self) -> float:
        """Errors per second of speech: 0.1 is a DER of 10 %. Can pass 1. Without speech: 0 or infinity."""
        errors = self.missed + self.false_alarm + self.confused
        if self.speech > 0:
            return errors / self.speech
        return float("inf") if errors > 0 else 0.0

    def add(self, other: DiarizationErrors) -> None:
        """Adds another recording's seconds."""
        self.missed += other.missed
        self.false_alarm += other.false_alarm
        self.confused += other.confused
        self.speech += other.speech


def diarization_errors(
    reference: Sequence[Turn], hypothesis: Sequence[Turn], collar_s: float = 0.0
) -> DiarizationErrors:
    """Errors under the mapping of hypothesis speakers to reference speakers that makes them smallest.

    collar_s  time around every beginning and end of a reference turn, on each side, that is not judged; 0.25 is the
              customary value, 0 the strict one
    """
    times, judged = _moments(reference, hypothesis, collar_s)
    talking = _activity(reference, times)
    found = _activity(hypothesis, times)
    seconds = np.diff(times) * judged
    said = {speaker: active.astype(np.float64) for speaker, active in talking.items()}
    heard = {speaker: active.astype(np.float64) for speaker, active in found.items()}
    count_said = sum(said.values(), np.zeros(len(seconds)))
    count_heard = sum(heard.values(), np.zeros(len(seconds)))
    shared = np.array([[float(np.sum(seconds * a * b)) for b in heard.values()] for a in said.values()])
    shared = shared.reshape(len(said), len(heard))
    said_rows, heard_rows = list(said.values()), list(heard.values())
    correct = np.zeros(len(seconds))
    for row, column in best_pairs(shared):
        correct += said_rows[row] * heard_rows[column]
    return DiarizationErrors(
        missed=float(np.sum(seconds * np.maximum(0, count_said - count_heard))),
        false_alarm=float(np.sum(seconds * np.maximum(0, count_heard - count_said))),
        confused=float(np.sum(seconds * (np.minimum(count_said, count_heard) - correct))),
        speech=float(np.sum(seconds * count_said)),
    )


def _moments(
    reference: Sequence[Turn], hypothesis: Sequence[Turn], collar_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """All times at which anything changes, sorted, and for each stretch between two of them whether it is judged."""
    edges = [edge for turn in reference for edge in (turn.start, turn.end)]
    times = set(edges)
    times.update(edge for turn in hypothesis for edge in (turn.start, turn.end))
    if collar_s > 0:
        times.update(edge + side for edge in edges for side in (-collar_s, collar_s))
    ordered = np.array(sorted(times) if times else [0.0])
    judged = np.ones(max(0, len(ordered) - 1))
    middles = (ordered[1:] + ordered[:-1]) / 2
    if collar_s > 0:
        edges.sort()
        for index, middle in enumerate(middles):
            at = bisect.bisect_left(edges, middle)
            near = [edges[i] for i in (at - 1, at) if 0 <= i < len(edges)]
            judged[index] = float(all(abs(middle - edge) >= collar_s for edge in near))
    return ordered, judged


def _activity(turns: Sequence[Turn], times: np.ndarray) -> dict[str, np.ndarray]:
    """For each speaker, in which of the stretches between `times` they talk."""
    active: dict[str, np.ndarray] = {}
    for turn in turns:
        row = active.setdefault(turn.speaker, np.zeros(max(0, len(times) - 1), dtype=bool))
        row[np.searchsorted(times, turn.start) : np.searchsorted(times, turn.end)] = True
    return active
