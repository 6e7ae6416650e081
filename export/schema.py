"""The tensors a model must have, from its dimensions: canonical name, shape, group, graph, rope heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .model_config import DecoderConfig, EncoderConfig, ModelConfig


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of the package.

    group        precision group of a matrix, or None for what always stays float32
    graphs       ONNX graphs that hold it as an initializer
    rope_heads   heads whose rows a Mistral file interleaves (spec 2.3); 0 for every other tensor
    """

    name: str
    shape: tuple[int, ...]
    group: str | None
    graphs: tuple[str, ...]
    rope_heads: int = 0

    @property
    def elements(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count


def _attention(
    prefix: str, group: str, graph: str, config: EncoderConfig | DecoderConfig, biased: bool
) -> Iterator[TensorSpec]:
    query, key = config.heads * config.head_dim, config.kv_heads * config.head_dim
    rows = {"q": (query, config.heads), "k": (key, config.kv_heads), "v": (key, 0)}
    for part, (size, rope_heads) in rows.items():
        name = f"{prefix}.attention.{part}"
        yield TensorSpec(f"{name}.weight", (size, config.width), group, (graph,), rope_heads)
        if biased and part != "k":
            yield TensorSpec(f"{name}.bias", (size,), None, (graph,), rope_heads)
    yield TensorSpec(f"{prefix}.attention.o.weight", (config.width, query), group, (graph,))
    if biased:
        yield TensorSpec(f"{prefix}.attention.o.bias", (config.width,), None, (graph,))


def _feed_forward(
    prefix: str, group: str, graph: str, width: int, ffn_width: int, biased: bool
) -> Iterator[TensorSpec]:
    yield TensorSpec(f"{prefix}.ffn.gate.weight", (ffn_width, width), group, (graph,))
    yield TensorSpec(f"{prefix}.ffn.up.weight", (ffn_width, width), group, (graph,))
    yield TensorSpec(f"{prefix}.ffn.down.weight", (width, ffn_width), group, (graph,))
    if biased:
        yield TensorSpec(f"{prefix}.ffn.down.bias", (width,), None, (graph,))


def _encoder(config: EncoderConfig) -> Iterator[TensorSpec]:
    graphs = ("encoder",)
    for index, columns in ((1, config.mel_bins), (2, config.width)):
        yield TensorSpec(f"encoder.conv{index}.weight", (config.width, columns, 3), None, graphs)
        yield TensorSpec(f"encoder.conv{index}.bias", (config.width,), None, graphs)
    for layer in range(config.layers):
        prefix = f"encoder.layers.{layer}"
        yield TensorSpec(f"{prefix}.attention_norm.weight", (config.width,), None, graphs)
        yield from _attention(prefix, "encoder.attention", "encoder", config, biased=True)
        yield TensorSpec(f"{prefix}.ffn_norm.weight", (config.width,), None, graphs)
        yield from _feed_forward(
            prefix, "encoder.ffn", "encoder", config.width, config.ffn_width, biased=True
        )
    yield TensorSpec("encoder.norm.weight", (config.width,), None, graphs)


def _decoder(config: DecoderConfig) -> Iterator[TensorSpec]:
    graphs = ("decoder",)
    yield TensorSpec("decoder.embedding.weight", (config.vocab_size, config.width), "embedding", graphs)
    for layer in range(config.layers):
        prefix = f"decoder.layers.{layer}"
        yield TensorSpec(f"{prefix}.attention_norm.weight", (config.width,), None, graphs)
        yield from _attention(prefix, "decoder.attention", "decoder", config, biased=False)
        yield TensorSpec(f"{prefix}.ffn_norm.weight", (config.width,), None, graphs)
        yield from _feed_forward(
            prefix, "decoder.ffn", "decoder", config.width, config.ffn_width, biased=False
        )
        # The delay scales are a graph input, computed once per delay by the runtime, so no graph holds these
        # two.
        hidden = config.delay_condition_width
        yield TensorSpec(f"{prefix}.delay.linear1.weight", (hidden, config.width), None, ())
        yield TensorSpec(f"{prefix}.delay.linear2.weight", (config.width, hidden), None, ())
    yield TensorSpec("decoder.norm.weight", (config.width,), None, graphs)


def tensor_specs(config: ModelConfig) -> list[TensorSpec]:
    """All tensors in the order the forward pass reads them (which is their order in weights.bin)."""
    adapter = config.adapter
    return [
        *_encoder(config.encoder),
        TensorSpec(
            "adapter.linear1.weight", (adapter.hidden_width, adapter.input_width), "adapter", ("encoder",)
        ),
        TensorSpec(
            "adapter.linear2.weight", (adapter.output_width, adapter.hidden_width), "adapter", ("encoder",)
        ),
        *_decoder(config.decoder),
    ]
