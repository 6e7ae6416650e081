"""Windowed attention over a true ring of keys and values, with 64-bit positions.

A ring has `slots` places; the row of absolute position p lives in slot p mod slots. TensorScatter writes the
new rows, and the mask is computed from positions alone, in int64: nothing in the graph grows with time and no
table limits it. Two facts make one mask right for every state of the ring:

* after writing rows up to position `last`, slot s holds position last − ((last − s) mod slots);
* that number is below `first_position` exactly when the slot has not been written since the stream began.

A caller may go back and write positions again (rejected drafts): with slots ≥ window − 1 + rows per call,
whatever stale row lies ahead of `last` counts as a position that is already outside every window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from .onnx_layers import linear
from .onnx_nodes import GraphWriter


@dataclass(frozen=True)
class Attention:
    """Dimensions of one attention layer; `window` counts the query itself."""

    width: int
    heads: int
    kv_heads: int
    head_dim: int
    window: int
    rope_theta: float
    bias: bool
    rows: str
    slots: str
    """Names of the symbolic dimensions: rows of a call, slots of a ring."""

    @staticmethod
    def from_config(config: dict[str, Any], window: str, bias: bool, rows: str, slots: str) -> Attention:
        """From the manifest's `config.encoder` or `config.decoder`; `window` names the key holding it."""
        keys = ("width", "heads", "kv_heads", "head_dim", "rope_theta")
        sizes = {key: config[key] for key in keys}
        return Attention(**sizes, window=config[window], bias=bias, rows=rows, slots=slots)


@dataclass(frozen=True)
class Positions:
    """Values every layer of a graph shares: where to write, whom to see, how far to rotate."""

    write_index: str
    """int64 [1]: slot of the first new row."""
    mask: str
    """bool [rows, slots]: true where the query may look."""
    cosine: str
    sine: str
    """float32 [1, rows, head_dim / 2]."""


def ring_inputs(writer: GraphWriter, attention: Attention, layers: int) -> None:
    """Declare position, first_position and the caches of every layer."""
    unit = "encoder frame (20 ms)" if writer.name == "encoder" else "token (80 ms)"
    writer.input("position", "int64", [1], f"absolute index of the first new {unit}, 0 or more")
    writer.input(
        "first_position", "int64", [1], "position at which this stream began; older slots count as empty"
    )
    for layer in range(layers):
        for kind in ("key", "value"):
            writer.input(
                f"{kind}_cache.{layer}",
                "float32",
                _cache_shape(attention),
                f"ring: the row of position p is in slot p mod {attention.slots}; zeros at the start. "
                f"At least window - 1 + rows per call slots (window {attention.window})",
            )


def positions(writer: GraphWriter, x: str, attention: Attention) -> Positions:
    """Write index, mask and rotations for the rows of `x` ([rows, width])."""
    zero, one = writer.constant("zero", 0, np.int64), writer.constant("one", 1, np.int64)
    axes = writer.int64(0)
    rows = writer.node("Shape", [x], "rows", start=0, end=1)
    slots = writer.node("Shape", ["key_cache.0"], "slots", start=2, end=3)
    row = writer.node("Range", [zero, writer.node("Squeeze", [rows, axes], "row_count"), one], "row_index")
    slot = writer.node(
        "Range", [zero, writer.node("Squeeze", [slots, axes], "slot_count"), one], "slot_index"
    )
    query = writer.node("Add", ["position", row], "query_position")
    query_column = writer.node("Unsqueeze", [query, writer.int64(1)], "query_position.column")

    after = writer.node("Add", ["position", rows], "position_after")
    last = writer.node("Sub", [after, writer.int64(1)], "last_position")
    # ONNX Mod takes the divisor's sign, so the age is never negative, also before the ring is full.
    age = writer.node("Mod", [writer.node("Sub", [last, slot], "slot_distance"), slots], "slot_age")
    slot_position = writer.node("Sub", [last, age], "slot_position")
    reach = writer.node("Sub", [query_column, writer.int64(attention.window)], "before_window")
    past = writer.node("LessOrEqual", [slot_position, query_column], "mask.not_future")
    near = writer.node("Greater", [slot_position, reach], "mask.in_window")
    written = writer.node("GreaterOrEqual", [slot_position, "first_position"], "mask.written")
    seen = writer.node("And", [past, near], "mask.seen")
    mask = writer.node("And", [seen, written], "mask")
    write_index = writer.node("Mod", ["position", slots], "write_index")
    cosine, sine = _rotations(writer, query_column, attention)
    return Positions(write_index, mask, cosine, sine)


