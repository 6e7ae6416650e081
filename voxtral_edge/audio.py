"""Audio in: files of any rate and channel count, headerless PCM from a pipe, and arrays.

A stream is fed mono samples at 16 kHz, float32 in [-1, 1) or int16. Files are read, mixed down and resampled
block by block: an hour-long recording never lies in memory as a whole.
"""

from __future__ import annotations

import importlib
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.errors import AudioFormatError, DeviceError, UsageError
from voxtral_edge.live_step import TOKEN_SAMPLES

SAMPLE_RATE_HZ = 16_000
MIN_RATE_HZ, MAX_RATE_HZ = 8_000, 192_000
MAX_CHANNELS = 32
# 1.28 s per block: sixteen tokens, two full encoder batches; long enough to be read fast, short enough that
# text appears while a slow device works.
BLOCK_SAMPLES = 16 * TOKEN_SAMPLES

# Float samples beyond this are on another scale, most often 16-bit numbers that nobody divided; decoders of lossy
# formats overshoot 1 by far less.
LOUDEST = 8.0

PcmArray = NDArray[np.float32] | NDArray[np.int16]
PathLike = str | os.PathLike[str]

# First bytes of files people pipe in by mistake where headerless samples are expected.
_CONTAINER_MAGIC = {
    b"RIFF": "WAV",
    b"RF64": "WAV",
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b"FORM": "AIFF",
}


def as_pcm(samples: Any) -> PcmArray:
    """`samples` as a contiguous 1-D float32 or int16 array in native byte order, unscaled.

    Accepts float32, float64 (rounded to float32) and int16 arrays of any length ≥ 0. UsageError, saying what
    to do instead, for lists, bytes, other dtypes and more than one dimension.
    """
    if isinstance(samples, (bytes, bytearray, memoryview)):
        raise UsageError("pcm is bytes; wrap 16-bit samples as numpy.frombuffer(data, dtype='<i2')")
    if not isinstance(samples, np.ndarray):
        raise UsageError(
            f"pcm is a {type(samples).__name__}; pass a one-dimensional numpy array of float32 (-1..1) or "
            "int16 at 16 kHz, e.g. numpy.asarray(samples, dtype=numpy.float32)"
        )
    if samples.ndim != 1:
        # [samples, channels] or [channels, samples]
        channels = int(np.argmin(samples.shape)) if samples.ndim else 0
        raise UsageError(
            f"pcm has shape {samples.shape}; pass one channel as a one-dimensional array, e.g. "
            f"pcm.mean(axis={channels})"
        )
    if samples.dtype.kind == "f" and samples.dtype.itemsize in (4, 8):
        return np.ascontiguousarray(samples, dtype=np.float32)
    if samples.dtype.kind == "i" and samples.dtype.itemsize == 2:
        return np.ascontiguousarray(samples, dtype=np.int16)
    raise UsageError(
        f"pcm has dtype {samples.dtype}; pass float32 in -1..1 or int16 "
        "(int32 samples: (pcm / 2**31).astype('float32'))"
    )


def as_floats(pcm: PcmArray) -> NDArray[np.float32]:
    """The samples as float32: int16 divided by 32768 (specification §3.1), float32 as they are."""
    floats = np.asarray(pcm, dtype=np.float32)
    return floats / np.float32(32768) if pcm.dtype == np.int16 else floats


def resampler(rate_hz: int) -> Any:
    """soxr's stream (HQ) from mono float32 at `rate_hz` to 16 kHz; None where they are at 16 kHz. DeviceError where
    soxr does not load."""
    if rate_hz == SAMPLE_RATE_HZ:
        return None
    try:
        soxr = importlib.import_module("soxr")
    except ImportError as error:
        raise DeviceError(f"resampling needs the package soxr, which does not load ({error})") from error
    return soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")


