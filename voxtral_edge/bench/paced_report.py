"""Paced streams in a result document: every stream's latencies, and whether they hold real time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from voxtral_edge.bench import measures
from voxtral_edge.bench.capacity import MOST_GROWTH, Trial, bound_ms, judged
from voxtral_edge.bench.measures import rounded_list
from voxtral_edge.bench.paced_streams import PacedStreamsRun


def latencies(
    run: PacedStreamsRun, trials: Sequence[Trial], step_s: float, samples: Mapping[str, Any]
) -> dict[str, Any]:
    """What replaces the figures of a live run's steps, here rounds, where every stream has its own clock: a step's time
    is its latency. `samples` are those of the rounds."""
    missed = _missed(run, step_s)
    busy = run.busy_share(step_s)
    backlogs = [
        measures.backlog(arrival, finish, step_s)
        for arrival, finish in zip(run.arrival_s, run.finish_s, strict=True)
    ]
    in_order = run.latency_ms.ravel()[np.argsort(run.finish_s.ravel(), kind="stable")]
    return {
        "step_ms": measures.summary(in_order, full=True),
        "rtf": round(busy, 7),
        "rtfx": round(1.0 / busy, 3),
        "deadline_miss_rate": round(float(np.mean(missed)), 6),
        "longest_miss_run": max(measures.longest_run(row) for row in missed),
        "backlog_s": {name: max(backlog[name] for backlog in backlogs) for name in backlogs[0]},
        "samples": {
            **samples,
            "step_ms": rounded_list(in_order),
            "round_ms": rounded_list(run.rounds.step_ms),
        },
        "paced_streams": {
            "bound_ms": bound_ms(step_s),
            "most_growth": MOST_GROWTH,
            "worst_p99_ms": round(run.worst_p99_ms(), 4),
            "growth": round(run.growth(), 6),
            "held": judged(len(missed), True, run, step_s).held,
            "round_ms": measures.summary(run.rounds.step_ms),
            "tokens_per_round": round(float(np.mean(run.round_tokens)), 3),
            "per_stream": [
                {
                    "p50": round(measures.quantile(row, 0.5), 4),
                    "p99": round(measures.quantile(row, 0.99), 4),
                    "max": round(float(row.max()), 4),
                    "deadline_miss_rate": round(float(np.mean(late)), 6),
                    "backlog_max_s": backlog["max"],
                    "backlog_slope": backlog["slope"],
                }
                for row, late, backlog in zip(run.latency_ms, missed, backlogs, strict=True)
            ],
            "trials": [trial.figures() for trial in trials],
        },
    }


def run_summary(run: PacedStreamsRun, step_s: float) -> dict[str, Any]:
    """A repetition in a line, as those of other runs."""
    return {
        "rtf": round(run.busy_share(step_s), 7),
        "step_ms": measures.summary(run.latency_ms.ravel()),
        "deadline_miss_rate": round(float(np.mean(_missed(run, step_s))), 6),
    }


def _missed(run: PacedStreamsRun, step_s: float) -> Any:
    return run.latency_ms > step_s * 1e3