def _rotations(writer: GraphWriter, query_column: str, attention: Attention) -> tuple[str, str]:
    """cos and sin of position · theta^(−2j/d).

    The angle is made and reduced to one turn in double, because a float32 angle is off by 0.06 rad at 10⁶;
    below one turn float32 is exact to 2.4e-7, and onnxruntime before 1.32 has no double Cos on the CPU.
    """
    half = attention.head_dim // 2
    frequencies = attention.rope_theta ** (-2.0 * np.arange(half) / attention.head_dim)
    exact = writer.node("Cast", [query_column], "query_position.double", to=TensorProto.DOUBLE)
    angle = writer.node(
        "Mul", [exact, writer.constant("rope.frequencies", frequencies, np.float64)], "rope.angle"
    )
    turn = writer.constant("rope.turn", 2.0 * math.pi, np.float64)
    reduced = writer.node("Mod", [angle, turn], "rope.reduced", fmod=1)
    single = writer.node("Cast", [reduced], "rope.rows", to=TensorProto.FLOAT)
    batch = writer.node("Unsqueeze", [single, writer.int64(0)], "rope.batch")
    return writer.node("Cos", [batch], "rope.cosine"), writer.node("Sin", [batch], "rope.sine")


def ring_attention(
    writer: GraphWriter, x: str, layer: int, out: str, attention: Attention, place: Positions
) -> str:
    """`out` = o(attention(q(x), ring of k(x), ring of v(x))); also declares the layer's updated caches."""
    prefix = f"{writer.name}.layers.{layer}.attention"
    query = _heads(writer, x, f"{prefix}.q", f"{out}.q", attention, attention.heads, attention.bias)
    key = _heads(writer, x, f"{prefix}.k", f"{out}.k", attention, attention.kv_heads, False)
    value = _heads(writer, x, f"{prefix}.v", f"{out}.v", attention, attention.kv_heads, attention.bias)
    rotation = [place.cosine, place.sine]
    query = writer.node("RotaryEmbedding", [query, *rotation], f"{query}.rotated", interleaved=0)
    key = writer.node("RotaryEmbedding", [key, *rotation], f"{key}.rotated", interleaved=0)
    rings = [
        _write_ring(writer, f"{kind}_cache", layer, rows, attention, place)
        for kind, rows in (("key", key), ("value", value))
    ]
    # Softmax runs in the type of its input, float32; naming that in softmax_precision would shut out CUDA,
    # whose kernels refuse the attribute.
    scale = 1.0 / math.sqrt(attention.head_dim)
    mixed = writer.node("Attention", [query, *rings, place.mask], f"{out}.mixed", scale=scale)
    joined = writer.node("Transpose", [mixed], f"{out}.joined", perm=[0, 2, 1, 3])
    inner = attention.heads * attention.head_dim
    flat = writer.node("Reshape", [joined, writer.int64(-1, inner)], f"{out}.flat")
    size = {"rows": attention.width, "columns": inner}
    return linear(writer, flat, f"{prefix}.o", out, dimension=attention.rows, bias=attention.bias, **size)


def _heads(
    writer: GraphWriter, x: str, layer: str, out: str, attention: Attention, heads: int, bias: bool
) -> str:
    """A projection of x [rows, width] as [1, heads, rows, head_dim]."""
    size = {"rows": heads * attention.head_dim, "columns": attention.width}
    flat = linear(writer, x, layer, out, dimension=attention.rows, bias=bias, **size)
    shape = writer.int64(1, -1, heads, attention.head_dim)
    split = writer.node("Reshape", [flat, shape], f"{out}.split")
    return writer.node("Transpose", [split], f"{out}.heads", perm=[0, 2, 1, 3])


def _write_ring(
    writer: GraphWriter, cache: str, layer: int, rows: str, attention: Attention, place: Positions
) -> str:
    """The ring `cache` of `layer` with `rows` written at their positions, declared as a graph output."""
    inputs = [f"{cache}.{layer}", rows, place.write_index]
    ring = writer.node("TensorScatter", inputs, f"{cache}_out.{layer}", axis=2, mode="circular")
    doc = f"{cache}.{layer} with the new rows; may be bound to the same memory"
    writer.output(ring, "float32", _cache_shape(attention), doc)
    return ring


def _cache_shape(attention: Attention) -> list[int | str]:
    return [1, attention.kv_heads, attention.slots, attention.head_dim]
