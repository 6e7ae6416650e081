"""The microphone through sounddevice (PortAudio), and the list of devices."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.audio import SAMPLE_RATE_HZ
from voxtral_edge.errors import DeviceError, UsageError
from voxtral_edge.listen.ring import PcmRing
from voxtral_edge.listen.sources import PIECE_S, ProgramSource, Source

BACKENDS = ("auto", "sounddevice", "arecord")
# Tried when a device refuses 16 kHz, after its own default: 48 kHz and 44.1 kHz are what USB microphones do.
_OTHER_RATES_HZ = (48_000, 44_100, 32_000, 96_000, 8_000)


class Microphone:
    """An input device of PortAudio. Devices that cannot do 16 kHz run at a rate they can; the listener
    resamples.

    DeviceError if sounddevice or PortAudio is missing, or the device does not open.
    """

    def __init__(self, device: int | str | None = None) -> None:
        self._sounddevice = _sounddevice()
        try:
            self._info = self._sounddevice.query_devices(device, "input")
        except (ValueError, self._sounddevice.PortAudioError) as error:
            which = "no default input device" if device is None else f"no input device {device!r}"
            raise DeviceError(f"{which} ({error}); see voxtral-edge listen --list") from error
        self._device = self._info.get("index", device)
        self.name = str(self._info["name"])
        self.rate_hz = self._usable_rate()
        self.live = True
        self.overruns = 0
        self.ended = False
        self.error: Exception | None = None
        self._stream: Any = None
        self._ring: PcmRing | None = None

    def start(self, ring: PcmRing) -> None:
        """Opens the device and begins to write."""
        self._ring = ring
        try:
            self._stream = self._sounddevice.InputStream(
                device=self._device,
                samplerate=self.rate_hz,
                channels=1,
                dtype="float32",
                blocksize=int(self.rate_hz * PIECE_S),
                callback=self._on_samples,
                finished_callback=self._on_end,
            )
            self._stream.start()
        except self._sounddevice.PortAudioError as error:
            raise DeviceError(f"microphone {self.name}: does not open ({error})") from error

    def stop(self) -> None:
        """Closes the device."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.close()
        self.ended = True

    def _on_samples(self, samples: NDArray[np.float32], frames: int, moment: Any, status: Any) -> None:
        """In PortAudio's thread: copy and return; nothing here waits, computes or allocates much."""
        if status and status.input_overflow:
            self.overruns += 1
        assert self._ring is not None
        self._ring.write(samples[:, 0])

    def _on_end(self) -> None:
        """The device went away, or `stop` closed it."""
        if self._stream is not None:
            self.error = DeviceError(f"microphone {self.name}: the device stopped; was it unplugged?")
        self.ended = True

    def _usable_rate(self) -> int:
        rates = dict.fromkeys([SAMPLE_RATE_HZ, int(self._info["default_samplerate"]), *_OTHER_RATES_HZ])
        refusal = ""
        for rate in rates:
            try:
                self._sounddevice.check_input_settings(
                    device=self._device, samplerate=rate, channels=1, dtype="float32"
                )
                return rate
            except (self._sounddevice.PortAudioError, ValueError) as error:
                refusal = refusal or str(error)
        raise DeviceError(f"microphone {self.name}: refuses every sample rate that was tried ({refusal})")


def open_microphone(device: int | str | None = None, backend: str = "auto") -> Source:
    """A microphone: by number or part of its name (sounddevice), or an ALSA name (arecord). "auto" takes
    sounddevice where it loads, else arecord. DeviceError says what is missing."""
    if backend not in BACKENDS:
        raise UsageError(f"backend {backend!r} is unknown; choose one of: {', '.join(BACKENDS)}")
    if backend == "arecord":
        return arecord_source(None if device is None else str(device))
    if backend == "sounddevice":
        return Microphone(device)
    try:
        _sounddevice()
    except DeviceError as missing:
        try:
            return arecord_source(None if device is None else str(device))
        except DeviceError:
            raise missing from None
    return Microphone(device)


def arecord_source(device: str | None = None) -> ProgramSource:
    """The microphone through ALSA's `arecord`, for machines without PortAudio. `device` is an ALSA name such as
    plughw:1,0, which resamples where the device cannot do 16 kHz. DeviceError if arecord is not installed."""
    if shutil.which("arecord") is None:
        raise DeviceError("no arecord on this machine; install alsa-utils, or: pip install sounddevice")
    command = ["arecord", "-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", str(SAMPLE_RATE_HZ)]
    command += ["--buffer-time=500000", "--period-time=20000"] + (["-D", device] if device else [])
    return ProgramSource(command, f"arecord {device or 'default'}")


def input_devices() -> list[tuple[str, str, str]]:
    """(what to pass as device, name, remark) of every input, the default one first. DeviceError if neither
    sounddevice nor arecord is there."""
    try:
        sounddevice = _sounddevice()
    except DeviceError as missing:
        try:
            return _arecord_devices()
        except OSError:
            raise missing from None
    default = sounddevice.default.device[0]
    rows = []
    for index, info in enumerate(sounddevice.query_devices()):
        if info["max_input_channels"] > 0:
            rate = f"{info['default_samplerate'] / 1000:g} kHz"
            remark = f"{info['max_input_channels']} ch, {rate}" + (", default" if index == default else "")
            rows.append((str(index), str(info["name"]), remark))
    return sorted(rows, key=lambda row: not row[2].endswith("default"))


def _arecord_devices() -> list[tuple[str, str, str]]:
    listed = subprocess.run(["arecord", "-l"], capture_output=True, text=True, check=False).stdout
    pattern = re.compile(r"^\S+ (\d+): \S+ \[(.*?)\], \S+ (\d+): (.*?) \[", re.MULTILINE)
    return [
        (f"plughw:{card},{device}", f"{name}, {part}", "arecord")
        for card, name, device, part in pattern.findall(listed)
    ]


def _sounddevice() -> Any:
    try:
        return importlib.import_module("sounddevice")
    except (ImportError, OSError) as error:  # OSError: the package is there, PortAudio is not
        raise DeviceError(
            f"the microphone needs sounddevice and PortAudio, which do not load ({error}); install them with "
            "pip install sounddevice and apt install libportaudio2, or install alsa-utils for arecord"
        ) from error
