"""`voxtral-edge verify`: every kind of damage is found and named; what cannot be checked is said."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_testing import make_package

import checkpoints
from voxtral_edge.cli import verify as command
from voxtral_edge.engines.agreement import FLOAT_LIMIT, INTEGER_LIMIT, compare_traces, limit_for
from voxtral_edge.engines.onnx_reader import read_graph
from voxtral_edge.errors import UsageError
from voxtral_edge.verify import FAILED, NOT_RUN, PASSED, VerifyReport, chirp, verify

FILES = ["weights.bin", "encoder.onnx", "decoder.onnx", "tekken.json"]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    return make_package(folder / "p", checkpoints.make_checkpoint(folder / "c", "odd"), "int4")


@pytest.fixture
def package(original: Path, tmp_path: Path) -> Path:
    """A private copy to damage."""
    for file in original.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def failures(report: VerifyReport) -> dict[str, str]:
    return {check.name: check.detail for check in report.checks if check.status == FAILED}


def edit_manifest(package: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = package / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def rehash(package: Path, name: str) -> None:
    """Give the manifest the new size and hash of a changed file: only the deeper checks can object."""
    data = (package / name).read_bytes()
    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edit_manifest(package, lambda manifest: manifest["files"].update({name: entry}))


def test_a_sound_package_passes(package: Path) -> None:
    report = verify(package, engines=False)
    assert report.ok
    assert [check.name for check in report.checks] == ["manifest", *FILES, "graphs", "values", "engines"]
    assert [check.status for check in report.checks] == [PASSED] * 7 + [NOT_RUN]


@pytest.mark.parametrize("place", [0.0, 0.37, 0.999])
@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_names_the_file(package: Path, name: str, place: float) -> None:
    data = bytearray((package / name).read_bytes())
    data[int(place * len(data))] ^= 0x10
    (package / name).write_bytes(data)
    report = verify(package)
    assert not report.ok and "sha256" in failures(report)[name]
    assert set(failures(report)) <= {name, "graphs", "values"}
    assert report.checks[-1].status == NOT_RUN and "damaged" in report.checks[-1].detail


@pytest.mark.parametrize("name", FILES)
def test_missing_and_short_files_are_named(package: Path, name: str) -> None:
    data = (package / name).read_bytes()
    (package / name).write_bytes(data[:-1])
    assert "bytes" in failures(verify(package))[name]
    (package / name).unlink()
    assert name in failures(verify(package))[name]


@pytest.mark.parametrize("graph", ["encoder", "decoder"])
def test_an_edited_offset_in_a_graph_names_the_tensor(package: Path, graph: str) -> None:
    path = package / f"{graph}.onnx"
    model = onnx.load(str(path), load_external_data=False)
    tensor = next(t for t in model.graph.initializer if t.name.endswith("layers.1.attention.q.weight"))
    offset = next(item for item in tensor.external_data if item.key == "offset")
    offset.value = str(int(offset.value) + 64)
    path.write_bytes(model.SerializeToString())
    rehash(package, path.name)
    found = failures(verify(package))
    assert set(found) == {"graphs"} and f"'{tensor.name}'" in found["graphs"] and "offset" in found["graphs"]


def test_edited_tensor_tables_name_the_tensor(package: Path) -> None:
    """Swapping two equally large tensors is consistent in itself: only the graphs show it. A shift is not."""
    left, right = (f"encoder.layers.{layer}.attention.q.weight" for layer in (0, 1))

    def swap(manifest: dict[str, Any]) -> None:
        one, other = manifest["tensors"][left], manifest["tensors"][right]
        one["offset"], other["offset"] = other["offset"], one["offset"]

    edit_manifest(package, swap)
    found = failures(verify(package))
    assert set(found) == {"graphs"} and left in found["graphs"] and "(and 1 more)" in found["graphs"]

    def shift(manifest: dict[str, Any]) -> None:
        manifest["tensors"][left]["offset"] += 64

    edit_manifest(package, shift)
    report = verify(package)
    assert left in failures(report)["manifest"]
    assert all(check.status == NOT_RUN for check in report.checks[1:])


@pytest.mark.parametrize(
    ("suffix", "kind", "value"),
    [
        ("adapter.linear1.scales", np.float16, np.nan),
        ("decoder.embedding.scales", np.float16, np.inf),
        ("encoder.conv1.weight", np.float32, np.nan),
        ("decoder.layers.1.delay.linear2.weight", np.float32, -np.inf),
    ],
)
def test_values_that_are_not_finite_name_the_tensor(
    package: Path, suffix: str, kind: type, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[verify.__module__], "CHUNK_BYTES", 64)  # the last of many pieces
    entry = json.loads((package / "manifest.json").read_text())["tensors"][suffix]
    with open(package / "weights.bin", "r+b") as file:
        file.seek(entry["offset"] + entry["bytes"] - np.dtype(kind).itemsize)
        file.write(np.array([value], kind).tobytes())
    rehash(package, "weights.bin")
    assert failures(verify(package, engines=False)) == {
        "values": f"tensor '{suffix}' holds NaN or infinite values"
    }


def test_a_folder_that_is_no_package_fails_without_an_exception(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        report = verify(folder)
        assert not report.ok and report.checks[0].status == FAILED
        assert all(check.status == NOT_RUN for check in report.checks[1:])


def test_the_reader_agrees_with_onnx(package: Path) -> None:
    """The walk over the wire format sees what the onnx package sees."""
    for name in ("encoder.onnx", "decoder.onnx"):
        model = onnx.load(str(package / name), load_external_data=False)
        contents = read_graph(package / name)
        assert all(tensor.initializer for tensor in contents.tensors)
        assert [(t.name, t.shape) for t in contents.tensors] == [
            (t.name, tuple(t.dims)) for t in model.graph.initializer
        ]
        assert [t.external for t in contents.tensors] == [
            {item.key: item.value for item in t.external_data} or None for t in model.graph.initializer
        ]
        assert contents.used == {value for node in model.graph.node for value in node.input}


# ---------------------------------------------------------------------- engines


def test_missing_onnxruntime_is_not_a_pass(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    check = verify(package).checks[-1]
    assert check.status == NOT_RUN and "onnxruntime" in check.detail and "pip install" in check.detail


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_both_engines_agree(tmp_path: Path, precision: str) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("voxtral_edge._core")
    folder = make_package(tmp_path / "p", checkpoints.make_checkpoint(tmp_path / "c", "golden"), precision)
    checks = [check for check in verify(folder).checks if check.name.startswith("engines")]
    assert checks and all(check.status == PASSED for check in checks), checks


def fake_trace(tokens: int = 20, seed: int = 0) -> dict[str, Any]:
    logits = np.random.default_rng(seed).standard_normal((tokens, 300))
    return {"logits": logits, "ids": np.concatenate([np.full(5, 32), logits.argmax(-1)])}


def moved(trace: dict[str, Any], rows: slice, amount: float) -> dict[str, Any]:
    logits = trace["logits"].copy()
    logits[rows] += amount * np.random.default_rng(9).standard_normal(logits[rows].shape)
    return {"logits": logits, "ids": np.concatenate([trace["ids"][:5], logits.argmax(-1)])}


def test_comparison_of_traces() -> None:
    trace = fake_trace()
    assert compare_traces(trace, trace, FLOAT_LIMIT).agree
    near = compare_traces(trace, moved(trace, slice(None), 1e-4), FLOAT_LIMIT)
    assert near.agree and near.equal_tokens == near.tokens == 20 and 0 < near.worst <= FLOAT_LIMIT
    far = compare_traces(trace, moved(trace, slice(7, 8), 0.01), FLOAT_LIMIT)
    assert not far.agree and "token 7" in far.detail
    one = {**trace, "logits": trace["logits"].copy()}
    one["logits"][3, 3] += 0.1
    assert not compare_traces(trace, one, FLOAT_LIMIT).agree, "one wrong logit must not hide in the average"
    shorter = {"logits": trace["logits"][:-1], "ids": trace["ids"][:-1]}
    assert not compare_traces(trace, shorter, FLOAT_LIMIT).agree
    broken = {**trace, "logits": np.where(np.arange(300) == 4, np.nan, trace["logits"])}
    assert not compare_traces(trace, broken, INTEGER_LIMIT).agree
    empty = {"logits": trace["logits"][:0], "ids": trace["ids"][:5]}
    assert not compare_traces(trace, empty, INTEGER_LIMIT).agree


def test_after_a_tie_histories_differ_and_are_not_compared() -> None:
    trace = fake_trace()
    order = trace["logits"][10].argsort()
    trace["logits"][10, order[-2]] = trace["logits"][10, order[-1]] - 1e-4
    other = moved(trace, slice(11, None), 1.0)
    other["logits"][10, order[-2]] += 2e-4
    other["ids"][15] = order[-2]
    result = compare_traces(trace, other, FLOAT_LIMIT)
    assert result.agree and result.equal_tokens < result.tokens == 20


def test_limits_depend_on_the_precision() -> None:
    assert limit_for({"adapter": "fp16", "embedding": "fp32"}) == FLOAT_LIMIT
    assert limit_for({"adapter": "fp16", "embedding": "int8"}) == INTEGER_LIMIT


def test_the_synthetic_clip() -> None:
    pcm = chirp()
    assert pcm.dtype == np.float32 and pcm.shape == (48000,) and 0.2 < np.abs(pcm).max() <= 0.3
    crossings = [int((np.diff(np.sign(part)) != 0).sum()) for part in (pcm[:8000], pcm[-8000:])]
    assert crossings[0] < 200 and crossings[1] > 2000, "the pitch rises"


# ---------------------------------------------------------------------- command line


def run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


def test_command_prints_one_line_per_check(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(package), "--no-engines"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [
        ["ok", name] for name in ("manifest", *FILES, "graphs", "values")
    ] + [["not", "run"]]
    assert "sound" in lines[-1] and "1 not run" in lines[-1]
    (package / "tekken.json").write_bytes(b"{}")
    assert run([str(package), "--no-engines"]) == 1
    out = capsys.readouterr().out
    assert "FAILED  tekken.json" in out and "1 of 8 checks failed" in out


def test_command_without_a_folder_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="neither a bundled model"):
        run(["nowhere"])


def test_command_as_json(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(package), "--json", "--no-engines"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True and report["directory"] == str(package)
    assert {check["status"] for check in report["checks"]} == {PASSED, NOT_RUN}
    (package / "manifest.json").unlink()
    assert run([str(package), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
