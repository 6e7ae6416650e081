"""The safetensors reader: exact values, bounded reads, and typed errors for every kind of damage."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from export_testing import read_safetensors_header, write_safetensors
from safetensors.torch import save_file

from voxtral_edge.errors import ModelFormatError
from voxtral_edge.export.safetensors_reader import SafetensorsFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(1)
    path = tmp_path / "weights.safetensors"
    tensors = {
        "bf16": torch.randn(7, 5, generator=generator).bfloat16(),
        "f16": torch.randn(4, 3, 2, generator=generator).half(),
        "f32": torch.randn(9, generator=generator),
        "empty": torch.zeros(0, 4),
    }
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def test_values_are_exact(file):
    from safetensors.torch import load_file

    reader = SafetensorsFile(file)
    for name, tensor in load_file(file).items():
        rows = len(tensor)
        np.testing.assert_array_equal(reader.read_rows(name, 0, rows), tensor.float().numpy())
        for first in range(rows):
            np.testing.assert_array_equal(
                reader.read_rows(name, first, 1), tensor[first : first + 1].float().numpy()
            )
    reader.close()


def test_all_bfloat16_values_are_widened_exactly(tmp_path):
    bits = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16)
    save_file({"all": bits.view(torch.bfloat16)}, tmp_path / "all.safetensors")
    reader = SafetensorsFile(tmp_path / "all.safetensors")
    values = reader.read_rows("all", 0, 1 << 16)
    expected = bits.view(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(values.view(np.uint32), expected.view(np.uint32))
    reader.close()


def test_every_truncation_is_refused(file, tmp_path):
    data = file.read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    for length in range(len(data)):
        damaged.write_bytes(data[:length])
        with pytest.raises(ModelFormatError, match="damaged"):
            SafetensorsFile(damaged)


def test_bytes_after_the_data_are_refused(file):
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(ModelFormatError, match="its header describes"):
        SafetensorsFile(file)


@pytest.mark.parametrize("length", [0, 1, 1 << 20, (1 << 63) - 1, (1 << 64) - 1])
def test_absurd_header_lengths_are_refused(file, length):
    file.write_bytes(struct.pack("<Q", length) + file.read_bytes()[8:])
    with pytest.raises(ModelFormatError, match=r"weights\.safetensors"):
        SafetensorsFile(file)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [7, 6]},
        {"shape": [1 << 40, 1 << 40]},
        {"shape": [-7, -5]},
        {"shape": [7.0, 5.0]},
        {"shape": [True, 35]},
        {"shape": "75"},
        {"shape": None},
        {"shape": [1] * 9},
        {"dtype": "BF17"},
        {"dtype": None},
        {"dtype": "F32"},
        {"data_offsets": [0]},
        {"data_offsets": [70, 0]},
        {"data_offsets": [2, 72]},
        {"data_offsets": [1 << 60, (1 << 60) + 70]},
        {"data_offsets": None},
    ],
    ids=str,
)
def test_malformed_entries_are_refused(file, change):
    header, data = read_safetensors_header(file)
    header["bf16"].update(change)
    write_safetensors(file, header, data)
    with pytest.raises(ModelFormatError, match=r"bf16|hole or overlap"):
        SafetensorsFile(file)


def test_holes_overlap_and_duplicate_names_are_refused(file):
    header, data = read_safetensors_header(file)
    last = max(header.keys() - {"__metadata__"}, key=lambda name: header[name]["data_offsets"])
    moved = {"data_offsets": [offset + 4 for offset in header[last]["data_offsets"]]}
    write_safetensors(file, {**header, last: {**header[last], **moved}}, data + bytes(4))
    with pytest.raises(ModelFormatError, match="hole or overlap"):
        SafetensorsFile(file)
    header["twin"] = header["bf16"]
    write_safetensors(file, header, data)
    with pytest.raises(ModelFormatError, match="hole or overlap"):
        SafetensorsFile(file)
    entry = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    text = b"{" + entry + b"," + entry + b"}"
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(ModelFormatError, match="appears twice"):
        SafetensorsFile(file)


def test_a_file_that_shrinks_while_open_is_an_error(file):
    reader = SafetensorsFile(file)
    with file.open("r+b") as handle:
        handle.truncate(file.stat().st_size - 8)
    with pytest.raises(ModelFormatError, match="ends inside tensor"):
        last = max(reader.tensors, key=lambda name: reader.tensors[name].offset)
        reader.read_rows(last, 0, reader.tensors[last].shape[0])
    reader.close()


def test_random_damage_never_escapes_as_another_error(file, tmp_path):
    data = bytearray(file.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    generator = random.Random(5)
    damaged = tmp_path / "damaged.safetensors"
    refused = 0
    for _ in range(2000):
        changed = bytearray(data)
        for _ in range(generator.randint(1, 4)):
            changed[generator.randrange(8 + length)] = generator.randrange(256)
        damaged.write_bytes(changed)
        try:
            reader = SafetensorsFile(damaged)
            for name, tensor in reader.tensors.items():
                if tensor.shape and tensor.dtype in ("BF16", "F16", "F32"):
                    reader.read_rows(name, 0, tensor.shape[0])
            reader.close()
        except ModelFormatError:
            refused += 1
    assert refused > 1000


def test_git_lfs_pointers_are_recognised(file):
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 8859000000\n")
    with pytest.raises(ModelFormatError, match="git lfs pull"):
        SafetensorsFile(file)


def test_missing_file(tmp_path):
    with pytest.raises(ModelFormatError, match="cannot open"):
        SafetensorsFile(tmp_path / "absent.safetensors")
