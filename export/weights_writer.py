"""Writes weights.bin in one pass: strips are read and encoded by a few threads, written in order."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from voxtral_edge.errors import ModelFormatError

from .checkpoint import row_strips
from .package_layout import PackageLayout, PlannedTensor
from .quantize import quantize_rows
from .schema import TensorSpec

# Values per strip: 4 MiB of float32. With its temporaries and the strips in flight the exporter stays near
# 0.2 GB.
STRIP_ELEMENTS = 1 << 20


QuantizeInt4 = Callable[[np.ndarray, str], tuple[np.ndarray, np.ndarray]]


class TensorSource(Protocol):
    """What can be exported: `read` gives rows of a canonical tensor as float32 and is thread-safe."""

    def read(self, spec: TensorSpec, first: int, count: int) -> np.ndarray: ...


class HashingFile:
    """A new file written front to back, with its sha256 computed on the way."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self._hash, self.size_bytes = hashlib.sha256(), 0

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data).cast("B")
        self._hash.update(view)
        self.size_bytes += len(view)
        while view:
            view = view[self._file.write(view) :]

    def pad_to(self, offset: int) -> None:
        self.write(bytes(offset - self.size_bytes))

    def close(self) -> dict[str, Any]:
        """Returns the manifest's entry of the file. `AtomicFolder.commit` makes the bytes durable."""
        self._file.close()
        return {"bytes": self.size_bytes, "sha256": self._hash.hexdigest()}


@dataclass(frozen=True)
class _Strip:
    tensor: PlannedTensor
    first: int
    count: int
    last: bool


def write_weights(
    source: TensorSource,
    layout: PackageLayout,
    path: Path,
    *,
    threads: int = 2,
    scale_search: bool = True,
    quantize_int4: QuantizeInt4 | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Writes all tensors of `layout`; returns {"bytes", "sha256"}. `on_bytes` hears of every piece written.
    `quantize_int4` (rows, name) stands in for `quantize_rows` to int4.

    Memory is bounded by threads + 2 strips, whatever the size of the tensors; the scales of one tensor (25
    MB for a 402 M element table) wait until its weights are out. Raises ModelFormatError naming a tensor
    that cannot be stored, OSError if the disk refuses.
    """
    output = HashingFile(path)
    scales: list[np.ndarray] = []
    try:
        with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="export") as pool:

            def encode(strip: _Strip) -> _Encoded:
                return _encode(source, strip, quantize_int4 or _int4_rows(scale_search))

            for strip, encoded in _encoded_in_order(pool, layout, threads + 2, encode):
                weight, strip_scales = encoded
                before = output.size_bytes
                if strip.first == 0:
                    output.pad_to(strip.tensor.weight.offset)
                output.write(_bytes_of(weight))
                if strip_scales is not None:
                    scales.append(strip_scales)
                if strip.last and strip.tensor.scales is not None:
                    output.pad_to(strip.tensor.scales.offset)
                    output.write(_bytes_of(np.concatenate(scales)))
                    scales.clear()
                if on_bytes is not None:
                    on_bytes(output.size_bytes - before)
        if output.size_bytes != layout.weight_bytes:
            raise AssertionError(f"wrote {output.size_bytes} bytes, planned {layout.weight_bytes}")
    except BaseException:
        output.close()
        raise
    return output.close()


def _bytes_of(values: np.ndarray) -> memoryview:
    """The values as stored: little-endian, row-major."""
    stored = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return stored.reshape(-1).view(np.uint8).data


def _strips(layout: PackageLayout) -> Iterator[_Strip]:
    for tensor in layout.tensors:
        rows = tensor.spec.shape[0]
        for first, count in row_strips(tensor.spec, STRIP_ELEMENTS):
            yield _Strip(tensor, first, count, first + count == rows)


_Encoded = tuple[np.ndarray, "np.ndarray | None"]


def _encoded_in_order(
    pool: ThreadPoolExecutor, layout: PackageLayout, in_flight: int, encode: Callable[[_Strip], _Encoded]
) -> Iterator[tuple[_Strip, _Encoded]]:
    """Encodes strips in the pool, at most `in_flight` ahead, and yields them in file order."""
    waiting: deque[tuple[_Strip, Future[_Encoded]]] = deque()
    try:
        for strip in _strips(layout):
            waiting.append((strip, pool.submit(encode, strip)))
            if len(waiting) >= in_flight:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def _int4_rows(scale_search: bool) -> QuantizeInt4:
    return lambda rows, name: quantize_rows(rows, 4, name, scale_search)


def _encode(source: TensorSource, strip: _Strip, quantize_int4: QuantizeInt4) -> _Encoded:
    spec = strip.tensor.spec
    rows = source.read(spec, strip.first, strip.count)
    precision = strip.tensor.precision
    if precision == "int8":
        return quantize_rows(rows, 8, spec.name)
    if precision == "int4":
        return quantize_int4(rows, spec.name)
    if not np.isfinite(rows).all():
        raise ModelFormatError(
            f"tensor {spec.name!r} holds values that are not finite; the checkpoint is damaged"
        )
    if precision == "fp32":
        return rows, None
    with np.errstate(over="ignore"):
        half = rows.astype(np.float16)
    if not np.isfinite(half).all():
        raise ModelFormatError(
            f"tensor {spec.name!r} holds {float(np.abs(rows).max()):.4g}, which does not fit fp16 (65504);"
            " export group"
            f" {spec.group} as fp32 with a recipe"
        )
    return half, None
