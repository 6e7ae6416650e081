"""Audio in: formats, rates, channels, block sizes and pipes, against soxr and soundfile on whole arrays."""

from __future__ import annotations

import io
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from front_door import sample, samples, tiny_engine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from voxtral_edge.audio import BLOCK_SAMPLES, AudioFile, PcmPipe, as_pcm, read_audio
from voxtral_edge.errors import AudioFormatError, UsageError

RATES_HZ = [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000]


def sweep(seconds: float, rate_hz: int, top_hz: float) -> NDArray[np.float64]:
    """A rising tone, amplitude 0.5."""
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    return 0.5 * np.sin(2 * np.pi * (50 * t + (top_hz - 50) * t * t / (2 * seconds)))


def signal_to_noise_db(signal: NDArray, other: NDArray) -> float:
    noise = np.sum((signal - other) ** 2)
    return float(np.inf) if noise == 0 else float(10 * np.log10(np.sum(signal**2) / noise))


# --- files


def test_16_bit_files_at_16_khz_are_exact(tmp_path: Path) -> None:
    pcm = np.array([0, 1, -1, 32767, -32768, 123, -456] * 5000, dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", pcm, 16000, subtype="PCM_16")
    heard = read_audio(tmp_path / "a.wav")
    assert heard.dtype == np.float32
    np.testing.assert_array_equal(heard, pcm.astype(np.float32) / 32768)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("channels", [1, 2, 32])
def test_every_rate_and_channel_count(tmp_path: Path, rate_hz: int, channels: int) -> None:
    """Streaming in blocks equals soxr HQ on the whole signal by 80 dB at least, and keeps the length."""
    mono = sweep(1.7, rate_hz, 3500)
    gains = np.linspace(0.5, 1.5, channels) if channels > 1 else np.ones(1)
    soundfile.write(tmp_path / "a.wav", mono[:, None] * gains, rate_hz, subtype="FLOAT")
    heard = read_audio(tmp_path / "a.wav")
    expected = soxr.resample(mono, rate_hz, 16000, quality="HQ")
    assert abs(len(heard) - len(mono) * 16000 / rate_hz) <= 1
    shared = min(len(heard), len(expected))
    assert signal_to_noise_db(expected[:shared], heard[:shared]) >= 80


@pytest.mark.parametrize("entry", samples(), ids=lambda entry: entry["file"])
def test_every_format_is_read(entry) -> None:
    with AudioFile(sample(entry["file"])) as file:
        assert (file.sample_rate_hz, file.channels) == (entry["sample_rate_hz"], entry["channels"])
        heard = np.concatenate(list(file.blocks()))
        assert file.warnings == []
    assert len(heard) / 16000 == pytest.approx(file.duration_s, abs=0.06)  # mp3 pads its last frame
    assert 0.02 < np.sqrt(np.mean(heard**2)) < 0.3


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
def test_sample_types(tmp_path: Path, subtype: str) -> None:
    tone = sweep(0.5, 16000, 2000)
    soundfile.write(tmp_path / "a.wav", tone, 16000, subtype=subtype)
    coarse = subtype in ("PCM_U8", "ULAW", "ALAW")
    assert signal_to_noise_db(tone, read_audio(tmp_path / "a.wav")) > (30 if coarse else 100)


def ogg_crc(data: bytes) -> int:
    """The checksum of an Ogg page: CRC-32 with polynomial 0x04c11db7, not reflected."""
    crc = 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = ((crc << 1) ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


def shift_positions(ogg: bytes, samples_48khz: int) -> bytes:
    """The file with the position of every audio page moved, as ffmpeg writes Opus."""
    out = bytearray(ogg)
    at = ogg.find(b"OggS")
    while at >= 0:
        following = ogg.find(b"OggS", at + 4)
        end = following if following >= 0 else len(ogg)
        (position,) = struct.unpack_from("<q", out, at + 6)
        if position > 0:
            struct.pack_into("<q", out, at + 6, position + samples_48khz)
        struct.pack_into("<I", out, at + 22, 0)
        struct.pack_into("<I", out, at + 22, ogg_crc(bytes(out[at:end])))
        at = following
    return bytes(out)


@pytest.mark.parametrize("shift", [0, 312])
def test_opus_files_are_not_late(tmp_path: Path, shift: int) -> None:
    """With positions as ffmpeg writes them, libsndfile alone delivers the beginning 312 / 48000 s late, which
    changes what the model writes."""
    noise = np.random.default_rng(3).standard_normal(3 * 4000)
    sound = 0.1 * soxr.resample(noise, 4000, 16000)
    soundfile.write(tmp_path / "a.ogg", sound, 16000, format="OGG", subtype="OPUS")
    (tmp_path / "b.ogg").write_bytes(shift_positions((tmp_path / "a.ogg").read_bytes(), shift))
    heard = read_audio(tmp_path / "b.ogg")
    assert len(heard) == len(sound)
    for begin in (500, 16000, 36000):
        window = sound[begin : begin + 6000]
        match = [float(np.dot(heard[begin + lag : begin + lag + 6000], window)) for lag in range(-300, 301)]
        assert int(np.argmax(match)) - 300 == 0


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 50_000), st.sampled_from([16000, 22050]))
def test_block_size_does_not_change_the_samples(tmp_path_factory, block_samples: int, rate_hz: int) -> None:
    path = tmp_path_factory.getbasetemp() / f"blocks-{rate_hz}.wav"
    if not path.exists():
        soundfile.write(path, sweep(2.3, rate_hz, 3000), rate_hz, subtype="FLOAT")
    with AudioFile(path) as file:
        blocks = list(file.blocks(block_samples))
    assert all(len(block) == block_samples for block in blocks[:-1])
    assert 0 < len(blocks[-1]) <= block_samples
    np.testing.assert_array_equal(np.concatenate(blocks), read_audio(path))


