"""A small graph writer: nodes, constants, and weights that stay where they are in weights.bin.

Every weight becomes an initialiser whose external data names the byte range of the tensor table, so a graph
never holds, copies or converts a weight: the two graphs together are about a megabyte for the 4B model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from voxtral_edge.errors import ModelFormatError

STANDARD_OPSET = 24
"""Opset 24 is the first with TensorScatter, the ring write; Attention and RotaryEmbedding came with 23."""
IR_VERSION = 11
MICROSOFT_DOMAIN = "com.microsoft"
PRODUCER = "voxtral-edge"

ONNX_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "uint8": TensorProto.UINT8,
    "int64": TensorProto.INT64,
}


class GraphWriter:
    """Collects one graph. Values are referred to by name; every method returns the name it produced."""

    def __init__(self, name: str, tensors: dict[str, dict[str, Any]]) -> None:
        self.name = name
        self._tensors = tensors
        self._nodes: list[onnx.NodeProto] = []
        self._widened: set[str] = set()
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._value_info: list[onnx.ValueInfoProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    # ------------------------------------------------------------------ inputs and outputs

    def input(self, name: str, dtype: str, shape: list[int | str], doc: str) -> str:
        """Declare a graph input; strings in `shape` are symbolic dimensions."""
        self._inputs.append(helper.make_tensor_value_info(name, ONNX_TYPES[dtype], shape, doc))
        return name

    def output(self, name: str, dtype: str, shape: list[int | str], doc: str) -> None:
        """Make the value `name` a graph output."""
        self._outputs.append(helper.make_tensor_value_info(name, ONNX_TYPES[dtype], shape, doc))

    # ------------------------------------------------------------------ nodes and constants

    def node(self, operator: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        """Append one node with one output, called like its output so that profiles are readable."""
        self._nodes.append(
            helper.make_node(operator, inputs, [output], name=output, domain=domain or None, **attributes)
        )
        return output

    def constant(self, name: str, values: Any, dtype: Any) -> str:
        """A small internal constant (kept in the .onnx file); the same name may be asked for repeatedly."""
        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(np.asarray(values, dtype), name)
        return name

    def int64(self, *values: int) -> str:
        """A one-dimensional int64 constant, shared by everybody who needs the same numbers."""
        return self.constant("int64." + "_".join(map(str, values)).replace("-", "minus"), values, np.int64)

    # ------------------------------------------------------------------ weights

    def tensor(self, name: str) -> dict[str, Any]:
        """The tensor table's entry, checked to be meant for this graph."""
        entry = self._tensors.get(name)
        if entry is None:
            raise ModelFormatError(
                f"The {self.name} graph needs the tensor '{name}', which the manifest's tensor table does "
                "not have. Export the checkpoint again."
            )
        if self.name not in entry["graphs"]:
            raise ModelFormatError(
                f"Tensor '{name}' is used by the {self.name} graph but its entry says "
                f"graphs={entry['graphs']}."
            )
        return entry

    def weight(self, name: str, shape: list[int] | None = None) -> str:
        """The tensor `name` as an initialiser over its bytes in the weight file; `shape` is expected."""
        entry = self.tensor(name)
        if shape is not None and list(entry["shape"]) != shape:
            raise ModelFormatError(
                f"Tensor '{name}' has the shape {list(entry['shape'])}; the configuration in the manifest "
                f"asks for {shape}."
            )
        if name not in self._initializers:
            proto = TensorProto(
                name=name,
                data_type=ONNX_TYPES[entry["dtype"]],
                dims=entry["shape"],
                data_location=TensorProto.EXTERNAL,
            )
            for key in ("location", "offset", "length"):
                item = proto.external_data.add()
                item.key = key
                item.value = str(entry[{"location": "file", "offset": "offset", "length": "bytes"}[key]])
            self._initializers[name] = proto
        return name

    def float32_weight(self, name: str, shape: list[int]) -> str:
        """As `weight`, widened to float32 in the graph when stored as float16 (folded at load)."""
        value = self.weight(name, shape)
        if self.tensor(name)["dtype"] == "float32":
            return value
        widened = f"{name}.float32"
        if widened not in self._widened:
            self._widened.add(widened)
            self.node("Cast", [value], widened, to=TensorProto.FLOAT)
        return widened

    def declare(self, value: str, shape: list[int | str], dtype: str = "float32") -> str:
        """State the shape of `value` where ONNX cannot infer it (operators of another domain)."""
        self._value_info.append(helper.make_tensor_value_info(value, ONNX_TYPES[dtype], shape))
        return value

    # ------------------------------------------------------------------ result

    def finish(self, doc: str) -> onnx.ModelProto:
        """The model. Equal calls give equal bytes: no clock, no version, no unordered container."""
        missing = sorted(
            name
            for name, entry in self._tensors.items()
            if self.name in entry["graphs"] and name not in self._initializers
        )
        if missing:
            raise ModelFormatError(
                f"The tensor table gives {missing[0]!r} ({len(missing)} tensors in all) to the {self.name} "
                "graph, which has no use for it."
            )
        graph = helper.make_graph(
            self._nodes,
            self.name,
            self._inputs,
            self._outputs,
            list(self._initializers.values()),
            doc,
            self._value_info,
        )
        opsets = [helper.make_opsetid("", STANDARD_OPSET)]
        if any(node.domain == MICROSOFT_DOMAIN for node in self._nodes):
            opsets.append(helper.make_opsetid(MICROSOFT_DOMAIN, 1))
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name=PRODUCER)
