"""Bytes that one 80 ms step must read from memory, and what memory can deliver: the floor under its time.

Every weight that takes part is read once per step; on top come the keys and values of the positions that a
step attends to, read once, and those that it writes. Nothing else is counted: activations stay in cache. A
program cannot be faster than these bytes divided by the read bandwidth, unless one pass serves several steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxtral_edge.step_cost import position_bytes

_PARTS = (
    ("decoder.embedding", "head"),
    ("decoder.", "decoder"),
    ("adapter.", "adapter"),
    ("encoder.", "encoder"),
)


@dataclass(frozen=True)
class KvCost:
    """Bytes of one stack's attention state.

    position_bytes   keys and values of one position, all layers
    window           positions a query sees at most
    new_positions    positions per step (four encoder frames, one decoder token)
    """

    position_bytes: int
    window: int
    new_positions: int

    def read_bytes(self, positions: np.ndarray) -> np.ndarray:
        """Bytes read by a step after which the stack holds `positions` positions (float64 array in, out).

        The queries of one step see nearly the same keys, which are read once for all of them.
        """
        seen = np.minimum(positions, float(self.window + self.new_positions - 1))
        return seen * self.position_bytes

    @property
    def write_bytes(self) -> int:
        """Bytes written per step."""
        return self.position_bytes * self.new_positions


def weight_bytes_by_part(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of the weights that a step reads: {"encoder", "adapter", "decoder", "head"}. The table of token
    embeddings counts as the head; looking up one row of it is nothing."""
    parts = {part: 0 for part in ("encoder", "adapter", "decoder", "head")}
    for name, entry in manifest["tensors"].items():
        if entry["graphs"]:  # tensors without a graph are used once per stream, not per step
            parts[weight_part(name)] += int(entry["bytes"])
    return parts


def weight_part(name: str) -> str:
    """The part of the model a tensor belongs to: "encoder", "adapter", "decoder" or "head"."""
    return next(part for prefix, part in _PARTS if name.startswith(prefix))


def kv_costs(manifest: Mapping[str, Any], encoder_kv: str, decoder_kv: str) -> dict[str, KvCost]:
    """The attention state of both stacks when their elements are stored as "f32", "f16" or "int8"."""
    encoder, decoder = manifest["config"]["encoder"], manifest["config"]["decoder"]
    frames = int(manifest["config"]["adapter"]["frames_per_token"])
    return {
        "encoder": KvCost(position_bytes(encoder, encoder_kv), int(encoder["window_frames"]), frames),
        "decoder": KvCost(position_bytes(decoder, decoder_kv), int(decoder["window_tokens"]), 1),
    }


def bytes_per_step(
    manifest: Mapping[str, Any],
    encoder_kv: str,
    decoder_kv: str,
    first_token: int | None,
    steps: int,
    streams: int = 1,
) -> dict[str, Any]:
    """Mean bytes per step over `steps` steps; of `streams` streams that share each pass, all alike.

    first_token: tokens a stream held before the first of them (left padding included); None: windows full.
    Returns {"weights": {part: bytes}, "kv_read": {stack: bytes}, "kv_write": bytes, "kv_positions": mean
    positions the decoder sees, "total": bytes}.
    """
    parts = weight_bytes_by_part(manifest)
    costs = kv_costs(manifest, encoder_kv, decoder_kv)
    read: dict[str, int] = {}
    write, seen = 0, 0.0
    for stack, cost in costs.items():
        if first_token is None:
            positions = np.full(1, np.inf)
        else:
            positions = (first_token + 1.0 + np.arange(steps)) * cost.new_positions
        read[stack] = streams * round(float(np.mean(cost.read_bytes(positions))))
        write += streams * cost.write_bytes
        if stack == "decoder":
            seen = float(np.mean(np.minimum(positions, cost.window)))
    return {
        "weights": parts,
        "kv_read": read,
        "kv_write": write,
        "kv_positions": round(seen),
        "total": sum(parts.values()) + sum(read.values()) + write,
    }


def floor_ms(step_bytes: int, read_gbps: float) -> float:
    """The least time for a step at `read_gbps` (10^9 bytes per second)."""
    return step_bytes / (read_gbps * 1e6)
