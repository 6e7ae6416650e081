"""Tensor table == ONNX: both graphs point at exactly what the manifest describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from voxtral_edge.engines.manifest import GRAPH_FILES, package_file
from voxtral_edge.engines.onnx_reader import GraphContents, StoredTensor, read_graph


def graph_problems(directory: Path, manifest: dict[str, Any]) -> list[str]:
    """One sentence per difference between the tensor table and the graphs; an empty list means they agree.

    Raises ModelFormatError when a graph file is missing, a link, or not an ONNX model.
    """
    problems = []
    for graph, name in GRAPH_FILES.items():
        problems += _problems(graph, name, read_graph(package_file(directory, name)), manifest["tensors"])
    return problems


def _problems(graph: str, file: str, contents: GraphContents, tensors: dict[str, Any]) -> list[str]:
    problems = []
    pointed: set[str] = set()
    for tensor in contents.tensors:
        if tensor.external is None:
            if tensor.initializer and tensor.name in tensors:
                problems.append(
                    f"{file}: tensor '{tensor.name}' is stored inside the graph instead of pointed at"
                )
            continue
        entry = tensors.get(tensor.name)
        if not tensor.initializer or entry is None:
            problems.append(
                f"{file}: tensor '{tensor.name}' points at {tensor.external.get('location')!r} but is "
                "not in the manifest's tensor table"
            )
            continue
        if tensor.name in pointed:
            problems.append(f"{file}: tensor '{tensor.name}' appears twice")
        pointed.add(tensor.name)
        problems += [f"{file}: tensor '{tensor.name}': {text}" for text in _differences(graph, tensor, entry)]
    for name, entry in tensors.items():
        if graph not in entry["graphs"]:
            continue
        if name not in pointed:
            problems.append(f"{file}: tensor '{name}' of the table is missing in the graph")
        elif name not in contents.used:
            problems.append(f"{file}: tensor '{name}' is used by no node")
    return problems


def _differences(graph: str, tensor: StoredTensor, entry: dict[str, Any]) -> list[str]:
    expected = {"location": entry["file"], "offset": str(entry["offset"]), "length": str(entry["bytes"])}
    found = tensor.external or {}
    texts = [
        f"{key} is {found.get(key)!r} in the graph and {expected.get(key)!r} in the manifest"
        for key in sorted({*expected, *found})
        if found.get(key) != expected.get(key)
    ]
    if tensor.dtype != entry["dtype"]:
        texts.append(f"dtype is {tensor.dtype} in the graph and {entry['dtype']} in the manifest")
    if list(tensor.shape) != entry["shape"]:
        texts.append(f"shape is {list(tensor.shape)} in the graph and {entry['shape']} in the manifest")
    if graph not in entry["graphs"]:
        texts.append(f"the manifest gives it to {entry['graphs']} only")
    return texts
