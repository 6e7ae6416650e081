"""Damaged and hostile packages through the public API: a typed error that names file and remedy, never a crash.

Lines F1 to F6 of the project's fault list. The reader's own checks, field by field, are in tests/cpp/package_test.cc;
here the whole way is driven: load, stream, verify, in the process a user would run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_testing import Models, speech

import voxtral_edge as ve
from voxtral_edge.errors import DeviceError, ModelFormatError, UsageError, VoxtralEdgeError

# Every message ends in advice.
REMEDY = re.compile(
    r"export|again|copy|use |choose|pass|install|name the|make |convert|get |put |take ", re.IGNORECASE
)
# What a JSON reader can say of a number it cannot hold: where it stands. The field's name comes after parsing.
BEYOND_64_BITS = 2**63


@pytest.fixture(scope="module", params=["fp32", "int4"])
def original(request: pytest.FixtureRequest, models: Models) -> Path:
    return models.package("odd", request.param)


@pytest.fixture(scope="module")
def small(models: Models) -> Path:
    return models.package("odd", "int4")


def private_copy(package: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(package, target))


def must_refuse(package: Path, *mentions: str, kind: type[Exception] = ModelFormatError) -> str:
    """Loading (or the first stream) fails with `kind`, a message with every mention and a remedy."""
    with pytest.raises(kind) as caught:
        ve.load(package, threads=1).stream()
    message = str(caught.value)
    for mention in mentions:
        assert mention in message, message
    assert REMEDY.search(message), f"no advice in: {message}"
    assert "\n" not in message
    return message


def edit_manifest(package: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = package / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


# ---------------------------------------------------------------------- F1: mutated manifests

MUTATE = r"""
import json, random, sys
from pathlib import Path
sys.path[:] = [entry for entry in sys.path if entry]
from voxtral_edge import _core
from voxtral_edge.errors import VoxtralEdgeError
folder, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
text = (folder / "manifest.json").read_text()
random.seed(seed)
VALUES = [None, True, 0, -1, 1, 2, 31, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 1e308, -0.5, 1e-320, float("nan"),
          float("inf"), "", "x", "..", "/etc/passwd", "\x00", "weights.bin", "a" * 5000, [], {}, [[]], [0] * 50,
          {"file": "weights.bin"}, "fp32", "int4"]

def nodes(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from nodes(inner, (*path, key))

def structured():
    manifest = json.loads(text)
    # The tensor table is most of the manifest: choose the top-level key first, so that the rest gets its share.
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        top = random.choice(list(manifest) or [None])
        if top is None:
            break
        path = (top, *random.choice(list(nodes(manifest[top]))))
        parent = manifest
        for key in path[:-1]:
            parent = parent[key]
        action = random.random()
        if action < 0.25:
            del parent[path[-1]]
        elif action < 0.4 and isinstance(parent, dict):
            parent[str(path[-1]) + "_"] = parent.pop(path[-1])
        elif action < 0.55 and isinstance(parent[path[-1]], int):
            parent[path[-1]] += random.choice((-64, -1, 1, 2, 64, 4096, 2**40))
        else:
            parent[path[-1]] = random.choice(VALUES)
    return json.dumps(manifest).encode()

def raw():
    data = bytearray(text.encode())
    for _ in range(random.choice((1, 2, 8))):
        at = random.randrange(len(data))
        action = random.random()
        if action < 0.4:
            data[at] = random.randrange(256)
        elif action < 0.6:
            del data[at : at + random.choice((1, 10, 1000))]
        elif action < 0.8:
            data[at:at] = random.choice((b"{", b"[" * 3000, b'"', b"\xff\xfe", b"1e999", b"\\ud800", b",", b"9" * 400))
        else:
            data[at:] = b""
        if not data:
            break
    return bytes(data)

def resident_mb():
    # Not ru_maxrss: it begins with the parent's value.
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) / 1024

outcomes = {"refused": 0, "opened": 0}
before = None
for index in range(count):
    data = structured() if index % 3 else raw()
    (folder / "manifest.json").write_bytes(data)
    try:
        engine = _core.NativeEngine(str(folder), 1)
        stream = _core.Stream(engine, delay_tokens=2)
        stream.finish()
        outcomes["opened"] += 1
    except VoxtralEdgeError as error:
        assert str(error) and "\n" not in str(error), error
        assert type(error) is not VoxtralEdgeError, f"untyped: {error}"
        outcomes["refused"] += 1
    if index == 50:
        before = resident_mb()
