"""Multiply-adds counted by hand, and passes against the machine's two roofs."""

from __future__ import annotations

from typing import Any

import pytest

from voxtral_edge.bench.arithmetic import Pass, multiply_adds_per_step, passes
from voxtral_edge.package_folder import find_package, read_manifest


def tensor(
    rows: int, columns: int, *, graphs: tuple[str, ...] = ("x",), quantized: bool = True
) -> dict[str, Any]:
    entry: dict[str, Any] = {"graphs": list(graphs), "shape": [rows, columns]}
    if quantized:  # as stored: blocks of packed bytes
        entry |= {"shape": [rows, 1, 16], "quantization": {"rows": rows, "columns": columns}}
    return entry


def manifest() -> dict[str, Any]:
    return {
        "audio": {"mel_frames_per_token": 8},
        "config": {
            "encoder": {"layers": 2, "heads": 3, "head_dim": 4, "window_frames": 10},
            "adapter": {"frames_per_token": 4},
            "decoder": {"layers": 1, "heads": 5, "head_dim": 8, "window_tokens": 20},
        },
        "tensors": {
            "encoder.conv1.weight": {"graphs": ["x"], "shape": [2, 5, 3]},
            "encoder.conv2.weight": {"graphs": ["x"], "shape": [2, 2, 3]},
            "encoder.norm.weight": {"graphs": ["x"], "shape": [6]},
            "encoder.layers.0.ffn.up.weight": tensor(6, 7),
            "encoder.layers.0.ffn.up.scales": {"graphs": ["x"], "shape": [6, 1]},
            "adapter.linear1.weight": tensor(3, 5, quantized=False),
            "decoder.layers.0.attention.q.weight": tensor(4, 11),
            "decoder.layers.0.delay.linear1.weight": tensor(9, 9, graphs=(), quantized=False),
            "decoder.embedding.weight": tensor(100, 2),
        },
    }


def test_every_weight_is_used_once_per_row() -> None:
    counts = multiply_adds_per_step(manifest(), None, 1)
    assert counts["convolution"] == 8 * 2 * 5 * 3 + 4 * 2 * 2 * 3
    assert (counts["encoder"], counts["adapter"]) == (4 * 6 * 7, 3 * 5)
    assert (counts["decoder"], counts["head"]) == (4 * 11, 100 * 2)
    assert counts["integer"] == 4 * 42 + 44 + 200  # not the adapter: its weights are floats
    assert counts["encoder_attention"] == 4 * 10 * 2 * 2 * 3 * 4
    assert counts["decoder_attention"] == 20 * 2 * 1 * 5 * 8
    assert counts["total"] == sum(value for name, value in counts.items() if name not in ("integer", "total"))


def test_attention_is_counted_at_the_fill_of_the_run() -> None:
    """The first two steps: frames see 1 to 8 frames, tokens 1 and 2."""
    counts = multiply_adds_per_step(manifest(), 0, 2)
    assert counts["encoder_attention"] == 4 * 4.5 * 48
    assert counts["decoder_attention"] == 1.5 * 80
    assert multiply_adds_per_step(manifest(), 1000, 3) == multiply_adds_per_step(manifest(), None, 1)


def test_a_real_package_agrees_with_its_dimensions() -> None:
    package = read_manifest(find_package("tiny-en"))
    counts, config = multiply_adds_per_step(package, None, 1), package["config"]
    decoder, encoder, adapter = config["decoder"], config["encoder"], config["adapter"]
    queries, keys = (decoder[name] * decoder["head_dim"] for name in ("heads", "kv_heads"))
    per_layer = decoder["width"] * (2 * queries + 2 * keys + 3 * decoder["ffn_width"])
    assert counts["decoder"] == decoder["layers"] * per_layer
    assert counts["head"] == decoder["vocab_size"] * decoder["width"]
    inner = encoder["heads"] * encoder["head_dim"]
    assert counts["encoder"] == 4 * encoder["layers"] * encoder["width"] * (
        4 * inner + 3 * encoder["ffn_width"]
    )
    assert counts["adapter"] == adapter["hidden_width"] * (adapter["input_width"] + adapter["output_width"])


@pytest.mark.parametrize(("rows", "roof_ms"), [(1, 100.0), (8, 400.0)])
def test_the_higher_roof_counts(rows: int, roof_ms: float) -> None:
    """2 GB at 20 GB/s take 100 ms; 5 G multiply-adds per row at 100 G/s take 50 ms."""
    figures = Pass(rows, 2e9, rows * 5e9, 2 * roof_ms).figures(20.0, 100.0)
    assert (figures["memory_ms"], figures["compute_ms"]) == (100.0, 50.0 * rows)
    assert figures["ratio_to_roof"] == 2.0 and figures["intensity"] == 2.5 * rows
    assert figures["gmacs"] == pytest.approx(rows * 5e9 / (2 * roof_ms) / 1e6)


def test_passes_read_their_part_of_the_model() -> None:
    weights = {"encoder": 40, "adapter": 2, "decoder": 30, "head": 5}
    counts = multiply_adds_per_step(manifest(), None, 1)
    made = passes(
        {"weights": weights, "kv_read": {"encoder": 7, "decoder": 3}}, counts, (2.0, 1.0), (3.0, 4.0)
    )
    assert (made["encode"].bytes, made["decode"].bytes) == (49, 38)
    assert made["encode"].multiply_adds + made["decode"].multiply_adds * 2 / 3 == pytest.approx(
        2 * counts["total"]
    )
    nothing = passes(
        {"weights": weights, "kv_read": {"encoder": 7, "decoder": 3}}, counts, (0.0, 0.0), (1.0, 4.0)
    )
    assert list(nothing) == ["decode"]
