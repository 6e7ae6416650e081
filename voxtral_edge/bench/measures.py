"""Quantiles, histograms, trends and noise bounds of step times.

Step times are not independent: a noisy neighbour or a hot chip slows many steps in a row. Confidence
intervals therefore resample runs of consecutive steps, not single ones; resampling single steps would
promise more than the data hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEADLINE_MS = 80.0
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
# Histogram edges are DEADLINE_MS · 2^(k/8): about 9 % wide, one of them exactly the deadline, the same in
# every document, so that histograms of different runs can be laid over one another.
_EDGES_PER_OCTAVE = 8
# Two seconds of audio: longer than scheduling noise, short enough that 30 s still hold 15 blocks.
BLOCK_STEPS = 25
RESAMPLES = 800

Samples = NDArray[np.float64]
Statistic = Callable[[Samples], float]


def quantile(values: Samples, q: float) -> float:
    """The smallest measured value that at least a share `q` of the values does not exceed. `values` [n ≥
    1]."""
    return float(np.quantile(values, q, method="inverted_cdf"))


def mean(values: Samples) -> float:
    """The arithmetic mean."""
    return float(np.mean(values))


STATISTICS: dict[str, Statistic] = {
    "mean": mean,
    **{name: partial(quantile, q=q) for name, q in QUANTILES.items()},
}


def histogram(values: Samples) -> dict[str, list[Any]]:
    """{"edges": [n + 1] ms, "counts": [n]} over the part of the fixed grid that the values touch."""
    low, high = float(np.min(values)), float(np.max(values))
    first = math.floor(_EDGES_PER_OCTAVE * math.log2(max(low, 1e-6) / DEADLINE_MS))
    last = math.floor(_EDGES_PER_OCTAVE * math.log2(max(high, 1e-6) / DEADLINE_MS)) + 1
    edges = DEADLINE_MS * 2.0 ** (np.arange(first, last + 1) / _EDGES_PER_OCTAVE)
    # Rounding in log2 may leave an extreme value a hair outside.
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return {"edges": [float(f"{edge:.9g}") for edge in edges], "counts": [int(count) for count in counts]}


def summary(values: Samples, full: bool = False) -> dict[str, Any]:
    """Quantiles of `values` [n ≥ 1] in their unit; with `full`, also histogram and 95 % noise bounds."""
    result: dict[str, Any] = {
        "count": len(values),
        "mean": _rounded(mean(values)),
        "min": _rounded(float(np.min(values))),
        **{name: _rounded(quantile(values, q)) for name, q in QUANTILES.items()},
        "max": _rounded(float(np.max(values))),
    }
    if full:
        result["histogram"] = histogram(values)
        result["ci95"] = {
            name: [_rounded(bound) for bound in interval(resampled(values, STATISTICS[name]))]
            for name in ("p50", "p99")
        }
    return result


def resampled(values: Samples, statistic: Statistic, resamples: int = RESAMPLES, seed: int = 0) -> Samples:
    """`statistic` of `resamples` circular block-bootstrap copies of `values`; [resamples].

    Blocks of BLOCK_STEPS consecutive values, longer in long series (a twentieth), so that slow drifts stay
    whole; shorter when there would be fewer than four blocks.
    """
    count = len(values)
    block = max(1, min(max(BLOCK_STEPS, count // 20), count // 4))
    blocks = -(-count // block)
    generator = np.random.default_rng(seed)
    result = np.empty(resamples)
    offsets = np.arange(block)
    for i in range(resamples):
        starts = generator.integers(0, count, blocks)
        index = (starts[:, None] + offsets).ravel()[:count] % count
        result[i] = statistic(values[index])
    return result


def interval(copies: Samples, level: float = 0.95) -> tuple[float, float]:
    """The central `level` interval of bootstrap copies."""
    tail = (1.0 - level) / 2.0
    return float(np.quantile(copies, tail)), float(np.quantile(copies, 1.0 - tail))


def ratio_interval(a: Samples, b: Samples, statistic: Statistic) -> tuple[float, float]:
    """95 % bounds of statistic(b) / statistic(a), for the times `a` and `b` of two runs."""
    return interval(resampled(b, statistic, seed=1) / resampled(a, statistic, seed=2))


def longest_run(flags: NDArray[np.bool_]) -> int:
    """Length of the longest run of consecutive True values."""
    longest = current = 0
    for flag in flags:
        current = current + 1 if flag else 0
        longest = max(longest, current)
    return longest


def slope(times: Samples, values: Samples) -> float:
    """Least-squares slope of values over times; 0 for fewer than two different times."""
    if len(times) < 2:
        return 0.0
    centred = times - np.mean(times)
    spread = float(np.dot(centred, centred))
    return float(np.dot(centred, values - np.mean(values)) / spread) if spread > 0 else 0.0


def queue_finish_times(arrival: Samples, busy: Samples) -> Samples:
    """When each piece of work ends if it may begin only once it has arrived and its predecessor is done.

    arrival, busy: seconds, [n]. Turns times measured back to back into what a live source would have seen.
    """
    finish = np.empty(len(arrival))
    free = -math.inf
    for i in range(len(arrival)):
        free = max(free, float(arrival[i])) + float(busy[i])
        finish[i] = free
    return finish


def backlog(arrival: Samples, finish: Samples, step_s: float) -> dict[str, Any]:
    """Audio received but not decoded, in seconds, seen at the end of every step.

    Audio counts as received in whole steps. {"p95", "max", "final", "slope": s/s}: a slope above 0 means
    that the stream falls behind for good.
    """
    first = float(arrival[0])
    received = np.floor((finish - first) / step_s + 1e-9) + 1
    behind = np.maximum(0.0, received - np.arange(1, len(finish) + 1)) * step_s
    return {
        "p95": _rounded(quantile(behind, 0.95)),
        "max": _rounded(float(np.max(behind))),
        "final": _rounded(float(behind[-1])),
        "slope": _rounded(slope(finish, behind), 6),
    }


def median_index(values: list[float]) -> int:
    """Index of the value that is the (lower) median."""
    order = sorted(range(len(values)), key=values.__getitem__)
    return order[(len(order) - 1) // 2]


def timer_cost_ns(clock: Callable[[], int], calls: int = 2000) -> float:
    """What one reading of a nanosecond clock costs."""
    begun = clock()
    for _ in range(calls):
        clock()
    return (clock() - begun) / (calls + 1)


def rounded_list(values: Samples | list[float]) -> list[float]:
    """Values as documents have them: four digits behind the point."""
    return [_rounded(value) for value in values]


def _rounded(value: float, digits: int = 4) -> float:
    return round(float(value), digits)