grown = resident_mb() - before
print(json.dumps({**outcomes, "grown_mb": grown}))
"""


@pytest.mark.parametrize("seed", range(4))
def test_mutated_manifests(small: Path, tmp_path: Path, seed: int) -> None:
    """700 per seed in a process of its own: no crash, typed errors, memory stays below 64 MB more."""
    package = private_copy(small, tmp_path / "package")
    ran = subprocess.run(
        [sys.executable, "-c", MUTATE, str(package), str(seed), "700"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )
    assert ran.returncode == 0, f"exit {ran.returncode}\n{ran.stderr[-3000:]}"
    outcome = json.loads(ran.stdout.splitlines()[-1])
    assert outcome["refused"] > 400
    assert outcome["grown_mb"] < 64, outcome


# ---------------------------------------------------------------------- F2: dimensions

TENSOR = "decoder.layers.0.ffn.gate.weight"


@pytest.mark.parametrize(
    "key", ["layers", "width", "heads", "kv_heads", "head_dim", "ffn_width", "window_tokens", "vocab_size"]
)
@pytest.mark.parametrize("value", [0, -1, 2**31, 2**32, 2**62, 2**63, 2**64 + 7, 1e300])
def test_impossible_dimensions(small: Path, tmp_path: Path, key: str, value: float) -> None:
    package = private_copy(small, tmp_path / "package")
    edit_manifest(package, lambda m: m["config"]["decoder"].__setitem__(key, value))
    too_long = isinstance(value, int) and value >= BEYOND_64_BITS
    must_refuse(package, "manifest.json", "byte" if too_long else key)


@pytest.mark.parametrize("shape", [[2**31, 2**33], [2**62, 4], [2**64, 1], [-5, 3], [100, 56, 7], [], [0, 0]])
def test_impossible_tensor_shapes_name_the_tensor(original: Path, tmp_path: Path, shape: list[int]) -> None:
    package = private_copy(original, tmp_path / "package")
    edit_manifest(package, lambda m: m["tensors"][TENSOR].__setitem__("shape", shape))
    must_refuse(package, "byte" if max(shape, default=0) >= BEYOND_64_BITS else TENSOR)


@pytest.mark.parametrize("field", ["offset", "bytes"])
@pytest.mark.parametrize("value", [-64, 2**40, 2**63 - 64, 2**63, 2**64 - 64, 2**64, 0.5, "64", None])
def test_ranges_outside_the_file_name_the_tensor(
    original: Path, tmp_path: Path, field: str, value: Any
) -> None:
    package = private_copy(original, tmp_path / "package")
    edit_manifest(package, lambda m: m["tensors"][TENSOR].__setitem__(field, value))
    must_refuse(package, "byte" if isinstance(value, int) and value >= BEYOND_64_BITS else TENSOR)


def run_python(code: str, package: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """`code` in a process of its own, with the package as its argument."""
    return subprocess.run(
        [sys.executable, "-c", code, str(package)],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )


@pytest.mark.parametrize("window", [2**19, 2**20])
def test_a_huge_window_costs_what_is_used(small: Path, tmp_path: Path, window: int) -> None:
    """The window is no tensor's size, so it can be claimed freely: rings are touched as they fill."""
    package = private_copy(small, tmp_path / "package")
    edit_manifest(package, lambda m: m["config"]["decoder"].__setitem__("window_tokens", window))
    code = (
        "import sys; import voxtral_edge as ve; e = ve.load(sys.argv[1], threads=1); s = e.stream(80); s.finish();"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    ran = run_python(code, package, tmp_path)
    if ran.returncode == 0:
        assert int(ran.stdout) < 300 * 1024
    else:
        assert DeviceError.__name__ in ran.stderr  # refused for lack of address space: fine, too


# ---------------------------------------------------------------------- F3: files that are not what they seem

FILES = ("manifest.json", "weights.bin", "tekken.json")


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../weights.bin", "sub/../../x", "", ".", "sub/weights.bin", "w\x00.bin", "\\\\host\\x"],
)
def test_file_names_stay_inside(original: Path, tmp_path: Path, name: str) -> None:
    package = private_copy(original, tmp_path / "package")
    shutil.copy(package / "weights.bin", tmp_path / "weights.bin")
    (package / "sub").mkdir()
    shutil.copy(package / "weights.bin", package / "sub" / "weights.bin")
    edit_manifest(package, lambda m: m["tensors"][TENSOR].__setitem__("file", name))
    must_refuse(package, TENSOR)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("what", ["symlink", "dangling", "loop", "fifo", "folder", "device", "socket"])
