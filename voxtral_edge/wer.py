"""Word error rate: text normalisation and edit distance, as used by the benchmarks and the tests."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.line_breaks import is_unspaced

_LONE_APOSTROPHE = re.compile(r"(?<!\w)'+|'+(?!\w)")


def normalize(text: str) -> str:
    """Lower case, curly apostrophes made straight, everything but letters, their marks, digits and inner
    apostrophes dropped, single spaces. Han and kana stand alone, as Chinese and Japanese error rates count them.
    Numbers are not spelled out: references must be written as the model writes."""
    text = unicodedata.normalize("NFC", text).lower().replace("’", "'").replace("‘", "'")
    return " ".join(_LONE_APOSTROPHE.sub(" ", "".join(map(_kept, text))).split())


def _kept(character: str) -> str:
    if character.isalnum():
        return f" {character} " if is_unspaced(character) else character
    # Vowel signs of Devanagari and Arabic are marks, not letters.
    return character if character == "'" or unicodedata.category(character)[0] == "M" else " "


def edit_distance(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> int:
    """The least number of substitutions, insertions and deletions that turn one sequence into the other."""
    return int(_last_row(*_numbered(reference, hypothesis))[-1])


def aligned_indices(
    reference: Sequence[Hashable], heard: Sequence[Hashable]
) -> list[tuple[int | None, int | None]]:
    """A cheapest alignment as pairs of indices, in order; None stands for nothing said or nothing written.

    Needs memory for one row only: the middle of the path is found from both sides, then each half is aligned
    (Hirschberg 1975). A second for the 9,000 words of an hour.
    """
    pairs: list[tuple[int | None, int | None]] = []
    left, right = _numbered(reference, heard)
    waiting = [(0, len(left), 0, len(right))]
    while waiting:
        top, bottom, begin, end = waiting.pop()
        if bottom - top <= 1:
            pairs += _align_one(left, top, bottom, right, begin, end)
            continue
        middle = (top + bottom) // 2
        above = _last_row(left[top:middle], right[begin:end])
        below = _last_row(left[middle:bottom][::-1], right[begin:end][::-1])[::-1]
        cut = begin + int(np.argmin(above + below))
        waiting += [(middle, bottom, cut, end), (top, middle, begin, cut)]
    return pairs


def _numbered(*sequences: Sequence[Hashable]) -> list[NDArray[np.int64]]:
    """The sequences with equal things as equal numbers."""
    numbers: dict[Hashable, int] = {}
    return [np.array([numbers.setdefault(thing, len(numbers)) for thing in s], np.int64) for s in sequences]


def _align_one(
    left: NDArray[np.int64], top: int, bottom: int, right: NDArray[np.int64], begin: int, end: int
) -> list[tuple[int | None, int | None]]:
    """`aligned_indices` of no word, or one, with right[begin:end]."""
    if top == bottom or begin == end:
        alone: list[tuple[int | None, int | None]] = [(i, None) for i in range(top, bottom)]
        return alone + [(None, j) for j in range(begin, end)]
    equal = np.flatnonzero(right[begin:end] == left[top])
    partner = begin + int(equal[0]) if len(equal) else begin
    return [(top if j == partner else None, j) for j in range(begin, end)]


def _last_row(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Edit distances of `left` to every beginning of `right`, int64 [len(right) + 1]."""
    steps = np.arange(len(right) + 1)
    row = steps.copy()
    for word in left:
        best = row + 1
        best[1:] = np.minimum(best[1:], row[:-1] + (right != word))
        # Insertions: row[j] = min over i <= j of best[i] + (j - i).
        row = np.minimum.accumulate(best - steps) + steps
    return row


def align(reference: Sequence[str], heard: Sequence[str]) -> list[tuple[str | None, str | None]]:
    """`aligned_indices` as words."""
    pairs = aligned_indices(reference, heard)
    return [(None if i is None else reference[i], None if j is None else heard[j]) for i, j in pairs]


@dataclass
class WordErrors:
    """Errors and reference words summed over utterances (so that long ones weigh more, as is usual)."""

    errors: int = 0
    words: int = 0
    utterances: int = 0

    def add(self, reference: str, hypothesis: str) -> int:
        """Counts one utterance, both sides normalised; returns its errors."""
        expected, heard = normalize(reference).split(), normalize(hypothesis).split()
        errors = edit_distance(expected, heard)
        self.errors += errors
        self.words += len(expected)
        self.utterances += 1
        return errors

    @property
    def rate(self) -> float:
        """Errors per reference word: 0.1 is a word error rate of 10 %. Can pass 1. Zero reference words: 0.0
        if nothing was heard either, else infinity."""
        if self.words:
            return self.errors / self.words
        return float("inf") if self.errors else 0.0


def word_error_rate(reference: str, hypothesis: str) -> float:
    """The word error rate of one utterance, both sides normalised."""
    count = WordErrors()
    count.add(reference, hypothesis)
    return count.rate


def pad_text_flips(
    reference_ids: Sequence[int], other_ids: Sequence[int], control_ids: Collection[int]
) -> int:
    """How often exactly one of two runs over the same audio said text where the other kept silent.

    Both sequences hold one token id per 80 ms; `control_ids` are those that say nothing (pad, word mark, …).
    This is what quantisation hurts first: the decision when to speak. Where one run is longer, its text
    tokens count too.
    """
    shared = min(len(reference_ids), len(other_ids))
    flips = sum((reference_ids[i] in control_ids) != (other_ids[i] in control_ids) for i in range(shared))
    tail = list(reference_ids[shared:]) + list(other_ids[shared:])
    return flips + sum(token not in control_ids for token in tail)
