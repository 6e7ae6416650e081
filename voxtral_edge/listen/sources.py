"""Where live audio comes from: files played at their own speed, programs that write samples, iterables.

A source fills a ring from a thread of its own and never waits for the decoder, as a microphone does not.
"""

from __future__ import annotations

import os
import select
import subprocess
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from voxtral_edge.audio import SAMPLE_RATE_HZ, AudioFile, PathLike, PcmPipe, as_floats, as_pcm
from voxtral_edge.errors import DeviceError
from voxtral_edge.listen.ring import PcmRing
from voxtral_edge.live_step import TOKEN_SAMPLES

# What a microphone delivers at a time; files are played in the same pieces.
PIECE_S = 0.02
# What sources that can wait are ahead of the decoder: a full catch-up pass (0.64 s) and a piece.
AHEAD_S = 0.8
# A pipe that brought so much more than time has passed carries a recording, not a microphone.
_NOT_LIVE_S = 2.0
# Longer than any device's piece: what was captured before `stop` is still written.
_STOP_S = 1.0


class Source(Protocol):
    """Anything that can fill a ring with mono float32 samples at `rate_hz`.

    name       for people
    overruns   how often the device says that it lost samples itself
    ended      no more samples will come; what was written may still wait in the ring
    error      why it ended early, or None

    A source with a clock of its own, such as a sound card, says so by an attribute `live` that is true: times of
    events then follow the system's clock.
    """

    name: str
    rate_hz: int
    overruns: int
    ended: bool
    error: Exception | None

    def start(self, ring: PcmRing) -> None:
        """Begins to write. DeviceError if that is impossible."""

    def stop(self) -> None:
        """Ends the writing; harmless if done twice or before `start`."""