def test_only_regular_files_are_opened(original: Path, tmp_path: Path, name: str, what: str) -> None:
    """And at once: a fifo must not make the program wait for a writer."""
    package = private_copy(original, tmp_path / "package")
    path = package / name
    kept = tmp_path / "kept"
    path.rename(kept)
    if what == "symlink":
        path.symlink_to(kept)
    elif what == "dangling":
        path.symlink_to(tmp_path / "nowhere")
    elif what == "loop":
        path.symlink_to(path)
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        import socket

        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(path))
    with pytest.raises((ModelFormatError, UsageError)) as caught:
        ve.load(package, threads=1)
    assert name in str(caught.value)
    assert REMEDY.search(str(caught.value))


@pytest.mark.parametrize("name", FILES)
def test_missing_and_empty_files(original: Path, tmp_path: Path, name: str) -> None:
    package = private_copy(original, tmp_path / "package")
    (package / name).write_bytes(b"")
    must_refuse(package, name)
    (package / name).unlink()
    must_refuse(package, name)


def test_folders_that_hold_no_package(tmp_path: Path, models: Models) -> None:
    must_refuse(tmp_path, "manifest.json")
    with pytest.raises(UsageError, match="nowhere"):
        ve.load(tmp_path / "nowhere")
    must_refuse(models.checkpoint("odd"), "checkpoint")  # and says how to convert it


def test_a_package_deleted_after_loading_keeps_working(original: Path, tmp_path: Path) -> None:
    package = private_copy(original, tmp_path / "package")
    expected = ve.load(original, threads=1).transcribe(speech()).token_ids
    engine = ve.load(package, threads=1)
    engine.stream(delay_ms=480)  # its delay's few numbers are read with the first stream
    shutil.rmtree(package)
    assert engine.transcribe(speech()).token_ids == expected


# ---------------------------------------------------------------------- F4: truncation


def test_truncated_at_every_4_kib(original: Path, tmp_path: Path) -> None:
    package = private_copy(original, tmp_path / "package")
    weights = package / "weights.bin"
    size = weights.stat().st_size
    cuts = [size - 1, *range(0, size, 4096)]
    assert len(cuts) > 20
    for cut in cuts:
        if cut == 0:
            continue
        shutil.copy(original / "weights.bin", weights)
        os.truncate(weights, cut)
        must_refuse(package, "weights.bin")


def test_shrinking_while_loading(original: Path, tmp_path: Path) -> None:
    """No SIGBUS: the file is read, not mapped. In a child, so that a signal would be seen."""
    package = private_copy(original, tmp_path / "package")
    code = """
import os, sys
import voxtral_edge as ve
from voxtral_edge.errors import ModelFormatError
def shrink(done, total):
    if done > total // 3: os.truncate(sys.argv[1] + "/weights.bin", 4096)
try:
    ve.load(sys.argv[1], threads=2, on_progress=shrink)
except ModelFormatError as error:
    assert "weights.bin" in str(error), error
    print("refused")
"""
    ran = run_python(code, package, tmp_path)
    assert (ran.returncode, ran.stdout.strip()) == (0, "refused"), ran.stderr[-2000:]


# ---------------------------------------------------------------------- F5: values


def put(package: Path, tensor: str, index: int, data: bytes) -> None:
    entry = json.loads((package / "manifest.json").read_text())["tensors"][tensor]
    with open(package / entry["file"], "r+b") as file:
        file.seek(entry["offset"] + index * len(data))
        file.write(data)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_found_in_every_tensor(
    original: Path, tmp_path: Path, value: float
) -> None:
    package = private_copy(original, tmp_path / "package")
    tensors = json.loads((original / "manifest.json").read_text())["tensors"]
    checked = 0
    for name, entry in tensors.items():
        form = {"float32": "<f", "float16": "<e"}.get(entry["dtype"])
        if form is None:
            continue
        size = struct.calcsize(form)
        last = entry["bytes"] // size - 1
        put(package, name, last, struct.pack(form, value))
        must_refuse(package, "weights.bin", name.removesuffix(".weight").removesuffix(".scales"), "finite")
        shutil.copy(original / "weights.bin", package / "weights.bin")
        checked += 1
    assert checked > 30


