"""The likeliest sequence of speakers: people go on talking, and change places rather in pauses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def best_sequence(
    scores: NDArray[np.float64], switch_costs: NDArray[np.float64], before: int | None = None
) -> NDArray[np.int64]:
    """The row of labels that maximises the sum of scores less the costs of switching (Viterbi).

    scores        float64 [n, speakers]
    switch_costs  float64 [n]: what it costs that item i has another label than item i − 1
    before        label of the item before the first, or None for no matter
    """
    count, speakers = scores.shape
    if count == 0 or speakers == 0:
        return np.zeros(count, dtype=np.int64)
    came_from = np.zeros((count, speakers), dtype=np.int64)
    total = scores[0].copy()
    if before is not None:
        total -= switch_costs[0]
        total[before] += switch_costs[0]
    everyone = np.arange(speakers)
    for index in range(1, count):
        best = int(total.argmax())
        switched = total[best] - switch_costs[index]
        stays = total >= switched
        came_from[index] = np.where(stays, everyone, best)
        total = np.where(stays, total, switched) + scores[index]
    labels = np.zeros(count, dtype=np.int64)
    labels[-1] = int(total.argmax())
    for index in range(count - 1, 0, -1):
        labels[index - 1] = came_from[index, labels[index]]
    return labels