@pytest.mark.parametrize(
    ("format", "subtype"), [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS")]
)
@pytest.mark.parametrize("block_samples", [320, BLOCK_SAMPLES])
def test_blocks_of_coded_files_join_to_the_whole(
    tmp_path: Path, capfd, format: str, subtype: str, block_samples: int
) -> None:
    """`listen` plays blocks of 20 ms, `transcribe` reads 1.28 s at a time: the same samples, MP3 among them."""
    speech = soxr.resample(read_audio(sample("phone-number.flac")), 16000, 48000)  # noise fills every frame
    soundfile.write(
        tmp_path / "a", np.stack([speech, 0.6 * speech], 1), 48000, format=format, subtype=subtype
    )
    with soundfile.SoundFile(tmp_path / "a") as file:
        file.seek(0)
        whole = file.read(dtype="float32").mean(axis=1, dtype=np.float32)
    with AudioFile(tmp_path / "a") as file:
        heard = np.concatenate(list(file.blocks(block_samples)))
    resampler = soxr.ResampleStream(48000, 16000, 1, dtype="float32", quality="HQ")
    np.testing.assert_array_equal(heard, resampler.resample_chunk(whole, last=True))
    assert capfd.readouterr() == ("", "")  # libmpg123 complains on stderr where bits are missing


def test_long_files_are_not_loaded_whole(tmp_path: Path) -> None:
    """Ten minutes of 44.1 kHz stereo are 212 MB as float32; a few blocks are all that may be held."""
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 44100, 2, "PCM_16") as file:
        for _ in range(600):
            file.write(np.zeros((44100, 2), np.int16))
    with AudioFile(path) as file:
        tracemalloc.start()
        samples_read = sum(len(block) for block in file.blocks())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert samples_read == 600 * 16000
    assert peak < 8e6


def test_samples_that_are_not_numbers_become_silence_and_are_reported(tmp_path: Path) -> None:
    pcm = sweep(1.0, 44100, 2000).astype(np.float32)
    clean = pcm.copy()
    pcm[[100, 5000, 30000]] = [np.nan, np.inf, -np.inf]
    clean[[100, 5000, 30000]] = 0
    soundfile.write(tmp_path / "bad.wav", pcm, 44100, subtype="FLOAT")
    soundfile.write(tmp_path / "clean.wav", clean, 44100, subtype="FLOAT")
    with AudioFile(tmp_path / "bad.wav") as file:
        heard = np.concatenate(list(file.blocks()))
        assert "3 samples are NaN or infinite" in file.warnings[0]
    np.testing.assert_array_equal(heard, read_audio(tmp_path / "clean.wav"))


