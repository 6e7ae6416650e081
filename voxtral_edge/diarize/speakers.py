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

    known  voices with final speech; they are never given up, but two that turn out to be one person go on as the older
           (`reunite`)
    young  voices of the last clustering, known ones among them; a young speaker who is not known may vanish, and the
           number is free again

    Enrolled voices come from other rooms and microphones. They only give a name to a voice of this stream, which is
    what its speaker is known by from then on.
    """

    def __init__(self, enrolled: dict[str, Voice]) -> None:
        self._names = list(enrolled)
        self._enrolled = list(enrolled.values())
        self._gone: set[int] = set()  # final speech has these numbers, so nobody else may
        self.known: dict[int, Voice] = {}
        self.young: dict[int, Voice] = {}

    def name(self, number: int) -> str:
        """What people call a speaker."""
        enrolled = len(self._enrolled)
        return self._names[number] if number < enrolled else f"S{number - enrolled + 1}"

    def reunite(self, same_speaker: float, seconds: float) -> None:
        """Two unknown people with `seconds` of final speech each, whose voices are the same, are the one with the lower
        number from now on. What is final stays: a voice that was split early is whole again later. Enrolled people
        stay apart, they were said to be different."""
        sure = [
            n for n in sorted(self.known) if n >= len(self._enrolled) and self.known[n].seconds >= seconds
        ]
        for index, number in enumerate(sure):
            for older in sure[:index]:
                if older in self.known and self.known[older].cosine(self.known[number]) >= same_speaker:
                    voice = self.known.pop(number)
                    self.young.pop(number, None)
                    self.known[older].total = self.known[older].total + voice.total
                    self.known[older].seconds += voice.seconds
                    self._gone.add(number)
                    break

    def known_voices(self, memory_seconds: float) -> tuple[list[int], list[Voice]]:
        """Numbers and voices for a clustering."""
        return list(self.known), [voice.limited(memory_seconds) for voice in self.known.values()]

    def regroup(
        self,
        groups: Sequence[Group],
        vectors: NDArray[np.float32],
        seconds: Sequence[float],
        known: tuple[list[int], list[Voice]],
        same_as_enrolled: float,
        windows: Sequence[Cell],
        cells: Sequence[Cell],
    ) -> None:
        """Makes a clustering's groups the young speakers. `windows` are the cells that were clustered, `cells` all
        that may still change; `same_as_enrolled` is the cosine from which on a new voice has an enrolled one's name."""
        numbers, voices = known
        heard: list[Voice] = []
        for group in groups:
            start = voices[group.known] if group.known is not None else Voice(np.zeros(vectors.shape[1]), 0.0)
            voice = Voice(start.total, start.seconds)
            for member in group.members:
                voice.add(vectors[member], seconds[member])
            heard.append(voice)
        identities = {
            index: numbers[group.known] for index, group in enumerate(groups) if group.known is not None
        }
        identities |= self._recognised(heard, set(identities), same_as_enrolled)
        identities |= self._unknown(groups, set(identities), windows, cells)
        self.young = {identities[index]: voice for index, voice in enumerate(heard)}
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

    def _recognised(
        self, heard: Sequence[Voice], taken: Collection[int], same_as_enrolled: float
    ) -> dict[int, int]:
        """The enrolled who are among the new voices, each at most once: index of the voice to number."""
        absent = [number for number in range(len(self._enrolled)) if number not in self.known]
        fresh = [index for index in range(len(heard)) if index not in taken]
        alike = np.array(
            [[heard[index].cosine(self._enrolled[number]) for number in absent] for index in fresh]
        )
        gain = np.maximum(0.0, alike.reshape(len(fresh), len(absent)) - same_as_enrolled)
        return {fresh[row]: absent[column] for row, column in best_pairs(gain) if gain[row, column] > 0}

    def _unknown(
        self, groups: Sequence[Group], taken: Collection[int], windows: Sequence[Cell], cells: Sequence[Cell]
    ) -> dict[int, int]:
        """Numbers of the other new voices: the young speaker they share most speech with, else a new one. Two groups
        are never the same speaker."""
        young = [
            number for number in self.young if number not in self.known and number >= len(self._enrolled)
        ]
        fresh = [index for index in range(len(groups)) if index not in taken]
        shared = np.zeros((len(fresh), len(young)))
        for row, index in enumerate(fresh):
            for member in groups[index].members:
                if windows[member].label in young:
                    shared[row, young.index(windows[member].label)] += windows[member].seconds
        numbers = [young[column] for row, column in best_pairs(shared) if shared[row, column] > 0]
        while len(numbers) < len(fresh):
            numbers.append(self._new(numbers, cells))
        # In order of appearance: where a speaker becomes two, who spoke first keeps the number, not who spoke most.
        return dict(zip(fresh, sorted(numbers), strict=True))

    def _new(self, taken: Collection[int], cells: Sequence[Cell]) -> int:
        """The lowest number that nobody has."""
        used = {*taken, *self.known, *self._gone}
        for cell in cells:
            used.update((cell.label, cell.reported))
        number = len(self._enrolled)
        while number in used:
            number += 1
        return number
