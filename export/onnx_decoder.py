"""decoder.onnx: audio embeddings and previous ids to logits (spec §5), any number of positions per call."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from .onnx_attention import Attention, positions, ring_inputs
from .onnx_block import transformer_block
from .onnx_layers import linear, rms_norm, table_rows
from .onnx_nodes import GraphWriter


def decoder_graph(manifest: dict[str, Any]) -> onnx.ModelProto:
    """audio_embeddings [tokens, width] + previous_ids [tokens] -> logits [tokens, vocab_size]."""
    decoder = manifest["config"]["decoder"]
    width, epsilon, vocabulary = decoder["width"], decoder["norm_eps"], decoder["vocab_size"]
    writer = GraphWriter("decoder", manifest["tensors"])
    attention = Attention.from_config(
        decoder, "window_tokens", bias=False, rows="tokens", slots="decoder_slots"
    )
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
        hidden = transformer_block(writer, hidden, layer, decoder, attention, place, factors)
    normed = rms_norm(writer, hidden, "decoder.norm", "decoder.out", width, epsilon)
    logits = linear(
        writer, normed, "decoder.embedding", "logits", rows=vocabulary, columns=width, dimension="tokens"
    )
    writer.output(logits, "float32", ["tokens", vocabulary], "scores of the token after each position")
    return writer.finish(
        "Voxtral Realtime streaming decoder with tied head. Shapes and ring rules: docs/onnx.md"
    )
