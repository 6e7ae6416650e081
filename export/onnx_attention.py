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
    slots: str
    """Name of the ring's symbolic dimension."""

    @staticmethod
    def from_config(config: dict[str, Any], window: str, bias: bool, slots: str) -> Attention:
        """From the manifest's `config.encoder` or `config.decoder`; `window` names the key holding it."""
        keys = ("width", "heads", "kv_heads", "head_dim")
        return Attention(
            **{key: config[key] for key in keys},
            window=config[window],
            rope_theta=config["rope_theta"],
            bias=bias,
            slots=slots,
        )


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
    writer: GraphWriter,
    x: str,
    prefix: str,
    layer: int,
    out: str,
    attention: Attention,
    place: Positions,
    dimension: str,
) -> str:
    """`out` = o(attention(q(x), ring of k(x), ring of v(x))); also declares the layer's updated caches."""
    projected = {}
    for kind, heads in (("q", attention.heads), ("k", attention.kv_heads), ("v", attention.kv_heads)):
        flat = linear(
            writer,
            x,
            f"{prefix}.{kind}",
            f"{out}.{kind}",
            rows=heads * attention.head_dim,
            columns=attention.width,
            dimension=dimension,
            bias=attention.bias and kind != "k",
        )
        shape = writer.int64(1, -1, heads, attention.head_dim)
        split = writer.node("Reshape", [flat, shape], f"{out}.{kind}.split")
        projected[kind] = writer.node("Transpose", [split], f"{out}.{kind}.heads", perm=[0, 2, 1, 3])
    for kind in ("q", "k"):
        projected[kind] = writer.node(
            "RotaryEmbedding",
            [projected[kind], place.cosine, place.sine],
            f"{out}.{kind}.rotated",
            interleaved=0,
        )
    rings = []
    for kind, rows in (("key", projected["k"]), ("value", projected["v"])):
        ring = f"{kind}_cache_out.{layer}"
        writer.node(
            "TensorScatter", [f"{kind}_cache.{layer}", rows, place.write_index], ring, axis=2, mode="circular"
        )
        writer.output(
            ring,
            "float32",
            _cache_shape(attention),
            f"{kind}_cache.{layer} with the new rows; may be bound to the same memory",
        )
        rings.append(ring)
    # Softmax runs in the type of its input, float32; naming that in softmax_precision would shut out CUDA,
    # whose kernels refuse the attribute.
    scale = 1.0 / math.sqrt(attention.head_dim)
    mixed = writer.node("Attention", [projected["q"], *rings, place.mask], f"{out}.mixed", scale=scale)
    joined = writer.node("Transpose", [mixed], f"{out}.joined", perm=[0, 2, 1, 3])
    inner = attention.heads * attention.head_dim
    flat = writer.node("Reshape", [joined, writer.int64(-1, inner)], f"{out}.flat")
    return linear(
        writer,
        flat,
        f"{prefix}.o",
        out,
        rows=attention.width,
        columns=inner,
        dimension=dimension,
        bias=attention.bias,
    )


def _cache_shape(attention: Attention) -> list[int | str]:
    return [1, attention.kv_heads, attention.slots, attention.head_dim]
