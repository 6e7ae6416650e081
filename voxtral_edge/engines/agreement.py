"""Do two engines compute the same thing? Compares two traces of one clip step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FLOAT_LIMIT = 1e-3
"""Packages without integer weights: only the order of float32 sums differs; measured 1e-6 to 1e-5."""
INTEGER_LIMIT = 1e-1
"""int8 or int4 in the package: one activation that rounds the other way moves by 1/127 of its block's
maximum, and the layers behind spread it. Measured over whole clips: 6e-3 with equal activation grids, 3e-2
with different ones (onnxruntime on aarch64 may quantise whole rows); single steps reach three times that. A
wrong kernel gives 1.
"""
PEAK = 8.0
"""How many times the limit a single logit may move: the largest of 131,072 Gaussian ones moves 4.5 rms."""


@dataclass(frozen=True)
class Agreement:
    """Outcome of a comparison; `detail` is one readable line."""

    agree: bool
    equal_tokens: int
    tokens: int
    worst: float
    """Largest relative rms difference of a step's logits, over the steps with equal history."""
    detail: str


def limit_for(precision: Mapping[str, str]) -> float:
    """The limit on `Agreement.worst` for a package with these precisions per tensor group."""
    return INTEGER_LIMIT if {"int8", "int4"} & set(precision.values()) else FLOAT_LIMIT


def compare_traces(left: Mapping[str, Any], right: Mapping[str, Any], limit: float) -> Agreement:
    """Compare `ids` and `logits` of two traces (as `voxtral_edge.inspect.trace` returns them).

    Logits are compared while the histories are equal, so up to and including the first different token; that
    token can then only have been a tie within the limits. Afterwards the engines hear the same audio with
    different histories, and only the number of equal tokens is reported.
    """
    first, second = (np.asarray(trace["logits"], np.float64) for trace in (left, right))
    ids = [np.asarray(t["ids"])[len(t["ids"]) - len(t["logits"]) :] for t in (left, right)]
    steps = min(len(ids[0]), len(ids[1]))
    if not steps or first.shape[1] != second.shape[1]:
        return Agreement(False, 0, steps, float("inf"), f"logits {first.shape} and {second.shape}")
    same = ids[0][:steps] == ids[1][:steps]
    equal = int(same.sum())
    compared = steps if same.all() else int(np.argmin(same)) + 1
    first, second = first[:compared], second[:compared]
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return Agreement(False, equal, steps, float("inf"), "logits are not finite")
    size = np.sqrt((first**2).mean(-1)) + np.finfo(np.float64).tiny
    moved = np.sqrt(((first - second) ** 2).mean(-1)) / size
    peak = np.abs(first - second).max(-1) / size
    excess = np.maximum(moved, peak / PEAK)
    worst = float(moved.max())
    detail = f"{equal} of {steps} tokens equal, logits differ by {worst:.1e} of their rms (limit {limit:.0e})"
    if excess.max() > limit:
        detail += f"; token {int(excess.argmax())} is beyond the limit"
        return Agreement(False, equal, steps, worst, detail)
    if same.all() and len(ids[0]) != len(ids[1]):
        return Agreement(False, equal, steps, worst, f"{detail}; one engine stopped earlier")
    return Agreement(True, equal, steps, worst, detail)