def test_denormal_and_zero_scales_are_numbers(small: Path, tmp_path: Path) -> None:
    """The smallest half-precision scales do not break the kernels: results stay finite, on every kernel set."""
    package = private_copy(small, tmp_path / "package")
    for scale in (struct.pack("<H", 1), struct.pack("<H", 0)):
        put(package, "decoder.layers.0.ffn.gate.scales", 3, scale)
        traces = []
        for kernels in ve.kernels.available():
            core = ve._core.NativeEngine(str(package), 1, kernels=kernels)
            stream = ve._core.Stream(core, delay_tokens=6, trace=True)
            stream.feed(speech())
            stream.finish()
            traces.append(stream.trace())
            assert np.isfinite(traces[-1]["logits"]).all()
    put(package, "decoder.layers.0.ffn.gate.scales", 3, struct.pack("<H", 0x8001))
    must_refuse(package, "weights.bin", "ffn.gate", "negative")


def test_verify_finds_a_flipped_bit_that_loading_cannot(small: Path, tmp_path: Path) -> None:
    """A changed int4 code is a valid package of another model: only the hash can tell."""
    from voxtral_edge.verify import verify

    package = private_copy(small, tmp_path / "package")
    entry = json.loads((package / "manifest.json").read_text())["tensors"][TENSOR]
    data = bytearray((package / "weights.bin").read_bytes())
    data[entry["offset"] + 11] ^= 0x10
    (package / "weights.bin").write_bytes(data)
    ve.load(package, threads=1)
    report = verify(package)
    assert not report.ok
    assert any(
        "weights.bin" in check.detail or "weights.bin" in check.name
        for check in report.checks
        if check.status == "failed"
    )


# ---------------------------------------------------------------------- F6: tokenizers


def test_damaged_tokenizers(small: Path, tmp_path: Path) -> None:
    package = private_copy(small, tmp_path / "package")
    path = package / "tekken.json"
    good = json.loads(path.read_text())

    def with_change(change: Callable[[dict[str, Any]], Any]) -> None:
        tekken = json.loads(json.dumps(good))
        change(tekken)
        data = json.dumps(tekken).encode()
        path.write_bytes(data)
        edit_manifest(package, lambda m: m["files"]["tekken.json"].__setitem__("bytes", len(data)))
        must_refuse(package, "tekken.json")

    with_change(lambda t: t["vocab"].__delitem__(slice(200, None)))
    with_change(lambda t: t["vocab"].__delitem__(3))
    with_change(lambda t: t["vocab"][5].__setitem__("rank", 6))
    with_change(lambda t: t["vocab"][7].__setitem__("token_bytes", "***"))
    with_change(lambda t: t["vocab"][7].__setitem__("token_bytes", ""))
    with_change(lambda t: t["vocab"][7].__setitem__("token_bytes", "QQ==" * 350_000))  # a token of a megabyte
    with_change(lambda t: t["special_tokens"][32].__setitem__("token_str", "[OTHER]"))
    with_change(lambda t: t["special_tokens"][33].__setitem__("token_str", "[STREAMING_PAD]"))
    with_change(lambda t: t["special_tokens"].pop(33))
    with_change(lambda t: t["config"].__setitem__("default_num_special_tokens", 999))
    with_change(lambda t: t["special_tokens"][2].__setitem__("token_str", "</t>"))
    with_change(lambda t: t.pop("vocab"))
    with_change(lambda t: t["vocab"].__setitem__(0, None))


def test_a_tokenizer_of_another_model(models: Models, tmp_path: Path) -> None:
    package = private_copy(models.package("odd", "int4"), tmp_path / "package")
    shutil.copy(models.package("mha", "fp32") / "tekken.json", package / "tekken.json")
    must_refuse(package, "tekken.json")


def test_every_typed_error_is_catchable_as_one() -> None:
    assert issubclass(ModelFormatError, VoxtralEdgeError) and issubclass(UsageError, VoxtralEdgeError)
