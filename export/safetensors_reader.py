"""Reads one safetensors file row range by row range, without torch and without mapping it.

pread into a private buffer instead of mmap: mapped pages count as resident memory, and an 8.9 GB checkpoint
must be exported within 1.5 GB. Header rules are those of the safetensors format: 8 bytes little-endian
header length, a JSON object name -> {dtype, shape, data_offsets}, data without holes or overlaps.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from voxtral_edge.errors import ModelFormatError

from .fields import parse_json_object

MAX_HEADER_BYTES = 100_000_000
_ITEM_BYTES = {"BF16": 2, "F16": 2, "F32": 4}
# Sizes of types that may lie in a file but cannot be weights here; needed to check the offsets of all
# tensors.
_OTHER_BYTES = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "I32": 4,
    "U32": 4,
    "I16": 2,
    "U16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
}


@dataclass(frozen=True)
class StoredTensor:
    """dtype and shape as stored; `offset` counts bytes from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


class SafetensorsFile:
    """An open safetensors file. Reads are thread-safe (pread). Raises ModelFormatError for a damaged file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise ModelFormatError(f"cannot open {path}: {error.strerror}") from error
        try:
            self.tensors = self._read_header()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _pread(self, size: int, offset: int, what: str) -> bytearray:
        buffer = bytearray(size)
        view, done = memoryview(buffer), 0
        while done < size:
            try:
                count = os.preadv(self._descriptor, [view[done:]], offset + done)
            except OSError as error:
                raise ModelFormatError(f"cannot read {self.path}, {what}: {error.strerror}") from error
            if count == 0:
                raise ModelFormatError(
                    f"{self.path} ends inside {what}: {done} of {size} bytes at offset {offset}; copy the"
                    " file again"
                )
            done += count
        return buffer

    def _read_header(self) -> dict[str, StoredTensor]:
        file_bytes = os.fstat(self._descriptor).st_size
        first = bytes(self._pread(8, 0, "the header length"))
        if first == b"version ":
            raise ModelFormatError(
                f"{self.path} is a git-lfs pointer, not the weights; run `git lfs pull` in its folder"
            )
        (length,) = struct.unpack("<Q", first)
        if length > min(MAX_HEADER_BYTES, file_bytes - 8):
            raise ModelFormatError(
                f"{self.path}: header length {length} exceeds the file ({file_bytes} bytes) or the limit of"
                f" {MAX_HEADER_BYTES}; this is not a complete safetensors file"
            )
        header = parse_json_object(bytes(self._pread(length, 8, "the header")), f"{self.path} (header)")
        header.pop("__metadata__", None)
        start = 8 + length
        tensors = {name: self._entry(name, entry, start) for name, entry in header.items()}
        end = start
        for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].offset, item[1].size_bytes)):
            if tensor.offset != end:
                raise ModelFormatError(
                    f"{self.path}: tensor {name!r} starts at byte {tensor.offset}, expected {end} (hole or"
                    " overlap)"
                )
            end = tensor.offset + tensor.size_bytes
        if end != file_bytes:
            raise ModelFormatError(
                f"{self.path} has {file_bytes} bytes but its header describes {end}; the file is truncated"
                " or damaged,"
                " copy or download it again"
            )
        return tensors

    def _entry(self, name: str, entry: Any, start: int) -> StoredTensor:
        where = f"{self.path}: tensor {name!r}"
        if not isinstance(entry, dict):
            raise ModelFormatError(f"{where} is described by {type(entry).__name__}, expected an object")
        dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        item_bytes = _ITEM_BYTES.get(str(dtype)) or _OTHER_BYTES.get(str(dtype))
        if item_bytes is None:
            raise ModelFormatError(f"{where} has unknown dtype {str(dtype)[:40]!r}")
        if not _natural_numbers(shape) or not _natural_numbers(offsets) or len(offsets) != 2:
            raise ModelFormatError(f"{where} has a malformed shape or data_offsets")
        size = item_bytes
        for dimension in shape:
            size *= dimension
        if offsets[1] - offsets[0] != size:
            raise ModelFormatError(
                f"{where}: {dtype} {shape} needs {size} bytes, its offsets span {offsets[1] - offsets[0]}"
            )
        return StoredTensor(str(dtype), tuple(shape), start + offsets[0], size)

    def read_rows(self, name: str, first: int, count: int) -> np.ndarray:
        """Rows first .. first+count of the leading axis as float32 [count, ...]."""
        tensor = self.tensors[name]
        if tensor.dtype not in _ITEM_BYTES:
            raise ModelFormatError(
                f"{self.path}: tensor {name!r} is stored as {tensor.dtype}; only BF16, F16 and F32 can be"
                " exported"
            )
        row_elements = 1
        for dimension in tensor.shape[1:]:
            row_elements *= dimension
        row_bytes = row_elements * _ITEM_BYTES[tensor.dtype]
        raw = self._pread(count * row_bytes, tensor.offset + first * row_bytes, f"tensor {name!r}")
        return _to_float32(raw, tensor.dtype).reshape(count, *tensor.shape[1:])


def _natural_numbers(value: Any) -> TypeGuard[list[int]]:
    """At most 8 integers in 0 .. 2^48: their products are exact, and absurd ones fail the size test."""
    return (
        isinstance(value, list)
        and len(value) <= 8
        and all(
            isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 1 << 48 for item in value
        )
    )


def _to_float32(raw: bytearray, dtype: str) -> np.ndarray:
    if dtype == "F32":
        return np.frombuffer(raw, "<f4")
    if dtype == "F16":
        return np.frombuffer(raw, "<f2").astype(np.float32)
    # bfloat16 is the upper half of a float32.
    wide = np.frombuffer(raw, "<u2").astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)
