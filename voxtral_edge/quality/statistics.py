"""How far a figure may be from what more audio would give: bootstrap over stretches of audio, Wilson's interval."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Tokens of one recording depend on each other; stretches of ten seconds hardly do.
STRETCH_TOKENS = 125
# Fewer say nothing about how much stretches differ.
LEAST_STRETCHES = 10
RESAMPLES = 2000
_NORMAL_95 = 1.959964

Interval = tuple[float, float]


def stretch_of(tokens: int) -> NDArray[np.int64]:
    """The stretch each of a recording's tokens belongs to; a rest of less than half a stretch joins the last."""
    count = max(1, round(tokens / STRETCH_TOKENS))
    return np.minimum(np.arange(tokens) // STRETCH_TOKENS, count - 1)


def ratio_interval(sums: NDArray[Any], counts: NDArray[Any]) -> Interval | None:
    """95 % bootstrap interval of sum(sums) / sum(counts), both per stretch [n]; None for too few stretches.

    Percentiles of RESAMPLES resampled sets of stretches (Efron and Tibshirani 1993, chapter 13), the same every time.
    """
    n = len(counts)
    if n < LEAST_STRETCHES:
        return None
    generator = np.random.default_rng(0)
    ratios = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        chosen = generator.integers(0, n, n)
        ratios[i] = sums[chosen].sum() / max(1, counts[chosen].sum())
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def wilson_interval(hits: int, of: int) -> Interval:
    """95 % interval of a share, hits of `of` independent trials (Wilson 1927); 0 of n is at most about 3.8 / n."""
    if of == 0:
        return 0.0, 1.0
    share, z2 = min(1.0, hits / of), _NORMAL_95**2 / of
    middle = share + z2 / 2
    half = float(np.sqrt(z2 * (share * (1 - share) + z2 / 4)))
    return max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2))


def share_interval(hits: NDArray[np.int64], of: NDArray[np.int64]) -> Interval:
    """95 % interval of a share counted per stretch: the wider of both kinds. The bootstrap alone would be certain of a
    share of 0 that was never seen to vary, and Wilson's alone takes neighbours for independent."""
    low, high = wilson_interval(int(hits.sum()), int(of.sum()))
    resampled = ratio_interval(hits, of)
    if resampled is None:
        return low, high
    return min(low, resampled[0]), max(high, resampled[1])
