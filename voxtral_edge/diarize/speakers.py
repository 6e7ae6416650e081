"""The speakers of one stream: numbers while it runs, names for people, and what their voices are like."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.diarize.assignment import best_pairs
from voxtral_edge.diarize.cells import Cell
from voxtral_edge.diarize.clustering import Group, Voice
from voxtral_edge.diarize.tuning import Tuning


class Speakers:
    """Numbered from 0: first the enrolled, by name, then S1, S2 … as they appear.

    known  voices with final speech, and enrolled ones; they are never given up
    young  voices of the last clustering, known ones among them; a young speaker who is not known may vanish, and the
           number is free again
    """

    def __init__(self, enrolled: dict[str, Voice]) -> None:
        self._names = list(enrolled)
        self._enrolled = len(self._names)
        self.known: dict[int, Voice] = dict(enumerate(enrolled.values()))
        self.young: dict[int, Voice] = {}

    def name(self, number: int) -> str:
        """What people call a speaker."""
        return self._names[number]

    def known_voices(self, memory_seconds: float) -> tuple[list[int], list[Voice], int]:
        """Numbers and voices for a clustering, and how many of them (the first) have been heard: enrolled speakers
        may never be, so they come last."""
        numbers = sorted(self.known, key=lambda number: (number < self._enrolled, number))
        heard = sum(number >= self._enrolled for number in numbers)
        return numbers, [self.known[number].limited(memory_seconds) for number in numbers], heard

    def regroup(
        self,
        groups: Sequence[Group],
        vectors: NDArray[np.float32],
        seconds: Sequence[float],
        known: tuple[list[int], list[Voice], int],
        windows: Sequence[Cell],
        cells: Sequence[Cell],
    ) -> None:
        """Makes a clustering's groups the young speakers. `windows` are the cells that were clustered, `cells` all
        that may still change."""
        numbers, voices, _ = known
        identities = self._identities(groups, numbers, windows, cells)
        self.young = {}
        for group, number in zip(groups, identities, strict=True):
            start = voices[group.known] if group.known is not None else Voice(np.zeros(vectors.shape[1]), 0.0)
            voice = Voice(start.total, start.seconds)
            for member in group.members:
                voice.add(vectors[member], seconds[member])
            self.young[number] = voice
        for number, voice in zip(numbers, voices, strict=True):
            self.young.setdefault(number, voice)

    def remember(self, cell: Cell, pure: bool, tuning: Tuning) -> None:
        """Adds a final cell to the voice of its speaker, who is known from then on. `pure`: nobody else talks in its
        window."""
        voice = self.known.get(cell.label)
        if cell.vector is not None and pure:
            voice = voice or Voice(np.zeros(len(cell.vector)), 0.0)
            voice.add(cell.vector, cell.seconds)
        elif voice is None:
            voice = self.young[cell.label].limited(cell.seconds)
        self.known[cell.label] = voice.limited(10 * tuning.memory_seconds)

    def _identities(
        self, groups: Sequence[Group], numbers: list[int], windows: Sequence[Cell], cells: Sequence[Cell]
    ) -> list[int]:
        """The speaker of each group: a known voice, else the young speaker it shares most speech with, else a new
        one. Two groups are never the same speaker."""
        young = [number for number in self.young if number not in self.known]
        fresh = [index for index, group in enumerate(groups) if group.known is None]
        shared = np.zeros((len(fresh), len(young)))
        for row, index in enumerate(fresh):
            for member in groups[index].members:
                if windows[member].label in young:
                    shared[row, young.index(windows[member].label)] += windows[member].seconds
        same = {fresh[row]: young[column] for row, column in best_pairs(shared) if shared[row, column] > 0}
        result: list[int] = []
        for index, group in enumerate(groups):
            if group.known is not None:
                result.append(numbers[group.known])
            elif index in same:
                result.append(same[index])
            else:
                result.append(self._new({*result, *same.values()}, cells))
        return result

    def _new(self, taken: Collection[int], cells: Sequence[Cell]) -> int:
        """The lowest number that nobody has."""
        used = {*taken, *self.known}
        for cell in cells:
            used.update((cell.label, cell.reported))
        number = self._enrolled
        while number in used:
            number += 1
        if number == len(self._names):
            self._names.append(f"S{number - self._enrolled + 1}")
        return number
