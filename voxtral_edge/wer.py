"""Word error rate: text normalisation and edit distance, as used by the benchmarks and the tests."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

_NOT_A_LETTER = re.compile(r"[^\w' ]+|_")
_LONE_APOSTROPHE = re.compile(r"(?<!\w)'+|'+(?!\w)")


def normalize(text: str) -> str:
    """Lower case, curly apostrophes made straight, everything but letters, digits and inner apostrophes
    dropped, single spaces. Numbers are not spelled out: references must be written as the model writes."""
    text = unicodedata.normalize("NFC", text).lower().replace("’", "'").replace("‘", "'")
    return " ".join(_LONE_APOSTROPHE.sub(" ", _NOT_A_LETTER.sub(" ", text)).split())


def edit_distance(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> int:
    """The least number of substitutions, insertions and deletions that turn one sequence into the other."""
    row = list(range(len(hypothesis) + 1))
    for i, expected in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, heard in enumerate(hypothesis, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (expected != heard))
    return row[-1]


def align(reference: Sequence[str], heard: Sequence[str]) -> list[tuple[str | None, str | None]]:
    """The cheapest alignment as pairs, in order; None stands for nothing said or nothing written."""
    rows, columns = len(reference) + 1, len(heard) + 1
    cost = [[max(i, j) if not i or not j else 0 for j in range(columns)] for i in range(rows)]
    for i in range(1, rows):
        for j in range(1, columns):
            match = cost[i - 1][j - 1] + (reference[i - 1] != heard[j - 1])
            cost[i][j] = min(match, cost[i - 1][j] + 1, cost[i][j - 1] + 1)
    i, j = rows - 1, columns - 1
    pairs: list[tuple[str | None, str | None]] = []
    while i or j:
        if i and j and cost[i][j] == cost[i - 1][j - 1] + (reference[i - 1] != heard[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((reference[i], heard[j]))
        elif i and cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
            pairs.append((reference[i], None))
        else:
            j -= 1
            pairs.append((None, heard[j]))
    return pairs[::-1]


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