# --- arrays


@pytest.mark.parametrize("factor", [0.5, 4, 32768])
def test_samples_on_another_scale_are_noticed(tmp_path: Path, factor: float) -> None:
    """16-bit numbers as floats that nobody divided: the text is nonsense, and why is said."""
    pcm = sweep(1.0, 16000, 3000).astype(np.float32) * np.float32(factor)
    pcm[7] = np.nan
    soundfile.write(tmp_path / "loud.wav", pcm, 16000, subtype="FLOAT")
    of_file, of_array = (
        tiny_engine().transcribe(audio).warnings for audio in (tmp_path / "loud.wav", pcm.copy())
    )
    assert any("divide by 32768" in warning for warning in of_file) == (factor == 32768)
    assert [warning.startswith("pcm: samples reach") for warning in of_array] == [True] * (factor == 32768)


def test_arrays_are_taken_as_they_are() -> None:
    for pcm in (np.zeros(0, np.float32), np.ones(3, np.float32), np.array([1, -5], np.int16)):
        assert as_pcm(pcm) is pcm
    assert as_pcm(np.ones(3, np.float64)).dtype == np.float32
    assert as_pcm(np.array([1, 258], ">i2")).tolist() == [1, 258]
    strided = as_pcm(np.arange(10, dtype=np.float32)[::2])
    assert strided.flags["C_CONTIGUOUS"] and strided.tolist() == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("pcm", "hint"),
    [
        ([0.0, 0.1], "list"),
        ((0.0,), "tuple"),
        (b"\0\0", "numpy.frombuffer"),
        (bytearray(2), "numpy.frombuffer"),
        (None, "NoneType"),
        (np.zeros((2, 2), np.float32), "one channel"),
        (np.float32(0.5), "float32"),
        (np.zeros(3, np.int32), "int32"),
        (np.zeros(3, np.uint8), "uint8"),
        (np.zeros(3, np.complex64), "complex64"),
        (np.zeros(3, np.float16), "float16"),
        (np.array(["a"]), "dtype"),
    ],
)
def test_everything_else_is_refused_with_advice(pcm, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        as_pcm(pcm)


# --- pipes


class Pipe(io.RawIOBase):
    """A pipe that gives its pieces one read at a time, as a microphone does."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def read1(self, size: int) -> bytes:
        if not self._pieces:
            return b""
        piece = self._pieces.pop(0)
        if len(piece) > size:
            self._pieces.insert(0, piece[size:])
        return piece[:size]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(min_size=1, max_size=7), max_size=30))
def test_pipes_may_split_samples_anywhere(pieces: list[bytes]) -> None:
    data = b"\x01\x02" + b"".join(pieces)
    pipe = PcmPipe(Pipe([b"\x01\x02", *pieces]))
    blocks = list(pipe.blocks())
    whole = data[: len(data) - len(data) % 2]
    assert b"".join(block.astype("<i2").tobytes() for block in blocks) == whole
    assert all(block.dtype == np.int16 and 0 < len(block) <= BLOCK_SAMPLES for block in blocks)
    assert bool(pipe.warnings) == (len(data) % 2 == 1)


def test_a_pipe_does_not_wait_for_a_full_block() -> None:
    pipe = PcmPipe(Pipe([bytes(320)] * 3))
    assert [len(block) for block in pipe.blocks()] == [160, 160, 160]


@pytest.mark.parametrize("name", ["zero-to-nine.wav", "phone-number.flac", "pin.ogg"])
def test_a_file_in_the_pipe_is_recognised(name: str) -> None:
    data = sample(name).read_bytes()
    for pieces in ([data], [*(data[at : at + 1] for at in range(8)), data[8:]]):
        with pytest.raises(AudioFormatError, match="give the file by name"):
            list(PcmPipe(Pipe(pieces)).blocks())