class AudioFile:
    """One audio file, read as blocks of mono 16 kHz float32.

    Opens at once: AudioFormatError (file, reason, remedy) if the file is missing, empty, of an unknown
    format, or outside 1..32 channels and 8..192 kHz. 16-bit samples are scaled by 1/32768; channels are
    averaged; other rates are resampled with soxr (HQ) as a stream.

    sample_rate_hz, channels, format   as the file declares them
    duration_s      declared length in seconds; what was really read is `frames_read / sample_rate_hz`
    warnings        filled while reading: truncated data, samples that are not numbers
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self.warnings: list[str] = []
        self.frames_read = 0
        _check_regular_file(self.path)
        soundfile = _soundfile()
        try:
            self._file = soundfile.SoundFile(os.fsencode(self.path))
        except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
            raise AudioFormatError(
                f"{self.path}: not a readable audio file ({_reason(error)}); wav, flac, ogg and mp3 can be "
                "read, convert others first, e.g. ffmpeg -i IN -ac 1 -ar 16000 OUT.wav"
            ) from error
        if self._file.subtype == "OPUS":
            # libsndfile 1.2.2 delivers the first seconds of an Ogg Opus file late by its pre-skip (312 samples at
            # 48 kHz) unless it was told to seek first. Short of being heard, it changes what the model writes.
            self._file.seek(0)
        # soundfile (0.14) seeks after every read, to where it is already, unless it takes the file for a pipe. There an
        # MP3 decoder forgets the frames before, on which the next ones build: blocks of 20 ms are garbage then, and
        # the first 25 ms of larger ones.
        self._file.seekable = lambda: False
        self.sample_rate_hz = int(self._file.samplerate)
        self.channels = int(self._file.channels)
        self.format = f"{self._file.format}/{self._file.subtype}"
        self._frames_declared = int(self._file.frames)
        self.duration_s = self._frames_declared / self.sample_rate_hz if self.sample_rate_hz > 0 else 0.0
        try:
            self._check_header()
        except AudioFormatError:
            self._file.close()
            raise

    def __enter__(self) -> AudioFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; harmless if it is closed already."""
        self._file.close()

    def blocks(self, block_samples: int = BLOCK_SAMPLES) -> Iterator[NDArray[np.float32]]:
        """Yields mono 16 kHz float32 arrays of exactly `block_samples` samples, the last one shorter.

        AudioFormatError where the data turn out to be corrupt, with the position. Can be iterated once.
        """
        pending: list[NDArray[np.float32]] = []
        pending_samples = 0
        for piece in self._resampled(block_samples):
            pending.append(piece)
            pending_samples += len(piece)
            if pending_samples < block_samples:
                continue
            joined = np.concatenate(pending)
            whole = pending_samples - pending_samples % block_samples
            for begin in range(0, whole, block_samples):
                yield joined[begin : begin + block_samples]
            pending, pending_samples = [joined[whole:]], pending_samples - whole
        if pending_samples:
            yield np.concatenate(pending)

    def _check_header(self) -> None:
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise AudioFormatError(f"{self.path}: {self.channels} channels; 1 to {MAX_CHANNELS} can be read")
        if not MIN_RATE_HZ <= self.sample_rate_hz <= MAX_RATE_HZ:
            raise AudioFormatError(
                f"{self.path}: sample rate {self.sample_rate_hz} Hz; {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz can "
                "be read"
            )
        if self._frames_declared <= 0:
            raise AudioFormatError(
                f"{self.path}: holds no audio ({self.format}, 0 samples); if a recorder was killed while "
                "writing, let it or ffmpeg write the file again"
            )
        if self._file.format == "OGG" and not _ogg_ends(self.path):
            self.warnings.append(f"{self.path}: truncated: its last page is not marked as the end")
        if self._file.format in ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU"):
            self._check_declared_size()

    def _check_declared_size(self) -> None:
        """libsndfile reads what is there when a header promises more, and says so only in its log."""
        for line in str(self._file.extra_info).splitlines():
            if not line.strip().lower().startswith("data") or "(should be" not in line:
                continue
            declared = line.split(":", 1)[-1].split("(")[0].strip()
            # Writers to a pipe cannot know the size and leave 0xFFFFFFFF (or near it): not a truncated file.
            if declared.isdigit() and int(declared) < 0xFFFF_0000:
                self.warnings.append(
                    f"{self.path}: truncated: the header declares {int(declared)} bytes of samples, "
                    f"the file holds {self._frames_declared / self.sample_rate_hz:.2f} s; reading what is "
                    "there"
                )

    def _resampled(self, block_samples: int) -> Iterator[NDArray[np.float32]]:
        to_16_khz = resampler(self.sample_rate_hz)
        if to_16_khz is None:
            yield from self._mono(block_samples)
            return
        frames = max(1, block_samples * self.sample_rate_hz // SAMPLE_RATE_HZ)
        for mono in self._mono(frames):
            yield to_16_khz.resample_chunk(mono, last=False)
        yield to_16_khz.resample_chunk(np.zeros(0, dtype=np.float32), last=True)

    def _mono(self, frames: int) -> Iterator[NDArray[np.float32]]:
        """Blocks at the file's own rate, mixed down, with NaN and infinities replaced by 0: one of them would
        otherwise spread through the resampler's filter."""
        soundfile = _soundfile()
        not_numbers, peak = 0, 0.0
        while True:
            try:
                block = self._file.read(frames, dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, RuntimeError) as error:
                seconds = self.frames_read / self.sample_rate_hz
                raise AudioFormatError(
                    f"{self.path}: corrupt after {seconds:.2f} s ({_reason(error)}); "
                    "get the file again or cut it before that point"
                ) from error
            if len(block) == 0:
                break
            self.frames_read += len(block)
            finite = np.isfinite(block)
            if not finite.all():
                not_numbers += int(block.size - np.count_nonzero(finite))
                block = np.where(finite, block, np.float32(0))
            peak = max(peak, peak_of(block))
            yield block[:, 0].copy() if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        if not_numbers:
            self.warnings.append(
                f"{self.path}: {not_numbers} samples are NaN or infinite; they were taken as silence"
            )
        if note := scale_note(peak):
            self.warnings.append(f"{self.path}: {note}")
        if self.frames_read < self._frames_declared:
            self.warnings.append(
                f"{self.path}: truncated: {self.frames_read / self.sample_rate_hz:.2f} s could be read of "
                f"{self.duration_s:.2f} s declared"
            )


def peak_of(samples: NDArray[Any]) -> float:
    """The largest magnitude; 0 for no samples. NaN counts as nothing, infinity as itself."""
    return float(
        max(np.fmax.reduce(samples, axis=None, initial=0), -np.fmin.reduce(samples, axis=None, initial=0))
    )


def scale_note(peak: float) -> str:
    """What is odd about float samples that reach `peak`, or nothing."""
    if not LOUDEST < peak < math.inf:
        return ""
    return f"samples reach {peak:.3g}; -1 to 1 is expected (16-bit samples as floats: divide by 32768)"


def read_audio(path: PathLike) -> NDArray[np.float32]:
    """The whole file as one mono 16 kHz float32 array (230 MB per hour); errors as `AudioFile`."""
    with AudioFile(path) as file:
        blocks = list(file.blocks())
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)


