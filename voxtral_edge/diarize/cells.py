"""Cells of speech while their labels can still change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.diarize.segments import seconds_of


@dataclass
class Cell:
    """A piece of speech, first to past-the-end frame: its window's vector, its label (number of a speaker, −1: none
    yet) and the one that was last reported."""

    start: int
    end: int
    begins: bool
    window_start: int
    vector: NDArray[np.float32] | None
    label: int = -1
    reported: int = -1

    @property
    def window_seconds(self) -> float:
        return seconds_of(self.end - self.window_start)

    @property
    def seconds(self) -> float:
        return seconds_of(self.end - self.start)


def thinned(cells: Sequence[Cell]) -> list[Cell]:
    """Every second window of a stretch of speech, and its last: neighbours share three quarters of their audio."""
    chosen: list[Cell] = []
    for index, cell in enumerate(cells):
        last = index + 1 == len(cells) or cells[index + 1].start != cell.end
        if last or not chosen or cell.end - chosen[-1].end >= 80 or cell.window_start >= chosen[-1].end:
            chosen.append(cell)
    return chosen


def one_voice(cells: Sequence[Cell], windows: Sequence[Cell]) -> list[Cell]:
    """Those windows in which, as far as is known, one speaker talks: the vector of two voices is like both, and
    would make them one. `windows` are some of `cells`, in order."""
    result: list[Cell] = []
    index = 0
    for window in windows:
        while cells[index] is not window:
            index += 1
        at, labels = index, set()
        while at >= 0 and cells[at].end > window.window_start:
            labels.add(cells[at].label)
            at -= 1
        if len(labels - {-1}) <= 1:
            result.append(window)
    return result


def cell_scores(cells: Sequence[Cell], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much each cell sounds like each voice, float64 [cells, voices]: the mean cosine of the windows over it, with
    windows that are centred on it counting most. Cells without a window score 0 for everyone."""
    total = np.zeros((len(cells), len(directions)))
    weight = np.zeros(len(cells))
    for index, cell in enumerate(cells):
        if cell.vector is None:
            continue
        cosines = directions @ cell.vector.astype(np.float64)
        centre = (cell.window_start + cell.end) / 2
        half = max(1.0, (cell.end - cell.window_start) / 2)
        at = index
        while at >= 0 and cells[at].end > cell.window_start:
            away = abs((cells[at].start + cells[at].end) / 2 - centre) / half
            share = (1.25 - away) * min(1.0, cell.window_seconds / 1.6)
            total[at] += share * cosines
            weight[at] += share
            at -= 1
    # A cell heard for 0.1 s must not weigh like one of 0.4 s.
    lengths = np.array([min(1.0, cell.seconds / 0.4) for cell in cells])
    return total / np.maximum(weight, 1e-9)[:, None] * lengths[:, None]
