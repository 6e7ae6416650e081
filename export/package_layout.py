"""Where every tensor lies in weights.bin, known before the first byte is written (an exact disk check)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .quantize import BLOCK
from .schema import TensorSpec

# Any SIMD load may be aligned; a page for tensors large enough to be mapped or read alone.
ALIGNMENT, PAGE, PAGE_ALIGNED_FROM = 64, 4096, 1 << 20
_ITEM_BYTES = {"float32": 4, "float16": 2, "uint8": 1}
_BITS = {"int8": 8, "int4": 4}


@dataclass(frozen=True)
class Placement:
    """One entry of the tensor table."""

    name: str
    offset: int
    size_bytes: int
    dtype: str
    shape: tuple[int, ...]
    graphs: tuple[str, ...]
    quantization: dict[str, Any] | None = None

    def to_manifest(self) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "file": "weights.bin",
            "offset": self.offset,
            "bytes": self.size_bytes,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "graphs": list(self.graphs),
        }
        if self.quantization is not None:
            entry["quantization"] = self.quantization
        return entry


@dataclass(frozen=True)
class PlannedTensor:
    """A checkpoint tensor with its precision and its one or two entries in weights.bin."""

    spec: TensorSpec
    precision: str
    weight: Placement
    scales: Placement | None

    @property
    def size_bytes(self) -> int:
        return self.weight.size_bytes + (self.scales.size_bytes if self.scales else 0)


@dataclass(frozen=True)
class PackageLayout:
    tensors: list[PlannedTensor]
    weight_bytes: int

    def table(self) -> dict[str, Any]:
        """The manifest's `tensors` object."""
        entries = {}
        for tensor in self.tensors:
            entries[tensor.weight.name] = tensor.weight.to_manifest()
            if tensor.scales is not None:
                entries[tensor.scales.name] = tensor.scales.to_manifest()
        return entries


def scales_name(weight_name: str) -> str:
    return weight_name.removesuffix(".weight") + ".scales"


def plan_layout(specs: list[TensorSpec], precision: dict[str, str]) -> PackageLayout:
    """Places all tensors in order. `precision` maps each group to fp32, fp16, int8 or int4."""
    tensors, end = [], 0
    for spec in specs:
        chosen = precision[spec.group] if spec.group else "fp32"
        if chosen in _BITS:
            weight, scales = _quantised(spec, _BITS[chosen], end)
            end = scales.offset + scales.size_bytes
            tensors.append(PlannedTensor(spec, chosen, weight, scales))
        else:
            weight = _place(
                spec.name, end, "float32" if chosen == "fp32" else "float16", spec.shape, spec.graphs
            )
            end = weight.offset + weight.size_bytes
            tensors.append(PlannedTensor(spec, chosen, weight, None))
    return PackageLayout(tensors, end)


def _quantised(spec: TensorSpec, bits: int, end: int) -> tuple[Placement, Placement]:
    rows, columns = spec.shape
    blocks = -(-columns // BLOCK)
    quantization = {
        "bits": bits,
        "block": BLOCK,
        "scheme": "symmetric",
        "zero_point": 1 << (bits - 1),
        "layout": "matmul_nbits",
        "rows": rows,
        "columns": columns,
        "scales": scales_name(spec.name),
    }
    weight = _place(spec.name, end, "uint8", (rows, blocks, BLOCK * bits // 8), spec.graphs, quantization)
    scales = _place(
        scales_name(spec.name), weight.offset + weight.size_bytes, "float16", (rows, blocks), spec.graphs
    )
    return weight, scales


def _place(
    name: str,
    end: int,
    dtype: str,
    shape: tuple[int, ...],
    graphs: tuple[str, ...],
    quantization: dict[str, Any] | None = None,
) -> Placement:
    size = _ITEM_BYTES[dtype]
    for dimension in shape:
        size *= dimension
    alignment = PAGE if size >= PAGE_ALIGNED_FROM else ALIGNMENT
    return Placement(name, -(-end // alignment) * alignment, size, dtype, shape, graphs, quantization)
