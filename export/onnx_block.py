"""The transformer block of both graphs: attention over the rings and gated FFN, each behind a norm."""

from __future__ import annotations

from typing import Any

import numpy as np

from .onnx_attention import Attention, Positions, ring_attention
from .onnx_layers import gated_ffn, rms_norm
from .onnx_nodes import GraphWriter


def transformer_block(
    writer: GraphWriter,
    hidden: str,
    layer: int,
    config: dict[str, Any],
    attention: Attention,
    place: Positions,
    factors: str | None = None,
) -> str:
    """hidden [rows, width] -> [rows, width]: layer `layer` of the graph, `config` its manifest section.

    `factors` [layers, width], when given, scales the FFN's input (1 + g of the delay, specification §5).
    """
    prefix = f"{writer.name}.layers.{layer}"
    width, epsilon = config["width"], config["norm_eps"]
    normed = rms_norm(writer, hidden, f"{prefix}.attention_norm", f"{prefix}.attention_in", width, epsilon)
    mixed = ring_attention(writer, normed, layer, f"{prefix}.attention_out", attention, place)
    middle = writer.node("Add", [hidden, mixed], f"{prefix}.middle")
    ffn_in = f"{prefix}.ffn_in"
    if factors is None:
        rms_norm(writer, middle, f"{prefix}.ffn_norm", ffn_in, width, epsilon)
    else:
        normed = rms_norm(writer, middle, f"{prefix}.ffn_norm", f"{prefix}.ffn_normed", width, epsilon)
        index = writer.constant(f"layer.{layer}", layer, np.int64)
        factor = writer.node("Gather", [factors, index], f"{prefix}.delay_factor", axis=0)
        writer.node("Mul", [normed, factor], ffn_in)
    ffn = gated_ffn(
        writer,
        ffn_in,
        f"{prefix}.ffn",
        f"{prefix}.ffn_out",
        width=width,
        ffn_width=config["ffn_width"],
        dimension=attention.rows,
        bias=attention.bias,
    )
    return writer.node("Add", [middle, ffn], f"{prefix}.out")
