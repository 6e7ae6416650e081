"""What a package would have chosen otherwise: kinds of changed tokens, and changed words side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxtral_edge.live_step import TOKEN_MS
from voxtral_edge.quality.passes import Forced, Reference, Spoken
from voxtral_edge.tokenizer import Tokenizer
from voxtral_edge.wer import aligned_indices

KINDS = ("text", "timing", "other")
"""text: another piece of text. timing: one of pad, word mark and text became another, so something begins, goes on or
ends at another time, or is not said. other: a control token, as the end of a segment, came or went."""

_CONTEXT_WORDS = 2


def token_time_s(token: int) -> float:
    """The middle of the 80 ms of audio that the n-th generated token stands for."""
    return (token + 0.5) * TOKEN_MS / 1000


class TokenNames:
    """Names and classes ("pad", "mark", "text", "other") of a package's token ids."""

    def __init__(self, tokens: Mapping[str, Any], tokenizer: Tokenizer) -> None:
        self._control = {int(tokens["streaming_pad"]): "pad", int(tokens["streaming_word"]): "mark"}
        self._tokenizer = tokenizer

    def class_of(self, token_id: int) -> str:
        if token_id >= self._tokenizer.special_count:
            return "text"
        return self._control.get(token_id, "other")

    def name_of(self, token_id: int) -> str:
        """The text in quotes, or [pad], [mark], [control 2]."""
        kind = self.class_of(token_id)
        if kind == "text":
            return repr(self._tokenizer.piece(token_id).decode("utf-8", errors="replace"))
        return f"[control {token_id}]" if kind == "other" else f"[{kind}]"

    def kind(self, before: int, after: int) -> str:
        """Which of KINDS a change from one id to another is."""
        classes = {self.class_of(before), self.class_of(after)}
        if "other" in classes:
            return "other"
        return "text" if classes == {"text"} else "timing"


@dataclass(frozen=True)
class TokenChange:
    """Where the package under test would have chosen otherwise after the same tokens.

    token, time_s         which generated token, and its time in the audio
    kind                  one of KINDS
    before, after         the reference's choice and the tested package's
    before_probability    what the tested package gives to each
    after_probability
    """

    token: int
    time_s: float
    kind: str
    before: str
    after: str
    before_probability: float
    after_probability: float


def token_changes(reference: Reference, forced: Forced, names: TokenNames) -> list[TokenChange]:
    """Every token whose choice changed, in order."""
    expected = np.array(reference.token_ids, np.int64)
    changes = []
    for token in np.flatnonzero(forced.choices != expected).tolist():
        before, after = int(expected[token]), int(forced.choices[token])
        own, others = forced.probabilities[token].tolist()
        labels = names.kind(before, after), names.name_of(before), names.name_of(after)
        changes.append(TokenChange(token, token_time_s(token), *labels, others, own))
    return changes


@dataclass(frozen=True)
class WordChange:
    """Neighbouring words that differ in the two free-running texts.

    token, time_s    of the reference's word, or of the one before where words were added
    edits            substituted, missing and added words
    before, after    the words, each with up to two equal ones on both sides; differing ones in [brackets]
    """

    token: int
    time_s: float
    edits: int
    before: str
    after: str


def word_changes(reference: Spoken, tested: Spoken) -> list[WordChange]:
    """The differences of two texts by a cheapest alignment of their normalised words, in order."""
    pairs = aligned_indices(reference.words, tested.words)
    equal = [i is not None and j is not None and reference.words[i] == tested.words[j] for i, j in pairs]
    changes = []
    first = 0
    while first < len(pairs):
        last = first
        while last < len(pairs) and not equal[last]:
            last += 1
        if last > first:
            changes.append(_word_change(reference, tested, pairs, first, last))
        first = last + 1
    return changes


_Pairs = Sequence[tuple["int | None", "int | None"]]


def _word_change(reference: Spoken, tested: Spoken, pairs: _Pairs, first: int, last: int) -> WordChange:
    near = [i for i, _ in pairs[: first + 1] if i is not None] or [0]
    inside = [i for i, _ in pairs[first:last] if i is not None]
    at = (inside or near[-1:])[0]
    token = reference.word_tokens[at] if reference.word_tokens else 0
    shown = []
    for side, words in enumerate((reference.words, tested.words)):

        def text(begin: int, end: int, side: int = side, words: Sequence[str] = words) -> str:
            chosen = (pair[side] for pair in pairs[max(0, begin) : end])
            return " ".join(words[i] for i in chosen if i is not None)

        parts = (
            text(first - _CONTEXT_WORDS, first),
            f"[{text(first, last)}]",
            text(last, last + _CONTEXT_WORDS),
        )
        shown.append(" ".join(part for part in parts if part))
    return WordChange(token, token_time_s(token), last - first, shown[0], shown[1])
