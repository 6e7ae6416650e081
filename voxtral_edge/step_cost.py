"""What one 80 ms step of a model must read from memory and multiply: the least it takes on any device.

Per step every weight is read once and multiplied with one row of activations (decoder, head, adapter) or with
the frames of a token (encoder). The attention state (the keys and values of the past) is read, too. Reading and
multiplying overlap, so each part of the model takes the longer of the two; attention's arithmetic,
synchronisation and the rest come on top. All figures follow from the model's dimensions and the package format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Bytes per number of the attention state; int8 has a float32 scale per 32 numbers.
KV_ELEMENT_BYTES = {"f32": 4.0, "f16": 2.0, "int8": 1.125}


# Decode passes per live step of so many tokens, whose later ones the decoder guesses: the demo model on recordings of
# real speech takes 1.15 to 1.28, 1.4 to 1.8 and 2.0 to 2.9 (lab notebook, "Larger steps").
DECODE_PASSES = {1: 1.0, 2: 1.25, 4: 1.75, 8: 2.7}

# Multiply-adds per second by (bits of the weights, activation rows).
ProductRates = Mapping[tuple[int, int], float]


@dataclass(frozen=True)
class StepPart:
    """The weights that are multiplied alike: with `rows` rows, stored with `bits` bits (4, 8; 0: float, whose
    products are not counted).

    bytes          read per step, scales included
    multiply_adds  per step
    """

    rows: int
    bits: int
    bytes: int
    multiply_adds: int


@dataclass(frozen=True)
class StepCost:
    """Bytes read and products per step.

    weight_bytes    every weight that takes part, once
    kv_bytes        attention state when the windows are full (at the start of a stream it is nearly nothing)
    step_ms         audio per step, milliseconds
    window_seconds  audio after which the decoder's window is full
    parts           the weights by how they are multiplied; their bytes add up to weight_bytes
    """

    weight_bytes: int
    kv_bytes: int
    step_ms: float
    window_seconds: float
    parts: tuple[StepPart, ...] = ()

    def floor_ms(self, read_gbps: float, full_window: bool) -> float:
        """The least milliseconds a step takes at `read_gbps` (10^9 bytes per second) of memory reads."""
        read = self.weight_bytes + (self.kv_bytes if full_window else 0)
        return read / (read_gbps * 1e6)

    def compute_ms(self, rates: ProductRates) -> float:
        """The least milliseconds that the int4 and int8 products of a step take."""
        return sum(1e3 * part.multiply_adds / rates[part.bits, part.rows] for part in self.parts if part.bits)

    def predicted_ms(
        self, read_gbps: float, rates: ProductRates, full_window: bool, step_tokens: int = 1
    ) -> float:
        """The least milliseconds per 80 ms token where every part takes the longer of its reads and its products.

        step_tokens   tokens of audio per live step (a key of DECODE_PASSES): the encoder's parts, those with several
                      rows, go through one pass of so many times the rows, the others through DECODE_PASSES of them
        """
        passes = DECODE_PASSES[step_tokens]
        total = passes * self.floor_ms(read_gbps, full_window)
        for part in self.parts:
            reads = part.bytes / (read_gbps * 1e6)
            products = 0.0
            if part.bits:
                products = (
                    1e3 * step_tokens * part.multiply_adds / _rate(rates, part.bits, step_tokens * part.rows)
                )
            total += (1 if part.rows > 1 else passes) * max(reads, products) - passes * reads
        return total / step_tokens


def _rate(rates: ProductRates, bits: int, rows: int) -> float:
    """That of the most rows measured, up to `rows`: more rows are never slower."""
    return rates[bits, max(measured for of, measured in rates if of == bits and measured <= rows)]


def automatic_kv(precision: Mapping[str, str]) -> tuple[str, str]:
    """What the native engine keeps of encoder and decoder with kv_cache="auto", by a manifest's precision."""
    encoder = "f16" if precision.get("encoder.attention") == "int4" else "f32"
    return encoder, "f32" if precision.get("decoder.attention") == "fp32" else "f16"


def position_bytes(stack: Mapping[str, Any], kind: str) -> int:
    """Keys and values of one position in all layers of "encoder" or "decoder" of a manifest's config, stored as
    `kind` (a key of KV_ELEMENT_BYTES)."""
    numbers = 2 * int(stack["layers"]) * int(stack["kv_heads"]) * int(stack["head_dim"])
    return round(numbers * KV_ELEMENT_BYTES[kind])


def cost_of_manifest(manifest: Mapping[str, Any]) -> StepCost:
    """The cost of a package, from its manifest: tensors that no graph uses (the delay MLPs, run once per
    stream) are not read per step."""
    parts = _parts(manifest)
    weights = sum(part.bytes for part in parts)
    config, audio = manifest["config"], manifest["audio"]
    encoder, decoder = config["encoder"], config["decoder"]
    encoder_kv, decoder_kv = automatic_kv(manifest["precision"])
    kv = position_bytes(encoder, encoder_kv) * encoder["window_frames"]
    kv += position_bytes(decoder, decoder_kv) * decoder["window_tokens"]
    step_s = audio["samples_per_token"] / audio["sample_rate_hz"]
    return StepCost(weights, kv, 1000 * step_s, decoder["window_tokens"] * step_s, parts)


def _parts(manifest: Mapping[str, Any]) -> tuple[StepPart, ...]:
    tensors: Mapping[str, Any] = manifest["tensors"]
    frames = int(manifest["config"]["adapter"]["frames_per_token"])
    quantizations: dict[str, dict[str, Any]] = {
        name: entry["quantization"] for name, entry in tensors.items() if entry.get("quantization")
    }
    weight_of_scales = {q["scales"]: name for name, q in quantizations.items()}
    sums: dict[tuple[int, int], list[int]] = {}
    for name, entry in tensors.items():
        if not entry["graphs"]:
            continue
        rows = frames if name.startswith("encoder.") else 1
        quantization = quantizations.get(weight_of_scales.get(name, name), {})
        total = sums.setdefault((rows, int(quantization.get("bits", 0))), [0, 0])
        total[0] += int(entry["bytes"])
        if name in quantizations:
            total[1] += rows * quantization["rows"] * quantization["columns"]
    return tuple(
        StepPart(rows, bits, size, products) for (rows, bits), (size, products) in sorted(sums.items())
    )


def cost_of_full_model(precision: str) -> StepCost:
    """The cost of Voxtral Mini 4B Realtime in a precision (fp32, fp16, int8, int4), from its published
    dimensions; neither checkpoint nor package is needed."""
    from voxtral_edge.export.package_layout import plan_layout
    from voxtral_edge.export.precision import resolve_precision
    from voxtral_edge.export.schema import tensor_specs
    from voxtral_edge.export.synthetic import SYNTHETIC_MODELS

    config = SYNTHETIC_MODELS["4b"]
    precisions = resolve_precision(precision)
    layout = plan_layout(list(tensor_specs(config)), precisions)
    return cost_of_manifest({"tensors": layout.table(), "precision": precisions, **config.to_manifest()})
