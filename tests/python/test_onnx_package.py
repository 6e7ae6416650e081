"""Form of the graphs: standard operators, one shared weight file, exact interface, deterministic bytes."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx_testing import make_package

import checkpoints
from voxtral_edge.engines.graph_check import graph_problems
from voxtral_edge.errors import ModelFormatError
from voxtral_edge.export.onnx_graphs import build_graphs

STANDARD = {
    "Add", "And", "Attention", "BitShift", "BitwiseAnd", "Cast", "Concat", "Conv", "Cos", "Gather", "Gelu",
    "Gemm", "Greater", "GreaterOrEqual", "Identity", "LessOrEqual", "Mod", "Mul", "RMSNormalization", "Range",
    "Reshape", "RotaryEmbedding", "Shape", "Sigmoid", "Sin", "Slice", "Squeeze", "Sub", "TensorScatter",
    "Transpose", "Unsqueeze",
}  # fmt: skip
MICROSOFT = {"MatMulNBits"}
LARGEST_CONSTANT_BYTES = 4096


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory):
    """(shape, precision) -> package folder, made on first use."""

    @functools.cache
    def make(shape: str, precision: str) -> Path:
        folder = tmp_path_factory.mktemp("package")
        return make_package(folder / "p", checkpoints.make_checkpoint(folder / "c", shape), precision)

    return make


def read_manifest(package: Path) -> dict[str, Any]:
    return json.loads((package / "manifest.json").read_text())


def graph(package: Path, name: str) -> onnx.ModelProto:
    return onnx.load(str(package / f"{name}.onnx"), load_external_data=False)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
@pytest.mark.parametrize("shape", ["golden", "odd"])
def test_checker_and_strict_shape_inference_pass(packages, shape: str, precision: str) -> None:
    package = packages(shape, precision)
    for name in ("encoder", "decoder"):
        onnx.checker.check_model(str(package / f"{name}.onnx"), full_check=True)
        model = graph(package, name)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        for opset in model.opset_import:
            assert (opset.domain, opset.version) in (("", 24), ("com.microsoft", 1))
        assert model.ir_version == 11 and not model.functions


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
def test_only_standard_and_documented_operators(packages, precision: str) -> None:
    for name in ("encoder", "decoder"):
        for node in graph(packages("odd", precision), name).graph.node:
            assert node.op_type in (STANDARD if node.domain == "" else MICROSOFT), (node.domain, node.op_type)
            assert node.domain in ("", "com.microsoft")


def test_inputs_and_outputs_are_the_documented_ones(packages) -> None:
    package = packages("golden", "int4")
    config = read_manifest(package)["config"]
    encoder, decoder = config["encoder"], config["decoder"]

    def caches(section: dict[str, Any], suffix: str, slots: str) -> dict[str, list[int | str]]:
        shape = [1, section["kv_heads"], slots, section["head_dim"]]
        return {
            f"{kind}_cache{suffix}.{i}": shape for i in range(section["layers"]) for kind in ("key", "value")
        }

    place = {"position": [1], "first_position": [1]}
    width, model_width = encoder["width"], decoder["width"]
    expected = {
        "encoder": (
            {"mel": ["mel_frames", 128], "conv1_tail": [2, 128], "conv2_tail": [1, width], **place,
             **caches(encoder, "", "encoder_slots")},
            {"audio_embeddings": ["tokens", model_width], "encoder_frames": ["frames", width],
             "conv1_tail_out": [2, 128], "conv2_tail_out": [1, width], **caches(encoder, "_out",
             "encoder_slots")},
        ),
        "decoder": (
            {"audio_embeddings": ["tokens", model_width], "previous_ids": ["tokens"], **place,
             "delay_scales": [decoder["layers"], model_width], **caches(decoder, "", "decoder_slots")},
            {"logits": ["tokens", decoder["vocab_size"]], **caches(decoder, "_out", "decoder_slots")},
        ),
    }  # fmt: skip
    integers = {"position", "first_position", "previous_ids"}
    for name, (inputs, outputs) in expected.items():
        model = graph(package, name)
        for values, wanted in ((model.graph.input, inputs), (model.graph.output, outputs)):
            found = {}
            for value in values:
                tensor = value.type.tensor_type
                found[value.name] = [size.dim_param or size.dim_value for size in tensor.shape.dim]
                integer = value.name in integers
                assert tensor.elem_type == (onnx.TensorProto.INT64 if integer else onnx.TensorProto.FLOAT)
                assert value.doc_string
            assert found == wanted


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_weights_are_the_tensor_table_and_nothing_else(packages, precision: str) -> None:
    """Read with onnx's own classes; the package's reader without onnx is compared in test_verify."""
    package = packages("odd", precision)
    table = read_manifest(package)["tensors"]
    kinds = onnx.TensorProto
    dtypes = {kinds.FLOAT: "float32", kinds.FLOAT16: "float16", kinds.UINT8: "uint8"}
    for name in ("encoder", "decoder"):
        found = {}
        for tensor in graph(package, name).graph.initializer:
            if tensor.data_location != onnx.TensorProto.EXTERNAL:
                assert tensor.ByteSize() <= LARGEST_CONSTANT_BYTES and tensor.name not in table
                continue
            place = {item.key: item.value for item in tensor.external_data}
            found[tensor.name] = (place, dtypes[tensor.data_type], list(tensor.dims))
        wanted = {
            key: ({"location": entry["file"], "offset": str(entry["offset"]), "length": str(entry["bytes"])},
                  entry["dtype"], entry["shape"])
            for key, entry in table.items() if name in entry["graphs"]
        }  # fmt: skip
        assert found == wanted
    assert graph_problems(package, read_manifest(package)) == []


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
def test_the_tied_table_is_stored_once_and_used_twice(packages, precision: str) -> None:
    model = graph(packages("odd", precision), "decoder")
    name, vocabulary = "decoder.embedding.weight", 1333
    large = [t.name for t in model.graph.initializer if t.dims and t.dims[0] == vocabulary]
    assert sorted(large) == sorted({name, "decoder.embedding.scales"} if "int" in precision else {name})
    users = [node.op_type for node in model.graph.node if name in node.input]
    head = {"fp32": "Gemm", "fp16": "Cast", "int8": "MatMulNBits", "int4": "MatMulNBits"}[precision]
    assert sorted(users) == sorted(["Gather", head])


def test_equal_manifests_give_equal_bytes(packages, tmp_path: Path) -> None:
    package = packages("odd", "int4")
    manifest = read_manifest(package)
    manifest.update(name="another", source={}, files={})
    build_graphs(manifest, tmp_path)
    for name in ("encoder.onnx", "decoder.onnx"):
        assert (tmp_path / name).read_bytes() == (package / name).read_bytes()


def test_the_bundled_models_hold_the_graphs_written_today(tmp_path: Path) -> None:
    """A change of the graphs must reach the demo model: export it again."""
    models = Path(__file__).resolve().parents[2] / "voxtral_edge" / "models"
    bundled = [path.parent for path in models.glob("*/manifest.json")]
    assert bundled
    for package in bundled:
        build_graphs(read_manifest(package), tmp_path)
        for name in ("encoder.onnx", "decoder.onnx"):
            assert (tmp_path / name).read_bytes() == (package / name).read_bytes(), package.name


def edit(manifest: dict[str, Any], case: str) -> str:
    """Break the manifest; returns what the message must name."""
    tensors = manifest["tensors"]
    if case == "missing":
        del tensors["encoder.norm.weight"]
        return "encoder.norm.weight"
    if case == "shape":
        tensors["decoder.norm.weight"]["shape"] = [7]
        return "decoder.norm.weight"
    if case == "unused":
        tensors["extra.weight"] = copy.deepcopy(tensors["decoder.norm.weight"])
        return "extra.weight"
    if case == "zero point":
        tensors["adapter.linear1.weight"]["quantization"]["zero_point"] = 7
        return "adapter.linear1.weight"
    tensors["encoder.norm.weight"]["graphs"] = []
    return "encoder.norm.weight"


@pytest.mark.parametrize("case", ["missing", "shape", "unused", "zero point", "graph"])
def test_a_table_that_does_not_fit_is_refused(packages, tmp_path: Path, case: str) -> None:
    manifest = read_manifest(packages("odd", "int4"))
    name = edit(manifest, case)
    with pytest.raises(ModelFormatError, match=name):
        build_graphs(manifest, tmp_path)