class PcmPipe:
    """Headerless 16-bit little-endian mono 16 kHz samples from a pipe, as soon as they arrive.

    warnings   filled while reading: no audio at all, a last byte that is half a sample
    """

    def __init__(self, source: BinaryIO, name: str = "standard input") -> None:
        self.name = name
        self.warnings: list[str] = []
        # read1 returns what the pipe holds; read would wait for a full block and delay the text.
        self._read = getattr(source, "read1", source.read)

    def blocks(self, block_samples: int = BLOCK_SAMPLES) -> Iterator[NDArray[np.int16]]:
        """Yields int16 arrays of 1 to `block_samples` samples. AudioFormatError if the pipe carries a file
        with a header. Can be iterated once."""
        leftover, head = b"", b""
        while True:
            try:
                new = self._read(2 * block_samples - len(leftover))
            except OSError as error:
                raise AudioFormatError(f"{self.name}: cannot be read ({error.strerror})") from error
            if not new:
                break
            data = leftover + new
            if len(head) < 4:
                head += new[:4]
                self._refuse_container(head)
            whole = len(data) - len(data) % 2
            leftover = data[whole:]
            if whole:
                yield np.frombuffer(data[:whole], dtype="<i2").astype(np.int16, copy=False)
        if not head:
            self.warnings.append(f"{self.name} brought no audio; did the program before the pipe start?")
        if leftover:
            self.warnings.append(
                f"{self.name} ended inside a sample (an odd number of bytes): expected headerless 16-bit "
                "little-endian mono samples at 16 kHz, e.g. from ffmpeg -i IN -f s16le -ac 1 -ar 16000 -"
            )

    def _refuse_container(self, head: bytes) -> None:
        for magic, name in _CONTAINER_MAGIC.items():
            if head.startswith(magic):
                raise AudioFormatError(
                    f"{self.name} carries a {name} file, not headerless samples; give the file by name, "
                    "record with arecord -t raw, or convert: "
                    "ffmpeg -i IN -f s16le -ac 1 -ar 16000 - | voxtral-edge transcribe -"
                )


def _check_regular_file(path: Path) -> None:
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise AudioFormatError(
            f"{path}: cannot be opened ({reason}); check the name and the permissions"
        ) from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioFormatError(f"{path}: is a folder; name the audio files in it")
    if not stat.S_ISREG(status.st_mode):
        raise AudioFormatError(f"{path}: is not a regular file; pipe headerless samples through `-` instead")
    if status.st_size == 0:
        raise AudioFormatError(f"{path}: is empty (0 bytes); record or copy it again")
    if not os.access(path, os.R_OK):
        raise AudioFormatError(f"{path}: cannot be opened (Permission denied); check the permissions")


def _ogg_ends(path: Path) -> bool:
    """Whether the last Ogg page carries the end-of-stream flag: a decoder cannot tell a cut file from a short
    one. A page is 65,307 bytes at most."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 65_307))
        tail = file.read()
    at = tail.rfind(b"OggS")
    return at >= 0 and at + 6 <= len(tail) and bool(tail[at + 5] & 4)


def _reason(error: Exception) -> str:
    """libsndfile's own words, without the file name that the message starts with anyway."""
    text = str(getattr(error, "error_string", "") or error).strip().rstrip(".")
    if "File does not exist" in text:  # what libsndfile says of a file named *.mp3 that holds no MP3 frame
        return "Format not recognised"
    return text.removeprefix("Error : ") or type(error).__name__


def _soundfile() -> Any:
    try:
        return importlib.import_module("soundfile")
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"reading audio files needs the package soundfile, which does not load ({error})"
        ) from error
