"""int4 weights chosen by what the model hears: rounding errors of a column are made good by later ones."""

from __future__ import annotations

import threading

import numpy as np

from .activations import ActivationStore
from .quantize import BLOCK, quantize_compensated

# Added to the diagonal of the second moments, relative to its mean: without it, directions that no calibration audio
# contains would be free. 0.01, 0.03 and 0.1 make no difference on the demo model.
DAMPING = 0.01
_ROWS_AT_ONCE = 1024
# The writer's strips of two neighbouring matrices can be in flight together.
_FACTORS_KEPT = 2


def compensation_factor(rows: np.ndarray) -> np.ndarray:
    """Inputs [n, K] of a matrix -> float32 upper triangular U [K', K'] with inverse(H) = U^T U.

    K' = K rounded up to whole blocks, H = rows^T rows with DAMPING. For K = 9216 it needs 4 GB for a moment.
    """
    columns = -(-rows.shape[1] // BLOCK) * BLOCK
    moments = np.zeros((columns, columns))
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        piece = rows[first : first + _ROWS_AT_ONCE].astype(np.float32)
        moments[: rows.shape[1], : rows.shape[1]] += piece.T @ piece
    mean = float(np.trace(moments)) / rows.shape[1]
    moments[np.diag_indices(columns)] += DAMPING * mean if mean > 0 else 1.0
    # H = R R^T with R upper triangular, by Cholesky from the other end; then inverse(H) = U^T U with U = inverse(R).
    upper = np.linalg.cholesky(moments[::-1, ::-1])[::-1, ::-1]
    return np.triu(np.linalg.inv(upper)).astype(np.float32)


class Compensator:
    """Quantises matrices to int4 by their recorded inputs. Thread-safe."""

    def __init__(self, store: ActivationStore) -> None:
        self._store = store
        self._factors: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    def quantize(self, rows: np.ndarray, matrix: str) -> tuple[np.ndarray, np.ndarray]:
        """Some rows of `matrix`, as `quantize_rows` does."""
        return quantize_compensated(rows, self._factor(self._store.inputs[matrix]), matrix)

    def _factor(self, value: str) -> np.ndarray:
        with self._lock:
            if value not in self._factors:
                while len(self._factors) >= _FACTORS_KEPT:
                    del self._factors[next(iter(self._factors))]
                self._factors[value] = compensation_factor(self._store.rows(value))
            return self._factors[value]
