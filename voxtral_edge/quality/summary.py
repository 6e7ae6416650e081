"""Figures of one recording and of all together, with the intervals that so much audio allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.quality.changes import KINDS, TokenChange, WordChange
from voxtral_edge.quality.passes import Forced, Reference, Spoken
from voxtral_edge.quality.recordings import Recording
from voxtral_edge.quality.statistics import Interval, ratio_interval, share_interval, stretch_of


@dataclass(frozen=True)
class Summary:
    """Figures over `tokens` tokens and `words` words that the reference wrote; intervals are 95 %.

    kl_mean, kl_p99    KL divergence per token from the reference's distribution, nats
    kl_slack           the true mean is at most kl_mean + kl_slack: what the kept distributions leave open
    kl_interval        of kl_mean; None for fewer than ten stretches of audio
    changed            tokens whose most likely choice differs, by kind
    changed_interval   of the share of all of them
    word_edits         substituted, missing and added words of the free-running text
    words_interval     of word_edits / words
    """

    seconds: float
    tokens: int
    kl_mean: float
    kl_p99: float
    kl_slack: float
    kl_interval: Interval | None
    changed: dict[str, int]
    changed_interval: Interval
    words: int
    word_edits: int
    words_interval: Interval

    @property
    def changed_share(self) -> float:
        return sum(self.changed.values()) / max(1, self.tokens)

    @property
    def words_share(self) -> float:
        """Edits per word of the reference; 0 where neither wrote any."""
        return self.word_edits / max(1, self.words)

    @property
    def identical(self) -> bool:
        """Not one number differs."""
        return self.kl_mean == 0.0 and not any(self.changed.values()) and not self.word_edits

    def to_dict(self) -> dict[str, Any]:
        """As plain data, shares included."""
        return {**asdict(self), "changed_share": self.changed_share, "words_share": self.words_share}


@dataclass(frozen=True)
class RecordingResult:
    """One recording: its figures, and every change. `stretches` int64/float64 [stretches, 5] holds the sums of tokens,
    divergence, changed tokens, words and word edits per stretch of ten seconds."""

    recording: Recording
    summary: Summary
    text: str
    against_text: str
    token_changes: tuple[TokenChange, ...]
    word_changes: tuple[WordChange, ...]
    kl: NDArray[np.float64]
    slack: NDArray[np.float64]
    stretches: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        recording: Recording,
        reference: Reference,
        forced: Forced,
        spoken: Spoken,
        tokens: Sequence[TokenChange],
        words: Sequence[WordChange],
    ) -> RecordingResult:
        """Figures of what was computed for `recording`."""
        stretches = _stretches(reference, forced, tokens, words)
        summary = _summary(recording.duration_s, forced.kl, forced.slack, stretches, tokens)
        texts = spoken.text, reference.spoken.text
        return cls(
            recording, summary, *texts, tuple(tokens), tuple(words), forced.kl, forced.slack, stretches
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data, without the arrays."""
        return {
            "path": str(self.recording.path),
            "warnings": list(self.recording.warnings),
            **self.summary.to_dict(),
            "text": self.text,
            "against_text": self.against_text,
            "token_changes": [asdict(change) for change in self.token_changes],
            "word_changes": [asdict(change) for change in self.word_changes],
        }


def summarize(results: Sequence[RecordingResult]) -> Summary:
    """All recordings together: sums, not averages of averages."""
    return _summary(
        sum(result.recording.duration_s for result in results),
        np.concatenate([result.kl for result in results]),
        np.concatenate([result.slack for result in results]),
        np.concatenate([result.stretches for result in results]),
        [change for result in results for change in result.token_changes],
    )


def _stretches(
    reference: Reference, forced: Forced, tokens: Sequence[TokenChange], words: Sequence[WordChange]
) -> NDArray[np.float64]:
    stretch = stretch_of(len(forced.kl))
    count = int(stretch[-1]) + 1 if len(stretch) else 0
    edits = [(change.token, change.edits) for change in words]
    columns = (
        (range(len(stretch)), None),
        (range(len(stretch)), forced.kl),
        ([change.token for change in tokens], None),
        (reference.spoken.word_tokens, None),
        ([token for token, _ in edits], np.array([number for _, number in edits], float)),
    )
    return np.stack(
        [np.bincount(stretch[np.array(at, np.int64)], weights, count) for at, weights in columns], axis=1
    )


def _summary(
    seconds: float,
    kl: NDArray[np.float64],
    slack: NDArray[np.float64],
    stretches: NDArray[np.float64],
    changes: Sequence[TokenChange],
) -> Summary:
    tokens, divergences, changed, words, edits = stretches.T
    return Summary(
        seconds=seconds,
        tokens=len(kl),
        kl_mean=float(kl.mean()) if len(kl) else 0.0,
        kl_p99=float(np.quantile(kl, 0.99)) if len(kl) else 0.0,
        kl_slack=float(slack.mean()) if len(kl) else 0.0,
        kl_interval=ratio_interval(divergences, tokens),
        changed={kind: sum(change.kind == kind for change in changes) for kind in KINDS},
        changed_interval=share_interval(changed, tokens),
        words=int(words.sum()),
        word_edits=int(edits.sum()),
        words_interval=share_interval(edits, words),
    )
