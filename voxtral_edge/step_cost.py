"""What one 80 ms step of a model must read from memory: the floor under its time on any device.

Per step every weight is read once (one decoder position, one token's worth of encoder frames), and with them
the attention state (the keys and values of the past). Small devices are bound by these reads, so bytes /
bandwidth is the least a step can take; arithmetic, attention and synchronisation come on top. All figures
follow from the model's dimensions and the package format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

F16_BYTES, F32_BYTES = 2, 4
# What the native engine keeps with kv_cache="auto" in a quantised package: encoder exact, decoder in half
# precision.
ENCODER_KV_BYTES, DECODER_KV_BYTES = F32_BYTES, F16_BYTES


@dataclass(frozen=True)
class StepCost:
    """Bytes read per step.

    weight_bytes    every weight that takes part, once
    kv_bytes        attention state when the windows are full (at the start of a stream it is nearly nothing)
    step_ms         audio per step, milliseconds
    window_seconds  audio after which the decoder's window is full
    """

    weight_bytes: int
    kv_bytes: int
    step_ms: float
    window_seconds: float

    def floor_ms(self, read_gbps: float, full_window: bool) -> float:
        """The least milliseconds a step takes at `read_gbps` (10^9 bytes per second) of memory reads."""
        read = self.weight_bytes + (self.kv_bytes if full_window else 0)
        return read / (read_gbps * 1e6)


def cost_of_manifest(manifest: Mapping[str, Any]) -> StepCost:
    """The cost of a package, from its manifest: tensors that no graph uses (the delay MLPs, run once per
    stream) are not read per step."""
    weights = sum(int(entry["bytes"]) for entry in manifest["tensors"].values() if entry["graphs"])
    config, audio = manifest["config"], manifest["audio"]
    encoder, decoder = config["encoder"], config["decoder"]
    per_frame = 2 * encoder["layers"] * encoder["kv_heads"] * encoder["head_dim"] * ENCODER_KV_BYTES
    per_token = 2 * decoder["layers"] * decoder["kv_heads"] * decoder["head_dim"] * DECODER_KV_BYTES
    kv = per_frame * encoder["window_frames"] + per_token * decoder["window_tokens"]
    step_s = audio["samples_per_token"] / audio["sample_rate_hz"]
    return StepCost(weights, kv, 1000 * step_s, decoder["window_tokens"] * step_s)


def cost_of_full_model(precision: str) -> StepCost:
    """The cost of Voxtral Mini 4B Realtime in a precision (fp32, fp16, int8, int4), from its published
    dimensions; neither checkpoint nor package is needed."""
    from voxtral_edge.export.package_layout import plan_layout
    from voxtral_edge.export.precision import resolve_precision
    from voxtral_edge.export.schema import tensor_specs
    from voxtral_edge.export.synthetic import SYNTHETIC_MODELS

    config = SYNTHETIC_MODELS["4b"]
    layout = plan_layout(list(tensor_specs(config)), resolve_precision(precision))
    return cost_of_manifest({"tensors": layout.table(), **config.to_manifest()})
