"""The best one-to-one pairing of rows with columns."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def best_pairs(gain: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs (row, column) with the largest total gain, each row and column used at most once; as many pairs as the
    shorter side has. Hungarian method, cubic in the size; `gain` is 2-D and finite."""
    rows, columns = gain.shape
    if rows == 0 or columns == 0:
        return []
    if rows > columns:
        return sorted((row, column) for column, row in best_pairs(gain.T))
    cost = -np.asarray(gain, dtype=np.float64)
    # Potentials and matching with a dummy row and column 0, as in the textbook form of the algorithm.
    row_potential, column_potential = np.zeros(rows + 1), np.zeros(columns + 1)
    row_of = np.zeros(columns + 1, dtype=np.int64)
    for row in range(1, rows + 1):
        row_of[0] = row
        column = 0
        least = np.full(columns + 1, math.inf)
        previous = np.zeros(columns + 1, dtype=np.int64)
        used = np.zeros(columns + 1, dtype=bool)
        while row_of[column] != 0:
            used[column] = True
            current = row_of[column]
            reduced = cost[current - 1] - row_potential[current] - column_potential[1:]
            better = ~used[1:] & (reduced < least[1:])
            least[1:][better] = reduced[better]
            previous[1:][better] = column
            following = int(np.argmin(np.where(used, math.inf, np.append(math.inf, least[1:]))))
            step = least[following]
            row_potential[row_of[used]] += step
            column_potential[used] -= step
            least[~used] -= step
            column = following
        while column != 0:
            row_of[column] = row_of[previous[column]]
            column = int(previous[column])
    return sorted((int(row_of[column]) - 1, column - 1) for column in range(1, columns + 1) if row_of[column])
