"""Hostile and damaged audio files: a typed error that says what, where and what to do, or a warning; never a
crash.

Lines F9 and F10 of the fault list (docs/architecture.md): lying sizes, odd chunks, truncation, bit flips.
"""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxtral_edge.audio import AudioFile, read_audio
from voxtral_edge.errors import AudioFormatError

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def wav_bytes(tmp_path: Path, seconds: float = 1.0, rate_hz: int = 16000) -> bytearray:
    noise = (np.random.default_rng(0).standard_normal(int(seconds * rate_hz)) * 3000).astype(np.int16)
    soundfile.write(tmp_path / "good.wav", noise, rate_hz, subtype="PCM_16")
    return bytearray((tmp_path / "good.wav").read_bytes())


def read(path: Path) -> tuple[int, list[str]]:
    """(samples, warnings) of a file that opens."""
    with AudioFile(path) as file:
        return sum(map(len, file.blocks())), file.warnings


def refused(path: Path) -> str:
    with pytest.raises(AudioFormatError) as caught:
        read_audio(path)
    message = str(caught.value)
    assert str(path) in message, "the message must name the file"
    return message


def test_missing_file(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.wav")


def test_names_no_file_can_have() -> None:
    with pytest.raises(AudioFormatError, match="null"):
        AudioFile("a\0b.wav")


def test_folder(tmp_path: Path) -> None:
    assert "is a folder" in refused(tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    assert "0 bytes" in refused(tmp_path / "empty.wav")


def test_fifo_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    assert "not a regular file" in refused(tmp_path / "pipe.wav")


@pytest.mark.parametrize("content", [b"hello", b"RIFF", b"fLaC", b"OggS" + bytes(100), bytes(5000)])
def test_not_audio(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    assert "ffmpeg" in refused(tmp_path / "a.wav")


def test_header_without_samples(tmp_path: Path) -> None:
    data = wav_bytes(tmp_path)[:44]
    (tmp_path / "a.wav").write_bytes(data)
    assert "holds no audio" in refused(tmp_path / "a.wav")


@pytest.mark.parametrize(("rate_hz", "works"), [(7999, False), (8000, True), (192000, True), (192001, False)])
def test_rate_limits(tmp_path: Path, rate_hz: int, works: bool) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(1000, np.int16), rate_hz)
    if works:
        assert read(tmp_path / "a.wav")[0] > 0
    else:
        assert "8000 to 192000 Hz" in refused(tmp_path / "a.wav")


def test_channel_limits(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((100, 33), np.int16), 16000)
    assert "1 to 32" in refused(tmp_path / "a.wav")


@pytest.mark.parametrize("declared", [64000, 1 << 30, 0x7FFFFFFF])
def test_sizes_that_promise_too_much_give_a_warning(tmp_path: Path, declared: int) -> None:
    data = wav_bytes(tmp_path)
    struct.pack_into("<I", data, 40, declared)
    (tmp_path / "a.wav").write_bytes(data)
    samples, warnings = read(tmp_path / "a.wav")
    assert samples == 16000
    assert len(warnings) == 1 and "truncated" in warnings[0] and str(declared) in warnings[0]


def test_the_unknown_size_of_pipe_writers_is_no_fault(tmp_path: Path) -> None:
    data = wav_bytes(tmp_path)
    struct.pack_into("<I", data, 4, 0xFFFFFFFF)
    struct.pack_into("<I", data, 40, 0xFFFFFFFF)
    (tmp_path / "a.wav").write_bytes(data)
    assert read(tmp_path / "a.wav") == (16000, [])


@pytest.mark.parametrize("keep", [44, 45, 46, 1000, 20001])
def test_truncated_wav(tmp_path: Path, keep: int) -> None:
    data = wav_bytes(tmp_path)[:keep]
    (tmp_path / "a.wav").write_bytes(data)
    if keep < 46:
        refused(tmp_path / "a.wav")
    else:
        samples, warnings = read(tmp_path / "a.wav")
        assert samples == (keep - 44) // 2
        assert "truncated" in warnings[0]


@pytest.mark.parametrize("name", ["phone-number.flac", "pin.ogg", "room.mp3"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_compressed_files(tmp_path: Path, name: str, share: float) -> None:
    """Half a file is half the audio with a warning, or an error that says where it broke."""
    data = (SAMPLES / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: int(len(data) * share)])
    try:
        samples, warnings = read(path)
    except AudioFormatError as error:
        assert str(path) in str(error)
    else:
        assert samples < len(read_audio(SAMPLES / name))
        assert any("truncated" in warning for warning in warnings)


@pytest.mark.parametrize("name", ["zero-to-nine.wav", "phone-number.flac", "pin.ogg", "room.mp3"])
def test_damaged_bytes_never_crash(tmp_path: Path, name: str) -> None:
    """150 copies with random damage, most of it in the header: each is read or refused with
    AudioFormatError."""
    good = (SAMPLES / name).read_bytes()
    rng = random.Random(name)
    path = tmp_path / name
    read_well = 0
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.choice([1, 2, 8, 64])):
            at = rng.randrange(min(len(data), rng.choice([64, 512, len(data)])))
            data[at] = rng.randrange(256)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            samples, _ = read(path)
        except AudioFormatError:
            continue
        assert samples >= 0
        read_well += 1
    assert read_well > 0
