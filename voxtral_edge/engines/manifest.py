"""Read a package's manifest in Python and check it before any of its numbers or names are believed.

The native engine has its own reader in C++; this one serves the onnxruntime engine and `voxtral-edge verify`.
Everything is refused with ModelFormatError naming the file and the field.
"""

from __future__ import annotations

import json
import math
import os
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

from voxtral_edge.errors import ModelFormatError

MANIFEST_FILE = "manifest.json"
GRAPH_FILES = {"encoder": "encoder.onnx", "decoder": "decoder.onnx"}
FORMAT = "voxtral-edge-package"
FORMAT_VERSION = 1
MANIFEST_LIMIT_BYTES = 64 << 20
"""The 4B model's manifest is 0.4 MB; anything far beyond that is not one of ours."""
MESSAGE_LIMIT = 600
"""Characters of a message: values quoted from a hostile manifest may be megabytes long."""
ALIGNMENT_BYTES = 64
ITEM_BYTES = {"float32": 4, "float16": 2, "uint8": 1}
SIZE_LIMIT = 1 << 48
"""Bound of every count and size, so that no sum or product of them is surprising anywhere."""


def read_manifest(directory: str | Path) -> dict[str, Any]:
    """The checked manifest of `directory`; ModelFormatError for anything missing or inconsistent."""
    folder = Path(directory)
    if not folder.is_dir():
        raise ModelFormatError(
            f"'{folder}' is not a folder; a model package is a folder with a {MANIFEST_FILE}."
        )
    path = package_file(folder, MANIFEST_FILE)
    size = path.stat().st_size
    if size > MANIFEST_LIMIT_BYTES:
        raise ModelFormatError(f"'{path}' has {size} bytes; a manifest has at most {MANIFEST_LIMIT_BYTES}.")
    try:
        manifest = json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"'{path}' is not readable JSON: {error}. Export the model again.") from error
    _check(isinstance(manifest, dict), "the manifest is not a JSON object")
    _check(manifest.get("format") == FORMAT, f"format is {manifest.get('format')!r}, not {FORMAT!r}")
    version = manifest.get("format_version")
    _check(
        version == FORMAT_VERSION,
        f"format_version is {version!r}; this version of voxtral-edge reads {FORMAT_VERSION}. Export the "
        "checkpoint again with the installed version",
    )
    _check_files(manifest)
    _check_config(manifest)
    _check_tensors(manifest)
    return manifest


def package_file(directory: Path, name: str) -> Path:
    """The path of the plain file `name` directly inside `directory`.

    Names with a folder part, symbolic links, pipes and devices are refused: whoever opens the file next
    (onnxruntime does, by name) must end up inside the package.
    """
    if (
        not isinstance(name, str)
        or not name
        or name in (".", "..")
        or name != os.path.basename(name)
        or "\\" in name
    ):
        raise ModelFormatError(f"Package '{directory}': {name!r} is not a plain file name.")
    path = directory / name
    try:
        status = os.lstat(path)
    except (OSError, ValueError) as error:
        raise ModelFormatError(f"Package '{directory}': cannot open '{name}' ({error}).") from error
    if not stat.S_ISREG(status.st_mode):
        raise ModelFormatError(
            f"Package '{directory}': '{name}' is not a regular file (links are not followed)."
        )
    return path


def _check_files(manifest: dict[str, Any]) -> None:
    files: Any = manifest.get("files")
    _check(isinstance(files, dict) and files, "'files' is missing")
    for name, entry in files.items():
        where = f"files[{name!r}]"
        _check(
            name == os.path.basename(name) and name not in ("", ".", ".."), f"{where}: not a plain file name"
        )
        _check(isinstance(entry, dict), f"{where} is not an object")
        _integer(entry, "bytes", where, 0)
        digest = entry.get("sha256")
        _check(
            isinstance(digest, str) and len(digest) == 64 and not set(digest) - set("0123456789abcdef"),
            f"{where}.sha256 is not 64 lower-case hexadecimal digits",
        )


def _check_config(manifest: dict[str, Any]) -> None:
    """Every dimension the graphs and their state depend on is there, positive, and agrees with the others."""
    config: Any = manifest.get("config")
    _check(isinstance(config, dict), "'config' is missing")
    layered = ["layers", "width", "heads", "kv_heads", "head_dim", "ffn_width"]
    fields = {
        "encoder": [*layered, "window_frames", "mel_bins"],
        "adapter": ["frames_per_token", "input_width", "hidden_width", "output_width"],
        "decoder": [*layered, "window_tokens", "vocab_size", "delay_condition_width"],
    }
    for part, names in fields.items():
        _check(isinstance(config.get(part), dict), f"'config.{part}' is missing")
        for name in names:
            _integer(config[part], name, f"config.{part}", 1, 1 << 24)
    for part in ("encoder", "decoder"):
        section = config[part]
        _check(
            section["heads"] % section["kv_heads"] == 0, f"config.{part}: heads is not a multiple of kv_heads"
        )
        for name in ("rope_theta", "norm_eps"):
            value = section.get(name)
            _check(
                isinstance(value, (int, float))
                and not isinstance(value, bool)
                and math.isfinite(value)
                and value > 0,
                f"config.{part}.{name} is {value!r}, not a positive number",
            )
    adapter = config["adapter"]
    _check(
        adapter["input_width"] == adapter["frames_per_token"] * config["encoder"]["width"],
        "config.adapter.input_width is not frames_per_token times the encoder's width",
    )
    _check(
        adapter["output_width"] == config["decoder"]["width"],
        "config.adapter.output_width is not the decoder's width",
    )


