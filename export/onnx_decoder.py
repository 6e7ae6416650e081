"""decoder.onnx: audio embeddings and previous ids to logits (spec §5), any number of positions per call."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from .onnx_attention import Attention, positions, ring_attention, ring_inputs
from .onnx_layers import gated_ffn, linear, rms_norm, table_rows
from .onnx_nodes import GraphWriter


def decoder_graph(manifest: dict[str, Any]) -> onnx.ModelProto:
    """audio_embeddings [tokens, width] + previous_ids [tokens] -> logits [tokens, vocab_size]."""
    decoder = manifest["config"]["decoder"]
    width, epsilon, vocabulary = decoder["width"], decoder["norm_eps"], decoder["vocab_size"]
    writer = GraphWriter("decoder", manifest["tensors"])
    attention = Attention.from_config(decoder, "window_tokens", bias=False, slots="decoder_slots")
    writer.input("audio_embeddings", "float32", ["tokens", width], "the encoder's rows of these positions")
    writer.input(
        "previous_ids", "int64", ["tokens"], "token id before each position (the prompt while prefilling)"
    )
    writer.input(
        "delay_scales",
        "float32",
        [decoder["layers"], width],
        "g of each layer for the chosen delay; the graph multiplies by 1 + g",
    )
    ring_inputs(writer, attention, decoder["layers"])

    rows = table_rows(
        writer, "previous_ids", "decoder.embedding.weight", "embedding_rows", rows=vocabulary, columns=width
    )
    hidden = writer.node("Add", ["audio_embeddings", rows], "decoder.in")
    factors = writer.node(
        "Add", ["delay_scales", writer.constant("float.one", 1.0, np.float32)], "delay_factors"
    )
    place = positions(writer, hidden, attention)
    for layer in range(decoder["layers"]):
        prefix = f"decoder.layers.{layer}"
        normed = rms_norm(
            writer, hidden, f"{prefix}.attention_norm", f"{prefix}.attention_in", width, epsilon
        )
        mixed = ring_attention(
            writer,
            normed,
            f"{prefix}.attention",
            layer,
            f"{prefix}.attention_out",
            attention,
            place,
            "tokens",
        )
        middle = writer.node("Add", [hidden, mixed], f"{prefix}.middle")
        normed = rms_norm(writer, middle, f"{prefix}.ffn_norm", f"{prefix}.ffn_normed", width, epsilon)
        factor = writer.node(
            "Gather",
            [factors, writer.constant(f"layer.{layer}", layer, np.int64)],
            f"{prefix}.delay_factor",
            axis=0,
        )
        conditioned = writer.node("Mul", [normed, factor], f"{prefix}.ffn_in")
        ffn = gated_ffn(
            writer,
            conditioned,
            f"{prefix}.ffn",
            f"{prefix}.ffn_out",
            width=width,
            ffn_width=decoder["ffn_width"],
            dimension="tokens",
            bias=False,
        )
        hidden = writer.node("Add", [middle, ffn], f"{prefix}.out")
    normed = rms_norm(writer, hidden, "decoder.norm", "decoder.out", width, epsilon)
    logits = linear(
        writer, normed, "decoder.embedding", "logits", rows=vocabulary, columns=width, dimension="tokens"
    )
    writer.output(logits, "float32", ["tokens", vocabulary], "scores of the token after each position")
    return writer.finish(
        "Voxtral Realtime streaming decoder with tied head. Shapes and ring rules: docs/onnx.md"
    )
