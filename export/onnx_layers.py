"""Layers both graphs are made of: products with any stored precision, table rows, norms, the gated FFN."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from voxtral_edge.errors import ModelFormatError

from .onnx_nodes import MICROSOFT_DOMAIN, GraphWriter

INT8_ACTIVATIONS = 4
"""MatMulNBits accuracy_level 4: activations in symmetric int8 per block, as the native kernels do."""


def linear(
    writer: GraphWriter,
    x: str,
    layer: str,
    out: str,
    *,
    rows: int,
    columns: int,
    dimension: str,
    bias: bool = False,
) -> str:
    """`out` = x · weightᵀ (+ bias); x float32 [dimension, columns], weight `{layer}.weight` [rows, columns].

    The weight's precision is read from the tensor table, tensor by tensor, so any mixed recipe works.
    """
    name = f"{layer}.weight"
    bias_value = writer.weight(f"{layer}.bias", [rows]) if bias else None
    quantization = writer.tensor(name).get("quantization")
    if quantization is None:
        inputs = [x, writer.float32_weight(name, [rows, columns])]
        return writer.node("Gemm", inputs + ([bias_value] if bias_value else []), out, transB=1)
    scales = _quantized(writer, name, quantization, rows, columns)
    product = f"{out}.product" if bias_value else out
    writer.node(
        "MatMulNBits",
        [x, name, scales],
        product,
        MICROSOFT_DOMAIN,
        K=columns,
        N=rows,
        bits=quantization["bits"],
        block_size=quantization["block"],
        accuracy_level=INT8_ACTIVATIONS,
    )
    writer.declare(product, [dimension, rows])
    return writer.node("Add", [product, bias_value], out) if bias_value else product


def table_rows(writer: GraphWriter, ids: str, name: str, out: str, *, rows: int, columns: int) -> str:
    """`out` = rows `ids` (int64 [k]) of the table `name` [rows, columns] as float32 [k, columns].

    The same initialiser serves the output head, so the table is stored once. Rows are gathered first and
    widened afterwards: k rows are touched, never the table. (GatherBlockQuantized could do the integer case,
    but it takes its scales in float32: 50 MB more for the 4B model, for k rows of arithmetic.)
    """
    quantization = writer.tensor(name).get("quantization")
    if quantization is None:
        stored = writer.node("Gather", [writer.weight(name, [rows, columns]), ids], f"{out}.stored", axis=0)
        return writer.node("Cast", [stored], out, to=TensorProto.FLOAT)
    _quantized(writer, name, quantization, rows, columns)
    blocks, block = -(-columns // quantization["block"]), quantization["block"]
    stored = writer.node("Gather", [name, ids], f"{out}.stored", axis=0)
    if quantization["bits"] == 4:
        stored = _nibbles(writer, stored, out, blocks, block)
    level = writer.node("Cast", [stored], f"{out}.level", to=TensorProto.FLOAT)
    zero = writer.constant(f"zero_point.{quantization['bits']}", quantization["zero_point"], np.float32)
    centred = writer.node("Sub", [level, zero], f"{out}.centred")
    scale = writer.node("Gather", [quantization["scales"], ids], f"{out}.stored_scale", axis=0)
    scale = writer.node("Cast", [scale], f"{out}.scale", to=TensorProto.FLOAT)
    scale = writer.node("Unsqueeze", [scale, writer.int64(2)], f"{out}.block_scale")
    scaled = writer.node("Mul", [centred, scale], f"{out}.scaled")
    shape = writer.int64(-1, blocks * block)
    if blocks * block == columns:
        return writer.node("Reshape", [scaled, shape], out)
    padded = writer.node("Reshape", [scaled, shape], f"{out}.padded")
    return writer.node("Slice", [padded, writer.int64(0), writer.int64(columns), writer.int64(1)], out)


def rms_norm(writer: GraphWriter, x: str, layer: str, out: str, width: int, epsilon: float) -> str:
    """`out` = x · rsqrt(mean(x²) + epsilon) · weight over the last axis, in float32."""
    weight = writer.weight(f"{layer}.weight", [width])
    return writer.node("RMSNormalization", [x, weight], out, axis=-1, epsilon=epsilon, stash_type=1)


def gated_ffn(
    writer: GraphWriter,
    x: str,
    layer: str,
    out: str,
    *,
    width: int,
    ffn_width: int,
    dimension: str,
    bias: bool,
) -> str:
    """`out` = down(silu(gate(x)) · up(x)); only `down` may carry a bias."""
    size: dict[str, Any] = {"rows": ffn_width, "columns": width, "dimension": dimension}
    gate = linear(writer, x, f"{layer}.gate", f"{out}.gate", **size)
    up = linear(writer, x, f"{layer}.up", f"{out}.up", **size)
    sigmoid = writer.node("Sigmoid", [gate], f"{out}.sigmoid")
    silu = writer.node("Mul", [gate, sigmoid], f"{out}.silu")
    gated = writer.node("Mul", [silu, up], f"{out}.gated")
    return linear(
        writer, gated, f"{layer}.down", out, rows=width, columns=ffn_width, dimension=dimension, bias=bias
    )


def _nibbles(writer: GraphWriter, packed: str, out: str, blocks: int, block: int) -> str:
    """uint8 [k, blocks, block/2] with the even column in the low nibble -> uint8 [k, blocks, block]."""
    fifteen = writer.constant("uint8.15", 15, np.uint8)
    four = writer.constant("uint8.4", 4, np.uint8)
    low = writer.node("BitwiseAnd", [packed, fifteen], f"{out}.even")
    high = writer.node("BitShift", [packed, four], f"{out}.odd", direction="RIGHT")
    last = writer.int64(3)
    low = writer.node("Unsqueeze", [low, last], f"{out}.even_column")
    high = writer.node("Unsqueeze", [high, last], f"{out}.odd_column")
    pairs = writer.node("Concat", [low, high], f"{out}.pairs", axis=3)
    return writer.node("Reshape", [pairs, writer.int64(-1, blocks, block)], f"{out}.levels")


def _quantized(writer: GraphWriter, name: str, quantization: dict[str, Any], rows: int, columns: int) -> str:
    """Check the integer layout, register weight and scales, return the float32 scales [rows, blocks]."""
    bits, block = quantization["bits"], quantization["block"]
    expected = {
        "layout": "matmul_nbits",
        "scheme": "symmetric",
        "zero_point": 1 << (bits - 1),
        "rows": rows,
        "columns": columns,
    }
    wrong = {key: quantization.get(key) for key, value in expected.items() if quantization.get(key) != value}
    if bits not in (4, 8) or wrong:
        raise ModelFormatError(
            f"Tensor '{name}': the graphs hold {expected} with 4 or 8 bits; its entry says bits={bits}, "
            f"{wrong}."
        )
    blocks = -(-columns // block)
    writer.weight(name, [rows, blocks, block * bits // 8])
    return writer.float32_weight(quantization["scales"], [rows, blocks])
