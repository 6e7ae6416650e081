"""Which tensors an .onnx file holds or points at, without the onnx package.

A walk over the protobuf wire format that visits every place of a model that can hold a tensor: initialisers,
sparse ones, attributes, nested graphs and functions. It exists because onnxruntime opens the files that
external data names: what a graph points at is compared with the manifest before the graph is handed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from voxtral_edge.errors import ModelFormatError

GRAPH_LIMIT_BYTES = 256 << 20
"""Both graphs of the 4B model are below 1 MB; constants are small by design."""
DEPTH_LIMIT = 32

# message -> field number -> what is inside. Fields that cannot lead to a tensor are skipped.
_MODEL = {7: "graph", 25: "function"}
_GRAPH = {1: "node", 5: "initializer", 15: "sparse"}
_NODE = {5: "attribute"}
_ATTRIBUTE = {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"}
_FUNCTION = {7: "node", 11: "attribute"}
_SPARSE = {1: "tensor", 2: "tensor"}
_CHILDREN = {
    "model": _MODEL,
    "graph": _GRAPH,
    "node": _NODE,
    "attribute": _ATTRIBUTE,
    "function": _FUNCTION,
    "sparse": _SPARSE,
}
_NODE_INPUT = 1
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 1, 2, 8, 13, 14

DTYPES = {1: "float32", 2: "uint8", 7: "int64", 10: "float16", 11: "float64"}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a graph file; `external` is its external data, None for values in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    external: dict[str, str] | None
    initializer: bool
    """True for an ordinary initialiser of the main graph, false for any other place."""


@dataclass
class GraphContents:
    """All tensors of a graph file, and the names its nodes read."""

    tensors: list[StoredTensor] = field(default_factory=list)
    used: set[str] = field(default_factory=set)


def read_graph(path: Path) -> GraphContents:
    """Walk the model in `path`; ModelFormatError if it is not a well-formed protobuf message."""
    size = path.stat().st_size
    if size > GRAPH_LIMIT_BYTES:
        raise ModelFormatError(
            f"'{path}' has {size} bytes; the weights of a package are not inside its graphs."
        )
    contents = GraphContents()
    try:
        _walk(memoryview(path.read_bytes()), "model", contents, 0)
    except (_Malformed, UnicodeDecodeError) as error:
        raise ModelFormatError(f"'{path}' is not an ONNX model: {error}. Export the model again.") from error
    return contents


class _Malformed(Exception):
    pass


def _walk(data: memoryview, message: str, contents: GraphContents, depth: int) -> None:
    if depth > DEPTH_LIMIT:
        raise _Malformed("messages nested too deeply")
    children = _CHILDREN[message]
    for number, value in _fields(data):
        if message == "node" and number == _NODE_INPUT and isinstance(value, memoryview):
            contents.used.add(bytes(value).decode("utf-8"))
        child = children.get(number)
        if child is None:
            continue
        if not isinstance(value, memoryview):
            raise _Malformed(f"field {number} of a {message} is not a message")
        if child in ("initializer", "tensor"):
            # Depth 1 is the main graph; an initialiser of a nested graph is not one of the package's weights.
            contents.tensors.append(_tensor(value, child == "initializer" and depth == 1))
        else:
            _walk(value, child, contents, depth + 1)


def _tensor(data: memoryview, initializer: bool) -> StoredTensor:
    name, kind, location = "", 0, 0
    shape: list[int] = []
    external: dict[str, str] = {}
    for number, value in _fields(data):
        if number == _TENSOR_DIMS:
            shape.extend(_packed(value) if isinstance(value, memoryview) else [value])
        elif number == _TENSOR_TYPE and isinstance(value, int):
            kind = value
        elif number == _TENSOR_LOCATION and isinstance(value, int):
            location = value
        elif number == _TENSOR_NAME and isinstance(value, memoryview):
            name = bytes(value).decode("utf-8")
        elif number == _TENSOR_EXTERNAL and isinstance(value, memoryview):
            key, text = _string_pair(value)
            if key in external:
                raise _Malformed(f"tensor {name!r} gives '{key}' of its external data twice")
            external[key] = text
    return StoredTensor(
        name,
        DTYPES.get(kind, f"ONNX type {kind}"),
        tuple(shape),
        external if location or external else None,
        initializer,
    )


def _string_pair(data: memoryview) -> tuple[str, str]:
    values = {1: "", 2: ""}
    for number, value in _fields(data):
        if number in values and isinstance(value, memoryview):
            values[number] = bytes(value).decode("utf-8")
    return values[1], values[2]


def _packed(data: memoryview) -> Iterator[int]:
    position = 0
    while position < len(data):
        value, position = _varint(data, position)
        yield value


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value): an int for varints, a view for length-delimited fields, others skipped."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire == 2:
            length, position = _varint(data, position)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise _Malformed(f"wire type {wire}")
        if length > len(data) - position:
            raise _Malformed("a field is longer than what is left of the file")
        if wire == 2:
            yield number, data[position : position + length]
        position += length


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise _Malformed("the file ends inside a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _Malformed("a number longer than 64 bits")
