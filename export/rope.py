"""The row order of rotary projections: Mistral files interleave pairs, Hugging Face halves (spec 2.3)."""

from __future__ import annotations

import numpy as np


def interleaved_to_half_split(rows: np.ndarray, head_dim: int) -> np.ndarray:
    """[heads * head_dim, ...] with pairs (2j, 2j+1) -> pairs (j, j + head_dim/2), per head.

    Works on any whole number of heads, so a strip of a large matrix can be permuted alone.
    """
    pairs = rows.reshape(-1, head_dim // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)