class ThreadSource:
    """A source that runs `produce` in a thread; subclasses write pieces with `put`."""

    def __init__(self, name: str, rate_hz: int) -> None:
        self.name = name
        self.rate_hz = rate_hz
        self.overruns = 0
        self.ended = False
        self.error: Exception | None = None
        self._stopping = threading.Event()
        self._ring: PcmRing | None = None
        self._thread: threading.Thread | None = None

    def start(self, ring: PcmRing) -> None:
        """Begins to write."""
        self._ring = ring
        self._thread = threading.Thread(target=self._run, name="voxtral-capture", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the writing and waits for the thread; one that hangs in foreign code is left behind."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=_STOP_S)
        self.ended = True

    def produce(self) -> None:
        """Writes everything, until done or `stopping`."""
        raise NotImplementedError

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def put(self, samples: NDArray[np.float32]) -> None:
        """Writes into the ring; what does not fit is counted there."""
        assert self._ring is not None
        self._ring.write(samples)

    def wait_for_room(self, samples: int) -> None:
        """For sources that can wait, unlike a microphone: until the decoder has taken most of what it was given, or
        `stop` is called. So little is ahead that no backlog policy ever drops it."""
        assert self._ring is not None
        most = min(self._ring.capacity, int(AHEAD_S * self.rate_hz))
        while len(self._ring) + samples > most and not self._stopping.wait(0.002):
            pass

    def _run(self) -> None:
        try:
            self.produce()
        except Exception as error:
            self.error = error
        finally:
            self.ended = True


class FileSource(ThreadSource):
    """An audio file as a microphone would hear it (`paced`, at its own speed and without waiting for anybody), or as
    fast as it is taken."""

    def __init__(self, path: PathLike, paced: bool = True) -> None:
        super().__init__(Path(path).name, SAMPLE_RATE_HZ)
        self._file = AudioFile(path)
        self._paced = paced
        self.duration_s = self._file.duration_s

    def produce(self) -> None:
        """Plays the file."""
        piece = int(SAMPLE_RATE_HZ * PIECE_S)
        begun, played = time.monotonic(), 0
        with self._file:
            for block in self._file.blocks(piece):
                if self._paced:
                    played += len(block)
                    # A microphone delivers a piece when its last sample was heard.
                    if self._stopping.wait(max(0.0, begun + played / SAMPLE_RATE_HZ - time.monotonic())):
                        return
                else:
                    self.wait_for_room(len(block))
                if self.stopping:
                    return
                self.put(block)


class IterableSource(ThreadSource):
    """Arrays from Python code: 16 kHz mono float32 or int16 pieces of any size, taken no faster than
    decoded."""

    def __init__(self, pieces: Iterable[Any], name: str = "samples") -> None:
        super().__init__(name, SAMPLE_RATE_HZ)
        self._pieces = pieces

    def produce(self) -> None:
        """Passes every piece on, cut to what fits."""
        for samples in self._pieces:
            pcm = as_floats(as_pcm(samples))
            for begin in range(0, len(pcm), TOKEN_SAMPLES):
                part = pcm[begin : begin + TOKEN_SAMPLES]
                self.wait_for_room(len(part))
                if self.stopping:
                    return
                self.put(part)


class PipeSource(ThreadSource):
    """Headerless 16-bit little-endian mono 16 kHz samples from an open pipe. A pipe from a microphone is never made to
    wait: what cannot be followed is the backlog policy's matter, and must not be lost unseen at the pipe's other end.
    One that brings a recording, faster than it could be spoken, is."""

    def __init__(self, pipe: BinaryIO) -> None:
        super().__init__("standard input", SAMPLE_RATE_HZ)
        self._fd = pipe.fileno()

    def produce(self) -> None:
        """Passes the samples on."""
        begun, brought, live = time.monotonic(), 0, True
        for pcm in PcmPipe(self).blocks(TOKEN_SAMPLES):  # type: ignore[arg-type]  # of a file, PcmPipe uses `read`
            brought += len(pcm)
            live = live and brought / SAMPLE_RATE_HZ < time.monotonic() - begun + _NOT_LIVE_S
            if not live:
                self.wait_for_room(len(pcm))
            self.put(as_floats(pcm))

    def read(self, most: int) -> bytes:
        """What the pipe holds, at most `most` bytes; nothing at its end and after `stop`. Waits in small steps: a
        thread that hangs in a read would keep the whole program from ending."""
        while not self.stopping:
            if select.select([self._fd], [], [], 0.05)[0]:
                return os.read(self._fd, most)
        return b""


class ProgramSource(ThreadSource):
    """Headerless 16-bit little-endian mono samples from a program's standard output, as a microphone brings them."""

    live = True

    def __init__(self, command: list[str], name: str, rate_hz: int = SAMPLE_RATE_HZ) -> None:
        super().__init__(name, rate_hz)
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, ring: PcmRing) -> None:
        """Starts the program. DeviceError if it does not exist."""
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is ours to handle: the last words must still be decoded
            )  # fmt: skip
        except OSError as error:
            raise DeviceError(f"{self._command[0]}: cannot be started ({error.strerror})") from error
        super().start(ring)

    def stop(self) -> None:
        """Ends the program."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
        super().stop()

    def produce(self) -> None:
        """Passes the program's samples on as they come."""
        assert self._process is not None and self._process.stdout is not None
        rest = b""
        while data := self._process.stdout.read1(int(2 * self.rate_hz * PIECE_S)):  # type: ignore[attr-defined]
            data = rest + data
            rest = data[len(data) & ~1 :]
            self.put(as_floats(np.frombuffer(data[: len(data) & ~1], dtype="<i2")))
        code = self._process.wait()
        if code and not self.stopping:
            assert self._process.stderr is not None
            said = self._process.stderr.read().decode("utf-8", "replace").strip().splitlines()
            raise DeviceError(
                f"{self._command[0]} ended with code {code}: {said[-1] if said else 'no message'}; "
                "`voxtral-edge listen --list` names the devices there are"
            )