def _check_tensors(manifest: dict[str, Any]) -> None:
    tensors: Any = manifest.get("tensors")
    files: Any = manifest["files"]
    _check(isinstance(tensors, dict) and tensors, "'tensors' is missing")
    ranges: dict[str, list[tuple[int, int, str]]] = {}
    for name, entry in tensors.items():
        where = f"tensors[{name!r}]"
        _check(isinstance(entry, dict), f"{where} is not an object")
        _check(
            isinstance(entry.get("file"), str) and entry["file"] in files,
            f"{where}.file {entry.get('file')!r} is not listed in 'files'",
        )
        offset = _integer(entry, "offset", where, 0)
        length = _integer(entry, "bytes", where, 1)
        _check(
            offset % ALIGNMENT_BYTES == 0, f"{where}.offset {offset} is not a multiple of {ALIGNMENT_BYTES}"
        )
        size = files[entry["file"]]["bytes"]
        _check(
            offset + length <= size,
            f"{where} ends at byte {offset + length} of {entry['file']}, which has {size}",
        )
        ranges.setdefault(entry["file"], []).append((offset, offset + length, name))
        _check_shape(entry, where)
        graphs: Any = entry.get("graphs")
        _check(
            isinstance(graphs, list) and all(graph in GRAPH_FILES for graph in graphs),
            f"{where}.graphs is {graphs!r}",
        )
        if "quantization" in entry:
            _check_quantization(entry, where, tensors)
    for spans in ranges.values():
        spans.sort()
        for (_, end, name), (start, _, following) in pairwise(spans):
            _check(end <= start, f"tensors {name!r} and {following!r} overlap")


def _check_shape(entry: dict[str, Any], where: str) -> None:
    dtype: Any = entry.get("dtype")
    shape: Any = entry.get("shape")
    _check(
        isinstance(dtype, str) and dtype in ITEM_BYTES,
        f"{where}.dtype {dtype!r} is not one of {list(ITEM_BYTES)}",
    )
    _check(
        isinstance(shape, list) and 1 <= len(shape) <= 4,
        f"{where}.shape {shape!r} is not a list of 1 to 4 sizes",
    )
    count = 1
    for size in shape:
        _check(
            type(size) is int and 1 <= size <= SIZE_LIMIT, f"{where}.shape {shape!r} has a size out of range"
        )
        count *= size
    expected = count * ITEM_BYTES[dtype]
    _check(entry["bytes"] == expected, f"{where}.bytes is {entry['bytes']}; {dtype} {shape} takes {expected}")


def _check_quantization(entry: dict[str, Any], where: str, tensors: dict[str, Any]) -> None:
    quantization: Any = entry["quantization"]
    _check(isinstance(quantization, dict), f"{where}.quantization is not an object")
    bits = _integer(quantization, "bits", f"{where}.quantization", 1, 8)
    block = _integer(quantization, "block", f"{where}.quantization", 16, 4096)
    rows = _integer(quantization, "rows", f"{where}.quantization", 1)
    columns = _integer(quantization, "columns", f"{where}.quantization", 1)
    blocks = -(-columns // block)
    _check(
        bits in (4, 8)
        and quantization.get("scheme") == "symmetric"
        and quantization.get("zero_point") == 1 << (bits - 1)
        and quantization.get("layout") == "matmul_nbits",
        f"{where}.quantization is of an unknown kind: {quantization}",
    )
    _check(
        entry["dtype"] == "uint8" and entry["shape"] == [rows, blocks, block * bits // 8],
        f"{where} is {entry['dtype']} {entry['shape']}, its quantization asks for uint8 "
        f"{[rows, blocks, block * bits // 8]}",
    )
    name: Any = quantization.get("scales")
    scales: Any = tensors.get(name) if isinstance(name, str) else None
    fits = (
        isinstance(scales, dict)
        and scales.get("dtype") == "float16"
        and scales.get("shape") == [rows, blocks]
    )
    _check(fits, f"{where}.quantization.scales {name!r} is not a float16 tensor {[rows, blocks]}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} appears twice")
    return result


def _integer(entry: dict[str, Any], name: str, where: str, low: int, high: int = SIZE_LIMIT) -> int:
    value = entry.get(name)
    _check(
        type(value) is int and low <= value <= high,
        f"{where}.{name} is {value!r}, not an integer in {low}..{high}",
    )
    assert isinstance(value, int)
    return value


def _check(condition: object, message: str) -> None:
    if not condition:
        raise ModelFormatError(f"{MANIFEST_FILE}: {message[:MESSAGE_LIMIT]}.")
