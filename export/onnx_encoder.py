"""encoder.onnx: mel frames to audio embeddings (specification §4), any number of tokens per call."""

from __future__ import annotations

from typing import Any

import onnx

from .onnx_attention import Attention, positions, ring_inputs
from .onnx_block import transformer_block
from .onnx_layers import linear, rms_norm
from .onnx_nodes import GraphWriter

CONV1_TAIL = 2
"""Mel frames conv1 (kernel 3, stride 1) still needs from before the call."""
CONV2_TAIL = 1
"""conv1 outputs conv2 (kernel 3, stride 2) still needs from before the call."""
END = 2**63 - 1


def encoder_graph(manifest: dict[str, Any]) -> onnx.ModelProto:
    """mel [mel_frames, mel_bins] -> audio_embeddings [tokens, output_width], plus state."""
    encoder, adapter = manifest["config"]["encoder"], manifest["config"]["adapter"]
    width, epsilon = encoder["width"], encoder["norm_eps"]
    writer = GraphWriter("encoder", manifest["tensors"])
    attention = Attention.from_config(
        encoder, "window_frames", bias=True, rows="frames", slots="encoder_slots"
    )
    per_token = adapter["frames_per_token"]
    writer.input(
        "mel",
        "float32",
        ["mel_frames", encoder["mel_bins"]],
        f"log-mel, one row per 10 ms frame, {2 * per_token} frames per token",
    )
    writer.input(
        "conv1_tail", "float32", [CONV1_TAIL, encoder["mel_bins"]], "last mel frames; zeros at the start"
    )
    writer.input("conv2_tail", "float32", [CONV2_TAIL, width], "last conv1 output; zeros at the start")
    ring_inputs(writer, attention, encoder["layers"])

    hidden = _conv_stem(writer, width, encoder["mel_bins"])
    place = positions(writer, hidden, attention)
    for layer in range(encoder["layers"]):
        hidden = transformer_block(writer, hidden, layer, encoder, attention, place)
    frames = rms_norm(writer, hidden, "encoder.norm", "encoder_frames", width, epsilon)
    writer.output(frames, "float32", ["frames", width], "after the final norm, one row per 20 ms")
    _adapter(writer, frames, adapter)
    return writer.finish(
        "Voxtral Realtime streaming encoder and adapter. Shapes and ring rules: docs/onnx.md"
    )


def _conv_stem(writer: GraphWriter, width: int, mel_bins: int) -> str:
    """Two causal convolutions with exact GELU; returns frames [frames, width].

    Both tails are cut from the joined sequences, not from the new part: then the new tail is computed only
    after the old one was read, so a caller may bind one buffer as both.
    """
    joined = writer.node("Concat", ["conv1_tail", "mel"], "conv1.in", axis=0)
    first = _convolution(writer, joined, "encoder.conv1", "conv1", width, mel_bins, stride=1)
    tail = writer.node(
        "Slice", [joined, writer.int64(-CONV1_TAIL), writer.int64(END), writer.int64(0)], "conv1_tail_out"
    )
    writer.output(tail, "float32", [CONV1_TAIL, mel_bins], "next call's conv1_tail")
    joined = writer.node("Concat", ["conv2_tail", first], "conv2.in", axis=0)
    second = _convolution(writer, joined, "encoder.conv2", "conv2", width, width, stride=2)
    tail = writer.node(
        "Slice", [joined, writer.int64(-CONV2_TAIL), writer.int64(END), writer.int64(0)], "conv2_tail_out"
    )
    writer.output(tail, "float32", [CONV2_TAIL, width], "next call's conv2_tail")
    return second


def _convolution(
    writer: GraphWriter, rows: str, layer: str, out: str, channels: int, channels_in: int, stride: int
) -> str:
    """GELU(conv(rows)) for rows [time, channels_in]; no padding, the tail in front replaces it."""
    weight = writer.weight(f"{layer}.weight", [channels, channels_in, 3])
    bias = writer.weight(f"{layer}.bias", [channels])
    columns = writer.node("Transpose", [rows], f"{out}.columns", perm=[1, 0])
    batch = writer.node("Unsqueeze", [columns, writer.int64(0)], f"{out}.batch")
    result = writer.node(
        "Conv", [batch, weight, bias], f"{out}.product", kernel_shape=[3], strides=[stride], pads=[0, 0]
    )
    active = writer.node("Gelu", [result], f"{out}.active", approximate="none")
    flat = writer.node("Squeeze", [active, writer.int64(0)], f"{out}.flat")
    return writer.node("Transpose", [flat], f"{out}.out", perm=[1, 0])


def _adapter(writer: GraphWriter, frames: str, adapter: dict[str, Any]) -> None:
    """Join the frames of a token in time order and project: linear, exact GELU, linear."""
    grouped = writer.node("Reshape", [frames, writer.int64(-1, adapter["input_width"])], "adapter.in")
    hidden = linear(
        writer,
        grouped,
        "adapter.linear1",
        "adapter.hidden",
        rows=adapter["hidden_width"],
        columns=adapter["input_width"],
        dimension="tokens",
    )
    active = writer.node("Gelu", [hidden], "adapter.active", approximate="none")
    out = linear(
        writer,
        active,
        "adapter.linear2",
        "audio_embeddings",
        rows=adapter["output_width"],
        columns=adapter["hidden_width"],
        dimension="tokens",
    )
    writer.output(out, "float32", ["tokens", adapter["output_width"]], "one row per 80 ms")
