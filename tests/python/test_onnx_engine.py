"""The onnxruntime backend: splitting, threads, bounded memory, typed errors, hostile packages."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_testing import make_package, transcribe

import checkpoints
from voxtral_edge.engines import onnxruntime_backend
from voxtral_edge.engines.onnxruntime_backend import OnnxRuntimeBackend
from voxtral_edge.errors import DeviceError, ModelFormatError, UsageError

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engine")
    return make_package(folder / "p", checkpoints.make_checkpoint(folder / "c", "odd"), "int4")


@pytest.fixture(scope="module")
def mel() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((8 * 70, 128)).astype(np.float32)


@pytest.fixture
def damaged(package: Path, tmp_path: Path) -> Path:
    """A private copy to damage."""
    for file in package.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_a_stream_keeps_its_memory_for_ever(package: Path, mel: np.ndarray) -> None:
    """Sizes and addresses of rings and tails never change, through five windows of audio."""
    backend = OnnxRuntimeBackend(package, threads=1)
    seen: list[dict[str, tuple[Any, ...]]] = []

    def look(state: Any) -> None:
        seen.append({name: (*value.shape(), value.data_ptr()) for name, value in state.rings.items()})

    transcribe(backend, package, np.concatenate([mel, mel]), 6, after_call=look)
    assert len(seen) > 100 and all(entry == seen[0] for entry in seen)
    config = backend.config
    assert seen[0]["encoder.key_cache.0"][2] == config["encoder"]["window_frames"] - 1 + 4 * 8
    assert seen[0]["decoder.value_cache.1"][2] == config["decoder"]["window_tokens"] - 1 + 8


def test_streams_in_threads_give_the_single_results(package: Path, mel: np.ndarray) -> None:
    """Four streams with their own audio and delay on one backend at once."""
    backend = OnnxRuntimeBackend(package, threads=2)
    jobs = [(np.roll(mel, 8 * index, 0), delay) for index, delay in enumerate((1, 2, 6, 12))]
    expected = [transcribe(backend, package, audio, delay) for audio, delay in jobs]
    got: list[Any] = [None] * len(jobs)
    start = threading.Barrier(len(jobs))

    def work(index: int) -> None:
        start.wait()
        got[index] = transcribe(backend, package, *jobs[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(got, expected, strict=True):
        assert one.ids == other.ids
        assert np.array_equal(one.logits, other.logits)


def test_results_of_calls_do_not_share_memory(package: Path, mel: np.ndarray) -> None:
    backend = OnnxRuntimeBackend(package, threads=1)
    state = backend.create_state(np.zeros((2, 56), np.float32), 0)
    first, frames = backend.encode(state, mel[:8], 0)
    kept, kept_frames = first.copy(), frames.copy()
    backend.encode(state, mel[8:16], 1)
    logits = backend.decode(state, first, [1], 0)
    kept_logits = logits.copy()
    backend.decode(state, first, [2], 1)
    assert np.array_equal(first, kept) and np.array_equal(frames, kept_frames)
    assert np.array_equal(logits, kept_logits)


def test_inputs_of_any_layout_are_taken(package: Path, mel: np.ndarray) -> None:
    """Transposed views, lists, other number types: converted, not misread."""
    backend = OnnxRuntimeBackend(package, threads=1)
    state, other = (backend.create_state(np.zeros((2, 56)), 0) for _ in range(2))
    view = np.asfortranarray(mel[:16].astype(np.float64))
    left, right = backend.encode(state, view, 0), backend.encode(other, mel[:16], 0)
    assert np.array_equal(left[0], right[0]) and np.array_equal(left[1], right[1])
    assert np.array_equal(
        backend.decode(state, left[0].tolist(), [3, 4], 0),
        backend.decode(other, right[0], np.array([3, 4]), 0),
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b, s: b.encode(s, np.zeros((0, 128)), 0), "multiple of 8"),
        (lambda b, s: b.encode(s, np.zeros((12, 128)), 0), "multiple of 8"),
        (lambda b, s: b.encode(s, np.zeros((8, 64)), 0), "shape"),
        (lambda b, s: b.encode(s, np.zeros((8, 128)), -1), "negative"),
        (lambda b, s: b.decode(s, np.zeros((2, 56)), [1], 0), "shape"),
        (lambda b, s: b.decode(s, np.zeros((0, 56)), [], 0), "without positions"),
        (lambda b, s: b.decode(s, np.zeros((1, 56)), [1333], 0), "0..1332"),
        (lambda b, s: b.decode(s, np.zeros((1, 56)), [-1], 0), "0..1332"),
        (lambda b, s: b.create_state(np.zeros((3, 56)), 0), "delay_scales"),
        (lambda b, s: b.create_state(np.zeros((2, 56)), -5), "start at 0"),
    ],
)
def test_wrong_calls_are_usage_errors(package: Path, call: Any, message: str) -> None:
    backend = OnnxRuntimeBackend(package, threads=1)
    with pytest.raises(UsageError, match=message):
        call(backend, backend.create_state(np.zeros((2, 56)), 0))


def test_options_are_checked(package: Path) -> None:
    with pytest.raises(UsageError, match="threads"):
        OnnxRuntimeBackend(package, threads=0)
    with pytest.raises(UsageError, match="providers"):
        OnnxRuntimeBackend(package, providers="CPUExecutionProvider")
    with pytest.raises(DeviceError, match="CPUExecutionProvider"):
        OnnxRuntimeBackend(package, providers=["NoSuchProvider"])
    assert OnnxRuntimeBackend(package, providers=["CPUExecutionProvider"]).providers == [
        "CPUExecutionProvider"
    ]


def test_missing_or_old_onnxruntime_is_a_device_error(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeviceError, match=r"pip install onnxruntime"):
        OnnxRuntimeBackend(package)
    old = type(sys)("onnxruntime")
    old.__version__ = "1.24.4"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "onnxruntime", old)
    with pytest.raises(DeviceError, match=r"1\.25"):
        OnnxRuntimeBackend(package)


# ---------------------------------------------------------------------- damaged and hostile packages


def rewrite_graph(folder: Path, name: str, change: Any) -> None:
    """Apply `change` to a graph and give the manifest its new size, as an attacker would."""
    path = folder / f"{name}.onnx"
    model = onnx.load(str(path), load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][path.name]["bytes"] = path.stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))


def external(model: onnx.ModelProto) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL)


def set_place(tensor: onnx.TensorProto, key: str, value: str) -> None:
    next(item for item in tensor.external_data if item.key == key).value = value


def point_elsewhere(model: onnx.ModelProto) -> None:
    set_place(external(model), "location", "../../etc/passwd")


def move_offset(model: onnx.ModelProto) -> None:
    set_place(external(model), "offset", "64")


def hide_in_attribute(model: onnx.ModelProto) -> None:
    tensor = onnx.TensorProto()
    tensor.CopyFrom(external(model))
    set_place(tensor, "location", "/etc/passwd")
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["hidden"], value=tensor))


def hide_in_function(model: onnx.ModelProto) -> None:
    tensor = onnx.TensorProto()
    tensor.CopyFrom(external(model))
    node = onnx.helper.make_node("Constant", [], ["y"], value=tensor)
    function = onnx.helper.make_function("own", "F", [], ["y"], [node], [onnx.helper.make_opsetid("", 24)])
    model.functions.append(function)


def hide_in_subgraph(model: onnx.ModelProto) -> None:
    tensor = onnx.TensorProto()
    tensor.CopyFrom(external(model))
    inner = onnx.helper.make_graph([], "inner", [], [], [tensor])
    model.graph.node.append(onnx.helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner))


def add_key(model: onnx.ModelProto) -> None:
    item = external(model).external_data.add()
    item.key, item.value = "checksum", "1"


def change_type(model: onnx.ModelProto) -> None:
    external(model).data_type = onnx.TensorProto.INT32


def change_shape(model: onnx.ModelProto) -> None:
    external(model).dims[0] += 1


def unuse(model: onnx.ModelProto) -> None:
    name = external(model).name
    for node in model.graph.node:
        node.input[:] = ["other" if value == name else value for value in node.input]


@pytest.mark.parametrize(
    "change",
    [point_elsewhere, move_offset, hide_in_attribute, hide_in_function, hide_in_subgraph, add_key,
     change_type, change_shape, unuse],
)  # fmt: skip
@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_graphs_must_point_at_the_table_only(damaged: Path, name: str, change: Any) -> None:
    """Refused before onnxruntime sees the file, so nothing outside the package is opened."""
    rewrite_graph(damaged, name, change)
    with pytest.raises(ModelFormatError, match="tensor '"):
        OnnxRuntimeBackend(damaged)


def test_graphs_onnxruntime_refuses_are_model_format_errors(damaged: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[0].op_type = "NoSuchOperator"

    rewrite_graph(damaged, "encoder", change)
    with pytest.raises(ModelFormatError, match=r"encoder\.onnx"):
        OnnxRuntimeBackend(damaged)


@pytest.mark.parametrize("seed", range(40))
def test_broken_graph_files_never_crash_the_reader(damaged: Path, seed: int) -> None:
    """Random bytes overwritten, inserted or cut: a typed error or a list of differences, nothing else."""
    random = np.random.default_rng(seed)
    path = damaged / "decoder.onnx"
    data = bytearray(path.read_bytes())
    for _ in range(random.integers(1, 6)):
        place = int(random.integers(0, len(data)))
        if seed % 3 == 0:
            data[place] = int(random.integers(0, 256))
        elif seed % 3 == 1:
            data[place:place] = random.bytes(int(random.integers(1, 9)))
        else:
            del data[place : place + int(random.integers(1, 400))]
    path.write_bytes(bytes(data))
    manifest = json.loads((damaged / "manifest.json").read_text())
    from voxtral_edge.engines.graph_check import graph_problems

    try:
        assert isinstance(graph_problems(damaged, manifest), list)
    except ModelFormatError as error:
        assert "decoder.onnx" in str(error)


def test_files_must_be_plain_files_of_the_package(
    damaged: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "weights.bin"
    weights = damaged / "weights.bin"
    weights.rename(outside)
    weights.symlink_to(outside)
    with pytest.raises(ModelFormatError, match=r"weights\.bin.*regular file"):
        OnnxRuntimeBackend(damaged)
    weights.unlink()
    with pytest.raises(ModelFormatError, match=r"weights\.bin"):
        OnnxRuntimeBackend(damaged)
    os.mkfifo(weights)
    with pytest.raises(ModelFormatError, match=r"weights\.bin.*regular file"):
        OnnxRuntimeBackend(damaged)
    weights.unlink()
    weights.write_bytes(outside.read_bytes()[:-1])
    with pytest.raises(ModelFormatError, match=r"weights\.bin.*bytes"):
        OnnxRuntimeBackend(damaged)


def set_in(manifest: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split("/")
    for key in parents:
        manifest = manifest[key]
    manifest[last] = value


NORM, MATRIX = "tensors/encoder.norm.weight", "tensors/adapter.linear1.weight"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", "zip", "format"),
        ("format_version", 2, "format_version"),
        ("files", {}, "files"),
        ("files/../evil", {"bytes": 1, "sha256": "0" * 64}, "evil"),
        ("files/weights.bin/sha256", "xyz", "sha256"),
        ("config/encoder/layers", 0, "config.encoder.layers"),
        ("config/encoder/layers", True, "config.encoder.layers"),
        ("config/decoder/width", 2**70, "config.decoder.width"),
        ("config/decoder/rope_theta", "1e6", "rope_theta"),
        ("config/adapter/output_width", 57, "output_width"),
        (f"{NORM}/offset", -64, "encoder.norm.weight"),
        (f"{NORM}/offset", 1, "encoder.norm.weight"),
        (f"{NORM}/offset", 0, "overlap"),
        (f"{NORM}/offset", 2**40, "encoder.norm.weight"),
        (f"{NORM}/bytes", 2**63, "encoder.norm.weight"),
        (f"{NORM}/shape", [2**31, 2**31, 4], "encoder.norm.weight"),
        (f"{NORM}/dtype", "float64", "encoder.norm.weight"),
        (f"{NORM}/file", "../weights.bin", "encoder.norm.weight"),
        (f"{NORM}/graphs", ["other"], "encoder.norm.weight"),
        (f"{MATRIX}/quantization/bits", 3, "adapter.linear1.weight"),
        (f"{MATRIX}/quantization/scales", "adapter.linear2.scales", "adapter.linear1.weight"),
        (f"{MATRIX}/quantization/columns", 10**6, "adapter.linear1.weight"),
    ],
)
def test_manifests_are_checked_field_by_field(damaged: Path, path: str, value: Any, message: str) -> None:
    manifest = json.loads((damaged / "manifest.json").read_text())
    if path == "files/../evil":
        manifest["files"]["../evil"] = value
    else:
        set_in(manifest, path, value)
    (damaged / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelFormatError, match=message):
        OnnxRuntimeBackend(damaged)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "{}", "nul", '{"a":1,"a":2}', "[" * 100000, '{"format":"\\ud800"}']
)
def test_manifests_that_are_no_json_objects(damaged: Path, text: str) -> None:
    (damaged / "manifest.json").write_text(text)
    with pytest.raises(ModelFormatError):
        OnnxRuntimeBackend(damaged)
    with pytest.raises(ModelFormatError, match="folder"):
        OnnxRuntimeBackend(damaged / "nowhere")


def test_info_tells_what_computes(package: Path) -> None:
    import onnxruntime

    backend = OnnxRuntimeBackend(package, threads=2)
    state = backend.create_state(np.zeros((2, 56)), 0)
    assert backend.info() == {
        "onnxruntime": onnxruntime.__version__,
        "providers": ["CPUExecutionProvider"],
        "threads": 2,
        "state_bytes": sum(value.numpy().nbytes for value in state.rings.values()),
    }


def test_the_minimum_version_is_the_packages_requirement() -> None:
    """pyproject.toml must ask for the version the code demands."""
    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()
    assert f"onnxruntime>={'.'.join(map(str, onnxruntime_backend.MINIMUM_VERSION))}" in text
